//! Loads [`AuthConfig`] from the web configuration file, the certificates and the token files.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ring::hmac;

use super::tls::{self, Built, Material, TlsError};
use crate::auth::web_config::{self, Pem, WebConfig};
use crate::config::{ConfigErrors, Web};
use crate::model::certificate::WantedName;
use crate::model::identity::{AuthMethod, Identity, Scopes};
use crate::model::proxies::Proxies;
use crate::util::secret_file::{self, SecretFileError};

/// The shortest allowed token. *Units*: characters. A shorter one can be guessed.
const SHORTEST: usize = 16;

/// Why loading failed. The messages contain nothing from the files.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The web configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// A file cannot be read, or is readable by everyone.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// The web configuration is not text.
    #[error("{}: it is not UTF-8", .0.display())]
    NoText(PathBuf),
    /// TLS cannot be set up.
    #[error("{}: {}", .0.display(), .1)]
    Tls(PathBuf, TlsError),
    /// A token is missing or too easy to guess.
    #[error(
        "{}: the token {:?} must be one word of at least {SHORTEST} characters: generate one with `openssl rand -hex 32`", .1.display(), .0
    )]
    Token(String, PathBuf),
    /// Two tokens have the same value.
    #[error("the tokens {0:?} and {1:?} are the same: their callers could not be distinguished")]
    SameToken(String, String),
    /// Scopes are assigned to a user who does not exist.
    #[error(
        "web.users names {0:?}, but the web configuration has no such user. Check the spelling: a user that web.users does not name gets the scope operate"
    )]
    NoSuchUser(String),
    /// Certificates are named, but client certificates are not verified.
    #[error(
        "web.certificates names {0:?}, but no client certificate is verified: set client_auth_type to VerifyClientCertIfGiven or RequireAndVerifyClientCert, and client_ca_file, in the web configuration"
    )]
    Unverified(String),
    /// Without authentication, anyone who reaches the port could run roles.
    #[error(
        "promansible listens on a non-loopback address without authentication: configure basic_auth_users or client certificates in --web.config.file, or web.tokens"
    )]
    Open,
}

/// How people and programs are authenticated, as of the last load.
pub struct AuthConfig {
    pub(super) web: WebConfig,
    pub(super) tls: Option<Built>,
    pub(super) tokens: Vec<TokenTag>,
    pub(super) users: BTreeMap<String, Scopes>,
    pub(super) certificates: BTreeMap<WantedName, Scopes>,
    pub(super) proxies: Proxies,
}

/// A token, stored as a keyed hash.
pub(super) struct TokenTag {
    pub(super) name: String,
    pub(super) tag: hmac::Tag,
    pub(super) scopes: Scopes,
}

impl TokenTag {
    pub(super) fn caller(&self) -> Identity {
        Identity {
            name: Some(self.name.clone()),
            proof: AuthMethod::Token,
            scopes: self.scopes,
        }
    }
}

/// Loads the configuration.
pub(super) struct Loader {
    pub(super) file: Option<PathBuf>,
    pub(super) key: hmac::Key,
    /// Whether a configuration without authentication is an error.
    pub(super) must_ask: bool,
}

impl Loader {
    /// Loads everything. Adds each file to `read`, also on an error, with its fingerprint from just before it was read.
    pub(super) fn load(
        &self,
        web: &Web,
        read: &mut Vec<Fingerprints>,
    ) -> Result<AuthConfig, AuthError> {
        let config = match &self.file {
            Some(file) => web_config(file, read)?,
            None => WebConfig::default(),
        };
        let tls = match (&config.tls, &self.file) {
            (Some(tls), Some(file)) => {
                let material = Material {
                    cert: pem(&tls.cert, read, false)?,
                    key: pem(&tls.key, read, true)?,
                    client_ca: match &tls.client_ca {
                        Some(client_ca) => Some(pem(client_ca, read, false)?),
                        None => None,
                    },
                };
                let built = tls::build(tls, config.http2, &material);
                Some(built.map_err(|e| AuthError::Tls(file.clone(), e))?)
            }
            _ => None,
        };
        let tokens = self.tokens(web, read)?;
        let unknown = web
            .users
            .keys()
            .find(|name| !config.users.contains_key(*name));
        if let Some(name) = unknown {
            return Err(AuthError::NoSuchUser(name.clone()));
        }
        let verifies = config
            .tls
            .as_ref()
            .is_some_and(|tls| tls.client_auth.verifies());
        if let Some(name) = web.certificates.keys().next().filter(|_| !verifies) {
            return Err(AuthError::Unverified(name.to_string()));
        }
        let auth_config = AuthConfig {
            tls,
            tokens,
            users: web.users.clone(),
            certificates: web.certificates.clone(),
            proxies: web.proxies.clone(),
            web: config,
        };
        if self.must_ask && !auth_config.asks() {
            return Err(AuthError::Open);
        }
        Ok(auth_config)
    }

    fn tokens(&self, web: &Web, read: &mut Vec<Fingerprints>) -> Result<Vec<TokenTag>, AuthError> {
        let mut tokens: Vec<TokenTag> = Vec::new();
        for token in &web.tokens {
            read.push(fingerprinted(&token.file));
            let text = secret_file::read_text(&token.file)?;
            if text.chars().count() < SHORTEST || text.contains(|c: char| c.is_whitespace()) {
                return Err(AuthError::Token(token.name.clone(), token.file.clone()));
            }
            let tag = hmac::sign(&self.key, text.as_bytes());
            let same = tokens
                .iter()
                .find(|other| other.tag.as_ref() == tag.as_ref());
            if let Some(same) = same {
                return Err(AuthError::SameToken(same.name.clone(), token.name.clone()));
            }
            tokens.push(TokenTag {
                name: token.name.clone(),
                tag,
                scopes: token.scopes,
            });
        }
        Ok(tokens)
    }
}

fn web_config(file: &Path, read: &mut Vec<Fingerprints>) -> Result<WebConfig, AuthError> {
    read.push(fingerprinted(file));
    let (bytes, open) = secret_file::read_open(file)?;
    let text = String::from_utf8(bytes).map_err(|_| AuthError::NoText(file.to_owned()))?;
    let config = web_config::parse(file, &text)?;
    match open {
        Some(e) if config.holds_secrets() => Err(e.into()),
        _ => Ok(config),
    }
}

fn pem(pem: &Pem, read: &mut Vec<Fingerprints>, is_secret: bool) -> Result<Vec<u8>, AuthError> {
    match pem {
        Pem::Inline(text) => Ok(text.clone().into_bytes()),
        Pem::File(file) => {
            read.push(fingerprinted(file));
            if is_secret {
                return Ok(secret_file::read(file)?);
            }
            Ok(secret_file::read_open(file)?.0)
        }
    }
}

/// A file and its fingerprint when it was last checked.
pub(super) type Fingerprints = (PathBuf, FileFingerprint);

fn fingerprinted(file: &Path) -> Fingerprints {
    (file.to_owned(), FileFingerprint::of(file))
}

/// Detects that a file changed, appeared or disappeared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileFingerprint(Option<[i64; 8]>);

impl FileFingerprint {
    /// Returns the current fingerprint of a file.
    pub(super) fn of(file: &Path) -> Self {
        let number = |n: u64| i64::from_ne_bytes(n.to_ne_bytes());
        Self(std::fs::metadata(file).ok().map(|meta| {
            [
                number(meta.dev()),
                number(meta.ino()),
                number(meta.size()),
                i64::from(meta.mode()),
                meta.mtime(),
                meta.mtime_nsec(),
                meta.ctime(),
                meta.ctime_nsec(),
            ]
        }))
    }
}
