//! The cases of the documentation, and the errors of invalid ones.

mod changes;
mod minutes;

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::*;
use crate::util::zone::Zone;

#[derive(Clone, Copy)]
struct Typed<'a> {
    times: &'a [(&'a str, &'a str)],
    weekdays: &'a [&'a str],
    days_of_month: &'a [&'a str],
    months: &'a [&'a str],
    years: &'a [&'a str],
    location: &'a str,
}

impl Typed<'_> {
    fn span(self) -> Span {
        fn all<T: std::str::FromStr<Err = SyntaxError>>(typed: &[&str]) -> Vec<T> {
            typed.iter().map(|typed| typed.parse().unwrap()).collect()
        }
        let times = self.times.iter();
        Span {
            times: times.map(|(a, b)| TimeRange::new(a, b).unwrap()).collect(),
            weekdays: all(self.weekdays),
            days_of_month: all(self.days_of_month),
            months: all(self.months),
            years: all(self.years),
            location: match self.location {
                "" => Zone::UTC,
                name => name.parse().unwrap(),
            },
        }
    }

    fn interval(self) -> TimeInterval {
        interval("x", vec![self.span()])
    }
}

fn interval(name: &str, spans: Vec<Span>) -> TimeInterval {
    TimeInterval {
        name: name.to_owned(),
        spans,
    }
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

const OFFICE: Typed<'_> = Typed {
    times: &[("09:00", "17:00")],
    weekdays: &["monday:friday"],
    days_of_month: &[],
    months: &[],
    years: &[],
    location: "",
};

/// (text, times inside, times outside)
type Case<'a> = (Typed<'a>, &'a [&'a str], &'a [&'a str]);

const ANY: Typed<'_> = Typed {
    times: &[],
    weekdays: &[],
    days_of_month: &[],
    months: &[],
    years: &[],
    location: "",
};

const DOCUMENTED: &[Case<'_>] = &[
    (ANY, &["1970-01-01T00:00:00Z", "2026-11-25T12:00:00Z"], &[]),
    // The start is included, the end is excluded; 24:00 is midnight.
    (
        Typed {
            times: &[("17:00", "24:00")],
            ..ANY
        },
        &["2026-11-25T17:00:00Z", "2026-11-25T23:59:59.999Z"],
        &["2026-11-25T16:59:59.999Z", "2026-11-26T00:00:00Z"],
    ),
    (
        Typed {
            weekdays: &["monday:wednesday", "Saturday", "sunday"],
            ..ANY
        },
        &[
            "2026-11-23T00:00:00Z",
            "2026-11-25T23:59:00Z",
            "2026-11-28T10:00:00Z",
            "2026-11-29T10:00:00Z",
        ],
        &["2026-11-26T00:00:00Z", "2026-11-27T23:59:00Z"],
    ),
    (
        Typed {
            days_of_month: &["1:5", "-3:-1"],
            ..ANY
        },
        &[
            "2026-01-01T00:00:00Z",
            "2026-01-05T23:59:00Z",
            "2026-01-29T00:00:00Z",
            "2026-02-26T00:00:00Z",
            "2028-02-29T10:00:00Z",
        ],
        &[
            "2026-01-06T00:00:00Z",
            "2026-01-28T23:59:00Z",
            "2026-02-25T10:00:00Z",
            "2028-02-26T10:00:00Z",
        ],
    ),
    // A range beyond the end of the month ends with it; a range that begins beyond it is empty.
    (
        Typed {
            days_of_month: &["1:31"],
            ..ANY
        },
        &["2026-02-28T23:59:00Z", "2026-03-01T00:00:00Z"],
        &[],
    ),
    (
        Typed {
            days_of_month: &["31"],
            ..ANY
        },
        &["2026-01-31T10:00:00Z"],
        &["2026-04-30T10:00:00Z", "2026-02-28T10:00:00Z"],
    ),
    (
        Typed {
            days_of_month: &["-31:-30"],
            ..ANY
        },
        &[
            "2026-01-01T10:00:00Z",
            "2026-01-02T10:00:00Z",
            "2026-04-01T10:00:00Z",
        ],
        &[
            "2026-01-03T10:00:00Z",
            "2026-04-02T10:00:00Z",
            "2026-02-01T10:00:00Z",
        ],
    ),
    (
        Typed {
            days_of_month: &["10:-10"],
            ..ANY
        },
        &[
            "2026-02-10T10:00:00Z",
            "2026-02-19T10:00:00Z",
            "2026-01-22T10:00:00Z",
        ],
        &[
            "2026-02-20T10:00:00Z",
            "2026-01-23T10:00:00Z",
            "2026-01-09T10:00:00Z",
        ],
    ),
    (
        Typed {
            months: &["1:3", "may:August", "december"],
            ..ANY
        },
        &[
            "2026-01-01T00:00:00Z",
            "2026-03-31T23:59:00Z",
            "2026-05-01T00:00:00Z",
            "2026-12-31T00:00:00Z",
        ],
        &[
            "2026-04-01T00:00:00Z",
            "2026-09-01T00:00:00Z",
            "2026-11-30T23:59:00Z",
        ],
    ),
    (
        Typed {
            years: &["2020:2022", "2030"],
            ..ANY
        },
        &[
            "2020-01-01T00:00:00Z",
            "2022-12-31T23:59:00Z",
            "2030-06-01T00:00:00Z",
        ],
        &[
            "2019-12-31T23:59:00Z",
            "2023-01-01T00:00:00Z",
            "2031-01-01T00:00:00Z",
        ],
    ),
    // Local time in Sydney, eleven hours ahead of UTC in its summer, ten in its winter.
    (
        Typed {
            location: "Australia/Sydney",
            ..OFFICE
        },
        &[
            "2026-11-22T22:00:00Z",
            "2026-11-25T05:59:00Z",
            "2026-07-21T23:00:00Z",
        ],
        &[
            "2026-11-20T22:00:00Z",
            "2026-11-25T06:00:00Z",
            "2026-07-21T22:30:00Z",
        ],
    ),
    // All fields must match.
    (
        Typed {
            months: &["november"],
            ..OFFICE
        },
        &["2026-11-25T12:00:00Z"],
        &[
            "2026-11-28T12:00:00Z",
            "2026-10-26T12:00:00Z",
            "2026-11-25T08:00:00Z",
        ],
    ),
];

#[test]
fn the_cases_of_the_documentation() {
    for (number, (typed, inside, outside)) in DOCUMENTED.iter().enumerate() {
        let interval = typed.interval();
        for time in *inside {
            assert!(interval.contains(at(time)), "case {number}: {time}");
        }
        for time in *outside {
            assert!(!interval.contains(at(time)), "case {number}: {time}");
        }
    }
}

#[test]
fn one_of_several_spans_is_enough_and_none_is_never() {
    let night = Typed {
        times: &[("00:00", "06:00")],
        ..ANY
    };
    let both = interval("x", vec![OFFICE.span(), night.span()]);
    assert!(both.contains(at("2026-11-25T12:00:00Z")) && both.contains(at("2026-11-28T02:00:00Z")));
    assert!(!both.contains(at("2026-11-28T12:00:00Z")));
    let none = interval("x", Vec::new());
    assert!(!none.contains(at("2026-11-25T12:00:00Z")));
    assert_eq!(none.next_change(at("2026-11-25T12:00:00Z")), None);
}

#[test]
fn what_is_wrong_with_a_range_and_what_would_be_right() {
    fn said<T: std::str::FromStr<Err = SyntaxError> + std::fmt::Debug>(text: &str) -> String {
        text.parse::<T>().unwrap_err().to_string()
    }
    let time = |start, end| TimeRange::new(start, end).unwrap_err().to_string();
    let words = [
        time("9:00", "17:00"),
        time("09:00", "24:01"),
        time("22:00", "06:00"),
        time("09:00", "09:00"),
        time("", "+1:00"),
        said::<WeekdayRange>("tusday"),
        said::<WeekdayRange>("monday: friday"),
        said::<WeekdayRange>("friday:monday"),
        said::<WeekdayRange>("monday:tuesday:friday"),
        said::<WeekdayRange>(""),
        said::<DayRange>("0"),
        said::<DayRange>("1:32"),
        said::<DayRange>("-3:1"),
        said::<DayRange>("5:1"),
        said::<DayRange>("-1:-3"),
        said::<DayRange>("29:-1"),
        said::<MonthRange>("0"),
        said::<MonthRange>("13"),
        said::<MonthRange>("augst"),
        said::<MonthRange>("november:february"),
        said::<YearRange>("26"),
        said::<YearRange>("2028:2026"),
        said::<YearRange>("-1"),
        said::<YearRange>("2026-2028"),
    ];
    insta::assert_snapshot!(words.join("\n"));
}

#[test]
fn windows_are_open_in_the_active_ones_and_closed_in_the_muting_ones() {
    let office = Arc::new(interval("office", vec![OFFICE.span()]));
    let lunch = Typed {
        times: &[("12:00", "13:00")],
        ..ANY
    };
    let lunch = Arc::new(interval("lunch", vec![lunch.span()]));
    let windows = Windows {
        active: vec![Arc::clone(&office)],
        mute: vec![Arc::clone(&lunch)],
    };
    let said = |windows: &Windows, time: &str| windows.closed(at(time)).map(|c| c.to_string());
    assert_eq!(said(&windows, "2026-11-25T10:00:00Z"), None);
    assert_eq!(
        said(&windows, "2026-11-25T12:00:00Z").as_deref(),
        Some("it is muted by the time interval \"lunch\"")
    );
    assert_eq!(
        said(&windows, "2026-11-28T12:30:00Z").as_deref(),
        Some("it is active only in the time interval \"office\"")
    );
    for (after, change) in [
        ("2026-11-25T10:00:00Z", "2026-11-25T12:00:00Z"),
        ("2026-11-25T12:00:00Z", "2026-11-25T13:00:00Z"),
        ("2026-11-25T13:00:00Z", "2026-11-25T17:00:00Z"),
        ("2026-11-25T17:00:00Z", "2026-11-26T09:00:00Z"),
        // On Saturday, lunch changes the reason for being closed, not the state.
        ("2026-11-28T11:00:00Z", "2026-11-30T09:00:00Z"),
    ] {
        assert_eq!(windows.next_change(at(after)), Some(at(change)), "{after}");
    }
    let always = Windows::default();
    assert_eq!(said(&always, "2026-11-25T12:00:00Z"), None);
    assert_eq!(always.next_change(at("2026-11-25T12:00:00Z")), None);
    let muted = Windows {
        active: Vec::new(),
        mute: vec![lunch],
    };
    assert_eq!(said(&muted, "2026-11-28T10:00:00Z"), None);
    assert!(said(&muted, "2026-11-28T12:00:00Z").is_some());
}
