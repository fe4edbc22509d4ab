//! A layout seen from the file: which stream each byte lies in.
//!
//! In: a layout and ranges of the file. Out: pieces in file order. For whoever has the two streams
//! and wants the file from its beginning to its end: a restore into a pipe, a view of the file.

use std::ops::Range;
use std::sync::Arc;

use super::{Layout, Part, Piece};

/// The same division seen from the file. Costs 4 bytes per run besides the layout.
#[derive(Debug, Clone)]
pub struct FileOrder {
    layout: Arc<Layout>,
    /// The runs of the guest stream, sorted by their place in the file.
    guest: Vec<u32>,
}

impl FileOrder {
    /// Sorts the runs of `layout`.
    pub fn new(layout: Arc<Layout>) -> FileOrder {
        // Fits: a layout has at most RUNS_MAX runs.
        let mut guest: Vec<u32> = (0..layout.guest.len() as u32).collect();
        guest.sort_unstable_by_key(|&at| run_at(&layout, at).map_or(0, |run| run.file_offset));
        FileOrder { layout, guest }
    }

    /// The layout that this is the other side of.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What `range` of the file is made of: pieces in file order and without gaps, each with the
    /// stream it lies in, clipped to the range and to the end of the file.
    pub fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = (Part, Piece)> + '_ {
        let layout = &*self.layout;
        let before = |piece: &Piece| piece.file_end() <= range.start;
        let first = self.guest.partition_point(|&at| run_at(layout, at).is_some_and(before));
        let guest = self.guest.iter().skip(first).filter_map(|&at| run_at(layout, at));
        let first = layout.residue.partition_point(before);
        let mut residue = layout.residue.iter().skip(first).peekable();
        let mut guest = guest.peekable();
        let merged = std::iter::from_fn(move || {
            let next_residue = residue.peek().map_or(u64::MAX, |piece| piece.file_offset);
            match guest.next_if(|run| run.file_offset < next_residue) {
                Some(run) => Some((Part::Guest, run)),
                None => residue.next().map(|piece| (Part::Residue, piece)),
            }
        });
        merged.take_while(move |(_, piece)| piece.file_offset.max(range.start) < range.end).map(
            move |(part, piece)| {
                let skip = range.start.saturating_sub(piece.file_offset);
                (part, piece.part(skip, range.end - piece.file_offset - skip))
            },
        )
    }
}

fn run_at(layout: &Layout, at: u32) -> Option<&Piece> {
    layout.guest.get(at as usize)
}
