//! Schedules password checks: a few at once, in turn among the client addresses.
//!
//! A client that guesses has many passwords to check. So each address has a short queue of its own, and one check at a time.
//! Addresses without a recent wrong password come first; all the others together have one check at a time. So guesses never
//! delay the right password of another address, and that of the same address only by a short queue.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// The maximum number of concurrent checks. Each keeps a processor busy for a while, and runs need those.
const AT_ONCE: usize = 2;

/// The same for one address.
const OF_ONE_AT_ONCE: usize = 1;

/// The maximum queue length of an address. One more replaces the oldest.
const OF_ONE: usize = 8;

/// The maximum length of all queues together. One more replaces the oldest of the longest queue.
const IN_ALL: usize = 128;

/// How long an address comes after the others following a wrong password.
const SUSPECT: Duration = Duration::from_mins(1);

/// The maximum number of such addresses to remember.
const SUSPECTS: usize = 4096;

/// The longest wait of a password.
const MAX_WAIT: Duration = Duration::from_secs(15);

/// Too many passwords wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooManyAttempts;

/// The queues of all addresses. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct PasswordQueue(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    checking: usize,
    turns: u64,
    by_address: BTreeMap<IpAddr, Line>,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<oneshot::Sender<PasswordTurn>>,
    checking: usize,
    /// The number of its last turn.
    last: u64,
    /// The time of its last wrong password.
    wrong_at: Option<Instant>,
}

impl Line {
    fn is_suspect(&self, now: Instant) -> bool {
        self.wrong_at
            .is_some_and(|at| now.duration_since(at) < SUSPECT)
    }
}

impl PasswordQueue {
    /// Waits for a turn. *Errors*: others replaced this one in the queue, or the wait took too long.
    ///
    /// *Cancel safety*: may be dropped at any time.
    pub(super) async fn turn(&self, address: IpAddr) -> Result<PasswordTurn, TooManyAttempts> {
        self.turn_within(address, MAX_WAIT).await
    }

    async fn turn_within(
        &self,
        address: IpAddr,
        max_wait: Duration,
    ) -> Result<PasswordTurn, TooManyAttempts> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut lines = self.lock();
            let address = client_network(address);
            lines.make_room(address, Instant::now());
            let line = lines.by_address.entry(address).or_default();
            line.waiting.push_back(sender);
            self.hand_out(&mut lines);
        }
        match tokio::time::timeout(max_wait, receiver).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(TooManyAttempts),
        }
    }

    /// Hands out the free turns.
    fn hand_out(&self, lines: &mut Lines) {
        while lines.checking < AT_ONCE {
            let now = Instant::now();
            let Some((address, sender)) = lines.next(now) else {
                return;
            };
            let turn = PasswordTurn {
                turns: Some(self.clone()),
                address,
            };
            if let Err(mut unused) = sender.send(turn) {
                // The lines are locked already.
                unused.turns = None;
                continue;
            }
            lines.checking += 1;
            lines.turns += 1;
            let last = lines.turns;
            if let Some(line) = lines.by_address.get_mut(&address) {
                (line.checking, line.last) = (line.checking + 1, last);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Removes callers that gave up, and the oldest one if a queue is full.
    fn make_room(&mut self, address: IpAddr, now: Instant) {
        if let Some(line) = self.by_address.get_mut(&address) {
            line.waiting.retain(|sender| !sender.is_closed());
            if line.waiting.len() >= OF_ONE {
                line.waiting.pop_front();
            }
        }
        if self.waiting() < IN_ALL {
            return;
        }
        for line in self.by_address.values_mut() {
            line.waiting.retain(|sender| !sender.is_closed());
        }
        if self.waiting() < IN_ALL {
            return;
        }
        let longest = self.by_address.values_mut().max_by_key(|line| {
            let most = (line.waiting.len(), line.is_suspect(now));
            (most, std::cmp::Reverse(line.last))
        });
        if let Some(line) = longest {
            line.waiting.pop_front();
        }
    }

    fn waiting(&self) -> usize {
        self.by_address
            .values()
            .map(|line| line.waiting.len())
            .sum()
    }

    /// Removes the next caller from its queue, if one may be checked now.
    fn next(&mut self, now: Instant) -> Option<(IpAddr, oneshot::Sender<PasswordTurn>)> {
        let any_suspect = self
            .by_address
            .values()
            .any(|line| line.checking > 0 && line.is_suspect(now));
        let ready = self.by_address.iter_mut().filter(|(_, line)| {
            let may_compare = line.checking < OF_ONE_AT_ONCE;
            may_compare && !line.waiting.is_empty() && !(any_suspect && line.is_suspect(now))
        });
        let (address, line) = ready.min_by_key(|(_, line)| (line.is_suspect(now), line.last))?;
        Some((*address, line.waiting.pop_front()?))
    }

    /// Forgets the addresses without a queue, a check or a recent wrong password.
    fn forget(&mut self, now: Instant) {
        let has_work = |line: &Line| line.checking > 0 || !line.waiting.is_empty();
        self.by_address
            .retain(|_, line| has_work(line) || line.is_suspect(now));
        if self.by_address.len() > SUSPECTS {
            self.by_address.retain(|_, line| has_work(line));
        }
    }
}

/// Permission to check one password of an address. Dropping it passes the turn on.
#[derive(Debug)]
pub(super) struct PasswordTurn {
    /// `None` if there is nothing to pass on.
    turns: Option<PasswordQueue>,
    address: IpAddr,
}

impl PasswordTurn {
    /// Passes the turn on after a pause. Requires a tokio runtime.
    pub(super) fn rest(self, pause: Duration) {
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            drop(self);
        });
    }

    /// Records that the password was wrong.
    pub(super) fn was_wrong(&self) {
        let Some(turns) = &self.turns else { return };
        let mut lines = turns.lock();
        if let Some(line) = lines.by_address.get_mut(&self.address) {
            line.wrong_at = Some(Instant::now());
        }
    }
}

impl Drop for PasswordTurn {
    fn drop(&mut self) {
        let Some(turns) = self.turns.take() else {
            return;
        };
        let mut lines = turns.lock();
        lines.checking = lines.checking.saturating_sub(1);
        if let Some(line) = lines.by_address.get_mut(&self.address) {
            line.checking = line.checking.saturating_sub(1);
        }
        lines.forget(Instant::now());
        turns.hand_out(&mut lines);
    }
}

/// Returns the network that counts as one client: an IPv6 machine can choose 64 bits of its address itself.
pub fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    /// Waits for a turn in a task of its own.
    fn wait(
        turns: &PasswordQueue,
        n: u8,
    ) -> tokio::task::JoinHandle<Result<PasswordTurn, TooManyAttempts>> {
        let turns = turns.clone();
        tokio::spawn(async move { turns.turn(ip(n)).await })
    }

    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn another_address_does_not_wait_for_the_guesses_of_one() {
        let turns = PasswordQueue::default();
        let guesses: Vec<_> = (0..200).map(|_| wait(&turns, 1)).collect();
        settle().await;
        let done = guesses.iter().filter(|guess| guess.is_finished()).count();
        assert_eq!(
            done,
            200 - OF_ONE,
            "one is checked, the others were replaced"
        );
        let other = wait(&turns, 2);
        settle().await;
        assert!(other.is_finished(), "it is checked at once");
        // Two more addresses share the second turn, while the first address has the other one.
        let (third, fourth) = (wait(&turns, 3), wait(&turns, 4));
        settle().await;
        assert!(!third.is_finished() && !fourth.is_finished());
        drop(other.await.unwrap().unwrap());
        settle().await;
        assert!(third.is_finished() && !fourth.is_finished());
    }

    #[tokio::test]
    async fn after_a_wrong_password_others_come_first_for_a_while() {
        let turns = PasswordQueue::default();
        let first = turns.turn(ip(1)).await.unwrap();
        first.was_wrong();
        drop(first);
        let both = [
            turns.turn(ip(8)).await.unwrap(),
            turns.turn(ip(9)).await.unwrap(),
        ];
        let suspect = wait(&turns, 1);
        settle().await;
        let other = wait(&turns, 2);
        settle().await;
        let [a, b] = both;
        drop(a);
        settle().await;
        assert!(other.is_finished() && !suspect.is_finished());
        drop(b);
        settle().await;
        assert!(suspect.is_finished());
    }

    #[tokio::test]
    async fn waiting_callers_are_limited_and_disconnected_ones_are_removed() {
        let turns = PasswordQueue::default();
        let all: Vec<_> = (0..200).map(|n| wait(&turns, n)).collect();
        settle().await;
        let refused = all.iter().filter(|one| one.is_finished()).count();
        assert_eq!(refused, 200 - IN_ALL, "two of these have a turn");
        for one in &all {
            one.abort();
        }
        settle().await;
        drop(all);
        let late = wait(&turns, 201);
        settle().await;
        assert!(late.is_finished());
        drop(late);
        let lines = turns.lock();
        assert_eq!((lines.checking, lines.by_address.len()), (0, 0));
    }

    #[tokio::test]
    async fn a_caller_that_waits_too_long_is_rejected() {
        let turns = PasswordQueue::default();
        let first = turns.turn(ip(1)).await.unwrap();
        let second = turns.turn_within(ip(1), Duration::from_millis(20));
        assert_eq!(second.await.unwrap_err(), TooManyAttempts);
        drop(first);
        assert!(turns.turn(ip(1)).await.is_ok());
    }

    #[test]
    fn a_machine_is_one_address() {
        for (address, wanted) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(client_network(address).to_string(), wanted);
        }
    }
}
