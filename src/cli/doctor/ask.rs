//! Requests to another server, and the comparison of its clock.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use hyper::header::{ACCEPT, DATE};
use hyper::{HeaderMap, Request, Uri};
use serde::de::DeserializeOwned;

use super::finding::{Area, Finding};
use crate::clients::web_client::{WebClient, under};
use crate::config::HttpClient;
use crate::util::clock;

/// The maximum size of a response in bytes.
const LARGEST: usize = 32 << 20;

/// The smallest clock difference that is a warning, in seconds: a `Date` has whole seconds, and a response takes time.
const NEAR: i64 = 5;

/// The smallest clock difference that is an error, in seconds: times of alerts and schedules are wrong.
const FAR: i64 = 60;

/// Another server.
pub(super) struct Other<'a> {
    pub(super) url: &'a Uri,
    pub(super) http: &'a HttpClient,
    pub(super) timeout: Duration,
}

impl Other<'_> {
    /// Requests JSON. The error is a sentence about the server.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<(T, HeaderMap), String> {
        let request = Request::get(under(self.url, path))
            .header(ACCEPT, "application/json")
            .body(Bytes::new())
            .map_err(|e| e.to_string())?;
        let client = WebClient {
            http: self.http.clone(),
            timeout: self.timeout,
            largest: LARGEST,
        };
        let answer = client.send(request).await.map_err(|e| e.to_string())?;
        if !answer.status.is_success() {
            return Err(format!("it answered {} for {path}", answer.status));
        }
        let read = serde_json::from_slice(&answer.body);
        let read = read.map_err(|e| format!("unexpected response for {path}: {e}"))?;
        Ok((read, answer.headers))
    }
}

/// Formats a URL without the slash at its end.
pub(super) fn shown(url: &Uri) -> String {
    url.to_string().trim_end_matches('/').to_owned()
}

/// Compares a server's clock with ours; `None` if its response has no valid `Date`.
pub(super) fn clock_of(server: &str, headers: &HeaderMap) -> Option<Finding> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let there = DateTime::parse_from_rfc2822(date).ok()?;
    Some(compare(server, there.to_utc(), clock::now()))
}

fn compare(server: &str, there: DateTime<Utc>, here: DateTime<Utc>) -> Finding {
    let ahead = there.signed_duration_since(here).num_seconds();
    let subject = format!("clock of {server}");
    let differs = || {
        let word = if ahead > 0 { "ahead of" } else { "behind" };
        format!("{} s {word} the clock of this machine", ahead.abs())
    };
    let remedy = "synchronise both clocks (chrony, systemd-timesyncd): cooldowns, schedules and verdicts depend on them";
    match ahead.abs() {
        0..NEAR => Area::Machine.ok(
            &subject,
            "same as the clock of this machine, within a few seconds",
        ),
        NEAR..FAR => Area::Machine.warning(&subject, differs(), remedy),
        _ => Area::Machine.error(&subject, differs(), remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_reported() {
        let here: DateTime<Utc> = "2026-11-22T10:00:00Z".parse().unwrap();
        let of = |seconds| {
            let there = here + chrono::TimeDelta::seconds(seconds);
            compare("x", there, here)
        };
        assert_eq!(of(-4).level, Level::Ok);
        assert_eq!(of(5).level, Level::Warning);
        assert_eq!(of(-61).level, Level::Error);
        assert_eq!(of(-61).message, "61 s behind the clock of this machine");
        let mut headers = HeaderMap::new();
        assert!(clock_of("x", &headers).is_none());
        headers.insert(DATE, "Mon, 30 Nov 2020 16:02:00 GMT".parse().unwrap());
        assert_eq!(clock_of("x", &headers).unwrap().level, Level::Error);
    }
}
