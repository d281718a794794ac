//! When an answer that spans decide becomes another one.

use chrono::{DateTime, TimeDelta, Utc};

use super::Span;

/// How far ahead a change is looked for. What lasts longer is for ever, for one who asks until when.
const LOOKED_AHEAD: TimeDelta = TimeDelta::days(5 * 366);

/// The first time at which `answer` is another one than at this time. It is asked only where one of the spans may change.
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
