//! Whose password is compared next: a few at once, by turns among the addresses that they come from.
//!
//! Who guesses has many to compare, so an address has a short line of its own, of which one is compared at a time. Addresses
//! from which no wrong one came lately come first, and of all the others one is compared at a time. So no number of guesses
//! keeps the right password of another address waiting, and at most a short line that of the same one.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// How many passwords are compared at once. Each takes a processor for a while, and runs need those.
const AT_ONCE: usize = 2;

/// How many of one address are compared at once.
const OF_ONE_AT_ONCE: usize = 1;

/// How many of one address may wait. One more takes the place of the oldest of them.
const OF_ONE: usize = 8;

/// How many may wait in all. One more takes the place of the oldest of the address that has most.
const IN_ALL: usize = 128;

/// How long an address comes after others once a password from it was wrong.
const SUSPECT: Duration = Duration::from_mins(1);

/// How many such addresses are remembered.
const SUSPECTS: usize = 4096;

/// How long a password waits at most.
const PATIENCE: Duration = Duration::from_secs(15);

/// Too many passwords wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooManyAttempts;

/// Everything that waits. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct PasswordQueue(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    comparing: usize,
    turns: u64,
    by_address: BTreeMap<IpAddr, Line>,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<oneshot::Sender<PasswordTurn>>,
    comparing: usize,
    /// Which turn was its last.
    last: u64,
    /// When a password of it was wrong.
    wrong_at: Option<Instant>,
}

impl Line {
    fn is_suspect(&self, now: Instant) -> bool {
        self.wrong_at
            .is_some_and(|at| now.duration_since(at) < SUSPECT)
    }
}

impl PasswordQueue {
    /// Waits for a turn. *Errors*: others took the place in the line, or it took too long.
    ///
    /// *Cancel safety*: may be dropped at any time.
    pub(super) async fn turn(&self, address: IpAddr) -> Result<PasswordTurn, TooManyAttempts> {
        self.turn_within(address, PATIENCE).await
    }

    async fn turn_within(
        &self,
        address: IpAddr,
        patience: Duration,
    ) -> Result<PasswordTurn, TooManyAttempts> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut lines = self.lock();
            let address = neighbourhood(address);
            lines.make_room(address, Instant::now());
            let line = lines.by_address.entry(address).or_default();
            line.waiting.push_back(sender);
            self.go_on(&mut lines);
        }
        match tokio::time::timeout(patience, receiver).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(TooManyAttempts),
        }
    }

    /// Gives away the turns that are free.
    fn go_on(&self, lines: &mut Lines) {
        while lines.comparing < AT_ONCE {
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
            lines.comparing += 1;
            lines.turns += 1;
            let last = lines.turns;
            if let Some(line) = lines.by_address.get_mut(&address) {
                (line.comparing, line.last) = (line.comparing + 1, last);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Takes out who has gone, and the oldest where there would be too many.
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

    /// Who comes next, if anyone may.
    fn next(&mut self, now: Instant) -> Option<(IpAddr, oneshot::Sender<PasswordTurn>)> {
        let any_suspect = self
            .by_address
            .values()
            .any(|line| line.comparing > 0 && line.is_suspect(now));
        let ready = self.by_address.iter_mut().filter(|(_, line)| {
            let may_compare = line.comparing < OF_ONE_AT_ONCE;
            may_compare && !line.waiting.is_empty() && !(any_suspect && line.is_suspect(now))
        });
        let (address, line) = ready.min_by_key(|(_, line)| (line.is_suspect(now), line.last))?;
        Some((*address, line.waiting.pop_front()?))
    }

    /// Forgets the addresses of which there is nothing to know.
    fn forget(&mut self, now: Instant) {
        let has_work = |line: &Line| line.comparing > 0 || !line.waiting.is_empty();
        self.by_address
            .retain(|_, line| has_work(line) || line.is_suspect(now));
        if self.by_address.len() > SUSPECTS {
            self.by_address.retain(|_, line| has_work(line));
        }
    }
}

/// The right to compare a password of an address. Dropping it gives the turn to another one.
#[derive(Debug)]
pub(super) struct PasswordTurn {
    /// `None` where there is nothing to give back.
    turns: Option<PasswordQueue>,
    address: IpAddr,
}

impl PasswordTurn {
    /// Gives the turn back only after a while. Call it on a tokio runtime.
    pub(super) fn rest(self, pause: Duration) {
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            drop(self);
        });
    }

    /// The password was wrong.
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
        lines.comparing = lines.comparing.saturating_sub(1);
        if let Some(line) = lines.by_address.get_mut(&self.address) {
            line.comparing = line.comparing.saturating_sub(1);
        }
        lines.forget(Instant::now());
        turns.go_on(&mut lines);
    }
}

/// The addresses that one machine may have: of IPv6 it has 64 bits of its own.
pub fn neighbourhood(address: IpAddr) -> IpAddr {
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

    /// Waits in a task of its own, and yields the turn when it came.
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
        assert_eq!(done, 200 - OF_ONE, "one is compared, the others went");
        let other = wait(&turns, 2);
        settle().await;
        assert!(other.is_finished(), "it is compared at once");
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
    async fn those_who_wait_are_bounded_and_who_has_gone_waits_no_more() {
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
        assert_eq!((lines.comparing, lines.by_address.len()), (0, 0));
    }

    #[tokio::test]
    async fn who_waits_too_long_is_refused() {
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
            assert_eq!(neighbourhood(address).to_string(), wanted);
        }
    }
}
