//! Who may come in: TLS, users, tokens, client certificates, sessions of the portal, a limit on requests.
//!
//! What counts is what the files say now: each connection and each request looks whether one of them changed, as the
//! servers of Prometheus do. Unlike there, files that have become bad change nothing: what was in force stays in force, and
//! the log says why. Passwords and tokens are kept as keyed hashes only; the key is made anew at each start.

mod load;
mod password_queue;
mod peer;
mod permission;
mod rate;
mod session;
mod tls;
mod users;
pub mod web_config;

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

use crate::auth::web_config::Tls;
use crate::config::Web;
use crate::model::identity::{AuthMethod, Identity, Scopes};
use crate::model::proxies::{Proxies, ProxySaid};
use crate::util::blocking::in_place;
use load::{FileFingerprint, Fingerprints, Loader};
use password_queue::TooManyAttempts;
use rate::Bucket;
use session::Sessions;
use users::Passwords;

pub use load::{AuthConfig, AuthError};
pub use password_queue::neighbourhood;
pub use peer::Peer;
pub use permission::{Claim, Permission};
pub use session::LASTS as SESSION_LASTS;
pub use tls::{HTTP2, TlsError};

/// The cookie of those who signed in by the portal's form.
pub const COOKIE_NAME: &str = "promansible_session";

/// How long a form waits that was wrong, so that guessing takes long.
const WRONG_WAITS: Duration = Duration::from_secs(1);

/// The door. Cheap to clone.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

struct Inner {
    loader: Loader,
    state: Mutex<State>,
    passwords: Passwords,
    sessions: Sessions,
}

/// What is in force, and by which files.
struct State {
    auth_config: Arc<AuthConfig>,
    bucket: Option<Arc<Bucket>>,
    web: Web,
    stamps: Arc<[Fingerprints]>,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// He does not say who he is.
    MissingCredentials,
    /// What he says is not so.
    InvalidCredentials,
    /// It cannot be looked at now: more passwords wait than may.
    TooManyAttempts,
}

impl From<TooManyAttempts> for Denied {
    fn from(_: TooManyAttempts) -> Self {
        Self::TooManyAttempts
    }
}

impl Auth {
    /// Reads the files. `must_ask` says that whoever comes must say who he is, now and whatever the files become.
    pub fn open(file: Option<PathBuf>, web: &Web, must_ask: bool) -> Result<Self, AuthError> {
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
        let auth_config = loader.load(web, &mut read)?;
        let bucket = auth_config
            .web
            .rate_limit
            .map(|limit| Bucket::new(limit, Instant::now()));
        Ok(Self(Arc::new(Inner {
            loader,
            state: Mutex::new(State {
                bucket: bucket.map(Arc::new),
                auth_config: Arc::new(auth_config),
                web: web.clone(),
                stamps: read.into(),
            }),
            passwords: Passwords::new(key()),
            sessions: Sessions::new(key()),
        })))
    }

    /// Whether the door could be made so, of a configuration that is not in force yet.
    pub fn check(&self, web: &Web) -> Result<(), AuthError> {
        self.0.loader.load(web, &mut Vec::new()).map(|_| ())
    }

    /// What is in force, after another look at the files.
    pub fn current(&self, web: &Web) -> Arc<AuthConfig> {
        let (stamps, is_same, auth_config) = {
            let state = self.state();
            let is_same = state.web == *web;
            let (stamps, auth_config) = (Arc::clone(&state.stamps), Arc::clone(&state.auth_config));
            (stamps, is_same, auth_config)
        };
        // Looked at beside all others: a disk that is slow makes nobody wait for another's look.
        let changed = |(file, stamp): &Fingerprints| FileFingerprint::of(file) != *stamp;
        if is_same && !stamps.iter().any(changed) {
            return auth_config;
        }
        let mut state = self.state();
        // Another may have read it again meanwhile.
        if state.web != *web || Arc::ptr_eq(&state.stamps, &stamps) {
            in_place(|| self.read_again(&mut state, web));
        }
        Arc::clone(&state.auth_config)
    }

    fn read_again(&self, state: &mut State, web: &Web) {
        let mut read = Vec::new();
        let again = |(file, _): &Fingerprints| (file.clone(), FileFingerprint::of(file));
        let old: Vec<Fingerprints> = state.stamps.iter().map(again).collect();
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
            Ok(auth_config) => {
                let limit = auth_config.web.rate_limit;
                if state.bucket.as_ref().map(|bucket| bucket.limit()) != limit {
                    let bucket = limit.map(|limit| Bucket::new(limit, Instant::now()));
                    state.bucket = bucket.map(Arc::new);
                }
                state.auth_config = Arc::new(auth_config);
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
    pub async fn authenticate(
        &self,
        auth_config: &AuthConfig,
        headers: &HeaderMap,
        peer: &Peer,
        now: DateTime<Utc>,
    ) -> Result<(Identity, Claim), Denied> {
        if !auth_config.asks() {
            return Ok((Identity::anybody(), Claim::Nothing));
        }
        match &peer.user {
            ProxySaid::User(name) => {
                let claim = Claim::Proxy(name.clone());
                return Ok((auth_config.signed_in_by_proxy(name), claim));
            }
            ProxySaid::Unclear => return Err(Denied::InvalidCredentials),
            ProxySaid::Nothing => {}
        }
        let knows_words = !auth_config.web.users.is_empty() || !auth_config.tokens.is_empty();
        if let Some(said) = headers.get(AUTHORIZATION).filter(|_| knows_words) {
            let said = self.said(auth_config, said, peer).await?;
            return said.ok_or(Denied::InvalidCredentials);
        }
        if let Some((user, cookie)) = self.signed_in(auth_config, headers, now) {
            let claim = Claim::Session(cookie.to_owned());
            return Ok((auth_config.user(user, AuthMethod::Session), claim));
        }
        let certified = auth_config
            .certified(peer)
            .ok_or(Denied::MissingCredentials)?;
        Ok((certified, Claim::Certificate))
    }

    async fn said(
        &self,
        auth_config: &AuthConfig,
        said: &HeaderValue,
        peer: &Peer,
    ) -> Result<Option<(Identity, Claim)>, TooManyAttempts> {
        let said = said.to_str().ok().and_then(|said| said.split_once(' '));
        let Some((scheme, rest)) = said.map(|(scheme, rest)| (scheme, rest.trim())) else {
            return Ok(None);
        };
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok(self.token(auth_config, rest));
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
            .password(auth_config, (user, password), peer.address.ip())
            .await?;
        Ok(claim.map(|claim| {
            (
                auth_config.user(user.to_owned(), AuthMethod::Password),
                claim,
            )
        }))
    }

    /// The claim of a user whose password this is.
    async fn password(
        &self,
        auth_config: &AuthConfig,
        said: (&str, &str),
        address: IpAddr,
    ) -> Result<Option<Claim>, TooManyAttempts> {
        let users = &auth_config.web.users;
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
    fn token(&self, auth_config: &AuthConfig, said: &str) -> Option<(Identity, Claim)> {
        let mut found = None;
        for token in &auth_config.tokens {
            if hmac::verify(&self.0.loader.key, said.as_bytes(), token.tag.as_ref()).is_ok() {
                found = Some(token);
            }
        }
        found.map(|token| (token.caller(), Claim::Token(token.tag.as_ref().to_vec())))
    }

    fn signed_in<'a>(
        &self,
        auth_config: &AuthConfig,
        headers: &'a HeaderMap,
        now: DateTime<Utc>,
    ) -> Option<(String, &'a str)> {
        let sessions = &self.0.sessions;
        cookies(headers).find_map(|cookie| {
            let user = sessions.user(cookie, &auth_config.web.users, now)?;
            Some((user, cookie))
        })
    }

    /// Signs a user in. Yields the cookie's value; [`Denied::InvalidCredentials`] where name or password is wrong, after a while.
    ///
    /// *Cancel safety*: may be dropped at any time.
    pub async fn sign_in(
        &self,
        auth_config: &AuthConfig,
        said: (&str, &str),
        address: IpAddr,
        now: DateTime<Utc>,
    ) -> Result<(String, Identity), Denied> {
        let claim = self.password(auth_config, said, address).await?;
        let Some(Claim::Password { user, hash }) = claim else {
            tokio::time::sleep(WRONG_WAITS).await;
            return Err(Denied::InvalidCredentials);
        };
        let cookie = self.0.sessions.begin(&user, &hash, now);
        Ok((cookie, auth_config.user(user, AuthMethod::Session)))
    }

    /// Ends the session of this request, if it is in one.
    pub fn sign_out(&self, auth_config: &AuthConfig, headers: &HeaderMap, now: DateTime<Utc>) {
        let users = &auth_config.web.users;
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

impl AuthConfig {
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
    fn signed_in_by_proxy(&self, name: &str) -> Identity {
        let scopes = self.proxies.user.as_ref().map(|user| {
            let named = user.users.get(name);
            named.copied().unwrap_or(user.scopes)
        });
        Identity {
            name: Some(name.to_owned()),
            proof: AuthMethod::Proxy,
            scopes: scopes.unwrap_or_default(),
        }
    }

    fn user(&self, name: String, proof: AuthMethod) -> Identity {
        Identity {
            scopes: self.users.get(&name).copied().unwrap_or(Scopes::ALL),
            name: Some(name),
            proof,
        }
    }

    /// A certificate that is named is a proof of its own. Another is one only where nothing else is asked for.
    fn certified(&self, peer: &Peer) -> Option<Identity> {
        let caller = |name: Option<String>, scopes| Identity {
            name,
            proof: AuthMethod::Certificate,
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
