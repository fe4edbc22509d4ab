//! A file, directory or whatever else that can be seen: what it is, and what the kernel is told of it.
//!
//! In: items. Out: nodes. Promises: what is open is opened once for all who read it; a time, owner or mode that an archive
//! can have is one that can be shown.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};
use garret_format::archive::{Item, ItemKind, Time, Xattr};
use garret_image::Source;

/// What a disk has behind the name of its image.
pub(super) const RAW_SUFFIX: &[u8] = b".raw";

/// Questions about the extents of a file that are asked to say how much space it takes: each is about 256 MiB of a file that
/// is all data. What lies behind counts as data.
const EXTENTS_ASKED_MAX: usize = 256;

/// Bytes of a block, as `stat` counts them.
pub(super) const BLOCK_LEN: u64 = 512;

/// Users and groups of this host, by the names that archives have.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    /// Users.
    pub users: HashMap<String, u32>,
    /// Groups.
    pub groups: HashMap<String, u32>,
}

/// Names in a directory, sorted, and the numbers of their nodes.
pub(super) type Children = Vec<(Box<[u8]>, u64)>;

/// A file, directory or whatever else.
pub(super) struct Node {
    /// As `stat` shows it; the blocks of a file are counted when somebody asks.
    pub(super) attr: FileAttr,
    pub(super) xattrs: Vec<Xattr>,
    pub(super) what: What,
}

pub(super) enum What {
    Directory(Directory),
    File(File),
    Symlink(Vec<u8>),
    Other,
}

/// A directory, and where what is in it comes from.
pub(super) struct Directory {
    pub(super) from: From,
    pub(super) children: OnceLock<Children>,
    /// The disks beside its images.
    pub(super) disks: OnceLock<Children>,
}

#[derive(Clone, Copy)]
pub(super) enum From {
    /// It was given with its parent.
    Parent,
    /// The archive of that number.
    Archive(usize),
    /// All archives.
    Versions,
}

/// A file that is stored, or the disk in it.
pub(super) struct File {
    pub(super) item: Arc<Item>,
    pub(super) is_disk: bool,
    pub(super) open: Mutex<Option<Weak<dyn Source>>>,
    pub(super) blocks: OnceLock<u64>,
    /// The node of the disk, if it is an image.
    pub(super) disk: OnceLock<Option<u64>>,
}

impl Directory {
    pub(super) fn new(from: From) -> Self {
        Directory { from, children: OnceLock::new(), disks: OnceLock::new() }
    }

    pub(super) fn with(children: Children) -> Self {
        let directory = Directory::new(From::Parent);
        let _first = directory.children.set(children);
        directory
    }
}

impl File {
    pub(super) fn new(item: Arc<Item>, is_disk: bool) -> Self {
        let (open, blocks, disk) = (Mutex::new(None), OnceLock::new(), OnceLock::new());
        File { item, is_disk, open, blocks, disk }
    }
}

impl File {
    /// What it is called in messages.
    pub(super) fn name(&self) -> String {
        let suffix = if self.is_disk { RAW_SUFFIX } else { b"" };
        String::from_utf8_lossy(&[&self.item.path, suffix].concat()).into_owned()
    }
}

/// Bytes of a source that are not in holes, as far as a few questions tell.
pub(super) fn data_len(source: &dyn Source) -> u64 {
    let (mut at, mut sum) = (0, 0u64);
    for _ in 0..EXTENTS_ASKED_MAX {
        if at >= source.len() {
            return sum;
        }
        let Ok(extent) = source.extent_at(at) else { break };
        sum += if extent.is_hole() { 0 } else { extent.len() };
        at = extent.offset() + extent.len().max(1);
    }
    sum + source.len().saturating_sub(at)
}

/// A directory that no item speaks of.
pub(super) fn directory_attr(time: Time) -> FileAttr {
    let time = system_time(time);
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: FileType::Directory,
        perm: 0o755,
        // Not counted, as 1 says.
        nlink: 1,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn system_time(time: Time) -> SystemTime {
    let whole = Duration::from_secs(time.secs.unsigned_abs());
    let start = match time.secs < 0 {
        true => UNIX_EPOCH.checked_sub(whole),
        false => UNIX_EPOCH.checked_add(whole),
    };
    let nanos = Duration::from_nanos(time.nanos.into());
    start.and_then(|start| start.checked_add(nanos)).unwrap_or(UNIX_EPOCH)
}

/// An item as `stat` shows it, but for its number.
pub(super) fn attr(item: &Item, kind: FileType, owners: &Owners) -> FileAttr {
    let time = system_time(item.mtime);
    let Owners { users, groups } = owners;
    let size = match &item.kind {
        ItemKind::Symlink(target) => target.len() as u64,
        _ => item.size,
    };
    let rdev = match item.kind {
        ItemKind::BlockDevice(device) | ItemKind::CharacterDevice(device) => {
            // As the kernel's protocol has it: `new_encode_dev`.
            (device.minor & 0xff) | (device.major << 8) | ((device.minor & !0xff) << 12)
        }
        _ => 0,
    };
    FileAttr {
        ino: INodeNo(0),
        size,
        blocks: size.div_ceil(BLOCK_LEN),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind,
        // Permission bits are 12.
        perm: (item.mode & 0o7777) as u16,
        nlink: 1,
        uid: users.get(&item.user).copied().unwrap_or(item.uid),
        gid: groups.get(&item.group).copied().unwrap_or(item.gid),
        rdev,
        blksize: 4096,
        flags: 0,
    }
}
