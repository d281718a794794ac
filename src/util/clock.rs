//! The system clock. Only the outer layers read it; everything below takes the time as an argument.

use chrono::{DateTime, Utc};

/// Returns the current time in UTC.
#[allow(clippy::disallowed_methods)] // this is the only place that reads the clock
pub fn now() -> DateTime<Utc> {
    Utc::now()
}
