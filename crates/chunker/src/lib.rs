//! Content-defined chunking: the bytes of a stream in, chunks and zero runs out. Pure code: no I/O,
//! no threads, no panic on any input.
//!
//! # What the pieces of a stream are
//!
//! A logical stream (a disk image, a file) is divided into [`Piece`]s. The division is a function
//! of the stream's bytes, the [`Sizes`] and the key, and of nothing else: not of segment sizes,
//! threads, or of whether zeros came as holes or as bytes.
//!
//! ```text
//! pages   |d|d|d|0|d|d|d|d|d|d|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|d|d|d|d|d|.
//! runs                        |<------- 16 pages or more ------>|
//! extents |<--- data extent ->|                                 |<- data ->|
//! pieces  |Chunk    |Chunk    |Zero                             |Chunk |Chu|
//! ```
//!
//! 1. The stream is seen as pages of [`PAGE`] bytes, aligned in the stream; the last one may be
//!    partial. A *zero run* is a maximal run of at least [`ZERO_RUN_PAGES`] consecutive pages whose
//!    bytes are all zero; a partial last page counts as a page. A zero run is a [`Piece::Zero`].
//! 2. What lies between zero runs is a *data extent*. The cutter starts anew at each extent's start
//!    and the extent's end is a forced cut, so the bytes around a zero run never mix with it.
//! 3. In an extent each chunk's end follows from the chunk's start alone (cutters have no memory):
//!    no cut closer than `min`, a strict test up to `target`, a loose one up to `max`, a forced cut
//!    at `max` ([`PageCutter`], [`FastCdc`]). Only an extent's last chunk may be below `min`.
//!
//! [`reference::pieces`] says the same in the plainest code and is what the tests compare with.
//!
//! # How a stream is cut by many threads
//!
//! ```text
//! stream   |---- own ----|---- own ----|---- own ----|- own -|
//! segment  |== 0 ========|.. lookahead ..|
//!                        |== 1 ========|.. lookahead ..|
//! scan     [Cutter::scan: each segment by itself, any thread, any order: the work]
//! stitch   [Stitcher: all segments in stream order, one thread: walks bitmaps and lists]
//! ```
//!
//! [`Cutter::scan`] finds zero runs and possible cuts knowing nothing of what came before;
//! [`Stitcher::stitch`] knows where the previous piece ended and picks the true cuts. The lookahead
//! of `max` + 64 KiB ([`Cutter::lookahead`]) lets every chunk that starts in a segment end in it.
#![forbid(unsafe_code)]

mod cutter;
mod fast;
mod page;
pub mod reference;
mod segment;
mod sizes;
mod zero;

pub use cutter::Cutter;
pub use fast::{FastCdc, GearTableError};
pub use page::{PUBLIC_PAGE_KEY, PageCutter};
pub use segment::{Scan, Segment, Stitcher};
pub use sizes::{Sizes, SizesError};

/// Bytes in a page: the unit of zero runs and of the page cutter. 4 KiB is the block of the guests'
/// file systems and page caches, hence the granularity at which equal data turns up elsewhere.
pub const PAGE: usize = 4096;

/// Zero pages in a row from which on they are a zero run: 64 KiB, one target chunk. Shorter runs
/// stay in the data, where they cost less than the cuts and the recipe entry they would force.
pub const ZERO_RUN_PAGES: usize = 16;

/// Bytes of the shortest whole-page zero run.
pub(crate) const ZERO_RUN: usize = ZERO_RUN_PAGES * PAGE;

/// One piece of a stream. Pieces have no position: they follow each other without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A zero run, or a part of one (the neighbour is then `Zero` too), of that many bytes.
    Zero(u64),
    /// A chunk of that many bytes, 1 to [`Sizes::max`].
    Chunk(usize),
}
