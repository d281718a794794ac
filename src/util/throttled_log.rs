//! Limits the rate of log lines that anyone on the network can cause, and counts the suppressed ones.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Allows one line in each period.
#[derive(Debug)]
pub struct ThrottledLog {
    period: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: Option<Instant>,
    unlogged: u64,
}

impl ThrottledLog {
    pub const fn new(period: Duration) -> Self {
        let state = State {
            last: None,
            unlogged: 0,
        };
        Self {
            period,
            state: Mutex::new(state),
        }
    }

    /// Returns the number of suppressed lines since the last one if a line may be logged now; otherwise `None`.
    pub fn take(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_early = |last: Instant| now.saturating_duration_since(last) < self.period;
        if state.last.is_some_and(is_early) {
            state.unlogged += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_a_period_says_how_many_there_were() {
        let seldom = ThrottledLog::new(Duration::from_secs(10));
        let begin = Instant::now();
        let at = |seconds| seldom.take(begin + Duration::from_secs(seconds));
        let found: Vec<_> = [0, 1, 9, 10, 30].into_iter().map(at).collect();
        assert_eq!(found, [Some(0), None, None, Some(2), Some(0)]);
    }
}
