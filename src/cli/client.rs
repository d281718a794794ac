//! A client for a running promansible.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use serde::de::DeserializeOwned;

use super::Failure;
use super::terminal::plain;
use crate::clients::web_client::{Stream, WebClient, WebError, under};
use crate::config::load_http_client;

/// How long an answer may take. A cancel waits for a commit; a list reads the history.
const PATIENCE: Duration = Duration::from_secs(30);

/// The largest answer that is read: a run's whole output, many times over.
const LARGEST: usize = 1 << 30;

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
    /// How it wants to be asked: a YAML file with who asks and whom to trust, as promtool and amtool take it.
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
        Ok(self.client()?.reaches(&self.url).await)
    }

    fn client(&self) -> Result<WebClient, Failure> {
        let http = self.http_config_file.as_deref().map(load_http_client);
        Ok(WebClient {
            http: http.transpose()?.unwrap_or_default(),
            timeout: PATIENCE,
            largest: LARGEST,
        })
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
        self.check()?;
        let request = self.request(method, path, json)?;
        let answer = self.client()?.send(request).await;
        let answer = answer.map_err(|e| self.unanswered(&e))?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        Err(refused(answer.status, &answer.headers, &answer.body))
    }

    /// Asks for what goes on, such as events.
    pub(super) async fn open(&self, path: &str) -> Result<Stream, Failure> {
        self.check()?;
        let request = self.request(Method::GET, path, None)?;
        let stream = self.client()?.open(request).await;
        let stream = stream.map_err(|e| self.unanswered(&e))?;
        if stream.status.is_success() {
            return Ok(stream);
        }
        let (status, headers) = (stream.status, stream.headers.clone());
        let body = stream.rest().await.map_err(|e| self.unanswered(&e))?;
        Err(refused(status, &headers, &body))
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

    fn unanswered(&self, e: &WebError) -> Failure {
        Failure::new(match e {
            WebError::Connect(e) => format!(
                "no promansible answers at {}: {e}. Is it running? --server.url names another address",
                self.url
            ),
            WebError::Late(patience) => {
                format!("{} took longer than {patience:?} to answer", self.url)
            }
            e => format!("{}: {e}", self.url),
        })
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
                "--server.url holds a user or a password: want a URL without, such as http://127.0.0.1:10942; --http.config.file names a file with basic_auth",
            ));
        }
        if !matches!(self.url.scheme_str(), Some("http" | "https")) || self.url.query().is_some() {
            return Err(Failure::new(format!(
                "--server.url {}: want an http:// or https:// address without a query, such as http://127.0.0.1:10942",
                self.url
            )));
        }
        Ok(())
    }

    /// That it answers what we do not know.
    pub(super) fn odd(&self, e: &dyn std::error::Error) -> Failure {
        Failure::new(format!(
            "{} does not answer like promansible: {e}",
            self.url
        ))
    }
}

/// What the server says where it does not do what it was asked.
fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    let is_json = headers
        .get(CONTENT_TYPE)
        .is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
    let why = match serde_json::from_slice::<Envelope>(body) {
        Ok(envelope) if is_json => envelope.error,
        _ => String::from_utf8_lossy(body).trim().to_owned(),
    };
    Failure::new(format!("{} ({status})", plain(&why)))
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
