//! Backup: from paths and pipes to an archive.
//!
//! ```text
//! Plan --> read, scan --> cut ----> hash --> Collector --> items --> publish
//! walk     workers        in turn            admit new chunks, write recipes
//! ```
//!
//! Before that a sample of what is stored is read (`sample`): nothing is built on what is found damaged.
//!
//! A step goes down this chain for every window of every stream. One job takes it from reading to hashing, while it is in the
//! cache of one core; only the cut waits for that of the step before. The set of chunks depends on the content, the
//! repository's sizes and keys, never on the number of threads.

mod base;
mod collect;
pub(crate) mod cutters;
mod divide;
mod elsewhere;
mod given;
mod links;
pub(crate) mod options;
mod overlap;
mod pipe;
mod plan;
mod previous;
mod reading;
mod sample;
mod stat;
mod stations;
mod step;
mod total;
mod walk;
mod window;

use garret_format::archive::Archive;
use garret_format::recipe::{CutterKind, Node, Recipe};

use crate::buffers::BufferPool;
use crate::error::{Error, Result, message};
use crate::objects::archive::{NamedArchive, check_form, check_new_name, now, seal};
use crate::objects::index::Index;
use crate::objects::tags::check_tags;
use crate::pipeline::{both, with_threads};
use crate::progress::{Phase, Progress};
use crate::repository::{Adding, Pruner, Writer};
use crate::write::{Written, write_chunks};

use collect::{Collected, Collector};
use cutters::Cutters;
use elsewhere::Elsewhere;
use options::{BackupOptions, Input};
use plan::Plan;
use previous::Previous;
use stations::{Tools, into_chunks};
use total::inputs_len;
use walk::absolute_path;

/// What a backup did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BackupReport {
    /// The archive as it was published.
    pub archive: NamedArchive,
    /// What was new in the repository.
    pub written: Written,
    /// Bytes of files that were taken from the previous archive without being read.
    pub untouched_bytes: u64,
    /// Bytes of sources that were taken from the recipes of their bases without being read.
    pub same_bytes: u64,
    /// Bytes known to be zero from maps of holes, not read.
    pub hole_bytes: u64,
}

impl Writer {
    /// Makes the archive `name` of `inputs`.
    ///
    /// What cannot be read is reported as a problem and left out, or stored in part if the options say so; the archive is
    /// made of the rest. What changed while it was read is stored as it was read, and a warning. A stream that breaks off is
    /// another matter: what came of it may look like all there was.
    ///
    /// # Errors
    /// `ArchiveExists`, `BadName` before anything is read; `NothingStored` if nothing could be read; `Source` for a stream
    /// that cannot be read to its end, `EmptyStream` for one that is empty if that is refused; anything that is wrong with
    /// the repository. No archive is made then.
    pub fn backup(
        &mut self,
        name: &str,
        inputs: Vec<Input>,
        options: &BackupOptions,
        progress: &dyn Progress,
    ) -> Result<BackupReport> {
        run(self.adding(), name, inputs, options, progress)
    }
}

impl Pruner {
    /// Makes an archive as [`Writer::backup`] does, while nobody else deletes.
    ///
    /// # Errors
    /// As of [`Writer::backup`].
    pub fn backup(
        &mut self,
        name: &str,
        inputs: Vec<Input>,
        options: &BackupOptions,
        progress: &dyn Progress,
    ) -> Result<BackupReport> {
        run(self.adding(), name, inputs, options, progress)
    }
}

fn run(
    session: Adding<'_>,
    name: &str,
    inputs: Vec<Input>,
    options: &BackupOptions,
    progress: &dyn Progress,
) -> Result<BackupReport> {
    check_form(name)?;
    let sources = sources(&inputs, options);
    let look = || -> Result<_> {
        check_new_name(session.store(), name)?;
        previous::last(&session, &options.host, &sources, progress)
    };
    let sample = || match options.skip_sample {
        true => Ok(()),
        false => session.growing(|index| sample::take(&session, index, options.threads, progress)),
    };
    if session.first_sight().is_ok_and(|sight| sight.has(name)) {
        // It may have been deleted since. If not, nothing is read in vain.
        check_new_name(session.store(), name)?;
    }
    let (last, ()) = both(session.store().properties().in_flight, look, sample)?;
    let made = session.growing(|index| {
        let given = Given { name, inputs, sources, last };
        backup(session, index, given, options, progress)
    });
    let (report, needed) = made?;
    elsewhere::tell(&session, &report.archive, &needed, progress);
    Ok(report)
}

/// What an archive is made of.
struct Given<'n> {
    name: &'n str,
    inputs: Vec<Input>,
    /// Their absolute paths.
    sources: Vec<Vec<u8>>,
    /// The last archive of the same.
    last: Option<NamedArchive>,
}

fn backup(
    session: Adding<'_>,
    index: &mut Index,
    given: Given<'_>,
    options: &BackupOptions,
    progress: &dyn Progress,
) -> Result<(BackupReport, Vec<Elsewhere>)> {
    let Given { name, inputs, sources, last } = given;
    let mut archive = head(name, &inputs, sources, options)?;
    // After the sample: what is damaged is not taken over.
    let previous = Previous::of(&session, last, &options.host, &archive.sources, &inputs);
    let (collected, written) = store(session, index, inputs, previous, options, progress)?;
    let Collected { items, counts, problems, elsewhere } = collected;
    archive.end = options.time.unwrap_or_else(now);
    archive.original_len = counts.original_len;
    archive.file_count = counts.file_count;
    archive.problem_count = counts.problem_count;
    archive.problems = problems;
    archive.read_len = counts.read_len();
    archive.new_len = written.chunk_bytes;
    archive.stored_len = written.pack_bytes;
    archive.items = items;
    let sealed = seal(session.metadata(), &archive)?;
    let fingerprint = session.publish(name, &sealed)?;
    // Each of its chunks was found in the index or came into it.
    let job = previous::job(&archive.host, &archive.sources);
    index.note_complete(&job, name, &fingerprint);
    session.tell(progress);
    let (name, len) = (name.to_owned(), sealed.len() as u64);
    let report = BackupReport {
        archive: NamedArchive { name, archive, fingerprint, len },
        written,
        untouched_bytes: counts.untouched_bytes,
        same_bytes: counts.same_bytes,
        hole_bytes: counts.hole_bytes,
    };
    Ok((report, elsewhere))
}

/// The path of the data: stores what is new of the inputs, and their recipes and items.
fn store(
    session: Adding<'_>,
    index: &mut Index,
    inputs: Vec<Input>,
    previous: Previous,
    options: &BackupOptions,
    progress: &dyn Progress,
) -> Result<(Collected, Written)> {
    let cutters = Cutters::new(session.config(), session.keys())?;
    let (hasher, buffers) = (session.hasher(), BufferPool::default());
    let tools = Tools { cutters, hasher, index: index.clone(), buffers };
    let target = session.target(index);
    let task = progress.begin(Phase::Backup, inputs_len(&inputs, options));
    let stored = with_threads(options.threads, 1, |threads| {
        write_chunks(target, options.compression, threads, |writer| {
            let told = (progress, &*task);
            let plan = Plan::new(&session, inputs, &tools, previous, options, told);
            let hashed =
                threads.workers.map_in_turn(plan, |step, turn| Ok(into_chunks(step, turn, &tools)));
            let mut collector = Collector::new(&tools.cutters, progress, &*task);
            for step in hashed {
                collector.take(step?, writer)?;
            }
            collector.finish(writer)
        })
    })?;
    drop(task);
    if let Some(error) = tools.index.unread() {
        let why = message(&error);
        progress.notice(&format!("{why}: what was not found there was stored again"));
    }
    Ok(stored)
}

/// What is known of the archive before anything is read.
///
/// # Errors
/// `BadOption` if the archive could be made but never be read again.
fn head(
    name: &str,
    inputs: &[Input],
    sources: Vec<Vec<u8>>,
    options: &BackupOptions,
) -> Result<Archive> {
    check_tags(&options.tags)?;
    for input in inputs {
        match input {
            Input::Path(_) => {}
            Input::Named { name, .. } => given::check(name, 0)?,
            Input::Stream { name, .. } => given::check(name, 0)?,
            Input::Source { item, source, .. } => given::check(&item.path, source.len())?,
        }
    }
    let start = options.time.unwrap_or_else(now);
    // The next backup of the same files would take over what changed until then.
    if start > now() {
        return Err(Error::BadOption(
            "an archive cannot be of a time that is yet to come".to_owned(),
        ));
    }
    let items = Recipe { cutter: CutterKind::Fastcdc, root: Node::Leaf(Vec::new()) };
    let archive = Archive {
        start,
        end: start,
        host: options.host.clone(),
        user: options.user.clone(),
        command: options.command.clone(),
        sources,
        comment: options.comment.clone(),
        tags: options.tags.clone(),
        ..Archive::new(name, items)
    };
    match Archive::decode(&archive.encode()) {
        Ok(_) => Ok(archive),
        Err(error) => Err(Error::BadOption(format!(
            "the command line, host, comment or paths are longer than an archive can record: {error}"
        ))),
    }
}

/// The absolute paths of what was asked for: two backups with the same are the same job.
fn sources(inputs: &[Input], options: &BackupOptions) -> Vec<Vec<u8>> {
    let source = |input: &Input| match input {
        Input::Path(path) | Input::Named { path, .. } => absolute_path(&options.base, path),
        Input::Stream { name, .. } => name.clone(),
        Input::Source { item, .. } => item.path.clone(),
    };
    inputs.iter().map(source).collect()
}
