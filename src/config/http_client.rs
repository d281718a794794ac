//! `http_config`, from YAML to [`HttpClient`]: the authentication and TLS of requests to other servers.
//!
//! The names are those of Prometheus and Alertmanager. Secrets must be in files of their own, because a configuration
//! is shown, copied and kept in git. Only a file for the command line that other users cannot read may contain them.
//!
//! *Source*: `HTTPClientConfig` of prometheus/common.

use std::fmt;
use std::path::PathBuf;

use hyper::Uri;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::error::{Report, place};
use super::spanned::Scalar;
use super::values::{path, text};

/// The authentication and TLS of requests. The default is no authentication, and the certificate authorities of the
/// system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpClient {
    /// The `Authorization` header; none.
    pub auth: Option<HttpAuth>,
    /// The TLS settings.
    pub tls: TlsClient,
}

/// The `Authorization` header. The secret is read from its file whenever it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpAuth {
    /// `basic_auth`.
    Basic {
        /// The user name.
        username: String,
        /// The password; `None` means an empty one.
        password: Option<Secret>,
    },
    /// `authorization`.
    Authorization {
        /// The scheme (`type`); Bearer.
        scheme: String,
        /// The credentials after the scheme.
        credentials: Secret,
    },
}

/// The location of a secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// In a file of its own.
    File(PathBuf),
    /// Inline, in a file that other users cannot read.
    Text(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Text(_) => f.write_str("Text"),
        }
    }
}

/// The TLS settings. The files are read whenever they are used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsClient {
    /// The trusted certificate authorities; those of the system.
    pub ca_file: Option<PathBuf>,
    /// The client certificate and its key; none.
    pub identity: Option<ClientIdentity>,
    /// The name that the server's certificate must contain; the host of the URL.
    pub server_name: Option<String>,
    /// Whether any certificate is accepted; false.
    pub insecure_skip_verify: bool,
}

/// A client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate and the intermediate certificates, in PEM.
    pub cert_file: PathBuf,
    /// Its key, in PEM.
    pub key_file: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpClientText {
    pub(super) basic_auth: Option<Spanned<BasicAuthText>>,
    pub(super) authorization: Option<Spanned<AuthorizationText>>,
    pub(super) tls_config: Option<Spanned<TlsConfigText>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BasicAuthText {
    username: Option<Scalar>,
    password: Option<Scalar>,
    password_file: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuthorizationText {
    r#type: Option<Scalar>,
    credentials: Option<Scalar>,
    credentials_file: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsConfigText {
    ca_file: Option<Scalar>,
    cert_file: Option<Scalar>,
    key_file: Option<Scalar>,
    server_name: Option<Scalar>,
    insecure_skip_verify: Option<bool>,
}

/// A key, and its file.
type Named<'a> = (&'static str, Option<&'a Scalar>);

impl HttpClientText {
    /// Returns the files that may be set.
    pub(super) fn files(&self) -> impl Iterator<Item = Named<'_>> {
        let tls = self.tls_config.as_ref();
        files(self.basic_auth.as_ref(), self.authorization.as_ref(), tls)
    }
}

/// Returns the files that these parts of an `http_config` may set.
pub(super) fn files<'a>(
    basic: Option<&'a Spanned<BasicAuthText>>,
    authorization: Option<&'a Spanned<AuthorizationText>>,
    tls: Option<&'a Spanned<TlsConfigText>>,
) -> impl Iterator<Item = Named<'a>> {
    [
        (
            "basic_auth.password_file",
            basic.and_then(|auth| auth.value.password_file.as_ref()),
        ),
        (
            "authorization.credentials_file",
            authorization.and_then(|auth| auth.value.credentials_file.as_ref()),
        ),
    ]
    .into_iter()
    .chain(tls.into_iter().flat_map(|tls| tls.value.files()))
}

impl TlsConfigText {
    /// Returns the files that may be set.
    pub(super) fn files(&self) -> impl Iterator<Item = Named<'_>> {
        [
            ("tls_config.ca_file", self.ca_file.as_ref()),
            ("tls_config.cert_file", self.cert_file.as_ref()),
            ("tls_config.key_file", self.key_file.as_ref()),
        ]
        .into_iter()
    }
}

/// Whether the file may contain secrets inline.
#[derive(Clone, Copy)]
pub(super) enum Inline<'a> {
    /// No: it is a configuration, which is shown, copied and kept in git.
    Refused,
    /// No: other users can read the file of this name.
    Open(&'a str),
    /// Yes.
    Taken,
}

pub(super) fn check(key: &str, typed: HttpClientText, report: &mut Report<'_>) -> HttpClient {
    check_with(key, typed, Inline::Refused, report)
}

pub(super) fn check_with(
    key: &str,
    typed: HttpClientText,
    inline: Inline<'_>,
    report: &mut Report<'_>,
) -> HttpClient {
    if let (Some(_), Some(authorization)) = (&typed.basic_auth, &typed.authorization) {
        report.add(
            place(authorization.referenced),
            format!("{key} has both basic_auth and authorization"),
            Some("keep the one that the server requires".to_owned()),
        );
    }
    let basic = typed
        .basic_auth
        .and_then(|typed| basic(key, typed, inline, report));
    let authorization = typed
        .authorization
        .and_then(|typed| authorization(key, typed, inline, report));
    HttpClient {
        auth: basic.or(authorization),
        tls: typed
            .tls_config
            .map(|typed| tls(&format!("{key}.tls_config"), typed, report))
            .unwrap_or_default(),
    }
}

/// Reads a secret that is inline or in a file of its own, by the keys for both.
fn secret(
    (inline_key, file_key): (&str, &str),
    (typed, typed_file): (Option<Scalar>, Option<Scalar>),
    inline: Inline<'_>,
    report: &mut Report<'_>,
) -> Option<Secret> {
    let file = path(file_key, typed_file, report).map(Secret::File);
    let Some(typed) = typed else { return file };
    let at = place(typed.referenced);
    let file_word = file_key.rsplit('.').next().unwrap_or_default();
    let (message, help) = match inline {
        Inline::Taken if file.is_none() => return Some(Secret::Text(typed.value)),
        Inline::Taken => (
            format!("{inline_key} and {file_word} are both set"),
            "keep one of them".to_owned(),
        ),
        Inline::Open(name) => (
            format!("{inline_key} is a secret, but other users can read this file"),
            format!("chmod 600 {name}, or put the secret in its own file: {file_word}: FILE"),
        ),
        Inline::Refused => (
            format!("{inline_key} is a secret and must not be in this file"),
            format!(
                "put it in a file that only promansible can read, and set {file_word}: /etc/promansible/secret"
            ),
        ),
    };
    report.add_unseen(at, message, Some(help));
    file
}

fn basic(
    key: &str,
    typed: Spanned<BasicAuthText>,
    inline: Inline<'_>,
    report: &mut Report<'_>,
) -> Option<HttpAuth> {
    let at = place(typed.referenced);
    let typed = typed.value;
    let keys = (
        format!("{key}.basic_auth.password"),
        format!("{key}.basic_auth.password_file"),
    );
    let password = secret(
        (&keys.0, &keys.1),
        (typed.password, typed.password_file),
        inline,
        report,
    );
    if typed.username.is_none() {
        let help = "name the user: basic_auth: {username: promansible, password_file: /etc/promansible/password}";
        let message = format!("{key}.basic_auth has no username");
        report.add(at, message, Some(help.to_owned()));
    }
    let name = format!("{key}.basic_auth.username");
    if let Some(typed) = typed.username.as_ref().filter(|u| u.value.contains(':')) {
        // The text after the colon may be the password.
        let message = format!("{name} contains a colon, which ends the user name");
        let help = "put the password in password_file";
        report.add_unseen(place(typed.referenced), message, Some(help.to_owned()));
    }
    Some(HttpAuth::Basic {
        username: text(&name, typed.username, report)?,
        password,
    })
}

fn authorization(
    key: &str,
    typed: Spanned<AuthorizationText>,
    inline: Inline<'_>,
    report: &mut Report<'_>,
) -> Option<HttpAuth> {
    let at = place(typed.referenced);
    let typed = typed.value;
    if typed.credentials_file.is_none() && typed.credentials.is_none() {
        let help = "name the file that holds the token: authorization: {credentials_file: /etc/promansible/token}";
        let message = format!("{key}.authorization has no credentials_file");
        report.add(at, message, Some(help.to_owned()));
    }
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let scheme = match typed.r#type {
        Some(typed) if typed.value.eq_ignore_ascii_case("basic") => {
            let message = format!("{key}.authorization.type cannot be Basic");
            let help = "write basic_auth: {username: …, password_file: …}";
            report.add(place(typed.referenced), message, Some(help.to_owned()));
            typed.value
        }
        Some(typed) if typed.value.is_empty() || !typed.value.chars().all(token) => {
            // The text after the scheme may be the token.
            let message = format!("{key}.authorization.type is not one word");
            let help =
                "write only the scheme, such as Bearer, and put the rest in credentials_file";
            report.add_unseen(place(typed.referenced), message, Some(help.to_owned()));
            typed.value
        }
        Some(typed) => typed.value,
        None => "Bearer".to_owned(),
    };
    let keys = (
        format!("{key}.authorization.credentials"),
        format!("{key}.authorization.credentials_file"),
    );
    Some(HttpAuth::Authorization {
        scheme,
        credentials: secret(
            (&keys.0, &keys.1),
            (typed.credentials, typed.credentials_file),
            inline,
            report,
        )?,
    })
}

pub(super) fn tls(key: &str, typed: Spanned<TlsConfigText>, report: &mut Report<'_>) -> TlsClient {
    let at = place(typed.referenced);
    let typed = typed.value;
    let cert = path(&format!("{key}.cert_file"), typed.cert_file, report);
    let key_file = path(&format!("{key}.key_file"), typed.key_file, report);
    let identity = match (cert, key_file) {
        (Some(cert_file), Some(key_file)) => Some(ClientIdentity {
            cert_file,
            key_file,
        }),
        (None, None) => None,
        _ => {
            let message = format!("{key} needs both cert_file and key_file");
            report.add(at, message, Some("set both, or neither".to_owned()));
            None
        }
    };
    let name = format!("{key}.server_name");
    if let Some(typed) = &typed.server_name
        && tokio_rustls::rustls::pki_types::ServerName::try_from(typed.value.as_str()).is_err()
    {
        let message = format!("{name} is not a host name: {:?}", typed.value);
        let help = "write the name in the server's certificate";
        report.add(place(typed.referenced), message, Some(help.to_owned()));
    }
    TlsClient {
        ca_file: path(&format!("{key}.ca_file"), typed.ca_file, report),
        identity,
        server_name: text(&name, typed.server_name, report),
        insecure_skip_verify: typed.insecure_skip_verify.unwrap_or(false),
    }
}

/// Reports an inline secret, and names the key for a file. The line is not shown, because it contains the secret.
pub(super) fn refuse_inline(
    key: &str,
    inline: &str,
    file: &str,
    typed: Option<Scalar>,
    report: &mut Report<'_>,
) {
    if let Some(typed) = typed {
        report.add_unseen(
            place(typed.referenced),
            format!("{key}.{inline} is a secret and must not be in this file"),
            Some(format!(
                "put it in a file that only promansible can read, and set {file}: /etc/promansible/secret"
            )),
        );
    }
}

/// Reads a URL, which may have a query; reports it if it is invalid.
pub(super) fn whole_url(
    key: &str,
    example: &str,
    typed: &Scalar,
    report: &mut Report<'_>,
) -> Option<Uri> {
    match parse_url(&typed.value) {
        Ok(url) => return Some(url),
        Err(why) => report.add_unseen(
            place(typed.referenced),
            format!("{key} {why}"),
            Some(example.to_owned()),
        ),
    }
    None
}

/// Parses an `http` or `https` URL without a user. The error is the rest of a sentence, and does not repeat the text.
pub fn parse_url(text: &str) -> Result<Uri, &'static str> {
    let url: Uri = text.parse().map_err(|_| "is not an address")?;
    if has_user(&url) {
        return Err("contains a user or a password: put them in http_config");
    }
    let is_http = matches!(url.scheme_str(), Some("http" | "https"));
    if !is_http || url.host().is_none_or(str::is_empty) {
        return Err("is not an http:// or https:// address");
    }
    Ok(url)
}

/// Reads a base URL with `http` or `https` and without a query; reports it if it is invalid.
pub(super) fn url(
    key: &str,
    example: &str,
    typed: &Scalar,
    report: &mut Report<'_>,
) -> Option<Uri> {
    let message = match typed.value.parse::<Uri>() {
        Ok(url) if has_user(&url) => {
            report.add_unseen(
                place(typed.referenced),
                format!("{key} contains a user or a password"),
                Some(
                    "remove them from the URL, and use basic_auth: {username: …, password_file: …}"
                        .to_owned(),
                ),
            );
            return None;
        }
        Ok(url) if is_base(&url) => return Some(url),
        // A query may hold a token.
        _ => format!("{key} is not an http:// or https:// URL without a query"),
    };
    report.add(place(typed.referenced), message, Some(example.to_owned()));
    None
}

fn has_user(url: &Uri) -> bool {
    url.authority().is_some_and(|a| a.as_str().contains('@'))
}

fn is_base(url: &Uri) -> bool {
    matches!(url.scheme_str(), Some("http" | "https"))
        && url.host().is_some_and(|host| !host.is_empty())
        && url.query().is_none()
}
