//! The stations of the workers: a window is read and scanned, cut, and its chunks get their names and are looked up.
//!
//! In: steps with windows. Out: steps with named chunks. One job takes a window through all three, while it is in the cache
//! of one core; a window waits for what the one before it has read, and the cut for that of the step before. What is as in a
//! base has no work but there: it is taken if the stitcher stands as it stood when the base was cut, which nobody knows
//! before; else it is read in the cut, while others wait.

use std::ops::Range;
use std::sync::Arc;

use garret_chunker::{Piece, Scan, Segment, Stitcher};
use garret_format::ChunkId;
use garret_format::recipe::CutterKind;
use garret_image::SourceError;

use super::cutters::Cutters;
use super::step::{Body, Same, Step};
use super::window::{Loaded, Window};
use crate::buffers::{Buffer, BufferPool};
use crate::keys::chunk::ChunkHasher;
use crate::objects::group::SharedBytes;
use crate::objects::index::Index;
use crate::pipeline::Turn;

/// What the workers share.
pub(super) struct Tools<'r> {
    pub(super) cutters: Cutters,
    pub(super) hasher: &'r ChunkHasher,
    /// What the repository had before the backup.
    pub(super) index: Index,
    pub(super) buffers: BufferPool,
}

/// From a window of a stream to its chunks and their names.
pub(super) fn into_chunks(
    step: Step<(Window, CutterKind)>,
    turn: Turn<Cutting>,
    tools: &Tools<'_>,
) -> Step<Hashed> {
    let scanned = step.map(|window| scan(window, tools));
    let cut = turn.take(|cutting| cut(scanned, cutting, tools));
    cut.map(|cut| Ok(hash(cut, tools)))
}

/// First station: reads a window, finds its zero runs and possible cuts.
fn scan((window, cutter): (Window, CutterKind), tools: &Tools<'_>) -> Result<Scanned, SourceError> {
    let loaded = window.load(&tools.buffers)?;
    let scan = tools.cutters.get(cutter).scan(&segment(&loaded));
    Ok(Scanned { loaded, cutter, scan })
}

/// A window and where its stream may be cut.
struct Scanned {
    loaded: Loaded,
    cutter: CutterKind,
    scan: Scan,
}

fn segment(loaded: &Loaded) -> Segment<'_> {
    Segment {
        bytes: loaded.buffer.bytes(),
        own: loaded.own,
        last: loaded.last,
        known_zero: &loaded.known_zero,
    }
}

/// What goes from one cut to the next.
#[derive(Default)]
pub(super) struct Cutting {
    stitcher: Stitcher,
    /// Whether the file ended in a window before, so that what was planned behind it does not exist.
    ended: bool,
}

/// Second station: which of the possible cuts are cuts.
fn cut(mut step: Step<Scanned>, cutting: &mut Cutting, tools: &Tools<'_>) -> Step<Cut> {
    if step.begin.is_some() {
        cutting.ended = false;
    }
    if step.fresh {
        cutting.stitcher = Stitcher::new();
    }
    if cutting.ended && !matches!(step.body, Body::Window(Err(_))) {
        step.body = Body::Nothing;
    }
    if let Body::Hole(len) = step.body {
        // The recipe takes the run from the step; only the stitcher must know of it.
        cutting.stitcher.skip_zero(len, &mut Vec::new());
    }
    step.body = match step.body {
        Body::Same(same) => cutting.same(same, tools),
        other => other,
    };
    step.map(|Scanned { loaded, cutter, scan }| {
        let mut pieces = Vec::new();
        let cutter = tools.cutters.get(cutter);
        let start = cutting.stitcher.stitch(cutter, &segment(&loaded), &scan, &mut pieces);
        cutting.ended = loaded.short;
        Ok(Cut { buffer: loaded.buffer, start, pieces })
    })
}

impl Cutting {
    /// Takes what the base has, if it is what cutting would give.
    fn same(&mut self, same: Box<Same>, tools: &Tools<'_>) -> Body<Scanned> {
        if self.stitcher == same.known.before {
            self.stitcher = same.known.after.clone();
            return Body::Same(same);
        }
        Body::Window(scan((same.window, same.cutter), tools))
    }
}

/// A window that is cut.
pub(super) struct Cut {
    buffer: Arc<Buffer>,
    /// Where the first piece starts in the buffer.
    start: usize,
    pub(super) pieces: Vec<Piece>,
}

/// A window whose chunks have their names.
pub(super) struct Hashed {
    pub(super) cut: Cut,
    /// The chunks among the pieces, in order: the id of each, and whether the repository had it before.
    pub(super) chunks: Vec<(ChunkId, bool)>,
}

/// Third station: names the chunks and looks them up.
fn hash(cut: Cut, tools: &Tools<'_>) -> Hashed {
    let name = |place: Range<usize>| {
        let id = tools.hasher.hash(cut.buffer.bytes().get(place).unwrap_or_default());
        (id, tools.index.contains(&id))
    };
    Hashed { chunks: cut.chunks().map(name).collect(), cut }
}

impl Cut {
    /// Where the chunks among the pieces lie in the window, in order.
    pub(super) fn chunks(&self) -> impl Iterator<Item = Range<usize>> {
        let mut at = self.start;
        self.pieces.iter().filter_map(move |piece| {
            let start = at;
            match *piece {
                Piece::Zero(len) => at += len as usize,
                Piece::Chunk(len) => at += len,
            }
            matches!(piece, Piece::Chunk(_)).then_some(start..at)
        })
    }

    /// What was read, for whoever has chunks in it.
    pub(super) fn window(&self) -> SharedBytes {
        self.buffer.clone()
    }
}
