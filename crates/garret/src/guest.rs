//! Files of a guest, in an image of an archive.
//!
//! ```text
//! REPO::NAME IMAGE:/path -> archive -> image -> its disk -> volumes -> the one that has the path -> a FileSystem
//! ```
//!
//! In: what a command was given. Out: what is done with the file system. Promises: where the repository is a directory, the
//! bytes that a guest made are read in a thread that can write nothing, start nothing and connect to nothing; a reader that
//! breaks over them is one error.

use std::any::Any;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::thread;

use garret_cli::args::Usual;
use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_cli::ui::Ui;
use garret_cli::{render, sandbox};
use garret_core::{Cause, Problem, Progress, Repository};
use garret_guest::{Disk, Error, FileSystem, Volume, resolve};
use garret_view::Ahead;

use crate::disks::Cache;
use crate::{archives, location};

/// What divides the image from the path in its guest.
const DIVIDER: &[u8] = b":/";

/// Volumes that are looked into for a path: as many as a GPT usually has room for.
const VOLUMES_MAX: usize = 128;

/// What an operating system has: where several volumes have a path, the one with one of these is meant.
const SYSTEMS: &[&[u8]] = &[b"/etc/fstab", b"/etc/os-release", b"/Windows/System32"];

/// What all commands about files of a guest are given.
#[derive(Debug, clap::Args)]
pub(crate) struct Inside {
    /// The partition [default: the one that has the path]
    #[arg(short, long, value_name = "NUMBER")]
    pub(crate) partition: Option<u32>,
    #[command(flatten)]
    cache: Cache,
    #[command(flatten)]
    usual: Usual,
    /// The archive
    #[arg(value_name = "REPO::NAME")]
    archive: OsString,
}

/// A word that names an image, and perhaps a file in it.
#[derive(Debug)]
pub(crate) struct Word<'a> {
    pub(crate) image: &'a OsStr,
    /// Begins with `/`.
    pub(crate) path: Option<&'a [u8]>,
}

impl<'a> Word<'a> {
    pub(crate) fn new(word: &'a OsStr) -> Self {
        let bytes = word.as_bytes();
        let place = bytes.windows(DIVIDER.len()).position(|window| window == DIVIDER);
        let (image, path) = match place {
            // The divider is in it.
            Some(place) => (bytes.get(..place), bytes.get(place + 1..)),
            None => (bytes.strip_suffix(b":").or(Some(bytes)), None),
        };
        Word { image: OsStr::from_bytes(image.unwrap_or_default()), path }
    }

    /// The path, which there must be.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn path(&self) -> Result<&'a [u8], Failure> {
        self.path.ok_or_else(|| {
            let image = render::name(self.image.as_bytes());
            Failure::Usage(format!("{image}: name a file in it: {image}:/etc/fstab"))
        })
    }
}

/// A disk of an archive that is looked into.
pub(crate) struct Opened<'a> {
    disk: Disk,
    location: &'a Location,
    ui: &'a Ui,
    /// The image, as the user is told.
    pub(crate) image: String,
}

impl Inside {
    /// Opens the disk in `image`, and has `work` look into it.
    ///
    /// # Errors
    /// There is no such image, or it is no disk; those of `work`.
    pub(crate) fn open<R>(
        &self,
        image: &OsStr,
        ui: &Ui,
        work: impl FnOnce(&Opened<'_>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        self.usual.tell(ui);
        let (location, name) = location::archive(&self.archive, &[])?;
        let repository: &Repository = &*self.cache.open(&location, ui)?;
        let archive = archives::find(repository, &name, ui)?;
        let path = archives::one_file(repository, &archive, image)?;
        let image = render::name(&path);
        let Some(disk) = garret_view::disk(repository, &archive, &path, ui)? else {
            return Err(Failure::Fatal(format!("{image} cannot be a disk")));
        };
        let disk: Disk = Arc::new(Ahead::new().reader(disk));
        let done = work(&Opened { disk, location: &location, ui, image });
        repository.tell(ui);
        done
    }
}

impl Opened<'_> {
    /// What the disk is divided into.
    ///
    /// # Errors
    /// The look at it ended early.
    pub(crate) fn volumes(&self) -> Result<Vec<Volume>, Failure> {
        self.confined(|| Ok(garret_guest::volumes(&*self.disk)), || Ok(())).map(|(found, ())| found)
    }

    /// Finds the volume that has `path`, and does `work` with it there; `beside` goes on meanwhile, in this thread.
    ///
    /// # Errors
    /// There is no such path, or several volumes have one; those of `work` and `beside`.
    pub(crate) fn with<R: Send, S>(
        &self,
        partition: Option<u32>,
        path: &[u8],
        work: impl FnOnce(&mut dyn FileSystem, &[u8]) -> Result<R, Failure> + Send,
        beside: impl FnOnce() -> Result<S, Failure>,
    ) -> Result<(R, S), Failure> {
        let inside = || {
            let volumes = garret_guest::volumes(&*self.disk);
            let (mut system, path) = self.find(&volumes, partition, path)?;
            work(&mut *system, &path)
        };
        self.confined(inside, beside)
    }

    /// Does `work` where it can do no harm, and `beside` here.
    fn confined<R: Send, S>(
        &self,
        work: impl FnOnce() -> Result<R, Failure> + Send,
        beside: impl FnOnce() -> Result<S, Failure>,
    ) -> Result<(R, S), Failure> {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                // What is far away may have to be connected to again.
                if self.location.directory().is_some() {
                    sandbox::confine(&self.location.directories().collect::<Vec<_>>());
                }
                work()
            });
            let beside = beside();
            let worked = worker.join().unwrap_or_else(|why| Err(self.broke_off(&*why)));
            // Where it gave up, the other one had to.
            let beside = beside?;
            Ok((worked?, beside))
        })
    }

    /// A library broke over the bytes of a guest.
    fn broke_off(&self, why: &(dyn Any + Send)) -> Failure {
        let text = why.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| why.downcast_ref::<&str>().copied()).unwrap_or("for no reason");
        let image = &self.image;
        let text = format!("{image}: its file system cannot be read: the reader gave up: {text}");
        Failure::Because(Cause::Damaged, render::one_line(&text))
    }

    /// What is wrong at a path of the guest.
    pub(crate) fn problem(&self, path: &[u8], error: &Error) -> Problem {
        let place = format!("{}:{}", self.image, render::name(path));
        let cause = match error {
            Error::Disk(_) | Error::Damaged(_) => Cause::Damaged,
            Error::Missing => Cause::Missing,
            _ => Cause::Other,
        };
        let text = format!("{place}: {}", text(error));
        Problem::new(cause, Some(place), text)
    }

    /// The same, where it ends the command.
    pub(crate) fn failed(&self, path: &[u8], error: Error) -> Failure {
        match error {
            Error::Taken(error) => Failure::io("standard output", &error),
            error => {
                let Problem { cause, text, .. } = self.problem(path, &error);
                Failure::Because(cause, text)
            }
        }
    }

    /// The file system that has the path, and the path there without links.
    fn find(
        &self,
        volumes: &[Volume],
        partition: Option<u32>,
        path: &[u8],
    ) -> Result<(Box<dyn FileSystem>, Vec<u8>), Failure> {
        let wanted = |volume: &&Volume| match partition {
            Some(_) => volume.number == partition,
            None => volume.holds.is_served(),
        };
        let (mut found, mut wrong) = (Vec::new(), Vec::new());
        for volume in volumes.iter().filter(wanted).take(VOLUMES_MAX) {
            let opened = garret_guest::open(&self.disk, volume);
            // Not kept open: a journal of each may be in memory.
            let looked = opened.and_then(|mut system| {
                let path = resolve(&mut *system, path, true)?;
                let has = |sign: &&[u8]| resolve(&mut *system, sign, true).is_ok();
                Ok((volume, path, SYSTEMS.iter().any(has)))
            });
            match looked {
                Ok(there) => found.push(there),
                // The one that was asked for says what is wrong with it; of others that they lack the path is nothing wrong.
                Err(error) if partition.is_some() => return Err(self.failed(path, error)),
                Err(Error::Missing | Error::NotADirectory) => {}
                Err(error) => wrong.push(format!("{}: {}", named(volume), text(&error))),
            }
        }
        if found.iter().filter(|(.., is_system)| *is_system).count() == 1 {
            found.retain(|(.., is_system)| *is_system);
        }
        let place = format!("{}:{}", self.image, render::name(path));
        if found.len() > 1 {
            let all: Vec<String> = found.iter().map(|(volume, ..)| named(volume)).collect();
            let text = format!("{place} is in several places: say --partition: {}", all.join(", "));
            return Err(Failure::Usage(text));
        }
        match found.pop() {
            Some((volume, found, _)) => {
                if !wrong.is_empty() {
                    let wrong = wrong.join("; ");
                    self.ui.notice(&format!("note: {place} was not looked for in {wrong}"));
                }
                let opened = garret_guest::open(&self.disk, volume);
                Ok((opened.map_err(|error| self.failed(path, error))?, found))
            }
            None => Err(self.nowhere(&place, volumes, partition, &wrong)),
        }
    }

    /// No volume has the path: what there is instead.
    fn nowhere(
        &self,
        place: &str,
        volumes: &[Volume],
        partition: Option<u32>,
        wrong: &[String],
    ) -> Failure {
        let all: Vec<String> = volumes.iter().map(named).collect();
        let all = all.join(", ");
        if let Some(number) = partition {
            let text = format!("{}: there is no partition {number}; there is: {all}", self.image);
            return Failure::Because(Cause::Missing, text);
        }
        if !volumes.iter().any(|volume| volume.holds.is_served()) {
            return Failure::Fatal(format!(
                "{}: nothing on it can be read without the guest ({all}): garret boot starts it, and garret nbd serves the \
                 disk to guestfish",
                self.image
            ));
        }
        match wrong {
            [] => {
                Failure::Because(Cause::Missing, format!("{place}: there is no such file in {all}"))
            }
            wrong => {
                Failure::Because(Cause::Other, format!("{place}: not found: {}", wrong.join("; ")))
            }
        }
    }
}

/// A volume, for the user.
fn named(volume: &Volume) -> String {
    let what = volume.holds;
    let label = match volume.label.as_slice() {
        [] => String::new(),
        label => format!(" {}", render::name(label)),
    };
    match volume.number {
        Some(number) => format!("{number} ({what}{label})"),
        None => format!("the disk ({what}{label})"),
    }
}

/// An error on one line, whatever a guest wrote into its bytes.
fn text(error: &Error) -> String {
    render::one_line(&error.to_string())
}
