//! The bytes of a window: what is read of it, what is known to be zero, and what the window before it has read.
//!
//! In: a place in a source, its holes, the window before. Out: a buffer that others can take their part of. Promises: what
//! two windows share that follow each other is read once, if the first could be read (one that is as in a base, and is read
//! after all, shares nothing); a window waits for the one before it only when all else is there.

use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use garret_chunker::{PAGE, ZERO_RUN_PAGES};
use garret_image::{Slot, Source, SourceError};

use crate::buffers::{Buffer, BufferPool};

/// Holes that the scan is told about instead of being given zeros.
pub(super) const KNOWN_ZERO_LEN: usize = ZERO_RUN_PAGES * PAGE;

/// A window whose bytes are there, but for holes that are known to be zero.
pub(crate) struct Loaded {
    pub(crate) own: usize,
    pub(crate) last: bool,
    /// Whether the source ended within its own bytes, though it should have gone on: nothing comes after it.
    pub(crate) short: bool,
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) known_zero: Vec<Range<usize>>,
}

/// What a window is read from.
pub(super) struct Unread {
    pub(super) source: Arc<dyn Source>,
    pub(super) offset: u64,
    pub(super) len: usize,
    /// Relative to the window.
    pub(super) holes: Vec<Range<usize>>,
    /// The window before: it has read up to this place in the stream, and gives that.
    pub(super) before: Option<(u64, Receiver<ReadWindow>)>,
    /// Who wants the lookahead.
    pub(super) behind: Option<Sender<ReadWindow>>,
}

/// A window that was read.
pub(super) struct ReadWindow {
    offset: u64,
    buffer: Arc<Buffer>,
}

impl Unread {
    /// Reads a window with `own` bytes of its own; `last` says whether the stream ends where it does.
    pub(super) fn load(
        self,
        own: usize,
        last: bool,
        pool: &BufferPool,
    ) -> Result<Loaded, SourceError> {
        let (source, offset) = (&*self.source, self.offset);
        let mut buffer = pool.get(self.len);
        let (known_zero, slots) = divide(&self.holes, offset, buffer.bytes_mut());
        let (shared_to, before) = self.before.unzip();
        let (mut shared, mut rest) = split(slots, shared_to.unwrap_or(offset));
        source.read_many(&mut rest)?;
        // Nothing comes from a window that could not be read.
        match before.and_then(|before| before.recv().ok()) {
            Some(before) => shared.iter_mut().for_each(|slot| before.give(slot)),
            None => source.read_many(&mut shared)?,
        }
        // Asked behind the read, which may have met the end.
        let len = source.end().saturating_sub(offset);
        let loaded = Loaded::new(buffer, len, own, last, known_zero);
        if let Some(behind) = self.behind {
            // Nobody wants it if what comes behind is as in a base.
            drop(behind.send(ReadWindow { offset, buffer: loaded.buffer.clone() }));
        }
        Ok(loaded)
    }
}

impl ReadWindow {
    /// Fills a slot; what lies behind the end of the source stays as it is.
    fn give(&self, slot: &mut Slot<'_>) {
        let start = usize::try_from(slot.offset.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let bytes = self.buffer.bytes().get(start..).unwrap_or_default();
        let len = slot.bytes.len().min(bytes.len());
        let (to, _) = slot.bytes.split_at_mut(len);
        to.copy_from_slice(bytes.split_at(len).0);
    }
}

impl Loaded {
    /// What was read all at once, by somebody else.
    pub(super) fn ready(buffer: Buffer, own: usize, last: bool) -> Self {
        Loaded { own, last, short: false, buffer: Arc::new(buffer), known_zero: Vec::new() }
    }

    /// A window that was read; of a source that ends `len` bytes behind its start, which may be within it.
    fn new(
        mut buffer: Buffer,
        len: u64,
        own: usize,
        last: bool,
        mut known_zero: Vec<Range<usize>>,
    ) -> Self {
        let (mut own, mut last, mut short) = (own, last, false);
        if let Some(len) = usize::try_from(len).ok().filter(|len| *len < buffer.bytes().len()) {
            buffer.truncate(len);
            (own, last, short) = (own.min(len), true, len < own);
            known_zero.retain_mut(|range| {
                range.end = range.end.min(len);
                range.start < range.end
            });
        }
        Loaded { own, last, short, buffer: Arc::new(buffer), known_zero }
    }
}

/// The parts of a buffer that are no holes; those are zero then, but for their page-aligned parts that are left alone and
/// given too.
fn divide<'b>(
    holes: &[Range<usize>],
    offset: u64,
    bytes: &'b mut [u8],
) -> (Vec<Range<usize>>, Vec<Slot<'b>>) {
    let len = bytes.len();
    let (mut known_zero, mut slots) = (Vec::new(), Vec::new());
    let (mut rest, mut at) = (bytes, 0);
    // The holes, and the end as one more without bytes.
    for hole in holes.iter().cloned().chain(std::iter::once(len..len)) {
        let (part, tail) = rest.split_at_mut(hole.start - at);
        if !part.is_empty() {
            slots.push(Slot { offset: offset + at as u64, bytes: part });
        }
        let (gap, tail) = tail.split_at_mut(hole.len());
        let end = if hole.end == len { hole.end } else { hole.end - hole.end % PAGE };
        let inner = hole.start.next_multiple_of(PAGE)..end;
        if inner.len() >= KNOWN_ZERO_LEN {
            let (before, gap) = gap.split_at_mut(inner.start - hole.start);
            before.fill(0);
            gap.split_at_mut(inner.len()).1.fill(0);
            known_zero.push(inner);
        } else {
            gap.fill(0);
        }
        rest = tail;
        at = hole.end;
    }
    (known_zero, slots)
}

/// What lies before a place in the stream, and what does not.
fn split(slots: Vec<Slot<'_>>, place: u64) -> (Vec<Slot<'_>>, Vec<Slot<'_>>) {
    let (mut before, mut behind) = (Vec::new(), Vec::new());
    for Slot { offset, bytes } in slots {
        let len = usize::try_from(place.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (first, second) = bytes.split_at_mut(len.min(bytes.len()));
        let middle = offset + first.len() as u64;
        before.extend((!first.is_empty()).then_some(Slot { offset, bytes: first }));
        behind.extend((!second.is_empty()).then_some(Slot { offset: middle, bytes: second }));
    }
    (before, behind)
}
