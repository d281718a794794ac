//! For how long a caller may have what he was let in to: an answer may go on for hours.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::auth::Auth;
use crate::auth::AuthConfig;
use crate::auth::Peer;
use crate::config::Config;
use crate::model::identity::{AuthMethod, Identity, Scope};
use crate::util::clock;

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
pub struct Permission {
    /// Knows what is in force.
    pub door: Auth,
    /// The configuration that is in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// From where the request came.
    pub peer: Arc<Peer>,
    /// By what its caller was let in.
    pub claim: Claim,
    /// What that took; `None` where it was enough to be known.
    pub scope: Option<Scope>,
}

impl fmt::Debug for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Right({:?}, {:?})", self.claim, self.scope)
    }
}

impl Permission {
    /// Whether the caller would be let in now, by the same claim and what the files say now.
    pub fn holds(&self) -> bool {
        let auth_config = self.door.current(&self.config.borrow().web);
        if auth_config.still_takes(&self.peer, clock::now()).is_err() {
            return false;
        }
        let caller = self
            .door
            .claimed(&auth_config, &self.claim, &self.peer, clock::now());
        caller.is_some_and(|caller| self.scope.is_none_or(|scope| caller.scopes.allow(scope)))
    }
}

impl Auth {
    /// Who makes this claim, if it is still good.
    fn claimed(
        &self,
        auth_config: &AuthConfig,
        claim: &Claim,
        peer: &Peer,
        now: DateTime<Utc>,
    ) -> Option<Identity> {
        let users = &auth_config.web.users;
        match claim {
            Claim::Nothing => (!auth_config.asks()).then(Identity::anybody),
            Claim::Password { user, hash } => {
                let is_same = users.get(user) == Some(hash);
                is_same.then(|| auth_config.user(user.clone(), AuthMethod::Password))
            }
            Claim::Session(cookie) => {
                let user = self.0.sessions.user(cookie, users, now)?;
                Some(auth_config.user(user, AuthMethod::Session))
            }
            Claim::Token(tag) => {
                let mut tokens = auth_config.tokens.iter();
                let token = tokens.find(|token| token.tag.as_ref() == tag.as_slice())?;
                Some(token.caller())
            }
            Claim::Certificate => auth_config.certified(peer),
            // The proxy itself may have left the list, or the header another meaning: then its word is no claim any more.
            Claim::Proxy(user) => {
                let vouches = auth_config.proxies().vouch(peer.tcp);
                vouches.then(|| auth_config.signed_in_by_proxy(user))
            }
        }
    }
}
