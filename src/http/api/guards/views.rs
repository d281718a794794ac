//! The JSON of the pause, the holds and the open circuits.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::http::Context;
use crate::http::core::error::ApiError;
use crate::model::guards::{Hold, Holds};
use crate::model::run::{Approval, Run, RunId, State};
use crate::store::{Order, RunFilter};
use crate::util::clock;

/// The maximum number of listed held runs.
const LISTED: usize = 100;

/// The number of runs to read at once.
const PAGE: usize = 1000;

/// The pause, the holds, the open circuits and the held runs.
#[derive(Debug, Serialize)]
pub(in crate::http) struct Guards {
    /// `guards.mode` of the configuration.
    pub mode: &'static str,
    /// The pause, the holds and the open circuits.
    #[serde(flatten)]
    pub book: Holds,
    /// The number of held runs by reason: every reason, some with 0.
    pub held: BTreeMap<&'static str, usize>,
    /// The oldest held runs.
    pub runs: Vec<HeldRun>,
}

/// A held run.
#[derive(Debug, Serialize)]
pub(in crate::http) struct HeldRun {
    pub id: RunId,
    pub held: Hold,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
    pub roles: Vec<String>,
    pub hosts: Vec<String>,
    /// When the approval expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

impl HeldRun {
    fn new(run: Run, held: Hold) -> Self {
        let approval = run.approval.filter(Approval::is_wanted);
        Self {
            id: run.id,
            held,
            binding: run.binding,
            roles: run.work.roles,
            hosts: run.hosts,
            until: approval.map(|approval| approval.until),
        }
    }
}

/// Reads the current state of the guards.
pub(in crate::http) async fn state(context: &Context) -> Result<Guards, ApiError> {
    let config = Arc::clone(&context.config.borrow());
    let book = current(context.store.book().await?, clock::now());
    let mut held: BTreeMap<&'static str, usize> =
        Hold::ALL.iter().map(|hold| (hold.as_str(), 0)).collect();
    let mut runs = Vec::new();
    let filter = RunFilter {
        state: Some(State::Queued),
        order: Order::Oldest,
        ..RunFilter::default()
    };
    let mut cursor = None;
    loop {
        let page = context.store.runs(filter.clone(), cursor, PAGE).await?;
        for run in page.runs {
            let Some(why) = book.hold(&run) else {
                continue;
            };
            *held.entry(why.as_str()).or_default() += 1;
            if runs.len() < LISTED {
                runs.push(HeldRun::new(run, why));
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(Guards {
        mode: config.guards.mode.as_str(),
        book,
        held,
        runs,
    })
}

/// Removes expired holds: the store removes them only later.
fn current(mut book: Holds, now: DateTime<Utc>) -> Holds {
    book.hosts
        .retain(|_, hold| hold.until.is_none_or(|until| until > now));
    book
}
