//! Users' passwords: bcrypt, at a cost that does not tell who there is.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::str::FromStr as _;
use std::sync::Mutex;
use std::time::Instant;

use bcrypt::HashParts;
use ring::hmac;

use super::password_queue::{PasswordQueue, TooManyAttempts};

/// After a wrong password its turn stays taken for so many times as long as it took: guesses get a part of a processor.
const REST: u32 = 1;

/// How many good passwords are remembered.
const REMEMBERED: usize = 256;

/// Hashes nothing that anybody knows, at the cost that the exporter-toolkit uses for users that are not there.
const NOBODY: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

/// Compares passwords. A password that was right is remembered, as a keyed hash of it and of what it was compared with, so
/// that a scrape every few seconds costs no bcrypt and a changed hash is heeded at once.
pub(super) struct Passwords {
    key: hmac::Key,
    good: Mutex<HashSet<Vec<u8>>>,
    turns: PasswordQueue,
}

impl Passwords {
    pub(super) fn new(key: hmac::Key) -> Self {
        Self {
            key,
            good: Mutex::default(),
            turns: PasswordQueue::default(),
        }
    }

    /// Whether this is the user's password, which came from this address. It takes as long for a user that is not there. One
    /// that was right before waits for nothing.
    ///
    /// *Cancel safety*: may be dropped at any time.
    pub(super) async fn is_right(
        &self,
        users: &BTreeMap<String, String>,
        (user, password): (&str, &str),
        address: IpAddr,
    ) -> Result<bool, TooManyAttempts> {
        let known = users.get(user);
        let hash = known.cloned().unwrap_or_else(|| dummy_hash(users));
        let tag = self.tag(user, &hash, password);
        if known.is_some() && self.good().contains(&tag) {
            return Ok(true);
        }
        let turn = self.turns.turn(address).await?;
        let password = password.to_owned();
        // The turn goes with the work: who goes away meanwhile makes no room for more of it.
        let compared = tokio::task::spawn_blocking(move || {
            let begin = Instant::now();
            let is_right = bcrypt::verify(password, &hash).unwrap_or(false);
            if !is_right {
                turn.was_wrong();
                turn.rest(begin.elapsed() * REST);
            }
            is_right
        });
        let is_right = compared.await.unwrap_or(false) && known.is_some();
        if is_right {
            let mut good = self.good();
            if good.len() >= REMEMBERED {
                good.clear();
            }
            good.insert(tag);
        }
        Ok(is_right)
    }

    fn good(&self) -> std::sync::MutexGuard<'_, HashSet<Vec<u8>>> {
        let good = self.good.lock();
        good.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn tag(&self, user: &str, hash: &str, password: &str) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        // Neither a user's name nor a hash holds the separator.
        for part in ["password", user, hash, password] {
            context.update(part.as_bytes());
            context.update(&[0]);
        }
        context.sign().as_ref().to_vec()
    }
}

/// What a user that is not there is compared with: it costs what the dearest of the others costs.
fn dummy_hash(users: &BTreeMap<String, String>) -> String {
    let costs = users.values().filter_map(|hash| {
        let parts = HashParts::from_str(hash).ok()?;
        Some(parts.get_cost())
    });
    let cost = costs.max().unwrap_or(10);
    NOBODY.replacen("$10$", &format!("${cost:02}$"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords() -> Passwords {
        Passwords::new(hmac::Key::new(hmac::HMAC_SHA256, b"k"))
    }

    async fn is_right(
        passwords: &Passwords,
        users: &BTreeMap<String, String>,
        user: &str,
        password: &str,
    ) -> bool {
        let address = IpAddr::from([192, 0, 2, 1]);
        let found = passwords.is_right(users, (user, password), address);
        found.await.unwrap()
    }

    fn users(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let hash = |password: &str| bcrypt::hash(password, 4).unwrap();
        pairs
            .iter()
            .map(|(user, password)| ((*user).to_owned(), hash(password)))
            .collect()
    }

    #[tokio::test]
    async fn only_the_users_own_password_is_right_and_a_changed_one_at_once() {
        let passwords = passwords();
        let before = users(&[("alice", "a"), ("bob", "b")]);
        for (user, password, right) in [
            ("alice", "a", true),
            ("alice", "a", true),
            ("alice", "b", false),
            ("alice", "", false),
            ("bob", "b", true),
            ("carol", "a", false),
            ("", "", false),
        ] {
            let found = is_right(&passwords, &before, user, password).await;
            assert_eq!(found, right, "{user} {password}");
        }
        let after = users(&[("alice", "new")]);
        assert!(!is_right(&passwords, &after, "alice", "a").await);
        assert!(is_right(&passwords, &after, "alice", "new").await);
        assert!(!is_right(&passwords, &after, "bob", "b").await);
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded_and_no_password() {
        let passwords = passwords();
        for _ in 0..REMEMBERED {
            let n = passwords.good().len().to_string();
            passwords.good().insert(n.into_bytes());
        }
        let users = users(&[("alice", "hunter2")]);
        assert!(is_right(&passwords, &users, "alice", "hunter2").await);
        let good = passwords.good();
        assert_eq!(good.len(), 1);
        assert!(
            good.iter()
                .all(|tag| !tag.windows(7).any(|part| part == b"hunter2"))
        );
    }

    #[test]
    fn who_is_not_there_costs_what_the_dearest_costs() {
        let mut users = users(&[("alice", "a")]);
        users.insert("bob".to_owned(), bcrypt::hash("b", 5).unwrap());
        let cost = |hash: &str| HashParts::from_str(hash).unwrap().get_cost();
        assert_eq!(cost(&dummy_hash(&users)), 5);
        assert_eq!(cost(&dummy_hash(&BTreeMap::new())), 10);
    }
}
