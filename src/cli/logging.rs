//! Log lines, on standard error.

use std::io::Write;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::logfmt::Logfmt;
use super::terminal;

/// How much is logged.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Level {
    /// Also what repeats itself by design, such as duplicates.
    Debug,
    /// What happens.
    Info,
    /// What should be looked at.
    Warn,
    /// What is broken.
    Error,
}

/// How it looks.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Format {
    /// `key=value` pairs.
    Logfmt,
    /// A JSON object a line.
    Json,
}

/// Lines without the characters that would drive a terminal: they may quote what an alert says.
struct Harmless(std::io::Stderr);

impl Write for Harmless {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        // Nearly every line, and there can be thousands a second.
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

/// Begins to log.
pub(super) fn start(level: Level, format: Format) {
    let level = match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    // Libraries have no say below a warning.
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
