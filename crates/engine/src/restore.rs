//! Restore: from an archive to files, or to a stream.
//!
//! ```text
//! items -> recipe -> ReadPlan -> | read group -> open -> decompress -> verify -> write everywhere it belongs |
//!                    by group    | workers, out of order                                                     |
//! ```
//!
//! Within a plan every group is read and opened once, whatever the number of places it is written to. A file is written as
//! `NAME.part` and gets its name when it is complete; one that cannot be completed is reported and leaves nothing, and the
//! others go on.

mod disk;
mod links;
mod open;
mod plan;
mod single;
mod target;
mod tree;

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use format::archive::{Item, ItemKind};
use format::recipe::Entry;
use image::{Attributes, Root, Source, SourceError, Time};

use crate::archive::{ItemReader, NamedArchive};
use crate::error::{Error, Result};
use crate::fetch::ChunkReader;
use crate::file::{StoredFile, read_layout, unreadable};
use crate::limits::FILE_READ_LEN;
use crate::pipeline::{Workers, with_workers};
use crate::progress::{Phase, Problem, Progress};
use crate::recipe::RecipeReader;
use crate::repository::Repository;
use crate::select::Selection;
use crate::store::Key;
use crate::window::BufferPool;

use disk::Disk;
use links::{Links, Place, Wanted};
use plan::ReadPlan;
use target::Target;
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
    /// The one selected file: a regular file at `path`, replaced when it is complete, or the block device there, written in
    /// place. The form must be `Stored`; every zero page of a regular file becomes a hole, of a device it is written.
    File {
        /// Where it goes, whatever its own name.
        path: PathBuf,
        /// Mode of a regular file that was not there before; one that was keeps its mode, and its owner if `owners` is set.
        mode: u32,
    },
    /// The contents of the selected files behind each other.
    Stream(&'a mut (dyn Write + Send)),
    /// Nowhere: everything is read and verified.
    Nowhere,
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
    /// Items that could not be restored, each reported as a problem.
    pub problem_count: u64,
    /// Selected paths that matched nothing.
    pub unmatched: Vec<Vec<u8>>,
}

/// Restores what `selection` selects of an archive.
///
/// # Errors
/// Damage of the archive itself or of its items, and a destination that cannot be written at all. Damage of single files is
/// reported as problems.
pub fn restore(
    repository: &Repository,
    archive: &NamedArchive,
    selection: &mut Selection,
    destination: Destination<'_>,
    options: &RestoreOptions,
    progress: &dyn Progress,
) -> Result<RestoreReport> {
    let chunks = ChunkReader::new(repository);
    let object = Key::Archive(archive.name.clone()).to_string();
    let all_items = || ItemReader::new(&chunks, &archive.archive, &object);
    let total = match selection.is_everything() {
        true => archive.archive.original_len,
        false => {
            all_items().flatten().filter(|item| selection.selects(&item.path)).map(length).sum()
        }
    };
    progress.begin(Phase::Restore, Some(total));
    let items = all_items();
    let mut report = with_workers(options.threads, |workers| {
        let restorer = Restorer {
            chunks: &chunks,
            options,
            progress,
            workers,
            report: RestoreReport::default(),
            claimed: HashSet::new(),
        };
        match destination {
            Destination::Directory(path) => {
                restorer.into_directory(items, selection, &Root::open(&path)?)
            }
            Destination::File { path, mode } => restorer.into_file(items, selection, &path, mode),
            Destination::Stream(out) => restorer.into_stream(items, selection, out),
            Destination::Nowhere => restorer.into_nowhere(items, selection),
        }
    })?;
    progress.end();
    report.unmatched = selection.unmatched();
    Ok(report)
}

struct Restorer<'a, 'w, 'scope> {
    chunks: &'scope ChunkReader<'scope>,
    options: &'a RestoreOptions,
    progress: &'scope dyn Progress,
    workers: Workers<'w, 'scope>,
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
        items: ItemReader<'_>,
        selection: &mut Selection,
    ) -> Result<RestoreReport> {
        let (mut later, mut links) = (Later::default(), Links::default());
        for item in items {
            let Some(item) = self.contents(item?, selection, &mut links) else { continue };
            let ItemKind::File(content) = &item.kind else { continue };
            let name = lossy(&item.path);
            let target = Arc::new(Target::nowhere(&name));
            if let Err(error) = read_layout(content, item.size, self.chunks, &name) {
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
                    links.made(stored, Place { path, suffix: b"" });
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

    fn into_stream(
        mut self,
        items: ItemReader<'_>,
        selection: &mut Selection,
        out: &mut (dyn Write + Send),
    ) -> Result<RestoreReport> {
        let mut links = Links::default();
        for item in items {
            let Some(item) = self.contents(item?, selection, &mut links) else { continue };
            let Some(stored) = StoredFile::open(self.chunks.repository, &item)? else { continue };
            let stored = Arc::new(stored);
            let disk = match self.options.form {
                Form::Stored => Disk::Same,
                Form::Raw => Disk::open(stored.clone(), &item).map_err(|error| {
                    let name = lossy(&item.path);
                    Error::NotRestored(format!("{name}: {}", crate::error::message(&error)))
                })?,
            };
            self.report.bytes += match disk {
                Disk::Same => self.stream_file(stored, out)?,
                Disk::Plain(view) | Disk::Packed(view) => self.stream_file(view, out)?,
            };
            self.report.file_count += 1;
            unreadable(&item).iter().for_each(|problem| self.progress.problem(problem));
        }
        out.flush().map_err(stream_error)?;
        Ok(self.report)
    }

    /// Writes one file in order. A stream cannot be taken back, so the first error ends it.
    fn stream_file<S: Source + 'scope>(
        &mut self,
        source: Arc<S>,
        out: &mut (dyn Write + Send),
    ) -> Result<u64> {
        let len = source.len();
        let starts = (0..len).step_by(FILE_READ_LEN).map(Ok);
        let buffers = BufferPool::default();
        let read = self.workers.map(starts, move |start| {
            let mut buffer = buffers.get((len - start).min(FILE_READ_LEN as u64) as usize);
            source.read_at(buffer.bytes_mut(), start).map_err(|error| not_restored(&error))?;
            Ok(buffer)
        });
        for buffer in read {
            let buffer = buffer?;
            out.write_all(buffer.bytes()).map_err(stream_error)?;
            self.progress.advance(buffer.bytes().len() as u64);
        }
        Ok(len)
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
        for entry in RecipeReader::new(self.chunks, &content.recipe, target.name()) {
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
                plan.add(self.chunks.repository, target, at, id, u64::from(len))
            }
            Entry::Chunk { .. } => Ok(()),
        }
    }

    /// Reads every group of the plan and writes it to its places.
    fn execute(&mut self, plan: &mut ReadPlan) -> Result<()> {
        let (chunks, progress) = (self.chunks, self.progress);
        let groups = plan.take().into_iter().map(Ok);
        let done = self.workers.map(groups, move |group| {
            progress.advance(group.run(chunks.repository));
            Ok(())
        });
        done.collect()
    }

    /// Completes the files; gives the paths of those that could not be.
    fn finish_files(&mut self, files: &mut Vec<OpenFile>) -> Vec<Vec<u8>> {
        let mut failed = Vec::new();
        for OpenFile { item, path, target } in files.drain(..) {
            let len = target.file_len().unwrap_or(item.size);
            match Target::finish(target, &self.attributes(&item)) {
                Ok(()) => {
                    self.report.file_count += 1;
                    self.report.bytes += len;
                    unreadable(&item).iter().for_each(|problem| self.progress.problem(problem));
                }
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

    fn problem(&mut self, name: &str, error: &Error) {
        self.report.problem_count += 1;
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

fn stream_error(source: std::io::Error) -> Error {
    Error::System { what: "writing to the output", source }
}
