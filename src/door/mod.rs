//! Who may come in: TLS, users, tokens, client certificates, sessions of the portal, a limit on requests.
//!
//! What counts is what the files say now: each connection and each request looks whether one of them changed, as the
//! servers of Prometheus do. Unlike there, files that have become bad change nothing: what was in force stays in force, and
//! the log says why. Passwords and tokens are kept as keyed hashes only; the key is made anew at each start.

mod load;
mod peer;
mod rate;
mod right;
mod session;
mod tls;
mod turns;
mod users;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue};
use ring::hmac;
use ring::rand::SystemRandom;
use tokio_rustls::rustls::ServerConfig;

use crate::blocking::in_place;
use crate::caller::{Caller, Proof, Scopes};
use crate::config::Web;
use crate::proxies::{Proxies, ProxySaid};
use crate::web_config::Tls;
use load::{Loader, Stamp, Stamped};
use rate::Bucket;
use session::Sessions;
use turns::TooMany;
use users::Passwords;

pub use load::{DoorError, InForce};
pub use peer::Peer;
pub use right::{Claim, Right};
pub use session::LASTS as SESSION_LASTS;
pub use tls::{HTTP2, TlsError};
pub use turns::neighbourhood;

/// The cookie of those who signed in by the portal's form.
pub const COOKIE_NAME: &str = "promansible_session";

/// How long a form waits that was wrong, so that guessing takes long.
const WRONG_WAITS: Duration = Duration::from_secs(1);

/// The door. Cheap to clone.
#[derive(Clone)]
pub struct Door(Arc<Inner>);

struct Inner {
    loader: Loader,
    state: Mutex<State>,
    passwords: Passwords,
    sessions: Sessions,
}

/// What is in force, and by which files.
struct State {
    in_force: Arc<InForce>,
    bucket: Option<Arc<Bucket>>,
    web: Web,
    stamps: Arc<[Stamped]>,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// He does not say who he is.
    Unsaid,
    /// What he says is not so.
    Wrong,
    /// It cannot be looked at now: more passwords wait than may.
    TooMany,
}

impl From<TooMany> for Denied {
    fn from(_: TooMany) -> Self {
        Self::TooMany
    }
}

impl Door {
    /// Reads the files. `must_ask` says that whoever comes must say who he is, now and whatever the files become.
    pub fn open(file: Option<PathBuf>, web: &Web, must_ask: bool) -> Result<Self, DoorError> {
        let random = SystemRandom::new();
        let key = || {
            hmac::Key::generate(hmac::HMAC_SHA256, &random)
                .expect("the system has random numbers; without them no TLS could be spoken either")
        };
        let loader = Loader {
            file,
            key: key(),
            must_ask,
        };
        let mut read = Vec::new();
        let in_force = loader.load(web, &mut read)?;
        let bucket = in_force
            .web
            .rate_limit
            .map(|limit| Bucket::new(limit, Instant::now()));
        Ok(Self(Arc::new(Inner {
            loader,
            state: Mutex::new(State {
                bucket: bucket.map(Arc::new),
                in_force: Arc::new(in_force),
                web: web.clone(),
                stamps: read.into(),
            }),
            passwords: Passwords::new(key()),
            sessions: Sessions::new(key()),
        })))
    }

    /// Whether the door could be made so, of a configuration that is not in force yet.
    pub fn check(&self, web: &Web) -> Result<(), DoorError> {
        self.0.loader.load(web, &mut Vec::new()).map(|_| ())
    }

    /// What is in force, after another look at the files.
    pub fn in_force(&self, web: &Web) -> Arc<InForce> {
        let (stamps, is_same, in_force) = {
            let state = self.state();
            let is_same = state.web == *web;
            let (stamps, in_force) = (Arc::clone(&state.stamps), Arc::clone(&state.in_force));
            (stamps, is_same, in_force)
        };
        // Looked at beside all others: a disk that is slow makes nobody wait for another's look.
        let changed = |(file, stamp): &Stamped| Stamp::of(file) != *stamp;
        if is_same && !stamps.iter().any(changed) {
            return in_force;
        }
        let mut state = self.state();
        // Another may have read it again meanwhile.
        if state.web != *web || Arc::ptr_eq(&state.stamps, &stamps) {
            in_place(|| self.read_again(&mut state, web));
        }
        Arc::clone(&state.in_force)
    }

    fn read_again(&self, state: &mut State, web: &Web) {
        let mut read = Vec::new();
        let again = |(file, _): &Stamped| (file.clone(), Stamp::of(file));
        let old: Vec<Stamped> = state.stamps.iter().map(again).collect();
        let loaded = self.0.loader.load(web, &mut read);
        if loaded.is_err() {
            // What was not reached is still looked at: its change may mend it.
            let unread: Vec<_> = old
                .into_iter()
                .filter(|(file, _)| read.iter().all(|(known, _)| known != file))
                .collect();
            read.extend(unread);
        }
        state.stamps = read.into();
        web.clone_into(&mut state.web);
        match loaded {
            Ok(in_force) => {
                let limit = in_force.web.rate_limit;
                if state.bucket.as_ref().map(|bucket| bucket.limit()) != limit {
                    let bucket = limit.map(|limit| Bucket::new(limit, Instant::now()));
                    state.bucket = bucket.map(Arc::new);
                }
                state.in_force = Arc::new(in_force);
                tracing::info!("who may come in was read again");
            }
            Err(e) => {
                tracing::error!(error = %e, "who may come in is refused; the old one stays in force");
            }
        }
    }

    /// Whether one more request is taken now.
    pub fn takes(&self) -> bool {
        let bucket = self.state().bucket.clone();
        bucket.is_none_or(|bucket| bucket.take(Instant::now()))
    }

    /// Who makes this request, and by what that is known.
    ///
    /// *Cancel safety*: may be dropped at any time. It may wait for a password to be compared, and for nothing else.
    pub async fn who(
        &self,
        in_force: &InForce,
        headers: &HeaderMap,
        peer: &Peer,
        now: DateTime<Utc>,
    ) -> Result<(Caller, Claim), Denied> {
        if !in_force.asks() {
            return Ok((Caller::anybody(), Claim::Nothing));
        }
        match &peer.user {
            ProxySaid::User(name) => {
                let claim = Claim::Proxy(name.clone());
                return Ok((in_force.signed_in_by_proxy(name), claim));
            }
            ProxySaid::Unclear => return Err(Denied::Wrong),
            ProxySaid::Nothing => {}
        }
        let knows_words = !in_force.web.users.is_empty() || !in_force.tokens.is_empty();
        if let Some(said) = headers.get(AUTHORIZATION).filter(|_| knows_words) {
            let said = self.said(in_force, said, peer).await?;
            return said.ok_or(Denied::Wrong);
        }
        if let Some((user, cookie)) = self.signed_in(in_force, headers, now) {
            let claim = Claim::Session(cookie.to_owned());
            return Ok((in_force.user(user, Proof::Session), claim));
        }
        let certified = in_force.certified(peer).ok_or(Denied::Unsaid)?;
        Ok((certified, Claim::Certificate))
    }

    async fn said(
        &self,
        in_force: &InForce,
        said: &HeaderValue,
        peer: &Peer,
    ) -> Result<Option<(Caller, Claim)>, TooMany> {
        let said = said.to_str().ok().and_then(|said| said.split_once(' '));
        let Some((scheme, rest)) = said.map(|(scheme, rest)| (scheme, rest.trim())) else {
            return Ok(None);
        };
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok(self.token(in_force, rest));
        }
        let pair = scheme
            .eq_ignore_ascii_case("basic")
            .then(|| STANDARD.decode(rest).ok())
            .flatten();
        let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
        let Some((user, password)) = pair.as_deref().and_then(|pair| pair.split_once(':')) else {
            return Ok(None);
        };
        let claim = self
            .password(in_force, (user, password), peer.address.ip())
            .await?;
        Ok(claim.map(|claim| (in_force.user(user.to_owned(), Proof::Password), claim)))
    }

    /// The claim of a user whose password this is.
    async fn password(
        &self,
        in_force: &InForce,
        said: (&str, &str),
        address: IpAddr,
    ) -> Result<Option<Claim>, TooMany> {
        let users = &in_force.web.users;
        if users.is_empty() || !self.0.passwords.is_right(users, said, address).await? {
            return Ok(None);
        }
        let user = said.0.to_owned();
        Ok(users
            .get(&user)
            .cloned()
            .map(|hash| Claim::Password { user, hash }))
    }

    /// Every token is compared, each in constant time.
    fn token(&self, in_force: &InForce, said: &str) -> Option<(Caller, Claim)> {
        let mut found = None;
        for token in &in_force.tokens {
            if hmac::verify(&self.0.loader.key, said.as_bytes(), token.tag.as_ref()).is_ok() {
                found = Some(token);
            }
        }
        found.map(|token| (token.caller(), Claim::Token(token.tag.as_ref().to_vec())))
    }

    fn signed_in<'a>(
        &self,
        in_force: &InForce,
        headers: &'a HeaderMap,
        now: DateTime<Utc>,
    ) -> Option<(String, &'a str)> {
        let sessions = &self.0.sessions;
        cookies(headers).find_map(|cookie| {
            let user = sessions.user(cookie, &in_force.web.users, now)?;
            Some((user, cookie))
        })
    }

    /// Signs a user in. Yields the cookie's value; [`Denied::Wrong`] where name or password is wrong, after a while.
    ///
    /// *Cancel safety*: may be dropped at any time.
    pub async fn sign_in(
        &self,
        in_force: &InForce,
        said: (&str, &str),
        address: IpAddr,
        now: DateTime<Utc>,
    ) -> Result<(String, Caller), Denied> {
        let claim = self.password(in_force, said, address).await?;
        let Some(Claim::Password { user, hash }) = claim else {
            tokio::time::sleep(WRONG_WAITS).await;
            return Err(Denied::Wrong);
        };
        let cookie = self.0.sessions.begin(&user, &hash, now);
        Ok((cookie, in_force.user(user, Proof::Session)))
    }

    /// Ends the session of this request, if it is in one.
    pub fn sign_out(&self, in_force: &InForce, headers: &HeaderMap, now: DateTime<Utc>) {
        let users = &in_force.web.users;
        for cookie in cookies(headers) {
            if self.0.sessions.user(cookie, users, now).is_some() {
                self.0.sessions.end(cookie, now);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InForce {
    /// Whether people must say who they are.
    pub fn asks(&self) -> bool {
        self.web.authenticates()
            || !self.tokens.is_empty()
            || !self.certificates.is_empty()
            || self.proxies.user.is_some()
    }

    /// Whether there are users, who may sign in.
    pub fn has_users(&self) -> bool {
        !self.web.users.is_empty()
    }

    /// Whether there are tokens.
    pub fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Headers of every answer that has none of their names.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.web.headers
    }

    /// How TLS is spoken, if it is.
    pub fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.as_ref().map(|tls| Arc::clone(&tls.config))
    }

    /// The reverse proxies that are trusted.
    pub fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// Who is not named has the scopes of all.
    fn signed_in_by_proxy(&self, name: &str) -> Caller {
        let scopes = self.proxies.user.as_ref().map(|user| {
            let named = user.users.get(name);
            named.copied().unwrap_or(user.scopes)
        });
        Caller {
            name: Some(name.to_owned()),
            proof: Proof::Proxy,
            scopes: scopes.unwrap_or_default(),
        }
    }

    fn user(&self, name: String, proof: Proof) -> Caller {
        Caller {
            scopes: self.users.get(&name).copied().unwrap_or(Scopes::ALL),
            name: Some(name),
            proof,
        }
    }

    /// A certificate that is named is a proof of its own. Another is one only where nothing else is asked for.
    fn certified(&self, peer: &Peer) -> Option<Caller> {
        let caller = |name: Option<String>, scopes| Caller {
            name,
            proof: Proof::Certificate,
            scopes,
        };
        let mut wanted = self.certificates.iter();
        if let Some((name, scopes)) = wanted.find(|(name, _)| name.is_in(&peer.names)) {
            return Some(caller(Some(name.to_string()), *scopes));
        }
        let verifies = |tls: &Tls| tls.client_auth.verifies();
        let is_enough = self.web.users.is_empty()
            && self.tokens.is_empty()
            && self.certificates.is_empty()
            && self.proxies.user.is_none()
            && self.web.tls.as_ref().is_some_and(verifies)
            && !peer.chain.is_empty();
        let name = peer.names.first().map(|name| name.text.clone());
        is_enough.then(|| caller(name.or(Some("certificate".to_owned())), Scopes::ALL))
    }
}

/// The values of our cookie.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, value)| value)
}
