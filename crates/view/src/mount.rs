//! Archives as directories, by FUSE.
//!
//! ```text
//! kernel -> files: lookup, getattr, readdir  -> tree -> lists of files, when a directory is first looked into
//!                  open, read, lseek         -> Reader -> groups
//! ```
//!
//! In: an open repository, archives of it, an empty directory. Out: a file system there, read-only, until it is unmounted
//! or told to end. A directory for each archive, or the files of the one; beside each disk image in a format of its own
//! `NAME.raw`, the guest's disk; in a view of several archives `by-path`, where each path is a directory of its versions.
//!
//! Promises: nothing can be written, no set-id bit and no device of a backup is honoured, and the kernel asks the
//! permissions that were stored, unless they are to be ignored; lists are read when they are needed and kept, at most
//! [`NODES_MAX`] paths; what is damaged is EIO.

mod files;
mod node;
mod tree;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crossbeam_channel::{Receiver, bounded};
use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use garret_core::Problem;

use files::{Files, READ_AHEAD};
pub use node::Owners;
use tree::Tree;
pub use tree::{NODES_MAX, Shown};

/// Threads that answer the kernel: it has so many reads under way.
const THREADS: usize = 8;

/// The type of a file system of FUSE: linux/magic.h.
const FUSE_SUPER_MAGIC: rustix::fs::FsWord = 0x6573_5546;

/// Problems that wait to be told of; what finds no place is told of by EIO alone.
const HEARD_MAX: usize = 64;

/// A directory in which archives are shown.
#[derive(Debug)]
pub struct Mounted {
    directory: PathBuf,
    /// The number of the file system; none if it could not be asked for.
    device: Option<u64>,
    /// Until it has ended.
    session: Option<BackgroundSession>,
    heard: Receiver<Problem>,
}

impl Mounted {
    /// Mounts it. Other users see it if `to_others`; whether the permissions of files are asked is `by_permission`. With both
    /// nothing is open to somebody to whom it was not when it was stored: directories that are not stored and files with ACLs
    /// are their owner's alone, and versions of a path, which are behind no stored directory, are not shown.
    ///
    /// # Errors
    /// What is no directory, or may not be mounted at by this user.
    pub fn new(
        shown: Shown,
        directory: &Path,
        to_others: bool,
        by_permission: bool,
    ) -> io::Result<Self> {
        let (tell, heard) = bounded(HEARD_MAX);
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::RO,
            MountOption::NoSuid,
            MountOption::NoDev,
            MountOption::FSName("garret".to_owned()),
            MountOption::Subtype("garret".to_owned()),
        ];
        config.mount_options.extend(by_permission.then_some(MountOption::DefaultPermissions));
        config.acl = if to_others { SessionACL::All } else { SessionACL::Owner };
        config.n_threads = Some(THREADS);
        config.clone_fd = true;
        let tree = Tree::new(shown, to_others && by_permission, tell);
        // The session of its own thread would unmount by path when it ends: this one leaves that to us.
        let session = Some(Session::new(Files::new(tree), directory, &config)?.spawn()?);
        // Who is not root may not say so: then it is less.
        let _less = let_read_ahead(directory);
        let (directory, device) = (directory.to_owned(), device(directory));
        Ok(Mounted { directory, device, session, heard })
    }

    /// Whether it still is there: anybody who may can unmount it.
    pub fn is_there(&self) -> bool {
        self.session.as_ref().is_some_and(|session| !session.guard.is_finished())
    }

    /// Whether the directory shows this mount, and not what lies below it or was mounted in its place.
    fn is_at_its_place(&self) -> bool {
        device(&self.directory).is_some_and(|there| self.device == Some(there))
    }

    /// What went wrong since this was asked last.
    pub fn heard(&self) -> impl Iterator<Item = Problem> + '_ {
        self.heard.try_iter()
    }

    /// Ends it, whoever looks at it; to drop it does the same, and says nothing.
    ///
    /// # Errors
    /// It cannot be unmounted.
    pub fn end(mut self) -> io::Result<()> {
        self.unmount()
    }

    fn unmount(&mut self) -> io::Result<()> {
        let is_ours = self.is_there() && self.is_at_its_place();
        let Some(session) = self.session.take() else { return Ok(()) };
        if !is_ours {
            // Somebody unmounted it, and may have mounted something else there since. To drop the session would unmount that.
            std::mem::forget(session);
            return Ok(());
        }
        // It says nothing of how that went.
        drop(session);
        if self.is_at_its_place() {
            // Who has something open there gets errors when this program is gone; the directory is free at once.
            let detach = rustix::mount::UnmountFlags::DETACH;
            rustix::mount::unmount(&self.directory, detach)?;
        }
        Ok(())
    }
}

/// The number of the file system that a directory shows.
fn device(directory: &Path) -> Option<u64> {
    Some(fs::metadata(directory).ok()?.dev())
}

/// Has the kernel read as much ahead as [`READ_AHEAD`] says: it takes an eighth of that for any file system of FUSE, whatever
/// the program asked for.
fn let_read_ahead(directory: &Path) -> io::Result<()> {
    let there = fs::File::open(directory)?;
    // It may be gone already, and what lies below is not ours.
    if rustix::fs::fstatfs(&there)?.f_type != FUSE_SUPER_MAGIC {
        return Ok(());
    }
    let device = there.metadata()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let place = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    fs::write(place, (READ_AHEAD >> 10).to_string())
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // The second time there is nothing to unmount.
        let _gone = self.unmount();
    }
}
