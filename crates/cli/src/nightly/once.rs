//! A job is done once at a time.
//!
//! In: a job. Out: the right to do it, which ends with the program however that ends; or who has it. The files are in the
//! directory of what this client knows, so that they do not depend on the repository.

use std::fs::{DirBuilder, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, OFlags, flock};

use super::job::Job;
use crate::failure::Failure;
use crate::location::Location;
use crate::state;
use crate::surroundings;

/// The right to do a job.
#[derive(Debug)]
pub(super) enum Turn {
    /// It is ours until this is dropped.
    Ours(File),
    /// Another program has it; its number, if it could be read.
    Taken(Option<u32>),
}

/// Where what this client keeps of a job is, with this ending.
///
/// # Errors
/// No place is known.
pub(super) fn place(job: &Job, ending: &str) -> Result<PathBuf, Failure> {
    let unknown = || Failure::Fatal("set GARRET_STATE_DIR: HOME is not set either".to_owned());
    let directory = state::directory().ok_or_else(unknown)?.join("nightly");
    let repository = match job.repository.hot() {
        Location::Directory(path) => surroundings::real(path).into_os_string().into_encoded_bytes(),
        remote => remote.display().to_string().into_bytes(),
    };
    let hash = blake3::hash(&repository).to_hex();
    Ok(directory.join(format!("{}-{}.{ending}", job.name, hash.get(..16).unwrap_or_default())))
}

/// Takes the right to do a job, without waiting.
///
/// # Errors
/// The file cannot be made.
pub(super) fn take(job: &Job) -> Result<Turn, Failure> {
    let path = place(job, "lock")?;
    let cannot = |error| Failure::io(format!("{}: cannot be locked", path.display()), &error);
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(cannot)?;
    }
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let nofollow = OFlags::NOFOLLOW.bits() as i32;
    let mut file = options.custom_flags(nofollow).open(&path).map_err(cannot)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let read = file.take(32).read_to_string(&mut text);
            return Ok(Turn::Taken(read.ok().and_then(|_| text.trim().parse().ok())));
        }
        Err(error) => return Err(cannot(error.into())),
    }
    // For whoever comes; the lock does not depend on it.
    let number = format!("{}\n", std::process::id());
    let written = file.set_len(0).and_then(|()| file.rewind());
    let _untold = written.and_then(|()| file.write_all(number.as_bytes()));
    Ok(Turn::Ours(file))
}
