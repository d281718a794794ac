use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::*;
use crate::util::zone::Zone;

fn timing(cron: &str, zone: &str, missed: Missed) -> Timing {
    Timing {
        cron: cron.parse().unwrap(),
        zone: zone.parse().unwrap(),
        jitter: Duration::ZERO,
        missed,
        grace: Duration::from_hours(1),
        allow_overlap: false,
    }
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The next times in local time, with the offset from UTC.
fn walls(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
    let timing = timing(cron, zone, Missed::Skip);
    let zone: chrono_tz::Tz = zone.parse().unwrap();
    let times = timing.next(at(from), count).into_iter();
    times
        .map(|time| time.with_timezone(&zone).format("%d %H:%M %z").to_string())
        .collect()
}

#[test]
fn a_zone_is_one_of_the_data_base() {
    assert!("Asia/Shanghai".parse::<Zone>().is_ok());
    assert_eq!(
        "Mars/Olympus".parse::<Zone>().unwrap_err(),
        "there is no time zone \"Mars/Olympus\""
    );
}

#[test]
fn a_fixed_time_in_the_gap_of_a_clock_put_forward_comes_right_after_it() {
    assert_eq!(
        walls("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3),
        ["28 02:30 +0100", "29 03:00 +0200", "30 02:30 +0200"]
    );
    assert_eq!(
        walls("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 4),
        [
            "29 01:30 +0100",
            "29 03:00 +0200",
            "29 03:30 +0200",
            "29 04:00 +0200"
        ]
    );
    // Lord Howe sets its clock forward by only half an hour.
    assert_eq!(
        walls(
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T00:00:00Z",
            2
        ),
        ["04 02:30 +1100", "05 02:15 +1100"]
    );
}

#[test]
fn a_fixed_time_that_comes_twice_when_a_clock_is_put_back_is_kept_once() {
    assert_eq!(
        walls("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["25 02:30 +0200", "26 02:30 +0100"]
    );
    assert_eq!(
        walls("*/30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 4),
        [
            "25 02:00 +0200",
            "25 02:30 +0200",
            "25 02:00 +0100",
            "25 02:30 +0100"
        ]
    );
    assert_eq!(
        walls(
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04T00:00:00Z",
            2
        ),
        ["05 01:45 +1100", "06 01:45 +1030"]
    );
}

#[test]
fn a_zone_without_changes_of_clock_is_always_the_same() {
    assert_eq!(
        walls("0 9 * * *", "Asia/Shanghai", "2026-03-28T00:00:00Z", 3),
        ["28 09:00 +0800", "29 09:00 +0800", "30 09:00 +0800"]
    );
}

fn progress(timing: &Timing, settled: &str) -> Progress {
    Progress::begin(timing, at(settled))
}

/// The result at `now`, with everything settled up to 09:59.
fn hourly(missed: Missed, can_start: bool, now: &str) -> Due {
    let timing = timing("0 * * * *", "UTC", missed);
    let progress = progress(&timing, "2026-11-25T09:59:00Z");
    due("s", &timing, &progress, can_start, at(now))
}

#[test]
fn a_time_is_started_when_it_comes_and_not_before() {
    let early = hourly(Missed::Skip, true, "2026-11-25T09:59:59Z");
    assert_eq!(
        (early.start.len(), early.missed, early.waits),
        (0, 0, false)
    );
    assert_eq!(early.look_at, Some(at("2026-11-25T10:00:00Z")));
    let on_time = hourly(Missed::Skip, true, "2026-11-25T10:00:00.2Z");
    assert_eq!(on_time.start, [at("2026-11-25T10:00:00Z")]);
    assert_eq!(on_time.settled, at("2026-11-25T10:00:00Z"));
    assert_eq!(on_time.look_at, Some(at("2026-11-25T11:00:00Z")));
}

#[test]
fn what_was_missed_is_left_out_or_made_up_for() {
    let now = "2026-11-25T12:30:00Z";
    let skip = hourly(Missed::Skip, true, now);
    assert_eq!((skip.start.len(), skip.missed), (0, 3));
    assert_eq!(skip.settled, at("2026-11-25T12:00:00Z"));
    // The grace of an hour includes only 12:00.
    let once = hourly(Missed::Once, true, now);
    assert_eq!(
        (once.start, once.missed),
        (vec![at("2026-11-25T12:00:00Z")], 2)
    );

    let mut timing = timing("0 * * * *", "UTC", Missed::All);
    timing.grace = Duration::from_hours(2);
    let begun = progress(&timing, "2026-11-25T09:59:00Z");
    let all = due("s", &timing, &begun, true, at(now));
    // One after the other: the next is started when the first has ended.
    assert_eq!(
        (all.start, all.missed, all.waits),
        (vec![at("2026-11-25T11:00:00Z")], 1, true)
    );
    assert_eq!(all.settled, at("2026-11-25T11:00:00Z"));
    timing.allow_overlap = true;
    let all = due("s", &timing, &begun, true, at(now));
    assert_eq!(
        all.start,
        [at("2026-11-25T11:00:00Z"), at("2026-11-25T12:00:00Z")]
    );
}

#[test]
fn what_cannot_start_waits_as_long_as_it_may_be_late() {
    let waits = hourly(Missed::Skip, false, "2026-11-25T10:00:59Z");
    assert_eq!((waits.start.len(), waits.missed, waits.waits), (0, 0, true));
    assert_eq!(waits.look_at, Some(at("2026-11-25T10:01:00Z")));
    assert_eq!(waits.settled, at("2026-11-25T09:59:00Z"));
    let missed = hourly(Missed::Skip, false, "2026-11-25T10:01:00Z");
    assert_eq!((missed.missed, missed.waits), (1, false));
    let waits = hourly(Missed::Once, false, "2026-11-25T10:30:00Z");
    assert_eq!((waits.missed, waits.waits), (0, true));
    assert_eq!(waits.next, Some(at("2026-11-25T11:00:00Z")));
    // A newer time replaces the waiting one.
    let waits = hourly(Missed::Once, false, "2026-11-25T11:00:01Z");
    assert_eq!((waits.missed, waits.waits), (1, true));
}

/// Otherwise the displayed next time would lie in the past.
#[test]
fn what_waits_for_long_is_looked_at_when_the_next_time_comes() {
    let mut timing = timing("0 * * * *", "UTC", Missed::All);
    timing.grace = Duration::from_hours(5);
    let begun = progress(&timing, "2026-11-25T09:59:00Z");
    let waits = |now| due("s", &timing, &begun, false, at(now));
    for (now, next) in [
        ("2026-11-25T10:00:00Z", "2026-11-25T11:00:00Z"),
        ("2026-11-25T11:00:00Z", "2026-11-25T12:00:00Z"),
    ] {
        let due = waits(now);
        assert_eq!((due.waits, due.missed), (true, 0));
        assert_eq!((due.look_at, due.next), (Some(at(next)), Some(at(next))));
    }
    assert_eq!(
        waits("2026-11-25T14:30:00Z").look_at,
        Some(at("2026-11-25T15:00:00Z"))
    );
}

#[test]
fn a_clock_that_was_set_back_brings_no_time_again_unless_it_was_wrong() {
    let timing = timing("0 * * * *", "UTC", Missed::All);
    let settled = progress(&timing, "2026-11-25T12:00:00Z");
    let back = due("s", &timing, &settled, true, at("2026-11-25T11:00:30Z"));
    assert_eq!((back.start.len(), back.missed), (0, 0));
    assert_eq!(back.look_at, Some(at("2026-11-25T13:00:00Z")));
    let wrong = progress(&timing, "2038-01-19T03:14:07Z");
    let back = due("s", &timing, &wrong, true, at("2026-11-25T11:00:30Z"));
    assert_eq!(back.settled, at("2026-11-25T11:00:30Z"));
    assert_eq!(back.look_at, Some(at("2026-11-25T12:00:00Z")));
}

#[test]
fn a_long_absence_is_not_counted_time_by_time() {
    let timing = timing("* * * * *", "UTC", Missed::Once);
    let long_ago = progress(&timing, "2016-11-25T12:00:00Z");
    let back = due("s", &timing, &long_ago, true, at("2026-11-25T11:00:30Z"));
    assert_eq!(back.start, [at("2026-11-25T11:00:00Z")]);
    assert!((1000..3000).contains(&back.missed), "{}", back.missed);
    assert_eq!(back.settled, at("2026-11-25T11:00:00Z"));
}

#[test]
fn jitter_spreads_schedules_and_is_the_same_each_time() {
    let mut timing = timing("0 * * * *", "UTC", Missed::Skip);
    timing.jitter = Duration::from_mins(10);
    let begun = progress(&timing, "2026-11-25T09:59:00Z");
    let starts: Vec<DateTime<Utc>> = (0..100)
        .map(|n| {
            let name = format!("s{n}");
            let first = due(&name, &timing, &begun, true, at("2026-11-25T09:59:30Z"));
            let again = due(&name, &timing, &begun, true, at("2026-11-25T09:59:40Z"));
            assert_eq!(first.look_at, again.look_at);
            let start = first.look_at.unwrap();
            assert_eq!(
                due(&name, &timing, &begun, true, start).start,
                [at("2026-11-25T10:00:00Z")]
            );
            start
        })
        .collect();
    let late =
        |start: &&DateTime<Utc>| **start - at("2026-11-25T10:00:00Z") >= TimeDelta::minutes(5);
    assert!((30..70).contains(&starts.iter().filter(late).count()));
    let last = starts.iter().max().unwrap();
    assert!(*last < at("2026-11-25T10:10:00Z"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Regardless of the clock and of the times of the checks, no time is started twice, and while the clock moves
    /// forward each is either started or counted as missed.
    #[test]
    fn each_time_is_settled_once(
        cron in prop::sample::select(&["*/7 * * * *", "30 2 * * *", "0 */3 * * *", "15 1-4 * * *"][..]),
        zone in prop::sample::select(&["UTC", "Europe/Berlin", "America/New_York", "Asia/Shanghai", "Australia/Lord_Howe"][..]),
        missed in prop::sample::select(&[Missed::Skip, Missed::Once, Missed::All][..]),
        overlap in any::<bool>(),
        jitter in 0_u64..1200,
        begin in 0_i64..31_000_000,
        steps in prop::collection::vec((-4000_i64..30_000, any::<bool>()), 1..40),
    ) {
        let mut timing = timing(cron, zone, missed);
        timing.allow_overlap = overlap;
        timing.jitter = Duration::from_secs(jitter);
        let mut now = at("2026-01-01T00:00:00Z") + TimeDelta::seconds(begin);
        let mut progress = Progress::begin(&timing, now);
        let first = now;
        let mut started = std::collections::BTreeSet::new();
        let (mut settled, mut upto, mut all) = (0, first, 0);
        for (step, can_start) in steps {
            now += TimeDelta::seconds(step);
            let due = due("s", &timing, &progress, can_start, now);
            prop_assert!(can_start || due.start.is_empty());
            prop_assert!(due.settled >= progress.settled);
            for time in &due.start {
                prop_assert!(*time <= now && *time > first);
                prop_assert!(started.insert(*time), "{time} twice");
            }
            settled += due.start.len() as u64 + due.missed;
            let (look_at, next) = (due.look_at.unwrap(), due.next.unwrap());
            prop_assert!(look_at > now && next > now && look_at <= next, "{look_at} {next}");
            progress.settled = due.settled;
            while let Some(next) = timing.after(upto).filter(|next| *next <= progress.settled) {
                (upto, all) = (next, all + 1);
            }
            prop_assert_eq!(settled, all);
        }
    }
}
