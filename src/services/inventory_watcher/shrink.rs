//! Decides whether an inventory with fewer hosts than before is believed. An inventory plugin whose cloud credentials
//! expired may return an empty list and report success.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::status::Shrunk;
use crate::config::InventoryShrink;
use crate::model::inventory::Inventory;

/// How often the inventory is read again while it is in doubt.
const AGAIN: Duration = Duration::from_secs(30);

/// The time since which the inventory is in doubt.
#[derive(Debug)]
pub(super) struct Doubt {
    from: Instant,
    since: DateTime<Utc>,
}

/// The judgement of an inventory that was read.
#[derive(Debug)]
pub(super) enum Belief {
    /// It is believed.
    Believed,
    /// So many hosts are missing that it may be a mistake.
    Doubted(Shrunk),
    /// So many hosts are missing, but for long enough that it is believed.
    BelievedAtLast,
}

impl Doubt {
    pub(super) fn new(from: Instant, since: DateTime<Utc>) -> Self {
        Self { from, since }
    }

    /// Returns when to read it again: not later than the time at which it will be believed.
    pub(super) fn next_read(&self, limits: InventoryShrink, now: Instant) -> Instant {
        let believed = self.from + limits.believe_after;
        (now + AGAIN).min(believed.max(now + Duration::from_secs(1)))
    }

    /// Compares an inventory that was read with the one that was believed before.
    pub(super) fn judge(
        &self,
        (new, warnings): (&Inventory, &str),
        before: &Inventory,
        limits: InventoryShrink,
        now: Instant,
    ) -> Belief {
        if !shrank_too_much(before.len(), new.len(), limits.max_percent) {
            return Belief::Believed;
        }
        if now.duration_since(self.from) >= limits.believe_after {
            return Belief::BelievedAtLast;
        }
        let missing = before
            .hosts()
            .filter(|host| new.host(host.name()).is_none());
        let missing: BTreeSet<String> = missing.map(|host| host.name().to_owned()).collect();
        let after = chrono::TimeDelta::from_std(limits.believe_after).unwrap_or_default();
        Belief::Doubted(Shrunk {
            since: self.since,
            believed_at: self.since + after,
            hosts_before: before.len(),
            missing: missing.into_iter().collect(),
            warnings: Arc::from(warnings),
        })
    }
}

/// Returns whether more than `max_percent` of the hosts are missing, or all.
fn shrank_too_much(before: usize, now: usize, max_percent: u32) -> bool {
    let lost = before.saturating_sub(now);
    let most = u128::from(max_percent) * before as u128;
    lost > 0 && (now == 0 || lost as u128 * 100 > most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_falls_are_in_doubt() {
        for (before, now, max_percent, doubted) in [
            (0, 0, 50, false),
            (0, 5, 50, false),
            (10, 10, 50, false),
            (10, 20, 50, false),
            (10, 5, 50, false),
            (10, 4, 50, true),
            (2, 1, 50, false),
            (1, 0, 50, true),
            (3, 1, 50, true),
            (100, 98, 1, true),
            (100, 99, 1, false),
            (100, 1, 100, false),
            (100, 0, 100, true),
        ] {
            let found = shrank_too_much(before, now, max_percent);
            assert_eq!(found, doubted, "{before} to {now} at {max_percent} %");
        }
    }

    fn inventory(hosts: &[&str]) -> Inventory {
        let listing = serde_json::json!({"all": {"hosts": hosts}});
        Inventory::parse(listing.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn it_is_believed_when_it_was_read_so_for_long_enough() {
        let limits = InventoryShrink {
            max_percent: 50,
            believe_after: Duration::from_mins(10),
        };
        let from = Instant::now();
        let since = DateTime::from_timestamp(1000, 0).unwrap();
        let doubt = Doubt::new(from, since);
        let (before, empty) = (inventory(&["a", "b"]), inventory(&[]));
        let at = |seconds: u64| from + Duration::from_secs(seconds);
        let judge = |new: &Inventory, now| doubt.judge((new, "said"), &before, limits, now);
        match judge(&empty, at(599)) {
            Belief::Doubted(shrunk) => {
                assert_eq!(&*shrunk.missing, ["a", "b"]);
                assert_eq!((shrunk.hosts_before, &*shrunk.warnings), (2, "said"));
                assert_eq!((shrunk.believed_at - since).num_seconds(), 600);
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(judge(&empty, at(600)), Belief::BelievedAtLast));
        assert!(matches!(judge(&inventory(&["b"]), at(1)), Belief::Believed));
        assert_eq!(doubt.next_read(limits, at(0)), at(30));
        assert_eq!(doubt.next_read(limits, at(590)), at(600));
        assert_eq!(doubt.next_read(limits, at(700)), at(701));
        let at_once = InventoryShrink {
            believe_after: Duration::ZERO,
            ..limits
        };
        let judged = doubt.judge((&empty, ""), &before, at_once, at(0));
        assert!(matches!(judged, Belief::BelievedAtLast));
    }
}
