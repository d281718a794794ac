//! Authentication: TLS, users, tokens, client certificates, portal sessions and the request rate limit.
//!
//! Each connection and each request checks whether one of the files changed, and reloads it, as the servers of Prometheus
//! do. Unlike there, invalid files change nothing: the old configuration stays in force, and the reason is logged.
//! Passwords and tokens are kept only as keyed hashes; the key is new at each start.

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
use crate::model::proxies::{Proxies, ProxyUserClaim};
use crate::util::blocking::in_place;
use load::{FileFingerprint, Fingerprints, Loader};
use password_queue::TooManyAttempts;
use rate::Bucket;
use session::Sessions;
use users::Passwords;

pub use load::{AuthConfig, AuthError};
pub use password_queue::client_network;
pub use peer::Peer;
pub use permission::{Claim, Permission};
pub use session::LASTS as SESSION_LASTS;
pub use tls::{HTTP2, TlsError};

/// The cookie of a portal session.
pub const COOKIE_NAME: &str = "promansible_session";

/// The delay after a wrong login form, which slows down guessing.
const WRONG_LOGIN_DELAY: Duration = Duration::from_secs(1);

/// Authenticates callers. Cheap to clone.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

struct Inner {
    loader: Loader,
    state: Mutex<State>,
    passwords: Passwords,
    sessions: Sessions,
}

/// The configuration in force, and the files that it came from.
struct State {
    auth_config: Arc<AuthConfig>,
    bucket: Option<Arc<Bucket>>,
    web: Web,
    fingerprints: Arc<[Fingerprints]>,
}

/// Why authentication failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The request has no credentials.
    MissingCredentials,
    /// The credentials are wrong.
    InvalidCredentials,
    /// The credentials cannot be checked now: too many passwords wait.
    TooManyAttempts,
}

impl From<TooManyAttempts> for Denied {
    fn from(_: TooManyAttempts) -> Self {
        Self::TooManyAttempts
    }
}

impl Auth {
    /// Loads the files. With `must_ask` a configuration without authentication is an error, now and at each reload.
    pub fn open(file: Option<PathBuf>, web: &Web, must_ask: bool) -> Result<Self, AuthError> {
        let random = SystemRandom::new();
        let key = || {
            hmac::Key::generate(hmac::HMAC_SHA256, &random)
                .expect("the system has random numbers; TLS would not work without them either")
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
                fingerprints: read.into(),
            }),
            passwords: Passwords::new(key()),
            sessions: Sessions::new(key()),
        })))
    }

    /// Checks a configuration that is not in force yet.
    pub fn check(&self, web: &Web) -> Result<(), AuthError> {
        self.0.loader.load(web, &mut Vec::new()).map(|_| ())
    }

    /// Returns the configuration in force, after checking the files for changes.
    pub fn current(&self, web: &Web) -> Arc<AuthConfig> {
        let (fingerprints, is_same, auth_config) = {
            let state = self.state();
            let is_same = state.web == *web;
            let (fingerprints, auth_config) = (
                Arc::clone(&state.fingerprints),
                Arc::clone(&state.auth_config),
            );
            (fingerprints, is_same, auth_config)
        };
        // Without the lock: a slow disk must not make one caller wait for the check of another.
        let changed = |(file, stamp): &Fingerprints| FileFingerprint::of(file) != *stamp;
        if is_same && !fingerprints.iter().any(changed) {
            return auth_config;
        }
        let mut state = self.state();
        // Another caller may have reloaded it meanwhile.
        if state.web != *web || Arc::ptr_eq(&state.fingerprints, &fingerprints) {
            in_place(|| self.reload(&mut state, web));
        }
        Arc::clone(&state.auth_config)
    }

    fn reload(&self, state: &mut State, web: &Web) {
        let mut read = Vec::new();
        let again = |(file, _): &Fingerprints| (file.clone(), FileFingerprint::of(file));
        let old: Vec<Fingerprints> = state.fingerprints.iter().map(again).collect();
        let loaded = self.0.loader.load(web, &mut read);
        if loaded.is_err() {
            // Keep checking the files that were not reached: changing one of them may fix the error.
            let unread: Vec<_> = old
                .into_iter()
                .filter(|(file, _)| read.iter().all(|(known, _)| known != file))
                .collect();
            read.extend(unread);
        }
        state.fingerprints = read.into();
        web.clone_into(&mut state.web);
        match loaded {
            Ok(auth_config) => {
                let limit = auth_config.web.rate_limit;
                if state.bucket.as_ref().map(|bucket| bucket.limit()) != limit {
                    let bucket = limit.map(|limit| Bucket::new(limit, Instant::now()));
                    state.bucket = bucket.map(Arc::new);
                }
                state.auth_config = Arc::new(auth_config);
                tracing::info!("authentication configuration reloaded");
            }
            Err(e) => {
                tracing::error!(error = %e, "the authentication configuration is rejected; the old one stays in force");
            }
        }
    }

    /// Takes a request out of the rate limit. Returns false if the limit is exceeded.
    pub fn allow_request(&self) -> bool {
        let bucket = self.state().bucket.clone();
        bucket.is_none_or(|bucket| bucket.take(Instant::now()))
    }

    /// Returns the identity behind a request, and the claim that proves it.
    ///
    /// *Cancel safety*: may be dropped at any time. It waits for nothing but a password check.
    pub async fn authenticate(
        &self,
        auth_config: &AuthConfig,
        headers: &HeaderMap,
        peer: &Peer,
        now: DateTime<Utc>,
    ) -> Result<(Identity, Claim), Denied> {
        if !auth_config.asks() {
            return Ok((Identity::unauthenticated(), Claim::Nothing));
        }
        match &peer.user {
            ProxyUserClaim::User(name) => {
                let claim = Claim::Proxy(name.clone());
                return Ok((auth_config.signed_in_by_proxy(name), claim));
            }
            ProxyUserClaim::Unclear => return Err(Denied::InvalidCredentials),
            ProxyUserClaim::Nothing => {}
        }
        let uses_header = !auth_config.web.users.is_empty() || !auth_config.tokens.is_empty();
        if let Some(header) = headers.get(AUTHORIZATION).filter(|_| uses_header) {
            let found = self.authenticate_header(auth_config, header, peer).await?;
            return found.ok_or(Denied::InvalidCredentials);
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

    async fn authenticate_header(
        &self,
        auth_config: &AuthConfig,
        header: &HeaderValue,
        peer: &Peer,
    ) -> Result<Option<(Identity, Claim)>, TooManyAttempts> {
        let parts = header.to_str().ok().and_then(|text| text.split_once(' '));
        let Some((scheme, rest)) = parts.map(|(scheme, rest)| (scheme, rest.trim())) else {
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

    /// Checks a user name and password. Returns the user's claim if they are right.
    async fn password(
        &self,
        auth_config: &AuthConfig,
        credentials: (&str, &str),
        address: IpAddr,
    ) -> Result<Option<Claim>, TooManyAttempts> {
        let users = &auth_config.web.users;
        let passwords = &self.0.passwords;
        if users.is_empty() || !passwords.is_right(users, credentials, address).await? {
            return Ok(None);
        }
        let user = credentials.0.to_owned();
        Ok(users
            .get(&user)
            .cloned()
            .map(|hash| Claim::Password { user, hash }))
    }

    /// Looks up a token. Compares it with every known one, each in constant time.
    fn token(&self, auth_config: &AuthConfig, text: &str) -> Option<(Identity, Claim)> {
        let mut found = None;
        for token in &auth_config.tokens {
            if hmac::verify(&self.0.loader.key, text.as_bytes(), token.tag.as_ref()).is_ok() {
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

    /// Signs a user in and returns the value of the session cookie. Wrong credentials return
    /// [`Denied::InvalidCredentials`] after a delay.
    ///
    /// *Cancel safety*: may be dropped at any time.
    pub async fn sign_in(
        &self,
        auth_config: &AuthConfig,
        credentials: (&str, &str),
        address: IpAddr,
        now: DateTime<Utc>,
    ) -> Result<(String, Identity), Denied> {
        let claim = self.password(auth_config, credentials, address).await?;
        let Some(Claim::Password { user, hash }) = claim else {
            tokio::time::sleep(WRONG_LOGIN_DELAY).await;
            return Err(Denied::InvalidCredentials);
        };
        let cookie = self.0.sessions.begin(&user, &hash, now);
        Ok((cookie, auth_config.user(user, AuthMethod::Session)))
    }

    /// Ends the session of this request, if any.
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
    /// Whether callers must authenticate.
    pub fn asks(&self) -> bool {
        self.web.authenticates()
            || !self.tokens.is_empty()
            || !self.certificates.is_empty()
            || self.proxies.user.is_some()
    }

    /// Whether there are users who can sign in.
    pub fn has_users(&self) -> bool {
        !self.web.users.is_empty()
    }

    pub fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Returns the headers to add to each response that does not set them.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.web.headers
    }

    /// Returns the TLS configuration, if TLS is on.
    pub fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.as_ref().map(|tls| Arc::clone(&tls.config))
    }

    /// Returns the trusted reverse proxies.
    pub fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// Returns the identity of a user whom a trusted proxy names. Users without scopes of their own get the default ones.
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

    /// Returns the identity behind a client certificate. A certificate named in the configuration suffices by itself; any
    /// other one only if no other kind of authentication is configured.
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

/// Returns the values of our cookie.
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
