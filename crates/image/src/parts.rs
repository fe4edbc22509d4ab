//! The two streams of a divided file as sources.
//!
//! In: an open file and its [`Layout`]. Out: [`PartSource`], a [`Source`] of either part. Knows
//! nothing of what kind of file it is.
//!
//! Promises: what is in no piece of the layout is a hole, and so is a hole of the file under a
//! piece. Reading a range asks the file for each byte at most once, in file order; pieces that lie
//! near each other in the file are fetched by one read.

use std::sync::{Arc, Mutex, PoisonError};

use crate::extents::{ExtentCursor, joined, piece};
use crate::{Extent, Layout, Part, Piece, Source, SourceError};

/// Bytes between two pieces that are read along and thrown away rather than asking twice: below
/// this a second call costs more than the copy (one L2 table of the common cluster sizes is less,
/// or, with 64 KiB clusters, not worth it).
const GAP_MAX: u64 = 16 * 1024;

/// Bytes that one read fetches for several pieces. Larger pieces are read straight into place.
const FETCH_MAX: u64 = 256 * 1024;

/// One part of a file, as a stream. May be read from any number of threads.
pub struct PartSource {
    file: Arc<dyn Source>,
    layout: Arc<Layout>,
    part: Part,
    /// Extents are asked for in order by one thread: never waited for.
    cursor: Mutex<ExtentCursor>,
}

impl PartSource {
    /// The stream `part` of `file`, whose layout it is.
    pub fn new(file: Arc<dyn Source>, layout: Arc<Layout>, part: Part) -> PartSource {
        PartSource { file, layout, part, cursor: Mutex::default() }
    }

    /// The extent at `offset`, as far as one piece or one gap reaches.
    fn extent_of_piece(&self, offset: u64) -> Result<Extent, SourceError> {
        let len = self.len().saturating_sub(offset);
        let Some(next) = self.layout.pieces(self.part, offset..self.len()).next() else {
            return Ok(piece(true, offset, len));
        };
        if next.offset > offset {
            return Ok(piece(true, offset, next.offset - offset));
        }
        // The file may be shorter than when the layout was made; what is missing reads as zeros.
        let within = self.file.len().saturating_sub(next.file_offset);
        if within == 0 {
            return Ok(piece(true, offset, next.len));
        }
        let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let found = cursor.extent(&*self.file, next.file_offset, next.len.min(within))?;
        Ok(piece(found.is_hole(), offset, found.len()))
    }
}

impl Source for PartSource {
    fn len(&self) -> u64 {
        self.layout.len(self.part)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
        joined(offset, self.len(), |at| self.extent_of_piece(at))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        let end = offset.saturating_add(buf.len() as u64).min(self.len());
        let mut slots = slots(buf, offset, self.layout.pieces(self.part, offset..end));
        slots.sort_unstable_by_key(|slot| slot.file_offset);
        let mut scratch = Vec::new();
        let mut rest = slots.as_mut_slice();
        while !rest.is_empty() {
            let count = near_count(rest);
            let (near, tail) = rest.split_at_mut(count);
            fetch(&*self.file, near, &mut scratch)?;
            rest = tail;
        }
        Ok(())
    }

    fn changed(&self) -> Result<bool, SourceError> {
        self.file.changed()
    }
}

/// A part of the buffer of a read, and where its bytes lie in the file.
struct Slot<'a> {
    file_offset: u64,
    bytes: &'a mut [u8],
}

impl Slot<'_> {
    fn file_end(&self) -> u64 {
        self.file_offset.saturating_add(self.bytes.len() as u64)
    }
}

/// Divides `buf`, which begins at `offset` of the stream, among `pieces` of that stretch, which
/// are in order; what is in none of them is filled with zeros.
fn slots<'a>(
    mut buf: &'a mut [u8],
    mut offset: u64,
    pieces: impl Iterator<Item = Piece>,
) -> Vec<Slot<'a>> {
    let mut slots = Vec::new();
    for piece in pieces {
        let gap = usize::try_from(piece.offset - offset).unwrap_or(usize::MAX).min(buf.len());
        let (zeros, rest) = buf.split_at_mut(gap);
        zeros.fill(0);
        let len = usize::try_from(piece.len).unwrap_or(usize::MAX).min(rest.len());
        let (bytes, rest) = rest.split_at_mut(len);
        slots.push(Slot { file_offset: piece.file_offset, bytes });
        buf = rest;
        offset = piece.offset + piece.len;
    }
    buf.fill(0);
    slots
}

/// How many of the slots from the first on, at least one, are worth one read.
fn near_count(slots: &[Slot<'_>]) -> usize {
    let Some(first) = slots.first() else { return 0 };
    let is_near = |pair: &[Slot<'_>]| match pair {
        [one, next] => {
            next.file_offset.saturating_sub(one.file_end()) <= GAP_MAX
                && next.file_end() - first.file_offset <= FETCH_MAX
        }
        _ => false,
    };
    1 + slots.windows(2).take_while(|pair| is_near(pair)).count()
}

/// Reads slots that lie together.
fn fetch(
    file: &dyn Source,
    slots: &mut [Slot<'_>],
    scratch: &mut Vec<u8>,
) -> Result<(), SourceError> {
    if let [slot] = slots {
        return file.read_at(slot.bytes, slot.file_offset);
    }
    let (Some(first), Some(last)) = (slots.first(), slots.last()) else { return Ok(()) };
    let start = first.file_offset;
    // At most FETCH_MAX.
    scratch.resize(usize::try_from(last.file_end() - start).unwrap_or(0), 0);
    file.read_at(scratch, start)?;
    for slot in slots {
        let at = usize::try_from(slot.file_offset - start).unwrap_or(usize::MAX);
        if let Some(bytes) = scratch.get(at..).and_then(|rest| rest.get(..slot.bytes.len())) {
            slot.bytes.copy_from_slice(bytes);
        }
    }
    Ok(())
}
