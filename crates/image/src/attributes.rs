//! What a file has besides its content: on the way in, extended attributes and flags; on the way out, everything.
//!
//! In: an open file or a path, and what it is to get. Out: [`Extra`]; or the file with its [`Attributes`]. Promises: the
//! order is owner, extended attributes, ACLs, mode, times: a change of owner takes away capabilities and set-id bits, an ACL
//! changes the mode, and whoever is not root can set attributes only while the mode lets him write. A symbolic link is never
//! followed; what only root may set is left as it is without a word.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Gid, IFlags, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use crate::{At, SourceError, Time};

/// Set-user-id and set-group-id.
const SET_ID_BITS: u32 = 0o6000;
/// What the system allows for the names of all attributes of a file, and for the value of one.
const XATTR_BYTES_MAX: usize = 64 * 1024;
/// Flags that only root may set: the others are tried again without them.
const ROOT_FLAGS: IFlags = IFlags::IMMUTABLE.union(IFlags::APPEND).union(IFlags::JOURNALING);

/// Names and values of extended attributes, by name in byte order. POSIX ACLs are among them.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// What `stat` does not say of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extra {
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// Flags as `lsattr` shows them; 0 where there are none.
    pub flags: u32,
}

impl Extra {
    /// That of an open file or directory.
    ///
    /// # Errors
    /// The system fails to read attributes that are there, or they are of more than `len_max` bytes together.
    pub fn of_file(file: impl AsFd, path: &Path, len_max: usize) -> Result<Extra, SourceError> {
        let file = file.as_fd();
        let xattrs = read_xattrs(Handle::Open(file), len_max)
            .map_err(|error| SourceError::new(path, "read the extended attributes", error))?;
        // Most file systems without flags say so, some in unusual words: none is lost either way.
        let flags = rustix::fs::ioctl_getflags(file).map_or(0, |flags| flags.bits());
        Ok(Extra { xattrs, flags })
    }

    /// That of what is there itself, which is neither opened nor followed: links and special files have no flags.
    ///
    /// # Errors
    /// As [`of_file`](Self::of_file).
    pub fn of_place(at: At<'_>, len_max: usize) -> Result<Extra, SourceError> {
        let xattrs = read_xattrs(Handle::Path(&at.as_path()), len_max)
            .map_err(|error| at.error("read the extended attributes", error))?;
        Ok(Extra { xattrs, flags: 0 })
    }
}

/// How attributes are asked for.
#[derive(Clone, Copy)]
enum Handle<'a> {
    Open(BorrowedFd<'a>),
    Path(&'a Path),
}

impl Handle<'_> {
    fn list(self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Handle::Open(file) => rustix::fs::flistxattr(file, buffer),
            Handle::Path(path) => rustix::fs::llistxattr(path, buffer),
        }
    }

    fn get(self, name: &[u8], buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Handle::Open(file) => rustix::fs::fgetxattr(file, name, buffer),
            Handle::Path(path) => rustix::fs::lgetxattr(path, name, buffer),
        }
    }
}

/// One call for most files, which have none.
fn read_xattrs(handle: Handle<'_>, len_max: usize) -> std::io::Result<Xattrs> {
    let names = match read_growing(|buffer| handle.list(buffer)) {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Xattrs::new()),
        Err(error) => return Err(error.into()),
    };
    let mut xattrs = Xattrs::new();
    let mut len = 0;
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let value = match read_growing(|buffer| handle.get(name, buffer)) {
            Ok(value) => value,
            // Removed meanwhile, or listed by a file system that has it under another name.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => continue,
            Err(error) => return Err(error.into()),
        };
        len += name.len() + value.len() + 8;
        if len > len_max {
            let why = format!("they are of more than {len_max} bytes");
            return Err(std::io::Error::other(why));
        }
        xattrs.push((name.to_vec(), value));
    }
    xattrs.sort_unstable();
    xattrs.dedup_by(|one, other| one.0 == other.0);
    Ok(xattrs)
}

/// Reads into a small buffer, and into the largest that can be needed if that is too small.
fn read_growing(
    read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0; 512];
    match read(&mut small) {
        Ok(len) => return Ok(small.get(..len).unwrap_or_default().to_vec()),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(error),
    }
    let mut large = vec![0; XATTR_BYTES_MAX];
    let len = read(&mut large)?;
    large.truncate(len);
    Ok(large)
}

/// What a restored file gets besides its content.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    /// Permission bits, set-id bits and the sticky bit.
    pub mode: u32,
    /// User and group; `None` leaves them.
    pub owner: Option<(u32, u32)>,
    /// Time of the last change of the content.
    pub mtime: Time,
    /// Extended attributes. What is there already and not among them stays.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
    /// Flags to be set; those that cannot be are left.
    pub flags: u32,
}

impl Attributes<'_> {
    /// Without extended attributes and flags.
    pub fn plain(mode: u32, owner: Option<(u32, u32)>, mtime: Time) -> Self {
        Attributes { mode, owner, mtime, xattrs: &[], flags: 0 }
    }
}

/// Gives an open file or directory all but its flags; the first extended attribute that could not be set, if any: the rest
/// is fine then.
pub(crate) fn apply(file: &File, attributes: &Attributes<'_>) -> rustix::io::Result<Option<Errno>> {
    let mut mode = attributes.mode & 0o7777;
    if let Some((uid, gid)) = attributes.owner {
        mode = owned(mode, rustix::fs::fchown(file, user(uid), group(gid)))?;
    }
    let unset = set_xattrs(attributes.xattrs, |name, value| {
        rustix::fs::fsetxattr(file, name, value, XattrFlags::empty())
    });
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?;
    rustix::fs::futimens(file, &timestamps(attributes.mtime))?;
    Ok(unset)
}

/// The same for a symbolic link, which has no mode, or a special file, which must not be opened; `handle` holds it without
/// any rights. Neither runs, so neither gets set-id bits.
pub(crate) fn apply_to_handle(
    handle: BorrowedFd<'_>,
    is_link: bool,
    attributes: &Attributes<'_>,
) -> rustix::io::Result<Option<Errno>> {
    let itself = AtFlags::EMPTY_PATH;
    if let Some((uid, gid)) = attributes.owner {
        owned(0, rustix::fs::chownat(handle, "", user(uid), group(gid), itself))?;
    }
    // The one name of what is not opened that no call follows further.
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let unset = set_xattrs(attributes.xattrs, |name, value| {
        rustix::fs::setxattr(&path, name, value, XattrFlags::empty())
    });
    if !is_link {
        let mode = attributes.mode & 0o7777 & !SET_ID_BITS;
        rustix::fs::chmod(&path, Mode::from_raw_mode(mode))?;
    }
    rustix::fs::utimensat(handle, "", &timestamps(attributes.mtime), itself)?;
    Ok(unset)
}

/// Sets flags beside those that the file got when it was made. Root may set all, the owner most; what fails is left.
pub(crate) fn set_flags(file: impl AsFd, flags: u32) {
    let Ok(now) = rustix::fs::ioctl_getflags(&file) else { return };
    let wanted = now.union(IFlags::from_bits_retain(flags));
    for wanted in [wanted, wanted.difference(ROOT_FLAGS)] {
        if wanted == now || rustix::fs::ioctl_setflags(&file, wanted).is_ok() {
            return;
        }
    }
}

fn set_xattrs(
    xattrs: &[(Vec<u8>, Vec<u8>)],
    set: impl Fn(&[u8], &[u8]) -> rustix::io::Result<()>,
) -> Option<Errno> {
    let mut unset = None;
    // ACLs last: one of them may take from the owner what setting the others needs.
    let is_acl = |xattr: &&(Vec<u8>, Vec<u8>)| xattr.0.starts_with(b"system.");
    let others = xattrs.iter().filter(|xattr| !is_acl(xattr));
    for (name, value) in others.chain(xattrs.iter().filter(is_acl)) {
        match set(name, value) {
            // Root's, or of a kind that this file system does not have.
            Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP) => {}
            Err(error) => unset = unset.or(Some(error)),
        }
    }
    unset
}

/// The mode that a file may have after a change of owner, which clears set-id bits. Not being allowed to give a file away
/// is no failure, but then it must not run as us.
fn owned(mode: u32, changed: rustix::io::Result<()>) -> rustix::io::Result<u32> {
    match changed {
        Ok(()) => Ok(mode),
        Err(Errno::PERM) => Ok(mode & !SET_ID_BITS),
        Err(error) => Err(error),
    }
}

/// All ones means "leave it" to the system and is nobody's id.
fn user(uid: u32) -> Option<Uid> {
    (uid != u32::MAX).then(|| Uid::from_raw(uid))
}

fn group(gid: u32) -> Option<Gid> {
    (gid != u32::MAX).then(|| Gid::from_raw(gid))
}

/// The access time stays. Nanoseconds are clipped, since some values beyond have a meaning of their own ("now").
fn timestamps(mtime: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: mtime.secs,
            tv_nsec: mtime.nanos.min(999_999_999).into(),
        },
    }
}
