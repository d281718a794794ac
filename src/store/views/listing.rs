//! Lists of runs, filtered with the index of finished runs, one page at a time.

#[cfg(test)]
mod tests;
mod walk;

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use redb::{ReadOnlyTable, ReadableTable};
use serde::Deserialize;

use crate::model::run::{Outcome, Run, RunId, State, Trigger};
use crate::store::disk::index::Kind;
use crate::store::disk::names::cut;
use crate::store::disk::snapshot::Snapshot;
use crate::store::disk::tables::{
    OPEN, RUN_EPISODES, RUN_INDEX, RUNS, open_for_reading, read_run_episodes,
};
use crate::store::disk::unreadable::Unreadable;
use crate::store::views::search::{Search, Text};
use crate::store::{Store, StoreError};
use walk::{Finished, Walk};

/// The filter of a list of runs. A field that is `None` does not restrict the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Queued, running or finished.
    pub state: Option<State>,
    pub outcome: Option<Outcome>,
    pub trigger: Option<Trigger>,
    /// A binding's name.
    pub binding: Option<String>,
    /// A schedule's name.
    pub schedule: Option<String>,
    /// A role of the run.
    pub role: Option<String>,
    /// A host of the run.
    pub host: Option<String>,
    /// The type of one of its alerts, including resolved ones.
    pub alertname: Option<String>,
    /// Created at this time or later. Runs created while the clock was set back may be missed.
    pub since: Option<DateTime<Utc>>,
    /// Created at this time or earlier, with the same restriction.
    pub until: Option<DateTime<Utc>>,
    /// A text in the output.
    pub text: Option<Text>,
    /// The order of the list.
    pub order: Order,
}

/// The order of a list of runs: by number, which is the order of creation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The highest number first.
    #[default]
    Newest,
    /// The lowest number first.
    Oldest,
}

impl Order {
    /// Returns the name in the API and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
        }
    }

    /// Returns whether one number comes before another.
    fn puts_before(self, one: u64, other: u64) -> bool {
        match self {
            Self::Newest => one > other,
            Self::Oldest => one < other,
        }
    }
}

impl RunFilter {
    /// Returns whether a run passes the filter, except for `alertname` and `text`, which need other tables.
    fn takes(&self, run: &Run) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
            wanted.is_none_or(|wanted| Some(wanted) == found)
        }
        is(self.state.as_ref(), Some(&run.state))
            && is(self.outcome.as_ref(), run.outcome.as_ref())
            && is(self.trigger.as_ref(), Some(&run.trigger))
            && is(self.binding.as_ref(), run.binding.as_ref())
            && is(self.schedule.as_ref(), run.schedule.as_ref())
            && self.role.iter().all(|role| run.work.roles.contains(role))
            && self.host.iter().all(|host| run.hosts.contains(host))
            && self.since.is_none_or(|since| run.created_at >= since)
            && self.until.is_none_or(|until| run.created_at <= until)
    }

    /// Returns the index entries of the filter, for finished runs.
    fn entries(&self) -> Vec<(Kind, Cow<'_, str>)> {
        [
            (Kind::Outcome, self.outcome.map(Outcome::as_str)),
            (Kind::Trigger, self.trigger.map(Trigger::as_str)),
            (Kind::Binding, self.binding.as_deref()),
            (Kind::Schedule, self.schedule.as_deref()),
            (Kind::Role, self.role.as_deref()),
            (Kind::Host, self.host.as_deref()),
            (Kind::Alertname, self.alertname.as_deref()),
        ]
        .into_iter()
        .filter_map(|(kind, name)| Some((kind, cut(name?))))
        .collect()
    }
}

/// The maximum size of the runs of one page in the store, unless a single run is larger. *Units*: bytes.
const PAGE_BYTES: usize = 4 << 20;

/// A page of runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    pub runs: Vec<Run>,
    /// The cursor of the next page; `None` on the last.
    pub next: Option<RunId>,
}

impl Store {
    /// Lists runs after `cursor`: at most `limit`, fewer if they are large, but at least one if any is left. A search
    /// for a text examines ten thousand runs at most: its page may be empty although it is not the last.
    pub async fn runs(
        &self,
        filter: RunFilter,
        cursor: Option<RunId>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.read(move |txn| list(txn, &filter, cursor, limit))
            .await
    }
}

type RunsTable = ReadOnlyTable<u64, &'static [u8]>;

/// The tables for a list.
struct Tables<'s> {
    unreadable: &'s Unreadable,
    runs: RunsTable,
    open: Option<ReadOnlyTable<u64, ()>>,
    index: Option<walk::Index>,
    episodes: Option<ReadOnlyTable<(u64, u32), &'static [u8]>>,
}

fn list(
    txn: &Snapshot,
    filter: &RunFilter,
    cursor: Option<RunId>,
    limit: usize,
) -> Result<Page, StoreError> {
    let Some(runs) = open_for_reading(txn, RUNS)? else {
        return Ok(Page::default());
    };
    let tables = Tables {
        unreadable: &txn.unreadable,
        runs,
        open: open_for_reading(txn, OPEN)?,
        index: open_for_reading(txn, RUN_INDEX)?,
        episodes: open_for_reading(txn, RUN_EPISODES)?,
    };
    let Some(bounds) = bounds(&tables, filter, cursor)? else {
        return Ok(Page::default());
    };
    let mut search = match &filter.text {
        Some(text) => Some(Search::new(txn, text)?),
        None => None,
    };
    let mut walk = begin(&tables, filter, bounds)?;
    let mut page = Page::default();
    let (mut bytes, mut last) = (0, None);
    while let Some(at) = walk.next()? {
        let before = last.replace(RunId(at.id));
        if let Some(search) = &mut search {
            if search.is_over() {
                page.next = before;
                break;
            }
            if !search.finds(txn, at.id)? {
                continue;
            }
        }
        let Some(value) = tables.runs.get(at.id)? else {
            continue;
        };
        let run = tables.unreadable.decode(RUNS, &at.id, value.value());
        let Some(run): Option<Run> = run else {
            continue;
        };
        // The index is reliable for the alert types of finished runs.
        if !filter.takes(&run) || !(at.is_finished || is_about(&tables, filter, run.id)?) {
            continue;
        }
        bytes += value.value().len();
        if page.runs.len() == limit || (bytes > PAGE_BYTES && !page.runs.is_empty()) {
            page.next = before;
            break;
        }
        page.runs.push(run);
    }
    Ok(page)
}

/// Returns the runs to examine: those that pass the filter, apart from the text and the alert types of open runs.
fn begin<'t>(
    tables: &'t Tables<'_>,
    filter: &'t RunFilter,
    bounds: (u64, u64),
) -> Result<Walk<'t>, StoreError> {
    let (low, high) = bounds;
    let open = match &tables.open {
        Some(table) => table
            .range(low..=high)?
            .map(|row| Ok(row?.0.value()))
            .collect::<Result<Vec<u64>, StoreError>>()?,
        None => Vec::new(),
    };
    let order = filter.order;
    let finished = match (filter.state, filter.entries()) {
        (Some(State::Queued | State::Running), _) => Finished::None,
        (_, entries) if entries.is_empty() => {
            Finished::Every(Box::new(tables.runs.range(low..=high)?), open.clone())
        }
        (_, entries) => match &tables.index {
            Some(index) => Finished::meet(index, entries, bounds, order)?,
            None => Finished::None,
        },
    };
    let shows_open = filter.state != Some(State::Finished) && filter.outcome.is_none();
    let open = if shows_open { open } else { Vec::new() };
    Walk::begin(order, open, finished)
}

/// Returns the lowest and the highest requested number; `None` if there is none.
fn bounds(
    tables: &Tables<'_>,
    filter: &RunFilter,
    cursor: Option<RunId>,
) -> Result<Option<(u64, u64)>, StoreError> {
    let (Some(first), Some(last)) = (tables.runs.first()?, tables.runs.last()?) else {
        return Ok(None);
    };
    let (mut low, mut high) = (first.0.value(), last.0.value());
    match (filter.order, cursor) {
        (_, None) => {}
        (Order::Newest, Some(cursor)) => high = high.min(cursor.0.saturating_sub(1)),
        (Order::Oldest, Some(cursor)) => low = low.max(cursor.0.saturating_add(1)),
    }
    if let Some(since) = filter.since {
        low = first_created(tables, (low, high), |at| at >= since)?;
    }
    if let Some(until) = filter.until {
        high = first_created(tables, (low, high), |at| at > until)?.saturating_sub(1);
    }
    Ok((low <= high).then_some((low, high)))
}

#[derive(Deserialize)]
struct CreatedAt {
    created_at: DateTime<Utc>,
}

/// Returns the lowest number for which `holds` is true, as for all above it; one above the highest if there is none.
/// Runs are numbered in the order of creation.
fn first_created(
    tables: &Tables<'_>,
    (mut low, high): (u64, u64),
    holds: impl Fn(DateTime<Utc>) -> bool,
) -> Result<u64, StoreError> {
    let mut end = high.saturating_add(1);
    while low < end {
        let middle = low + (end - low) / 2;
        match next_created(tables, middle, end)? {
            Some((id, at)) if !holds(at) => low = id + 1,
            _ => end = middle,
        }
    }
    Ok(low)
}

/// Returns the first of these runs that can be decoded, with its time of creation.
fn next_created(
    tables: &Tables<'_>,
    from: u64,
    end: u64,
) -> Result<Option<(u64, DateTime<Utc>)>, StoreError> {
    for row in tables.runs.range(from..end)? {
        let (id, run) = row?;
        let created = tables.unreadable.decode(RUNS, &id.value(), run.value());
        if let Some(CreatedAt { created_at }) = created {
            return Ok(Some((id.value(), created_at)));
        }
    }
    Ok(None)
}

/// Returns whether an open run has alerts of the requested type, if one is requested.
fn is_about(tables: &Tables<'_>, filter: &RunFilter, id: RunId) -> Result<bool, StoreError> {
    let Some(alertname) = &filter.alertname else {
        return Ok(true);
    };
    let Some(table) = &tables.episodes else {
        return Ok(false);
    };
    let episodes = read_run_episodes(table, tables.unreadable, id)?;
    let mut names = episodes.iter().map(|(_, of_run)| &of_run.alertname);
    Ok(names.any(|name| name == alertname))
}
