//! Who makes room when all connections are taken: of the address that has most of those that wait for their clients, the one
//! that has waited longest.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::auth::neighbourhood;

/// For how long a new connection need not make room: a client that has just come must be able to say what it wants, however
/// many come after it. Later requests renew nothing, or clients that ask all the time would keep all others out.
const GRACE: Duration = Duration::from_millis(250);

/// The connections of a server, as far as they wait for their clients.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slots(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// One more waits.
    one_waits: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// Of each address, those that began to wait first come first.
    by_address: BTreeMap<IpAddr, BTreeMap<u64, Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    came: Instant,
    lost: Arc<Notify>,
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

    /// The one that goes first, and when it came.
    fn first(&self) -> Option<(IpAddr, u64, Instant)> {
        let firsts = self.by_address.iter().filter_map(|(address, of_one)| {
            let (number, waiter) = of_one.first_key_value()?;
            Some((of_one.len(), (*address, *number, waiter.came)))
        });
        let most =
            firsts.max_by_key(|(count, (_, number, _))| (*count, std::cmp::Reverse(*number)));
        most.map(|(_, first)| first)
    }
}

/// A connection's place. It waits for its client at first: for a head, for the rest of a body, or for an answer to be
/// taken. It does not as long as one of its requests is worked on; by HTTP/2 there may be several.
#[derive(Debug, Clone)]
pub(crate) struct Slot(Arc<SlotState>);

#[derive(Debug)]
struct SlotState {
    places: Slots,
    address: IpAddr,
    came: Instant,
    turns: Mutex<Turns>,
    lost: Arc<Notify>,
    is_known: AtomicBool,
    is_given_up: AtomicBool,
}

#[derive(Debug, Default)]
struct Turns {
    /// How many requests are worked on.
    active: usize,
    /// The place in the order of those that wait. It stays when the place is lost, so that it is not taken again.
    number: Option<u64>,
}

impl Slots {
    /// A place for a new connection from this address.
    pub(crate) fn take(&self, address: IpAddr) -> Slot {
        let place = Slot(Arc::new(SlotState {
            places: self.clone(),
            address: neighbourhood(address),
            came: Instant::now(),
            turns: Mutex::default(),
            lost: Arc::default(),
            is_known: AtomicBool::new(false),
            is_given_up: AtomicBool::new(false),
        }));
        place.wait(&mut lock(&place.0.turns));
        place
    }

    /// Whether one may make room now.
    pub(crate) fn any_may_go(&self) -> bool {
        let first = self.waiting().first();
        first.is_some_and(|(_, _, came)| came.elapsed() >= GRACE)
    }

    /// Waits until one may. *Cancel safety*: may be dropped at any time.
    pub(crate) async fn one_may_go(&self) {
        loop {
            let first = self.waiting().first();
            match first {
                Some((_, _, came)) if came.elapsed() >= GRACE => return,
                Some((_, _, came)) => tokio::select! {
                    () = sleep_until(came + GRACE) => {}
                    () = self.0.one_waits.notified() => {}
                },
                None => self.0.one_waits.notified().await,
            }
        }
    }

    /// Takes the place of the one that goes first, and says whether there was one.
    pub(crate) fn end_first(&self) -> bool {
        let mut waiting = self.waiting();
        let Some((address, number, _)) = waiting.first() else {
            return false;
        };
        if let Some(waiter) = waiting.remove(address, number) {
            waiter.lost.notify_one();
        }
        true
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.0.waiting)
    }
}

impl Slot {
    /// Works on a request: the place is not taken away before the end of it.
    pub(crate) fn work(&self) -> Work {
        self.begin();
        Work(self.clone())
    }

    /// Lets the place be taken away while a request waits: for its client, or for what others may hold up.
    pub(crate) fn rest(&self) -> Rest {
        self.end();
        Rest(self.clone())
    }

    /// Remembers that a caller of this connection is known.
    pub(crate) fn know(&self) {
        self.0.is_known.store(true, Ordering::Relaxed);
    }

    /// Whether a caller of this connection is known.
    pub(crate) fn is_known(&self) -> bool {
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
        // One that has a number and did not get it back has lost its place already.
        if turns.number.is_some() {
            return;
        }
        let mut waiting = self.0.places.waiting();
        let new = waiting.next;
        waiting.next += 1;
        let waiter = Waiter {
            came: self.0.came,
            lost: Arc::clone(&self.0.lost),
        };
        let of_one = waiting.by_address.entry(self.0.address).or_default();
        of_one.insert(new, waiter);
        turns.number = Some(new);
        drop(waiting);
        self.0.places.0.one_waits.notify_one();
    }

    /// Gives the place back before its end, and says whether it was not given back before.
    pub(crate) fn give_up(&self) -> bool {
        self.0.lost.notify_one();
        !self.0.is_given_up.swap(true, Ordering::Relaxed)
    }

    /// Waits until the place is taken away. *Cancel safety*: may be dropped at any time.
    pub(crate) async fn lost(&self) {
        self.0.lost.notified().await;
    }
}

/// A request that is worked on, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Work(Slot);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A request that is not worked on for as long as this lives.
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
        let lost = tokio::time::timeout(Duration::ZERO, place.lost());
        lost.await.is_ok()
    }

    fn any_waits(places: &Slots) -> bool {
        places.waiting().first().is_some()
    }

    #[tokio::test]
    async fn the_one_that_has_waited_longest_goes_first_and_none_that_is_worked_on() {
        let places = Slots::default();
        assert!(!places.end_first());
        let [a, b, c] = [(); 3].map(|()| places.take(ip(1)));
        let work = a.work();
        drop(b.work());
        assert!(places.end_first());
        assert!(is_lost(&c).await && !is_lost(&a).await && !is_lost(&b).await);
        drop(c.work());
        assert!(places.end_first());
        assert!(
            is_lost(&b).await,
            "one that lost its place has none to lose"
        );
        assert!(!places.end_first() && !any_waits(&places));
        drop(work);
        assert!(any_waits(&places));
        drop(a);
        assert!(!any_waits(&places) && !places.end_first());
    }

    #[tokio::test]
    async fn the_address_that_has_most_makes_room() {
        let places = Slots::default();
        let quiet = places.take(ip(1));
        let [a, b, c] = [(); 3].map(|()| places.take(ip(2)));
        assert!(places.end_first() && places.end_first());
        assert!(is_lost(&a).await && is_lost(&b).await);
        assert!(!is_lost(&c).await && !is_lost(&quiet).await);
        assert!(places.end_first());
        assert!(is_lost(&quiet).await, "of two with one each, the older");
    }

    #[tokio::test]
    async fn one_that_has_just_come_is_left_alone_for_a_moment() {
        let places = Slots::default();
        let (place, begin) = (places.take(ip(1)), Instant::now());
        places.one_may_go().await;
        assert!(places.any_may_go() && begin.elapsed() >= GRACE);
        drop(place.work());
        assert!(places.any_may_go(), "it has had its moment");
    }

    #[tokio::test]
    async fn a_connection_waits_only_when_none_of_its_requests_is_worked_on() {
        let places = Slots::default();
        let place = places.take(ip(1));
        let (first, second) = (place.work(), place.work());
        drop(first);
        assert!(!any_waits(&places), "the second is still worked on");
        let rest = place.rest();
        assert!(any_waits(&places), "the second waits for its client");
        let third = place.work();
        assert!(!any_waits(&places));
        drop(rest);
        drop(third);
        assert!(!any_waits(&places), "the second is worked on again");
        drop(second);
        assert!(places.end_first());
        drop(place.work());
        assert!(is_lost(&place).await && !any_waits(&places));
    }
}
