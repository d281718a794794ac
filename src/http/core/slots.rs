//! Selects the connection to close when all slots are taken: of the address with the most idle connections, the one that has
//! been idle longest. A connection is idle while it waits for its client.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::auth::client_network;

/// How long a new connection is protected: a new client must be able to send its request, however many clients come after
/// it. Later requests do not extend this, or clients that send requests all the time would keep all others out.
const GRACE: Duration = Duration::from_millis(250);

/// The idle connections of a server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slots(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Signals a new idle connection.
    one_waits: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// For each address, the connections in the order in which they became idle.
    by_address: BTreeMap<IpAddr, BTreeMap<u64, Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    accepted_at: Instant,
    evicted: Arc<Notify>,
}

impl Waiting {
    fn remove(&mut self, address: IpAddr, number: u64) -> Option<Waiter> {
        let of_one = self.by_address.get_mut(&address)?;
        let waiter = of_one.remove(&number);
        if of_one.is_empty() {
            self.by_address.remove(&address);
        }
        waiter
    }

    /// Returns the connection to evict first, and when it was accepted.
    fn first(&self) -> Option<(IpAddr, u64, Instant)> {
        let firsts = self.by_address.iter().filter_map(|(address, of_one)| {
            let (number, waiter) = of_one.first_key_value()?;
            Some((of_one.len(), (*address, *number, waiter.accepted_at)))
        });
        let most =
            firsts.max_by_key(|(count, (_, number, _))| (*count, std::cmp::Reverse(*number)));
        most.map(|(_, first)| first)
    }
}

/// The slot of a connection. At first it is idle. It is idle while it waits for its client: for a request head, for the rest of
/// a body, or for a response to be read. It is busy while one of its requests is handled; HTTP/2 may have several.
#[derive(Debug, Clone)]
pub(crate) struct Slot(Arc<SlotState>);

#[derive(Debug)]
struct SlotState {
    places: Slots,
    address: IpAddr,
    accepted_at: Instant,
    turns: Mutex<Turns>,
    evicted: Arc<Notify>,
    is_known: AtomicBool,
    is_given_up: AtomicBool,
}

#[derive(Debug, Default)]
struct Turns {
    /// The number of requests that are being handled.
    active: usize,
    /// The position among the idle connections. It stays when the slot is evicted, so that it is not used again.
    number: Option<u64>,
}

impl Slots {
    /// Takes a slot for a new connection from this address.
    pub(crate) fn take(&self, address: IpAddr) -> Slot {
        let place = Slot(Arc::new(SlotState {
            places: self.clone(),
            address: client_network(address),
            accepted_at: Instant::now(),
            turns: Mutex::default(),
            evicted: Arc::default(),
            is_known: AtomicBool::new(false),
            is_given_up: AtomicBool::new(false),
        }));
        place.wait(&mut lock(&place.0.turns));
        place
    }

    /// Whether a connection can be evicted now.
    pub(crate) fn can_evict(&self) -> bool {
        let first = self.waiting().first();
        first.is_some_and(|(_, _, accepted_at)| accepted_at.elapsed() >= GRACE)
    }

    /// Waits until a connection can be evicted. *Cancel safety*: may be dropped at any time.
    pub(crate) async fn evictable(&self) {
        loop {
            let first = self.waiting().first();
            match first {
                Some((_, _, accepted_at)) if accepted_at.elapsed() >= GRACE => return,
                Some((_, _, accepted_at)) => tokio::select! {
                    () = sleep_until(accepted_at + GRACE) => {}
                    () = self.0.one_waits.notified() => {}
                },
                None => self.0.one_waits.notified().await,
            }
        }
    }

    /// Evicts the first connection. Returns false if there is none.
    pub(crate) fn evict_first(&self) -> bool {
        let mut waiting = self.waiting();
        let Some((address, number, _)) = waiting.first() else {
            return false;
        };
        if let Some(waiter) = waiting.remove(address, number) {
            waiter.evicted.notify_one();
        }
        true
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.0.waiting)
    }
}

impl Slot {
    /// Marks a request as being handled: the slot is not evicted before its end.
    pub(crate) fn work(&self) -> Work {
        self.begin();
        Work(self.clone())
    }

    /// Allows the slot to be evicted while a request waits: for its client, or for something that other clients may delay.
    pub(crate) fn rest(&self) -> Rest {
        self.end();
        Rest(self.clone())
    }

    /// Records that a caller of this connection is authenticated.
    pub(crate) fn set_authenticated(&self) {
        self.0.is_known.store(true, Ordering::Relaxed);
    }

    /// Whether a caller of this connection is authenticated.
    pub(crate) fn is_authenticated(&self) -> bool {
        self.0.is_known.load(Ordering::Relaxed)
    }

    fn begin(&self) {
        let mut turns = lock(&self.0.turns);
        turns.active += 1;
        if let Some(before) = turns.number
            && self
                .0
                .places
                .waiting()
                .remove(self.0.address, before)
                .is_some()
        {
            turns.number = None;
        }
    }

    fn end(&self) {
        let mut turns = lock(&self.0.turns);
        turns.active = turns.active.saturating_sub(1);
        if turns.active == 0 {
            self.wait(&mut turns);
        }
    }

    fn wait(&self, turns: &mut Turns) {
        // A slot that still has a number was evicted already.
        if turns.number.is_some() {
            return;
        }
        let mut waiting = self.0.places.waiting();
        let new = waiting.next;
        waiting.next += 1;
        let waiter = Waiter {
            accepted_at: self.0.accepted_at,
            evicted: Arc::clone(&self.0.evicted),
        };
        let of_one = waiting.by_address.entry(self.0.address).or_default();
        of_one.insert(new, waiter);
        turns.number = Some(new);
        drop(waiting);
        self.0.places.0.one_waits.notify_one();
    }

    /// Gives up the slot early. Returns false if it was already given up.
    pub(crate) fn give_up(&self) -> bool {
        self.0.evicted.notify_one();
        !self.0.is_given_up.swap(true, Ordering::Relaxed)
    }

    /// Waits until the slot is evicted. *Cancel safety*: may be dropped at any time.
    pub(crate) async fn lost(&self) {
        self.0.evicted.notified().await;
    }
}

/// A request that is being handled while this lives.
#[derive(Debug)]
pub(crate) struct Work(Slot);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A request that waits while this lives.
#[derive(Debug)]
pub(crate) struct Rest(Slot);

impl Drop for Rest {
    fn drop(&mut self) {
        self.0.begin();
    }
}

impl Drop for SlotState {
    fn drop(&mut self) {
        if let Some(number) = lock(&self.turns).number {
            self.places.waiting().remove(self.address, number);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    async fn is_lost(place: &Slot) -> bool {
        let evicted = tokio::time::timeout(Duration::ZERO, place.lost());
        evicted.await.is_ok()
    }

    fn any_waits(places: &Slots) -> bool {
        places.waiting().first().is_some()
    }

    #[tokio::test]
    async fn the_longest_idle_connection_is_evicted_first_and_a_busy_one_never() {
        let places = Slots::default();
        assert!(!places.evict_first());
        let [a, b, c] = [(); 3].map(|()| places.take(ip(1)));
        let work = a.work();
        drop(b.work());
        assert!(places.evict_first());
        assert!(is_lost(&c).await && !is_lost(&a).await && !is_lost(&b).await);
        drop(c.work());
        assert!(places.evict_first());
        assert!(is_lost(&b).await, "an evicted slot is not idle again");
        assert!(!places.evict_first() && !any_waits(&places));
        drop(work);
        assert!(any_waits(&places));
        drop(a);
        assert!(!any_waits(&places) && !places.evict_first());
    }

    #[tokio::test]
    async fn the_address_with_most_idle_connections_is_evicted_first() {
        let places = Slots::default();
        let quiet = places.take(ip(1));
        let [a, b, c] = [(); 3].map(|()| places.take(ip(2)));
        assert!(places.evict_first() && places.evict_first());
        assert!(is_lost(&a).await && is_lost(&b).await);
        assert!(!is_lost(&c).await && !is_lost(&quiet).await);
        assert!(places.evict_first());
        assert!(is_lost(&quiet).await, "of two with one each, the older");
    }

    #[tokio::test]
    async fn a_new_connection_is_protected_for_a_moment() {
        let places = Slots::default();
        let (place, begin) = (places.take(ip(1)), Instant::now());
        places.evictable().await;
        assert!(places.can_evict() && begin.elapsed() >= GRACE);
        drop(place.work());
        assert!(places.can_evict(), "its protection is over");
    }

    #[tokio::test]
    async fn a_connection_is_idle_only_if_none_of_its_requests_is_handled() {
        let places = Slots::default();
        let place = places.take(ip(1));
        let (first, second) = (place.work(), place.work());
        drop(first);
        assert!(!any_waits(&places), "the second is still handled");
        let rest = place.rest();
        assert!(any_waits(&places), "the second waits for its client");
        let third = place.work();
        assert!(!any_waits(&places));
        drop(rest);
        drop(third);
        assert!(!any_waits(&places), "the second is handled again");
        drop(second);
        assert!(places.evict_first());
        drop(place.work());
        assert!(is_lost(&place).await && !any_waits(&places));
    }
}
