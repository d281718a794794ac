//! Parses the file: YAML → [`WebConfig`].

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use bcrypt::HashParts;
use serde::Deserialize;

use super::{RateLimit, WebConfig, headers, tls};
use crate::config::{
    ConfigErrors, Pairs, Report, Scalar, parse_duration, parse_yaml as parse, place,
};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    tls_server_config: Option<tls::TlsText>,
    http_server_config: Option<HttpText>,
    basic_auth_users: Option<Pairs<Scalar>>,
    rate_limit: Option<RateLimitText>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpText {
    http2: Option<bool>,
    headers: Option<Pairs<Scalar>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RateLimitText {
    interval: Option<Scalar>,
    burst: Option<Scalar>,
}

pub(super) fn read(file: &Path, text: &str) -> Result<WebConfig, ConfigErrors> {
    let name = file.display().to_string();
    let typed: Option<FileText> = parse(&name, text)?;
    let typed = typed.unwrap_or_default();
    let mut report = Report::new(&name, text);
    let folder = file.parent().unwrap_or(Path::new(""));
    let tls = typed.tls_server_config.unwrap_or_default();
    let tls = tls::read(tls, folder, &mut report);
    let http = typed.http_server_config.unwrap_or_default();
    let headers = headers::read(http.headers.unwrap_or_default(), &mut report);
    let users = users(typed.basic_auth_users.unwrap_or_default(), &mut report);
    let rate_limit = rate_limit(&typed.rate_limit.unwrap_or_default(), &mut report);
    report.finish(WebConfig {
        tls,
        http2: http.http2.unwrap_or(true),
        headers,
        users,
        rate_limit,
    })
}

fn users(typed: Pairs<Scalar>, report: &mut Report<'_>) -> BTreeMap<String, String> {
    let mut users = BTreeMap::new();
    for (name, hash) in typed.0 {
        if name.value.is_empty() || name.value.contains([':', '\0', '\r', '\n']) {
            report.add(
                place(name.referenced),
                format!("{:?} cannot be a user's name", name.value),
                Some("HTTP allows neither an empty name nor a colon in a name".to_owned()),
            );
        }
        if !is_hash(&hash.value) {
            report.add(
                place(hash.referenced),
                format!("the value of {:?} is not a bcrypt hash", name.value),
                Some("use the output of `htpasswd -nBC 10 \"\" | tr -d ':\\n'`; it begins with $2y$ or $2b$".to_owned()),
            );
        }
        users.insert(name.value, hash.value);
    }
    users
}

/// Whether a text has the format of a bcrypt hash, with a valid cost.
fn is_hash(text: &str) -> bool {
    let begins = ["$2a$", "$2b$", "$2y$"].iter().any(|p| text.starts_with(p));
    let parts = HashParts::from_str(text);
    begins && text.len() == 60 && parts.is_ok_and(|parts| (4..=31).contains(&parts.get_cost()))
}

fn rate_limit(typed: &RateLimitText, report: &mut Report<'_>) -> Option<RateLimit> {
    let interval = typed.interval.as_ref()?;
    let interval = match parse_duration(&interval.value) {
        Ok(interval) if interval.is_zero() => return None,
        Ok(interval) => interval,
        Err(e) => {
            report.add(
                place(interval.referenced),
                format!("rate_limit.interval is not a duration: {:?}: {e}", interval.value),
                Some("write the time between two requests in whole numbers, such as 10ms or 1s; 0 means no limit".to_owned()),
            );
            return None;
        }
    };
    let burst = typed.burst.as_ref();
    let number = burst.and_then(|burst| burst.value.parse().ok());
    let Some(burst) = number.filter(|burst: &u32| *burst > 0) else {
        report.add(
            burst.and_then(|burst| place(burst.referenced)),
            "rate_limit.burst is not a whole number above 0: every request would be rejected",
            Some(
                "set the number of requests that may arrive at once, such as burst: 100".to_owned(),
            ),
        );
        return None;
    };
    Some(RateLimit { interval, burst })
}
