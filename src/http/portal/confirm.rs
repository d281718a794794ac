//! Confirmation pages: cancel a run, remove a host, a binding or a schedule.

use askama::Template;
use hyper::StatusCode;

use super::Answer;
use super::components::{few, part};
use super::layout::{self, Frame};
use super::managed;
use crate::config::ManagedKind;
use crate::http::Context;
use crate::http::api::hosts;
use crate::http::core::audit_note;
use crate::http::core::error::ApiError;
use crate::model::run::{RunId, State};
use crate::store::{Canceled, StoreError};
use crate::util::clock;

#[derive(Template)]
#[template(path = "confirm.html")]
struct Confirm {
    frame: Frame,
    title: String,
    what: String,
    action: String,
    yes: &'static str,
    back: String,
    no: &'static str,
}

pub(super) async fn cancel(context: &Context, id: RunId) -> Answer {
    let run = context.store.run(id).await?;
    let what = match run.state {
        State::Finished => return Err(StoreError::Finished(id).into()),
        State::Queued => "It has not started, so no host has been changed. It ends as canceled.",
        State::Running => {
            "Ansible is interrupted, and all processes that it started on this machine are ended. A command that is running on a host may stay half done."
        }
    };
    let page = Confirm {
        frame: Frame::new(context, "/runs"),
        title: format!("Cancel run {id}?"),
        what: format!(
            "Roles: {}. Hosts: {}. {what}",
            run.work.roles.join(", "),
            few(&run.hosts, 3)
        ),
        action: format!("/runs/{id}/cancel"),
        yes: "Cancel the run",
        back: format!("/runs/{id}"),
        no: "Keep the run",
    };
    layout::page(StatusCode::OK, page).await
}

pub(super) async fn canceled(context: &Context, id: RunId) -> Answer {
    let store = &context.store;
    let how = store
        .cancel(
            id,
            context.caller.name_or("the portal").to_owned(),
            clock::now(),
        )
        .await?;
    audit_note::of_run(context, "canceled", id).await;
    match how {
        Canceled::Ended => tracing::info!(
            run = id.0,
            outcome = "canceled",
            why = "canceled by the portal before it started",
            "run ended"
        ),
        Canceled::Ending => tracing::info!(run = id.0, "cancel requested"),
    }
    Ok(layout::redirect(&format!("/runs/{id}")))
}

pub(super) async fn remove(context: &Context, name: &str) -> Answer {
    let inventory = context
        .inventory
        .fresh()
        .await
        .map_err(ApiError::unavailable)?;
    let enrolled = inventory
        .host(name)
        .is_some_and(|host| host.enrolled().is_some());
    let conflict = inventory
        .conflicts()
        .iter()
        .any(|conflict| conflict.name == name);
    if !enrolled && !conflict {
        return Err(StoreError::HostNotEnrolled(name.to_owned()).into());
    }
    let page = Confirm {
        frame: Frame::new(context, "/hosts"),
        title: format!("Remove {name}?"),
        what: "The host is removed from the inventory. Its facts, findings and last-success times are deleted. Its runs stay in the history. The machine itself is not changed."
            .to_owned(),
        action: format!("/hosts/{}/remove", part(name)),
        yes: "Remove the host",
        back: format!("/hosts/{}", part(name)),
        no: "Keep it",
    };
    layout::page(StatusCode::OK, page).await
}

pub(super) async fn removed(context: &Context, name: &str) -> Answer {
    hosts::take_away(context, name).await?;
    Ok(layout::redirect("/hosts"))
}

fn kind(word: &str) -> ManagedKind {
    match word {
        "bindings" => ManagedKind::Binding,
        _ => ManagedKind::Schedule,
    }
}

pub(super) async fn take_away(context: &Context, word: &str, name: &str) -> Answer {
    let kind = kind(word);
    let kept = managed::found(context, kind, name).await?;
    let (here, what) = match kind {
        ManagedKind::Binding => ("/alerts", "Matching alerts no longer start its roles."),
        ManagedKind::Schedule => ("/schedules", "It starts no more runs."),
    };
    let page = Confirm {
        frame: Frame::new(context, here),
        title: format!("Remove the {kind} {}?", kept.name),
        what: format!("{what} Queued and running runs continue, and the history stays."),
        action: format!("/{word}/{}/remove", part(name)),
        yes: "Remove it",
        back: format!("/{word}/{}", part(name)),
        no: "Keep it",
    };
    layout::page(StatusCode::OK, page).await
}

pub(super) async fn taken_away(context: &Context, word: &str, name: &str) -> Answer {
    let kind = kind(word);
    managed::remove(context, kind, name).await?;
    Ok(layout::redirect(match kind {
        ManagedKind::Binding => "/alerts",
        ManagedKind::Schedule => "/schedules",
    }))
}
