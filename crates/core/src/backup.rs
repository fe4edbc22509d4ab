//! Backup: from paths and pipes to an archive.
//!
//! ```text
//! Plan --> read, scan --> cut ----> hash --> Collector --> items --> publish
//! walk     workers        in turn            admit new chunks, write recipes
//! ```
//!
//! A step goes down this chain for every window of every stream. One job takes it from reading to hashing, while it is in the
//! cache of one core; only the cut waits for that of the step before. The set of chunks depends on the content, the
//! repository's sizes and keys, never on the number of threads.

mod collect;
pub(crate) mod cutters;
mod divide;
mod elsewhere;
mod links;
mod overlap;
mod pipe;
mod plan;
mod previous;
mod reading;
mod walk;
mod window;

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use garret_chunker::{Piece, Scan, Segment, Stitcher};
use garret_format::ChunkId;
use garret_format::archive::{Archive, Item, Time, is_safe_path};
use garret_format::recipe::{CutterKind, Node, Recipe};
use garret_image::{AllocationMap, SourceError};

use crate::backup::cutters::{CutterChoice, Cutters};
use crate::backup::walk::absolute_path;
use crate::backup::window::{Loaded, Window};
use crate::buffers::{Buffer, BufferPool};
use crate::error::{Error, Result};
use crate::keys::chunk::ChunkHasher;
use crate::objects::archive::{NamedArchive, check_new_name, publish};
use crate::objects::group::Compression;
use crate::objects::index::Index;
use crate::pattern::Patterns;
use crate::pipeline::{Turn, with_threads};
use crate::progress::{Phase, Problem, Progress};
use crate::repository::{Exclusive, Repository, Writer};
use crate::write::{Written, write_chunks};

use collect::Collector;
use elsewhere::Elsewhere;
use plan::Plan;
use previous::Previous;
use reading::Reading;

/// What to back up.
pub enum Input {
    /// A file, block device or directory, or anything else with a name.
    Path(PathBuf),
    /// A pipe, stored as a file of this name if it can be read to its end.
    Stream {
        /// Relative path in the archive.
        name: Vec<u8>,
        /// Its content.
        reader: Box<dyn Read + Send>,
    },
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Input::Path(path) => f.debug_tuple("Path").field(path).finish(),
            Input::Stream { .. } => f.write_str("Stream"),
        }
    }
}

/// What becomes of a file of which something cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadErrors {
    /// It is not stored.
    #[default]
    Fail,
    /// The rest is stored, with zeros for what cannot be read, and where those are.
    Zero,
}

/// How to back up.
#[derive(Clone, Debug, Default)]
pub struct BackupOptions {
    /// Which cutter.
    pub cutter: CutterChoice,
    /// How new groups are compressed.
    pub compression: Compression,
    /// Threads that read, hash and compress; at least one.
    pub threads: usize,
    /// What becomes of a file of which something cannot be read.
    pub read_errors: ReadErrors,
    /// The current directory, which relative paths start from.
    pub base: PathBuf,
    /// Recorded in the archive.
    pub host: String,
    /// Recorded in the archive.
    pub user: String,
    /// Recorded in the archive.
    pub command: Vec<Vec<u8>>,
    /// Names of users by number; none are recorded of those that are not here.
    pub users: HashMap<u32, String>,
    /// Names of groups by number.
    pub groups: HashMap<u32, String>,
    /// Directories that are passed over, by device and inode: the repository and the cache.
    pub skip: HashSet<(u64, u64)>,
    /// Paths that are passed over, by the path that was named and what is below it.
    pub exclude: Patterns,
    /// Pass over directories that hold a tag that says they are caches.
    pub exclude_caches: bool,
    /// Pass over what is on another file system than the path that was named.
    pub one_file_system: bool,
    /// Read what comes out of a named pipe that was named, instead of storing that there is one.
    pub read_special: bool,
    /// End the backup if a stream has no byte, instead of storing an empty file.
    pub refuse_empty: bool,
}

/// What a backup did.
#[derive(Clone, Debug)]
pub struct BackupReport {
    /// The archive as it was published.
    pub archive: NamedArchive,
    /// What was new in the repository.
    pub written: Written,
    /// Bytes of files that were taken from the previous archive without being read.
    pub untouched_bytes: u64,
    /// Bytes known to be zero from maps of holes, not read.
    pub hole_bytes: u64,
}

/// What the workers share.
struct Tools<'r> {
    cutters: Cutters,
    hasher: &'r ChunkHasher,
    buffers: BufferPool,
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
        run(self, name, inputs, options, progress)
    }
}

impl Exclusive {
    /// Makes an archive as [`Writer::backup`] does, while nobody else is there.
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
        run(self, name, inputs, options, progress)
    }
}

fn run(
    repository: &Repository,
    name: &str,
    inputs: Vec<Input>,
    options: &BackupOptions,
    progress: &dyn Progress,
) -> Result<BackupReport> {
    let made =
        repository.growing(|index| backup(repository, index, name, inputs, options, progress));
    let (report, needed) = made?;
    elsewhere::tell(repository, &report.archive, &needed, progress);
    Ok(report)
}

fn backup(
    repository: &Repository,
    index: &mut Index,
    name: &str,
    inputs: Vec<Input>,
    options: &BackupOptions,
    progress: &dyn Progress,
) -> Result<(BackupReport, Vec<Elsewhere>)> {
    check_new_name(repository.store(), name)?;
    let mut archive = head(name, &inputs, options)?;
    let previous = Previous::find(repository, options, &archive.sources, &inputs)?;
    let cutters = Cutters::new(repository.config(), repository.keys())?;
    let tools = Tools { cutters, hasher: repository.hasher(), buffers: BufferPool::default() };
    let target = repository.target(index);
    progress.begin(Phase::Backup, plan::total_len(&inputs));
    let (collected, written) = with_threads(options.threads, 1, |threads| {
        write_chunks(target, options.compression, threads, |writer| {
            let plan = Plan::new(inputs, &tools, previous, options, progress);
            let hashed =
                threads.workers.map_in_turn(plan, |step, turn| Ok(into_chunks(step, turn, &tools)));
            let mut collector = Collector::new(&tools.cutters, progress);
            for step in hashed {
                collector.take(step?, writer)?;
            }
            collector.finish(writer)
        })
    })?;
    progress.end();
    archive.end = now();
    archive.original_len = collected.original_len;
    archive.file_count = collected.file_count;
    archive.problem_count = collected.problem_count;
    archive.problems = collected.problems;
    archive.items = collected.items;
    let fingerprint = publish(repository.store(), repository.metadata(), &archive)?;
    // Each of its chunks was found in the index or came into it.
    index.note_complete(&previous::job(&archive), &fingerprint);
    repository.tell(progress);
    let archive = NamedArchive { name: name.to_owned(), archive, fingerprint };
    let report = BackupReport {
        archive,
        written,
        untouched_bytes: collected.untouched_bytes,
        hole_bytes: collected.hole_bytes,
    };
    Ok((report, collected.elsewhere))
}

/// A stretch of one stream on its way down the chain. The first one of a stream brings the item it belongs to, and what came
/// before that without a stream.
struct Step<W> {
    before: Vec<Planned>,
    begin: Option<Box<Draft>>,
    /// Whether a section of the stream begins here: it is cut as a stream of its own.
    fresh: bool,
    /// Bytes of the file that are done with it.
    advance: u64,
    body: Body<W>,
    end: Option<End>,
}

enum Body<W> {
    /// Bytes that are read, scanned, cut and hashed; or that could not be read.
    Window(Result<W, SourceError>),
    /// Whole windows of hole.
    Hole(u64),
    /// No content.
    Nothing,
}

/// What the plan found that has no stream of its own.
enum Planned {
    /// An item without content, or with that of the previous archive.
    Item(Box<Item>),
    /// Something that is not stored.
    Problem(Problem),
    /// Another file that the disk in the item before needs.
    Elsewhere(Elsewhere),
}

impl<W> Step<W> {
    fn map<V>(self, work: impl FnOnce(W) -> Result<V, SourceError>) -> Step<V> {
        let body = match self.body {
            Body::Window(window) => Body::Window(window.and_then(work)),
            Body::Hole(len) => Body::Hole(len),
            Body::Nothing => Body::Nothing,
        };
        Step {
            before: self.before,
            begin: self.begin,
            fresh: self.fresh,
            advance: self.advance,
            body,
            end: self.end,
        }
    }
}

/// An item that lacks only what its content will give.
struct Draft {
    item: Item,
    cutter: CutterKind,
}

/// What is known when the whole stream was planned.
#[derive(Default)]
struct End {
    /// Where the stream lies in the file, encoded; empty if it is the file.
    layout: Vec<u8>,
    /// The holes of the file.
    allocation: Option<Arc<AllocationMap>>,
    /// The file, unless it is a pipe.
    reading: Option<Arc<Reading>>,
}

/// From a window of a stream to its chunks and their names.
fn into_chunks(
    step: Step<(Window, CutterKind)>,
    turn: Turn<Cutting>,
    tools: &Tools<'_>,
) -> Step<Hashed> {
    let scanned = step.map(|window| scan(window, tools));
    let cut = turn.take(|cutting| cut(scanned, cutting, tools));
    cut.map(|cut| Ok(hash(cut, tools)))
}

/// First station: reads a window, finds its zero runs and possible cuts.
fn scan((window, cutter): (Window, CutterKind), tools: &Tools<'_>) -> Result<Scanned, SourceError> {
    let loaded = window.load(&tools.buffers)?;
    let scan = tools.cutters.get(cutter).scan(&segment(&loaded));
    Ok(Scanned { loaded, cutter, scan })
}

/// A window and where its stream may be cut.
struct Scanned {
    loaded: Loaded,
    cutter: CutterKind,
    scan: Scan,
}

fn segment(loaded: &Loaded) -> Segment<'_> {
    Segment {
        bytes: loaded.buffer.bytes(),
        own: loaded.own,
        last: loaded.last,
        known_zero: &loaded.known_zero,
    }
}

/// What goes from one cut to the next.
#[derive(Default)]
struct Cutting {
    stitcher: Stitcher,
    /// Whether the file ended in a window before, so that what was planned behind it does not exist.
    ended: bool,
}

/// Second station: which of the possible cuts are cuts.
fn cut(mut step: Step<Scanned>, cutting: &mut Cutting, tools: &Tools<'_>) -> Step<Cut> {
    if step.begin.is_some() {
        cutting.ended = false;
    }
    if step.fresh {
        cutting.stitcher = Stitcher::new();
    }
    if cutting.ended && !matches!(step.body, Body::Window(Err(_))) {
        step.body = Body::Nothing;
    }
    if let Body::Hole(len) = step.body {
        // The recipe takes the run from the step; only the stitcher must know of it.
        cutting.stitcher.skip_zero(len, &mut Vec::new());
    }
    step.map(|Scanned { loaded, cutter, scan }| {
        let mut pieces = Vec::new();
        let cutter = tools.cutters.get(cutter);
        let start = cutting.stitcher.stitch(cutter, &segment(&loaded), &scan, &mut pieces);
        cutting.ended = loaded.short;
        Ok(Cut { buffer: loaded.buffer, start, pieces })
    })
}

/// A window that is cut.
struct Cut {
    buffer: Buffer,
    /// Where the first piece starts in the buffer.
    start: usize,
    pieces: Vec<Piece>,
}

/// A window whose chunks have their names.
struct Hashed {
    cut: Cut,
    /// The ids of the chunks among the pieces, in order.
    ids: Vec<ChunkId>,
}

/// Third station: names the chunks.
fn hash(cut: Cut, tools: &Tools<'_>) -> Hashed {
    let ids = cut.chunks().map(|chunk| tools.hasher.hash(chunk)).collect();
    Hashed { cut, ids }
}

impl Cut {
    /// The bytes of the chunks among the pieces, in order.
    fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = self.start;
        self.pieces.iter().filter_map(move |piece| match *piece {
            Piece::Zero(len) => {
                at += len as usize;
                None
            }
            Piece::Chunk(len) => {
                let chunk = self.buffer.bytes().get(at..at + len);
                at += len;
                chunk
            }
        })
    }
}

/// What is known of the archive before anything is read.
///
/// # Errors
/// `BadOption` if the archive could be made but never be read again.
fn head(name: &str, inputs: &[Input], options: &BackupOptions) -> Result<Archive> {
    for input in inputs {
        if let Input::Stream { name, .. } = input
            && !is_safe_path(name)
        {
            let name = String::from_utf8_lossy(name);
            return Err(Error::BadOption(format!("{name:?} cannot be the path of a file")));
        }
    }
    let start = now();
    let archive = Archive {
        name: name.to_owned(),
        start,
        end: start,
        host: options.host.clone(),
        user: options.user.clone(),
        command: options.command.clone(),
        sources: sources(inputs, options),
        original_len: 0,
        file_count: 0,
        problem_count: 0,
        problems: Vec::new(),
        items: Recipe { cutter: CutterKind::Fastcdc, root: Node::Leaf(Vec::new()) },
    };
    match Archive::decode(&archive.encode()) {
        Ok(_) => Ok(archive),
        Err(error) => Err(Error::BadOption(format!(
            "the command line, host or paths are longer than an archive can record: {error}"
        ))),
    }
}

/// The absolute paths of what was asked for: two backups with the same are the same job.
fn sources(inputs: &[Input], options: &BackupOptions) -> Vec<Vec<u8>> {
    let source = |input: &Input| match input {
        Input::Path(path) => absolute_path(&options.base, path),
        Input::Stream { name, .. } => name.clone(),
    };
    inputs.iter().map(source).collect()
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { secs: since.as_secs() as i64, nanos: since.subsec_nanos() }
}
