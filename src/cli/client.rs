//! A client for a running promansible.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use super::Failure;
use super::terminal::plain;

/// How long an answer may take. A cancel waits for a commit; a list reads the history.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which server to talk to.
#[derive(Debug, Clone, Args)]
pub(super) struct Server {
    /// Where the server answers.
    #[arg(
        long = "server.url",
        value_name = "URL",
        env = "PROMANSIBLE_SERVER_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:10942",
        global = true
    )]
    url: Uri,
}

#[derive(serde::Deserialize)]
struct Envelope {
    #[serde(default)]
    data: serde_json::Value,
    #[serde(default)]
    error: String,
}

impl Server {
    /// Asks for what is under `/api/v1/`, and unpacks the envelope.
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
    ) -> Result<T, Failure> {
        block_on(self.ask_async(method, path, None))?
    }

    /// The same inside a runtime, with what is sent along.
    pub(super) async fn ask_async<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        json: Option<&serde_json::Value>,
    ) -> Result<T, Failure> {
        let body = self.exchange(method, path, json).await?;
        let envelope: Envelope = serde_json::from_slice(&body).map_err(|e| self.odd(&e))?;
        serde_json::from_value(envelope.data)
            .map_err(|e| Failure::new(format!("{} answered something else: {e}", self.url)))
    }

    /// Where it is.
    pub(super) fn url(&self) -> &Uri {
        &self.url
    }

    /// Whether somebody listens there.
    pub(super) async fn answers(&self) -> Result<bool, Failure> {
        self.check()?;
        let connected = tokio::time::timeout(PATIENCE, self.connect()).await;
        Ok(matches!(connected, Ok(Ok(_))))
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        let bare = self.host().trim_start_matches('[').trim_end_matches(']');
        TcpStream::connect((bare, self.port())).await
    }

    fn host(&self) -> &str {
        self.url.host().unwrap_or("127.0.0.1")
    }

    fn port(&self) -> u16 {
        self.url.port_u16().unwrap_or(80)
    }

    /// Asks for a text.
    pub(super) fn text(&self, path: &str) -> Result<Bytes, Failure> {
        block_on(self.text_async(path))?
    }

    /// The same inside a runtime.
    pub(super) async fn text_async(&self, path: &str) -> Result<Bytes, Failure> {
        self.exchange(Method::GET, path, None).await
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        json: Option<&serde_json::Value>,
    ) -> Result<Bytes, Failure> {
        let exchange = self.exchange_once(method, path, json);
        let exchanged = tokio::time::timeout(PATIENCE, exchange).await;
        let late = format!("{} took longer than {PATIENCE:?} to answer", self.url);
        let (status, json, body) = exchanged.map_err(|_| Failure::new(late))??;
        if status.is_success() {
            return Ok(body);
        }
        let why = match serde_json::from_slice::<Envelope>(&body) {
            Ok(envelope) if json => envelope.error,
            _ => String::from_utf8_lossy(&body).trim().to_owned(),
        };
        Err(Failure::new(format!("{} ({status})", plain(&why))))
    }

    /// Refuses what would be silently left out of the request.
    fn check(&self) -> Result<(), Failure> {
        if self
            .url
            .authority()
            .is_some_and(|a| a.as_str().contains('@'))
        {
            // A password that was typed is not repeated.
            return Err(Failure::new(
                "--server.url holds a user or a password: want a URL without, such as http://127.0.0.1:10942; a proxy's password is not supported yet",
            ));
        }
        if self.url.scheme_str() != Some("http") || self.url.query().is_some() {
            return Err(Failure::new(format!(
                "--server.url {}: want an http:// address without a query, such as http://127.0.0.1:10942; TLS is not supported yet",
                self.url
            )));
        }
        Ok(())
    }

    fn odd(&self, e: &dyn std::error::Error) -> Failure {
        Failure::new(format!(
            "{} does not answer like promansible: {e}",
            self.url
        ))
    }

    async fn exchange_once(
        &self,
        method: Method,
        path: &str,
        json: Option<&serde_json::Value>,
    ) -> Result<(StatusCode, bool, Bytes), Failure> {
        self.check()?;
        let (host, port) = (self.host(), self.port());
        let stream = self.connect().await.map_err(|e| {
            Failure::new(format!(
                "no promansible answers at {}: {e}. Is it running? --server.url names another address",
                self.url
            ))
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.odd(&e))?;
        let driver = tokio::spawn(connection);
        let prefix = self.url.path().trim_end_matches('/');
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{prefix}/api/v1/{path}"))
            .header(HOST, format!("{host}:{port}"));
        if json.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = json.map_or_else(Bytes::new, |json| json.to_string().into());
        let request = request.body(Full::new(body))?;
        let answer = sender
            .send_request(request)
            .await
            .map_err(|e| self.odd(&e))?;
        let status = answer.status();
        let json = answer
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
        let body = answer
            .into_body()
            .collect()
            .await
            .map_err(|e| self.odd(&e))?
            .to_bytes();
        driver.abort();
        Ok((status, json, body))
    }
}

/// A name as one segment of a path.
pub(super) fn segment(name: &str) -> String {
    let escaped: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    escaped.replace('+', "%20")
}

/// Does what is async on this thread alone.
pub(super) fn block_on<F: Future>(work: F) -> std::io::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(work))
}
