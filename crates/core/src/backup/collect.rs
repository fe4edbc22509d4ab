//! The end of the chain: admits new chunks, writes the recipe of each stream, the items, and counts.

use std::collections::HashSet;
use std::ops::Range;

use garret_format::archive::{Content, Item, ItemKind, PROBLEM_LEN_MAX, PROBLEMS_MAX};
use garret_format::recipe::{Entry, Recipe};

use super::elsewhere::{Elsewhere, remember};
use super::reading::Reading;
use super::stations::Hashed;
use super::step::{Body, Draft, End, Planned, Step};
use crate::backup::cutters::Cutters;
use crate::error::{Cause, Error, Result};
use crate::objects::group::ChunkBytes;
use crate::objects::recipe::RecipeWriter;
use crate::objects::stream::{StreamWriter, store_side};
use crate::progress::{Problem, ProblemKind, Progress, Task};
use crate::write::ChunkWriter;

use garret_chunker::Piece;
use garret_image::Source;

/// What the archive will say of its items.
pub(super) struct Collected {
    pub(super) items: Recipe,
    pub(super) counts: Counts,
    /// The first of the problems in words, as an archive has them.
    pub(super) problems: Vec<String>,
    /// Files that disks in the archive need besides their images.
    pub(super) elsewhere: Vec<Elsewhere>,
}

/// Takes steps in the order of the plan.
pub(super) struct Collector<'c> {
    cutters: &'c Cutters,
    progress: &'c dyn Progress,
    task: &'c dyn Task,
    items: StreamWriter<'c>,
    item_count: u64,
    open: Option<OpenRecipe>,
    /// Files that could not be read, of those that later items may be other names of.
    failed: HashSet<Vec<u8>>,
    problems: Vec<String>,
    elsewhere: Vec<Elsewhere>,
    counts: Counts,
}

/// What was counted on the way.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    /// Bytes of files, as they say of themselves.
    pub(super) original_len: u64,
    pub(super) file_count: u64,
    pub(super) problem_count: u64,
    /// Bytes that were not read: of files as the previous archive has them, of what is the same as in a base, and of holes.
    pub(super) untouched_bytes: u64,
    pub(super) same_bytes: u64,
    pub(super) hole_bytes: u64,
}

impl Counts {
    /// Bytes of files that were read.
    pub(super) fn read_len(&self) -> u64 {
        let unread = self.untouched_bytes.saturating_add(self.same_bytes);
        self.original_len.saturating_sub(unread.saturating_add(self.hole_bytes))
    }
}

/// The stream that is being collected.
struct OpenRecipe {
    item: Item,
    recipe: RecipeWriter,
    len: u64,
    /// The first error of a pipe, or of a file that does not tell itself why it is lost.
    failed: Option<Problem>,
}

impl<'c> Collector<'c> {
    pub(super) fn new(
        cutters: &'c Cutters,
        progress: &'c dyn Progress,
        task: &'c dyn Task,
    ) -> Self {
        Collector {
            cutters,
            progress,
            task,
            items: StreamWriter::of_items(&cutters.fastcdc),
            item_count: 0,
            open: None,
            failed: HashSet::new(),
            problems: Vec::new(),
            elsewhere: Vec::new(),
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
                Planned::Problem(problem) => self.problem(problem),
                Planned::Elsewhere(elsewhere) => remember(&mut self.elsewhere, elsewhere),
            }
        }
        if let Some(draft) = step.begin {
            let Draft { item, cutter } = *draft;
            let recipe = RecipeWriter::new(cutter);
            self.open = Some(OpenRecipe { item, recipe, len: 0, failed: None });
        }
        self.task.advance(step.advance);
        match step.body {
            Body::Nothing => {}
            Body::Hole(len) => {
                if let Some(open) = &mut self.open {
                    open.len += len;
                    open.recipe.zero(len, writer)?;
                }
            }
            Body::Same(same) => self.same(&same.known.entries, writer)?,
            Body::Window(Ok(hashed)) => self.window(&hashed, writer)?,
            Body::Window(Err(error)) => {
                if let Some(open) = &mut self.open {
                    open.failed.get_or_insert_with(|| Problem::unread(&error));
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
            ItemKind::File(_) => grow(&mut self.counts.untouched_bytes, item.size),
            ItemKind::HardLink(first) if self.failed.contains(first) => {
                let [path, first] = [&item.path, first].map(|path| String::from_utf8_lossy(path));
                let why = format!("it is {first}, which could not be read");
                let what = format!("not stored: {why}");
                self.problem(Problem::loss(Cause::Unreadable, path, what));
                return Ok(());
            }
            _ => {}
        }
        self.push(item, writer)
    }

    fn window(&mut self, hashed: &Hashed, writer: &mut ChunkWriter<'_, '_>) -> Result<()> {
        let Hashed { cut, chunks } = hashed;
        let Some(open) = self.open.as_mut().filter(|open| open.failed.is_none()) else {
            return Ok(());
        };
        let (window, mut chunks) = (cut.window(), chunks.iter().zip(cut.chunks()));
        for piece in &cut.pieces {
            match *piece {
                Piece::Zero(len) => {
                    open.len += len;
                    open.recipe.zero(len, writer)?;
                }
                Piece::Chunk(len) => {
                    let Some(((id, is_known), place)) = chunks.next() else { continue };
                    if !is_known {
                        writer.admit(*id, ChunkBytes::InWindow(&window, place))?;
                    }
                    open.len += len as u64;
                    open.recipe.chunk(*id, len as u32, writer)?;
                }
            }
        }
        Ok(())
    }

    /// What a base has: its chunks are in the repository.
    fn same(&mut self, entries: &[Entry], writer: &mut ChunkWriter<'_, '_>) -> Result<()> {
        let Some(open) = self.open.as_mut().filter(|open| open.failed.is_none()) else {
            return Ok(());
        };
        for entry in entries {
            open.len += entry.len();
            grow(&mut self.counts.same_bytes, entry.len());
            match *entry {
                Entry::Zero { len } => open.recipe.zero(len, writer)?,
                Entry::Chunk { id, len } => open.recipe.chunk(id, len, writer)?,
            }
        }
        Ok(())
    }

    fn end(&mut self, end: End, writer: &mut ChunkWriter<'_, '_>) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let OpenRecipe { mut item, recipe, len, failed } = open;
        let End { layout, allocation, reading } = end;
        let loss = reading.as_ref().and_then(|reading| reading.loss());
        if let Some(problem) = loss.or(failed) {
            self.problem(problem);
            if item.linked {
                self.failed.insert(item.path);
            }
            return Ok(());
        }
        if layout.is_empty() {
            item.size = len;
        }
        let unreadable = match reading {
            Some(reading) => self.tell(&mut item, &reading),
            None => Vec::new(),
        };
        // The file may be shorter than it was when its holes were looked up.
        let allocation = allocation.map(|map| map.clipped(item.size)).unwrap_or_default();
        grow(&mut self.counts.hole_bytes, allocation.hole_len());
        if !layout.is_empty() {
            self.task.advance(allocation.hole_len());
        }
        let allocation = if allocation.is_dense() { Vec::new() } else { allocation.encode() };
        let fastcdc = &self.cutters.fastcdc;
        item.kind = ItemKind::File(Content {
            layout: store_side(layout, fastcdc, writer)?,
            allocation: store_side(allocation, fastcdc, writer)?,
            recipe: recipe.finish(writer)?,
            unreadable,
        });
        self.push(&item, writer)
    }

    /// Says what a file is not as it should be, and gives the stretches of it that could not be read.
    fn tell(&mut self, item: &mut Item, reading: &Reading) -> Vec<Range<u64>> {
        let path = || String::from_utf8_lossy(&item.path).into_owned();
        match reading.changed() {
            Ok(true) => {
                let what = "changed while it was read; stored as it was read";
                self.problem(Problem::warning(Cause::Changed, path(), what));
                item.changed = true;
            }
            Ok(false) => {}
            Err(error) => {
                let kind = ProblemKind::Warning;
                self.problem(Problem { kind, ..Problem::unread(&error) });
            }
        }
        let (unreadable, problem) = reading.unreadable(item.size);
        if let Some(problem) = problem {
            self.problem(problem);
        }
        unreadable
    }

    fn push(&mut self, item: &Item, writer: &mut ChunkWriter<'_, '_>) -> Result<()> {
        self.item_count += 1;
        if matches!(item.kind, ItemKind::File(_)) {
            self.counts.file_count += 1;
            grow(&mut self.counts.original_len, item.size);
        }
        self.items.push(&item.encode(), writer)
    }

    fn problem(&mut self, problem: Problem) {
        self.progress.problem(&problem);
        if problem.kind == ProblemKind::Warning {
            return;
        }
        self.counts.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            let mut text = problem.text;
            text.truncate(text.floor_char_boundary(PROBLEM_LEN_MAX as usize));
            self.problems.push(text);
        }
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
            counts,
            problems: self.problems,
            elsewhere: self.elsewhere,
        })
    }
}

/// Adds a length of somebody's file: a few sparse ones are longer together than any number.
fn grow(sum: &mut u64, len: u64) {
    *sum = sum.saturating_add(len);
}
