//! Whom a file or a place can be from: this user or root, or anybody else.
//!
//! In: paths and what the system says of them. Out: whether somebody else could have written or exchanged what is there.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Permissions of group and others to write.
pub(crate) const WRITABLE: u32 = 0o022;

/// Whether nobody but this user and root can have written a file or directory.
pub(crate) fn is_private(metadata: &fs::Metadata) -> bool {
    is_trusted(metadata.uid()) && metadata.mode() & WRITABLE == 0
}

/// Links on the way to a file, after which it is a circle: what the kernel allows.
const LINKS_MAX: usize = 40;

/// Whether nobody but this user and root can put something else at a path, nor on the way there: neither name in it nor
/// behind its links is in a directory of others. What is open already (/dev/stdout, /dev/fd) cannot be exchanged.
pub fn is_settled(path: &Path) -> bool {
    walk_settled(path).is_ok_and(|settled| settled)
}

fn walk_settled(path: &Path) -> io::Result<bool> {
    let parts = |path: &Path| {
        path.components().rev().map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>()
    };
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    let mut left = parts(&std::path::absolute(path)?);
    while let Some(part) = left.pop() {
        match part.as_bytes() {
            b"/" => at = PathBuf::from("/"),
            b"." => {}
            b".." => drop(at.pop()),
            _ if at.starts_with("/proc") && at.ends_with("fd") => return Ok(true),
            _ => {
                let (home, next) = (at.metadata()?, at.join(&part));
                let found = next.symlink_metadata()?;
                // In a directory that all may write to and that is sticky (/tmp), only the owner can change it.
                let is_shared = home.mode() & WRITABLE != 0 && home.mode() & 0o1000 == 0;
                if is_shared || !is_trusted(home.uid()) || !is_trusted(found.uid()) {
                    return Ok(false);
                }
                match found.is_symlink() {
                    true if links == LINKS_MAX => return Ok(false),
                    true => {
                        links += 1;
                        left.extend(parts(&fs::read_link(&next)?));
                    }
                    false => at = next,
                }
            }
        }
    }
    Ok(true)
}

/// The same for a directory, and for a link that leads there.
pub(crate) fn is_private_place(directory: &Path) -> bool {
    directory.metadata().is_ok_and(|metadata| is_private(&metadata)) && is_own_link(directory)
}

/// Whether what has this name, of which a link is one, was put there by this user or root.
pub(crate) fn is_own_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| is_trusted(metadata.uid()))
}

pub(crate) fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}
