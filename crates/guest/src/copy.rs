//! Files and directories of a guest, copied to this host.
//!
//! ```text
//! FileSystem -> send, in the thread that can do no harm -> Step -> receive -> Root: files get their names when they are
//! whole
//! ```
//!
//! In: a path of a file system, where it goes. Out: files, directories and links. Promises: names that a guest made lead
//! nowhere but below the destination; a file that could not be read to its end is not there; 4 MiB are on the way at most.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
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

/// The two ends of a copy.
pub fn channel() -> (Sender<Step>, Receiver<Step>) {
    bounded(WAITING_MAX)
}

/// Sends what is at `path`, and below it, as `name`. Of a directory that has none only what is below it is sent. `tell` is
/// told what is left out of a directory, and why.
///
/// # Errors
/// What was asked for is not to be had, and at which path; `Taken` if nobody receives any more.
pub fn send(
    system: &mut dyn FileSystem,
    (path, name): (&[u8], &[u8]),
    steps: Sender<Step>,
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
    steps: Sender<Step>,
}

impl Send<'_> {
    fn step(&self, make: Make) -> Result<()> {
        // Who receives has given up, and says why.
        self.steps.send(Step(make)).map_err(|_| Error::Taken(ErrorKind::BrokenPipe.into()))
    }

    /// Sends what is no directory.
    fn one(&mut self, path: &[u8], name: &[u8], entry: Entry) -> Result<()> {
        match entry.kind {
            Kind::Link => {
                let target = self.system.target(path)?;
                self.step(Make::Link(name.to_vec(), entry, target))
            }
            Kind::File => {
                self.step(Make::File(name.to_vec(), entry))?;
                let Send { system, steps } = self;
                let read = system.read(path, &mut |bytes| {
                    let sent = steps.send(Step(Make::Bytes(bytes.to_vec())));
                    sent.map_err(|_| ErrorKind::BrokenPipe.into())
                });
                self.step(if read.is_ok() { Make::End } else { Make::Drop })?;
                read
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
    steps: &Receiver<Step>,
    destination: &Path,
    options: CopyOptions,
    tell: &dyn Fn(&SinkError),
) -> std::result::Result<Copied, SinkError> {
    let mut copied = Copied::default();
    let Some(first) = steps.iter().next() else { return Ok(copied) };
    let (root, own) = place(destination, &first.0)?;
    let root = Root::open(&root)?;
    // One that cannot be made keeps none of the others from being made; a full disk does.
    let left_out = |error: SinkError| match error.is_no_space() {
        true => Err(error),
        false => {
            tell(&error);
            Ok(())
        }
    };
    let (mut begun, mut made): (Option<Begun>, Vec<Made>) = (None, Vec::new());
    for Step(make) in std::iter::once(first).chain(steps) {
        match make {
            Make::File(path, entry) => {
                let path = renamed(&path, own.as_deref());
                begun = match root.file(Place::at(&path), entry.len, Allocation::Sparse) {
                    Ok(sink) => Some(Begun { sink, entry, at: 0 }),
                    Err(error) => left_out(error).map(|()| None)?,
                };
            }
            Make::Bytes(bytes) => {
                if let Some(Begun { sink, at, .. }) = &mut begun {
                    sink.write_at(*at, &bytes)?;
                    *at += bytes.len() as u64;
                }
            }
            Make::End => {
                if let Some(Begun { sink, entry, at }) = begun.take() {
                    match sink.finish(&attributes(&entry, options)) {
                        Ok(_) => (copied.count, copied.len) = (copied.count + 1, copied.len + at),
                        Err(error) => left_out(error)?,
                    }
                }
            }
            Make::Drop => begun = None,
            Make::Directory(path, entry) => {
                let path = renamed(&path, own.as_deref());
                // What has no name of its own is the user's.
                if !path.is_empty() {
                    match root.directory(Place::at(&path)) {
                        Ok(id) => made.push((path, id, entry)),
                        Err(error) => left_out(error)?,
                    }
                }
            }
            Make::Link(path, entry, target) => {
                let path = renamed(&path, own.as_deref());
                let made = root.symlink(&target, &path, &attributes(&entry, options));
                made.map(drop).or_else(left_out)?;
            }
        }
    }
    root.close();
    for (path, id, entry) in made.iter().rev() {
        let finished = root.finish_directory(path, *id, &attributes(entry, options));
        finished.map(drop).or_else(left_out)?;
    }
    Ok(copied)
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
    let is_name = !destination.as_os_str().as_bytes().ends_with(b"/");
    match destination.file_name().filter(|_| is_name) {
        Some(name) if parent.is_dir() => Ok((parent.to_owned(), Some(name.to_owned()))),
        _ => Err(SinkError::new(destination, "open the directory", ErrorKind::NotFound)),
    }
}

/// A path of a step, with another name for the first of it.
fn renamed(path: &[u8], name: Option<&OsStr>) -> Vec<u8> {
    let Some(name) = name else { return path.to_vec() };
    let rest = path.iter().position(|byte| *byte == b'/').and_then(|at| path.get(at..));
    [name.as_bytes(), rest.unwrap_or_default()].concat()
}
