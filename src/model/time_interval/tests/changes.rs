//! The next change of an answer, across changes of clocks, weeks and years.

use super::{ANY, OFFICE, Typed, at};

const NIGHT: Typed<'_> = Typed {
    times: &[("02:30", "05:00")],
    location: "Europe/Berlin",
    ..ANY
};
const HOUR: Typed<'_> = Typed {
    times: &[("02:00", "02:30")],
    location: "Europe/Berlin",
    ..ANY
};
/// (text, after, time of the change)
const CHANGES: &[(Typed<'_>, &str, Option<&str>)] = &[
    (
        OFFICE,
        "2026-11-25T12:00:00.5Z",
        Some("2026-11-25T17:00:00Z"),
    ),
    (OFFICE, "2026-11-25T17:00:00Z", Some("2026-11-26T09:00:00Z")),
    (OFFICE, "2026-11-27T16:59:59Z", Some("2026-11-27T17:00:00Z")),
    // The end of a week, and of a year.
    (OFFICE, "2026-11-27T17:00:00Z", Some("2026-11-30T09:00:00Z")),
    (
        Typed {
            years: &["2027"],
            ..ANY
        },
        "2026-11-25T12:00:00Z",
        Some("2027-01-01T00:00:00Z"),
    ),
    // Two adjacent ranges are one.
    (
        Typed {
            times: &[("09:00", "12:00"), ("12:00", "17:00")],
            ..ANY
        },
        "2026-11-25T10:00:00Z",
        Some("2026-11-25T17:00:00Z"),
    ),
    // 02:00 becomes 03:00 on the 29th of March: there is no 02:30, and 03:00 is inside.
    (NIGHT, "2026-03-29T00:10:00Z", Some("2026-03-29T01:00:00Z")),
    (HOUR, "2026-03-29T00:10:00Z", Some("2026-03-30T00:00:00Z")),
    // 03:00 becomes 02:00 again on the 25th of October: inside, then outside, and inside again at the second 02:30.
    (NIGHT, "2026-10-25T00:10:00Z", Some("2026-10-25T00:30:00Z")),
    (NIGHT, "2026-10-25T00:30:00Z", Some("2026-10-25T01:00:00Z")),
    (NIGHT, "2026-10-25T01:00:00Z", Some("2026-10-25T01:30:00Z")),
    (HOUR, "2026-10-25T00:30:00Z", Some("2026-10-25T01:00:00Z")),
    // Always, over and never.
    (ANY, "2026-11-25T12:00:00Z", None),
    (
        Typed {
            times: &[("00:00", "24:00")],
            ..ANY
        },
        "2026-11-25T12:00:00Z",
        None,
    ),
    (
        Typed {
            years: &["2020:2022"],
            ..OFFICE
        },
        "2026-11-25T12:00:00Z",
        None,
    ),
    (
        Typed {
            days_of_month: &["31"],
            months: &["february"],
            ..OFFICE
        },
        "2026-11-25T12:00:00Z",
        None,
    ),
    (
        Typed {
            days_of_month: &["29"],
            months: &["february"],
            ..ANY
        },
        "2024-03-01T12:00:00Z",
        Some("2028-02-29T00:00:00Z"),
    ),
];

#[test]
fn a_change_is_told_to_the_second_also_where_clocks_change() {
    for (number, (typed, after, change)) in CHANGES.iter().enumerate() {
        assert_eq!(
            typed.interval().next_change(at(after)),
            change.map(at),
            "case {number}: {after}"
        );
    }
}
