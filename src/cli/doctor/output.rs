//! The report as text and as JSON. Text from outside cannot control the terminal.

use std::fmt::Write as _;

use serde::Serialize;

use super::finding::{Finding, Level};
use crate::cli::Failure;
use crate::cli::format::count;
use crate::cli::terminal::{self, Ink, cut, folded};

/// The maximum length of a message in the text report.
const SHOWN: usize = 600;

#[derive(Serialize)]
struct Report<'a> {
    level: Level,
    findings: &'a [Finding],
}

/// Returns the worst level of the findings.
pub(super) fn worst(findings: &[Finding]) -> Level {
    let levels = findings.iter().map(|finding| finding.level);
    levels.max().unwrap_or(Level::Ok)
}

pub(super) fn as_json(findings: &[Finding]) -> Result<String, Failure> {
    let level = worst(findings);
    Ok(terminal::json(&Report { level, findings })?)
}

/// Formats the report with one line per finding below the heading of its area, and the remedy below that line.
pub(super) fn as_text(findings: &[Finding], color: bool) -> String {
    let mut text = String::new();
    let mut area = None;
    for finding in findings {
        if area != Some(finding.area) {
            let before = if area.is_some() { "\n" } else { "" };
            let title = Ink::Bold.paint(finding.area.title(), color);
            let _ = writeln!(text, "{before}{title}");
            area = Some(finding.area);
        }
        let (sign, ink) = match finding.level {
            Level::Ok => ("✓", Ink::Green),
            Level::Warning => ("!", Ink::Yellow),
            Level::Error => ("✗", Ink::Red),
        };
        let sign = ink.paint(sign, color);
        let shown = |text: &str| cut(&folded(text), SHOWN);
        let (subject, message) = (shown(&finding.subject), shown(&finding.message));
        let _ = writeln!(text, "  {sign} {subject}: {message}");
        if let Some(remedy) = &finding.remedy {
            let _ = writeln!(text, "    → {}", shown(remedy));
        }
    }
    let of = |level: Level| findings.iter().filter(|f| f.level == level).count() as u64;
    let _ = writeln!(
        text,
        "\n{} ok, {}, {}. Nothing was changed.",
        of(Level::Ok),
        count(of(Level::Warning), "warning"),
        count(of(Level::Error), "error")
    );
    text
}

#[cfg(test)]
mod tests {
    use super::super::finding::Area;
    use super::*;

    #[test]
    fn findings_are_listed_below_their_area_with_the_remedy() {
        let findings = [
            Area::Ansible.ok("ansible-core", "2.19.4"),
            Area::Hosts.error("web1", "says \x1b[2J\nno", "ask it"),
            Area::Hosts.warning("web2", "slow", ""),
        ];
        assert_eq!(
            as_text(&findings, false),
            "Ansible\n  ✓ ansible-core: 2.19.4\n\nHosts\n  ✗ web1: says \u{fffd}[2J no\n    → ask it\n  \
             ! web2: slow\n\n1 ok, 1 warning, 1 error. Nothing was changed.\n"
        );
        assert_eq!(worst(&findings), Level::Error);
        assert_eq!(worst(&[]), Level::Ok);
        let json: serde_json::Value = serde_json::from_str(&as_json(&findings).unwrap()).unwrap();
        assert_eq!(json["level"], "error");
        assert_eq!(json["findings"][1]["message"], "says \x1b[2J\nno");
        assert!(json["findings"][2].get("remedy").is_none());
    }
}
