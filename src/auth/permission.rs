//! Re-checks a caller's permission while a response is sent: a response may take hours.

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

/// The proof by which a caller was authenticated.
#[derive(Clone, PartialEq, Eq)]
pub enum Claim {
    /// No authentication was configured.
    Nothing,
    /// A user's password.
    Password {
        user: String,
        /// The hash in the web configuration at that time.
        hash: String,
    },
    /// A session cookie.
    Session(String),
    /// A token, as its keyed hash.
    Token(Vec<u8>),
    /// The client certificate of the connection.
    Certificate,
    /// This user name from a trusted proxy.
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

/// A claim, with everything needed to check it again.
#[derive(Clone)]
pub struct Permission {
    pub door: Auth,
    /// The configuration in force.
    pub config: watch::Receiver<Arc<Config>>,
    pub peer: Arc<Peer>,
    pub claim: Claim,
    /// The required scope; `None` if authentication was enough.
    pub scope: Option<Scope>,
}

impl fmt::Debug for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Right({:?}, {:?})", self.claim, self.scope)
    }
}

impl Permission {
    /// Whether the caller would be authorized now, with the same claim and the current configuration.
    pub fn holds(&self) -> bool {
        let auth_config = self.door.current(&self.config.borrow().web);
        if auth_config.check_peer(&self.peer, clock::now()).is_err() {
            return false;
        }
        let caller = self
            .door
            .claimed(&auth_config, &self.claim, &self.peer, clock::now());
        caller.is_some_and(|caller| self.scope.is_none_or(|scope| caller.scopes.allow(scope)))
    }
}

impl Auth {
    /// Returns the identity behind a claim that is still valid.
    fn claimed(
        &self,
        auth_config: &AuthConfig,
        claim: &Claim,
        peer: &Peer,
        now: DateTime<Utc>,
    ) -> Option<Identity> {
        let users = &auth_config.web.users;
        match claim {
            Claim::Nothing => (!auth_config.asks()).then(Identity::unauthenticated),
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
            // The proxy may have been removed from the list, or the header may be another one now: then the claim is void.
            Claim::Proxy(user) => {
                let vouches = auth_config.proxies().vouch(peer.tcp);
                vouches.then(|| auth_config.signed_in_by_proxy(user))
            }
        }
    }
}
