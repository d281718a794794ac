//! `prometheus` as typed → [`Prometheus`].

use std::ops::RangeInclusive;
use std::time::Duration;

use hyper::Uri;

use super::Prometheus;
use super::error::{Report, place};
use super::text::{PrometheusText, Scalar};
use super::values::{duration, is_usable};

const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(1);

const WRITE_A_URL: &str = "write where Prometheus answers: url: http://127.0.0.1:9090";

pub(super) fn check(typed: PrometheusText, report: &mut Report<'_>) -> Prometheus {
    let patterns = typed.rule_files.unwrap_or_default().into_iter();
    Prometheus {
        url: typed.url.and_then(|typed| url(&typed, report)),
        rule_files: patterns
            .filter_map(|typed| pattern(typed, report))
            .collect(),
        timeout: duration(
            "prometheus.timeout",
            typed.timeout.as_ref(),
            Prometheus::TIMEOUT,
            TIMEOUT,
            report,
        ),
    }
}

fn url(typed: &Scalar, report: &mut Report<'_>) -> Option<Uri> {
    let parsed = typed.value.parse::<Uri>();
    let (message, help) = match &parsed {
        Ok(url) if url.scheme_str() == Some("https") => (
            "prometheus.url: https is not supported yet".to_owned(),
            "write an http:// address, of Prometheus itself or of a proxy that speaks TLS to it",
        ),
        Ok(url) if url.authority().is_some_and(|a| a.as_str().contains('@')) => {
            // Without its place: the line, which would be shown, holds the password.
            report.add(
                None,
                "prometheus.url holds a user or a password",
                Some("write a URL without: passwords are not supported yet".to_owned()),
            );
            return None;
        }
        Ok(url)
            if url.scheme_str() == Some("http")
                && url.host().is_some_and(|host| !host.is_empty())
                && url.query().is_none() =>
        {
            return parsed.ok();
        }
        _ => (
            format!(
                "prometheus.url is not an http:// address without a query: {:?}",
                typed.value
            ),
            WRITE_A_URL,
        ),
    };
    report.add(place(typed.referenced), message, Some(help.to_owned()));
    None
}

fn pattern(typed: Scalar, report: &mut Report<'_>) -> Option<String> {
    let (message, help) = if !is_usable(&typed) {
        (
            format!(
                "prometheus.rule_files: a path is empty or holds control characters: {:?}",
                typed.value
            ),
            "name rule files as Prometheus does: rule_files: [/etc/prometheus/rules/*.yml]",
        )
    } else if let Err(e) = glob::Pattern::new(&typed.value) {
        (
            format!(
                "prometheus.rule_files: {:?} is not a pattern: {}",
                typed.value, e.msg
            ),
            "* stands for any part of a name, ? for one character, [ab] for one of these",
        )
    } else {
        return Some(typed.value);
    };
    report.add(place(typed.referenced), message, Some(help.to_owned()));
    None
}
