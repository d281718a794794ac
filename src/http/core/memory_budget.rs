//! Limits the memory of all requests together: for received bodies, and for responses that wait for their clients.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number of bytes that all requests share.
#[derive(Debug)]
pub(crate) struct Budget(AtomicU64);

impl Budget {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Creates an empty share.
    pub(crate) fn share(&'static self) -> Share {
        Share {
            budget: self,
            bytes: 0,
        }
    }

    /// Creates a share of this size if less than the limit is in use. A large one may exceed the limit, or it could never be
    /// granted.
    pub(crate) fn share_of(&'static self, bytes: u64, limit: u64) -> Option<Share> {
        let used = self.0.fetch_add(bytes, Ordering::Relaxed);
        let share = Share {
            budget: self,
            bytes,
        };
        (used < limit).then_some(share)
    }
}

/// The share of one request. Dropping it returns it to the budget.
#[derive(Debug)]
pub(crate) struct Share {
    budget: &'static Budget,
    bytes: u64,
}

impl Share {
    /// Takes more bytes. Returns false if all shares together would exceed the limit.
    pub(crate) fn grow(&mut self, bytes: u64, limit: u64) -> bool {
        let used = self.budget.0.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        used.saturating_add(bytes) <= limit
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_stay_within_the_limit_and_come_back() {
        static BUDGET: Budget = Budget::new();
        let (mut a, mut b) = (BUDGET.share(), BUDGET.share());
        assert!(a.grow(60, 100) && b.grow(40, 100));
        assert!(!b.grow(1, 100));
        drop(b);
        assert!(a.grow(40, 100) && BUDGET.share_of(1, 100).is_none());
        drop(a);
        let large = BUDGET.share_of(1000, 100);
        assert!(large.is_some() && BUDGET.share_of(1, 100).is_none());
        drop(large);
        assert_eq!(BUDGET.0.load(Ordering::Relaxed), 0);
    }
}
