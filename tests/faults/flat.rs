//! Whether what a process takes stays as it is.

use std::fs;
use std::time::Duration;

/// What a process takes at a moment.
pub(crate) struct Reading {
    at: Duration,
    resident_kib: f64,
    descriptors: f64,
    threads: f64,
}

impl Reading {
    pub(crate) fn of(pid: u32, at: Duration) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap()
                .trim()
                .trim_end_matches(" kB")
                .parse()
                .unwrap()
        };
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        Self {
            at,
            resident_kib: value("VmRSS:"),
            descriptors: f64::from(u32::try_from(open).unwrap()),
            threads: value("Threads:"),
        }
    }
}

type Value = fn(&Reading) -> f64;

/// How much something may grow from the third quarter to the last, and over the second half by its slope.
struct Bound {
    ratio: f64,
    /// So much more is no growth, however little there is.
    more: f64,
}

/// Compares the quarters of a time. In a short one, caches and pools still fill.
#[track_caller]
pub(crate) fn assert_flat(readings: &[Reading], long: bool) {
    let ratio = if long { 1.1 } else { 1.5 };
    let mut grows = Vec::new();
    let kinds: [(&str, Value, f64); 3] = [
        ("resident KiB", |one| one.resident_kib, 2048.0),
        ("descriptors", |one| one.descriptors, 8.0),
        ("threads", |one| one.threads, 4.0),
    ];
    for (name, value, more) in kinds {
        let quarters: Vec<f64> = readings
            .chunks(readings.len().div_ceil(4))
            .map(|quarter| median(quarter.iter().map(value).collect()))
            .collect();
        let half = &readings[readings.len() / 2..];
        let mean = half.iter().map(value).sum::<f64>() / count(half.len());
        let growth =
            slope(half, value) * (half[half.len() - 1].at.as_secs_f64() - half[0].at.as_secs_f64());
        eprintln!(
            "{name}: medians of the quarters {quarters:?}, {growth:+.1} by the slope of the second half"
        );
        let bound = Bound { ratio, more };
        if !bound.holds(quarters[2], quarters[3]) || !bound.holds(mean, mean + growth) {
            grows.push(name);
        }
    }
    assert!(grows.is_empty(), "growing: {grows:?}");
}

impl Bound {
    fn holds(&self, before: f64, after: f64) -> bool {
        after <= before * self.ratio || after <= before + self.more
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Units a second, by least squares.
fn slope(readings: &[Reading], value: Value) -> f64 {
    let n = count(readings.len());
    let at = |one: &Reading| one.at.as_secs_f64();
    let (mean_at, mean) = (
        readings.iter().map(at).sum::<f64>() / n,
        readings.iter().map(value).sum::<f64>() / n,
    );
    let moved = readings
        .iter()
        .map(|one| (at(one) - mean_at) * (value(one) - mean));
    let spread = readings.iter().map(|one| (at(one) - mean_at).powi(2));
    moved.sum::<f64>() / spread.sum::<f64>()
}

fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap())
}

#[test]
fn what_grows_is_seen() {
    let grown = |kib: fn(f64) -> f64| -> Vec<Reading> {
        let reading = |n: u32| Reading {
            at: Duration::from_secs(n.into()),
            resident_kib: kib(n.into()),
            descriptors: 20.0,
            threads: 9.0,
        };
        (0..600).map(reading).collect()
    };
    // It fills its caches, then wavers.
    assert_flat(&grown(|n| n.min(100.0) * 200.0 + (n % 7.0) * 100.0), true);
    let leaks = grown(|n| 20_000.0 + n * 30.0);
    assert!(std::panic::catch_unwind(|| assert_flat(&leaks, true)).is_err());
}
