//! Files that others read while we write them anew: the old one or the new one, whole.
//!
//! In: a place, bytes, who may read them. Out: a regular file there. Promises: what is there and is no regular file stays: a
//! device, a pipe or a link that a user names by mistake would be gone for the whole machine.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Who may read a file that is put in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Everybody, whatever the umask of a cron job is: another program's user reads it.
    All,
    /// Whom the umask lets.
    ByUmask,
}

/// Puts `bytes` in the place of `path`, by way of a file beside it.
///
/// # Errors
/// What is there is no regular file, or nothing can be written beside it. The one that is there stays then.
pub fn put(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_symlink() => {
            return Err(io::Error::other("it is a link; name the file itself"));
        }
        Ok(there) if !there.is_file() => return Err(io::Error::other("it is not a regular file")),
        _ => {}
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        let text = format!("there is no directory {}; make it first", directory.display());
        return Err(io::Error::other(text));
    }
    let mut builder = tempfile::Builder::new();
    // Not what it becomes: who reads all files of a kind takes no part of one.
    builder.prefix(".garret-").suffix(".tmp").permissions(Permissions::from_mode(0o666));
    // Without the name of the file beside it, which would only puzzle who reads of an error.
    let file = builder.tempfile_in(directory).map_err(|error| error.kind())?;
    if readers == Readers::All {
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    }
    file.as_file().write_all(bytes)?;
    file.as_file().sync_data()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
