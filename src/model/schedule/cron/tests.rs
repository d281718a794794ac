//! Accepted and rejected expressions, and a model of Debian's cron that advances minute by minute.

use chrono::{DateTime, Datelike, Offset, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::{Cron, CronError};
use crate::util::zone::Zone;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn cron(text: &str) -> Cron {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

fn between(cron: &Cron, zone: Zone, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let times = std::iter::successors(cron.after(&zone, from), |time| cron.after(&zone, *time));
    times.take_while(|time| *time <= to).collect()
}

/// Each pair means the same. The right side is the plain form.
#[test]
fn what_debians_cron_takes_is_taken_with_its_meaning() {
    for (typed, plain) in [
        ("@hourly", "0 */1 * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        (" 0\t4  * * * ", "0 4 * * *"),
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * * 0-7", "0 0 * * 0,1,2,3,4,5,6"),
        ("0 0 * * 5-7", "0 0 * * 0,5,6"),
        ("0 0 * * */7", "0 0 * * 0"),
        ("0 0 * * mon-FRI", "0 0 * * 1,2,3,4,5"),
        ("0 0 * * Sun,tUE", "0 0 * * 0,2"),
        ("0 0 1 jan-Mar/2 *", "0 0 1 1,3 *"),
        ("0-29/10 2 * * *", "0,10,20 2 * * *"),
        ("5-59/20,1,7-9 2 * * *", "1,5,7,8,9,25,45 2 * * *"),
        ("00 04 01 01 00", "0 4 1 1 0"),
        ("*/90 2 * * *", "*/60 2 * * *"),
        ("*,5 * * * *", "* * * * *"),
    ] {
        let (typed, plain) = (cron(typed), cron(plain));
        assert_eq!(typed.fields.minutes, plain.fields.minutes, "{typed}");
        assert_eq!(typed.fields.hours, plain.fields.hours, "{typed}");
        assert_eq!(typed.fields.days, plain.fields.days, "{typed}");
        assert_eq!(typed.fields.months, plain.fields.months, "{typed}");
        assert_eq!(typed.fields.weekdays, plain.fields.weekdays, "{typed}");
    }
    assert!(cron("@hourly").fields.by_wall_clock);
    assert!(!cron("@daily").fields.by_wall_clock);
    assert_eq!(cron("  0   4 * * *").as_str(), "0 4 * * *");
}

#[test]
#[allow(clippy::too_many_lines)] // it is one table
fn what_is_refused_names_the_field_the_value_and_what_would_be_right() {
    for (bad, said) in [
        (
            "60 * * * *",
            r#"minute: "60" is out of range; write a number from 0 to 59"#,
        ),
        (
            "99999999999 * * * *",
            r#"minute: "99999999999" is out of range"#,
        ),
        (
            "* 24 * * *",
            r#"hour: "24" is out of range; write a number from 0 to 23"#,
        ),
        ("* * 0 * *", r#"day of the month: "0" is out of range"#),
        ("* * 32 * *", r#"day of the month: "32" is out of range"#),
        (
            "* * * 13 *",
            r#"month: "13" is out of range; write a number from 1 to 12, or a name from JAN to DEC"#,
        ),
        (
            "* * * * 8",
            r#"day of the week: "8" is out of range; write a number from 0 to 7, or a name from SUN to SAT"#,
        ),
        ("5-64/30 * * * *", r#"minute: "5-64/30" is out of range"#),
        (
            "0 * MON * *",
            r#"day of the month: "MON" belongs in the field day of the week"#,
        ),
        (
            "0 0 * MON *",
            r#"month: "MON" belongs in the field day of the week"#,
        ),
        (
            "0 0 * * JAN",
            r#"day of the week: "JAN" belongs in the field month"#,
        ),
        (
            "MON * * * *",
            r#"minute: "MON" belongs in the field day of the week"#,
        ),
        ("* jan * * *", r#"hour: "jan" belongs in the field month"#),
        (
            "0 0 * * MONDAY",
            r#"day of the week: "MONDAY" cannot be read"#,
        ),
        ("0 0 L * *", r#"day of the month: "L" cannot be read"#),
        ("0 0 * * 5#2", r#"day of the week: "5#2" cannot be read"#),
        ("0 0 ? * 1", r#"day of the month: "?" cannot be read"#),
        ("-5 * * * *", r#"minute: "-5" cannot be read"#),
        ("+5 * * * *", r#"minute: "+5" cannot be read"#),
        ("1-2-3 * * * *", r#"minute: "1-2-3" cannot be read"#),
        ("*5 * * * *", r#"minute: "*5" cannot be read"#),
        ("٣ * * * *", r#"minute: "٣" cannot be read"#),
        ("0,,30 * * * *", r#"minute: "0,,30" has an empty element"#),
        (",0 * * * *", r#"minute: ",0" has an empty element"#),
        ("0, * * * *", r#"minute: "0," has an empty element"#),
        (
            "30-10 * * * *",
            r#"minute: "30-10" is a range from a larger to a smaller number"#,
        ),
        (
            "0 0 * * FRI-SUN",
            r#"day of the week: "FRI-SUN" is a range from a larger"#,
        ),
        (
            "*/0 * * * *",
            r#"minute: "*/0" has a step that is not a positive number"#,
        ),
        (
            "*/ * * * *",
            r#"minute: "*/" has a step that is not a positive number"#,
        ),
        (
            "*/x * * * *",
            r#"minute: "*/x" has a step that is not a positive number"#,
        ),
        (
            "*/2/3 * * * *",
            r#"minute: "*/2/3" has a step that is not a positive number"#,
        ),
        (
            "0 0 * */FEB *",
            r#"month: "*/FEB" has a step that is not a positive number"#,
        ),
        (
            "5/10 * * * *",
            r#"minute: "5/10" has a step after a single number; write a range, as 5-59/10, or 5 alone"#,
        ),
        ("", "it has 0 fields; write five: minute, hour,"),
        ("1", "it has 1 field; write five:"),
        ("* * * *", "it has 4 fields; write five:"),
        (
            "* * * * * *",
            "it has 6 fields; write five (there is none for seconds or years):",
        ),
        ("0 0 * * *\n*", "it has 6 fields"),
        (
            "@often",
            r#""@often" is not a cron keyword; write five fields, or one of @yearly, @annually, @monthly,"#,
        ),
        ("@daily x", r#""@daily x" is not a cron keyword"#),
        (
            "@reboot",
            r#""@reboot" is not supported: schedules follow the clock"#,
        ),
    ] {
        match bad.parse::<Cron>() {
            Err(CronError::Syntax(why)) => assert!(why.starts_with(said), "{bad}: {why}"),
            other => panic!("{bad}: {other:?}"),
        }
    }
    for never in ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 31 4 */2"] {
        assert_eq!(never.parse::<Cron>(), Err(CronError::Never), "{never}");
    }
    // One of the two days is enough.
    cron("0 0 30 2 1");
    cron("0 0 29 2 */7");
}

#[test]
fn both_day_fields_must_hold_where_one_begins_with_an_asterisk() {
    let days = |text: &str| {
        let from = at("2026-11-01T00:00:00Z") - TimeDelta::seconds(1);
        let times = between(&cron(text), Zone::UTC, from, at("2026-11-30T23:59:00Z"));
        times.iter().map(Datelike::day).collect::<Vec<_>>()
    };
    // The 1st of November 2026 is a Sunday.
    assert_eq!(days("0 0 1-7 * */7"), [1]);
    assert_eq!(days("0 0 */10 * SUN"), [1]);
    assert_eq!(days("0 0 1-3 * SUN"), [1, 2, 3, 8, 15, 22, 29]);
    assert_eq!(days("0 0 13 * *"), [13]);
    assert_eq!(days("0 0 * * 5"), [6, 13, 20, 27]);
}

#[test]
fn what_an_expression_means_is_said_in_words() {
    for (typed, said) in [
        ("* * * * *", "Every minute"),
        ("*/15 * * * *", "Every 15 minutes"),
        (
            "*/7 2 * * *",
            "At minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of hour 2",
        ),
        ("@hourly", "Every hour"),
        ("5,35 * * * *", "At minutes 5 and 35 of every hour"),
        ("0 4 * * *", "At 04:00"),
        ("30 2,14 * * *", "At 02:30 and 14:30"),
        ("*/10 9-17 * * *", "Every 10 minutes of hours 9 to 17"),
        ("* 2 * * *", "Every minute of hour 2"),
        ("0 */2 * * *", "Every 2 hours"),
        (
            "0 8-20 * * MON-FRI",
            "At the beginning of hours 8 to 20, on Monday to Friday",
        ),
        ("0 0 29 2 *", "At 00:00, on day 29, in February"),
        (
            "0 0 1,15 * 5",
            "At 00:00, on days 1 and 15 and on each Friday",
        ),
        (
            "0 0 1-7 * */7",
            "At 00:00, on days 1 to 7 if that is Sunday",
        ),
        ("0 0 1-31 * 5", "At 00:00"),
        ("@yearly", "At 00:00, on day 1, in January"),
    ] {
        assert_eq!(cron(typed).describe(), said, "{typed}");
    }
}

/// Two times are fixed times, like one.
#[test]
fn lists_and_ranges_are_fixed_times_over_changes_of_clock() {
    let of = |text: &str, from: &str, to: &str| {
        let times = between(&cron(text), zone("Europe/Berlin"), at(from), at(to));
        let times = times.iter().map(|time| time.format("%H:%M").to_string());
        times.collect::<Vec<_>>()
    };
    let spring = |text| of(text, "2027-03-28T00:30:00Z", "2027-03-28T20:00:00Z");
    let autumn = |text| of(text, "2027-10-30T22:30:00Z", "2027-10-31T20:00:00Z");
    assert_eq!(spring("30 2,14 * * *"), ["01:00", "12:30"]);
    assert_eq!(autumn("30 2,14 * * *"), ["00:30", "13:30"]);
    assert_eq!(spring("5,15,25 2 * * *"), ["01:00"]);
    assert_eq!(autumn("0-29/10 2 * * *"), ["00:00", "00:10", "00:20"]);
    assert_eq!(spring("0 2-4 * * *"), ["01:00", "02:00"]);
    assert_eq!(autumn("0 1-3 * * *"), ["23:00", "00:00", "02:00"]);
    // By the wall clock.
    assert!(spring("*/20 2 * * *").is_empty());
    assert_eq!(autumn("*/30 2 * * *"), ["00:00", "00:30", "01:00", "01:30"]);
    assert_eq!(
        autumn("5 */2 * * *")[..3],
        ["00:05", "01:05", "03:05"].map(String::from)[..]
    );
}

/// A model of Debian's cron(8), minute by minute: it follows wall-clock time, and has its own clock, which never
/// moves back by less than three hours, for fixed times.
struct Model {
    typed: [String; 5],
}

impl Model {
    fn times(&self, tz: Tz, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let wall = |moment: DateTime<Utc>| {
            let ahead = tz.offset_from_utc_datetime(&moment.naive_utc()).fix();
            (moment.timestamp() + i64::from(ahead.local_minus_utc())) / 60
        };
        let mut own = wall(from);
        let mut now = from;
        let mut times = Vec::new();
        while now < to {
            now += TimeDelta::minutes(1);
            let shown = wall(now);
            let jump = shown - own;
            let starts = if self.is_wild() || jump > 180 || jump <= -180 {
                self.matches(shown)
            } else {
                (own + 1..=shown).any(|minute| self.matches(minute))
            };
            if jump > 0 || jump <= -180 {
                own = shown;
            }
            if starts {
                times.push(now);
            }
        }
        times
    }

    fn is_wild(&self) -> bool {
        self.typed[..2].iter().any(|field| field.starts_with('*'))
    }

    fn matches(&self, minute: i64) -> bool {
        let time = DateTime::from_timestamp(minute * 60, 0).unwrap();
        let [minutes, hours, days, months, weekdays] = &self.typed;
        let weekday = time.weekday().num_days_from_sunday();
        let day = Self::holds(days, time.day(), (1, 31));
        let weekday = Self::holds(weekdays, weekday, (0, 7))
            || weekday == 0 && Self::holds(weekdays, 7, (0, 7));
        let and = days.starts_with('*') || weekdays.starts_with('*');
        Self::holds(minutes, time.minute(), (0, 59))
            && Self::holds(hours, time.hour(), (0, 23))
            && Self::holds(months, time.month(), (1, 12))
            && if and { day && weekday } else { day || weekday }
    }

    fn holds(field: &str, number: u32, (low, high): (u32, u32)) -> bool {
        field.split(',').any(|element| {
            let (range, step) = element.split_once('/').unwrap_or((element, "1"));
            let (from, to) = match range.split_once('-') {
                _ if range == "*" => (low, high),
                Some((from, to)) => (Self::number(from), Self::number(to)),
                None => (Self::number(range), Self::number(range)),
            };
            (from..=to).contains(&number)
                && (number - from).is_multiple_of(step.parse::<u32>().unwrap())
        })
    }

    fn number(text: &str) -> u32 {
        const NAMES: &str = "sunmontuewedthufrisat";
        const MONTHS: &str = "janfebmaraprmayjunjulaugsepoctnovdec";
        let text = text.to_lowercase();
        let found = |names: &str| names.find(&text).map(|at| u32::try_from(at / 3).unwrap());
        text.parse()
            .ok()
            .or_else(|| found(NAMES))
            .unwrap_or_else(|| found(MONTHS).unwrap() + 1)
    }
}

/// Zones, each with a time shortly before a change of its offset, and the number of days to examine.
const CHANGES: [(&str, &str); 24] = [
    ("Europe/Berlin", "2027-03-27T12:00:00Z"),
    ("Europe/Berlin", "2027-10-30T12:00:00Z"),
    ("America/New_York", "2027-03-13T20:00:00Z"),
    ("America/New_York", "2027-11-06T20:00:00Z"),
    // By half an hour.
    ("Australia/Lord_Howe", "2027-10-02T06:00:00Z"),
    ("Australia/Lord_Howe", "2027-04-03T06:00:00Z"),
    // At midnight, forward and back.
    ("America/Santiago", "2027-09-04T20:00:00Z"),
    ("America/Santiago", "2027-04-03T20:00:00Z"),
    ("Asia/Beirut", "2027-03-27T12:00:00Z"),
    ("Asia/Beirut", "2027-10-30T12:00:00Z"),
    // A minute after midnight, so that a part of the next day precedes the end of this one.
    ("America/St_Johns", "2010-03-13T20:00:00Z"),
    ("America/St_Johns", "2010-11-06T20:00:00Z"),
    // By two hours.
    ("Antarctica/Troll", "2027-03-27T12:00:00Z"),
    ("Antarctica/Troll", "2027-10-30T12:00:00Z"),
    // Around Ramadan, back first.
    ("Africa/Casablanca", "2027-02-06T14:00:00Z"),
    ("Africa/Casablanca", "2027-03-13T14:00:00Z"),
    // A day is skipped.
    ("Pacific/Apia", "2011-12-29T16:00:00Z"),
    ("Pacific/Apia", "2012-03-31T02:00:00Z"),
    // By three hours, forward and back.
    ("Antarctica/Casey", "2020-10-03T08:00:00Z"),
    ("Antarctica/Casey", "2021-03-13T04:00:00Z"),
    ("Asia/Shanghai", "2027-03-27T12:00:00Z"),
    ("Asia/Kolkata", "2027-03-27T12:00:00Z"),
    ("Asia/Kathmandu", "2027-10-30T12:00:00Z"),
    ("UTC", "2027-03-27T12:00:00Z"),
];

fn numbers(low: u32, high: u32) -> BoxedStrategy<String> {
    let number = low..=high;
    let range = (number.clone(), number.clone()).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let element = prop_oneof![
        4 => number.prop_map(|n| n.to_string()),
        2 => range.clone().prop_map(|(a, b)| format!("{a}-{b}")),
        1 => (range, 1..10_u32).prop_map(|((a, b), step)| format!("{a}-{b}/{step}")),
    ];
    let list = prop::collection::vec(element, 1..4).prop_map(|list| list.join(","));
    let wild = prop_oneof![
        Just("*".to_owned()),
        (1..=high + 2).prop_map(|n| format!("*/{n}"))
    ];
    prop_oneof![2 => list, 1 => wild].boxed()
}

fn expressions() -> impl Strategy<Value = [String; 5]> {
    let hour = prop_oneof![
        // Around the changes of the offset.
        3 => prop::sample::select(&["2", "1-3", "0,23", "2,14", "0-3/2", "23"][..]).prop_map(str::to_owned),
        2 => numbers(0, 23),
    ];
    let any = || Just("*".to_owned());
    let day = prop_oneof![3 => any(), 1 => numbers(1, 31)];
    let month = prop_oneof![
        6 => any(),
        1 => numbers(1, 12),
        1 => prop::sample::select(&["mar", "Mar,oct-NOV", "feb-apr,9-12/1"][..]).prop_map(str::to_owned),
    ];
    let names = prop::sample::select(&["SUN", "sat-SAT", "Sat,sun", "mon-fri,7", "0-7/7"][..]);
    let weekday = prop_oneof![3 => any(), 1 => numbers(0, 7), 1 => names.prop_map(str::to_owned)];
    (numbers(0, 59), hour, day, month, weekday)
        .prop_map(|(minute, hour, day, month, weekday)| [minute, hour, day, month, weekday])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn times_are_those_of_debians_cron(
        typed in expressions(),
        (name, from) in prop::sample::select(&CHANGES[..]),
    ) {
        let text = typed.join(" ");
        let Ok(cron) = text.parse::<Cron>() else {
            // The 30th of February and the like.
            prop_assert_eq!(text.parse::<Cron>(), Err(CronError::Never));
            return Ok(());
        };
        let (from, zone) = (at(from), zone(name));
        let to = from + TimeDelta::days(3);
        let model = Model { typed }.times(zone.tz(), from, to);
        prop_assert_eq!(between(&cron, zone, from, to), model, "{} {}", text, name);
    }
}

/// Ensures that the model encounters both changes in the zones above.
#[test]
fn the_zones_of_the_model_change_their_clocks() {
    let changes = CHANGES.iter().filter(|(name, from)| {
        let tz = zone(name).tz();
        let ahead = |time: DateTime<Utc>| tz.offset_from_utc_datetime(&time.naive_utc()).fix();
        ahead(at(from)) != ahead(at(from) + TimeDelta::days(2))
    });
    assert_eq!(changes.count(), 20);
}
