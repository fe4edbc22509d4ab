//! Diff: what is not the same in two archives, or in an archive and on the disk.
//!
//! In: an archive, and another of the same repository or a directory. Out: a [`Change`] for each path that differs, by path:
//! what kind of thing is there, where a link points, every byte of a file; not owners, modes and times. Two archives are
//! compared by their recipes, and contents are read only where those name other chunks. Promises: changes nothing; memory
//! grows with the number of files, not with their length; what cannot be compared is reported, and the rest is compared.

mod reach;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;

use garret_format::archive::{Device, Item, ItemKind};
use garret_image::{At, FileKind, Metadata, RawFile, Source, SourceError, lstat};

use crate::error::{Cause, Error, Result, message};
use crate::limits::{FILE_READ_LEN, total_len};
use crate::objects::archive::NamedArchive;
use crate::pipeline::with_workers;
use crate::progress::{Phase, Problem, Progress, Task};
use crate::read::chunks::Chunks;
use crate::read::file::{Span, StoredFile};
use crate::repository::Repository;
use crate::select::Selection;

use reach::{is_absent, within_reach};

/// Bytes compared at a time, and by one thread.
const WINDOW: u64 = FILE_READ_LEN as u64;
/// Bytes compared at once before it is asked which of them differ.
const BLOCK: usize = 4096;
/// Two differences with fewer equal bytes between them are one range: a guest writes whole blocks.
const GAP: u64 = 4096;
/// Most ranges reported for one file; beyond it, the closest ranges are merged.
const RANGES_MAX: usize = 1 << 16;

/// A path that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// As archives store it.
    pub path: Vec<u8>,
    /// What is different.
    pub difference: Difference,
}

/// What is different about a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It is only on the second side.
    Added {
        /// Length of its content.
        len: u64,
    },
    /// It is only on the first side.
    Removed {
        /// Length of its content.
        len: u64,
    },
    /// Something of another kind is there, by [`kind_name`], or the node of another device, whose numbers stand behind it.
    Kind {
        /// On the first side.
        from: String,
        /// On the second side.
        to: String,
    },
    /// A symbolic link points elsewhere.
    Target {
        /// On the first side.
        from: Vec<u8>,
        /// On the second side.
        to: Vec<u8>,
    },
    /// The contents are not the same.
    Contents(Contents),
}

/// How two contents differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Length on the first side.
    pub from_len: u64,
    /// Length on the second side.
    pub to_len: u64,
    /// Bytes that differ; what only the longer side has is among them.
    pub bytes: u64,
    /// Where, in order. Fewer than 4096 equal bytes between two differences are in the range; more, where there would be too
    /// many ranges.
    pub ranges: Vec<Range<u64>>,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiffReport {
    /// What differs, by path.
    pub changes: Vec<Change>,
    /// Paths compared.
    pub path_count: u64,
    /// Paths that were asked for and are in no archive.
    pub unmatched: Vec<Vec<u8>>,
}

/// The kind of an item in a word.
pub fn kind_name(kind: &ItemKind) -> &'static str {
    match kind {
        ItemKind::File(_) => "file",
        ItemKind::Directory => "directory",
        ItemKind::Symlink(_) => "symlink",
        ItemKind::HardLink(_) => "hardlink",
        ItemKind::Fifo => "fifo",
        ItemKind::BlockDevice(_) => "block device",
        ItemKind::CharacterDevice(_) => "character device",
    }
}

impl Repository {
    /// Compares what is selected of two archives.
    ///
    /// # Errors
    /// A list of files cannot be read. What is wrong with one file is told to `progress`, and counted.
    pub fn diff(
        &self,
        from: &NamedArchive,
        to: &NamedArchive,
        selection: &mut Selection,
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<DiffReport> {
        self.settle(&[from, to], selection);
        let mut both: BTreeMap<Vec<u8>, (Option<Item>, Option<Item>)> = BTreeMap::new();
        items(self, from, selection, |path, item| both.entry(path).or_default().0 = Some(item))?;
        items(self, to, selection, |path, item| both.entry(path).or_default().1 = Some(item))?;
        let len = |(one, two): &(Option<Item>, Option<Item>)| match (one, two) {
            (Some(one), Some(two)) if !is_same_content(one, two) => one.size.min(two.size),
            _ => 0,
        };
        let task = progress.begin(Phase::Compare, Some(total_len(both.values().map(len))));
        let comparer = Comparer { chunks: self.chunks(), threads, progress, task: &*task };
        let mut report = DiffReport { path_count: both.len() as u64, ..DiffReport::default() };
        for (path, sides) in both {
            let difference = match &sides {
                (Some(one), None) => Ok(Some(Difference::Removed { len: one.size })),
                (None, Some(two)) => Ok(Some(Difference::Added { len: two.size })),
                (Some(one), Some(two)) => comparer.items(one, two),
                (None, None) => Ok(None),
            };
            report.note(path, difference, progress);
        }
        report.unmatched = selection.unmatched();
        Ok(report)
    }

    /// Compares what is selected of an archive with the files below `base`, where they would be restored. What is only on the
    /// disk is not looked for. Where the archive has a file or a directory, a link on the disk stands for what is behind it.
    ///
    /// # Errors
    /// The list of files cannot be read. What is wrong with one file is told to `progress`, and counted.
    pub fn compare(
        &self,
        archive: &NamedArchive,
        base: &Path,
        selection: &mut Selection,
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<DiffReport> {
        self.settle(&[archive], selection);
        let mut found = Vec::new();
        items(self, archive, selection, |_, item| found.push(item))?;
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let task = progress.begin(Phase::Compare, Some(total_len(found.iter().map(content_len))));
        let comparer = Comparer { chunks: self.chunks(), threads, progress, task: &*task };
        let mut report = DiffReport { path_count: found.len() as u64, ..DiffReport::default() };
        for item in found {
            let difference = within_reach(base, &item.path).and_then(|place| match place {
                Some((path, _directory)) => comparer.with_disk(&item, &path),
                None => Ok(Some(Difference::Removed { len: item.size })),
            });
            // What there is nothing to compare with is dealt with all the same.
            task.advance(match &difference {
                Ok(Some(Difference::Contents(contents))) => {
                    item.size.saturating_sub(contents.to_len)
                }
                Ok(Some(_)) => content_len(&item),
                Ok(None) | Err(_) => 0,
            });
            report.note(item.path, difference, progress);
        }
        report.unmatched = selection.unmatched();
        Ok(report)
    }
}

impl DiffReport {
    fn note(
        &mut self,
        path: Vec<u8>,
        difference: Result<Option<Difference>>,
        progress: &dyn Progress,
    ) {
        match difference {
            Ok(Some(difference)) => self.changes.push(Change { path, difference }),
            Ok(None) => {}
            Err(error) => {
                let what = format!("not compared: {}", message(&error));
                let hint = error.hint();
                let path = String::from_utf8_lossy(&path);
                let problem = Problem::loss(error.cause(), path, what);
                progress.problem(&Problem { hint, ..problem });
            }
        }
    }
}

/// Gives the items of an archive that are selected.
fn items(
    repository: &Repository,
    archive: &NamedArchive,
    selection: &mut Selection,
    mut take: impl FnMut(Vec<u8>, Item),
) -> Result<()> {
    let mut linked: HashMap<Vec<u8>, Item> = HashMap::new();
    for item in repository.items(archive) {
        let item = item?;
        if item.linked {
            linked.insert(item.path.clone(), item.clone());
        }
        if !selection.selects(&item.path) {
            continue;
        }
        // Which of its names came first is no difference.
        let first = match &item.kind {
            ItemKind::HardLink(first) => linked.get(first).cloned(),
            _ => None,
        };
        let path = item.path.clone();
        take(path.clone(), first.map_or(item, |first| Item { path, ..first }));
    }
    Ok(())
}

/// Bytes that an item has to compare.
fn content_len(item: &Item) -> u64 {
    if matches!(item.kind, ItemKind::File(_)) { item.size } else { 0 }
}

/// Whether two items name the same chunks in the same places, so that there is nothing to compare.
fn is_same_content(one: &Item, two: &Item) -> bool {
    match (&one.kind, &two.kind) {
        (ItemKind::File(a), ItemKind::File(b)) => {
            one.size == two.size && a.recipe == b.recipe && a.layout == b.layout
        }
        _ => true,
    }
}

/// The parts of a stretch that may differ, in order.
type Unlike<'f> = dyn Fn(Range<u64>) -> Result<Vec<Range<u64>>> + Sync + 'f;

/// Compares two things.
struct Comparer<'a> {
    chunks: Chunks,
    threads: usize,
    progress: &'a dyn Progress,
    task: &'a dyn Task,
}

impl Comparer<'_> {
    fn items(&self, one: &Item, two: &Item) -> Result<Option<Difference>> {
        match (&one.kind, &two.kind) {
            (ItemKind::Symlink(from), ItemKind::Symlink(to)) => Ok(other_target(from, to)),
            (ItemKind::File(_), ItemKind::File(_)) if !is_same_content(one, two) => {
                let open = |item| StoredFile::open(&self.chunks, item);
                let (Some(one), Some(two)) = (open(one)?, open(two)?) else { return Ok(None) };
                self.contents(&one, &two, &|window| other_spans(&one, &two, window))
            }
            (from, to) => Ok(other_kind(describe(from), describe(to))),
        }
    }

    fn with_disk(&self, item: &Item, path: &Path) -> Result<Option<Difference>> {
        let found = match &item.kind {
            ItemKind::File(_) | ItemKind::Directory => stat(path),
            _ if item.followed => stat(path),
            _ => lstat(path),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) if is_absent(error.io_error().kind()) => {
                return Ok(Some(Difference::Removed { len: item.size }));
            }
            Err(error) => return Err(error.into()),
        };
        match (&item.kind, found.kind) {
            (ItemKind::Symlink(from), FileKind::Symlink) => {
                Ok(other_target(from, &At::path(path).read_link()?))
            }
            (ItemKind::File(_), FileKind::Regular | FileKind::Block) => {
                let Some(stored) = StoredFile::open(&self.chunks, item)? else {
                    return Ok(None);
                };
                let file = RawFile::open(path, true)?;
                let difference =
                    self.contents(&stored, &file, &|window| not_holes(&stored, &file, window))?;
                if file.changed()? {
                    let what = "changed while it was compared";
                    let problem = Problem::warning(Cause::Changed, path.display(), what);
                    self.progress.problem(&problem);
                }
                Ok(difference)
            }
            (from, _) => Ok(other_kind(describe(from), describe_found(from, &found))),
        }
    }

    /// Compares two contents where they may be `unlike`.
    fn contents(
        &self,
        one: &dyn Source,
        two: &dyn Source,
        unlike: &Unlike<'_>,
    ) -> Result<Option<Difference>> {
        let shared = one.len().min(two.len());
        let count = shared.div_ceil(WINDOW);
        let windows =
            (0..count).map(|number| Ok(number * WINDOW..shared.min((number + 1) * WINDOW)));
        let threads = if count > 1 { self.threads } else { 1 };
        let mut found = FoundRanges::default();
        with_workers(threads, |workers| {
            let compared = workers.map(windows, move |window| {
                let len = window.end - window.start;
                let mut part = FoundRanges::default();
                for range in unlike(window)? {
                    part.compare(one, two, range)?;
                }
                Ok((part, len))
            });
            for part in compared {
                let (part, len) = part?;
                found.append(part);
                self.task.advance(len);
            }
            Ok(())
        })?;
        found.add(shared..one.len().max(two.len()));
        Ok((!found.ranges.is_empty()).then(|| {
            Difference::Contents(Contents {
                from_len: one.len(),
                to_len: two.len(),
                bytes: found.bytes,
                ranges: found.ranges,
            })
        }))
    }
}

/// Where two stored files are made of different parts of chunks. Where neither has any, both are zero.
fn other_spans(one: &StoredFile, two: &StoredFile, window: Range<u64>) -> Result<Vec<Range<u64>>> {
    let spans = |file: &StoredFile| -> Result<BTreeSet<Span>> {
        // A window is no longer than FILE_READ_LEN.
        let len = (window.end - window.start) as usize;
        Ok(file.spans(len, window.start)?.into_iter().collect())
    };
    let (one, two) = (spans(one)?, spans(two)?);
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for span in one.symmetric_difference(&two) {
        let start = window.start + span.to as u64;
        let end = start + span.len as u64;
        match ranges.last_mut() {
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ => ranges.push(start..end),
        }
    }
    Ok(ranges)
}

/// The whole window, unless it lies in a hole on the disk and in the archive.
fn not_holes(stored: &StoredFile, file: &RawFile, window: Range<u64>) -> Result<Vec<Range<u64>>> {
    let len = window.end - window.start;
    let extent = file.extent_at(window.start)?;
    let is_hole = extent.is_hole() && extent.len() >= len;
    match is_hole && stored.spans(len as usize, window.start)?.is_empty() {
        true => Ok(Vec::new()),
        false => Ok(vec![window]),
    }
}

fn other_target(from: &[u8], to: &[u8]) -> Option<Difference> {
    let target = || Difference::Target { from: from.to_vec(), to: to.to_vec() };
    (from != to).then(target)
}

fn other_kind(from: String, to: String) -> Option<Difference> {
    (from != to).then_some(Difference::Kind { from, to })
}

/// What an item is, and for nodes of which device.
fn describe(kind: &ItemKind) -> String {
    match kind {
        ItemKind::BlockDevice(Device { major, minor })
        | ItemKind::CharacterDevice(Device { major, minor }) => {
            format!("{} {major}:{minor}", kind_name(kind))
        }
        _ => kind_name(kind).to_owned(),
    }
}

/// The same of what stands on the disk for `item`: a block device stands for its content if that is what was stored.
fn describe_found(item: &ItemKind, found: &Metadata) -> String {
    let (major, minor) = found.device;
    let kind = match found.kind {
        FileKind::Block if matches!(item, ItemKind::File(_)) => return "file".to_owned(),
        FileKind::Regular => return "file".to_owned(),
        FileKind::Directory => ItemKind::Directory,
        FileKind::Symlink => ItemKind::Symlink(Vec::new()),
        FileKind::Fifo => ItemKind::Fifo,
        FileKind::Block => ItemKind::BlockDevice(Device { major, minor }),
        FileKind::Character => ItemKind::CharacterDevice(Device { major, minor }),
        FileKind::Socket => return "socket".to_owned(),
    };
    describe(&kind)
}

fn stat(path: &Path) -> Result<Metadata, SourceError> {
    At::path(path).stat(true)
}

/// Differences found so far, in the order of the file.
struct FoundRanges {
    bytes: u64,
    ranges: Vec<Range<u64>>,
    /// What [`GAP`] is in this file.
    gap: u64,
}

impl Default for FoundRanges {
    fn default() -> Self {
        FoundRanges { bytes: 0, ranges: Vec::new(), gap: GAP }
    }
}

impl FoundRanges {
    /// Compares a range of two sources.
    fn compare(&mut self, one: &dyn Source, two: &dyn Source, range: Range<u64>) -> Result<()> {
        let read = |source: &dyn Source| -> Result<Vec<u8>, Error> {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            source.read_at(&mut bytes, range.start)?;
            Ok(bytes)
        };
        let (one, two) = (read(one)?, read(two)?);
        let blocks = one.chunks(BLOCK).zip(two.chunks(BLOCK));
        for (start, (one, two)) in (range.start..).step_by(BLOCK).zip(blocks) {
            if one != two {
                let bytes = (start..).zip(one.iter().zip(two));
                bytes.filter(|(_, (a, b))| a != b).for_each(|(at, _)| self.add(at..at + 1));
            }
        }
        Ok(())
    }

    /// Adds bytes that differ, behind all that were added before.
    fn add(&mut self, range: Range<u64>) {
        if !range.is_empty() {
            self.bytes += range.end - range.start;
            self.cover(range);
        }
    }

    fn append(&mut self, later: FoundRanges) {
        self.bytes += later.bytes;
        later.ranges.into_iter().for_each(|range| self.cover(range));
    }

    fn cover(&mut self, range: Range<u64>) {
        match self.ranges.last_mut() {
            Some(last) if range.start - last.end < self.gap => last.end = range.end,
            _ => self.ranges.push(range),
        }
        while self.ranges.len() > RANGES_MAX {
            self.gap *= 2;
            let ranges = std::mem::take(&mut self.ranges);
            ranges.into_iter().for_each(|range| self.cover(range));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_that_lie_near_are_one_range_and_every_byte_counts_once() {
        let mut found = FoundRanges::default();
        [0..1, 4096..4097, 8193..8194].into_iter().for_each(|range| found.add(range));
        assert_eq!((found.bytes, &found.ranges[..]), (3, &[0..4097, 8193..8194][..]));
        let mut later = FoundRanges::default();
        later.add(8200..8300);
        found.append(later);
        found.add(9000..9000);
        assert_eq!((found.bytes, &found.ranges[..]), (103, &[0..4097, 8193..8300][..]));
    }

    #[test]
    fn the_number_of_ranges_has_a_bound_and_they_still_cover_everything() {
        let mut found = FoundRanges::default();
        let starts = (0..3 * RANGES_MAX as u64).map(|number| number * 10_000);
        starts.clone().for_each(|start| found.add(start..start + 1));
        assert_eq!(found.bytes, 3 * RANGES_MAX as u64);
        assert!(found.ranges.len() <= RANGES_MAX && found.gap > GAP);
        let is_covered = |at| found.ranges.iter().any(|range| range.contains(&at));
        assert!(starts.step_by(1009).all(is_covered));
        assert!(found.ranges.is_sorted_by(|a, b| a.end < b.start));
    }
}
