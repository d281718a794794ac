//! Portal sessions: a signed cookie that only this process can create.

use std::collections::BTreeMap;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chrono::{DateTime, TimeDelta, Utc};
use ring::hmac;

/// How long a session lasts.
pub const LASTS: TimeDelta = TimeDelta::hours(12);

/// The number of signed-out sessions from which on the expired ones are removed.
const MANY: usize = 1_000;

/// Creates and verifies cookies. Its key is new at each start, which ends every session.
pub(super) struct Sessions {
    key: hmac::Key,
    ended: Mutex<Ended>,
}

/// The sessions that were signed out, until they would have expired. Each needed a right password, so their number is
/// bounded by the sign-ins within [`LASTS`].
#[derive(Debug, Default)]
struct Ended {
    until: BTreeMap<Vec<u8>, DateTime<Utc>>,
    /// The number of sessions at which the expired ones are removed.
    clean_at: usize,
}

impl Sessions {
    pub(super) fn new(key: hmac::Key) -> Self {
        Self {
            key,
            ended: Mutex::default(),
        }
    }

    /// Returns the cookie value for a new session of this user, whose password has this hash.
    pub(super) fn begin(&self, user: &str, hash: &str, now: DateTime<Utc>) -> String {
        let until = (now + LASTS).timestamp_millis();
        let tag = hmac::sign(&self.key, &signed(user, hash, until));
        let user = BASE64.encode(user);
        format!("{user}.{until}.{}", BASE64.encode(tag.as_ref()))
    }

    /// Returns the user of a valid cookie. A session ends when its user is removed or gets another password.
    pub(super) fn user(
        &self,
        cookie: &str,
        users: &BTreeMap<String, String>,
        now: DateTime<Utc>,
    ) -> Option<String> {
        let (user, until, tag) = parts(cookie)?;
        let hash = users.get(&user)?;
        hmac::verify(&self.key, &signed(&user, hash, until), &tag).ok()?;
        let is_good = until > now.timestamp_millis() && !self.ended().until.contains_key(&tag);
        is_good.then_some(user)
    }

    /// Ends the session of a cookie that [`Sessions::user`] accepts.
    pub(super) fn end(&self, cookie: &str, now: DateTime<Utc>) {
        let Some((_, until, tag)) = parts(cookie) else {
            return;
        };
        let mut ended = self.ended();
        if ended.until.len() >= ended.clean_at {
            ended.until.retain(|_, until| *until > now);
            ended.clean_at = (2 * ended.until.len()).max(MANY);
        }
        if let Some(until) = DateTime::from_timestamp_millis(until) {
            ended.until.insert(tag, until);
        }
    }

    fn ended(&self) -> std::sync::MutexGuard<'_, Ended> {
        let ended = self.ended.lock();
        ended.unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn parts(cookie: &str) -> Option<(String, i64, Vec<u8>)> {
    let mut parts = cookie.split('.');
    let user = String::from_utf8(BASE64.decode(parts.next()?).ok()?).ok()?;
    let until = parts.next()?.parse().ok()?;
    let tag = BASE64.decode(parts.next()?).ok()?;
    parts.next().is_none().then_some((user, until, tag))
}

fn signed(user: &str, hash: &str, until: i64) -> Vec<u8> {
    format!("session\0{user}\0{hash}\0{until}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions() -> Sessions {
        Sessions::new(hmac::Key::new(hmac::HMAC_SHA256, b"k"))
    }

    fn users(hash: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("alice".to_owned(), hash.to_owned())])
    }

    #[test]
    fn a_session_ends_by_time_by_sign_out_or_with_the_password() {
        let (sessions, now) = (sessions(), DateTime::UNIX_EPOCH);
        let cookie = sessions.begin("alice", "h", now);
        let user = |cookie: &str, hash: &str, now| sessions.user(cookie, &users(hash), now);
        assert_eq!(user(&cookie, "h", now).as_deref(), Some("alice"));
        assert_eq!(user(&cookie, "other", now), None);
        assert_eq!(sessions.user(&cookie, &BTreeMap::new(), now), None);
        assert_eq!(user(&cookie, "h", now + LASTS), None);
        sessions.end(&cookie, now);
        assert_eq!(user(&cookie, "h", now), None);
        let later = sessions.begin("alice", "h", now + TimeDelta::seconds(1));
        assert!(user(&later, "h", now).is_some());
    }

    #[test]
    fn a_signed_out_session_has_ended_and_is_forgotten_when_it_expires() {
        let (sessions, now) = (sessions(), DateTime::UNIX_EPOCH);
        let at = |n: i64| now + TimeDelta::milliseconds(n);
        let cookies: Vec<_> = (0..12_000)
            .map(|n| sessions.begin("alice", "h", at(n)))
            .collect();
        for cookie in &cookies {
            sessions.end(cookie, at(12_000));
        }
        for cookie in &cookies {
            assert_eq!(sessions.user(cookie, &users("h"), at(12_000)), None);
        }
        let later = at(24_000) + LASTS;
        for n in 0..12_000 {
            let cookie = sessions.begin("alice", "h", later + TimeDelta::milliseconds(n));
            sessions.end(&cookie, later);
        }
        let most = 12_000 + MANY;
        assert!(sessions.ended().until.len() <= most);
    }

    #[test]
    fn a_cookie_that_this_process_did_not_sign_is_invalid() {
        let (sessions, now) = (sessions(), DateTime::UNIX_EPOCH);
        let cookie = sessions.begin("alice", "h", now);
        let other = Sessions::new(hmac::Key::new(hmac::HMAC_SHA256, b"other"));
        assert_eq!(other.user(&cookie, &users("h"), now), None);
        let parts: Vec<&str> = cookie.split('.').collect();
        let longer = format!("{}.99999999999999.{}", parts[0], parts[2]);
        for forged in [
            "",
            ".",
            "a.b.c",
            &cookie[1..],
            &longer,
            &format!("{cookie}."),
        ] {
            assert_eq!(sessions.user(forged, &users("h"), now), None, "{forged}");
        }
    }
}
