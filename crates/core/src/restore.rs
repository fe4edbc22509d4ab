//! Restore: from an archive to files, or to a stream.
//!
//! ```text
//! items -> recipe -> ReadPlan -> | read group -> open -> decompress -> verify -> write everywhere it belongs |
//!                    by group    | workers, out of order                                                     |
//! ```
//!
//! Within a plan every group is read and opened once, whatever the number of places it is written to. A file is built in a
//! staging directory and gets its name when it is complete; one that cannot be completed is reported and leaves nothing, and
//! the others go on.

mod disk;
mod links;
mod open;
mod plan;
mod preview;
mod single;
mod target;
mod tree;

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use garret_format::archive::{Item, ItemKind};
use garret_format::recipe::Entry;
use garret_image::{Attributes, Root, SourceError, Time, Unset};

use crate::error::{Error, Result};
use crate::limits::total_len;
use crate::objects::archive::NamedArchive;
use crate::objects::items::ItemReader;
use crate::objects::recipe::RecipeReader;
use crate::pipeline::{Threads, with_threads};
use crate::progress::{Phase, Problem, Progress};
use crate::read::chunks::Chunks;
use crate::read::file::{read_layout, unreadable};
use crate::repository::Repository;
use crate::select::Selection;

use links::{Links, Made, Wanted};
use plan::{ReadPlan, write_group};
pub use preview::Preview;
use target::{Place, Target};
use tree::{Later, lossy, missing};

/// Which zeros become holes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AllocationMode {
    /// Every zero page.
    #[default]
    Sparse,
    /// Those that were holes in the source.
    Exact,
    /// None.
    Full,
}

/// What disk images in a format of their own come back as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// The file, byte for byte.
    #[default]
    Stored,
    /// The guest's disk, as `NAME.raw`. Other files come back as they were.
    Raw,
}

/// Where restored bytes go.
pub enum Destination<'a> {
    /// Files below this directory, which is made if it is missing.
    Directory(PathBuf),
    /// The one selected file, as a regular file: what is there is replaced when it is complete.
    File {
        /// Where it goes, whatever its own name.
        path: PathBuf,
        /// What it gets besides its content.
        metadata: FileMetadata,
    },
    /// The one selected file, written to this block device in place, zeros too.
    Device(PathBuf),
    /// The content of the one selected file.
    Stream(&'a mut (dyn Write + Send)),
    /// Nowhere: everything is read and verified.
    Nowhere,
}

/// What a file gets besides its content when it goes to a place that need not be its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileMetadata {
    /// What its item has.
    OfItem,
    /// What belongs to the place: mode, and if `owners` is set owner, of the file that was there.
    OfPlace {
        /// Mode if there was none.
        mode: u32,
    },
}

/// How to restore.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// Which zeros become holes. `Exact` is `Sparse` for a disk in another form than it was stored in.
    pub allocation: AllocationMode,
    /// What disk images come back as.
    pub form: Form,
    /// Threads that read, decompress and write; at least one.
    pub threads: usize,
    /// Whether to restore owners: only root can.
    pub owners: bool,
    /// Whether an image may be replaced that a virtual machine has open, known by the locks that QEMU holds.
    pub replace_used: bool,
    /// Numbers of users by name. An owner whose recorded name is not here gets the recorded number.
    pub users: HashMap<String, u32>,
    /// Numbers of groups by name.
    pub groups: HashMap<String, u32>,
    /// How many leading parts of each path are left out; an item of which nothing is left is passed over.
    pub strip: usize,
}

/// What a restore did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// Files restored.
    pub file_count: u64,
    /// Bytes of their streams, holes included.
    pub bytes: u64,
    /// Items that could not be restored, or not with all that belongs to them; each reported as a problem.
    pub problem_count: u64,
    /// Those of them that were not replaced because a virtual machine has them open.
    pub used_count: u64,
    /// Selected paths that matched nothing.
    pub unmatched: Vec<Vec<u8>>,
}

impl Repository {
    /// Restores what `selection` selects of an archive.
    ///
    /// # Errors
    /// Damage of the archive itself or of its items, and a destination that cannot be written at all. Damage of single files
    /// is reported as problems.
    pub fn restore(
        &self,
        archive: &NamedArchive,
        selection: &mut Selection,
        destination: Destination<'_>,
        options: &RestoreOptions,
        progress: &dyn Progress,
    ) -> Result<RestoreReport> {
        let chunks = self.chunks();
        let total = match selection.is_everything() {
            true => archive.archive.original_len,
            false => {
                self.settle(&[archive], selection);
                let selected =
                    self.items(archive).flatten().filter(|item| selection.selects(&item.path));
                total_len(selected.map(length))
            }
        };
        progress.begin(Phase::Restore, Some(total));
        let items = ItemReader::new(chunks.clone(), archive);
        let in_flight = chunks.groups().in_flight();
        let mut report = with_threads(options.threads, in_flight, |threads| {
            let restorer = Restorer {
                chunks,
                options,
                progress,
                threads,
                report: RestoreReport::default(),
                claimed: HashSet::new(),
            };
            match destination {
                Destination::Directory(path) => {
                    let root = Root::open(&path)?.replace_used(options.replace_used);
                    restorer.into_directory(items, selection, &root)
                }
                Destination::File { path, metadata } => {
                    restorer.into_file(items, selection, &path, metadata)
                }
                Destination::Device(path) => restorer.into_device(items, selection, &path),
                Destination::Stream(out) => restorer.into_stream(items, selection, out),
                Destination::Nowhere => restorer.into_nowhere(items, selection),
            }
        })?;
        progress.end();
        report.unmatched = selection.unmatched();
        Ok(report)
    }
}

struct Restorer<'a, 'w, 'scope> {
    chunks: Chunks,
    options: &'a RestoreOptions,
    progress: &'scope dyn Progress,
    threads: Threads<'w, 'scope>,
    report: RestoreReport,
    /// Names that a disk or another file has got, of those that a disk may get.
    claimed: HashSet<Vec<u8>>,
}

/// A file whose pieces are planned or written.
struct OpenFile {
    item: Item,
    /// Where it is restored to.
    path: Vec<u8>,
    target: Arc<Target>,
}

impl<'scope> Restorer<'_, '_, 'scope> {
    fn into_nowhere(
        mut self,
        items: ItemReader<Chunks>,
        selection: &mut Selection,
    ) -> Result<RestoreReport> {
        let (mut later, mut links) = (Later::default(), Links::default());
        for item in items {
            let Some(item) = self.contents(item?, selection, &mut links) else { continue };
            let ItemKind::File(content) = &item.kind else { continue };
            let name = lossy(&item.path);
            let target = Arc::new(Target::new(&name, None, Place::Nowhere));
            if let Err(error) = read_layout(content, item.size, &self.chunks, &name) {
                target.fail(None, &error);
            }
            let path = item.path.clone();
            self.plan_file(target, item, path, &mut later)?;
            if later.plan.is_full() || later.files.len() >= plan::FILES_MAX {
                self.complete(&mut later)?;
            }
        }
        self.complete(&mut later)?;
        Ok(self.report)
    }

    /// What of an item has content that was not given before under another of its names.
    fn contents(
        &mut self,
        item: Item,
        selection: &mut Selection,
        links: &mut Links,
    ) -> Option<Item> {
        if !selection.selects(&item.path) {
            links.pass_over(item);
            return None;
        }
        let path = item.path.clone();
        self.progress.note(&lossy(&path));
        match links.wanted(item, path.clone()) {
            Wanted::Whole(item, stored) => {
                if item.linked {
                    links.made(stored, Made { path, suffix: b"", id: None });
                }
                Some(*item)
            }
            Wanted::Link(_) => None,
            Wanted::Missing(first) => {
                self.problem(&lossy(&path), &missing(&first));
                None
            }
        }
    }

    /// Plans a whole file, executing whenever the plan is full. What is wrong with the file is remembered by its target.
    fn plan_file(
        &mut self,
        target: Arc<Target>,
        item: Item,
        path: Vec<u8>,
        later: &mut Later,
    ) -> Result<()> {
        let ItemKind::File(content) = &item.kind else { return Ok(()) };
        let mut at = 0;
        later.plan.hold(target.entries());
        for entry in RecipeReader::new(self.chunks.clone(), &content.recipe, target.name()) {
            let planned = entry.and_then(|entry| {
                self.plan_entry(&mut later.plan, &target, at, &entry)?;
                Ok(entry.len())
            });
            match planned {
                Ok(len) => at += len,
                Err(error) => {
                    target.fail(None, &error);
                    break;
                }
            }
            if later.plan.is_full() {
                self.complete(later)?;
            }
        }
        later.files.push(OpenFile { item, path, target });
        Ok(())
    }

    fn plan_entry(
        &self,
        plan: &mut ReadPlan,
        target: &Arc<Target>,
        at: u64,
        entry: &Entry,
    ) -> Result<()> {
        match *entry {
            Entry::Zero { len } => {
                self.progress.advance(target.zero(at, len)?);
                Ok(())
            }
            Entry::Chunk { id, len } if target.has_place(at, u64::from(len)) => {
                plan.add(&self.chunks, target, at, id, u64::from(len))
            }
            Entry::Chunk { .. } => Ok(()),
        }
    }

    /// Reads every group of the plan and writes it to its places.
    fn execute(&mut self, plan: &mut ReadPlan) -> Result<()> {
        let (chunks, progress) = (self.chunks.clone(), self.progress);
        let groups = self.chunks.groups().clone();
        let done = groups.each(plan.take(), self.threads, move |group, pieces| {
            progress.advance(write_group(&chunks, group, &pieces));
        });
        done.collect()
    }

    /// Completes the files; gives the paths of those that could not be.
    fn finish_files(&mut self, files: &mut Vec<OpenFile>) -> Vec<Vec<u8>> {
        let mut failed = Vec::new();
        for OpenFile { item, path, target } in files.drain(..) {
            let len = target.file_len().unwrap_or(item.size);
            match Target::finish(target, &self.attributes(&item)) {
                Ok(unset) => self.restored(&item, &lossy(&item.path), len, unset),
                Err(error) => {
                    self.problem(&lossy(&item.path), &error);
                    failed.push(path);
                }
            }
        }
        failed
    }

    /// What an item gets besides its content. Owners go by name: numbers differ from host to host.
    fn attributes<'i>(&self, item: &'i Item) -> Attributes<'i> {
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
    fn restored(&mut self, item: &Item, name: &str, len: u64, unset: Unset) {
        self.report.file_count += 1;
        self.report.bytes = self.report.bytes.saturating_add(len);
        self.unset(name, unset);
        unreadable(item).iter().for_each(|problem| self.progress.problem(problem));
    }

    /// Says what something restored lacks.
    fn unset(&mut self, name: &str, unset: Unset) {
        if let Some(error) = unset {
            self.report.problem_count += 1;
            let why = crate::error::message(&error);
            let text = format!("{name}: restored, but without some of its attributes: {why}");
            self.progress.problem(&Problem::warning(text));
        }
    }

    fn problem(&mut self, name: &str, error: &Error) {
        self.report.problem_count += 1;
        if error.is_in_use() {
            self.report.used_count += 1;
        }
        let text = format!("{name}: not restored: {}", crate::error::message(error));
        self.progress.problem(&Problem::loss(text));
    }
}

/// Bytes of the stream of an item.
fn length(item: Item) -> u64 {
    if matches!(item.kind, ItemKind::File(_)) { item.size } else { 0 }
}

/// What is wrong with a file that was read to be restored.
fn not_restored(error: &SourceError) -> Error {
    Error::NotRestored(crate::error::message(error))
}
