//! Who makes room when all connections are taken: the one that has waited longest for its client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The connections of a server, as far as they wait for their clients.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// There is one that waits, after there was none.
    someone_waits: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// Those that began to wait first come first.
    by_number: BTreeMap<u64, Arc<Notify>>,
}

/// A connection's place. It waits for its client at first: for a head, for the rest of a body, or for an answer to be
/// taken. While a request of it is worked on it does not.
#[derive(Debug, Clone)]
pub(super) struct Place(Arc<Seat>);

#[derive(Debug)]
struct Seat {
    places: Places,
    number: Mutex<Option<u64>>,
    lost: Arc<Notify>,
}

impl Places {
    /// A place for a new connection.
    pub(super) fn take(&self) -> Place {
        let place = Place(Arc::new(Seat {
            places: self.clone(),
            number: Mutex::default(),
            lost: Arc::default(),
        }));
        place.waits();
        place
    }

    /// Whether any connection waits for its client.
    pub(super) fn any_waits(&self) -> bool {
        !self.waiting().by_number.is_empty()
    }

    /// Waits until one does. *Cancel safety*: may be dropped at any time.
    pub(super) async fn someone_waits(&self) {
        while !self.any_waits() {
            self.0.someone_waits.notified().await;
        }
    }

    /// Takes the place of the connection that has waited longest, and says whether there was one.
    pub(super) fn end_oldest(&self) -> bool {
        let oldest = self.waiting().by_number.pop_first();
        oldest.is_some_and(|(_, lost)| {
            lost.notify_one();
            true
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.0.waiting)
    }
}

impl Place {
    /// From now on it is the client's turn.
    pub(super) fn waits(&self) {
        let mut number = lock(&self.0.number);
        let mut waiting = self.0.places.waiting();
        let lost = match *number {
            Some(before) => waiting.by_number.remove(&before),
            None => Some(Arc::clone(&self.0.lost)),
        };
        // One that is not found has lost its place already.
        let Some(lost) = lost else { return };
        let new = waiting.next;
        waiting.next += 1;
        waiting.by_number.insert(new, lost);
        *number = Some(new);
        drop(waiting);
        self.0.places.0.someone_waits.notify_one();
    }

    /// From now on it is our turn: the place is not taken away.
    pub(super) fn works(&self) {
        let mut number = lock(&self.0.number);
        if let Some(before) = *number
            && self.0.places.waiting().by_number.remove(&before).is_some()
        {
            *number = None;
        }
    }

    /// Waits until the place is taken away. *Cancel safety*: may be dropped at any time.
    pub(super) async fn lost(&self) {
        self.0.lost.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(number) = *lock(&self.number) {
            self.places.waiting().by_number.remove(&number);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn is_lost(place: &Place) -> bool {
        let lost = tokio::time::timeout(Duration::ZERO, place.lost());
        lost.await.is_ok()
    }

    #[tokio::test]
    async fn the_one_that_has_waited_longest_goes_first_and_none_that_is_worked_on() {
        let places = Places::default();
        assert!(!places.end_oldest());
        let [a, b, c] = [(); 3].map(|()| places.take());
        a.works();
        b.waits();
        assert!(places.end_oldest());
        assert!(is_lost(&c).await && !is_lost(&a).await && !is_lost(&b).await);
        c.waits();
        c.works();
        assert!(places.end_oldest());
        assert!(
            is_lost(&b).await,
            "one that lost its place has none to lose"
        );
        assert!(!places.end_oldest() && !places.any_waits());
        a.waits();
        assert!(places.any_waits());
        drop(a);
        assert!(!places.any_waits() && !places.end_oldest());
    }
}
