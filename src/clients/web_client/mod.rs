//! An HTTP/1.1 client, with or without TLS: for Prometheus, Alertmanager, webhook notifiers, and, in the command line, for a
//! running promansible.
//!
//! Every exchange is limited in time and size, and has a connection of its own: requests are rare, and an idle connection
//! may have died. Redirects are not followed: they would leak secrets. Secrets are read from their files for each exchange,
//! and never appear in log lines or errors.

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

/// The `User-Agent` of each request.
const USER_AGENT: &str = concat!("promansible/", env!("CARGO_PKG_VERSION"));

/// An HTTP client. Cheap to create.
#[derive(Debug, Clone)]
pub struct WebClient {
    /// Authentication and TLS.
    pub http: HttpClient,
    /// The longest time for a whole exchange.
    pub timeout: Duration,
    /// The largest accepted response body. *Units*: bytes.
    pub largest: usize,
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is no response. Each message is a sentence about the server; the caller names it.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// It took too long.
    #[error("it did not answer within {}", format_duration(*.0))]
    Late(Duration),
    /// Connecting failed.
    #[error("nothing answers there: {0}")]
    Connect(io::Error),
    /// The TLS handshake failed: a wrong certificate, or no TLS at all.
    #[error("TLS handshake failed: {}", certificate::handshake_refusal(.0))]
    Handshake(io::Error),
    /// The response is not HTTP.
    #[error("it does not speak HTTP: {0}")]
    Odd(hyper::Error),
    /// The response was cut off.
    #[error("its answer cannot be read: {0}")]
    Broken(Box<dyn std::error::Error + Send + Sync>),
    /// The response is too large.
    #[error("its answer is larger than {}", format_size(*.0 as u64))]
    Large(usize),
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The request is invalid.
    #[error("cannot build the request: {0}")]
    Request(String),
}

impl WebError {
    /// Whether the server could not be reached at all.
    pub fn is_unreached(&self) -> bool {
        matches!(self, Self::Connect(_))
    }
}

impl WebClient {
    /// Sends a request with an absolute URI, and reads the whole response.
    ///
    /// *Cancel safety*: dropping it closes the connection.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Answer, WebError> {
        tokio::time::timeout(self.timeout, self.exchange(request))
            .await
            .map_err(|_| WebError::Late(self.timeout))?
    }

    /// Sends a request with an absolute URI, and returns its response as a stream.
    ///
    /// *Cancel safety*: dropping it, or the stream, closes the connection.
    pub async fn open(&self, request: Request<Bytes>) -> Result<Stream, WebError> {
        let (answer, driver) = tokio::time::timeout(self.timeout, self.start(request))
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

    /// Whether a server listens at an address, with any protocol.
    pub async fn reaches(&self, url: &Uri) -> bool {
        let connected = tokio::time::timeout(self.timeout, connect(url)).await;
        matches!(connected, Ok(Ok(_)))
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Answer, WebError> {
        let (answer, _driver) = self.start(request).await?;
        let (parts, body) = answer.into_parts();
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: whole(body, self.largest).await?,
        })
    }

    async fn start(
        &self,
        request: Request<Bytes>,
    ) -> Result<(Response<Incoming>, Driver), WebError> {
        let (mut parts, body) = request.into_parts();
        let url = std::mem::take(&mut parts.uri);
        let authority = url
            .authority()
            .ok_or_else(|| WebError::Request("the address names no host".to_owned()))?;
        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|e| WebError::Request(e.to_string()))?;
        parts.headers.insert(HOST, host);
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

/// The task of a connection. Dropping it closes the connection.
type Driver = JoinSet<Result<(), hyper::Error>>;

/// A response that is read as it arrives.
#[derive(Debug)]
pub struct Stream {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    silence: Duration,
    largest: usize,
    _driver: Driver,
}

impl Stream {
    /// Returns the next piece; `None` at the end.
    ///
    /// *Errors*: `Late` if nothing arrives within the client's timeout. *Cancel safety*: may be dropped and called again.
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

    /// Reads the rest of the response.
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
    // Ends when its owner is dropped, also on a timeout.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let answer = sender.send_request(request).await.map_err(WebError::Odd)?;
    Ok((answer, driver))
}

/// Appends a path to a URL, which may have a path of its own.
pub fn under(base: &Uri, path: &str) -> String {
    format!("{}{path}", base.to_string().trim_end_matches('/'))
}

async fn connect(url: &Uri) -> io::Result<TcpStream> {
    let default_port = if url.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    TcpStream::connect((bare_host(url), url.port_u16().unwrap_or(default_port))).await
}

/// Returns the host of a URL, without the brackets of an IPv6 address.
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
    // The library's error would not name the source, and ours must not contain the value.
    let mut value = HeaderValue::from_str(&value).map_err(|_| {
        let source = match secret {
            Some(Secret::File(file)) => file.display().to_string(),
            _ => "--http.config.file".to_owned(),
        };
        WebError::Request(format!(
            "{source} contains characters that an HTTP header cannot contain: want one line"
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
