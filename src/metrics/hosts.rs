//! The host metrics as exposition text, rendered when a host's facts change and not at each scrape.
//!
//! A page is grouped by metric, and every host has a few lines in each group. Hosts are therefore stored in blocks, and
//! the text of each block and family is cached: new facts render one block, and a scrape returns the cached text.
//! Compressed pages are assembled from parts that were compressed separately, so they cost no more.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// The number of hosts in a block, which is rendered again when the facts of one of them change.
const BLOCK: usize = 64;

/// A host metric: a gauge `promansible_host_<name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFamily {
    /// Without the prefix `promansible_host_`.
    pub name: String,
    /// The HELP text, on one line.
    pub help: String,
    /// The label names after `host`.
    pub labels: Vec<String>,
}

/// One value of a host.
#[derive(Debug, Clone, Copy)]
pub struct HostSample<'a> {
    /// The index of the family.
    pub family: usize,
    /// The values of the family's labels, in the same order.
    pub labels: &'a [String],
    pub value: f64,
}

/// The metrics of all hosts. Cheap to clone; all clones share the same state.
#[derive(Debug, Clone, Default)]
pub struct HostMetrics(Arc<RwLock<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    families: Arc<Vec<HostFamily>>,
    heads: Vec<Arc<Part>>,
    blocks: Vec<Block>,
    places: HashMap<String, Place>,
    free: Vec<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    block: usize,
    slot: usize,
}

#[derive(Debug)]
struct Block {
    hosts: Vec<Option<HostText>>,
    /// The text of each family; `None` if it changed since the last scrape.
    parts: Vec<Option<Arc<Part>>>,
}

/// The lines of a host, grouped by family.
#[derive(Debug)]
struct HostText {
    lines: Box<str>,
    /// The end offset of each family's lines.
    ends: Box<[u32]>,
}

/// A part of a page. It is compressed on first use.
#[derive(Debug)]
struct Part {
    plain: Bytes,
    packed: OnceLock<Packed>,
}

#[derive(Debug)]
struct Packed {
    /// Deflated and flushed to a byte boundary, so that the next part can follow.
    bytes: Bytes,
    crc: Crc,
}

impl HostMetrics {
    /// Resets the page to these families. No host has metrics until it is set again.
    pub fn reset(&self, families: Vec<HostFamily>) {
        let heads = families.iter().map(head).collect();
        *self.write() = Pages {
            families: Arc::new(families),
            heads,
            ..Pages::default()
        };
    }

    /// Replaces the values of a host. Two samples of a host must not have the same family and labels.
    pub fn set(&self, host: &str, samples: &[HostSample<'_>]) {
        let mut families = Arc::clone(&self.read().families);
        loop {
            // Rendered before the lock is taken, so that scrapes do not wait for it.
            let text = HostText::new(host, &families, samples);
            let mut pages = self.write();
            if Arc::ptr_eq(&families, &pages.families) {
                let place = match pages.places.get(host) {
                    Some(place) => *place,
                    None => pages.allocate(host),
                };
                pages.put(place, Some(text));
                return;
            }
            families = Arc::clone(&pages.families);
        }
    }

    /// Removes a host from the page.
    pub fn remove(&self, host: &str) {
        let mut pages = self.write();
        if let Some(place) = pages.places.remove(host) {
            pages.put(place, None);
            pages.free.push(place);
        }
    }

    /// Returns the number of hosts on the page.
    pub fn hosts(&self) -> usize {
        self.read().places.len()
    }

    /// Returns a snapshot of the page, in parts.
    pub fn page(&self) -> Page {
        let mut pages = self.write();
        pages.complete();
        let mut parts = Vec::new();
        for (family, head) in pages.heads.iter().enumerate() {
            let blocks = pages
                .blocks
                .iter()
                .filter_map(|block| block.parts[family].as_ref());
            let mut filled = blocks.filter(|part| !part.plain.is_empty()).peekable();
            if filled.peek().is_some() {
                parts.push(Arc::clone(head));
                parts.extend(filled.cloned());
            }
        }
        Page(parts)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Pages> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Pages> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn allocate(&mut self, host: &str) -> Place {
        let place = self.free.pop().unwrap_or_else(|| {
            let full = self
                .blocks
                .last()
                .is_none_or(|block| block.hosts.len() == BLOCK);
            if full {
                let parts = vec![None; self.families.len()];
                self.blocks.push(Block {
                    hosts: Vec::new(),
                    parts,
                });
            }
            let block = self.blocks.len() - 1;
            let hosts = &mut self.blocks[block].hosts;
            hosts.push(None);
            Place {
                block,
                slot: hosts.len() - 1,
            }
        });
        self.places.insert(host.to_owned(), place);
        place
    }

    fn put(&mut self, place: Place, text: Option<HostText>) {
        let block = &mut self.blocks[place.block];
        let old = std::mem::replace(&mut block.hosts[place.slot], text);
        let new = block.hosts[place.slot].as_ref();
        for (family, part) in block.parts.iter_mut().enumerate() {
            // Unchanged parts stay compressed.
            if lines(old.as_ref(), family) != lines(new, family) {
                *part = None;
            }
        }
    }

    /// Renders the changed parts: once for all changes between two scrapes.
    fn complete(&mut self) {
        for block in &mut self.blocks {
            for (family, part) in block.parts.iter_mut().enumerate() {
                if part.is_none() {
                    let texts = block.hosts.iter().flatten();
                    let plain: String = texts.map(|text| text.of(family)).collect();
                    *part = Some(Arc::new(Part::new(plain)));
                }
            }
        }
    }
}

impl HostText {
    fn new(host: &str, families: &[HostFamily], samples: &[HostSample<'_>]) -> Self {
        let mut by_family: Vec<Vec<&HostSample<'_>>> = vec![Vec::new(); families.len()];
        for sample in samples {
            // The family may have been removed.
            if let Some(of) = by_family.get_mut(sample.family) {
                of.push(sample);
            }
        }
        let mut lines = String::new();
        let mut ends = Vec::with_capacity(families.len());
        for (family, samples) in families.iter().zip(by_family) {
            for sample in samples {
                line(&mut lines, host, family, sample);
            }
            ends.push(u32::try_from(lines.len()).unwrap_or(u32::MAX));
        }
        Self {
            lines: lines.into(),
            ends: ends.into(),
        }
    }

    fn of(&self, family: usize) -> &str {
        let end = |at: usize| self.ends[at] as usize;
        let begin = family.checked_sub(1).map_or(0, end);
        &self.lines[begin..end(family)]
    }
}

fn lines(text: Option<&HostText>, family: usize) -> &str {
    text.map_or("", |text| text.of(family))
}

fn head(family: &HostFamily) -> Arc<Part> {
    let mut text = String::new();
    let _ = write!(text, "# HELP promansible_host_{} ", family.name);
    for c in family.help.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
    let _ = writeln!(text, "\n# TYPE promansible_host_{} gauge", family.name);
    Arc::new(Part::new(text))
}

fn line(text: &mut String, host: &str, family: &HostFamily, sample: &HostSample<'_>) {
    let _ = write!(text, "promansible_host_{}{{host=\"", family.name);
    escape(text, host);
    for (name, value) in family.labels.iter().zip(sample.labels) {
        let _ = write!(text, "\",{name}=\"");
        escape(text, value);
    }
    let _ = writeln!(text, "\"}} {}", sample.value);
}

fn escape(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

impl Part {
    fn new(text: String) -> Self {
        Self {
            plain: text.into(),
            packed: OnceLock::new(),
        }
    }

    fn packed(&self) -> &Packed {
        self.packed.get_or_init(|| pack(&self.plain))
    }
}

fn pack(plain: &[u8]) -> Packed {
    let mut crc = Crc::new();
    crc.update(plain);
    let mut deflate = Compress::new(Compression::fast(), false);
    let mut bytes = Vec::with_capacity(plain.len() / 8 + 64);
    let mut consumed = 0;
    // Finished when all input was consumed and the output buffer still has room.
    loop {
        let status = deflate.compress_vec(&plain[consumed..], &mut bytes, FlushCompress::Sync);
        consumed = usize::try_from(deflate.total_in()).unwrap_or(plain.len());
        let done = consumed == plain.len() && bytes.len() < bytes.capacity();
        if done || !matches!(status, Ok(Status::Ok | Status::BufError)) {
            break;
        }
        bytes.reserve(bytes.capacity().max(64));
    }
    bytes.shrink_to_fit();
    Packed {
        bytes: bytes.into(),
        crc,
    }
}

/// A page in parts. Readers share the parts.
#[derive(Debug, Clone)]
pub struct Page(Vec<Arc<Part>>);

impl Page {
    /// Prepends a text.
    #[must_use]
    pub fn after(mut self, text: Bytes) -> Self {
        let plain = Part {
            plain: text,
            packed: OnceLock::new(),
        };
        self.0.insert(0, Arc::new(plain));
        self
    }

    /// Returns the page as plain text.
    pub fn plain(self) -> Vec<Bytes> {
        self.0.iter().map(|part| part.plain.clone()).collect()
    }

    /// Returns the page as one gzip member. Parts that were never compressed are compressed now: do not call this on
    /// async threads.
    pub fn gzip(self) -> Vec<Bytes> {
        // gzip header: no name, no time, unknown operating system.
        let mut bytes = vec![Bytes::from_static(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])];
        let mut crc = Crc::new();
        for part in &self.0 {
            let packed = part.packed();
            bytes.push(packed.bytes.clone());
            crc.combine(&packed.crc);
        }
        // The final block, empty.
        let mut end = vec![0x03, 0x00];
        end.extend(crc.sum().to_le_bytes());
        end.extend(crc.amount().to_le_bytes());
        bytes.push(end.into());
        bytes
    }
}

#[cfg(test)]
mod tests;
