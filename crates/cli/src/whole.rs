//! Files that others read while we write them anew: the old one or the new one, whole.
//!
//! In: a place, bytes, who may read them. Out: a regular file there. Promises: what is there and is no regular file stays: a
//! device, a pipe or a link that a user names by mistake would be gone for the whole machine.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Puts `bytes` in the place of `path`, by way of a file beside it that has `mode` but for what the umask takes away.
///
/// # Errors
/// What is there is no regular file, or nothing can be written beside it. The one that is there stays then.
pub fn put(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
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
    builder.prefix(".garret-").suffix(".tmp").permissions(Permissions::from_mode(mode));
    let mut file = builder.tempfile_in(directory)?;
    // The name of the file beside it would only puzzle who reads of an error.
    file.as_file_mut().write_all(bytes)?;
    file.as_file().sync_data()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
