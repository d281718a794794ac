//! Asks other servers by HTTP/1.1, in the clear or through TLS: Prometheus, Alertmanager, receivers of messages, and for
//! the command line a running promansible.
//!
//! Every exchange is bounded in time and size, on a connection of its own: servers are asked seldom, and a connection that
//! is kept is one more thing that can have died. Redirects are not followed: a secret would go with them. Secrets are read
//! from their files for each exchange, and are in no log line and no error.

mod secret;
mod tls;

pub use tls::{TlsError, client_config};

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::config::{HttpAuth, HttpClient, Secret, format_duration, format_size};
use crate::model::certificate;
use crate::util::secret_file::SecretFileError;

/// Who asks, as servers log it.
const USER_AGENT: &str = concat!("promansible/", env!("CARGO_PKG_VERSION"));

/// A way to ask servers. Cheap to make.
#[derive(Debug, Clone)]
pub struct WebClient {
    /// How they want to be asked.
    pub http: HttpClient,
    /// How long an exchange may take in all.
    pub timeout: Duration,
    /// The largest answer that is read, in bytes.
    pub largest: usize,
}

/// What a server said.
#[derive(Debug)]
pub struct Answer {
    /// Whether it did what it was asked.
    pub status: StatusCode,
    /// What it said of the body.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer. The sentence is about the server that was asked: who tells it names it.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// It took too long.
    #[error("it did not answer within {}", format_duration(*.0))]
    Late(Duration),
    /// Nobody listens.
    #[error("nothing answers there: {0}")]
    Connect(io::Error),
    /// TLS failed: another certificate than it should be, or no TLS at all.
    #[error("no TLS with it: {}", certificate::handshake_refusal(.0))]
    Handshake(io::Error),
    /// It answers something else.
    #[error("it does not speak HTTP: {0}")]
    Odd(hyper::Error),
    /// Its answer broke off.
    #[error("its answer cannot be read: {0}")]
    Broken(Box<dyn std::error::Error + Send + Sync>),
    /// Its answer is too large.
    #[error("its answer has more than {}", format_size(*.0 as u64))]
    Large(usize),
    /// A secret cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// A certificate or key cannot be had.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The request cannot be made.
    #[error("cannot be asked: {0}")]
    Request(String),
}

impl WebError {
    /// Whether nobody was reached at all.
    pub fn is_unreached(&self) -> bool {
        matches!(self, Self::Connect(_))
    }
}

impl WebClient {
    /// Sends a request whose URI is absolute, and reads the whole answer.
    ///
    /// *Cancel safety*: dropping it closes the connection.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Answer, WebError> {
        tokio::time::timeout(self.timeout, self.exchange(request))
            .await
            .map_err(|_| WebError::Late(self.timeout))?
    }

    /// Sends a request whose URI is absolute, and yields its answer as it comes.
    ///
    /// *Cancel safety*: dropping it, or what it yields, closes the connection.
    pub async fn open(&self, request: Request<Bytes>) -> Result<Stream, WebError> {
        let (answer, driver) = tokio::time::timeout(self.timeout, self.ask(request))
            .await
            .map_err(|_| WebError::Late(self.timeout))??;
        let (parts, body) = answer.into_parts();
        Ok(Stream {
            status: parts.status,
            headers: parts.headers,
            body,
            silence: self.timeout,
            largest: self.largest,
            _driver: driver,
        })
    }

    /// Whether somebody listens at an address; whatever he speaks.
    pub async fn reaches(&self, url: &Uri) -> bool {
        let connected = tokio::time::timeout(self.timeout, connect(url)).await;
        matches!(connected, Ok(Ok(_)))
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Answer, WebError> {
        let (answer, _driver) = self.ask(request).await?;
        let (parts, body) = answer.into_parts();
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: whole(body, self.largest).await?,
        })
    }

    async fn ask(&self, request: Request<Bytes>) -> Result<(Response<Incoming>, Driver), WebError> {
        let (mut parts, body) = request.into_parts();
        let url = std::mem::take(&mut parts.uri);
        let authority = url
            .authority()
            .ok_or_else(|| WebError::Request("the address names no host".to_owned()))?;
        let word =
            |text: &str| HeaderValue::from_str(text).map_err(|e| WebError::Request(e.to_string()));
        parts.headers.insert(HOST, word(authority.as_str())?);
        parts.headers.insert(
            hyper::header::USER_AGENT,
            HeaderValue::from_static(USER_AGENT),
        );
        if let Some(auth) = &self.http.auth {
            parts
                .headers
                .insert(AUTHORIZATION, authorization(auth).await?);
        }
        parts.uri = url
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .parse()
            .map_err(|e: hyper::http::uri::InvalidUri| WebError::Request(e.to_string()))?;
        let request = Request::from_parts(parts, Full::new(body));
        if url.scheme_str() == Some("https") {
            let settings = self.http.tls.clone();
            let config = tokio::task::spawn_blocking(move || client_config(&settings));
            let config = config
                .await
                .map_err(|e| WebError::Request(e.to_string()))??;
            let name = self.http.tls.server_name.as_deref();
            let name = name.unwrap_or_else(|| bare_host(&url)).to_owned();
            let name = ServerName::try_from(name).map_err(|e| WebError::Request(e.to_string()))?;
            let stream = connect(&url).await.map_err(WebError::Connect)?;
            let stream = TlsConnector::from(config).connect(name, stream).await;
            speak(stream.map_err(WebError::Handshake)?, request).await
        } else {
            let stream = connect(&url).await.map_err(WebError::Connect)?;
            speak(stream, request).await
        }
    }
}

/// Moves a connection on. Dropping it closes the connection.
type Driver = JoinSet<Result<(), hyper::Error>>;

/// An answer that is read as it comes.
#[derive(Debug)]
pub struct Stream {
    /// Whether the server does what it was asked.
    pub status: StatusCode,
    /// What it says of the body.
    pub headers: HeaderMap,
    body: Incoming,
    silence: Duration,
    largest: usize,
    _driver: Driver,
}

impl Stream {
    /// The next piece; `None` at the end.
    ///
    /// *Errors*: `Late` where nothing came for the client's timeout. *Cancel safety*: may be dropped and called again.
    pub async fn next(&mut self) -> Result<Option<Bytes>, WebError> {
        loop {
            let frame = tokio::time::timeout(self.silence, self.body.frame()).await;
            let Some(frame) = frame.map_err(|_| WebError::Late(self.silence))? else {
                return Ok(None);
            };
            let frame = frame.map_err(|e| WebError::Broken(e.into()))?;
            if let Ok(piece) = frame.into_data() {
                return Ok(Some(piece));
            }
        }
    }

    /// All that is left of it.
    pub async fn rest(self) -> Result<Bytes, WebError> {
        tokio::time::timeout(self.silence, whole(self.body, self.largest))
            .await
            .map_err(|_| WebError::Late(self.silence))?
    }
}

async fn whole(body: Incoming, largest: usize) -> Result<Bytes, WebError> {
    let body = Limited::new(body, largest).collect().await;
    let body = body.map_err(|e| {
        if e.is::<LengthLimitError>() {
            WebError::Large(largest)
        } else {
            WebError::Broken(e)
        }
    })?;
    Ok(body.to_bytes())
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, Driver), WebError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(WebError::Odd)?;
    // Ends with whoever holds it, also where the time is up.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let answer = sender.send_request(request).await.map_err(WebError::Odd)?;
    Ok((answer, driver))
}

/// The address of a path under another address, which may have a path of its own.
pub fn under(base: &Uri, path: &str) -> String {
    format!("{}{path}", base.to_string().trim_end_matches('/'))
}

async fn connect(url: &Uri) -> io::Result<TcpStream> {
    let usual = if url.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    TcpStream::connect((bare_host(url), url.port_u16().unwrap_or(usual))).await
}

/// Without the brackets of an IPv6 address.
fn bare_host(url: &Uri) -> &str {
    let host = url.host().unwrap_or_default();
    host.trim_start_matches('[').trim_end_matches(']')
}

async fn authorization(auth: &HttpAuth) -> Result<HeaderValue, WebError> {
    let (value, secret) = match auth {
        HttpAuth::Basic { username, password } => {
            let text = match password {
                Some(password) => secret_text(password).await?,
                None => String::new(),
            };
            let pair = STANDARD.encode(format!("{username}:{text}"));
            (format!("Basic {pair}"), password.as_ref())
        }
        HttpAuth::Authorization {
            scheme,
            credentials,
        } => {
            let text = secret_text(credentials).await?;
            (format!("{scheme} {text}"), Some(credentials))
        }
    };
    // The library's error would say nothing of where it comes from, and ours must not say what it is.
    let mut value = HeaderValue::from_str(&value).map_err(|_| {
        let source = match secret {
            Some(Secret::File(file)) => file.display().to_string(),
            _ => "--http.config.file".to_owned(),
        };
        WebError::Request(format!(
            "{source} holds what no HTTP header can: want one line"
        ))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

async fn secret_text(secret: &Secret) -> Result<String, SecretFileError> {
    match secret {
        Secret::File(file) => secret::read_secret(file).await,
        Secret::Text(text) => Ok(text.clone()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
