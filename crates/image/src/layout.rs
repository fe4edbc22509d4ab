//! Where the bytes of a divided file lie: the map between a file and the two streams made of it.
//!
//! ```text
//! file     |h|t| b |    a    |t| c |x|      h header, t tables, x trailing bytes
//! guest    |    a    |....| b |....| c |    in guest order; ... is nowhere in the file, hence zero
//! residue  |h|t|t|x|                        all the rest, in file order
//! ```
//!
//! In: the runs of the guest stream, or the bytes of an encoded layout. Out: [`Layout`], which
//! answers where a range of either stream lies in the file, and [`FileOrder`], which answers where
//! a range of the file lies in the streams. One behind the other, guest and residue are *the* stream
//! of the file.
//!
//! Promises. Every byte of the file lies in one of the two streams, once: the runs are checked to be
//! disjoint and the residue is their complement. So whoever writes both streams to the places that
//! the layout names has the file back, knowing nothing of its format. No input causes a panic or
//! more memory than 24 bytes for each of [`RUNS_MAX`] runs and as much for the gaps between them.
//!
//! Encoding: canonical LEB128 varints (see `varint.rs`). First the length of the guest stream in
//! bytes, then nothing more if there are no runs, else the unit (its logarithm: the largest power
//! of two that divides all numbers that follow, at most 63) and for each run, in guest order and
//! in units:
//!
//! | number | meaning | must be |
//! | --- | --- | --- |
//! | gap | from the end of the run before in the stream (from 0 for the first) | |
//! | step | from the end of the run before in the file (from 0), signed: 2n or -2n - 1 | |
//! | len | length of the run | >= 1; runs that touch in both are one run: not gap = step = 0 |
//!
//! All is relative to the run before: an image written in order is a handful of bytes, and a moved
//! cluster changes a few bytes in one place, so most chunks are those of the night before.

use std::ops::Range;

use crate::varint::{push_varint, take_varint};

mod file_order;

pub use file_order::FileOrder;

/// Runs of a layout, at most: 384 MiB of memory. That is 1 TiB in clusters of 64 KiB of which no
/// two lie together.
pub const RUNS_MAX: usize = 1 << 24;

/// One of the two streams that a file is divided into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The guest's disk, in the order of its addresses. What is in no run reads as zeros.
    Guest,
    /// Every other byte of the file, in file order and without gaps.
    Residue,
}

/// Bytes that lie together both in a stream and in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// First byte in the stream.
    pub offset: u64,
    /// First byte in the file.
    pub file_offset: u64,
    /// Bytes, at least 1.
    pub len: u64,
}

impl Piece {
    /// Ends do not overflow: the pieces of a layout were checked to end within their streams.
    fn end(&self) -> u64 {
        self.offset + self.len
    }

    fn file_end(&self) -> u64 {
        self.file_offset + self.len
    }

    /// The part of it from `skip` bytes on, `len` bytes at most.
    fn part(&self, skip: u64, len: u64) -> Piece {
        Piece {
            offset: self.offset + skip,
            file_offset: self.file_offset + skip,
            len: (self.len - skip).min(len),
        }
    }
}

/// The lengths of a file and of the guest stream in it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lens {
    /// The file.
    pub file: u64,
    /// The guest stream, whether in the file or not.
    pub guest: u64,
}

/// Runs or bytes that are no layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The encoding breaks a rule.
    #[error("layout is invalid at byte {offset}: {what}")]
    Malformed {
        /// Where in the encoded layout, in bytes.
        offset: usize,
        /// The rule.
        what: &'static str,
    },
    /// A run is empty, not behind the one before it, or not within the stream and the file.
    #[error("layout has a run at {offset} of the stream that is out of order or out of range")]
    OutOfRange {
        /// Where the run starts in the guest stream, in bytes.
        offset: u64,
    },
    /// The file or the guest stream is longer than any file can be.
    #[error("layout is of {len} bytes, which no file has")]
    TooLong {
        /// Its length in bytes.
        len: u64,
    },
    /// Two runs share bytes of the file.
    #[error("layout uses byte {file_offset} of the file twice")]
    Overlap {
        /// The first such byte.
        file_offset: u64,
    },
    /// More than [`RUNS_MAX`] runs.
    #[error("layout has more than {RUNS_MAX} runs")]
    TooManyRuns,
}

/// The division of a file into guest stream and residue. Costs: see the file's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    lens: Lens,
    /// Sorted by stream offset, disjoint in both, none touching the next in both.
    guest: Vec<Piece>,
    /// The complement of `guest` in the file: sorted and without gaps in the stream.
    residue: Vec<Piece>,
}

impl Layout {
    /// The layout of a file whose guest stream lies in the given runs, in the stream's order.
    ///
    /// # Errors
    /// `OutOfRange` for a run that is empty, out of order or not within `lens`; `Overlap`; `TooManyRuns`; `TooLong`.
    pub fn new(lens: Lens, runs: impl IntoIterator<Item = Piece>) -> Result<Layout, LayoutError> {
        let mut collected = Runs::new(lens);
        runs.into_iter().try_for_each(|run| collected.push(run))?;
        collected.finish()
    }

    /// Bytes of the file.
    pub fn file_len(&self) -> u64 {
        self.lens.file
    }

    /// Bytes of a stream. The residue is never longer than the file; the guest stream may be.
    pub fn len(&self, part: Part) -> u64 {
        match part {
            Part::Guest => self.lens.guest,
            Part::Residue => self.residue.last().map_or(0, Piece::end),
        }
    }

    /// Bytes of both streams, one behind the other.
    pub fn stream_len(&self) -> u64 {
        // Both are below 2^63.
        self.len(Part::Guest) + self.len(Part::Residue)
    }

    /// Where a part begins in the stream of both.
    pub fn start(&self, part: Part) -> u64 {
        match part {
            Part::Guest => 0,
            Part::Residue => self.lens.guest,
        }
    }

    /// As [`pieces`](Self::pieces), of the stream of both.
    pub fn stream_pieces(&self, range: Range<u64>) -> impl Iterator<Item = Piece> + '_ {
        [Part::Guest, Part::Residue].into_iter().flat_map(move |part| {
            let start = self.start(part);
            let within = range.start.saturating_sub(start)..range.end.saturating_sub(start);
            let shift = move |piece: Piece| Piece { offset: piece.offset + start, ..piece };
            self.pieces(part, within.start..within.end.min(self.len(part))).map(shift)
        })
    }

    /// Bytes of the guest stream that are in the file.
    pub fn data_len(&self) -> u64 {
        self.file_len() - self.len(Part::Residue)
    }

    /// Runs of the guest stream.
    pub fn run_count(&self) -> usize {
        self.guest.len()
    }

    /// Where the bytes of `range` of a stream lie in the file: in the stream's order, clipped to
    /// the range. What is in no piece is not in the file. Costs a binary search and one step per
    /// piece.
    pub fn pieces(&self, part: Part, range: Range<u64>) -> impl Iterator<Item = Piece> + '_ {
        let all = match part {
            Part::Guest => &self.guest,
            Part::Residue => &self.residue,
        };
        let first = all.partition_point(|piece| piece.end() <= range.start);
        let tail = all.iter().skip(first);
        tail.take_while(move |piece| piece.offset.max(range.start) < range.end).map(move |piece| {
            let skip = range.start.saturating_sub(piece.offset);
            piece.part(skip, range.end - piece.offset - skip)
        })
    }

    /// Whether no byte of `range` of the file is in the guest stream. What lies past the end of
    /// the file is in no stream.
    pub(crate) fn is_residue(&self, range: Range<u64>) -> bool {
        let end = range.end.min(self.lens.file);
        let at = self.residue.partition_point(|piece| piece.file_end() <= range.start);
        range.start >= end
            || self
                .residue
                .get(at)
                .is_some_and(|piece| piece.file_offset <= range.start && piece.file_end() >= end)
    }

    /// The layout as bytes, in the encoding that the file's documentation describes: at most 30
    /// bytes per run, 3 to 6 as a rule.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        push_varint(&mut bytes, self.lens.guest);
        let bits =
            self.guest.iter().fold(0, |all, run| all | run.offset | run.file_offset | run.len);
        if bits == 0 {
            return bytes;
        }
        let unit = bits.trailing_zeros();
        push_varint(&mut bytes, u64::from(unit));
        let (mut end, mut file_end) = (0, 0);
        for run in &self.guest {
            push_varint(&mut bytes, (run.offset - end) >> unit);
            push_varint(&mut bytes, encode_step(file_end, run.file_offset, unit));
            push_varint(&mut bytes, run.len >> unit);
            (end, file_end) = (run.end(), run.file_end());
        }
        bytes
    }

    /// The layout of a file of `file_len` bytes from its encoding. Total: any input gives a layout
    /// that encodes to exactly this input, or an error. Allocates at most 16 times the input.
    ///
    /// # Errors
    /// `Malformed` if it breaks a rule of the encoding; else as of [`new`](Self::new).
    pub fn decode(bytes: &[u8], file_len: u64) -> Result<Layout, LayoutError> {
        let mut decoder = Decoder { bytes, rest: bytes };
        let guest = decoder.number()?;
        let mut runs = Runs::new(Lens { file: file_len, guest });
        if decoder.rest.is_empty() {
            return runs.finish();
        }
        let unit = decoder.unit()?;
        let mut bits = 0;
        loop {
            let before = runs.pieces.last().copied();
            let run = decoder.run(before, unit)?;
            bits |= run.offset | run.file_offset | run.len;
            runs.push(run)?;
            if decoder.rest.is_empty() {
                break;
            }
        }
        if bits.trailing_zeros() != unit {
            return Err(decoder.fail("the unit could be larger"));
        }
        runs.finish()
    }
}

/// The signed distance between two places in the file, in units, as an unsigned number.
/// Lengths of files are below 2^63 (`off_t`), and a layout of more is refused by [`Runs`].
fn encode_step(from: u64, to: u64, unit: u32) -> u64 {
    if to >= from { ((to - from) >> unit) << 1 } else { ((((from - to) >> unit) - 1) << 1) | 1 }
}

fn decode_step(from: u64, step: u64, unit: u32) -> Option<u64> {
    let distance = |units: u64| units.checked_shl(unit).filter(|bytes| bytes >> unit == units);
    if step & 1 == 0 {
        from.checked_add(distance(step >> 1)?)
    } else {
        from.checked_sub(distance((step >> 1) + 1)?)
    }
}

struct Decoder<'a> {
    bytes: &'a [u8],
    rest: &'a [u8],
}

impl Decoder<'_> {
    fn fail(&self, what: &'static str) -> LayoutError {
        LayoutError::Malformed { offset: self.bytes.len() - self.rest.len(), what }
    }

    fn number(&mut self) -> Result<u64, LayoutError> {
        take_varint(&mut self.rest).map_err(|what| self.fail(what))
    }

    fn unit(&mut self) -> Result<u32, LayoutError> {
        let unit = self.number()?;
        u32::try_from(unit)
            .ok()
            .filter(|unit| *unit < u64::BITS)
            .ok_or_else(|| self.fail("unit exceeds 64 bits"))
    }

    fn bytes(&mut self, unit: u32) -> Result<u64, LayoutError> {
        let units = self.number()?;
        let bytes = units << unit;
        if bytes >> unit == units { Ok(bytes) } else { Err(self.fail("number exceeds 64 bits")) }
    }

    fn run(&mut self, before: Option<Piece>, unit: u32) -> Result<Piece, LayoutError> {
        let (end, file_end) = before.map_or((0, 0), |run| (run.end(), run.file_end()));
        let offset = end.checked_add(self.bytes(unit)?);
        let step = self.number()?;
        let file_offset = decode_step(file_end, step, unit);
        let len = self.bytes(unit)?;
        match (offset, file_offset) {
            (Some(offset), Some(file_offset)) if before.is_none() || offset != end || step != 0 => {
                Ok(Piece { offset, file_offset, len })
            }
            (Some(_), Some(_)) => Err(self.fail("two runs that are one")),
            _ => Err(self.fail("number exceeds 64 bits")),
        }
    }
}

/// A layout in the making: runs of the guest stream in order, joined where they touch.
pub(crate) struct Runs {
    lens: Lens,
    pieces: Vec<Piece>,
}

impl Runs {
    pub(crate) fn new(lens: Lens) -> Runs {
        Runs { lens, pieces: Vec::new() }
    }

    /// Appends a run. What is checked here makes the sums of the other functions safe.
    pub(crate) fn push(&mut self, run: Piece) -> Result<(), LayoutError> {
        let is_full = self.pieces.len() == RUNS_MAX;
        let last = self.pieces.last_mut();
        let (end, file_end) = last.as_ref().map_or((0, 0), |last| (last.end(), last.file_end()));
        let fits = |start: u64, total: u64| {
            start.checked_add(run.len).is_some_and(|end| end <= total.min(i64::MAX as u64))
        };
        let sound = run.len > 0
            && run.offset >= end
            && fits(run.offset, self.lens.guest)
            && fits(run.file_offset, self.lens.file);
        if !sound {
            return Err(LayoutError::OutOfRange { offset: run.offset });
        }
        match last {
            Some(last) if end == run.offset && file_end == run.file_offset => last.len += run.len,
            _ if is_full => return Err(LayoutError::TooManyRuns),
            _ => self.pieces.push(run),
        }
        Ok(())
    }

    /// Sorts the runs by their place in the file to find overlaps and what lies between them, then
    /// back: linear for a file that was written in order, and no second copy.
    pub(crate) fn finish(mut self) -> Result<Layout, LayoutError> {
        // Also where there is no run: the sum of the streams is that of both.
        let len = self.lens.file.max(self.lens.guest);
        if len > i64::MAX as u64 {
            return Err(LayoutError::TooLong { len });
        }
        self.pieces.sort_unstable_by_key(|run| run.file_offset);
        let mut residue = Vec::new();
        let (mut offset, mut at) = (0, 0);
        let mut gap = |from: u64, to: u64| {
            if from < to {
                residue.push(Piece { offset, file_offset: from, len: to - from });
                offset += to - from;
            }
        };
        for run in &self.pieces {
            if run.file_offset < at {
                return Err(LayoutError::Overlap { file_offset: run.file_offset });
            }
            gap(at, run.file_offset);
            at = run.file_end();
        }
        gap(at, self.lens.file);
        self.pieces.sort_unstable_by_key(|run| run.offset);
        self.pieces.shrink_to_fit();
        residue.shrink_to_fit();
        Ok(Layout { lens: self.lens, guest: self.pieces, residue })
    }
}

#[cfg(test)]
mod tests;
