//! For how long a caller may have what he was let in to: an answer may go on for hours.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::{Door, InForce, Peer};
use crate::caller::{Caller, Proof, Scope};
use crate::clock;
use crate::config::Config;

/// By what a caller was let in.
#[derive(Clone, PartialEq, Eq)]
pub enum Claim {
    /// Nobody had to say who he is.
    Nothing,
    /// The user's password, whose hash was this.
    Password {
        /// Whose.
        user: String,
        /// In the web configuration.
        hash: String,
    },
    /// The cookie of a session.
    Session(String),
    /// A token, as its keyed hash.
    Token(Vec<u8>),
    /// The certificate of the connection.
    Certificate,
    /// The word of a trusted proxy, which named this user.
    Proxy(String),
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Password { .. } => "Password",
            Self::Session(_) => "Session",
            Self::Token(_) => "Token",
            Self::Certificate => "Certificate",
            Self::Proxy(_) => "Proxy",
        })
    }
}

/// A claim, and what it was good for.
#[derive(Clone)]
pub struct Right {
    /// Knows what is in force.
    pub door: Door,
    /// The configuration that is in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// From where the request came.
    pub peer: Arc<Peer>,
    /// By what its caller was let in.
    pub claim: Claim,
    /// What that took; `None` where it was enough to be known.
    pub scope: Option<Scope>,
}

impl fmt::Debug for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Right({:?}, {:?})", self.claim, self.scope)
    }
}

impl Right {
    /// Whether the caller would be let in now, by the same claim and what the files say now.
    pub fn holds(&self) -> bool {
        let in_force = self.door.in_force(&self.config.borrow().web);
        if in_force.still_takes(&self.peer, clock::now()).is_err() {
            return false;
        }
        let caller = self
            .door
            .claimed(&in_force, &self.claim, &self.peer, clock::now());
        caller.is_some_and(|caller| self.scope.is_none_or(|scope| caller.scopes.allow(scope)))
    }
}

impl Door {
    /// Who makes this claim, if it is still good.
    fn claimed(
        &self,
        in_force: &InForce,
        claim: &Claim,
        peer: &Peer,
        now: DateTime<Utc>,
    ) -> Option<Caller> {
        let users = &in_force.web.users;
        match claim {
            Claim::Nothing => (!in_force.asks()).then(Caller::anybody),
            Claim::Password { user, hash } => {
                let is_same = users.get(user) == Some(hash);
                is_same.then(|| in_force.user(user.clone(), Proof::Password))
            }
            Claim::Session(cookie) => {
                let user = self.0.sessions.user(cookie, users, now)?;
                Some(in_force.user(user, Proof::Session))
            }
            Claim::Token(tag) => {
                let mut tokens = in_force.tokens.iter();
                let token = tokens.find(|token| token.tag.as_ref() == tag.as_slice())?;
                Some(token.caller())
            }
            Claim::Certificate => in_force.certified(peer),
            // The proxy itself may have left the list, or the header another meaning: then its word is no claim any more.
            Claim::Proxy(user) => {
                let vouches = in_force.proxies().vouch(peer.tcp);
                vouches.then(|| in_force.signed_in_by_proxy(user))
            }
        }
    }
}
