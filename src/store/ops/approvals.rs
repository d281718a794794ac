//! Approval of runs: granted, rejected or expired.

use chrono::{DateTime, Utc};
use redb::ReadableTable;

use crate::model::run::{Outcome, RunId};
use crate::store::disk::tables::Tables;
use crate::store::ops::state::WriterState;
use crate::store::ops::{finish, guards};
use crate::store::{Store, StoreError};

/// Ends the runs whose approval has expired.
pub(crate) fn end_lapsed(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    while let Some((until, id)) = state.approvals.first().copied()
        && until <= now
    {
        let why = "it was not approved in time";
        finish::end_queued(tables, state, id, Outcome::Canceled, why, now)?;
    }
    Ok(())
}

fn answer(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    id: RunId,
    approved: bool,
    who: &str,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    end_lapsed(tables, state, now)?;
    let Some(queued) = state.queue.get_mut(&id) else {
        return Err(if tables.runs.get(id.0)?.is_some() {
            StoreError::NoApprovalWanted(id)
        } else {
            StoreError::NoSuchRun(id)
        });
    };
    let approval = queued.run.approval.as_mut();
    let Some(approval) = approval.filter(|approval| approval.is_wanted()) else {
        return Err(StoreError::NoApprovalWanted(id));
    };
    if !approved {
        let why = format!("rejected by {who}");
        return finish::end_queued(tables, state, id, Outcome::Canceled, &why, now);
    }
    state.approvals.remove(&(approval.until, id));
    approval.by = Some(who.to_owned());
    approval.at = Some(now);
    // The approval covers only the hosts that were shown: no further hosts may join.
    queued.run.ready_at = queued.run.ready_at.min(now);
    state.dirty.insert(id);
    state.moved.push(id);
    guards::changed(state);
    Ok(())
}

impl Store {
    /// Approves a run that waits for approval, or rejects and ends it.
    ///
    /// *Errors*: [`StoreError::NoApprovalWanted`], [`StoreError::NoSuchRun`].
    pub async fn answer_approval(
        &self,
        run: RunId,
        approved: bool,
        who: String,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        self.write(move |tables, state| answer(tables, state, run, approved, &who, now))
            .await
    }
}
