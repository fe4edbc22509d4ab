//! The plan of a backup: which stretches of which streams are read, in what order. Made while the rest of the chain works.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use garret_format::archive::{Device, FLAGS, Identity, Item, ItemKind, XATTRS_LEN_MAX};
use garret_format::recipe::CutterKind;
use garret_image::{Extra, FileKind, Metadata, RawFile, Source, SourceError};

use super::base::BaseFile;
use super::divide::{Choice, Divided, StreamPart, choose, divide};
use super::elsewhere::Places;
use super::given::{self, Given};
use super::links::Links;
use super::options::{BackupOptions, Base, Input, SourceItem};
use super::overlap::{Overlap, Verdict};
use super::pipe::{PIPE, PipeHead, piped};
use super::previous::Previous;
use super::reading::Reading;
use super::stat::{identity, nothing, time};
use super::stations::Tools;
use super::step::{Body, Draft, End, Planned, Same, Step};
use crate::backup::walk::{Found, Rules, Walk};
use crate::backup::window::{SourceWindows, StreamWindows, StretchBody, Window, Windows};
use crate::buffers::BufferPool;
use crate::error::{Cause, Error, Result};
use crate::progress::{Note, Problem, Progress, Task};
use crate::repository::Repository;

/// Items without a stream that go down the chain together: one step for each would cost more than the item.
const TOGETHER: usize = 256;

/// Gives the steps of all inputs.
pub(super) struct Plan<'p> {
    repository: &'p Repository,
    inputs: VecDeque<Input>,
    /// The walk of the input that is being walked, which was named so.
    walk: Option<(Walk<'p>, PathBuf)>,
    overlap: Overlap,
    places: Places,
    /// What was found since the last step.
    ready: Vec<Planned>,
    open: Option<OpenStream<'p>>,
    /// What is wrong with a stream. It ends the backup: the part that came must not look like all there was.
    broken: Option<Error>,
    links: Links,
    buffers: &'p BufferPool,
    previous: Previous,
    options: &'p BackupOptions,
    progress: &'p dyn Progress,
    task: &'p dyn Task,
    /// The lookahead of the cutters, in bytes.
    lookahead: usize,
}

/// The item whose stream is being given.
struct OpenStream<'p> {
    begin: Option<Box<Draft>>,
    /// What is left of the stream.
    parts: VecDeque<(CutterKind, Windows<'p>)>,
    end: End,
}

type PlannedStep = Step<(Window, CutterKind)>;

impl<'p> Plan<'p> {
    pub(super) fn new(
        repository: &'p Repository,
        inputs: Vec<Input>,
        tools: &'p Tools<'_>,
        previous: Previous,
        options: &'p BackupOptions,
        (progress, task): (&'p dyn Progress, &'p dyn Task),
    ) -> Self {
        Plan {
            repository,
            overlap: Overlap::new(&inputs, &rules(options)),
            places: Places::new(&inputs, options),
            inputs: inputs.into(),
            walk: None,
            ready: Vec::new(),
            open: None,
            broken: None,
            links: Links::default(),
            buffers: &tools.buffers,
            previous,
            options,
            progress,
            task,
            lookahead: tools.cutters.lookahead(),
        }
    }

    /// The next stretch of the open item.
    fn stretch(&mut self) -> Option<PlannedStep> {
        let mut open = self.open.take()?;
        let mut step = Step {
            before: std::mem::take(&mut self.ready),
            begin: open.begin.take(),
            fresh: false,
            advance: 0,
            body: Body::Nothing,
            end: None,
        };
        if open.end.reading.as_ref().is_some_and(|reading| reading.is_lost()) {
            open.parts.clear();
        }
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
                        StretchBody::Same(known, window) => {
                            Body::Same(Box::new(Same { known, window, cutter: *cutter }))
                        }
                        StretchBody::Hole => Body::Hole(stretch.len),
                    };
                }
                Ok(None) => {}
                Err(error) if matches!(windows, Windows::Stream(..)) => {
                    self.broken = Some(error.into());
                    return None;
                }
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

    /// Starts the next object; false if there is none.
    fn object(&mut self) -> bool {
        if let Some(found) = self.walk.as_mut().and_then(|(walk, _)| walk.next()) {
            if let Err(error) = found.and_then(|found| self.judge(found)) {
                self.ready.push(Planned::Problem(Problem::unread(&error)));
            }
            return true;
        }
        if let Some(bare) = self.walk.take().and_then(|(walk, _)| walk.bare()) {
            let problem =
                Problem::loss(Cause::Missing, bare.display(), "holds no files; is it mounted?");
            self.ready.push(Planned::Problem(problem));
        }
        match self.inputs.pop_front() {
            None => return false,
            Some(Input::Path(path)) => {
                self.walk = Some((Walk::new(&path, rules(self.options)), path));
            }
            Some(Input::Named { path, name }) => {
                let walk = Walk::new(&path, rules(self.options)).stored_as(name);
                self.walk = Some((walk, path));
            }
            Some(Input::Stream { name, reader }) => {
                if self.is_free(&name, PIPE) {
                    self.start_stream(piped(name), Path::new(PIPE), reader);
                }
            }
            Some(Input::Source { item, source, base }) => {
                if self.is_free(&item.path, "a source") {
                    self.start_source(item, source, base.as_ref());
                }
            }
        }
        true
    }

    /// Whether what is no file, and errors call `subject`, can have that path in the archive.
    fn is_free(&mut self, path: &[u8], subject: &str) -> bool {
        let Verdict::Taken(why) = self.overlap.judge_pipe(path) else { return true };
        let what = format!("not stored as {}: {why}", lossy(path));
        self.ready.push(Planned::Problem(Problem::loss(Cause::Taken, subject, what)));
        false
    }

    /// Starts one object of a tree, unless its path in the archive is taken.
    fn judge(&mut self, found: Found) -> Result<(), SourceError> {
        let why = match self.overlap.judge(&found) {
            Verdict::New => return self.start(found),
            Verdict::Again => return Ok(()),
            Verdict::Taken(why) => why,
        };
        let all = if found.directory.is_some() { ", nor what is in it" } else { "" };
        if let (Some(_), Some((walk, _))) = (&found.directory, &mut self.walk) {
            walk.leave();
        }
        let (path, stored) = (found.path.display(), lossy(&found.stored));
        let what = format!("not stored as {stored}{all}: {why}");
        self.ready.push(Planned::Problem(Problem::loss(Cause::Taken, path, what)));
        Ok(())
    }

    /// Starts one object of a tree.
    fn start(&mut self, found: Found) -> Result<(), SourceError> {
        let metadata = &found.metadata;
        let kind = match metadata.kind {
            FileKind::Directory if found.stored.is_empty() => return Ok(()),
            FileKind::Directory => ItemKind::Directory,
            FileKind::Symlink => ItemKind::Symlink(found.at().read_link()?),
            FileKind::Regular => return self.start_file(found),
            FileKind::Block if found.named => return self.start_file(found),
            FileKind::Fifo if found.named && self.options.read_special => {
                return self.start_pipe(found);
            }
            FileKind::Block => ItemKind::BlockDevice(device(metadata)),
            FileKind::Character => ItemKind::CharacterDevice(device(metadata)),
            FileKind::Fifo => ItemKind::Fifo,
            FileKind::Socket if found.named => {
                let what = "it is a socket: not stored";
                let problem = Problem::loss(Cause::Unsupported, found.path.display(), what);
                self.ready.push(Planned::Problem(problem));
                return Ok(());
            }
            // As every other program: a server makes its own again.
            FileKind::Socket => return Ok(()),
        };
        self.note(&found.path, &Note::Stored);
        if let Some(item) = self.link(&found) {
            self.push(item);
            return Ok(());
        }
        let extra = match (&found.directory, metadata.kind) {
            (Some(directory), _) => Extra::of_file(directory, &found.path, XATTRS_LEN_MAX),
            // One that cannot be read: the walk says so.
            (None, FileKind::Directory) => Ok(Extra::default()),
            (None, _) => Extra::of_place(found.at(), XATTRS_LEN_MAX),
        };
        let mut item = self.item(metadata, found.stored, kind);
        item.followed = found.followed;
        self.add_extra(&mut item, extra);
        self.links.note(&item, metadata);
        self.push(item);
        Ok(())
    }

    fn start_file(&mut self, found: Found) -> Result<(), SourceError> {
        if let Some(item) = self.link(&found) {
            self.note(&found.path, &Note::Stored);
            self.push(item);
            return Ok(());
        }
        let is_device = found.metadata.kind == FileKind::Block;
        if !is_device && let Some(before) = self.previous.untouched(&found.stored, &found.metadata)
        {
            self.reuse(found, before);
            return Ok(());
        }
        let file = RawFile::open_at(found.at(), found.followed, Some(&found.metadata))?;
        let metadata = *file.metadata();
        let mut item = self.item(&metadata, found.stored, ItemKind::File(nothing()));
        item.followed = found.followed;
        // A device is stored as a file, which it says nothing of.
        if !is_device {
            self.add_extra(&mut item, file.extra(XATTRS_LEN_MAX));
        }
        let file: Arc<dyn Source> = Arc::new(file);
        let reading = Arc::new(Reading::new(file, self.options.read_errors));
        let divided = match divide(reading.clone(), &found.path, self.options.cutter) {
            Ok(divided) => divided,
            Err(error) => {
                let loss = reading.loss().unwrap_or_else(|| Problem::unread(&error));
                self.ready.push(Planned::Problem(loss));
                return Ok(());
            }
        };
        let Divided { parts, layout, allocation, is_qcow2, why } = divided;
        match is_device {
            true => item.linked = false,
            false => self.links.note(&item, &metadata),
        }
        let sections = parts.iter().map(|part| part.starts.len()).max().unwrap_or(0);
        let cutter = parts.first().map_or(CutterKind::Fastcdc, |part| part.cutter);
        self.note(&found.path, &Note::Read { cutter, sections, why: &why });
        if is_qcow2 {
            self.look_elsewhere(&*reading, &found.path, &item.path);
        }
        let windows = |part: StreamPart| {
            let windows = SourceWindows::new(part.source, &part.starts, self.lookahead);
            (part.cutter, Windows::Source(windows))
        };
        let end = End { layout, allocation, reading: Some(reading) };
        let parts = parts.into_iter().map(windows).collect();
        let begin = Some(Box::new(Draft { item, cutter }));
        self.open = Some(OpenStream { begin, parts, end });
        Ok(())
    }

    /// Stores a file with the content that the previous archive has of it.
    fn reuse(&mut self, found: Found, before: Item) {
        self.note(&found.path, &Note::Untouched);
        self.task.advance(before.size);
        // Of images the header is read all the same: what the disk needs besides may have gone from the archive.
        if matches!(&before.kind, ItemKind::File(content) if content.recipe.cutter == CutterKind::Page)
            && let Ok(file) = RawFile::open_at(found.at(), found.followed, Some(&found.metadata))
        {
            self.look_elsewhere(&file, &found.path, &found.stored);
        }
        let mut item = self.item(&found.metadata, found.stored, before.kind);
        item.followed = found.followed;
        (item.flags, item.xattrs) = (before.flags, before.xattrs);
        self.links.note(&item, &found.metadata);
        self.push(item);
    }

    fn look_elsewhere(&mut self, file: &dyn Source, path: &Path, stored: &[u8]) {
        let needed = self.places.needed_by(file, path, stored);
        self.ready.extend(needed.into_iter().map(Planned::Elsewhere));
    }

    /// Starts what comes out of a named pipe, when somebody writes into it.
    fn start_pipe(&mut self, found: Found) -> Result<(), SourceError> {
        let file = std::fs::File::open(&found.path)
            .map_err(|error| SourceError::new(&found.path, "open", error))?;
        let mut item = self.item(&found.metadata, found.stored, ItemKind::File(nothing()));
        // Its number and times say nothing of what comes out of it.
        (item.size, item.linked, item.identity) = (0, false, Identity::default());
        item.followed = found.followed;
        self.start_stream(item, &found.path, Box::new(file));
        Ok(())
    }

    /// The item of another name of something that was found before.
    fn link(&mut self, found: &Found) -> Option<Item> {
        let first = self.links.first(&found.metadata)?;
        let mut item = self.item(&found.metadata, found.stored.clone(), ItemKind::HardLink(first));
        (item.size, item.linked) = (0, false);
        Some(item)
    }

    /// What cannot be read of it is a problem, and the rest is stored.
    fn add_extra(&mut self, item: &mut Item, extra: Result<Extra, SourceError>) {
        match extra {
            Ok(extra) => (item.flags, item.xattrs) = (extra.flags & FLAGS, extra.xattrs),
            Err(error) => self.ready.push(Planned::Problem(Problem::unread(&error))),
        }
    }

    fn note(&self, path: &Path, note: &Note<'_>) {
        self.progress.note(path.as_os_str().as_bytes(), note);
    }

    fn push(&mut self, item: Item) {
        self.ready.push(Planned::Item(Box::new(item)));
    }

    /// Starts a stream that errors call `path`.
    fn start_stream(&mut self, item: Item, path: &Path, reader: Box<dyn std::io::Read + Send>) {
        let mut windows = StreamWindows::new(reader, self.lookahead);
        let head = match windows.peek() {
            Ok([]) if self.options.refuse_empty => {
                self.broken = Some(Error::EmptyStream(path.display().to_string()));
                return;
            }
            Ok(head) => head,
            Err(error) => {
                self.broken = Some(SourceError::new(path, "read", error).into());
                return;
            }
        };
        let Choice { cutter, starts, why, .. } =
            choose(&PipeHead(head), Path::new(""), self.options.cutter);
        self.note(path, &Note::Read { cutter, sections: starts.len(), why: &why });
        let stored = Path::new(OsStr::from_bytes(&item.path));
        self.look_elsewhere(&PipeHead(head), stored, &item.path);
        windows.set_starts(&starts);
        let begin = Some(Box::new(Draft { item, cutter }));
        let parts = VecDeque::from([(cutter, Windows::Stream(windows, path.to_owned()))]);
        self.open = Some(OpenStream { begin, parts, end: End::default() });
    }

    /// Starts what somebody else reads: the stream as it is, whatever is in it, so that its places are those of its base.
    fn start_source(&mut self, source: SourceItem, stream: Arc<dyn Source>, base: Option<&Base>) {
        let name = lossy(&source.path);
        let given: Arc<dyn Source> = Arc::new(Given::new(stream, &source.path));
        let reading = Arc::new(Reading::new(given, self.options.read_errors));
        let choice = choose(&*reading, Path::new(&name), self.options.cutter);
        let Choice { cutter, starts, why, .. } = &choice;
        self.note(Path::new(&name), &Note::Read { cutter: *cutter, sections: starts.len(), why });
        let base = BaseFile::open(self.repository, base, &choice, name, self.progress);
        let windows = SourceWindows::new(reading.clone(), &choice.starts, self.lookahead);
        let windows = Windows::Source(windows.with_base(base));
        let mut item = given::item(source);
        (item.user, item.group) = self.owner(item.uid, item.gid);
        let begin = Some(Box::new(Draft { item, cutter: choice.cutter }));
        let parts = VecDeque::from([(choice.cutter, windows)]);
        let end = End { reading: Some(reading), ..End::default() };
        self.open = Some(OpenStream { begin, parts, end });
    }

    /// The names of an owner and a group, as far as they have some.
    fn owner(&self, uid: u32, gid: u32) -> (String, String) {
        let name = |names: &HashMap<u32, String>, id| names.get(&id).cloned().unwrap_or_default();
        (name(&self.options.users, uid), name(&self.options.groups, gid))
    }

    fn item(&self, metadata: &Metadata, path: Vec<u8>, kind: ItemKind) -> Item {
        let (user, group) = self.owner(metadata.uid, metadata.gid);
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
            user,
            group,
            size,
            mtime: time(metadata.mtime),
            identity: identity(metadata),
            flags: 0,
            xattrs: Vec::new(),
            changed: false,
            linked: metadata.kind != FileKind::Directory && metadata.nlink > 1,
            followed: false,
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
            if let Some(error) = self.broken.take() {
                return Some(Err(error));
            }
            if self.ready.len() >= TOGETHER || !self.object() {
                break;
            }
        }
        let before = std::mem::take(&mut self.ready);
        (!before.is_empty()).then(|| {
            let body = Body::Nothing;
            Ok(Step { before, begin: None, fresh: false, advance: 0, body, end: None })
        })
    }
}

impl End {
    /// Takes over what is known when a part is at its end.
    fn learn(&mut self, ended: Windows<'_>) {
        if let Windows::Source(windows) = ended {
            self.allocation.get_or_insert_with(|| Arc::new(windows.allocation));
        }
    }
}

fn device(metadata: &Metadata) -> Device {
    let (major, minor) = metadata.device;
    Device { major, minor }
}

/// What a walk passes over.
pub(super) fn rules(options: &BackupOptions) -> Rules<'_> {
    Rules {
        skip: Some(&options.skip),
        exclude: Some(&options.exclude),
        caches: options.exclude_caches,
        mounts: options.one_file_system,
    }
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
