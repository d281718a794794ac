//! The section `notifiers`, from YAML to [`Notifier`]s.
//!
//! *Source*: the receivers of prometheus/alertmanager. Their names are used where possible.

use std::collections::BTreeSet;
use std::path::PathBuf;

use hyper::Uri;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::error::{Report, place};
use super::http_client::{self, HttpClient, HttpClientText, TlsClient, TlsConfigText};
use super::spanned::Scalar;
use super::values::{path, text};
use crate::model::message::Kind;

/// A destination for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notifier {
    /// Its name, unique among the notifiers.
    pub name: String,
    /// The kinds of messages to send; all.
    pub on: BTreeSet<Kind>,
    /// How to send them.
    pub via: Destination,
}

/// How to send a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// JSON to a URL.
    Webhook {
        /// The URL.
        url: Address,
        /// The authentication and TLS of requests.
        http: HttpClient,
    },
    /// Text to a Slack-compatible incoming webhook.
    Slack {
        /// The URL, which is a secret.
        url: Address,
        /// The channel, if it differs from that of the webhook.
        channel: Option<String>,
        /// The authentication and TLS of requests.
        http: HttpClient,
    },
    /// An email.
    Email(Email),
    /// An alert for the Alertmanager of [`super::Alertmanager`].
    Alertmanager,
}

/// The URL of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// In the configuration.
    Url(Uri),
    /// In a file, because anyone who knows the URL can send too. The file is read whenever it is used.
    File(PathBuf),
}

/// How to send emails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// The recipients, at least one.
    pub to: Vec<lettre::message::Mailbox>,
    /// The sender.
    pub from: lettre::message::Mailbox,
    /// The SMTP server.
    pub host: String,
    /// Its port. On port 465, TLS is implicit; on other ports, by STARTTLS.
    pub port: u16,
    /// Whether to refuse to send without TLS; true.
    pub require_tls: bool,
    /// The TLS settings. Client certificates are not supported.
    pub tls: TlsClient,
    /// The user name, and the file that contains the password; no authentication.
    pub auth: Option<(String, PathBuf)>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NotifierText {
    name: Option<Scalar>,
    on: Option<Vec<Scalar>>,
    webhook: Option<HookText>,
    slack: Option<SlackText>,
    email: Option<EmailText>,
    alertmanager: Option<NothingText>,
}

impl NotifierText {
    /// Returns its files, each with its key.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &Scalar)> {
        let http = [
            self.webhook
                .as_ref()
                .and_then(|hook| hook.http_config.as_ref()),
            self.slack
                .as_ref()
                .and_then(|hook| hook.http_config.as_ref()),
        ];
        let email = self.email.as_ref();
        let own = [
            (
                "webhook.url_file",
                self.webhook
                    .as_ref()
                    .and_then(|hook| hook.url_file.as_ref()),
            ),
            (
                "slack.api_url_file",
                self.slack
                    .as_ref()
                    .and_then(|hook| hook.api_url_file.as_ref()),
            ),
            (
                "email.auth_password_file",
                email.and_then(|email| email.auth_password_file.as_ref()),
            ),
        ];
        let tls = email.and_then(|email| email.tls_config.as_ref());
        own.into_iter()
            .chain(http.into_iter().flatten().flat_map(HttpClientText::files))
            .chain(tls.into_iter().flat_map(|tls| tls.value.files()))
            .filter_map(|(key, file)| Some((key, file?)))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HookText {
    url: Option<Scalar>,
    url_file: Option<Scalar>,
    http_config: Option<HttpClientText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SlackText {
    api_url: Option<Scalar>,
    api_url_file: Option<Scalar>,
    channel: Option<Scalar>,
    http_config: Option<HttpClientText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EmailText {
    to: Option<Vec<Scalar>>,
    from: Option<Scalar>,
    smarthost: Option<Scalar>,
    require_tls: Option<bool>,
    tls_config: Option<Spanned<TlsConfigText>>,
    auth_username: Option<Scalar>,
    auth_password: Option<Scalar>,
    auth_password_file: Option<Scalar>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NothingText {}

pub(super) fn check(
    typed: Vec<Spanned<NotifierText>>,
    has_alertmanager: bool,
    report: &mut Report<'_>,
) -> Vec<Notifier> {
    let mut taken = BTreeSet::new();
    let mut notifiers = Vec::new();
    for typed in typed {
        let at = place(typed.referenced);
        let typed = typed.value;
        let typed_name = typed
            .name
            .as_ref()
            .map(|name| (name.value.clone(), place(name.referenced)));
        let Some((name, at_name)) = typed_name.filter(|(name, _)| is_name(name)) else {
            let at = typed
                .name
                .as_ref()
                .and_then(|name| place(name.referenced))
                .or(at);
            let help =
                "use 1 to 64 letters, digits and _ . : -, as in {name: team, webhook: {url: …}}";
            report.add(at, "this notifier has no valid name", Some(help.to_owned()));
            continue;
        };
        if !taken.insert(name.clone()) {
            let message = format!("two notifiers have the name {name:?}");
            report.add(
                at_name,
                message,
                Some("use a unique name for each".to_owned()),
            );
        }
        let on = kinds(typed.on, report);
        let key = format!("notifiers.{name}");
        let mut ways = Vec::new();
        if let Some(hook) = typed.webhook {
            ways.push(webhook(&key, hook, at, report));
        }
        if let Some(hook) = typed.slack {
            ways.push(slack(&key, hook, at, report));
        }
        if let Some(letters) = typed.email {
            ways.push(email(&format!("{key}.email"), letters, at, report).map(Destination::Email));
        }
        if typed.alertmanager.is_some() {
            if !has_alertmanager {
                let message =
                    format!("{key} posts to Alertmanager, but alertmanager is not configured");
                let help = "set alertmanager: {url: http://127.0.0.1:9093}";
                report.add(at, message, Some(help.to_owned()));
            }
            ways.push(Some(Destination::Alertmanager));
        }
        if ways.len() != 1 {
            report.add(
                at,
                format!("{key} has {} destinations, but needs exactly one", ways.len()),
                Some("set one of webhook, slack, email and alertmanager; add a notifier for each further destination".to_owned()),
            );
        }
        if let Some(via) = ways.pop().flatten() {
            notifiers.push(Notifier { name, on, via });
        }
    }
    notifiers
}

fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(good)
}

fn kinds(typed: Option<Vec<Scalar>>, report: &mut Report<'_>) -> BTreeSet<Kind> {
    let Some(typed) = typed else {
        return Kind::ALL.into();
    };
    let mut kinds = BTreeSet::new();
    for typed in typed {
        match Kind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == typed.value)
        {
            Some(kind) => {
                kinds.insert(kind);
            }
            None => report.add(
                place(typed.referenced),
                format!("{:?} is not an event that a notifier can send", typed.value),
                Some(format!(
                    "use any of {}",
                    Kind::ALL.map(Kind::as_str).join(", ")
                )),
            ),
        }
    }
    kinds
}

fn webhook(
    key: &str,
    typed: HookText,
    at: Option<super::Place>,
    report: &mut Report<'_>,
) -> Option<Destination> {
    let key = format!("{key}.webhook");
    let http = typed.http_config.unwrap_or_default();
    let http = http_client::check(&format!("{key}.http_config"), http, report);
    let url = address(
        &key,
        ["url", "url_file"],
        typed.url,
        typed.url_file,
        at,
        report,
    );
    Some(Destination::Webhook { url: url?, http })
}

fn slack(
    key: &str,
    typed: SlackText,
    at: Option<super::Place>,
    report: &mut Report<'_>,
) -> Option<Destination> {
    let key = format!("{key}.slack");
    http_client::refuse_inline(&key, "api_url", "api_url_file", typed.api_url, report);
    let http = typed.http_config.unwrap_or_default();
    let http = http_client::check(&format!("{key}.http_config"), http, report);
    let channel = text(&format!("{key}.channel"), typed.channel, report);
    let names = ["api_url_file", "api_url_file"];
    let url = address(&key, names, None, typed.api_url_file, at, report);
    Some(Destination::Slack {
        url: url?,
        channel,
        http,
    })
}

fn address(
    key: &str,
    [url, file]: [&str; 2],
    typed: Option<Scalar>,
    typed_file: Option<Scalar>,
    at: Option<super::Place>,
    report: &mut Report<'_>,
) -> Option<Address> {
    match (typed, typed_file) {
        (Some(typed), None) => {
            let name = format!("{key}.{url}");
            let example = "set the address of the receiver: url: https://receiver.example/hook";
            http_client::whole_url(&name, example, &typed, report).map(Address::Url)
        }
        (None, Some(typed)) => {
            path(&format!("{key}.{file}"), Some(typed), report).map(Address::File)
        }
        (both, _) => {
            let has = if both.is_some() { "both" } else { "none" };
            let message = format!("{key} has {has} of url and url_file, but needs exactly one");
            let help =
                format!("name the file that holds the address: {file}: /etc/promansible/hook");
            let message = if url == file {
                format!("{key}.{file} is missing")
            } else {
                message
            };
            report.add(at, message, Some(help));
            None
        }
    }
}

fn email(
    key: &str,
    typed: EmailText,
    at: Option<super::Place>,
    report: &mut Report<'_>,
) -> Option<Email> {
    http_client::refuse_inline(
        key,
        "auth_password",
        "auth_password_file",
        typed.auth_password,
        report,
    );
    let mut mailbox = |typed: Scalar| {
        let parsed = typed.value.parse().ok();
        if parsed.is_none() {
            let message = format!("{key}: {:?} is not an email address", typed.value);
            let help =
                "write an address such as on-call@example.org or On-call <on-call@example.org>";
            report.add(place(typed.referenced), message, Some(help.to_owned()));
        }
        parsed
    };
    let missing = [
        ("to", typed.to.as_ref().is_none_or(Vec::is_empty)),
        ("from", typed.from.is_none()),
        ("smarthost", typed.smarthost.is_none()),
    ];
    let to: Vec<_> = typed
        .to
        .into_iter()
        .flatten()
        .filter_map(&mut mailbox)
        .collect();
    let from = typed.from.and_then(&mut mailbox);
    for (name, _) in missing.into_iter().filter(|(_, missing)| *missing) {
        let help = "email: {to: [on-call@example.org], from: promansible@example.org, smarthost: mail.example.org:587}";
        report.add(
            at,
            format!("{key}.{name} is missing"),
            Some(help.to_owned()),
        );
    }
    let tls = typed.tls_config;
    let tls = tls.map(|typed| http_client::tls(&format!("{key}.tls_config"), typed, report));
    let tls = tls.unwrap_or_default();
    if tls.identity.is_some() {
        let message = format!("{key}.tls_config: a client certificate cannot be used for email");
        report.add(
            at,
            message,
            Some("remove cert_file and key_file".to_owned()),
        );
    }
    let username = text(&format!("{key}.auth_username"), typed.auth_username, report);
    let file = typed.auth_password_file;
    let file = path(&format!("{key}.auth_password_file"), file, report);
    let auth = match (username, file) {
        (Some(username), Some(file)) => Some((username, file)),
        (None, None) => None,
        _ => {
            let message = format!("{key} needs both auth_username and auth_password_file");
            report.add(at, message, Some("set both, or neither".to_owned()));
            None
        }
    };
    let typed_host = typed.smarthost?;
    let host = typed_host.value.rsplit_once(':').and_then(|(host, port)| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some((host.to_owned(), port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
    });
    let Some((host, port)) = host else {
        let message = format!("{key}.smarthost is not HOST:PORT: {:?}", typed_host.value);
        let help = "include the port: smarthost: mail.example.org:587";
        report.add(place(typed_host.referenced), message, Some(help.to_owned()));
        return None;
    };
    let require_tls = typed.require_tls.unwrap_or(true);
    let is_loopback = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    if !require_tls && !is_loopback {
        let message = format!("{key}.require_tls is false, but {host:?} is not this machine");
        let help = "remove require_tls: without TLS, anyone on the network path could read and change the messages";
        report.add(place(typed_host.referenced), message, Some(help.to_owned()));
    }
    Some(Email {
        to,
        from: from?,
        host,
        port,
        require_tls,
        tls,
        auth,
    })
}
