//! The section `web`, from YAML to [`Web`].

use std::collections::{BTreeMap, BTreeSet};

use hyper::header::HeaderName;

use super::Token;
use super::Web;
use super::error::{Place, Report, place};
use super::raw::{ProxyUserText, TokenText, WebText};
use super::spanned::{Pairs, Scalar};
use super::values::path;
use super::yaml::nearest;
use crate::model::certificate::WantedName;
use crate::model::identity::{Scope, Scopes};
use crate::model::proxies::{HeaderKind, Network, Proxies, ProxyUser};

const LIST_SCOPES: &str =
    "list its permissions: scopes: [metrics], [receive], [operate], or several of them";

pub(super) fn check(typed: WebText, report: &mut Report<'_>) -> Web {
    let has_proxies = typed
        .trusted_proxies
        .as_ref()
        .is_some_and(|p| !p.is_empty());
    let mut names = BTreeSet::new();
    let mut tokens = Vec::new();
    for typed in typed.tokens.unwrap_or_default() {
        let whole = place(typed.referenced);
        if let Some(token) = token(typed.value, whole, &mut names, report) {
            tokens.push(token);
        }
    }
    Web {
        tokens,
        users: scopes_by_name(typed.users, report),
        certificates: certificates(typed.certificates, report),
        proxies: Proxies {
            trusted: networks(typed.trusted_proxies, report),
            headers: read_proxy_headers(typed.proxy_headers, report),
            user: typed.proxy_user.and_then(|user| {
                proxy_user(user.value, place(user.referenced), has_proxies, report)
            }),
        },
    }
}

fn certificates(
    typed: Option<Pairs<Vec<Scalar>>>,
    report: &mut Report<'_>,
) -> BTreeMap<WantedName, Scopes> {
    let mut certificates = BTreeMap::new();
    for (name, typed) in typed.unwrap_or_default().0 {
        let scopes = scopes(&typed, report);
        match WantedName::parse(&name.value) {
            Ok(wanted) => drop(certificates.insert(wanted, scopes)),
            Err(help) => report.add(
                place(name.referenced),
                format!("{:?} is not a valid name for a certificate", name.value),
                Some(help.to_owned()),
            ),
        }
    }
    certificates
}

fn networks(typed: Option<Vec<Scalar>>, report: &mut Report<'_>) -> Vec<Network> {
    let typed = typed.unwrap_or_default().into_iter();
    let networks = typed.filter_map(|typed| {
        let network = Network::parse(&typed.value);
        if network.is_none() {
            report.add(
                place(typed.referenced),
                format!("{:?} is not a valid proxy address", typed.value),
                Some("use an IP address or a network, such as 10.0.0.7 or 10.0.0.0/24".to_owned()),
            );
        }
        network
    });
    networks.collect()
}

fn read_proxy_headers(typed: Option<Scalar>, report: &mut Report<'_>) -> HeaderKind {
    let Some(typed) = typed else {
        return HeaderKind::default();
    };
    match typed.value.as_str() {
        "X-Forwarded" => HeaderKind::XForwarded,
        "Forwarded" => HeaderKind::Forwarded,
        other => {
            report.add(
                place(typed.referenced),
                format!("unknown proxy_headers {other:?}"),
                Some(
                    "use X-Forwarded (X-Forwarded-For, -Proto, -Host, -Prefix) or Forwarded (RFC 7239)"
                        .to_owned(),
                ),
            );
            HeaderKind::default()
        }
    }
}

fn proxy_user(
    typed: ProxyUserText,
    whole: Option<Place>,
    has_proxies: bool,
    report: &mut Report<'_>,
) -> Option<ProxyUser> {
    if !has_proxies {
        report.add(
            whole,
            "proxy_user needs trusted_proxies: otherwise anyone could send that header",
            Some("list the proxies that set it: trusted_proxies: [10.0.0.7]".to_owned()),
        );
    }
    let scopes = scopes(&typed.scopes.unwrap_or_default(), report);
    let users = scopes_by_name(typed.users, report);
    let Some(typed) = typed.header else {
        let help = "set it: header: X-Forwarded-User".to_owned();
        report.add(whole, "proxy_user has no header", Some(help));
        return None;
    };
    // These headers have another meaning already.
    let taken = [
        "authorization",
        "cookie",
        "host",
        "origin",
        "referer",
        "forwarded",
    ];
    let header = HeaderName::from_bytes(typed.value.as_bytes()).ok();
    let header = header.filter(|header| {
        let name = header.as_str();
        !taken.contains(&name) && (!name.starts_with("x-forwarded-") || name == "x-forwarded-user")
    });
    if header.is_none() {
        report.add(
            place(typed.referenced),
            format!("{:?} cannot be the header of proxy_user", typed.value),
            Some(
                "use a separate header, such as X-Forwarded-User or X-Auth-Request-User".to_owned(),
            ),
        );
    }
    Some(ProxyUser {
        header: header?,
        scopes,
        users,
    })
}

/// Reads a map of names to scopes.
fn scopes_by_name(
    typed: Option<Pairs<Vec<Scalar>>>,
    report: &mut Report<'_>,
) -> BTreeMap<String, Scopes> {
    let typed = typed.unwrap_or_default().0.into_iter();
    let named = typed.map(|(name, typed)| (name.value, scopes(&typed, report)));
    named.collect()
}

fn token(
    typed: TokenText,
    whole: Option<Place>,
    names: &mut BTreeSet<String>,
    report: &mut Report<'_>,
) -> Option<Token> {
    let name = name(typed.name, whole, names, report);
    if typed.file.is_none() {
        report.add(
            whole,
            "this token has no file",
            Some(
                "name the file that holds it: file: /etc/promansible/alertmanager.token".to_owned(),
            ),
        );
    }
    let file = typed
        .file
        .and_then(|file| path("web.tokens.file", Some(file), report));
    let listed = typed.scopes.unwrap_or_default();
    if listed.is_empty() {
        report.add(
            whole,
            "this token has no scopes",
            Some(LIST_SCOPES.to_owned()),
        );
    }
    let scopes = scopes(&listed, report);
    Some(Token {
        name: name?,
        file: file?,
        scopes,
    })
}

fn name(
    typed: Option<Scalar>,
    whole: Option<Place>,
    names: &mut BTreeSet<String>,
    report: &mut Report<'_>,
) -> Option<String> {
    let Some(typed) = typed else {
        let help = "add a name that identifies its user: name: alertmanager".to_owned();
        report.add(whole, "this token has no name", Some(help));
        return None;
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.:@-".contains(&b);
    let name = typed.value;
    let (message, help) = if !(1..=64).contains(&name.len()) || !name.bytes().all(allowed) {
        (
            format!("{name:?} is not a valid token name"),
            "use 1 to 64 letters, digits and _ . : @ -",
        )
    } else if !names.insert(name.clone()) {
        (
            format!("two tokens have the name {name:?}"),
            "use unique names: the audit log refers to them",
        )
    } else {
        return Some(name);
    };
    report.add(place(typed.referenced), message, Some(help.to_owned()));
    None
}

fn scopes(typed: &[Scalar], report: &mut Report<'_>) -> Scopes {
    let known = Scope::ALL.map(Scope::as_str);
    let scopes = typed.iter().filter_map(|typed| {
        let scope = Scope::named(&typed.value);
        if scope.is_none() {
            let meant = nearest(&typed.value, &known);
            let meant = meant.map_or_else(String::new, |word| format!("did you mean {word:?}? "));
            report.add(
                place(typed.referenced),
                format!("unknown scope {:?}", typed.value),
                Some(meant + "the scopes are metrics, receive and operate"),
            );
        }
        scope
    });
    scopes.collect()
}
