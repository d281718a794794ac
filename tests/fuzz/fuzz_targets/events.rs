//! However the callback's bytes are cut, the same events come of them, within their bounds. The first byte says how the
//! others are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use promansible_fuzz::model::findings::{Check, Checks, MAX_SERIES, figures, is_too_large};
use promansible_fuzz::events::{Decoder, Event};

const HOSTS: [&str; 2] = ["web1", "web2"];

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Event>, u64) {
    let mut decoder = Decoder::new(HOSTS.map(str::to_owned));
    let events = pieces.flat_map(|piece| decoder.feed(piece)).collect();
    decoder.finish();
    (events, decoder.junk())
}

fn checks() -> Checks {
    let check = |labels: &[&str]| Check {
        help: String::new(),
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
    };
    let checks = [
        ("dns_up", check(&[])),
        ("dns_answer_seconds", check(&["name", "resolver"])),
    ];
    checks.map(|(name, check)| (name.to_owned(), check)).into()
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&size, bytes)) = bytes.split_first() else {
        return;
    };
    let (events, junk) = decode(std::iter::once(bytes));
    let cut = decode(bytes.chunks(usize::from(size) + 1));
    assert_eq!(cut, (events.clone(), junk), "it depends on how it is cut");

    let lines = bytes
        .split(|&b| b == b'\n')
        .filter(|line| !line.is_empty())
        .count();
    assert!(events.len() <= lines);
    for event in events {
        match event {
            Event::Task(report) => {
                assert!(HOSTS.contains(&report.host.as_str()));
                assert!(report.duration_seconds.is_finite() && report.duration_seconds >= 0.0);
                assert!(report.task.chars().count() <= 500);
                assert!(report.action.chars().count() <= 500);
                if let Some(findings) = &report.findings {
                    assert!(!is_too_large(findings));
                    let figures = figures(&checks(), findings);
                    assert!(figures.samples.len() <= MAX_SERIES);
                    assert!(
                        figures
                            .samples
                            .iter()
                            .all(|sample| sample.value.is_finite())
                    );
                }
                assert!(report.role.is_none_or(|role| role.chars().count() <= 500));
                assert!(
                    report
                        .message
                        .is_none_or(|message| message.chars().count() <= 2000)
                );
            }
            Event::Facts { host, .. } => assert!(HOSTS.contains(&host.as_str())),
            Event::Stats(stats) => assert!(stats.keys().all(|host| HOSTS.contains(&host.as_str()))),
            Event::Begin { role, task } => {
                assert!(role.chars().count() <= 500 && task.chars().count() <= 500);
            }
            Event::Hello { ansible } => assert!(ansible.chars().count() <= 500),
            Event::NoHostsMatched => {}
        }
    }
});
