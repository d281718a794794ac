//! What a run tells, from where a reader left off.

use redb::ReadableTable;

use crate::model::run::{Run, RunId, TaskEvent};
use crate::store::disk::snapshot::Snapshot;
use crate::store::disk::tables::{EVENTS, OUTPUT, RUNS, open_for_reading};
use crate::store::ops::output_window::TAIL;
use crate::store::views::query::find_run;
use crate::store::{Store, StoreError};

/// How many events one reading yields at most.
const MOST_EVENTS: usize = 500;

/// How much output it yields at most, and one piece. *Units*: bytes.
const MOST_OUTPUT: usize = 64 << 10;

/// How far a run has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// How many events.
    pub events: u32,
    /// How many bytes of output, kept or not.
    pub output_bytes: u64,
}

/// A piece of output, and where it begins in all that the run wrote.
pub type OutputPiece = (u64, Vec<u8>);

/// What a run told from one place on.
#[derive(Debug, Clone, PartialEq)]
pub struct TailChunk {
    /// The run as it is.
    pub run: Run,
    /// Its events.
    pub events: Vec<TaskEvent>,
    /// Its output; between two pieces something was cut.
    pub output: Vec<OutputPiece>,
    /// How far this goes.
    pub to: Told,
    /// Whether there is more.
    pub more: bool,
}

impl Store {
    /// A run, and how far it has told.
    pub async fn told_by(&self, id: RunId) -> Result<(Run, Told), StoreError> {
        self.read(move |txn| {
            let run = find_run(txn, id)?;
            let last = match open_for_reading(txn, EVENTS)? {
                Some(table) => table
                    .range((id.0, 0)..=(id.0, u32::MAX))?
                    .next_back()
                    .transpose()?
                    .map(|(key, _)| key.value().1),
                None => None,
            };
            let told = Told {
                events: last.map_or(0, |last| last + 1),
                output_bytes: run.output_bytes,
            };
            Ok((run, told))
        })
        .await
    }

    /// What a run told from `from` on, and not beyond `upto`. All of it is of one moment.
    pub async fn follow(
        &self,
        id: RunId,
        from: Told,
        upto: Option<Told>,
    ) -> Result<TailChunk, StoreError> {
        self.read(move |txn| {
            let run = find_run(txn, id)?;
            let end = upto.map_or(u32::MAX, |upto| upto.events);
            let (events, told_events) = events(txn, id, from.events, end)?;
            let end = upto.map_or(run.output_bytes, |upto| {
                upto.output_bytes.min(run.output_bytes)
            });
            let (output, output_bytes) = output(txn, &run, from.output_bytes, end)?;
            let to = Told {
                events: told_events,
                output_bytes,
            };
            let looked = usize::try_from(told_events - from.events);
            Ok(TailChunk {
                more: looked.is_ok_and(|looked| looked >= MOST_EVENTS) || output_bytes < end,
                run,
                events,
                output,
                to,
            })
        })
        .await
    }

    /// These runs as they are, of those that are there.
    pub async fn runs_numbered(&self, ids: Vec<RunId>) -> Result<Vec<Run>, StoreError> {
        self.read(move |txn| {
            let Some(table) = open_for_reading(txn, RUNS)? else {
                return Ok(Vec::new());
            };
            let mut runs = Vec::with_capacity(ids.len());
            for id in ids {
                if let Some(value) = table.get(id.0)? {
                    runs.extend(txn.unreadable.decode(RUNS, &id.0, value.value()));
                }
            }
            Ok(runs)
        })
        .await
    }
}

/// The events between two numbers, and the number at which the next reading begins.
fn events(
    txn: &Snapshot,
    id: RunId,
    from: u32,
    end: u32,
) -> Result<(Vec<TaskEvent>, u32), StoreError> {
    let (mut events, mut next) = (Vec::new(), from);
    if let Some(table) = open_for_reading(txn, EVENTS)?.filter(|_| from < end) {
        for row in table.range((id.0, from)..(id.0, end))?.take(MOST_EVENTS) {
            let (key, value) = row?;
            next = key.value().1 + 1;
            let event = txn.unreadable.decode(EVENTS, &key.value(), value.value());
            events.extend(event);
        }
    }
    Ok((events, next))
}

/// A chunk in the table, and where in the output it begins and ends.
struct Chunk {
    number: u32,
    from: u64,
    end: u64,
}

/// What is kept of the output between two places, and how far that goes.
fn output(
    txn: &Snapshot,
    run: &Run,
    from: u64,
    end: u64,
) -> Result<(Vec<OutputPiece>, u64), StoreError> {
    let mut pieces: Vec<OutputPiece> = Vec::new();
    let Some(table) = open_for_reading(txn, OUTPUT)?.filter(|_| from < end) else {
        return Ok((pieces, from));
    };
    let mut length = 0;
    for chunk in chunks(&table, run, from, end)? {
        let Some(value) = table.get((run.id.0, chunk.number))? else {
            continue;
        };
        let (begins, ends) = (chunk.from.max(from), chunk.end.min(end));
        let part = |at: u64| usize::try_from(at - chunk.from).unwrap_or(usize::MAX);
        let bytes = value
            .value()
            .get(part(begins)..part(ends))
            .unwrap_or_default();
        let bytes = &bytes[..bytes.len().min(MOST_OUTPUT - length)];
        length += bytes.len();
        match pieces.last_mut() {
            Some((at, piece)) if *at + piece.len() as u64 == begins => {
                piece.extend_from_slice(bytes);
            }
            _ => pieces.push((begins, bytes.to_vec())),
        }
        if length == MOST_OUTPUT {
            return Ok((pieces, begins + bytes.len() as u64));
        }
    }
    Ok((pieces, end))
}

/// The chunks that hold something of what lies between two places, in their order. The end is looked for first: a reader
/// who is nearly up to date needs no more.
fn chunks(
    table: &impl ReadableTable<(u64, u32), &'static [u8]>,
    run: &Run,
    from: u64,
    end: u64,
) -> Result<Vec<Chunk>, StoreError> {
    let mut chunks = Vec::new();
    let (mut at, mut has_tail) = (run.output_bytes, false);
    for row in table.range((run.id.0, 0)..=(run.id.0, u32::MAX))?.rev() {
        let (key, value) = row?;
        let number = key.value().1;
        has_tail |= number >= TAIL;
        if at <= from || (has_tail && number < TAIL) {
            break;
        }
        let begins = at.saturating_sub(value.value().len() as u64);
        chunks.push(Chunk {
            number,
            from: begins,
            end: at,
        });
        at = begins;
    }
    chunks.reverse();
    if has_tail && at > from {
        // Between the head and the tail something may be missing, so the head is counted from its own beginning.
        let mut head = Vec::new();
        let mut at = 0;
        for row in table.range((run.id.0, 0)..(run.id.0, TAIL))? {
            let (key, value) = row?;
            let ends = at + value.value().len() as u64;
            head.push(Chunk {
                number: key.value().1,
                from: at,
                end: ends,
            });
            at = ends;
        }
        head.append(&mut chunks);
        chunks = head;
    }
    chunks.retain(|chunk| chunk.end > from && chunk.from < end);
    Ok(chunks)
}
