//! The plan of a backup: which stretches of which streams are read, in what order. Made while the rest of the chain works.
//!
//! A file is not read at all when the previous archive of the same sources has it with the same size, times and inode, and
//! its last change was well before that archive began: a change within the same tick of the clock would not show.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use format::archive::{Content, Identity, Item, ItemKind, Side, Time};
use format::recipe::{CutterKind, Entry, Node, Recipe};
use image::{Extent, Kind, Metadata, RawFile, Source, SourceError, detect};

use super::{BackupOptions, Body, Draft, End, Input, Step, Tools};
use crate::cutters::CutterChoice;
use crate::error::Result;
use crate::fetch::ChunkReader;
use crate::progress::Progress;
use crate::recipe::RecipeReader;
use crate::repository::Repository;
use crate::walk::{Found, Walk, below};
use crate::window::{BufferPool, SourceWindows, StreamWindows, Stretch, Window};

/// Seconds that a file must not have changed before a backup began for its content to be trusted by the next: two, the
/// coarsest clock of a file system in use.
const SETTLED_SECS: i64 = 2;

/// Files below this are no images worth a look.
const IMAGE_LEN_MIN: u64 = 64 << 10;

/// The untouched files of the last archive of the same host and sources.
pub(super) struct Previous {
    files: HashMap<Vec<u8>, Item>,
}

impl Previous {
    /// Finds that archive. A damaged or vanished one is no reason to fail: then everything is read.
    ///
    /// Every chunk of the content that would be reused is looked up, because packs may have been lost since: some 10 ms for
    /// a gigabyte, and the only cost of an untouched file that grows with it.
    pub(super) fn find(
        repository: &Repository,
        options: &BackupOptions,
        sources: &[Vec<u8>],
        inputs: &[Input],
    ) -> Result<Self> {
        let none = Previous { files: HashMap::new() };
        let archives = repository.archive_names()?.into_iter();
        let last = archives
            .filter_map(|name| repository.archive(&name).ok())
            .filter(|found| found.archive.host == options.host && found.archive.sources == sources)
            .max_by_key(|found| found.archive.start);
        let Some(last) = last else { return Ok(none) };
        let Ok(items) = repository.items(&last) else { return Ok(none) };
        let chunks = ChunkReader::new(repository);
        let start = last.archive.start;
        let reusable = items.into_iter().filter(|item| {
            is_settled(item, start) && is_same(item, inputs) && is_there(item, &chunks)
        });
        Ok(Previous { files: reusable.map(|item| (item.path.clone(), item)).collect() })
    }

    /// The content of an untouched file.
    fn content(&mut self, item: &Item) -> Option<Content> {
        let before = self.files.remove(&item.path)?;
        let same =
            (before.size, before.mtime, before.identity) == (item.size, item.mtime, item.identity);
        match before.kind {
            ItemKind::File(content) if same => Some(content),
            _ => None,
        }
    }
}

/// Whether a change of the file after it was read would show in its times.
fn is_settled(item: &Item, start: Time) -> bool {
    !item.changed && item.identity.ctime.secs + SETTLED_SECS < start.secs
}

/// Whether the file is still there as it was.
fn is_same(item: &Item, inputs: &[Input]) -> bool {
    let found = inputs.iter().find_map(|input| match input {
        Input::Path(path) => below(path, &item.path),
        Input::Stream { .. } => None,
    });
    found.and_then(|path| std::fs::metadata(path).ok()).is_some_and(|stat| {
        let metadata = Metadata::from(&stat);
        (metadata.size, time(metadata.mtime), identity(&metadata))
            == (item.size, item.mtime, item.identity)
    })
}

/// Whether the repository still has every chunk of the item's content.
fn is_there(item: &Item, chunks: &ChunkReader<'_>) -> bool {
    let ItemKind::File(content) = &item.kind else { return false };
    let side = match &content.allocation {
        Side::Stream(recipe) => Some(recipe),
        Side::Inline(_) => None,
    };
    let recipes = [Some(&content.recipe), side];
    recipes.into_iter().flatten().all(|recipe| {
        RecipeReader::new(chunks, recipe, "").all(|entry| match entry {
            Ok(Entry::Chunk { id, .. }) => chunks.repository.index.contains(&id),
            Ok(Entry::Zero { .. }) => true,
            Err(_) => false,
        })
    })
}

/// Gives the steps of all inputs.
pub(super) struct Plan<'p> {
    inputs: VecDeque<Input>,
    walk: Option<Walk<'p>>,
    open: Option<Open>,
    buffers: &'p BufferPool,
    previous: Previous,
    options: &'p BackupOptions,
    progress: &'p dyn Progress,
    /// The lookahead of the cutters, in bytes.
    lookahead: usize,
}

/// The stream whose stretches are being given.
struct Open {
    begin: Option<Box<Draft>>,
    cutter: CutterKind,
    windows: Windows,
}

enum Windows {
    Source(Arc<dyn Source>, SourceWindows),
    Stream(StreamWindows),
}

type PlannedStep = Step<(Window, CutterKind)>;

impl<'p> Plan<'p> {
    pub(super) fn new(
        inputs: Vec<Input>,
        tools: &'p Tools<'_>,
        previous: Previous,
        options: &'p BackupOptions,
        progress: &'p dyn Progress,
    ) -> Self {
        Plan {
            inputs: inputs.into(),
            walk: None,
            open: None,
            buffers: &tools.buffers,
            previous,
            options,
            progress,
            lookahead: tools.cutters.lookahead(),
        }
    }

    /// The next stretch of the open stream.
    fn stretch(&mut self) -> Option<PlannedStep> {
        let open = self.open.as_mut()?;
        let stretch = match &mut open.windows {
            Windows::Source(_, windows) => windows.next(),
            Windows::Stream(windows) => match windows.next(self.buffers) {
                Ok(window) => Ok(window.map(Stretch::Window)),
                Err(error) => Err(SourceError::new(Path::new("standard input"), "read", error)),
            },
        };
        let cutter = open.cutter;
        let body = match stretch {
            Ok(Some(Stretch::Window(window))) => Body::Window(Ok((window, cutter))),
            Ok(Some(Stretch::Hole(len))) => Body::Hole(len),
            Ok(None) => Body::Nothing,
            Err(error) => Body::Window(Err(error)),
        };
        let begin = open.begin.take();
        let ended = match &open.windows {
            Windows::Source(_, windows) => windows.is_at_end(),
            Windows::Stream(windows) => windows.is_at_end(),
        };
        if ended || matches!(body, Body::Nothing | Body::Window(Err(_))) {
            let end = self.open.take().map(Open::end);
            return Some(Step { begin, body, end });
        }
        Some(Step { begin, body, end: None })
    }

    /// Starts the next object; `None` if there is none. A step of its own if it has no content to read.
    fn object(&mut self) -> Option<Option<PlannedStep>> {
        loop {
            if let Some(found) = self.walk.as_mut().and_then(Iterator::next) {
                let started = found.and_then(|found| self.start(found));
                match started {
                    Ok(Some(step)) => return Some(step),
                    Ok(None) => continue,
                    Err(error) => return Some(Some(failed(error))),
                }
            }
            self.walk = None;
            match self.inputs.pop_front()? {
                Input::Path(path) => self.walk = Some(Walk::new(&path, &self.options.skip)),
                Input::Stream { name, reader } => {
                    if let Err(error) = self.start_stream(name, reader) {
                        return Some(Some(failed(error)));
                    }
                    return Some(None);
                }
            }
        }
    }

    /// Starts one object of a tree; `Ok(None)` if it is passed over.
    fn start(&mut self, found: Found) -> Result<Option<Option<PlannedStep>>, SourceError> {
        let kind = match found.metadata.kind {
            _ if found.stored.is_empty() && found.metadata.kind == Kind::Directory => {
                return Ok(None);
            }
            Kind::Directory => ItemKind::Directory,
            Kind::Symlink => ItemKind::Symlink(image::read_link(&found.path)?),
            Kind::Regular => return self.start_file(found).map(Some),
            Kind::Block if found.named => return self.start_file(found).map(Some),
            Kind::Socket => return Ok(None),
            other => {
                let text = format!("{} is not stored", other.describe());
                let source = std::io::Error::new(std::io::ErrorKind::Unsupported, text);
                return Err(SourceError::new(&found.path, "back up", source));
            }
        };
        self.progress.note(&found.path.display().to_string());
        let item = self.item(&found.metadata, found.stored, kind);
        Ok(Some(Some(step_without_content(item))))
    }

    fn start_file(&mut self, found: Found) -> Result<Option<PlannedStep>, SourceError> {
        let nothing =
            || ItemKind::File(Content { recipe: empty(), allocation: Side::Inline(Vec::new()) });
        let mut item = self.item(&found.metadata, found.stored, nothing());
        let is_device = found.metadata.kind == Kind::Block;
        if !is_device && let Some(content) = self.previous.content(&item) {
            self.progress.note(&format!("{}: untouched", found.path.display()));
            self.progress.advance(item.size);
            item.kind = ItemKind::File(content);
            return Ok(Some(step_without_content(item)));
        }
        let file = RawFile::open(&found.path, found.named)?;
        let metadata = *file.metadata();
        item = self.item(&metadata, item.path, nothing());
        let cutter = self.choose(&file, &found.path);
        let source: Arc<dyn Source> = Arc::new(file);
        let windows = SourceWindows::new(source.clone(), self.lookahead);
        let draft = Box::new(Draft { item, cutter, streams: true });
        self.open =
            Some(Open { begin: Some(draft), cutter, windows: Windows::Source(source, windows) });
        Ok(None)
    }

    fn start_stream(
        &mut self,
        name: Vec<u8>,
        reader: Box<dyn std::io::Read + Send>,
    ) -> Result<(), SourceError> {
        let mut windows = StreamWindows::new(reader, self.lookahead);
        let path = Path::new("standard input");
        let head = windows.peek().map_err(|error| SourceError::new(path, "read", error))?;
        let cutter = self.choose(&Head(head), Path::new(""));
        let kind =
            ItemKind::File(Content { recipe: empty(), allocation: Side::Inline(Vec::new()) });
        let now = super::now();
        let item = Item {
            path: name,
            kind,
            mode: 0o600,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            size: 0,
            mtime: now,
            identity: Identity::default(),
            changed: false,
        };
        let draft = Box::new(Draft { item, cutter, streams: true });
        self.open = Some(Open { begin: Some(draft), cutter, windows: Windows::Stream(windows) });
        Ok(())
    }

    fn choose(&self, source: &dyn Source, path: &Path) -> CutterKind {
        let (cutter, why) = match self.options.cutter {
            CutterChoice::Always(cutter) => (cutter, "as asked".to_owned()),
            CutterChoice::Auto if source.len() < IMAGE_LEN_MIN => {
                (CutterKind::Fastcdc, "small".to_owned())
            }
            CutterChoice::Auto => {
                let detected = detect(source, path);
                let image = detected.is_image();
                (if image { CutterKind::Page } else { CutterKind::Fastcdc }, detected.to_string())
            }
        };
        let name = match cutter {
            CutterKind::Page => "page",
            CutterKind::Fastcdc => "fastcdc",
        };
        let shown = if path.as_os_str().is_empty() { Path::new("standard input") } else { path };
        self.progress.note(&format!("{}: cutter {name} ({why})", shown.display()));
        cutter
    }

    fn item(&self, metadata: &Metadata, path: Vec<u8>, kind: ItemKind) -> Item {
        let name = |names: &HashMap<u32, String>, id| names.get(&id).cloned().unwrap_or_default();
        let size = match kind {
            ItemKind::File(_) => metadata.size,
            _ => 0,
        };
        Item {
            path,
            kind,
            mode: metadata.mode,
            uid: metadata.uid,
            gid: metadata.gid,
            user: name(&self.options.users, metadata.uid),
            group: name(&self.options.groups, metadata.gid),
            size,
            mtime: time(metadata.mtime),
            identity: identity(metadata),
            changed: false,
        }
    }
}

impl Iterator for Plan<'_> {
    type Item = Result<PlannedStep>;

    fn next(&mut self) -> Option<Result<PlannedStep>> {
        loop {
            if let Some(step) = self.stretch() {
                return Some(Ok(step));
            }
            if let Some(step) = self.object()? {
                return Some(Ok(step));
            }
        }
    }
}

impl Open {
    fn end(self) -> End {
        match self.windows {
            Windows::Source(source, windows) => {
                let map = windows.allocation;
                let allocation = if map.is_dense() { Vec::new() } else { map.encode() };
                End { allocation, source: Some(source) }
            }
            Windows::Stream(_) => End { allocation: Vec::new(), source: None },
        }
    }
}

fn time(time: image::Time) -> Time {
    Time { secs: time.secs, nanos: time.nanos }
}

fn identity(metadata: &Metadata) -> Identity {
    Identity { device: metadata.dev, inode: metadata.ino, ctime: time(metadata.ctime) }
}

fn step_without_content(item: Item) -> PlannedStep {
    let draft = Box::new(Draft { item, cutter: CutterKind::Fastcdc, streams: false });
    Step { begin: Some(draft), body: Body::Nothing, end: None }
}

/// Something that could not be read and has no item.
fn failed(error: SourceError) -> PlannedStep {
    Step { begin: None, body: Body::Window(Err(error)), end: None }
}

fn empty() -> Recipe {
    Recipe { cutter: CutterKind::Fastcdc, root: Node::Leaf(Vec::new()) }
}

/// The first bytes of a pipe, for `detect`.
struct Head<'a>(&'a [u8]);

impl Source for Head<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
        Ok(Extent::Data { offset, len: self.len() - offset })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let mut rest = rest.iter();
        buf.fill_with(|| rest.next().copied().unwrap_or(0));
        Ok(())
    }

    fn changed(&self) -> Result<bool, SourceError> {
        Ok(false)
    }
}

/// The sum of the lengths of the inputs, if all of them are files or devices.
pub(super) fn total_len(inputs: &[Input]) -> Option<u64> {
    inputs.iter().try_fold(0, |sum, input| match input {
        Input::Path(path) => {
            let file = RawFile::open(path, true).ok()?;
            Some(sum + file.len())
        }
        Input::Stream { .. } => None,
    })
}
