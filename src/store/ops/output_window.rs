//! The stored part of a run's output: its head and its tail.

use std::collections::VecDeque;

use redb::ReadableTable;

use crate::model::run::{Run, RunId};
use crate::store::StoreError;
use crate::store::disk::tables::{Tables, grown};

/// The first number of the tail's chunks.
pub(crate) const TAIL: u32 = 1 << 31;

/// Selects the stored part of a run's output: half of the limit from the beginning, and half from the end.
#[derive(Debug, Default)]
pub(crate) struct OutputWindow {
    half_bytes: u64,
    total_bytes: u64,
    head_bytes: u64,
    head_chunks: u32,
    tail: VecDeque<(u32, u64)>,
    tail_bytes: u64,
    next_tail: u32,
}

impl OutputWindow {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self {
            half_bytes: limit_bytes / 2,
            next_tail: TAIL,
            ..Self::default()
        }
    }

    /// Returns the limit.
    pub(crate) fn limit_bytes(&self) -> u64 {
        self.half_bytes * 2
    }

    /// Returns the size of all output, stored or not.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Restores the window of a run from the store, and returns it with the number of events.
    pub(crate) fn load(
        tables: &Tables<'_>,
        run: &Run,
        limit_bytes: u64,
    ) -> Result<(Self, u32), StoreError> {
        let mut kept = Self::new(limit_bytes);
        for row in tables.output.range((run.id.0, 0)..=(run.id.0, u32::MAX))? {
            let (key, value) = row?;
            let (number, bytes) = (key.value().1, value.value().len() as u64);
            if number < TAIL {
                kept.head_bytes += bytes;
                kept.head_chunks = number + 1;
            } else {
                kept.tail.push_back((number, bytes));
                kept.tail_bytes += bytes;
                kept.next_tail = number + 1;
            }
        }
        kept.total_bytes = run.output_bytes.max(kept.head_bytes + kept.tail_bytes);
        let events = tables
            .events
            .range((run.id.0, 0)..=(run.id.0, u32::MAX))?
            .next_back()
            .transpose()?
            .map_or(0, |(key, _)| key.value().1 + 1);
        Ok((kept, events))
    }

    pub(crate) fn keep(
        &mut self,
        tables: &mut Tables<'_>,
        run: RunId,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        self.total_bytes += bytes.len() as u64;
        let room = usize::try_from(self.half_bytes - self.head_bytes.min(self.half_bytes))
            .unwrap_or(usize::MAX);
        let (head, tail) = bytes.split_at(room.min(bytes.len()));
        if !head.is_empty() {
            put_output(tables, (run.0, self.head_chunks), head)?;
            self.head_chunks += 1;
            self.head_bytes += head.len() as u64;
        }
        // If a chunk is larger than the whole tail, only its end is kept.
        let half = usize::try_from(self.half_bytes).unwrap_or(usize::MAX);
        let tail = &tail[tail.len().saturating_sub(half)..];
        if !tail.is_empty() {
            put_output(tables, (run.0, self.next_tail), tail)?;
            self.tail.push_back((self.next_tail, tail.len() as u64));
            self.tail_bytes += tail.len() as u64;
            self.next_tail += 1;
        }
        while self.tail_bytes > self.half_bytes {
            let Some((number, length)) = self.tail.pop_front() else {
                break;
            };
            let old = tables.output.remove((run.0, number))?;
            tables.runs_change -= grown(old.map_or(0, |v| v.value().len()), None);
            self.tail_bytes -= length;
        }
        Ok(())
    }
}

fn put_output(tables: &mut Tables<'_>, key: (u64, u32), bytes: &[u8]) -> Result<(), StoreError> {
    tables.output.insert(key, bytes)?;
    tables.runs_change += grown(bytes.len(), None);
    Ok(())
}
