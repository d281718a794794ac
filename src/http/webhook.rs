//! The receiver.
//!
//! 200 only after the decisions are on disk. What can never be taken is 4xx: Alertmanager drops it. What may be taken
//! later is 5xx: Alertmanager comes again. A body that came too slowly is 5xx too, since a retry can help.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};

use super::body::{self, BodyError};
use super::{Context, reply};
use crate::alert::{Limits, Notification, NotificationError};
use crate::clock;
use crate::plan::Choice;
use crate::store::{Admitted, StoreError};

use super::reply::Reply;

/// A body beyond this size is parsed where it does not hold up other connections.
const SMALL: usize = 256 << 10;

/// More decisions than these are logged while the answer is already on its way: each line is a system call.
const FEW: usize = 16;

pub(super) async fn receive(context: &Context, request: Request<Incoming>) -> Reply {
    // The client may go away while the answer is made. What was begun is ended all the same, and counted.
    let context = context.clone();
    let answer = tokio::spawn(async move {
        let (status, line) = match take(&context, request).await {
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

async fn take(context: &Context, request: Request<Incoming>) -> Result<String, Refused> {
    let config = Arc::clone(&context.config.borrow());
    let limits = &config.receiver;
    let body = body::read(request, limits.max_body_bytes, limits.body_timeout)
        .await
        .map_err(|e| (body_status(&e), e.to_string()))?;
    let notification = parse(body, limits.max_alerts).await?;
    let inventory = context.inventory.fresh().await;
    let inventory = inventory.map_err(|why| unavailable(why.to_string()))?;
    let notification = Arc::new(notification);
    let admitted = context
        .store
        .admit(Arc::clone(&notification), config, inventory, clock::now())
        .await
        .map_err(|e| match e {
            StoreError::QueueFull { .. } | StoreError::Broken(_) | StoreError::Closed => {
                unavailable(e.to_string())
            }
            _ => {
                tracing::error!(error = %e, "the store refused a notification");
                unavailable(e.to_string())
            }
        })?;
    let runs = admitted
        .decisions
        .iter()
        .filter(|d| matches!(d.choice, Choice::Run { .. }))
        .count();
    let line = format!(
        "accepted: {} alerts, {runs} of {} decisions to run",
        notification.alerts.len(),
        admitted.decisions.len()
    );
    if admitted.decisions.len() <= FEW {
        log(&notification, &admitted);
    } else {
        tokio::task::spawn_blocking(move || log(&notification, &admitted));
    }
    Ok(line)
}

async fn parse(body: bytes::Bytes, max_alerts: usize) -> Result<Notification, Refused> {
    let limits = Limits { alerts: max_alerts };
    let parsed = if body.len() <= SMALL {
        Notification::parse(&body, limits)
    } else {
        tokio::task::spawn_blocking(move || Notification::parse(&body, limits))
            .await
            .map_err(|e| unavailable(e.to_string()))?
    };
    parsed.map_err(|e| {
        let status = match e {
            NotificationError::TooManyAlerts { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        (status, e.to_string())
    })
}

fn body_status(e: &BodyError) -> StatusCode {
    match e {
        BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::TooSlow(_) | BodyError::BrokeOff(_) => StatusCode::SERVICE_UNAVAILABLE,
        BodyError::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        BodyError::NotGzip(_) => StatusCode::BAD_REQUEST,
    }
}

fn unavailable(why: String) -> Refused {
    (StatusCode::SERVICE_UNAVAILABLE, why)
}

/// One line for each decision. What repeats itself by design is for those who look closely.
fn log(notification: &Notification, admitted: &Admitted) {
    if notification.truncated_alerts > 0 {
        tracing::warn!(
            receiver = notification.receiver,
            truncated = notification.truncated_alerts,
            "Alertmanager left out alerts because of max_alerts: they were not handled"
        );
    }
    for decision in &admitted.decisions {
        let alert = &notification.alerts[decision.alert];
        let (fingerprint, alertname) = (alert.fingerprint, alert.name());
        let (binding, reason) = (decision.binding.as_str(), decision.choice.as_str());
        match &decision.choice {
            Choice::Run { hosts } => tracing::info!(
                decision = reason, binding, alertname, %fingerprint,
                run = decision.run.map(|id| id.0), hosts = hosts.join(","), "decided"
            ),
            Choice::Skip { reason: skip, why } if skip.is_routine() => tracing::debug!(
                decision = reason, binding, alertname, %fingerprint, why, "decided"
            ),
            Choice::Skip { why, .. } => tracing::info!(
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
