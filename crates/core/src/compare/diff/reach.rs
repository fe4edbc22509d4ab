//! Paths of any length: an archive may have longer ones than the system takes at once, and a restore makes them.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use garret_image::SourceError;
use rustix::fs::{Mode, OFlags, open, openat};

use crate::error::Result;

/// Longest path that the system takes at once, in bytes, and a little less.
const PATH_LEN: usize = 4000;

/// A path by which something can be reached, and the directory that has to stay open meanwhile.
type Reached = (PathBuf, Option<OwnedFd>);

/// What is at `path` below `base`. `None` if there is no such directory.
pub(super) fn within_reach(base: &Path, path: &[u8]) -> Result<Option<Reached>> {
    if base.as_os_str().len() + path.len() < PATH_LEN {
        return Ok(Some((base.join(OsStr::from_bytes(path)), None)));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut parts = path.split(|byte| *byte == b'/').map(OsStr::from_bytes);
    let name = parts.next_back().unwrap_or_default();
    let opened = open(base, flags, Mode::empty()).and_then(|base| {
        parts.try_fold(base, |directory, part| openat(&directory, part, flags, Mode::empty()))
    });
    match opened {
        Ok(directory) => {
            let number = directory.as_raw_fd().to_string();
            let path = Path::new("/proc/self/fd").join(number).join(name);
            Ok(Some((path, Some(directory))))
        }
        Err(error) if is_absent(std::io::Error::from(error).kind()) => Ok(None),
        Err(error) => Err(SourceError::new(base, "enter the directories below", error).into()),
    }
}

/// Whether nothing is there.
pub(super) fn is_absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}
