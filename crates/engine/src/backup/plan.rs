//! The plan of a backup: which stretches of which streams are read, in what order. Made while the rest of the chain works.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use format::archive::{Content, Identity, Item, ItemKind, Side, Time};
use format::recipe::{CutterKind, Node, Recipe, STREAM_LEN_MAX};
use image::{Extent, Kind, Metadata, RawFile, Source, SourceError};

use super::divide::{Choice, Divided, Part, choose, divide};
use super::previous::Previous;
use super::{BackupOptions, Body, Draft, End, Input, Step, Tools};
use crate::error::Result;
use crate::limits::WINDOW_LEN;
use crate::progress::Progress;
use crate::walk::{Found, Walk};
use crate::window::{BufferPool, SourceWindows, StreamWindows, Stretch, StretchBody, Window};

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

/// The item whose stream is being given.
struct Open {
    begin: Option<Box<Draft>>,
    /// What is left of the stream.
    parts: VecDeque<(CutterKind, Windows)>,
    end: End,
}

enum Windows {
    Source(SourceWindows),
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

    /// The next stretch of the open item.
    fn stretch(&mut self) -> Option<PlannedStep> {
        let mut open = self.open.take()?;
        let mut step = Step {
            begin: open.begin.take(),
            fresh: false,
            advance: 0,
            body: Body::Nothing,
            end: None,
        };
        while let Some((cutter, windows)) = open.parts.front_mut() {
            let (stretch, ended) = windows.next(self.buffers);
            match stretch {
                Ok(Some(stretch)) => {
                    step.fresh = stretch.fresh;
                    // Of a divided file only what is not in holes has been in the file for certain.
                    step.advance =
                        if open.end.layout.is_empty() { stretch.len } else { stretch.data };
                    step.body = match stretch.body {
                        StretchBody::Window(window) => Body::Window(Ok((window, *cutter))),
                        StretchBody::Hole => Body::Hole(stretch.len),
                    };
                }
                Ok(None) => {}
                Err(error) => {
                    step.body = Body::Window(Err(error));
                    open.parts.clear();
                    break;
                }
            }
            if ended && let Some((_, ended)) = open.parts.pop_front() {
                open.end.learn(ended);
            }
            if !matches!(step.body, Body::Nothing) {
                break;
            }
        }
        if open.parts.is_empty() {
            step.end = Some(open.end);
        } else {
            self.open = Some(open);
        }
        Some(step)
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
        let mut item = self.item(&found.metadata, found.stored, ItemKind::File(nothing()));
        let is_device = found.metadata.kind == Kind::Block;
        if !is_device && let Some(content) = self.previous.content(&item) {
            self.progress.note(&format!("{}: untouched", found.path.display()));
            self.progress.advance(item.size);
            item.kind = ItemKind::File(content);
            return Ok(Some(step_without_content(item)));
        }
        let file = RawFile::open(&found.path, found.named)?;
        let metadata = *file.metadata();
        item = self.item(&metadata, item.path, ItemKind::File(nothing()));
        let Divided { parts, layout, allocation, why } =
            divide(Arc::new(file), &found.path, self.options.cutter)?;
        self.progress.note(&format!("{}: {why}", found.path.display()));
        let source = parts.first().map(|part| part.source.clone());
        let cutter = parts.first().map_or(CutterKind::Fastcdc, |part| part.cutter);
        let windows = |part: Part| {
            let windows = SourceWindows::new(part.source, &part.starts, self.lookahead);
            (part.cutter, Windows::Source(windows))
        };
        let end = End { layout, allocation, source };
        let parts = parts.into_iter().map(windows).collect();
        let begin = Some(Box::new(Draft { item, cutter, streams: true }));
        self.open = Some(Open { begin, parts, end });
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
        let Choice { cutter, starts, why, .. } =
            choose(&Head(head), Path::new(""), self.options.cutter);
        self.progress.note(&format!("{}: {why}", path.display()));
        windows.set_starts(&starts);
        let item = Item {
            path: name,
            kind: ItemKind::File(nothing()),
            mode: 0o600,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            size: 0,
            mtime: super::now(),
            identity: Identity::default(),
            changed: false,
        };
        let begin = Some(Box::new(Draft { item, cutter, streams: true }));
        let parts = VecDeque::from([(cutter, Windows::Stream(windows))]);
        self.open = Some(Open { begin, parts, end: End::default() });
        Ok(())
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

impl Windows {
    /// The next stretch, and whether it is the last.
    fn next(&mut self, buffers: &BufferPool) -> (Result<Option<Stretch>, SourceError>, bool) {
        match self {
            Windows::Source(windows) => (windows.next(), windows.is_at_end()),
            Windows::Stream(windows) => {
                let name = Path::new("standard input");
                let stretch = windows.next(buffers);
                let stretch = stretch.map_err(|error| SourceError::new(name, "read", error));
                (stretch, windows.is_at_end())
            }
        }
    }
}

impl End {
    /// Takes over what is known when a part is at its end.
    fn learn(&mut self, ended: Windows) {
        if let Windows::Source(windows) = ended {
            self.allocation.get_or_insert_with(|| Arc::new(windows.allocation));
        }
    }
}

pub(super) fn time(time: image::Time) -> Time {
    Time { secs: time.secs, nanos: time.nanos }
}

pub(super) fn identity(metadata: &Metadata) -> Identity {
    Identity { device: metadata.dev, inode: metadata.ino, ctime: time(metadata.ctime) }
}

fn step_without_content(item: Item) -> PlannedStep {
    let draft = Box::new(Draft { item, cutter: CutterKind::Fastcdc, streams: false });
    Step { begin: Some(draft), fresh: false, advance: 0, body: Body::Nothing, end: None }
}

/// Something that could not be read and has no item.
fn failed(error: SourceError) -> PlannedStep {
    Step { begin: None, fresh: false, advance: 0, body: Body::Window(Err(error)), end: None }
}

fn nothing() -> Content {
    let none = || Side::Inline(Vec::new());
    let recipe = Recipe { cutter: CutterKind::Fastcdc, root: Node::Leaf(Vec::new()) };
    Content { recipe, layout: none(), allocation: none() }
}

/// The first bytes of a pipe, for `detect`: a window, or all there are. What lies behind a window cannot be read, and nobody
/// knows how long it is.
struct Head<'a>(&'a [u8]);

impl Source for Head<'_> {
    fn len(&self) -> u64 {
        if self.0.len() < WINDOW_LEN { self.0.len() as u64 } else { STREAM_LEN_MAX }
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
        Ok(Extent::Data { offset, len: self.len() - offset })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..));
        let Some(bytes) = rest.and_then(|rest| rest.get(..buf.len())) else {
            let path = Path::new("standard input");
            return Err(SourceError::new(path, "look ahead", ErrorKind::UnexpectedEof));
        };
        buf.copy_from_slice(bytes);
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
