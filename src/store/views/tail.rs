//! Follows the events and output of a run from a reader's position.

use redb::ReadableTable;

use crate::model::run::{Run, RunId, TaskEvent};
use crate::store::disk::snapshot::Snapshot;
use crate::store::disk::tables::{EVENTS, OUTPUT, RUNS, open_for_reading};
use crate::store::ops::output_window::TAIL;
use crate::store::views::query::find_run;
use crate::store::{Store, StoreError};

/// The maximum number of events in one chunk.
const MOST_EVENTS: usize = 500;

/// The maximum amount of output in one chunk, and in one piece. *Units*: bytes.
const MOST_OUTPUT: usize = 64 << 10;

/// A position in the events and output of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunOffset {
    /// The number of events.
    pub events: u32,
    /// The number of bytes of output, stored or not.
    pub output_bytes: u64,
}

/// A piece of output, with its offset in the run's whole output.
pub type OutputPiece = (u64, Vec<u8>);

/// The events and output of a run from a position on.
#[derive(Debug, Clone, PartialEq)]
pub struct TailChunk {
    /// The current run.
    pub run: Run,
    pub events: Vec<TaskEvent>,
    /// The output; between two pieces output was dropped.
    pub output: Vec<OutputPiece>,
    /// The position at the end of this chunk.
    pub to: RunOffset,
    /// Whether there is more.
    pub more: bool,
}

impl Store {
    /// Returns a run and its current position.
    pub async fn run_offset(&self, id: RunId) -> Result<(Run, RunOffset), StoreError> {
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
            let told = RunOffset {
                events: last.map_or(0, |last| last + 1),
                output_bytes: run.output_bytes,
            };
            Ok((run, told))
        })
        .await
    }

    /// Returns the events and output of a run from `from` up to `upto`, from one snapshot.
    pub async fn follow(
        &self,
        id: RunId,
        from: RunOffset,
        upto: Option<RunOffset>,
    ) -> Result<TailChunk, StoreError> {
        self.read(move |txn| {
            let run = find_run(txn, id)?;
            let end = upto.map_or(u32::MAX, |upto| upto.events);
            let (events, told_events) = events(txn, id, from.events, end)?;
            let end = upto.map_or(run.output_bytes, |upto| {
                upto.output_bytes.min(run.output_bytes)
            });
            let (output, output_bytes) = output(txn, &run, from.output_bytes, end)?;
            let to = RunOffset {
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

    /// Returns those of these runs that exist.
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

/// Returns the events between two numbers, and the number at which the next read begins.
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

/// A chunk in the table, with its range in the output.
struct Chunk {
    number: u32,
    from: u64,
    end: u64,
}

/// Returns the stored output between two offsets, and the offset at its end.
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

/// Returns the chunks that overlap a range of the output, in order. Searches from the end: a reader that is nearly up
/// to date needs no more.
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
        // Output between the head and the tail may be missing, so the offsets of the head count from its beginning.
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
