//! The clock. Only the edges call it; everything below them is handed the time.

use chrono::{DateTime, Utc};

/// The time now, in UTC.
#[allow(clippy::disallowed_methods)] // this is the one place that reads it
pub fn now() -> DateTime<Utc> {
    Utc::now()
}
