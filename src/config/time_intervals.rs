//! The section `time_intervals`, from YAML to [`TimeInterval`]s, and those of a binding, to [`Windows`].

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use serde_saphyr::Spanned;

use super::error::{Place, Report, place};
use super::raw::{SpanText, TimeIntervalText, TimeRangeText};
use super::spanned::Scalar;
use super::values::{is_usable, zone};
use super::yaml::did_you_mean;
use crate::model::time_interval::{Span, SyntaxError, TimeInterval, TimeRange, Windows};
use crate::util::zone::Zone;

const MAX_NAME: usize = 128;

const SPAN_HELP: &str = "add a time: time_intervals: [{weekdays: ['monday:friday'], times: [{start_time: '09:00', end_time: '17:00'}]}]";
const TIME_HELP: &str = "write both: {start_time: '09:00', end_time: '17:00'}";

/// Checks every time interval, and that the names are unique.
pub(super) fn check(
    typed: Vec<Spanned<TimeIntervalText>>,
    report: &mut Report<'_>,
) -> Vec<Arc<TimeInterval>> {
    let mut lines = HashMap::new();
    let mut intervals = Vec::with_capacity(typed.len());
    for Spanned {
        value, referenced, ..
    } in typed
    {
        if let Some(name) = &value.name {
            let line = name.referenced.line();
            if let Some(first) = lines.insert(name.value.clone(), line) {
                report.add(
                    place(name.referenced),
                    format!(
                        "two time intervals have the name {:?}: lines {first} and {line}",
                        name.value
                    ),
                    Some(
                        "use a unique name for each; one interval may have several entries under time_intervals"
                            .to_owned(),
                    ),
                );
            }
        }
        intervals.push(Arc::new(interval(value, place(referenced), report)));
    }
    intervals
}

fn interval(
    typed: TimeIntervalText,
    whole: Option<Place>,
    report: &mut Report<'_>,
) -> TimeInterval {
    let name = name(typed.name, whole, report);
    let list = typed
        .time_intervals
        .as_ref()
        .map_or(whole, |typed| place(typed.referenced));
    let spans = typed
        .time_intervals
        .map(|typed| typed.value)
        .unwrap_or_default();
    if spans.is_empty() {
        report.add(
            list,
            format!("the time interval {name:?} is empty"),
            Some(SPAN_HELP.to_owned()),
        );
    }
    let spans = spans.into_iter().map(|typed| span(typed, report)).collect();
    TimeInterval { name, spans }
}

fn name(typed: Option<Scalar>, whole: Option<Place>, report: &mut Report<'_>) -> String {
    let Some(typed) = typed else {
        report.add(
            whole,
            "this time interval has no name",
            Some("add the name that bindings refer to: name: business-hours".to_owned()),
        );
        return String::new();
    };
    if !is_usable(&typed) || typed.value.len() > MAX_NAME {
        report.add(
            place(typed.referenced),
            format!("{:?} is not a valid time interval name", typed.value),
            Some(format!(
                "use 1 to {MAX_NAME} bytes, and no control characters"
            )),
        );
    }
    typed.value
}

fn span(typed: SpanText, report: &mut Report<'_>) -> Span {
    let times = entries("times", typed.times, report);
    Span {
        times: times
            .iter()
            .filter_map(|typed| times_of_day(typed, report))
            .collect(),
        weekdays: ranges("weekdays", typed.weekdays, report),
        days_of_month: ranges("days_of_month", typed.days_of_month, report),
        months: ranges("months", typed.months, report),
        years: ranges("years", typed.years, report),
        location: location(typed.location.as_ref(), report),
    }
}

/// Reads the zone of a span; `Local` is that of this machine, as in Alertmanager.
fn location(typed: Option<&Scalar>, report: &mut Report<'_>) -> Zone {
    let Some(local) = typed.filter(|typed| typed.value.eq_ignore_ascii_case("local")) else {
        return zone("location", typed, report);
    };
    let found = if local.value == "Local" {
        Zone::local()
    } else {
        Err(format!("there is no time zone {:?}", local.value))
    };
    found.unwrap_or_else(|why| {
        let help = "write Local for the time zone of this machine, or an IANA time zone name, as in location: Asia/Shanghai";
        report.add(place(local.referenced), why, Some(help.to_owned()));
        Zone::UTC
    })
}

/// Reads a list. If it is set, it must not be empty.
fn entries<T>(key: &str, typed: Option<Spanned<Vec<T>>>, report: &mut Report<'_>) -> Vec<T> {
    let Some(typed) = typed else {
        return Vec::new();
    };
    if typed.value.is_empty() {
        report.add(
            place(typed.referenced),
            format!("{key} is empty"),
            Some("remove the key to allow any value".to_owned()),
        );
    }
    typed.value
}

fn times_of_day(typed: &Spanned<TimeRangeText>, report: &mut Report<'_>) -> Option<TimeRange> {
    let (Some(start), Some(end)) = (&typed.value.start_time, &typed.value.end_time) else {
        let missing = if typed.value.start_time.is_none() {
            "start_time"
        } else {
            "end_time"
        };
        report.add(
            place(typed.referenced),
            format!("times: {missing} is missing"),
            Some(TIME_HELP.to_owned()),
        );
        return None;
    };
    let range = TimeRange::new(&start.value, &end.value);
    range
        .map_err(|error| report_syntax_error("times", place(typed.referenced), error, report))
        .ok()
}

fn ranges<T: FromStr<Err = SyntaxError>>(
    key: &str,
    typed: Option<Spanned<Vec<Scalar>>>,
    report: &mut Report<'_>,
) -> Vec<T> {
    let read = |typed: &Scalar, report: &mut Report<'_>| {
        let range = typed.value.parse();
        range
            .map_err(|error| report_syntax_error(key, place(typed.referenced), error, report))
            .ok()
    };
    entries(key, typed, report)
        .iter()
        .filter_map(|typed| read(typed, report))
        .collect()
}

fn report_syntax_error(key: &str, at: Option<Place>, error: SyntaxError, report: &mut Report<'_>) {
    let SyntaxError { message, help } = error;
    report.add(at, format!("{key}: {message}"), Some(help));
}

/// Reads the time intervals that `active_times` and `mute_times` refer to.
pub(super) fn windows(
    active: Option<Spanned<Vec<Scalar>>>,
    mute: Option<Spanned<Vec<Scalar>>>,
    known: &[Arc<TimeInterval>],
    report: &mut Report<'_>,
) -> Windows {
    Windows {
        active: intervals_by_name("active_times", active, known, report),
        mute: intervals_by_name("mute_times", mute, known, report),
    }
}

fn intervals_by_name(
    key: &str,
    typed: Option<Spanned<Vec<Scalar>>>,
    known: &[Arc<TimeInterval>],
    report: &mut Report<'_>,
) -> Vec<Arc<TimeInterval>> {
    let mut found = Vec::new();
    for typed in typed.map(|typed| typed.value).unwrap_or_default() {
        if let Some(interval) = known.iter().find(|interval| interval.name == typed.value) {
            found.push(Arc::clone(interval));
            continue;
        }
        let names: Vec<&str> = known.iter().map(|known| known.name.as_str()).collect();
        let help = if names.is_empty() {
            "the configuration file has no time_intervals: define this one there".to_owned()
        } else {
            did_you_mean(&typed.value, &names, "the time intervals are")
        };
        report.add(
            place(typed.referenced),
            format!("{key}: there is no time interval {:?}", typed.value),
            Some(help),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::spanned::parse;
    use super::*;

    #[derive(Deserialize)]
    struct Typed {
        active_times: Option<Spanned<Vec<Scalar>>>,
        mute_times: Option<Spanned<Vec<Scalar>>>,
    }

    fn read(text: &str, known: &[&str]) -> Result<Windows, String> {
        let named = |name: &&str| {
            Arc::new(TimeInterval {
                name: (*name).to_owned(),
                spans: Vec::new(),
            })
        };
        let known: Vec<_> = known.iter().map(named).collect();
        let typed: Typed = parse("f.yml", text).map_err(|e| e.to_string())?;
        let mut report = Report::new("f.yml", text);
        let windows = windows(typed.active_times, typed.mute_times, &known, &mut report);
        report.finish(windows).map_err(|e| e.to_string())
    }

    #[test]
    fn a_binding_names_time_intervals() {
        let text = "{active_times: [day, dusk], mute_times: [noon]}";
        let windows = read(text, &["noon", "dusk", "day"]).expect("known names");
        let names = |found: &[Arc<TimeInterval>]| -> Vec<String> {
            found.iter().map(|i| i.name.clone()).collect()
        };
        assert_eq!(names(&windows.active), ["day", "dusk"]);
        assert_eq!(names(&windows.mute), ["noon"]);
        assert_eq!(read("{}", &["day"]), Ok(Windows::default()));
    }

    #[test]
    fn an_unknown_name_is_told_with_the_one_that_was_meant() {
        let said = read("mute_times: [wekend]", &["weekend", "night"]).unwrap_err();
        assert_eq!(
            said,
            "f.yml:1:14: mute_times: there is no time interval \"wekend\"\n 1 | mute_times: [wekend]\n   |              ^~~~~~\n  = help: did you mean \"weekend\"? the time intervals are weekend, night"
        );
        let said = read("active_times: [weekend]", &[]).unwrap_err();
        assert!(
            said.ends_with("has no time_intervals: define this one there"),
            "{said}"
        );
    }
}
