//! Files and directories of a guest, copied to this host.
//!
//! ```text
//! FileSystem -> send, in the thread that can do no harm -> Step -> receive -> Root: files get their names when they are
//! whole
//! ```
//!
//! In: a path of a file system, where it goes. Out: files, directories and links. Promises: names that a guest made lead
//! nowhere but below the destination; a file that could not be read to its end is not there; 4 MiB are on the way at most.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, bounded};
use garret_image::{Allocation, Attributes, FileId, FileSink, Place, Root, Sink, SinkError, Time};

use crate::walk::PATH_MAX;
use crate::{Entry, Error, FileSystem, Kind, Result};

/// Steps on the way, each of at most a read.
const WAITING_MAX: usize = 16;

/// One thing to be done, in order; paths are below the destination.
pub struct Step(Make);

enum Make {
    Directory(Vec<u8>, Entry),
    Link(Vec<u8>, Entry, Vec<u8>),
    /// Begin a file.
    File(Vec<u8>, Entry),
    /// The next bytes of it.
    Bytes(Vec<u8>),
    /// It is whole.
    End,
    /// It is not to be had: what is there goes.
    Drop,
}

/// Where steps go in.
pub struct Steps {
    steps: Sender<Step>,
    /// The number of a file that is to be read no further, for it could not be made.
    unwanted: Arc<AtomicU64>,
    /// How many were begun.
    count: u64,
}

/// Where they come out.
pub struct Received {
    steps: Receiver<Step>,
    unwanted: Arc<AtomicU64>,
}

/// The two ends of a copy.
pub fn channel() -> (Steps, Received) {
    let ((sent, received), unwanted) = (bounded(WAITING_MAX), Arc::<AtomicU64>::default());
    let sent = Steps { steps: sent, unwanted: unwanted.clone(), count: 0 };
    (sent, Received { steps: received, unwanted })
}

/// Sends what is at `path`, and below it, as `name`. Of a directory that has none only what is below it is sent. `tell` is
/// told what is left out of a directory, and why.
///
/// # Errors
/// What was asked for is not to be had, and at which path; `Taken` if nobody receives any more.
pub fn send(
    system: &mut dyn FileSystem,
    (path, name): (&[u8], &[u8]),
    steps: Steps,
    tell: &dyn Fn(&[u8], &Error),
) -> std::result::Result<(), (Vec<u8>, Error)> {
    let mut send = Send { system, steps };
    let at = |path: &[u8]| {
        let path = path.to_vec();
        move |error| (path, error)
    };
    let entry = send.system.entry(path).map_err(at(path))?;
    if entry.kind != Kind::Directory {
        return send.one(path, name, entry).map_err(at(path));
    }
    let mut todo = vec![(path.to_vec(), name.to_vec(), entry)];
    while let Some((path, name, entry)) = todo.pop() {
        send.step(Make::Directory(name.clone(), entry)).map_err(at(&path))?;
        let entries = match send.system.entries(&path) {
            Ok(entries) => entries,
            Err(error) => {
                tell(&path, &error);
                continue;
            }
        };
        let mut below = Vec::new();
        for (last, entry) in entries {
            let full = [path.strip_suffix(b"/").unwrap_or(&path), b"/", &last].concat();
            let name = match name.as_slice() {
                [] => last.clone(),
                name => [name, b"/", &last].concat(),
            };
            let is_path = full.len() <= PATH_MAX && !last.is_empty() && !last.contains(&b'/');
            let sent = match entry {
                _ if !is_path => Err(Error::Damaged("no file has such a name".to_owned())),
                Ok(entry) if entry.kind == Kind::Directory => {
                    below.push((full.clone(), name, entry));
                    Ok(())
                }
                Ok(entry) => send.one(&full, &name, entry),
                Err(error) => Err(error),
            };
            match sent {
                Err(error @ Error::Taken(_)) => return Err((full, error)),
                sent => sent.unwrap_or_else(|error| tell(&full, &error)),
            }
        }
        // The last is taken first.
        todo.extend(below.into_iter().rev());
    }
    Ok(())
}

struct Send<'s> {
    system: &'s mut dyn FileSystem,
    steps: Steps,
}

impl Send<'_> {
    fn step(&self, make: Make) -> Result<()> {
        // Who receives has given up, and says why.
        self.steps.steps.send(Step(make)).map_err(|_| Error::Taken(ErrorKind::BrokenPipe.into()))
    }

    /// Sends what is no directory.
    fn one(&mut self, path: &[u8], name: &[u8], entry: Entry) -> Result<()> {
        match entry.kind {
            Kind::Link => {
                let target = self.system.target(path)?;
                self.step(Make::Link(name.to_vec(), entry, target))
            }
            Kind::File => {
                self.steps.count += 1;
                self.step(Make::File(name.to_vec(), entry))?;
                let Send { system, steps: Steps { steps, unwanted, count } } = self;
                let read = system.read(path, &mut |bytes| {
                    if unwanted.load(Ordering::Relaxed) == *count {
                        return Err(ErrorKind::Interrupted.into());
                    }
                    let sent = steps.send(Step(Make::Bytes(bytes.to_vec())));
                    sent.map_err(|_| ErrorKind::BrokenPipe.into())
                });
                match read {
                    Ok(()) => self.step(Make::End),
                    // Who receives has said why.
                    Err(Error::Taken(error)) if error.kind() == ErrorKind::Interrupted => Ok(()),
                    Err(error) => {
                        self.step(Make::Drop)?;
                        Err(error)
                    }
                }
            }
            kind => Err(Error::NotServed(format!("a {kind} is not copied"))),
        }
    }
}

/// How things are made.
#[derive(Debug, Clone, Copy)]
pub struct CopyOptions {
    /// With the owners that they have in the guest, by number, and with set-id bits.
    pub owners: bool,
    /// The umask, for what has no mode in the guest.
    pub umask: u32,
}

/// What was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files.
    pub count: u64,
    /// Their bytes.
    pub len: u64,
}

/// A directory that was made: its path, the very one, what it is to be like when everything is in it.
type Made = (Vec<u8>, FileId, Entry);

/// A file of which not everything is there yet.
struct Begun {
    sink: FileSink,
    entry: Entry,
    at: u64,
}

/// Makes everything that comes: in `destination` if that is a directory, else under that name. `tell` is told what could not
/// be made.
///
/// # Errors
/// There is no such directory; the disk is full.
pub fn receive(
    received: &Received,
    destination: &Path,
    options: CopyOptions,
    tell: &dyn Fn(&SinkError),
) -> std::result::Result<Copied, SinkError> {
    let steps = &received.steps;
    let Some(first) = steps.iter().next() else { return Ok(Copied::default()) };
    let (root, own) = place(destination, &first.0)?;
    let root = Root::open(&root)?;
    let (begun, number, made, copied) = (None, 0, Vec::new(), Copied::default());
    let unwanted = &received.unwanted;
    let mut copy = Copy { root, own, options, unwanted, begun, number, made, copied };
    // One that cannot be made keeps none of the others from being made; a full disk does.
    let left_out = |error: SinkError| match error.is_no_space() {
        true => Err(error),
        false => {
            tell(&error);
            Ok(())
        }
    };
    for Step(make) in std::iter::once(first).chain(steps) {
        copy.make(make).or_else(left_out)?;
    }
    copy.root.close();
    for (path, id, entry) in copy.made.iter().rev() {
        let finished = copy.root.finish_directory(path, *id, &attributes(entry, options));
        finished.map(drop).or_else(left_out)?;
    }
    Ok(copy.copied)
}

/// What is made, and where.
struct Copy<'c> {
    root: Root,
    /// The name of what is copied, if it is not its own.
    own: Option<OsString>,
    options: CopyOptions,
    unwanted: &'c AtomicU64,
    begun: Option<Begun>,
    /// Of the file that was begun last.
    number: u64,
    made: Vec<Made>,
    copied: Copied,
}

impl Copy<'_> {
    fn make(&mut self, make: Make) -> std::result::Result<(), SinkError> {
        match make {
            Make::File(path, entry) => {
                self.begun = None;
                self.number += 1;
                let place = self.place(&path);
                let begun = self.root.file(Place::at(&place), entry.len, Allocation::Sparse);
                let sink = begun.inspect_err(|_| self.refuse())?;
                self.begun = Some(Begun { sink, entry, at: 0 });
            }
            Make::Bytes(bytes) => {
                if let Some(Begun { sink, at, .. }) = &mut self.begun {
                    let written = sink.write_at(*at, &bytes);
                    *at += bytes.len() as u64;
                    written.inspect_err(|_| self.refuse())?;
                }
            }
            Make::End => {
                if let Some(Begun { sink, entry, at }) = self.begun.take() {
                    sink.finish(&attributes(&entry, self.options))?;
                    self.copied.count += 1;
                    self.copied.len += at;
                }
            }
            Make::Drop => self.begun = None,
            Make::Directory(path, entry) => {
                let path = self.place(&path);
                // What has no name of its own is the user's.
                if !path.is_empty() {
                    let id = self.root.directory(Place::at(&path))?;
                    self.made.push((path, id, entry));
                }
            }
            Make::Link(path, entry, target) => {
                let path = self.place(&path);
                self.root.symlink(&target, &path, &attributes(&entry, self.options))?;
            }
        }
        Ok(())
    }

    /// The file that was begun last is to be sent no further.
    fn refuse(&mut self) {
        self.begun = None;
        self.unwanted.store(self.number, Ordering::Relaxed);
    }

    /// A path of a step, with the name that what is copied has here.
    fn place(&self, path: &[u8]) -> Vec<u8> {
        let Some(name) = &self.own else { return path.to_vec() };
        let rest = path.iter().position(|byte| *byte == b'/').and_then(|at| path.get(at..));
        [name.as_bytes(), rest.unwrap_or_default()].concat()
    }
}

/// What something is to be like here. Where the guest's file system has no modes, as anything new.
fn attributes(entry: &Entry, options: CopyOptions) -> Attributes<'static> {
    let usual = if entry.kind == Kind::Directory { 0o777 } else { 0o666 };
    let mode = entry.mode.unwrap_or(usual & !options.umask);
    let kept = if options.owners { 0o7777 } else { 0o777 };
    let owner = entry.owner.filter(|_| options.owners);
    let now = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time { secs: i64::try_from(since.as_secs()).unwrap_or(0), nanos: since.subsec_nanos() }
    };
    Attributes::plain(mode & kept, owner, entry.modified.unwrap_or_else(now))
}

/// The directory that something goes into, and the name that it gets there if that is not its own.
fn place(
    destination: &Path,
    first: &Make,
) -> std::result::Result<(PathBuf, Option<OsString>), SinkError> {
    let is_all = matches!(first, Make::Directory(path, _) if path.is_empty());
    if destination.is_dir() || is_all {
        return Ok((destination.to_owned(), None));
    }
    let parent = match destination.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // A directory may be written with a `/` behind its name before there is one.
    let is_directory = matches!(first, Make::Directory(..));
    let is_name = is_directory || !destination.as_os_str().as_bytes().ends_with(b"/");
    match destination.file_name().filter(|_| is_name) {
        Some(name) if parent.is_dir() => Ok((parent.to_owned(), Some(name.to_owned()))),
        _ => Err(SinkError::new(destination, "open the directory", ErrorKind::NotFound)),
    }
}
