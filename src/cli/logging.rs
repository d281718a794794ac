//! Logging to standard error.

use std::io::Write;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::logfmt::Logfmt;
use super::terminal;

/// The log level.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Level {
    /// Everything, including expected repetitions such as duplicates.
    Debug,
    /// Normal events.
    Info,
    /// Problems that need attention.
    Warn,
    /// Failures.
    Error,
}

/// The log format.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Format {
    /// `key=value` pairs.
    Logfmt,
    /// One JSON object per line.
    Json,
}

/// Removes characters that control a terminal from log lines, which may quote text of alerts.
struct Harmless(std::io::Stderr);

impl Write for Harmless {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        // The fast path for nearly every line: there can be thousands a second.
        if line.iter().all(|b| matches!(b, b' '..=b'~' | b'\n')) {
            self.0.write_all(line)?;
        } else {
            let text = terminal::lines(&String::from_utf8_lossy(line));
            self.0.write_all(text.as_bytes())?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Starts logging.
pub(super) fn start(level: Level, format: Format) {
    let level = match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    // Libraries log only warnings and errors.
    let filter = EnvFilter::new(format!("warn,promansible={level}"));
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        Format::Logfmt => registry.with(Logfmt).init(),
        Format::Json => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_target(false)
                    .with_writer(|| Harmless(std::io::stderr())),
            )
            .init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logged_line_cannot_drive_a_terminal() {
        let shown = terminal::lines("ts=1 alertname=\u{9b}2J\u{202e}x\u{7f}\x1b[2J\nnext ünï\n");
        assert_eq!(
            shown,
            "ts=1 alertname=\u{fffd}2J\u{fffd}x\u{fffd}\u{fffd}[2J\nnext ünï\n"
        );
    }
}
