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
mod open;
mod plan;
mod select;
mod single;
mod target;

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use format::archive::{Content, Item, ItemKind};
use format::recipe::Entry;
use image::{Root, Source, SourceError, Time};

use crate::archive::{ItemReader, NamedArchive};
use crate::error::{Error, Result};
use crate::fetch::ChunkReader;
use crate::file::{StoredFile, read_layout};
use crate::limits::FILE_READ_LEN;
use crate::pipeline::{Workers, with_workers};
use crate::progress::{Phase, Problem, Progress};
use crate::recipe::RecipeReader;
use crate::repository::Repository;
use crate::store::Key;
use crate::window::BufferPool;

use disk::Disk;
use plan::ReadPlan;
pub use select::Selection;
use target::Target;

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
#[derive(Clone, Copy, Debug)]
pub struct RestoreOptions {
    /// Which zeros become holes. `Exact` is `Sparse` for a disk in another form than it was stored in.
    pub allocation: AllocationMode,
    /// What disk images come back as.
    pub form: Form,
    /// Threads that read, decompress and write; at least one.
    pub threads: usize,
    /// Whether to restore owners: only root can.
    pub owners: bool,
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
    target: Arc<Target>,
}

impl<'scope> Restorer<'_, '_, 'scope> {
    fn into_directory(
        mut self,
        items: ItemReader<'_>,
        selection: &mut Selection,
        root: &Root,
    ) -> Result<RestoreReport> {
        let mut plan = ReadPlan::default();
        let mut files: Vec<OpenFile> = Vec::new();
        // Directories get their attributes last, innermost first: writing into one changes its times.
        let mut directories = Vec::new();
        for item in items {
            let item = item?;
            if !selection.selects(&item.path) {
                continue;
            }
            let name = String::from_utf8_lossy(&item.path).into_owned();
            self.progress.note(&name);
            let made = match &item.kind {
                ItemKind::Directory => {
                    root.directory(&item.path).map(|()| None).map_err(Error::from)
                }
                ItemKind::Symlink(target) => self
                    .claim(&item.path)
                    .and_then(|()| Ok(root.symlink(target, &item.path)?))
                    .map(|()| None),
                ItemKind::File(content) => self.open_file(root, &item, content, &name),
            };
            match (made, &item.kind) {
                (Err(error), _) => self.problem(&name, &error),
                (Ok(Some(target)), ItemKind::File(content)) => {
                    self.plan_file(&mut plan, target, content, &item, &mut files)?;
                }
                (Ok(_), ItemKind::Directory) => directories.push(item),
                (Ok(_), _) => {}
            }
            if plan.is_full() || files.len() >= plan::FILES_MAX {
                self.execute(&mut plan)?;
                self.finish_files(&mut files);
            }
        }
        self.execute(&mut plan)?;
        self.finish_files(&mut files);
        for item in directories.iter().rev() {
            let set = root.set_metadata(&item.path, item.mode, self.owner(item), time(item));
            if let Err(error) = set {
                self.problem(&String::from_utf8_lossy(&item.path), &error.into());
            }
        }
        Ok(self.report)
    }

    fn into_nowhere(
        mut self,
        items: ItemReader<'_>,
        selection: &mut Selection,
    ) -> Result<RestoreReport> {
        let mut plan = ReadPlan::default();
        let mut files = Vec::new();
        for item in items {
            let item = item?;
            if !selection.selects(&item.path) {
                continue;
            }
            let name = String::from_utf8_lossy(&item.path).into_owned();
            self.progress.note(&name);
            if let ItemKind::File(content) = &item.kind {
                let target = Arc::new(Target::nowhere(&name));
                if let Err(error) = read_layout(content, item.size, self.chunks, &name) {
                    target.fail(None, &error);
                }
                self.plan_file(&mut plan, target, content, &item, &mut files)?;
                if plan.is_full() || files.len() >= plan::FILES_MAX {
                    self.execute(&mut plan)?;
                    self.finish_files(&mut files);
                }
            }
        }
        self.execute(&mut plan)?;
        self.finish_files(&mut files);
        Ok(self.report)
    }

    fn into_stream(
        mut self,
        items: ItemReader<'_>,
        selection: &mut Selection,
        out: &mut (dyn Write + Send),
    ) -> Result<RestoreReport> {
        for item in items {
            let item = item?;
            if !selection.selects(&item.path) {
                continue;
            }
            let Some(stored) = StoredFile::open(self.chunks.repository, &item)? else { continue };
            let stored = Arc::new(stored);
            let disk = match self.options.form {
                Form::Stored => Disk::Same,
                Form::Raw => Disk::open(stored.clone(), &item).map_err(|error| {
                    let name = String::from_utf8_lossy(&item.path);
                    Error::NotRestored(format!("{name}: {}", crate::error::message(&error)))
                })?,
            };
            self.report.bytes += match disk {
                Disk::Same => self.stream_file(stored, out)?,
                Disk::Plain(view) | Disk::Packed(view) => self.stream_file(view, out)?,
            };
            self.report.file_count += 1;
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
        plan: &mut ReadPlan,
        target: Arc<Target>,
        content: &Content,
        item: &Item,
        files: &mut Vec<OpenFile>,
    ) -> Result<()> {
        let mut at = 0;
        plan.hold(target.entries());
        for entry in RecipeReader::new(self.chunks, &content.recipe, target.name()) {
            let planned = entry.and_then(|entry| {
                self.plan_entry(plan, &target, at, &entry)?;
                Ok(entry.len())
            });
            match planned {
                Ok(len) => at += len,
                Err(error) => {
                    target.fail(None, &error);
                    break;
                }
            }
            if plan.is_full() {
                self.execute(plan)?;
                self.finish_files(files);
            }
        }
        files.push(OpenFile { item: item.clone(), target });
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

    fn finish_files(&mut self, files: &mut Vec<OpenFile>) {
        for OpenFile { item, target } in files.drain(..) {
            let owner = self.owner(&item);
            let len = target.file_len().unwrap_or(item.size);
            match Target::finish(target, item.mode, owner, time(&item)) {
                Ok(()) => {
                    self.report.file_count += 1;
                    self.report.bytes += len;
                }
                Err(error) => self.problem(&String::from_utf8_lossy(&item.path), &error),
            }
        }
    }

    fn owner(&self, item: &Item) -> Option<(u32, u32)> {
        self.options.owners.then_some((item.uid, item.gid))
    }

    fn problem(&mut self, name: &str, error: &Error) {
        self.report.problem_count += 1;
        let text = format!("{name}: not restored: {}", crate::error::message(error));
        self.progress.problem(&Problem { text });
    }
}

/// Bytes of the stream of an item.
fn length(item: Item) -> u64 {
    if matches!(item.kind, ItemKind::File(_)) { item.size } else { 0 }
}

fn time(item: &Item) -> Time {
    Time { secs: item.mtime.secs, nanos: item.mtime.nanos }
}

/// What is wrong with a file that was read to be restored.
fn not_restored(error: &SourceError) -> Error {
    Error::NotRestored(crate::error::message(error))
}

fn stream_error(source: std::io::Error) -> Error {
    Error::System { what: "writing to the output", source }
}
