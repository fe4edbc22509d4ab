//! What every restore does, wherever it goes: goes through the items once, plans the contents of files, reads by group, and
//! completes what is whole.
//!
//! In: the items of an archive, and for each a [`Target`]. Out: completed files, counts, problems. The entry modes (a
//! directory, one file, a device, a stream, nowhere) say only what becomes of an item.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use garret_format::archive::{Item, ItemKind};
use garret_format::recipe::Entry;
use garret_image::{Attributes, SourceError, Time, Unset};

use super::links::{Due, LinkedFiles, Made};
use super::options::{RestoreOptions, RestoreReport};
use super::plan::{FILES_MAX, ReadPlan, write_group};
use super::target::{DAMAGED_SUFFIX, Finished, Loss, Target};
use crate::error::{Cause, Error, Result};
use crate::objects::items::ItemReader;
use crate::objects::recipe::RecipeReader;
use crate::pipeline::Threads;
use crate::progress::{Note, Problem, Progress, Task, ranges_in_words};
use crate::read::chunks::Chunks;
use crate::read::file::unreadable;
use crate::select::Selection;

/// A restore that is going on.
pub(super) struct Session<'a, 'w, 'scope> {
    pub(super) chunks: Chunks,
    pub(super) options: &'a RestoreOptions,
    pub(super) progress: &'a dyn Progress,
    /// Counts the bytes of files that are in their places.
    pub(super) task: &'scope dyn Task,
    pub(super) threads: Threads<'w, 'scope>,
    pub(super) report: RestoreReport,
    /// Names that a disk or another file has got, of those that a disk may get.
    pub(super) claimed: HashSet<Vec<u8>>,
    /// Paths of files that could not be completed: what is there is none of ours.
    pub(super) failed: HashSet<Vec<u8>>,
    plan: ReadPlan,
    /// Zeros that are in their places, and were not told of yet.
    zero_len: u64,
    files: Vec<OpenFile>,
}

/// A file whose pieces are planned or written.
struct OpenFile {
    item: Item,
    /// Where it is restored to.
    path: Vec<u8>,
    target: Arc<Target>,
}

/// What the items of an archive give.
pub(super) enum Met {
    /// Something to be made.
    Item(Box<Item>),
    /// Another name of what was made before, and that name.
    Name(Made, Vec<u8>),
}

impl<'a, 'w, 'scope> Session<'a, 'w, 'scope> {
    pub(super) fn new(
        chunks: Chunks,
        options: &'a RestoreOptions,
        (progress, task): (&'a dyn Progress, &'scope dyn Task),
        threads: Threads<'w, 'scope>,
    ) -> Self {
        Session {
            chunks,
            options,
            progress,
            task,
            threads,
            report: RestoreReport::default(),
            claimed: HashSet::new(),
            failed: HashSet::new(),
            plan: ReadPlan::default(),
            zero_len: 0,
            files: Vec::new(),
        }
    }

    /// The same session with other options.
    pub(super) fn with<'b>(self, options: &'b RestoreOptions) -> Session<'b, 'w, 'scope>
    where
        'a: 'b,
    {
        Session { options, ..self }
    }

    /// Gives every selected item to `take`, by a path without its first `strip` parts, and completes what it planned. `take`
    /// says what an item that may have other names was made as.
    pub(super) fn each(
        &mut self,
        items: ItemReader<Chunks>,
        selection: &mut Selection,
        strip: usize,
        take: &mut dyn FnMut(&mut Self, Met) -> Result<Option<Made>>,
    ) -> Result<()> {
        let mut links = LinkedFiles::default();
        for item in items {
            let item = match item {
                Ok(item) => item,
                // What stands before the damage is whole, and was asked for.
                Err(error) => return self.complete().and(Err(error)),
            };
            let path = stripped(&item.path, strip);
            let (true, Some(path)) = (selection.selects(&item.path), path) else {
                links.pass_over(item);
                continue;
            };
            self.progress.note(&item.path, &Note::Restored);
            match links.due(item, path.clone()) {
                Due::Whole(item, stored) => {
                    if let Some(made) = take(self, Met::Item(item))? {
                        links.made(stored, made);
                    }
                }
                Due::Link(first) => drop(take(self, Met::Name(first, path))?),
                Due::Missing(first) => self.problem(&lossy(&path), &missing(&first)),
            }
            if self.plan.is_full() || self.files.len() >= FILES_MAX {
                self.complete()?;
            }
        }
        self.complete()
    }

    /// Reads and writes what is planned, and completes the files.
    pub(super) fn complete(&mut self) -> Result<()> {
        self.execute()?;
        self.finish_files();
        Ok(())
    }

    /// Plans a whole file, executing whenever the plan is full. What is wrong with the file is remembered by its target.
    pub(super) fn plan_file(
        &mut self,
        target: Arc<Target>,
        item: Item,
        path: Vec<u8>,
    ) -> Result<()> {
        let ItemKind::File(content) = &item.kind else { return Ok(()) };
        let mut at = 0;
        self.plan.hold(target.entries());
        let mut entries = RecipeReader::new(self.chunks.clone(), &content.recipe, target.name());
        while let Some(entry) = entries.next() {
            at += match entry {
                Ok(entry) => {
                    self.plan_entry(&target, at, &entry);
                    entry.len()
                }
                Err(error) => {
                    let span = entries.pass_over().unwrap_or_default();
                    target.lose(at, span, &error);
                    span
                }
            };
            if target.has_failed() {
                break;
            }
            if self.plan.is_full() {
                self.complete()?;
            }
        }
        self.files.push(OpenFile { item, path, target });
        Ok(())
    }

    fn plan_entry(&mut self, target: &Arc<Target>, at: u64, entry: &Entry) {
        let len = entry.len();
        match *entry {
            Entry::Zero { .. } => match target.zero(at, len) {
                // Holes may be longer together than any number.
                Ok(written) => self.zero_len = self.zero_len.saturating_add(written),
                Err(error) => target.fail(Some((at, len)), &error),
            },
            Entry::Chunk { id, .. } if target.wants(at, len) => {
                let planned = self.plan.add(&self.chunks, target, at, id, len);
                planned.unwrap_or_else(|error| target.lose(at, len, &error));
            }
            Entry::Chunk { .. } => {}
        }
    }

    /// Reads every group of the plan and writes it to its places. Zeros, which took no time, are told of with what does: who
    /// goes by what was told to say how long it takes would be far out.
    fn execute(&mut self) -> Result<()> {
        let (chunks, task) = (self.chunks.clone(), self.task);
        let groups = self.chunks.groups().clone();
        let (zero_len, plan_len) = (std::mem::take(&mut self.zero_len), self.plan.bytes());
        let untold = Arc::new(AtomicU64::new(zero_len));
        let share = Arc::clone(&untold);
        let done = groups.each(self.plan.take(), self.threads, move |group, pieces| {
            let written = write_group(&chunks, group, &pieces);
            let zeros = zero_len as f64 * written as f64 / plan_len as f64;
            task.advance(written.saturating_add(take(&share, zeros as u64)));
        });
        let done = done.collect();
        task.advance(take(&untold, zero_len));
        done
    }

    /// Completes the files.
    fn finish_files(&mut self) {
        for OpenFile { item, path, target } in std::mem::take(&mut self.files) {
            let len = target.file_len().unwrap_or(item.size);
            if target.is_damaged()
                && let Err(error) = self.claim(&[&path, DAMAGED_SUFFIX.as_bytes()].concat())
            {
                target.fail_for(&error);
            }
            match Target::finish(target, &self.attributes(&item)) {
                Ok(Finished { unset, loss: None }) => {
                    self.restored(&item, &lossy(&item.path), len, unset);
                }
                Ok(Finished { unset, loss: Some(loss) }) => {
                    self.salvaged(&lossy(&path), &loss);
                    self.unset(&lossy(&path), unset);
                    self.failed.insert(path);
                }
                Err(error) => {
                    self.problem(&lossy(&item.path), &error);
                    self.failed.insert(path);
                }
            }
        }
    }

    /// What an item gets besides its content. Owners go by name: numbers differ from host to host.
    pub(super) fn attributes<'i>(&self, item: &'i Item) -> Attributes<'i> {
        let RestoreOptions { users, groups, .. } = self.options;
        let owner = || {
            let uid = users.get(&item.user).copied().unwrap_or(item.uid);
            (uid, groups.get(&item.group).copied().unwrap_or(item.gid))
        };
        Attributes {
            mode: item.mode,
            owner: self.options.owners.then(owner),
            mtime: Time { secs: item.mtime.secs, nanos: item.mtime.nanos },
            xattrs: &item.xattrs,
            flags: item.flags,
        }
    }

    /// A file of `len` bytes is complete.
    pub(super) fn restored(&mut self, item: &Item, name: &str, len: u64, unset: Unset) {
        self.report.file_count += 1;
        self.report.bytes = self.report.bytes.saturating_add(len);
        self.unset(name, unset);
        unreadable(item).iter().for_each(|problem| self.progress.problem(problem));
    }

    /// Says what something restored lacks.
    pub(super) fn unset(&mut self, name: &str, unset: Unset) {
        if let Some(error) = unset {
            self.report.problem_count += 1;
            let why = crate::error::message(&error);
            let what = format!("restored, but without some of its attributes: {why}");
            self.progress.problem(&Problem::warning((&error).into(), name, what));
        }
    }

    /// Says what of a file is lost, and where the rest is.
    fn salvaged(&mut self, name: &str, loss: &Loss) {
        self.report.problem_count += 1;
        let Loss { why, cause, hint, ranges, kept } = loss;
        let lost: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let shown = ranges_in_words(ranges, 0);
        let rest = kept.as_ref().map_or(String::new(), |kept| {
            format!("; {} has the rest, and zeros there", kept.display())
        });
        let text = format!("not restored: {why}; {lost} bytes are lost: {shown}{rest}");
        let of = Problem::loss(*cause, name.to_owned(), text);
        self.progress.problem(&Problem { hint: *hint, lost: ranges.clone(), ..of });
    }

    pub(super) fn problem(&mut self, name: &str, error: &Error) {
        self.report.problem_count += 1;
        if error.is_in_use() {
            self.report.used_count += 1;
        }
        let what = format!("not restored: {}", crate::error::message(error));
        let hint = error.hint();
        self.progress.problem(&Problem { hint, ..Problem::loss(error.cause(), name, what) });
    }
}

/// A path without its first parts; `None` if nothing is left.
pub(super) fn stripped(path: &[u8], count: usize) -> Option<Vec<u8>> {
    let mut rest = path;
    for _ in 0..count {
        let end = rest.iter().position(|byte| *byte == b'/')?;
        rest = rest.get(end + 1..)?;
    }
    Some(rest.to_vec())
}

/// Takes so much of what is left, as far as there is that.
fn take(left: &AtomicU64, len: u64) -> u64 {
    let order = Ordering::Relaxed;
    let before = left.fetch_update(order, order, |left| Some(left.saturating_sub(len)));
    before.map_or(0, |before| before.min(len))
}

pub(super) fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

pub(super) fn missing(first: &[u8]) -> Error {
    let why = format!("it is another name of {}, which was not restored", lossy(first));
    Error::not_restored(Cause::Missing, why)
}

/// What is wrong with a file that was read to be restored.
pub(super) fn not_restored(error: &SourceError) -> Error {
    Error::not_restored(error.into(), crate::error::message(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_parts_are_stripped_until_nothing_is_left() {
        let strip = |count| stripped(b"a/bc/d", count);
        assert_eq!(strip(0).as_deref(), Some(&b"a/bc/d"[..]));
        assert_eq!(strip(1).as_deref(), Some(&b"bc/d"[..]));
        assert_eq!(strip(2).as_deref(), Some(&b"d"[..]));
        assert_eq!(strip(3), None);
        assert_eq!(strip(usize::MAX), None);
    }
}
