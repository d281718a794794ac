//! `promansible serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use super::logging;
use super::{CONFIG_FILE, Failure};
use crate::ansible;
use crate::app::{App, Options};
use crate::model::proxies::path_prefix;
use crate::util::rlimit;

/// Where promansible listens if nothing else is said.
pub(super) const LISTEN: &str = "127.0.0.1:10942";

/// Receive notifications and run roles.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The configuration file.
    #[arg(long = "config.file", value_name = "FILE", default_value = CONFIG_FILE)]
    config_file: PathBuf,
    /// The store; by default, `storage.path` of the configuration.
    #[arg(long = "storage.path", value_name = "FILE")]
    storage_path: Option<PathBuf>,
    /// The address to listen on; may be repeated. `:PORT` means all addresses, `localhost:PORT` means 127.0.0.1.
    #[arg(
        long = "web.listen-address",
        value_name = "ADDRESS:PORT",
        default_value = LISTEN,
        value_parser = listen_address
    )]
    listen: Vec<SocketAddr>,
    /// The web configuration file: TLS, users and headers, in the format of Prometheus; it is reloaded when it changes.
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_config_file: Option<PathBuf>,
    /// The path of the metrics.
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics", value_parser = telemetry_path)]
    telemetry_path: String,
    /// The URL at which users open the portal, if not by an IP address or as localhost; forms from this origin are
    /// accepted too. It may have a path.
    #[arg(long = "web.external-url", value_name = "URL", value_parser = external_url)]
    external_url: Option<ExternalUrl>,
    /// The prefix of all request paths; by default, the path of --web.external-url. Set `/` if a proxy strips that path
    /// before it forwards requests.
    #[arg(long = "web.route-prefix", value_name = "PATH", value_parser = route_prefix)]
    route_prefix: Option<String>,
    /// Enable POST /-/reload, which reloads the configuration. SIGHUP always reloads it.
    #[arg(long = "web.enable-lifecycle")]
    enable_lifecycle: bool,
    /// Allow non-loopback addresses without authentication: anyone who can reach the port can run roles.
    #[arg(long = "web.allow-remote-without-authentication")]
    allow_remote: bool,
    /// The log level.
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "info")]
    log_level: logging::Level,
    /// The log format.
    #[arg(long = "log.format", value_name = "FORMAT", default_value = "logfmt")]
    log_format: logging::Format,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        logging::start(self.log_level, self.log_format);
        let path = self.external_url.as_ref().map(|url| url.path.clone());
        let (links, route) = match (path, &self.route_prefix) {
            (Some(path), _) => (path.clone(), path),
            (None, route) => (route.clone().unwrap_or_default(), String::new()),
        };
        let options = Options {
            config_file: self.config_file,
            storage_path: self.storage_path,
            listen: self.listen,
            web_config_file: self.web_config_file,
            telemetry_path: self.telemetry_path,
            external_origin: self.external_url.map(|url| url.origin),
            link_prefix: links,
            route_prefix: self.route_prefix.unwrap_or(route),
            enable_lifecycle: self.enable_lifecycle,
            allow_remote: self.allow_remote,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let served = runtime.block_on(serve(options));
        // Work that still waits for a disk that does not respond must not delay the exit.
        runtime.shutdown_background();
        served
    }
}

async fn serve(options: Options) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let hangup = signal(SignalKind::hangup())?;
    tracing::info!(
        version = crate::util::build::VERSION,
        revision = crate::util::build::REVISION,
        config = %options.config_file.display(),
        "starting promansible"
    );
    rlimit::raise_limit()?;
    ansible::adopt_orphans()?;
    let mut app = App::start(options, hangup).await?;
    notify_systemd(NotifyState::Ready);
    tokio::spawn(feed_watchdog());
    let stop = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let served = app.serve(stop).await;
    notify_systemd(NotifyState::Stopping);
    if let Err(ended) = served {
        app.fail(&ended).await;
        return Err(ended.into());
    }
    tokio::select! {
        stopped = app.stop() => Ok(stopped?),
        _ = interrupt.recv() => Err(Failure::new("stopped immediately by a second signal")),
        _ = terminate.recv() => Err(Failure::new("stopped immediately by a second signal")),
    }
}

/// The URL at which users open the portal.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ExternalUrl {
    /// The scheme, host and port. For browsers, the default port of a scheme is not part of an origin.
    origin: String,
    /// The path, without a trailing slash.
    path: String,
}

fn external_url(text: &str) -> Result<ExternalUrl, String> {
    const WANT: &str = "expected a URL such as https://promansible.example.org/ or https://example.org/promansible/";
    let url: hyper::Uri = text.parse().map_err(|_| WANT.to_owned())?;
    let (Some(scheme @ ("http" | "https")), Some(host)) = (url.scheme_str(), url.host()) else {
        return Err(WANT.to_owned());
    };
    let path = path_prefix(url.path()).filter(|_| url.query().is_none());
    let path = path.ok_or_else(|| WANT.to_owned())?;
    let usual = if scheme == "https" { 443 } else { 80 };
    let origin = match url.port_u16().filter(|port| *port != usual) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    };
    Ok(ExternalUrl { origin, path })
}

fn route_prefix(text: &str) -> Result<String, String> {
    path_prefix(text)
        .ok_or_else(|| "expected a path such as /promansible, or / for none".to_owned())
}

/// Notifies systemd, if it started this process and expects notifications.
fn notify_systemd(state: NotifyState<'_>) {
    if let Err(e) = sd_notify::notify(&[state]) {
        tracing::warn!(error = %e, "cannot notify systemd");
    }
}

/// Notifies the watchdog of systemd that the runtime still works, twice as often as required.
async fn feed_watchdog() {
    let Some(period) = sd_notify::watchdog_enabled() else {
        return;
    };
    loop {
        notify_systemd(NotifyState::Watchdog);
        tokio::time::sleep(period / 2).await;
    }
}

/// Parses an address with a port, including the short forms of Prometheus. Names are not resolved.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let written_out = match text.rsplit_once(':') {
        Some(("", port)) => format!("[::]:{port}"),
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        _ => text.to_owned(),
    };
    written_out
        .parse()
        .map_err(|_| "expected ADDRESS:PORT, such as 127.0.0.1:10942".to_owned())
}

fn telemetry_path(text: &str) -> Result<String, String> {
    let reserved = ["/", "/-/", "/api/"];
    if !text.starts_with('/') {
        return Err("expected a path that begins with /".to_owned());
    }
    if text == "/" || reserved[1..].iter().any(|prefix| text.starts_with(prefix)) {
        return Err(format!(
            "{text} is reserved; use another path, such as /metrics"
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_external_url_is_an_origin_and_a_path() {
        for (text, origin, path) in [
            ("https://pm.example.org/", "https://pm.example.org", ""),
            ("https://pm.example.org:443", "https://pm.example.org", ""),
            ("http://a:8080", "http://a:8080", ""),
            ("https://a/pm/", "https://a", "/pm"),
            ("https://a/x/pm", "https://a", "/x/pm"),
        ] {
            let (origin, path) = (origin.to_owned(), path.to_owned());
            assert_eq!(external_url(text), Ok(ExternalUrl { origin, path }));
        }
        for text in [
            "pm.example.org",
            "ftp://a/",
            "https://a//b/",
            "https://a/b?c",
            "",
        ] {
            assert!(external_url(text).is_err(), "{text}");
        }
        assert_eq!(route_prefix("/"), Ok(String::new()));
        assert_eq!(route_prefix("/pm/"), Ok("/pm".to_owned()));
        assert!(route_prefix("pm").is_err());
    }

    #[test]
    fn an_address_to_listen_on_may_be_short_but_is_never_guessed() {
        for (typed, meant) in [
            ("127.0.0.1:10942", "127.0.0.1:10942"),
            ("[::1]:0", "[::1]:0"),
            (":10942", "[::]:10942"),
            ("localhost:10942", "127.0.0.1:10942"),
        ] {
            assert_eq!(listen_address(typed), Ok(meant.parse().unwrap()), "{typed}");
        }
        for typed in [
            "",
            ":",
            "10942",
            "127.0.0.1",
            "127.0.0.1:",
            "localhost",
            "localhost:http",
            ":65536",
            ":+1",
            "::1",
            "example.com:80",
            "http://127.0.0.1:80",
            " :80",
        ] {
            assert_eq!(
                listen_address(typed).unwrap_err(),
                "expected ADDRESS:PORT, such as 127.0.0.1:10942",
                "{typed}"
            );
        }
    }
}
