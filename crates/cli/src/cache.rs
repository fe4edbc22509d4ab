//! Where the client keeps its copy of indexes.
//!
//! In: `GARRET_CACHE_DIR`, `ATTIC_CACHE_DIR`, `XDG_CACHE_HOME`, `HOME`. Out: a directory of mode 0700 that other backup
//! programs pass over, or none: a copy is a convenience, so whatever is wrong with it is no reason to fail.

use std::env;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::trust::is_own_link;

/// What marks a directory as a cache for backup programs: <https://bford.info/cachedir/>.
const TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n\
                     # This file is a cache directory tag created by garret.\n\
                     # For information about cache directory tags see https://bford.info/cachedir/\n";

/// The cache directory, made if it was missing.
pub fn directory() -> Option<PathBuf> {
    let path = variable("GARRET_CACHE_DIR")
        .or_else(|| variable("ATTIC_CACHE_DIR"))
        .or_else(|| absolute("XDG_CACHE_HOME").map(|path| path.join("garret")))
        .or_else(|| absolute("HOME").map(|path| path.join(".cache/garret")))?;
    prepare(&path).ok()?;
    Some(path)
}

/// The variable, unless it is missing or empty.
pub fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The variable, if it is an absolute path: the XDG rules say to pass over others.
pub fn absolute(name: &str) -> Option<PathBuf> {
    variable(name).filter(|path| path.is_absolute())
}

fn prepare(path: &Path) -> io::Result<()> {
    // Somebody else's link would choose where our files go.
    if path.is_symlink() && !is_own_link(path) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let tag = path.join("CACHEDIR.TAG");
    if fs::symlink_metadata(&tag).is_ok() {
        return Ok(());
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&tag)?.write_all(TAG)
}
