//! One window of a stream, what a scan found in it, and the stitcher that turns the scans of
//! consecutive windows into the pieces of the stream.
//!
//! In: segments in stream order, each with its [`Scan`]; out: the same pieces as if the stream had
//! been cut in one go. Two facts travel from segment to segment: how far the last chunk reached in,
//! and whether a zero run did. Segments that break their contract give wrong pieces, never a panic.

use std::ops::Range;

use crate::page::Candidates;
use crate::zero::ZeroRuns;
use crate::{Cutter, Piece};

/// One window of the stream: the `own` bytes that pieces may start in, followed by enough lookahead
/// to finish them.
///
/// The own parts of consecutive segments (and [`Stitcher::skip_zero`]) make up the stream without
/// gaps; each starts at a page boundary of the stream.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The own part, then the lookahead: at least `own + cutter.lookahead()` bytes unless `last`.
    pub bytes: &'a [u8],
    /// Length of the own part in bytes, at most `bytes.len()`. Whole pages unless the stream ends.
    pub own: usize,
    /// Whether the stream ends where `bytes` ends. True for every segment whose lookahead reaches
    /// the end of the stream, not only for the final one.
    pub last: bool,
    /// Ranges of `bytes` known to be zero (holes of the file), never read: sorted, disjoint, page
    /// aligned; one may end at `bytes.len()`. Each is in the stream at least 64 KiB long (a shorter
    /// one would be taken for a zero run too); the ends of `bytes` may clip it to less.
    pub known_zero: &'a [Range<usize>],
}

impl Segment<'_> {
    /// The length of the own part, in bounds.
    pub(crate) fn own(&self) -> usize {
        self.own.min(self.bytes.len())
    }
}

/// What [`Cutter::scan`] found in one segment. A few hundred bytes per MiB.
#[derive(Clone, Debug)]
pub struct Scan {
    pub(crate) zero: ZeroRuns,
    pub(crate) marks: Marks,
}

/// The possible cuts of a segment, in the form that suits the cutter.
#[derive(Clone, Debug)]
pub(crate) enum Marks {
    /// The pages that may start a chunk.
    Pages(Candidates),
    /// Cuts from guessed positions, see [`crate::FastCdc::speculate`].
    Cuts(Vec<usize>),
}

/// The serial part: carries the position from segment to segment. Costs next to nothing, except
/// that the FastCDC cutter cuts again at a segment's start until it meets the scan's cuts (one or
/// two chunks; all of the segment in periodic data, where the two may never meet).
///
/// Where two stitchers are equal, and so are the segments before them, their pieces are the same, and
/// they are equal again behind them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stitcher {
    /// Bytes of the coming segments that the last chunk covers.
    reached: usize,
    /// Whether the last piece was zero: zero pages that follow belong to its run, however few.
    in_zero: bool,
}

impl Stitcher {
    /// A stitcher at the start of a stream.
    pub fn new() -> Stitcher {
        Stitcher::default()
    }

    /// A stitcher in the middle of a stream, at the place in it where a segment may start: in a chunk,
    /// or at its end, of which `reached` bytes are still to come.
    pub fn in_chunk(reached: usize) -> Stitcher {
        Stitcher { reached, in_zero: false }
    }

    /// The same in a zero run, or at its end.
    pub fn in_zero_run() -> Stitcher {
        Stitcher { reached: 0, in_zero: true }
    }

    /// Appends the pieces that start in this segment's own part to `pieces`. Returns the offset in
    /// `segment.bytes` where the first one starts: 0 unless the previous segment's last chunk
    /// reached into this one; `own` or more if it covers all of it, and then nothing is appended.
    ///
    /// Zero pieces end with the own part at the latest (then the next segment may go on with
    /// another); chunks may reach into the lookahead. `scan` must be `cutter`'s of this `segment`.
    pub fn stitch(
        &mut self,
        cutter: &Cutter,
        segment: &Segment,
        scan: &Scan,
        pieces: &mut Vec<Piece>,
    ) -> usize {
        let own = segment.own();
        let first = self.reached;
        let mut at = first;
        let mut runs = scan.zero.runs.as_slice();
        if at == 0 && self.in_zero {
            at = self.push_zero(scan.zero.leading.min(own), pieces);
        }
        while at < own {
            while let Some((run, later)) = runs.split_first()
                && run.end <= at
            {
                runs = later;
            }
            let run = runs.first().cloned().unwrap_or(segment.bytes.len()..segment.bytes.len());
            if run.start <= at {
                at += self.push_zero(run.end.min(own) - at, pieces);
            } else {
                let extent_end = run.start.min(segment.bytes.len());
                let end = cutter.cut(segment.bytes, scan, at, extent_end);
                pieces.push(Piece::Chunk(end - at));
                self.in_zero = false;
                at = end;
            }
        }
        self.reached = at - own;
        first
    }

    /// A whole segment of `len` bytes (at a page boundary, 64 KiB or more) that is a hole and was
    /// never read: appends it as zero.
    pub fn skip_zero(&mut self, len: u64, pieces: &mut Vec<Piece>) {
        // No chunk reaches into a hole that its segment's lookahead told of; should one do all the
        // same, the pieces still cover the stream.
        let covered = len.min(self.reached as u64);
        self.reached -= covered as usize;
        if len > covered {
            pieces.push(Piece::Zero(len - covered));
            self.in_zero = true;
        }
    }

    /// Appends a zero piece unless it is empty. Returns its length.
    fn push_zero(&mut self, len: usize, pieces: &mut Vec<Piece>) -> usize {
        if len > 0 {
            pieces.push(Piece::Zero(len as u64));
            self.in_zero = true;
        }
        len
    }
}
