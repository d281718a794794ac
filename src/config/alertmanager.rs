//! The section `alertmanager`, from YAML to [`Alertmanager`].

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Alertmanager;
use super::error::Report;
use super::http_client::{self, HttpClientText, url};
use super::raw::AlertmanagerText;
use super::values::duration;

const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(1);

const WRITE_A_URL: &str = "set the address of Alertmanager: url: http://127.0.0.1:9093";

/// Returns `None` if the section is missing.
pub(super) fn check(
    typed: Option<AlertmanagerText>,
    report: &mut Report<'_>,
) -> Option<Alertmanager> {
    let typed = typed?;
    let http = HttpClientText {
        basic_auth: typed.basic_auth,
        authorization: typed.authorization,
        tls_config: typed.tls_config,
    };
    let http = http_client::check("alertmanager", http, report);
    let timeout = duration(
        "alertmanager.timeout",
        typed.timeout.as_ref(),
        Alertmanager::TIMEOUT,
        TIMEOUT,
        report,
    );
    let Some(typed) = typed.url else {
        report.add(
            None,
            "alertmanager.url is missing",
            Some(WRITE_A_URL.to_owned()),
        );
        return None;
    };
    Some(Alertmanager {
        url: url("alertmanager.url", WRITE_A_URL, &typed, report)?,
        http,
        timeout,
    })
}
