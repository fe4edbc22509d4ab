//! Names below a destination: hostile paths, and what stands at a name already.
//!
//! In: relative paths as an archive holds them, so written by an enemy. Out: directories as descriptors, and whether
//! something may be replaced. Promise: a path is walked one component at a time from a descriptor, never through a symbolic
//! link, so nothing outside the destination is reached whatever others do to the tree meanwhile. The one exception is a link
//! that the archive says the user named, if it is ours in a directory of ours and leads through none that the archive itself
//! made ([`open_link`]).

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::SinkError;
use crate::staging::{FileId, Staging};
use crate::used::is_used;

/// A relative path, taken apart and found harmless.
pub(crate) struct Relative<'a> {
    pub(crate) parents: Vec<&'a OsStr>,
    pub(crate) name: &'a OsStr,
}

impl<'a> Relative<'a> {
    /// Refuses what is absolute or empty or holds a NUL or an empty, `.` or `..` component.
    pub(crate) fn parse(relative: &'a [u8]) -> Result<Relative<'a>, &'static str> {
        if relative.starts_with(b"/") {
            return Err("the path is absolute");
        }
        if relative.contains(&0) {
            return Err("the path holds a NUL byte");
        }
        let mut parents = Vec::new();
        let mut name: Option<&OsStr> = None;
        for component in relative.split(|&byte| byte == b'/') {
            match component {
                b"" if relative.is_empty() => return Err("the path is empty"),
                b"" => return Err("the path has an empty component"),
                b"." => return Err("the path has the component \".\""),
                b".." => return Err("the path has the component \"..\""),
                _ => parents.extend(name.replace(OsStr::from_bytes(component))),
            }
        }
        Ok(Relative { parents, name: name.ok_or("the path is empty")? })
    }
}

/// Opens the directory `name` in `parent`, not following a symbolic link. `path` is for errors.
pub(crate) fn open_directory(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    path: &Path,
) -> Result<OwnedFd, SinkError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOTDIR | Errno::LOOP => {
            let found = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
            let what = found.map_or("no directory", |stat| describe(&stat));
            SinkError::refused(path, "enter the directory", format!("it is {what}"))
        }
        error => SinkError::new(path, "enter the directory", error),
    })
}

/// Links on the way to a file, after which it is a circle: what the kernel allows.
const LINKS_MAX: usize = 40;

/// Takes from a directory that was just made what it inherited: what is restored has the ACLs of the archive and no others.
/// It was made with a mode that lets nobody in, and has that still.
pub(crate) fn remove_acls(made: &OwnedFd) {
    let path = format!("/proc/self/fd/{}", made.as_raw_fd());
    for name in ["system.posix_acl_default", "system.posix_acl_access"] {
        let _none = rustix::fs::removexattr(&path, name);
    }
}

/// Opens what is behind the symbolic link `name`, without rights to read or write it; `None` if there is no link.
///
/// # Errors
/// `Refused` for a link that somebody else may have put there, or that leads through one of `made`, which came from the
/// archive: the archive says that there was one, not where it leads.
pub(crate) fn open_link(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    path: &Path,
    made: &HashSet<FileId>,
) -> Result<Option<OwnedFd>, SinkError> {
    let fail = |error| SinkError::new(path, "look behind the symbolic link", error);
    let link = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if file_type(&stat) == FileType::Symlink => stat,
        Ok(_) | Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let home = rustix::fs::fstat(parent).map_err(fail)?;
    let me = rustix::process::geteuid().as_raw();
    let is_ours = |stat: &Stat| [0, me].contains(&stat.st_uid);
    // In a directory that all may write to and that is sticky (/tmp), only the owner of a link can change it.
    let is_shared = home.st_mode & 0o022 != 0 && home.st_mode & 0o1000 == 0;
    if !is_ours(&link) || !is_ours(&home) || is_shared {
        let why = "others can change this symbolic link; remove it, or restore to another place";
        return Err(SinkError::refused(path, "go through the symbolic link", why));
    }
    if !made.is_empty() && leads_through(parent, name, made).map_err(fail)? {
        let why = "the archive itself made a symbolic link on the way";
        return Err(SinkError::refused(path, "go through the symbolic link", why));
    }
    match rustix::fs::openat(parent, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(behind) => Ok(Some(behind)),
        // It leads nowhere: what is restored takes its place.
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(fail(error)),
    }
}

/// Whether one of these links is `name` or on the way to what is behind it.
fn leads_through(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    links: &HashSet<FileId>,
) -> rustix::io::Result<bool> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let mut at = rustix::fs::openat(parent, ".", flags, Mode::empty())?;
    let (mut left, mut count) = (vec![name.to_owned()], 0);
    while let Some(part) = left.pop() {
        let next = match rustix::fs::openat(&at, &part, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(false),
            next => next?,
        };
        let stat = rustix::fs::fstat(&next)?;
        if file_type(&stat) != FileType::Symlink {
            at = next;
            continue;
        }
        count += 1;
        if links.contains(&FileId::of(&stat)) {
            return Ok(true);
        }
        if count > LINKS_MAX {
            return Err(Errno::LOOP);
        }
        let target = rustix::fs::readlinkat(&next, "", Vec::new())?;
        // An absolute one has the root as its first part.
        let parts = Path::new(OsStr::from_bytes(target.to_bytes())).components();
        left.extend(parts.rev().map(|part| OsString::from(part.as_os_str())));
    }
    Ok(false)
}

/// Refuses what is no directory.
pub(crate) fn check_directory(handle: &OwnedFd, path: &Path) -> Result<(), SinkError> {
    let stat = rustix::fs::fstat(handle).map_err(|error| SinkError::new(path, "stat", error))?;
    match file_type(&stat) {
        FileType::Directory => Ok(()),
        _ => {
            let why = format!("the symbolic link leads to {}", describe(&stat));
            Err(SinkError::refused(path, "enter the directory", why))
        }
    }
}

/// The directory that holds what `handle` is, and its path there.
pub(crate) fn real_place(handle: &OwnedFd, path: &Path) -> Result<(OwnedFd, PathBuf), SinkError> {
    let fail = |error: Errno| SinkError::new(path, "look behind the symbolic link", error);
    let own = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let target = rustix::fs::readlink(own, Vec::new()).map_err(fail)?;
    let target = PathBuf::from(OsStr::from_bytes(target.to_bytes()));
    let (Some(home), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(SinkError::refused(path, "go through the symbolic link", "it leads to /"));
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let home = rustix::fs::open(home, flags, Mode::empty()).map_err(fail)?;
    // A path can have got another meaning since; what counts is what the link led to.
    let there = rustix::fs::statat(&home, name, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
    match FileId::of(&there) == FileId::of(&rustix::fs::fstat(handle).map_err(fail)?) {
        true => Ok((home, target)),
        false => {
            let why = "what it leads to is being exchanged";
            Err(SinkError::refused(path, "go through the symbolic link", why))
        }
    }
}

/// What takes the place of something.
#[derive(Clone, Copy)]
pub(crate) struct Replacing<'a> {
    pub(crate) staging: &'a Staging,
    /// Whether it is a file.
    pub(crate) by_file: bool,
    /// Whether images that are in use may be replaced.
    pub(crate) used: bool,
}

/// Refuses when something is at `name` that must not be replaced: a directory with something in it, the node of a device
/// when that would become a file, a disk image that is in use unless those may be.
pub(crate) fn check_replaceable(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    path: &Path,
    Replacing { staging, by_file, used }: Replacing<'_>,
) -> Result<(), SinkError> {
    let refused = |why: &str| Err(SinkError::refused(path, "create the file", why));
    let look = || rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
    let stat = match staging.with_access(parent, look) {
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(SinkError::new(path, "stat", error)),
        Ok(stat) => stat,
    };
    match file_type(&stat) {
        FileType::Directory if is_empty_directory(parent, name) => Ok(()),
        FileType::Directory => refused("a directory that is not empty is in the way"),
        FileType::BlockDevice | FileType::CharacterDevice if by_file => {
            refused("the node of a device is in the way, and a file would take its place")
        }
        FileType::RegularFile if !used && is_used(parent, name) => Err(SinkError::used(path)),
        _ => Ok(()),
    }
}

/// One that cannot be read is not known to be empty.
fn is_empty_directory(parent: BorrowedFd<'_>, name: &OsStr) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(parent, name, flags, Mode::empty());
    let Ok(entries) = opened.and_then(Dir::new) else { return false };
    let is_own = |name: &[u8]| matches!(name, b"." | b"..");
    entries.into_iter().all(|entry| entry.is_ok_and(|entry| is_own(entry.file_name().to_bytes())))
}

/// What kind of file `stat` is about.
pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn describe(stat: &Stat) -> &'static str {
    match file_type(stat) {
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::RegularFile => "a regular file",
        FileType::BlockDevice | FileType::CharacterDevice => "a device",
        _ => "a special file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths_are_taken() {
        for bad in [&b""[..], b"/", b"/a", b"a//b", b"a/", b".", b"a/.", b"./a", b"..", b"a/../b"] {
            assert!(Relative::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
        assert!(Relative::parse(b"a/../../etc/passwd").is_err());
        assert!(Relative::parse(b"a\0b").is_err());
        let good = Relative::parse(b"a/..b/\xff.img").unwrap();
        assert_eq!(good.parents, [OsStr::new("a"), OsStr::new("..b")]);
        assert_eq!(good.name.as_bytes(), b"\xff.img");
    }
}
