//! The end of the chain: admits new chunks, writes the recipe of each stream, the items, and counts.

use std::collections::HashSet;

use format::archive::{Content, Item, ItemKind};
use format::recipe::Recipe;

use super::{Body, Draft, End, Hashed, Planned, Step};
use crate::cutters::Cutters;
use crate::error::{Error, Result};
use crate::progress::{Problem, Progress};
use crate::recipe::RecipeWriter;
use crate::stream::{StreamWriter, store_side};
use crate::write::ChunkWriter;

use chunker::Piece;

/// What the archive will say of its items.
pub(super) struct Collected {
    pub(super) items: Recipe,
    pub(super) original_len: u64,
    pub(super) file_count: u64,
    pub(super) problem_count: u64,
    pub(super) untouched_bytes: u64,
    pub(super) hole_bytes: u64,
}

/// Takes steps in the order of the plan.
pub(super) struct Collector<'c> {
    cutters: &'c Cutters,
    progress: &'c dyn Progress,
    items: StreamWriter<'c>,
    item_count: u64,
    open: Option<Open>,
    /// Files that could not be read, of those that later items may be other names of.
    failed: HashSet<Vec<u8>>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    original_len: u64,
    file_count: u64,
    problem_count: u64,
    untouched_bytes: u64,
    hole_bytes: u64,
}

/// The stream that is being collected.
struct Open {
    item: Item,
    recipe: RecipeWriter,
    len: u64,
    failed: bool,
}

impl<'c> Collector<'c> {
    pub(super) fn new(cutters: &'c Cutters, progress: &'c dyn Progress) -> Self {
        Collector {
            cutters,
            progress,
            items: StreamWriter::new(&cutters.fastcdc),
            item_count: 0,
            open: None,
            failed: HashSet::new(),
            counts: Counts::default(),
        }
    }

    pub(super) fn take(
        &mut self,
        step: Step<Hashed>,
        writer: &mut ChunkWriter<'_, '_>,
    ) -> Result<()> {
        for planned in step.before {
            match planned {
                Planned::Item(item) => self.whole(&item, writer)?,
                Planned::Problem(error) => self.problem(Problem::new(&error)),
            }
        }
        if let Some(draft) = step.begin {
            let Draft { item, cutter } = *draft;
            let recipe = RecipeWriter::new(cutter);
            self.open = Some(Open { item, recipe, len: 0, failed: false });
        }
        self.progress.advance(step.advance);
        match step.body {
            Body::Nothing => {}
            Body::Hole(len) => {
                if let Some(open) = &mut self.open {
                    open.len += len;
                    open.recipe.zero(len, writer)?;
                }
            }
            Body::Window(Ok(hashed)) => self.window(&hashed, writer)?,
            Body::Window(Err(error)) => {
                self.problem(Problem::new(&error));
                if let Some(open) = &mut self.open {
                    open.failed = true;
                }
            }
        }
        match step.end {
            Some(end) => self.end(end, writer),
            None => Ok(()),
        }
    }

    /// An item that lacks nothing.
    fn whole(&mut self, item: &Item, writer: &mut ChunkWriter<'_, '_>) -> Result<()> {
        match &item.kind {
            ItemKind::File(_) => self.counts.untouched_bytes += item.size,
            ItemKind::HardLink(first) if self.failed.contains(first) => {
                let [path, first] = [&item.path, first].map(|path| String::from_utf8_lossy(path));
                let why = format!("it is {first}, which could not be read");
                self.problem(Problem { text: format!("{path}: not stored: {why}") });
                return Ok(());
            }
            _ => {}
        }
        self.push(item, writer)
    }

    fn window(&mut self, hashed: &Hashed, writer: &mut ChunkWriter<'_, '_>) -> Result<()> {
        let Hashed { cut, ids } = hashed;
        let Some(open) = self.open.as_mut().filter(|open| !open.failed) else { return Ok(()) };
        let mut chunks = ids.iter().zip(cut.chunks());
        for piece in &cut.pieces {
            match *piece {
                Piece::Zero(len) => {
                    open.len += len;
                    open.recipe.zero(len, writer)?;
                }
                Piece::Chunk(len) => {
                    let Some((id, bytes)) = chunks.next() else { continue };
                    writer.admit(*id, bytes)?;
                    open.len += len as u64;
                    open.recipe.chunk(*id, len as u32, writer)?;
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, end: End, writer: &mut ChunkWriter<'_, '_>) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        if open.failed {
            if open.item.linked {
                self.failed.insert(open.item.path);
            }
            return Ok(());
        }
        let Open { mut item, recipe, len, .. } = open;
        let End { layout, allocation, source } = end;
        match source.map_or(Ok(false), |source| source.changed()) {
            Ok(changed) => item.changed = changed,
            Err(error) => self.problem(Problem::new(&error)),
        }
        if item.changed {
            let path = String::from_utf8_lossy(&item.path).into_owned();
            self.problem(Problem {
                text: format!("{path}: changed while it was read; stored as it was read"),
            });
        }
        let allocation = allocation.unwrap_or_default();
        self.counts.hole_bytes += allocation.hole_len();
        if layout.is_empty() {
            item.size = len;
        } else {
            self.progress.advance(allocation.hole_len());
        }
        let allocation = if allocation.is_dense() { Vec::new() } else { allocation.encode() };
        let fastcdc = &self.cutters.fastcdc;
        item.kind = ItemKind::File(Content {
            layout: store_side(layout, fastcdc, writer)?,
            allocation: store_side(allocation, fastcdc, writer)?,
            recipe: recipe.finish(writer)?,
            unreadable: Vec::new(),
        });
        self.push(&item, writer)
    }

    fn push(&mut self, item: &Item, writer: &mut ChunkWriter<'_, '_>) -> Result<()> {
        self.item_count += 1;
        if matches!(item.kind, ItemKind::File(_)) {
            self.counts.file_count += 1;
            self.counts.original_len += item.size;
        }
        self.items.push(&item.encode(), writer)
    }

    fn problem(&mut self, problem: Problem) {
        self.counts.problem_count += 1;
        self.progress.problem(&problem);
    }

    /// Closes the item stream.
    ///
    /// # Errors
    /// `NothingStored` if there were problems and no item.
    pub(super) fn finish(self, writer: &mut ChunkWriter<'_, '_>) -> Result<Collected> {
        let counts = self.counts;
        if self.item_count == 0 && counts.problem_count > 0 {
            return Err(Error::NothingStored);
        }
        Ok(Collected {
            items: self.items.finish(writer)?,
            original_len: counts.original_len,
            file_count: counts.file_count,
            problem_count: counts.problem_count,
            untouched_bytes: counts.untouched_bytes,
            hole_bytes: counts.hole_bytes,
        })
    }
}
