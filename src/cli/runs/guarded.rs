//! The guards of a run, and whether it helped, as text.

use crate::cli::format::second;
use crate::cli::terminal::plain;
use crate::model::guards::Hold;
use crate::model::run::Run;
use crate::model::verdict::Verdicts;

/// Returns lines for the head of a run: a title and a text.
pub(super) fn lines(run: &Run, held: Option<Hold>) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let binding = run.binding.as_deref().unwrap_or_default();
    match held {
        Some(Hold::Paused) => lines.push((
            "held",
            "everything is paused; to resume: promansible resume".to_owned(),
        )),
        Some(Hold::Storm) => lines.push((
            "held",
            format!(
                "too many hosts would be affected; to release: promansible release {}",
                plain(binding)
            ),
        )),
        Some(Hold::Approval) | None => {}
    }
    if let Some(approval) = &run.approval {
        lines.push(match (&approval.by, approval.at) {
            (Some(by), Some(at)) => ("approved", format!("by {} at {}", plain(by), second(at))),
            _ if run.finished_at.is_some() => return lines,
            _ => (
                "approval",
                format!(
                    "required until {}: promansible runs approve {1}, or reject {1}",
                    second(approval.until),
                    run.id
                ),
            ),
        });
    }
    if let Some(remedy) = run.remedy {
        if remedy.steps > 1 {
            lines.push(("step", format!("{} of {}", remedy.step, remedy.steps)));
        }
        if remedy.probe {
            let why = "a trial on one host, because its role failed too often";
            lines.push(("probe", why.to_owned()));
        }
    }
    let helped = verdict_counts(&run.verdicts);
    if !helped.is_empty() {
        lines.push(("helped", helped));
    }
    lines
}

/// Returns the status of a queued run.
pub(super) fn status(held: Hold) -> &'static str {
    match held {
        Hold::Paused => "held (paused)",
        Hold::Storm => "held (storm)",
        Hold::Approval => "held (approval)",
    }
}

/// Returns whether a run helped, in a word or two.
pub(super) fn short(verdicts: &Verdicts) -> String {
    let known = verdicts.effective + verdicts.ineffective;
    match (known, verdicts.effective) {
        (0, _) if verdicts.pending > 0 => "pending".to_owned(),
        (0, _) if verdicts.unknown > 0 => "unknown".to_owned(),
        (0, _) => String::new(),
        (known, effective) if known == effective => "yes".to_owned(),
        (_, 0) => "no".to_owned(),
        (known, effective) => format!("{effective} of {known}"),
    }
}

fn verdict_counts(verdicts: &Verdicts) -> String {
    let parts = [
        (verdicts.effective, "effective"),
        (verdicts.ineffective, "ineffective"),
        (verdicts.unknown, "unknown"),
        (verdicts.pending, "pending"),
    ];
    let parts = parts.iter().filter(|(number, _)| *number > 0);
    let parts: Vec<String> = parts.map(|(n, word)| format!("{n} {word}")).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_it_helped_is_said_of_what_is_known() {
        let of = |effective, ineffective, unknown, pending| Verdicts {
            pending,
            effective,
            ineffective,
            unknown,
        };
        for (verdicts, brief, whole) in [
            (of(0, 0, 0, 0), "", ""),
            (of(0, 0, 0, 2), "pending", "2 pending"),
            (of(0, 0, 1, 0), "unknown", "1 unknown"),
            (of(2, 0, 1, 0), "yes", "2 effective, 1 unknown"),
            (of(0, 1, 0, 1), "no", "1 ineffective, 1 pending"),
            (of(1, 2, 0, 0), "1 of 3", "1 effective, 2 ineffective"),
        ] {
            assert_eq!(
                (
                    short(&verdicts).as_str(),
                    verdict_counts(&verdicts).as_str()
                ),
                (brief, whole)
            );
        }
    }
}
