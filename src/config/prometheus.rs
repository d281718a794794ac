//! The section `prometheus`, from YAML to [`Prometheus`].

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Prometheus;
use super::error::{Report, place};
use super::http_client::{self, HttpClientText, url};
use super::raw::PrometheusText;
use super::spanned::Scalar;
use super::values::{duration, is_usable};

const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(1);

const WRITE_A_URL: &str = "set the address of Prometheus: url: http://127.0.0.1:9090";

pub(super) fn check(typed: PrometheusText, report: &mut Report<'_>) -> Prometheus {
    let http = HttpClientText {
        basic_auth: typed.basic_auth,
        authorization: typed.authorization,
        tls_config: typed.tls_config,
    };
    let patterns = typed.rule_files.unwrap_or_default().into_iter();
    Prometheus {
        url: typed
            .url
            .and_then(|typed| url("prometheus.url", WRITE_A_URL, &typed, report)),
        http: http_client::check("prometheus", http, report),
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

fn pattern(typed: Scalar, report: &mut Report<'_>) -> Option<String> {
    let (message, help) = if !is_usable(&typed) {
        (
            format!(
                "prometheus.rule_files: a path is empty or contains control characters: {:?}",
                typed.value
            ),
            "list rule files as in Prometheus: rule_files: [/etc/prometheus/rules/*.yml]",
        )
    } else if let Err(e) = glob::Pattern::new(&typed.value) {
        (
            format!(
                "prometheus.rule_files: {:?} is not a pattern: {}",
                typed.value, e.msg
            ),
            "* matches any part of a name, ? one character, [ab] one of these characters",
        )
    } else {
        return Some(typed.value);
    };
    report.add(place(typed.referenced), message, Some(help.to_owned()));
    None
}
