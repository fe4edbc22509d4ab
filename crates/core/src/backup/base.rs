//! The base of a source: the file of an older archive that its `Same` extents are as in, and what of its recipe stands for
//! stretches that are not read.
//!
//! In: the archive and the path that a source named. Out: for a stretch of the stream, the entries of the old recipe that
//! start in it, and how the stitcher stood before and behind them.
//!
//! Why the recipe is the one that reading gives: the pieces that start in a window follow from its bytes, those of its
//! lookahead, and how the stitcher stands before it. Where all three are as they were when the base was cut, the pieces are
//! its pieces, and the stitcher stands behind them as it stood then. The first two are what `Same` says; the third is
//! compared in the cut, where it is known (`stations`). If it differs, the window is read.
//!
//! Promises: every chunk that is given is in the repository. What cannot be used is read, and the first reason is told once.

use std::ops::Range;

use garret_chunker::{PAGE, Stitcher};
use garret_format::archive::{Content, Item, ItemKind};
use garret_format::recipe::{CutterKind, Entry, Recipe};
use garret_image::{AllocationMap, Extent, section_starts};

use super::divide::Choice;
use super::options::Base;
use crate::error::{Error, Result, message};
use crate::objects::recipe::RecipeReader;
use crate::objects::stream::read_side;
use crate::progress::Progress;
use crate::read::chunks::Chunks;
use crate::repository::Repository;

/// What a stretch of the stream is if the stitcher stands before it as it stood in the base.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) before: Stitcher,
    /// The chunks that start in the stretch, and what of zero runs lies in it.
    pub(crate) entries: Vec<Entry>,
    pub(crate) after: Stitcher,
}

/// The base of one source, if it can be used.
pub(crate) struct BaseFile<'p> {
    /// What the source is stored as.
    name: String,
    found: Result<UsableBase, String>,
    told: bool,
    progress: &'p dyn Progress,
}

/// A base that can be used.
struct UsableBase {
    chunks: Chunks,
    recipe: Recipe,
    entries: RecipeReader<Chunks>,
    allocation: AllocationMap,
    /// What errors call it.
    name: String,
    len: u64,
}

impl<'p> BaseFile<'p> {
    /// The base of the source that is stored as `name` and cut so.
    pub(super) fn open(
        repository: &Repository,
        base: Option<&Base>,
        cut: &Choice,
        name: String,
        progress: &'p dyn Progress,
    ) -> Self {
        let found = match base {
            Some(base) => find(repository, base, cut),
            None => Err("none was named".to_owned()),
        };
        BaseFile { name, found, told: false, progress }
    }

    /// Its length; that of nothing if it cannot be used.
    pub(crate) fn len(&self) -> u64 {
        self.found.as_ref().map_or(0, |found| found.len)
    }

    /// What of an extent is as in the base. What the base does not have has to be read.
    pub(crate) fn clip(&mut self, extent: Extent) -> Extent {
        let Extent::Same { offset, len } = extent else { return extent };
        let why = match &self.found {
            Ok(found) if offset < found.len => {
                return Extent::Same { offset, len: len.min(found.len - offset) };
            }
            Ok(found) => format!("{} ends before", found.name),
            Err(why) => why.clone(),
        };
        self.tell(&why);
        Extent::Data { offset, len }
    }

    /// The data and holes that the base had in a range of it.
    pub(crate) fn extents(&self, range: Range<u64>) -> impl Iterator<Item = Extent> {
        self.found.iter().flat_map(move |found| found.allocation.extents(range.clone()))
    }

    /// Where the zero run ends that the base has before and at `at`. Places that are asked for, here and of
    /// [`known`](Self::known), never go back.
    pub(crate) fn zeros_to(&mut self, at: u64) -> Option<u64> {
        let found = self.found.as_mut().ok()?;
        match found.entry_at(at.checked_sub(1)?) {
            Ok((start, Entry::Zero { len })) => Some(start + len),
            _ => None,
        }
    }

    /// What the base has in a stretch that it is at least as long as; `fresh` if a section starts there. `None` if
    /// that has to be read.
    pub(crate) fn known(&mut self, stretch: Range<u64>, fresh: bool) -> Option<Known> {
        let found = self.found.as_mut().ok()?;
        match found.known(stretch, fresh) {
            Ok(known) => Some(known),
            Err(error) => {
                // After an error it gives nothing more; what comes behind the damage may be there.
                found.rewind();
                self.tell(&message(&error));
                None
            }
        }
    }

    fn tell(&mut self, why: &str) {
        if !std::mem::replace(&mut self.told, true) {
            let text = format!("{}: read where it is as in its base, too: {why}", self.name);
            self.progress.notice(&text);
        }
    }
}

impl UsableBase {
    fn rewind(&mut self) {
        self.entries = RecipeReader::new(self.chunks.clone(), &self.recipe, self.name.as_str());
    }

    fn entry_at(&mut self, at: u64) -> Result<(u64, Entry)> {
        self.entries.entry_at(at).unwrap_or_else(|| {
            let what = "its recipe ends too early".to_owned();
            Err(Error::Corrupt { object: self.name.clone(), offset: at, what })
        })
    }

    fn known(&mut self, stretch: Range<u64>, fresh: bool) -> Result<Known> {
        let Range { start, end } = stretch;
        let (mut before, mut after) = (Stitcher::new(), Stitcher::new());
        let mut entries = Vec::new();
        // What ends at or reaches over the start says how the stitcher stood there.
        let mut at = if fresh { start } else { start.saturating_sub(1) };
        while at < end {
            let (entry_start, entry) = self.entry_at(at)?;
            at = entry_start + entry.len();
            if entry_start < start && !fresh {
                before = stitcher_in(&entry, at.saturating_sub(start));
            }
            after = stitcher_in(&entry, at.saturating_sub(end));
            match entry {
                Entry::Zero { .. } => {
                    let len = at.min(end).saturating_sub(entry_start.max(start));
                    entries.extend((len > 0).then_some(Entry::Zero { len }));
                }
                Entry::Chunk { id, .. } if entry_start >= start => {
                    // Also what a damaged pack holds is read.
                    if !self.chunks.index().contains(&id) {
                        return Err(self.chunks.index().missing(&id, &self.name));
                    }
                    entries.push(entry);
                }
                Entry::Chunk { .. } => {}
            }
        }
        Ok(Known { before, entries, after })
    }
}

/// How a stitcher stands in or behind an entry of which `rest` bytes are still to come.
fn stitcher_in(entry: &Entry, rest: u64) -> Stitcher {
    match entry {
        Entry::Zero { .. } => Stitcher::in_zero_run(),
        Entry::Chunk { .. } => Stitcher::in_chunk(usize::try_from(rest).unwrap_or(usize::MAX)),
    }
}

/// Finds a base; or says why it cannot be used.
fn find(repository: &Repository, base: &Base, cut: &Choice) -> Result<UsableBase, String> {
    let name = format!("{} of archive {}", String::from_utf8_lossy(&base.path), base.archive);
    let said = |error: Error| message(&error);
    let archive = repository.archive(&base.archive).map_err(said)?;
    if base.fingerprint.is_some_and(|fingerprint| fingerprint != archive.fingerprint) {
        return Err(format!("archive {} is another one than the base", base.archive));
    }
    let mut items = repository.items(&archive);
    let item = items.find(|item| item.as_ref().map_or(true, |item| item.path == base.path));
    let item = item.transpose().map_err(said)?.ok_or_else(|| format!("there is no {name}"))?;
    let ItemKind::File(content) = &item.kind else { return Err(format!("{name} is no file")) };
    if item.changed || !content.unreadable.is_empty() {
        return Err(format!("{name} is not as the disk was"));
    }
    if !content.layout.is_empty() {
        return Err(format!("{name} is stored in the order of the disk in it"));
    }
    let chunks = repository.chunks();
    let allocation = allocation(content, item.size, &chunks).map_err(said)?;
    let recipe = content.recipe.clone();
    let entries = RecipeReader::new(chunks.clone(), &recipe, name.as_str());
    let mut found = UsableBase { chunks, recipe, entries, allocation, name, len: item.size };
    match is_cut_so(repository, &item, &mut found, cut).map_err(said)? {
        true => Ok(found),
        false => Err(format!("{} was cut in another way", found.name)),
    }
}

/// Which parts of the base were holes.
fn allocation(content: &Content, len: u64, chunks: &Chunks) -> Result<AllocationMap> {
    if content.allocation.is_empty() {
        let mut dense = AllocationMap::new();
        dense.push(Extent::Data { offset: 0, len });
        return Ok(dense);
    }
    let bytes = read_side(&content.allocation, chunks, "base")?;
    AllocationMap::decode(&bytes, len).map_err(|error| Error::Corrupt {
        object: "base".to_owned(),
        offset: error.offset as u64,
        what: error.to_string(),
    })
}

/// Whether the base was cut by that cutter in these sections. It does not say in which; but they follow from what is in it,
/// unless its sections were left out, and the chunks of each lie on a grid of pages that begins with it.
fn is_cut_so(
    repository: &Repository,
    item: &Item,
    found: &mut UsableBase,
    cut: &Choice,
) -> Result<bool> {
    if found.recipe.cutter != cut.cutter {
        return Ok(false);
    }
    let disk = match cut.cutter {
        CutterKind::Page => repository.open_file(item)?,
        CutterKind::Fastcdc => None,
    };
    let starts = disk.map_or_else(|| vec![0], |disk| section_starts(&disk));
    if starts != cut.starts {
        return Ok(false);
    }
    let ends = starts.iter().skip(1).copied().chain([found.len]);
    for (start, end) in starts.iter().copied().zip(ends).skip(1) {
        let (at, entry) = found.entry_at(start)?;
        let begins = match entry {
            Entry::Chunk { .. } => at == start,
            Entry::Zero { len } => at + len >= end || (at + len - start) % PAGE as u64 == 0,
        };
        if !begins {
            return Ok(false);
        }
    }
    found.rewind();
    Ok(true)
}
