//! The rate limit: one token bucket for all requests together.

use std::sync::Mutex;
use std::time::Instant;

use crate::auth::web_config::RateLimit;

/// A token bucket, full at first.
pub(super) struct Bucket {
    limit: RateLimit,
    state: Mutex<(f64, Instant)>,
}

impl Bucket {
    pub(super) fn new(limit: RateLimit, now: Instant) -> Self {
        Self {
            limit,
            state: Mutex::new((f64::from(limit.burst), now)),
        }
    }

    pub(super) fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Takes a token for one request. Returns false if none is left.
    pub(super) fn take(&self, now: Instant) -> bool {
        let state = self.state.lock();
        let mut state = state.unwrap_or_else(std::sync::PoisonError::into_inner);
        let (left, then) = *state;
        let grown = now.duration_since(then).as_secs_f64() / self.limit.interval.as_secs_f64();
        let left = (left + grown).min(f64::from(self.limit.burst));
        let is_taken = left >= 1.0;
        *state = (if is_taken { left - 1.0 } else { left }, now);
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn as_many_as_burst_at_once_and_one_more_after_each_interval() {
        let limit = RateLimit {
            interval: Duration::from_secs(1),
            burst: 2,
        };
        let start = Instant::now();
        let bucket = Bucket::new(limit, start);
        let at = |millis| bucket.take(start + Duration::from_millis(millis));
        assert_eq!([at(0), at(0), at(0), at(900)], [true, true, false, false]);
        assert_eq!([at(1000), at(1000)], [true, false]);
        // No more than the burst is saved up.
        assert_eq!([at(9000), at(9000), at(9000)], [true, true, false]);
    }
}
