//! What was measured, beside what was to be reached.

use std::fmt;
use std::time::Duration;

/// Rows in the order in which they were measured.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

struct Row {
    what: String,
    measured: String,
    goal: String,
    verdict: &'static str,
}

impl Table {
    /// A figure that has a goal.
    pub(crate) fn goal(&mut self, what: &str, measured: &str, goal: &str, reached: bool) {
        let verdict = if reached { "ok" } else { "MISSED" };
        self.push(what, measured, goal, verdict);
    }

    /// A figure that helps to read the others.
    pub(crate) fn note(&mut self, what: &str, measured: &str) {
        self.push(what, measured, "", "");
    }

    fn push(&mut self, what: &str, measured: &str, goal: &str, verdict: &'static str) {
        self.0.push(Row {
            what: what.to_owned(),
            measured: measured.to_owned(),
            goal: goal.to_owned(),
            verdict,
        });
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["what", "measured", "goal"];
        let cells = |row: &Row| [row.what.clone(), row.measured.clone(), row.goal.clone()];
        let width = |column: usize| {
            self.0
                .iter()
                .map(|row| cells(row)[column].chars().count())
                .chain([heads[column].len()])
                .max()
                .unwrap_or(0)
        };
        let [what, measured, goal] = [width(0), width(1), width(2)];
        writeln!(
            f,
            "{:what$}  {:>measured$}  {:>goal$}",
            heads[0], heads[1], heads[2]
        )?;
        for row in &self.0 {
            let line = format!(
                "{:what$}  {:>measured$}  {:>goal$}  {}",
                row.what, row.measured, row.goal, row.verdict
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Many measurements of one thing, sorted.
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn new(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        Self(samples)
    }

    /// The sample that this many percent are not above; zero where there are none.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> Duration {
        self.percentile(50)
    }

    pub(crate) fn max(&self) -> Duration {
        self.percentile(100)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Milliseconds, with as many digits as are worth reading.
pub(crate) fn millis(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    if millis < 10.0 {
        format!("{millis:.2} ms")
    } else if millis < 100.0 {
        format!("{millis:.1} ms")
    } else {
        format!("{millis:.0} ms")
    }
}

/// Bytes as MiB.
#[allow(clippy::cast_precision_loss)] // two digits are shown
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Median, 99th percentile and maximum.
pub(crate) fn spread(samples: &Samples) -> String {
    format!(
        "p50 {}, p99 {}, max {} of {}",
        millis(samples.median()),
        millis(samples.percentile(99)),
        millis(samples.max()),
        samples.len()
    )
}
