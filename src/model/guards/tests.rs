use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::*;
use crate::model::run::{RunId, Skip};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::seconds(seconds)
}

fn limits(cooldown: u64, max: u32, per: u64) -> Limits {
    Limits {
        cooldown: Duration::from_secs(cooldown),
        attempts: Attempts {
            max,
            per: Duration::from_secs(per),
            then: Then::Stop,
        },
    }
}

fn touch(seconds: i64, step: u32) -> StartRecord {
    touch_of(7, seconds, step)
}

fn touch_of(run: u64, seconds: i64, step: u32) -> StartRecord {
    StartRecord {
        at: at(seconds),
        step,
        run: RunId(run),
    }
}

#[test]
fn a_cooldown_ends_to_the_second() {
    let limits = limits(60, 0, 1);
    let touches = [touch(0, 1)];
    let refused = may_start(&limits, 1, &touches, at(59)).unwrap_err();
    assert_eq!(
        (refused.reason, refused.until),
        (Skip::Cooldown, Some(at(60)))
    );
    assert_eq!(
        refused.why,
        "run 7 started there 59s ago, and the cooldown is 1m"
    );
    assert_eq!(may_start(&limits, 1, &touches, at(60)), Ok(()));
    assert_eq!(may_start(&limits, 2, &touches, at(1)), Ok(()), "escalation");
    assert!(may_start(&limits, 1, &[touch(0, 2)], at(1)).is_err());
}

#[test]
fn attempts_are_counted_within_their_time() {
    let limits = limits(0, 2, 100);
    let touches = [touch_of(1, 0, 1), touch_of(2, 50, 1), touch_of(3, 60, 2)];
    let refused = may_start(&limits, 1, &touches, at(99)).unwrap_err();
    assert_eq!(
        (refused.reason, refused.until),
        (Skip::AttemptsExhausted, Some(at(100)))
    );
    assert_eq!(may_start(&limits, 1, &touches, at(100)), Ok(()));
    assert_eq!(may_start(&limits, 2, &touches, at(99)), Ok(()));
    // A start that also counts as now, because the clock was set back, counts once.
    let once = [touch_of(1, 0, 1), touch_of(1, 50, 1)];
    assert_eq!(may_start(&limits, 1, &once, at(99)), Ok(()));
}

#[test]
fn a_start_a_little_ahead_of_the_clock_counts_as_of_now() {
    let ahead = [touch(3, 1)];
    assert_eq!(may_start(&limits(0, 0, 1), 1, &ahead, at(0)), Ok(()));
    let refused = may_start(&limits(60, 0, 1), 1, &ahead, at(0)).unwrap_err();
    assert_eq!(
        (refused.reason, refused.until),
        (Skip::Cooldown, Some(at(60)))
    );
    assert!(may_start(&limits(60, 0, 1), 1, &ahead, at(62)).is_err());
    assert_eq!(may_start(&limits(60, 0, 1), 1, &ahead, at(63)), Ok(()));
    let refused = may_start(&limits(0, 1, 60), 1, &ahead, at(0)).unwrap_err();
    assert_eq!(
        (refused.reason, refused.until),
        (Skip::AttemptsExhausted, Some(at(60)))
    );
}

#[test]
fn a_storm_is_more_hosts_than_may_be_within_the_time() {
    let storm = Storm {
        max_hosts: 2,
        max_percent: 0,
        within: Duration::from_mins(1),
    };
    let mut recent = StormWindow::default();
    for (host, seconds) in [("a", 0), ("b", 10), ("a", 20)] {
        recent.note("x", host, at(seconds));
    }
    assert_eq!(recent.too_many("x", &storm, 100, at(20)), None);
    recent.note("x", "c", at(30));
    assert_eq!(recent.too_many("x", &storm, 100, at(30)), Some((3, 2)));
    assert_eq!(recent.too_many("x", &storm, 100, at(80)), None, "b is old");
    let percent = |max_percent| Storm {
        max_hosts: 0,
        max_percent,
        ..storm
    };
    assert_eq!(percent(0).limit(100), None);
    assert_eq!(percent(10).limit(55), Some(5));
    assert_eq!(percent(10).limit(3), Some(1), "one may always be helped");
    let both = Storm {
        max_percent: 1,
        ..storm
    };
    assert_eq!((both.limit(100), both.limit(1000)), (Some(1), Some(2)));
}

#[test]
fn a_role_that_fails_on_different_hosts_is_opened_tried_and_closed() {
    let circuit = Circuit {
        failures: 2,
        retry_after: Duration::from_mins(1),
    };
    let roles = ["r".to_owned()];
    let mut book = Holds::default();
    assert!(!book.failed("r", "h1", &circuit, at(0)));
    assert!(!book.failed("r", "h1", &circuit, at(1)), "the same host");
    assert_eq!(book.gate(&roles, at(1)), CircuitState::Closed);
    assert!(book.failed("r", "h2", &circuit, at(2)));
    let CircuitState::Open(refused) = book.gate(&roles, at(61)) else {
        panic!("it is open");
    };
    assert_eq!(refused.until, Some(at(62)));
    assert_eq!(book.gate(&roles, at(62)), CircuitState::HalfOpen);
    let open = book.streaks.get_mut("r").unwrap().open.as_mut().unwrap();
    open.probe = Some(RunId(9));
    assert!(matches!(book.gate(&roles, at(62)), CircuitState::Open(_)));
    let open = book.streaks.get_mut("r").unwrap().open.as_mut().unwrap();
    open.probe = None;
    assert!(!book.failed("r", "h3", &circuit, at(70)), "it was open");
    assert!(matches!(book.gate(&roles, at(129)), CircuitState::Open(_)));
    assert_eq!(book.succeeded("r"), (true, true));
    assert_eq!(book.gate(&roles, at(70)), CircuitState::Closed);
}

#[test]
fn a_host_is_held_until_its_time() {
    let mut book = Holds::default();
    let hold = HostHold {
        since: at(0),
        until: Some(at(10)),
        by: "ann".to_owned(),
        why: "new disks".to_owned(),
    };
    book.hosts.insert("h1".to_owned(), hold);
    let refused = book.host("h1", at(9)).unwrap_err();
    assert_eq!(
        (refused.reason, refused.until),
        (Skip::HostHeld, Some(at(10)))
    );
    assert_eq!(
        refused.why,
        "h1 is held by ann until 2027-01-15 08:00:10 UTC: new disks"
    );
    assert_eq!(book.host("h1", at(10)), Ok(()));
    assert_eq!(book.host("h2", at(0)), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Regardless of the order and the clock, no window of the true time has more starts than allowed, and none follows
    /// another too soon, as long as the clock only moves forward; a clock that jumps never allows more than it skips.
    #[test]
    fn no_limit_is_ever_broken(
        cooldown in 0..30_u64,
        max in 0..4_u32,
        per in 1..60_u64,
        moves in prop::collection::vec((0..20_i64, prop::bool::weighted(0.05), -50..50_i64), 1..80),
    ) {
        let limits = limits(cooldown, max, per);
        let mut state = State::default();
        let (mut now, mut since_jump): (i64, Vec<i64>) = (0, Vec::new());
        for (run, (wait, jumps, by)) in (1..).zip(moves) {
            now += wait;
            if jumps {
                now += by;
                since_jump.clear();
            }
            state.clock(at(now));
            if may_start(&limits, 1, state.touches.on("b", "h"), at(now)).is_err() {
                let until = may_start(&limits, 1, state.touches.on("b", "h"), at(now))
                    .unwrap_err()
                    .until
                    .unwrap();
                let longest = i64::try_from(cooldown.max(per)).unwrap();
                prop_assert!(until > at(now) && until <= at(now + longest), "bounded");
                continue;
            }
            state.touches.add("b", "h", touch_of(run, now, 1), max);
            if let Some(last) = since_jump.last() {
                prop_assert!(now - last >= i64::try_from(cooldown).unwrap());
            }
            since_jump.push(now);
            let window = now - i64::try_from(per).unwrap();
            let within = since_jump.iter().filter(|s| **s > window).count();
            prop_assert!(max == 0 || within <= usize::try_from(max).unwrap());
        }
    }
}
