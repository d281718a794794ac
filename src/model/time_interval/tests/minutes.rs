//! Compares both answers with an examination of every minute.

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Timelike, Utc};
use proptest::prelude::*;

use super::super::*;
use super::{at, interval};

/// Zones whose clocks change: at night, by half an hour, at midnight (so that a day begins at 01:00, or 23:00 occurs
/// twice), for a month of the year, and a skipped day.
const ZONES: [(&str, &str); 8] = [
    ("UTC", "2026-02-27T00:00:00Z"),
    ("Europe/Berlin", "2026-03-28T12:00:00Z"),
    ("Europe/Berlin", "2026-10-24T12:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-03T12:00:00Z"),
    ("America/Havana", "2026-03-07T12:00:00Z"),
    ("America/Asuncion", "2023-03-25T00:00:00Z"),
    ("Africa/Casablanca", "2026-03-21T00:00:00Z"),
    ("Pacific/Apia", "2011-12-29T00:00:00Z"),
];

/// The parts of a generated span, as numbers.
#[derive(Debug, Clone)]
struct Numbers {
    times: Vec<(u32, u32)>,
    weekdays: Vec<(usize, usize)>,
    days: Vec<(i64, i64)>,
    months: Vec<(usize, usize)>,
}

fn numbers() -> impl Strategy<Value = Numbers> {
    // Mostly around the hours of clock changes, and on full days.
    let minute = prop_oneof![0_u32..=240, 1380_u32..=1440, 0_u32..=1440];
    let times = (minute.clone(), minute)
        .prop_filter("not empty", |(a, b)| a != b)
        .prop_map(|(a, b)| (a.min(b), a.max(b)));
    let weekdays = (0_usize..7, 0_usize..7).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let day = prop_oneof![1_i64..=31, -31_i64..=-1];
    let days = (day.clone(), day).prop_filter("a range", |(a, b)| {
        format!("{a}:{b}").parse::<DayRange>().is_ok()
    });
    let months = (1_usize..=12, 1_usize..=12).prop_map(|(a, b)| (a.min(b), a.max(b)));
    (
        prop::collection::vec(times, 0..3),
        prop::collection::vec(weekdays, 0..2),
        prop::collection::vec(days, 0..2),
        prop::collection::vec(months, 0..2),
    )
        .prop_map(|(times, weekdays, days, months)| Numbers {
            times,
            weekdays,
            days,
            months,
        })
}

impl Numbers {
    fn span(&self, zone: &str) -> Span {
        let hm = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
        let names = [
            "sunday",
            "monday",
            "tuesday",
            "wednesday",
            "thursday",
            "friday",
            "saturday",
        ];
        Span {
            times: self
                .times
                .iter()
                .map(|(a, b)| TimeRange::new(&hm(*a), &hm(*b)).unwrap())
                .collect(),
            weekdays: self
                .weekdays
                .iter()
                .map(|(a, b)| format!("{}:{}", names[*a], names[*b]).parse().unwrap())
                .collect(),
            days_of_month: self
                .days
                .iter()
                .map(|(a, b)| format!("{a}:{b}").parse().unwrap())
                .collect(),
            months: self
                .months
                .iter()
                .map(|(a, b)| format!("{a}:{b}").parse().unwrap())
                .collect(),
            years: Vec::new(),
            location: zone.parse().unwrap(),
        }
    }

    /// Expands the lists: the minutes of a day, the days of a week, the days of this month, and the months.
    fn naive(&self, zone: &str, at: DateTime<Utc>) -> bool {
        let there = at.with_timezone(&zone.parse::<chrono_tz::Tz>().unwrap());
        let minutes: Vec<u32> = self.times.iter().flat_map(|(a, b)| *a..*b).collect();
        let weekdays: Vec<u32> = self
            .weekdays
            .iter()
            .flat_map(|(a, b)| (*a..=*b).map(|n| u32::try_from(n).unwrap()))
            .collect();
        let next_month = match there.month() {
            12 => NaiveDate::from_ymd_opt(there.year() + 1, 1, 1),
            month => NaiveDate::from_ymd_opt(there.year(), month + 1, 1),
        };
        let length = i64::from(next_month.unwrap().pred_opt().unwrap().day());
        let from_start = |day: i64| if day < 0 { length + day + 1 } else { day };
        let days: Vec<i64> = self
            .days
            .iter()
            .flat_map(|(a, b)| from_start(*a)..=from_start(*b))
            .collect();
        let months: Vec<usize> = self.months.iter().flat_map(|(a, b)| *a..=*b).collect();
        (self.times.is_empty() || minutes.contains(&(there.hour() * 60 + there.minute())))
            && (self.weekdays.is_empty()
                || weekdays.contains(&there.weekday().num_days_from_sunday()))
            && (self.days.is_empty() || days.contains(&i64::from(there.day())))
            && (self.months.is_empty() || months.contains(&(there.month() as usize)))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn both_answers_are_those_of_looking_at_every_minute(
        spans in prop::collection::vec(numbers(), 1..3),
        zone in prop::sample::select(&ZONES[..]),
        offset in 0_i64..2880,
    ) {
        let (zone, from) = zone;
        let tested = interval("x", spans.iter().map(|span| span.span(zone)).collect());
        let from = at(from) + TimeDelta::minutes(offset);
        let naive = |at| spans.iter().any(|span| span.naive(zone, at));
        let minutes = (0..3 * 1440).map(|minute| from + TimeDelta::minutes(minute));
        let now = naive(from);
        let mut change = None;
        for minute in minutes {
            let there = naive(minute);
            prop_assert_eq!(tested.contains(minute), there, "{}", minute);
            if change.is_none() && there != now {
                change = Some(minute);
            }
        }
        let told = tested.next_change(from);
        match change {
            Some(_) => prop_assert_eq!(told, change),
            None => prop_assert!(told.is_none_or(|told| told >= from + TimeDelta::days(3)), "{:?}", told),
        }
    }

    #[test]
    fn no_text_makes_a_range_panic(text in "\\PC{0,20}", other in "[0-9:+-]{0,7}") {
        for text in [&text, &other] {
            let _ = text.parse::<WeekdayRange>();
            let _ = text.parse::<DayRange>();
            let _ = text.parse::<MonthRange>();
            let _ = text.parse::<YearRange>();
            let _ = TimeRange::new(text, &other);
        }
    }
}
