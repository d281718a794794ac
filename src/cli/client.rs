//! The client for a running server.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use serde::de::DeserializeOwned;

use super::Failure;
use super::terminal::plain;
use crate::clients::web_client::{Answer, Stream, WebClient, WebError, under};
use crate::config::load_http_client;

/// The timeout of a request. A cancel waits for a commit; a list reads the history.
const PATIENCE: Duration = Duration::from_secs(30);

/// The maximum size of a response in bytes: many times the whole output of a run.
const LARGEST: usize = 1 << 30;

/// The server to connect to.
#[derive(Debug, Clone, Args)]
pub(super) struct Server {
    /// The URL of the server.
    #[arg(
        long = "server.url",
        value_name = "URL",
        env = "PROMANSIBLE_SERVER_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:10942",
        global = true
    )]
    url: Uri,
    /// The HTTP client configuration (credentials and TLS): a YAML file as for promtool and amtool.
    #[arg(
        long = "http.config.file",
        value_name = "FILE",
        env = "PROMANSIBLE_HTTP_CONFIG_FILE",
        hide_env_values = true,
        global = true
    )]
    http_config_file: Option<PathBuf>,
}

#[derive(serde::Deserialize)]
struct Envelope {
    #[serde(default)]
    data: serde_json::Value,
    #[serde(default)]
    error: String,
}

impl Server {
    /// Sends a request for a path under `/api/v1/`, and unpacks the envelope of the response.
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
    ) -> Result<T, Failure> {
        block_on(self.ask_async(method, path, None))?
    }

    /// The same inside a runtime, with a body.
    pub(super) async fn ask_async<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        json: Option<&serde_json::Value>,
    ) -> Result<T, Failure> {
        let body = self.exchange(method, path, json).await?;
        let envelope: Envelope = serde_json::from_slice(&body).map_err(|e| self.odd(&e))?;
        serde_json::from_value(envelope.data)
            .map_err(|e| Failure::new(format!("unexpected response from {}: {e}", self.url)))
    }

    pub(super) fn url(&self) -> &Uri {
        &self.url
    }

    /// Whether a server listens there.
    pub(super) async fn answers(&self) -> Result<bool, Failure> {
        self.check()?;
        Ok(self.client()?.reaches(&self.url).await)
    }

    /// Requests a path outside `/api/v1/`, and returns any response.
    pub(super) async fn page(&self, path: &str) -> Result<Answer, Failure> {
        self.check()?;
        let request = Request::get(under(&self.url, path)).body(Bytes::new())?;
        let answer = self.client()?.send(request).await;
        answer.map_err(|e| self.request_error(&e))
    }

    fn client(&self) -> Result<WebClient, Failure> {
        let http = self.http_config_file.as_deref().map(load_http_client);
        Ok(WebClient {
            http: http.transpose()?.unwrap_or_default(),
            timeout: PATIENCE,
            largest: LARGEST,
        })
    }

    /// Sends a request for a text.
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
        self.check()?;
        let request = self.request(method, path, json)?;
        let answer = self.client()?.send(request).await;
        let answer = answer.map_err(|e| self.request_error(&e))?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        Err(rejection(answer.status, &answer.headers, &answer.body))
    }

    /// Opens a stream, such as that of events.
    pub(super) async fn open(&self, path: &str) -> Result<Stream, Failure> {
        self.check()?;
        let request = self.request(Method::GET, path, None)?;
        let stream = self.client()?.open(request).await;
        let stream = stream.map_err(|e| self.request_error(&e))?;
        if stream.status.is_success() {
            return Ok(stream);
        }
        let (status, headers) = (stream.status, stream.headers.clone());
        let body = stream.rest().await.map_err(|e| self.request_error(&e))?;
        Err(rejection(status, &headers, &body))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        json: Option<&serde_json::Value>,
    ) -> Result<Request<Bytes>, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(under(&self.url, &format!("/api/v1/{path}")));
        if json.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = json.map_or_else(Bytes::new, |json| json.to_string().into());
        Ok(request.body(body)?)
    }

    fn request_error(&self, e: &WebError) -> Failure {
        Failure::new(match e {
            WebError::Connect(e) => format!(
                "cannot reach promansible at {}: {e}. Is it running? Set --server.url for another address",
                self.url
            ),
            WebError::Late(patience) => {
                format!("no response from {} within {patience:?}", self.url)
            }
            e => format!("{}: {e}", self.url),
        })
    }

    /// Rejects parts of the URL that would be silently omitted from the request.
    fn check(&self) -> Result<(), Failure> {
        if self
            .url
            .authority()
            .is_some_and(|a| a.as_str().contains('@'))
        {
            // Do not print a password.
            return Err(Failure::new(
                "--server.url contains a user or a password: use a URL without them, such as http://127.0.0.1:10942, and --http.config.file with basic_auth",
            ));
        }
        if !matches!(self.url.scheme_str(), Some("http" | "https")) || self.url.query().is_some() {
            return Err(Failure::new(format!(
                "--server.url {}: expected an http:// or https:// URL without a query, such as http://127.0.0.1:10942",
                self.url
            )));
        }
        Ok(())
    }

    /// Returns the error for a response of an unknown form.
    pub(super) fn odd(&self, e: &dyn std::error::Error) -> Failure {
        Failure::new(format!("unexpected response from {}: {e}", self.url))
    }
}

/// Returns the error from the response to a rejected request.
fn rejection(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    let is_json = headers
        .get(CONTENT_TYPE)
        .is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
    let why = match serde_json::from_slice::<Envelope>(body) {
        Ok(envelope) if is_json => envelope.error,
        _ => String::from_utf8_lossy(body).trim().to_owned(),
    };
    Failure::new(format!("{} ({status})", plain(&why)))
}

/// Escapes a name as one segment of a path.
pub(super) fn segment(name: &str) -> String {
    let escaped: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    escaped.replace('+', "%20")
}

/// Runs async work on this thread.
pub(super) fn block_on<F: Future>(work: F) -> std::io::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(work))
}
