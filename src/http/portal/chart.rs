//! Small charts as SVG, each with a description in words. Pure.

use std::fmt::Write as _;

use askama::filters::HtmlSafe;
use chrono::{DateTime, TimeDelta, Utc};

use super::components::{Took, count};
use crate::model::run::Outcome;
use crate::store::Ends;

const WIDTH: u32 = 720;
const HEIGHT: u32 = 120;

/// The space for the numbers on the left, and for the labels below.
const LEFT: u32 = 34;
const BELOW: u32 = 18;

/// A finished chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chart {
    pub svg: Svg,
    /// The description in words.
    pub text: String,
}

/// SVG that contains only numbers and our own words, so it needs no escaping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Svg(String);

impl std::fmt::Display for Svg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Svg {}

/// Draws runs by outcome, in `stretches` columns of length `stretch`, starting at `since`. `None` if no run ended.
pub(super) fn outcomes(
    ends: &[Ends],
    since: DateTime<Utc>,
    stretch: TimeDelta,
    stretches: u32,
) -> Option<Chart> {
    let total: u64 = ends.iter().flat_map(|ends| ends.outcomes.values()).sum();
    let highest = ends.iter().map(|ends| ends.outcomes.values().sum()).max();
    let highest = highest.filter(|n| *n > 0)?;
    let top = round_up(highest);
    let column = (WIDTH - LEFT) / stretches.max(1);
    let base = HEIGHT - BELOW;
    let mut svg = format!(
        r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="outcomes-title outcomes-desc"><title id="outcomes-title">Runs by outcome</title>"#
    );
    let text = words(ends, total);
    let _ = write!(svg, r#"<desc id="outcomes-desc">{text}</desc>"#);
    for (value, y) in [(top, 6), (0, base)] {
        let _ = write!(
            svg,
            r#"<line class="axis" x1="{LEFT}" x2="{WIDTH}" y1="{y}" y2="{y}"/><text x="{}" y="{}" text-anchor="end">{value}</text>"#,
            LEFT - 6,
            y + 4
        );
    }
    for ends in ends {
        let place = (ends.from - since).num_seconds() / stretch.num_seconds().max(1);
        let Some(place) = u32::try_from(place).ok().filter(|n| *n < stretches) else {
            continue;
        };
        write_column(&mut svg, ends, LEFT + place * column, column, base, top);
    }
    let middle = LEFT + (WIDTH - LEFT) / 2;
    let half = stretch * i32::try_from(stretches / 2).unwrap_or(0);
    for (x, anchor, at) in [(LEFT, "start", since), (middle, "middle", since + half)] {
        let _ = write!(
            svg,
            r#"<text x="{x}" y="{}" text-anchor="{anchor}">{} UTC</text>"#,
            HEIGHT - 4,
            at.format("%b %e, %H:%M")
        );
    }
    let _ = write!(
        svg,
        r#"<text x="{WIDTH}" y="{}" text-anchor="end">now</text></svg>"#,
        HEIGHT - 4
    );
    Some(Chart {
        svg: Svg(svg),
        text,
    })
}

/// Draws one column, with successful runs at the bottom.
fn write_column(svg: &mut String, ends: &Ends, x: u32, column: u32, base: u32, top: u64) {
    let room = u64::from(base - 6);
    let (mut below, mut parts) = (0, Vec::new());
    for outcome in Outcome::ALL {
        let Some(n) = ends.outcomes.get(&outcome).filter(|n| **n > 0) else {
            continue;
        };
        let from = below * room / top;
        below += n;
        // Even the smallest part stays visible.
        let height = (below * room / top - from).max(1);
        let y = u64::from(base) - from - height;
        parts.push(format!("{n} {outcome}"));
        let _ = write!(
            svg,
            r#"<rect class="bar-{outcome}" x="{}" y="{y}" width="{}" height="{height}"><title>{}: {n} {outcome}</title></rect>"#,
            x + 1,
            column.saturating_sub(2).max(1),
            ends.from.format("%Y-%m-%d %H:%M UTC"),
        );
    }
}

fn words(ends: &[Ends], total: u64) -> String {
    let of = |outcome: Outcome| -> u64 {
        ends.iter()
            .filter_map(|ends| ends.outcomes.get(&outcome))
            .sum()
    };
    let parts = Outcome::ALL.iter().map(|outcome| (of(*outcome), outcome));
    let parts = parts.filter(|(n, _)| *n > 0);
    let parts: Vec<String> = parts.map(|(n, outcome)| format!("{n} {outcome}")).collect();
    let total = count(usize::try_from(total).unwrap_or(usize::MAX), "run");
    format!("{total} ended: {}.", parts.join(", "))
}

/// Draws the time that each episode of an alert took to resolve, oldest first. `None` if none has resolved.
pub(super) fn resolves(took: &[f64]) -> Option<Chart> {
    let longest = took.iter().copied().fold(0.0, f64::max);
    if longest <= 0.0 {
        return None;
    }
    let mut sorted = took.to_vec();
    sorted.sort_by(f64::total_cmp);
    let text = match took.len() {
        1 => format!("1 episode took {}.", Took(longest)),
        n => format!(
            "half of {n} episodes took {} or less, the longest took {}.",
            Took(sorted[(n - 1) / 2]),
            Took(longest)
        ),
    };
    let base = HEIGHT - BELOW;
    let mut svg = format!(
        r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="resolves-title resolves-desc"><title id="resolves-title">Time to resolve</title><desc id="resolves-desc">{text}</desc><line class="axis" x1="0" x2="{WIDTH}" y1="{base}" y2="{base}"/>"#
    );
    let columns = u32::try_from(took.len()).unwrap_or(u32::MAX);
    // A few columns must not fill the whole width.
    let column = (WIDTH / columns.max(1)).clamp(4, 36);
    for (x, seconds) in (0..).step_by(column as usize).zip(took) {
        let height = (seconds / longest * f64::from(base - 6)).max(1.0);
        let _ = write!(
            svg,
            r#"<rect class="bar-resolved" x="{}" y="{:.1}" width="{}" height="{height:.1}"><title>{}</title></rect>"#,
            x + 1,
            f64::from(base) - height,
            column - 2,
            Took(*seconds)
        );
    }
    let _ = write!(svg, r#"<text x="0" y="{}">older</text></svg>"#, HEIGHT - 4);
    Some(Chart {
        svg: Svg(svg),
        text,
    })
}

/// Rounds up to 1, 2, 5, 10, 20, 50, …
fn round_up(n: u64) -> u64 {
    let mut ten = 1_u64;
    loop {
        for step in [1, 2, 5] {
            let value = ten.saturating_mul(step);
            if value >= n {
                return value;
            }
        }
        ten = ten.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: u32) -> DateTime<Utc> {
        format!("2026-11-22T{hour:02}:00:00Z").parse().unwrap()
    }

    fn ends(hour: u32, outcomes: &[(Outcome, u64)]) -> Ends {
        Ends {
            from: at(hour),
            outcomes: outcomes.iter().copied().collect(),
        }
    }

    #[test]
    fn columns_stand_where_their_time_is_and_are_as_high_as_their_number() {
        let all = [
            ends(0, &[(Outcome::Successful, 10)]),
            ends(2, &[(Outcome::Successful, 5), (Outcome::Failed, 5)]),
            ends(9, &[(Outcome::Failed, 3)]),
        ];
        let chart = outcomes(&all, at(0), TimeDelta::hours(1), 7).unwrap();
        let svg = chart.svg.to_string();
        assert!(
            svg.contains(r#"<rect class="bar-successful" x="35" y="6" width="96" height="96">"#),
            "{svg}"
        );
        assert!(
            svg.contains(r#"<rect class="bar-successful" x="231" y="54" width="96" height="48">"#),
            "{svg}"
        );
        assert!(
            svg.contains(r#"<rect class="bar-failed" x="231" y="6" width="96" height="48">"#),
            "{svg}"
        );
        assert_eq!(
            svg.matches("<rect").count(),
            3,
            "columns outside of the range are not drawn"
        );
        assert!(svg.contains("2026-11-22 02:00 UTC: 5 failed"));
        assert_eq!(chart.text, "23 runs ended: 15 successful, 8 failed.");
    }

    #[test]
    fn where_nothing_ended_there_is_no_chart() {
        assert_eq!(outcomes(&[], at(0), TimeDelta::hours(1), 24), None);
        assert_eq!(
            outcomes(&[ends(0, &[])], at(0), TimeDelta::hours(1), 24),
            None
        );
    }

    #[test]
    fn episodes_are_as_high_as_they_were_long() {
        let chart = resolves(&[60.0, 30.0, 0.0]).unwrap();
        let svg = chart.svg.to_string();
        assert!(
            svg.contains(r#"x="1" y="6.0" width="34" height="96.0"><title>1 min 0 s<"#),
            "{svg}"
        );
        assert!(
            svg.contains(r#"x="37" y="54.0" width="34" height="48.0"><title>30 s<"#),
            "{svg}"
        );
        assert!(
            svg.contains(r#"height="1.0""#),
            "even the shortest is visible"
        );
        assert_eq!(
            chart.text,
            "half of 3 episodes took 30 s or less, the longest took 1 min 0 s."
        );
        assert_eq!(resolves(&[]), None);
        assert_eq!(resolves(&[0.0]), None);
    }

    #[test]
    fn the_axis_ends_at_a_round_number() {
        for (n, round) in [
            (1, 1),
            (2, 2),
            (3, 5),
            (6, 10),
            (11, 20),
            (51, 100),
            (100, 100),
            (101, 200),
        ] {
            assert_eq!(round_up(n), round);
        }
    }
}
