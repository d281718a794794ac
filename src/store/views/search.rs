//! Text search in the output of runs.

use regex::bytes::{Regex, RegexBuilder};

use crate::model::run::RunId;
use crate::store::StoreError;
use crate::store::disk::snapshot::Snapshot;
use crate::store::disk::tables::{OUTPUT, open_for_reading};
use crate::store::views::query::{find_run, kept_output};

/// The maximum length of a search text. *Units*: characters.
const LONGEST: usize = 200;

/// The maximum number of runs searched by one request.
const RUNS: usize = 10_000;

/// The maximum amount of output searched by one request, unless a single run has more. *Units*: bytes.
const BYTES: usize = 256 << 20;

/// A text to search for in output, ignoring case. It is literal and not a pattern.
#[derive(Debug, Clone)]
pub struct Text {
    text: String,
    regex: Regex,
}

impl Text {
    /// Creates a search text. *Errors*: a sentence, if it is empty or too long.
    pub fn new(text: &str) -> Result<Self, String> {
        let length = text.chars().count();
        if !(1..=LONGEST).contains(&length) {
            return Err(format!("it has {length} characters; want 1 to {LONGEST}"));
        }
        let regex = RegexBuilder::new(&regex::escape(text))
            .case_insensitive(true)
            .build()
            .map_err(|e| e.to_string())?;
        Ok(Self {
            text: text.to_owned(),
            regex,
        })
    }

    /// Returns whether the text is in `output`.
    pub fn is_in(&self, output: &[u8]) -> bool {
        self.regex.is_match(output)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Text {}

/// A search with limits.
pub(crate) struct Search<'a> {
    text: &'a Text,
    table: Option<redb::ReadOnlyTable<(u64, u32), &'static [u8]>>,
    output: Vec<u8>,
    runs: usize,
    bytes: usize,
}

impl<'a> Search<'a> {
    pub(crate) fn new(txn: &Snapshot, text: &'a Text) -> Result<Self, StoreError> {
        Ok(Self {
            text,
            table: open_for_reading(txn, OUTPUT)?,
            output: Vec::new(),
            runs: 0,
            bytes: 0,
        })
    }

    /// Returns whether the search has reached its limits.
    pub(crate) fn is_over(&self) -> bool {
        self.runs >= RUNS || self.bytes >= BYTES
    }

    /// Returns whether the text is in the displayed output of a run.
    pub(crate) fn finds(&mut self, txn: &Snapshot, id: u64) -> Result<bool, StoreError> {
        self.runs += 1;
        let Some(table) = &self.table else {
            return Ok(false);
        };
        // The dropped amount is read only if some output may be missing.
        let total = || find_run(txn, RunId(id)).map(|run| run.output_bytes);
        kept_output(table, RunId(id), total, &mut self.output)?;
        self.bytes += self.output.len();
        Ok(self.text.is_in(&self.output))
    }
}
