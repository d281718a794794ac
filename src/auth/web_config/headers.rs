//! Reads `http_server_config.headers`.

use hyper::header::{HeaderName, HeaderValue};

use crate::config::{Pairs, Report, Scalar, place};

/// The allowed headers, each with its allowed values; none means any value.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

/// Reads the headers. An empty value sets no header.
pub(super) fn read(
    typed: Pairs<Scalar>,
    report: &mut Report<'_>,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for (name, value) in typed.0 {
        let known = HEADERS.iter().find(|(known, _)| *known == name.value);
        let Some((known, values)) = known else {
            let names = HEADERS.map(|(name, _)| name).join(", ");
            report.add(
                place(name.referenced),
                format!("the header {:?} cannot be set", name.value),
                Some(format!("the headers are {names}")),
            );
            continue;
        };
        if value.value.is_empty() {
            continue;
        }
        let parsed = HeaderValue::from_str(&value.value);
        let is_known = values.is_empty() || values.contains(&value.value.as_str());
        match (parsed, HeaderName::try_from(*known)) {
            (Ok(value), Ok(name)) if is_known => headers.push((name, value)),
            _ => report.add(
                place(value.referenced),
                format!("{known} cannot be {:?}", value.value),
                Some(if values.is_empty() {
                    "write the value as it is to be sent, on one line".to_owned()
                } else {
                    format!("write {}", values.join(" or "))
                }),
            ),
        }
    }
    headers
}
