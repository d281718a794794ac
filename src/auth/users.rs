//! Checks the passwords of users with bcrypt, without revealing by its duration which users exist.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::str::FromStr as _;
use std::sync::Mutex;
use std::time::Instant;

use bcrypt::HashParts;
use ring::hmac;

use super::password_queue::{PasswordQueue, TooManyAttempts};

/// After a wrong password, the turn stays taken for this multiple of the duration of the check. So guesses get only a part of
/// a processor.
const REST: u32 = 1;

/// The maximum number of remembered passwords.
const REMEMBERED: usize = 256;

/// The hash of an unknown password, with the cost that the exporter-toolkit uses for unknown users.
const UNKNOWN_PASSWORD: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

/// Checks passwords. Remembers a right password, as a keyed hash of it and of the bcrypt hash. So a scrape every few seconds
/// costs no bcrypt, and a changed hash takes effect at once.
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

    /// Checks the password of a user, for a client at this address. Takes as long for an unknown user. A remembered password
    /// is not queued.
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
        // The turn moves into the task: a client that disconnects must not make room for another check.
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
        // Neither a user name nor a hash contains the separator.
        for part in ["password", user, hash, password] {
            context.update(part.as_bytes());
            context.update(&[0]);
        }
        context.sign().as_ref().to_vec()
    }
}

/// Returns the hash to check for an unknown user, with the highest cost of all users.
fn dummy_hash(users: &BTreeMap<String, String>) -> String {
    let costs = users.values().filter_map(|hash| {
        let parts = HashParts::from_str(hash).ok()?;
        Some(parts.get_cost())
    });
    let cost = costs.max().unwrap_or(10);
    UNKNOWN_PASSWORD.replacen("$10$", &format!("${cost:02}$"), 1)
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
    async fn remembered_passwords_are_limited_and_hashed() {
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
    fn an_unknown_user_has_the_highest_cost() {
        let mut users = users(&[("alice", "a")]);
        users.insert("bob".to_owned(), bcrypt::hash("b", 5).unwrap());
        let cost = |hash: &str| HashParts::from_str(hash).unwrap().get_cost();
        assert_eq!(cost(&dummy_hash(&users)), 5);
        assert_eq!(cost(&dummy_hash(&BTreeMap::new())), 10);
    }
}
