//! Evaluates Alertmanager's configuration, as its API returns it: which receivers send to us, and whether a route leads to
//! them. Pure.

use hyper::Uri;
use serde::Deserialize;
use serde_json::Value;

use crate::http::WEBHOOK;

/// The placeholder that newer Alertmanagers show instead of a URL.
const HIDDEN: &str = "<secret>";

/// The relevant part of `alertmanager.yml`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Routing {
    #[serde(default)]
    route: Option<Route>,
    #[serde(default)]
    receivers: Option<Vec<Receiver>>,
}

#[derive(Debug, Deserialize)]
struct Receiver {
    #[serde(default)]
    name: String,
    #[serde(default)]
    webhook_configs: Option<Vec<Webhook>>,
}

#[derive(Debug, Deserialize)]
struct Webhook {
    #[serde(default)]
    url: Option<String>,
    #[serde(default = "yes")]
    send_resolved: bool,
    #[serde(default)]
    max_alerts: u64,
}

#[derive(Debug, Default, Deserialize)]
struct Route {
    #[serde(default)]
    receiver: Option<String>,
    #[serde(default, rename = "continue")]
    continues: bool,
    #[serde(default)]
    matchers: Value,
    #[serde(default, rename = "match")]
    matches: Value,
    #[serde(default)]
    match_re: Value,
    #[serde(default)]
    routes: Option<Vec<Self>>,
}

const fn yes() -> bool {
    true
}

/// How the URL of a webhook compares with ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// It is our receiver.
    Ours,
    /// It is our path at another address: behind a proxy, or of another promansible.
    Elsewhere,
    /// It is our address, or the receiver is named after us, but the path is not that of the receiver.
    WrongPath,
    /// Alertmanager does not show it.
    Hidden,
}

/// A webhook that may send to us.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) receiver: String,
    /// The URL without parts that may be secret.
    pub(super) url: String,
    pub(super) fit: Fit,
    pub(super) send_resolved: bool,
    pub(super) max_alerts: u64,
    /// Whether alerts can reach this receiver.
    pub(super) is_routed: bool,
}

impl Routing {
    /// Parses the YAML; `None` if it is invalid.
    pub(super) fn parse(yaml: &str) -> Option<Self> {
        serde_saphyr::from_str(yaml).ok()
    }

    /// Returns the webhooks that may send to us, the best match first; `ours` is the URL of our server.
    pub(super) fn candidates(&self, ours: &Uri) -> Vec<Candidate> {
        let mut found = Vec::new();
        for receiver in self.receivers.iter().flatten() {
            for webhook in receiver.webhook_configs.iter().flatten() {
                let url = webhook.url.as_deref().unwrap_or(HIDDEN);
                let Some(fit) = fit(url, &receiver.name, ours) else {
                    continue;
                };
                let route = self.route.as_ref();
                found.push(Candidate {
                    receiver: receiver.name.clone(),
                    url: shown(url),
                    fit,
                    send_resolved: webhook.send_resolved,
                    max_alerts: webhook.max_alerts,
                    is_routed: route.is_some_and(|route| route.leads_to(&receiver.name, "")),
                });
            }
        }
        found.sort_by_key(|candidate| candidate.fit);
        found
    }
}

impl Route {
    /// Whether some alert reaches this receiver. A route without matchers matches every alert; unless it has `continue`, no
    /// alert reaches the routes after it, nor the receiver of its parent.
    fn leads_to(&self, receiver: &str, inherited: &str) -> bool {
        let own = self.receiver.as_deref().filter(|name| !name.is_empty());
        let own = own.unwrap_or(inherited);
        for route in self.routes.iter().flatten() {
            if route.leads_to(receiver, own) {
                return true;
            }
            if route.matches_all() && !route.continues {
                return false;
            }
        }
        // An alert that a child matched is not sent to the parent's receiver, even with `continue`.
        let taken = self.routes.iter().flatten().any(Self::matches_all);
        own == receiver && !taken
    }

    fn matches_all(&self) -> bool {
        let is_empty = |value: &Value| match value {
            Value::Null => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        [&self.matchers, &self.matches, &self.match_re]
            .into_iter()
            .all(is_empty)
    }
}

/// Compares a webhook's URL with ours; `None` if it is unrelated.
fn fit(url: &str, receiver: &str, ours: &Uri) -> Option<Fit> {
    if url == HIDDEN || url.is_empty() {
        return Some(Fit::Hidden);
    }
    let is_named = receiver.to_lowercase().contains("promansible");
    let Ok(url) = url.parse::<Uri>() else {
        return is_named.then_some(Fit::WrongPath);
    };
    let path = url.path();
    let is_same = port(&url) == port(ours) && is_same_host(&url, ours);
    let wanted = format!("{}{WEBHOOK}", ours.path().trim_end_matches('/'));
    match (is_same, path == wanted, path.ends_with(WEBHOOK)) {
        (true, true, _) => Some(Fit::Ours),
        (true, false, _) => Some(Fit::WrongPath),
        (false, _, true) => Some(Fit::Elsewhere),
        (false, _, false) => is_named.then_some(Fit::WrongPath),
    }
}

/// Whether both may be the same machine. Names are not resolved, because they may resolve differently for Alertmanager.
fn is_same_host(url: &Uri, ours: &Uri) -> bool {
    let is_loopback = |uri: &Uri| {
        let host = uri.host().unwrap_or_default();
        let host = host.trim_matches(['[', ']']);
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    };
    // If --server.url is a loopback address, an Alertmanager on another machine uses another name for it.
    is_loopback(ours) || url.host() == ours.host()
}

/// Returns the port of a URL, or the default port of its scheme.
pub(super) fn port(uri: &Uri) -> u16 {
    let default = if uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    uri.port_u16().unwrap_or(default)
}

/// Formats a URL without user, password and query.
fn shown(url: &str) -> String {
    let Ok(url) = url.parse::<Uri>() else {
        return "an invalid URL".to_owned();
    };
    let scheme = url.scheme_str().unwrap_or("http");
    let host = url.host().unwrap_or_default();
    let port = url
        .port_u16()
        .map_or_else(String::new, |port| format!(":{port}"));
    format!("{scheme}://{host}{port}{}", url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(yaml: &str, ours: &str) -> Vec<Candidate> {
        let routing = Routing::parse(yaml).unwrap();
        routing.candidates(&ours.parse().unwrap())
    }

    const RECEIVERS: &str = "
receivers:
- name: promansible
  webhook_configs: [{url: 'http://u:p@localhost:10942/api/v1/webhook?x=y', send_resolved: true, max_alerts: 0}]
- name: people
";

    fn is_routed(route: &str) -> bool {
        candidates(
            &format!("route: {route}\n{RECEIVERS}"),
            "http://127.0.0.1:10942",
        )[0]
        .is_routed
    }

    #[test]
    fn a_route_leads_to_us_unless_an_earlier_one_matches_everything() {
        for (route, leads) in [
            ("{receiver: promansible}", true),
            ("{receiver: people}", false),
            (
                "{receiver: people, routes: [{receiver: promansible}]}",
                true,
            ),
            (
                "{receiver: people, routes: [{matchers: ['a=\"b\"'], receiver: promansible}]}",
                true,
            ),
            (
                "{receiver: people, routes: [{receiver: people}, {receiver: promansible}]}",
                false,
            ),
            (
                "{receiver: people, routes: [{receiver: people, continue: true}, {receiver: promansible}]}",
                true,
            ),
            (
                "{receiver: people, routes: [{receiver: people, match: {a: b}}, {receiver: promansible}]}",
                true,
            ),
            (
                "{receiver: promansible, routes: [{receiver: people}]}",
                false,
            ),
            (
                "{receiver: promansible, routes: [{receiver: people, match_re: {a: b}}]}",
                true,
            ),
            (
                "{receiver: promansible, routes: [{matchers: ['a=\"b\"']}]}",
                true,
            ),
            (
                "{receiver: people, routes: [{matchers: ['a=\"b\"'], routes: [{receiver: promansible}]}]}",
                true,
            ),
        ] {
            assert_eq!(is_routed(route), leads, "{route}");
        }
    }

    #[test]
    fn a_url_is_ours_or_similar() {
        let of = |url: &str, ours: &str| fit(url, "x", &ours.parse().unwrap());
        let ours = "http://127.0.0.1:10942";
        assert_eq!(
            of("http://localhost:10942/api/v1/webhook", ours),
            Some(Fit::Ours)
        );
        assert_eq!(
            of("http://pm.example:10942/api/v1/webhook", ours),
            Some(Fit::Ours)
        );
        assert_eq!(
            of("http://localhost:10942/webhook", ours),
            Some(Fit::WrongPath)
        );
        assert_eq!(
            of("https://pm.example/api/v1/webhook", ours),
            Some(Fit::Elsewhere)
        );
        assert_eq!(of("https://hooks.example/x", ours), None);
        assert_eq!(of("<secret>", ours), Some(Fit::Hidden));
        let ours = "https://pm.example/pm/";
        assert_eq!(
            of("https://pm.example/pm/api/v1/webhook", ours),
            Some(Fit::Ours)
        );
        assert_eq!(
            of("https://pm.example/api/v1/webhook", ours),
            Some(Fit::WrongPath)
        );
        assert_eq!(
            of("https://other.example/api/v1/webhook", ours),
            Some(Fit::Elsewhere)
        );
        let named = fit("http://pm:1/hook", "Promansible", &ours.parse().unwrap());
        assert_eq!(named, Some(Fit::WrongPath));
    }

    #[test]
    fn secret_parts_of_a_url_are_not_shown() {
        let found = candidates(
            &format!("route: {{receiver: x}}\n{RECEIVERS}"),
            "http://127.0.0.1:10942",
        );
        assert_eq!(found[0].url, "http://localhost:10942/api/v1/webhook");
        let hidden =
            "receivers: [{name: x, webhook_configs: [{url: <secret>, send_resolved: false}]}]";
        let found = candidates(hidden, "http://127.0.0.1:10942");
        assert_eq!((found[0].fit, found[0].send_resolved), (Fit::Hidden, false));
    }
}
