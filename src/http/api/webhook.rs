//! The receiver of Alertmanager's notifications.
//!
//! Returns 200 only after the decisions are on disk; 4xx if a retry cannot help, because Alertmanager drops the notification;
//! 5xx if Alertmanager should retry. A body that arrives too slowly is 5xx too, since a retry can help.

use std::fmt::Write as _;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use tokio::sync::Semaphore;

use crate::config::{Config, Receiver};
use crate::http::Context;
use crate::http::core::body::{self, Body, BodyError};
use crate::http::core::reply;
use crate::model::alert::{Limits, Notification, NotificationError};
use crate::model::inventory::Inventory;
use crate::model::run::{RUN, Skip};
use crate::plan::{self, Choice};
use crate::services::inventory_watcher::InventoryStatus;
use crate::store::{Admitted, AdmittedDecision, StoreError};
use crate::util::clock;

use crate::http::core::reply::Reply;

/// Larger bodies are parsed without blocking other connections. So are compressed ones: a few KiB may become many MiB.
/// *Units*: bytes.
const SMALL: usize = 256 << 10;

/// The number of such bodies that are parsed at once; the others wait compressed. Decompressed and parsed, each needs many
/// MiB.
static LARGE: Semaphore = Semaphore::const_new(4);

/// If there are more decisions, they are logged after the response: each line is a system call.
const FEW: usize = 16;

pub(crate) async fn receive(context: &Context, request: Request<Incoming>) -> Reply {
    // The client may disconnect meanwhile. The request is completed all the same, and counted.
    let context = context.clone();
    let answer = tokio::spawn(async move {
        let (status, line) = match process(&context, request).await {
            Ok(line) => (StatusCode::OK, line),
            Err((status, why)) => {
                tracing::warn!(code = status.as_u16(), error = %why, "notification refused");
                (status, why)
            }
        };
        context.metrics.notification(status.as_u16());
        reply::text(status, line)
    });
    answer.await.unwrap_or_else(|_| {
        reply::text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the receiver failed; see the log",
        )
    })
}

type Refused = (StatusCode, String);

async fn process(context: &Context, request: Request<Incoming>) -> Result<String, Refused> {
    let config = Arc::clone(&context.config.borrow());
    let limits = &config.receiver;
    let body = body::read(request, limits.max_body_bytes, limits.body_timeout)
        .await
        .map_err(|e| body_refused(&e))?;
    let notification = parse(body, limits).await?;
    let inventory = context.inventory.fresh().await;
    let inventory = inventory.map_err(|why| unavailable(why.brief()))?;
    let standing = context.inventory.status();
    if let Some(why) = in_doubt(&standing, &config, &inventory, &notification) {
        return Err(unavailable(why));
    }
    let notification = Arc::new(notification);
    let admitted = context
        .store
        .admit(Arc::clone(&notification), config, inventory, clock::now())
        .await
        .map_err(|e| match e {
            StoreError::QueueFull { .. }
            | StoreError::HistoryFull { .. }
            | StoreError::Broken(_)
            | StoreError::Closed => unavailable(e.to_string()),
            _ => {
                tracing::error!(error = %e, "the store failed to record a notification");
                unavailable(e.to_string())
            }
        })?;
    context.truncated_alerts.see(&notification).await;
    let line = accepted(notification.alerts.len(), &admitted.decisions);
    if admitted.decisions.len() <= FEW {
        log(&notification, &admitted);
    } else {
        tokio::task::spawn_blocking(move || log(&notification, &admitted));
    }
    Ok(line)
}

/// Returns why Alertmanager must retry a notification: it names a host that the inventory lacks, but may have as soon as the
/// inventory is read or believed again. If the alert were skipped, Alertmanager would repeat it only hours later.
fn in_doubt(
    standing: &InventoryStatus,
    config: &Config,
    inventory: &Inventory,
    notification: &Notification,
) -> Option<String> {
    let unfound = |of| plan::unfound(config, inventory, of, &notification.alerts);
    if let Some(trouble) = &standing.trouble {
        let unfound = unfound(None)?;
        let why = trouble.why.lines().next().unwrap_or_default();
        return Some(format!(
            "{unfound}, and the inventory cannot be read: {why}"
        ));
    }
    let shrunk = standing.shrunk.as_ref()?;
    let unfound = unfound(standing.believed.as_deref())?;
    Some(format!(
        "{unfound}, but {} hosts disappeared from the inventory at once, which is not believed before {}",
        shrunk.missing.len(),
        shrunk.believed_at
    ))
}

async fn parse(body: Body, limits: &Receiver) -> Result<Notification, Refused> {
    let (bytes, alerts) = (limits.max_body_bytes, limits.max_alerts);
    let is_small = body.size().is_some_and(|bytes| bytes <= SMALL);
    let parse = move || {
        let body = body.unpack(bytes).map_err(|e| body_refused(&e))?;
        Notification::parse(&body, Limits { alerts }).map_err(|e| {
            let status = match e {
                NotificationError::TooManyAlerts { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                _ => StatusCode::BAD_REQUEST,
            };
            (status, e.to_string())
        })
    };
    if is_small {
        return parse();
    }
    let place = LARGE.acquire().await;
    let parse = move || {
        let parsed = parse();
        drop(place);
        parsed
    };
    tokio::task::spawn_blocking(parse)
        .await
        .map_err(|e| unavailable(e.to_string()))?
}

fn body_refused(e: &BodyError) -> Refused {
    (e.status(), e.to_string())
}

/// Returns the response to an accepted notification: the number of each decision.
fn accepted(alerts: usize, decisions: &[AdmittedDecision]) -> String {
    let mut line = format!(
        "accepted: {alerts} alert{}",
        if alerts == 1 { "" } else { "s" }
    );
    let mut mark = ": ";
    for word in std::iter::once(RUN).chain(Skip::ALL.map(Skip::as_str)) {
        let times = decisions
            .iter()
            .filter(|d| d.choice.as_str() == word)
            .count();
        if times > 0 {
            let _ = write!(line, "{mark}{times} {word}");
            mark = ", ";
        }
    }
    line
}

fn unavailable(why: String) -> Refused {
    (StatusCode::SERVICE_UNAVAILABLE, why)
}

/// Logs each decision. Skips that repeat by design are logged at debug level.
fn log(notification: &Notification, admitted: &Admitted) {
    for decision in &admitted.decisions {
        let alert = &notification.alerts[decision.alert];
        let (fingerprint, alertname) = (alert.fingerprint, alert.name());
        let (binding, reason) = (decision.binding.as_str(), decision.choice.as_str());
        match &decision.choice {
            Choice::Run { hosts, .. } => tracing::info!(
                decision = reason, binding, alertname, %fingerprint,
                run = decision.run.map(|id| id.0), hosts = hosts.join(","), "decided"
            ),
            Choice::Skip {
                reason: skip, why, ..
            } if skip.is_routine() => tracing::debug!(
                decision = reason, binding, alertname, %fingerprint, why, "decided"
            ),
            // A binding matches this alert, but nothing handles it.
            Choice::Skip { why, .. } => tracing::warn!(
                decision = reason, binding, alertname, %fingerprint, why, "decided"
            ),
        }
    }
    for run in &admitted.canceled {
        tracing::info!(
            run = run.0,
            "canceled: its alerts resolved before it started"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use super::*;
    use crate::http::core::body::tests::{body, gzip};

    #[test]
    fn a_packed_body_is_unpacked_and_parsed_off_the_async_threads() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let limits = Receiver {
            max_body_bytes: 16 << 20,
            max_alerts: 1,
            header_timeout: Duration::from_secs(1),
            body_timeout: Duration::from_secs(1),
            max_connections: 1,
        };
        let mut text = br#"{"version":"4","alerts":[]}"#.to_vec();
        text.resize(8 << 20, b' ');
        let small = body(&br#"{"version":"4","alerts":[]}"#[..], false);
        let large = body(text.clone(), false);
        let packed = body(gzip(&text), true);
        runtime.block_on(async {
            let mut cx = Context::from_waker(Waker::noop());
            // The only blocking thread is busy.
            let (go, held) = std::sync::mpsc::channel::<()>();
            tokio::task::spawn_blocking(move || held.recv());
            assert!(pin!(parse(small, &limits)).poll(&mut cx).is_ready());
            let mut large = pin!(parse(large, &limits));
            let mut packed = pin!(parse(packed, &limits));
            assert!(large.as_mut().poll(&mut cx).is_pending());
            assert!(packed.as_mut().poll(&mut cx).is_pending());
            drop(go);
            assert_eq!(large.await.unwrap().alerts.len(), 0);
            assert_eq!(packed.await.unwrap().alerts.len(), 0);
        });
    }

    #[test]
    fn decisions_are_counted_by_their_reason() {
        let decision = |choice| AdmittedDecision {
            alert: 0,
            binding: String::new(),
            choice,
            run: None,
        };
        let skip = |reason| {
            decision(Choice::Skip {
                reason,
                why: String::new(),
                until: None,
            })
        };
        let run = || {
            decision(Choice::Run {
                hosts: Vec::new(),
                about: None,
                step: 1,
                probe: false,
                spared: Vec::new(),
            })
        };
        assert_eq!(accepted(0, &[]), "accepted: 0 alerts");
        assert_eq!(accepted(1, &[run()]), "accepted: 1 alert: 1 run");
        let decisions = [
            skip(Skip::UnknownHost),
            skip(Skip::Duplicate),
            run(),
            skip(Skip::UnknownHost),
            skip(Skip::NoBinding),
        ];
        assert_eq!(
            accepted(3, &decisions),
            "accepted: 3 alerts: 1 run, 1 no_binding, 1 duplicate, 2 unknown_host"
        );
    }
}
