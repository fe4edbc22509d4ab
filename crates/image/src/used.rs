//! Whether a virtual machine has a disk image open.
//!
//! In: a name in a directory, or an open file. Out: yes, or not as far as can be seen. Changes nothing and waits for nobody.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};

use nix::fcntl::FcntlArg;
use nix::libc;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

/// Below this length no file is a disk image that a virtual machine could use.
const IMAGE_LEN_MIN: i64 = 64 << 10;
/// QEMU holds locks on some of these bytes of an image that it has open (`RAW_LOCK_PERM_BASE`, 100, and
/// `RAW_LOCK_SHARED_BASE`, 200, in its block/file-posix.c), so do libguestfs and whoever else uses its block layer.
const LOCKED_BYTES: std::ops::Range<i64> = 100..300;

/// Whether a virtual machine has the regular file `name` open. One that cannot be opened is not known to be used.
pub(crate) fn is_used(parent: BorrowedFd<'_>, name: &OsStr) -> bool {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
    let may_be = |stat: Stat| {
        let kind = FileType::from_raw_mode(stat.st_mode);
        kind == FileType::RegularFile && stat.st_size >= IMAGE_LEN_MIN
    };
    if !stat.is_ok_and(may_be) {
        return false;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(parent, name, flags, Mode::empty()) else { return false };
    is_locked(&file)
}

/// Whether a virtual machine has this image or device open.
pub(crate) fn is_locked(file: impl AsFd) -> bool {
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: LOCKED_BYTES.start,
        l_len: LOCKED_BYTES.end - LOCKED_BYTES.start,
        l_pid: 0,
    };
    let asked = nix::fcntl::fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock));
    asked.is_ok() && lock.l_type != libc::F_UNLCK as i16
}
