//! Finds the next time at which a condition on spans changes.

use chrono::{DateTime, TimeDelta, Utc};

use super::Span;

/// How far ahead a change is searched. A state that lasts longer counts as permanent.
const LOOKED_AHEAD: TimeDelta = TimeDelta::days(5 * 366);

/// Returns the first time at which `answer` differs from its value at `after`. Evaluates it only where one of the spans
/// may change.
pub(super) fn next(
    spans: &[&Span],
    after: DateTime<Utc>,
    answer: impl Fn(DateTime<Utc>) -> bool,
) -> Option<DateTime<Utc>> {
    let now = answer(after);
    let step = |at: &DateTime<Utc>| {
        let spans = spans.iter();
        spans.filter_map(|span| span.same_until(*at)).min()
    };
    std::iter::successors(step(&after), step)
        .take_while(|at| *at - after <= LOOKED_AHEAD)
        .find(|at| answer(*at) != now)
}
