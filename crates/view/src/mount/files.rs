//! Answers to the kernel.
//!
//! In: its requests, from several threads. Out: a reply to each. Promises: what is known of a file does not change, so the
//! kernel may keep it; whoever has a file open keeps it readable.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use fuser::{
    Errno, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, KernelConfig,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyLseek,
    ReplyOpen, ReplyXattr, Request,
};
use garret_core::message;
use garret_image::Source;

use super::node::{Directory, Node, What};
use super::tree::Tree;
use crate::ahead::{Ahead, Reader};

/// How long the kernel believes what it was told. Nothing changes here.
const VALID: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads that the kernel may have under way by itself.
const BACKGROUND_MAX: u16 = 64;

/// What the kernel reads ahead, in bytes: each of its requests is an answer of ours.
pub(super) const READ_AHEAD: u32 = 1 << 20;

/// A file system of archives.
pub(super) struct Files {
    tree: Tree,
    ahead: Ahead,
    open: RwLock<HashMap<u64, Arc<Reader>>>,
    /// The number of the next open file.
    next: AtomicU64,
}

impl Files {
    pub(super) fn new(tree: Tree) -> Self {
        Files { tree, ahead: Ahead::new(), open: RwLock::default(), next: AtomicU64::new(1) }
    }

    fn node(&self, number: INodeNo) -> Result<Arc<Node>, Errno> {
        self.tree.node(number.0).ok_or(Errno::ENOENT)
    }

    fn reader(&self, handle: FileHandle) -> Result<Arc<Reader>, Errno> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&handle.0).cloned().ok_or(Errno::EBADF)
    }

    fn read(
        &self,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        len: u32,
    ) -> Result<Vec<u8>, Errno> {
        let reader = self.reader(handle)?;
        let left = reader.source().len().saturating_sub(offset);
        // No more than the kernel has asked for.
        let mut bytes = vec![0; left.min(len.into()) as usize];
        match reader.read(&mut bytes, offset) {
            Ok(()) => Ok(bytes),
            Err(error) => {
                if let Ok(node) = self.node(number)
                    && let What::File(file) = &node.what
                {
                    self.tree.tell(&file.name(), &message(&error));
                }
                Err(Errno::EIO)
            }
        }
    }

    /// Names from that place on; false if not all found room.
    fn list(
        &self,
        number: INodeNo,
        directory: &Directory,
        start: u64,
        reply: &mut ReplyDirectory,
    ) -> Result<(), Errno> {
        let (children, disks) = (self.tree.children(directory), self.tree.disks(directory));
        let dots: [(Box<[u8]>, u64); 2] =
            [(b".".as_slice().into(), number.0), (b"..".as_slice().into(), number.0)];
        let all = dots.iter().chain(children).chain(disks);
        let start = usize::try_from(start).map_err(|_| Errno::EINVAL)?;
        for (at, (name, number)) in all.enumerate().skip(start) {
            let kind = self.tree.node(*number).map_or(FileType::RegularFile, |node| node.attr.kind);
            if reply.add(INodeNo(*number), at as u64 + 1, kind, OsStr::from_bytes(name)) {
                break;
            }
        }
        Ok(())
    }
}

/// Where the next data or hole is, as `lseek` asks for it.
fn seek(source: &dyn Source, offset: i64, wants_hole: bool) -> Result<i64, Errno> {
    let len = source.len();
    let mut at = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
    if at >= len {
        return Err(Errno::ENXIO);
    }
    while at < len {
        let extent = source.extent_at(at).map_err(|_| Errno::EIO)?;
        if extent.is_hole() == wants_hole {
            break;
        }
        at = at.max(extent.offset().saturating_add(extent.len())).max(at + 1);
    }
    match at < len || wants_hole {
        // The end of a file is a hole.
        true => i64::try_from(at.min(len)).map_err(|_| Errno::EOVERFLOW),
        false => Err(Errno::ENXIO),
    }
}

/// What is asked for first is how long it is.
fn give(bytes: &[u8], room: u32, reply: ReplyXattr) {
    match u32::try_from(bytes.len()) {
        Ok(len) if room == 0 => reply.size(len),
        Ok(len) if len <= room => reply.data(bytes),
        _ => reply.error(Errno::ERANGE),
    }
}

impl Filesystem for Files {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Where it takes less, that is what it does.
        let _less = config.set_max_background(BACKGROUND_MAX);
        let _less = config.set_max_readahead(READ_AHEAD);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.node(parent).and_then(|node| match &node.what {
            What::Directory(directory) => {
                let number = self.tree.child(directory, name.as_bytes());
                self.node(INodeNo(number.ok_or(Errno::ENOENT)?))
            }
            _ => Err(Errno::ENOTDIR),
        });
        match found {
            Ok(node) => reply.entry(&VALID, &self.tree.stat(&node), Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        match self.node(number) {
            Ok(node) => reply.attr(&VALID, &self.tree.stat(&node)),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _request: &Request, number: INodeNo, reply: ReplyData) {
        match self.node(number).as_deref() {
            Ok(Node { what: What::Symlink(target), .. }) => reply.data(target),
            Ok(_) => reply.error(Errno::EINVAL),
            Err(error) => reply.error(*error),
        }
    }

    fn open(&self, _request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let opened = self.node(number).and_then(|node| match &node.what {
            What::File(file) => self.tree.source(file).map_err(|_| Errno::EIO),
            _ => Err(Errno::EINVAL),
        });
        match opened {
            Ok(source) => {
                let handle = self.next.fetch_add(1, Ordering::Relaxed);
                let reader = Arc::new(self.ahead.reader(source));
                self.open.write().unwrap_or_else(PoisonError::into_inner).insert(handle, reader);
                reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE);
            }
            Err(error) => reply.error(error),
        }
    }

    fn release(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&handle.0);
        reply.ok();
    }

    fn read(
        &self,
        _request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        len: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.read(number, handle, offset, len) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn lseek(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        const DATA: i32 = 3;
        const HOLE: i32 = 4;
        let found = self.reader(handle).and_then(|reader| match whence {
            DATA => seek(&**reader.source(), offset, false),
            HOLE => seek(&**reader.source(), offset, true),
            // All others the kernel answers itself.
            _ => Err(Errno::EINVAL),
        });
        match found {
            Ok(at) => reply.offset(at),
            Err(error) => reply.error(error),
        }
    }

    fn readdir(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.node(number).and_then(|node| match &node.what {
            What::Directory(directory) => self.list(number, directory, offset, &mut reply),
            _ => Err(Errno::ENOTDIR),
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn getxattr(
        &self,
        _request: &Request,
        number: INodeNo,
        name: &OsStr,
        room: u32,
        reply: ReplyXattr,
    ) {
        let node = match self.node(number) {
            Ok(node) => node,
            Err(error) => return reply.error(error),
        };
        match node.xattrs.iter().find(|(found, _)| found == name.as_bytes()) {
            Some((_, value)) => give(value, room, reply),
            None => reply.error(Errno::NO_XATTR),
        }
    }

    fn listxattr(&self, _request: &Request, number: INodeNo, room: u32, reply: ReplyXattr) {
        match self.node(number) {
            Ok(node) => {
                let names = node.xattrs.iter().flat_map(|(name, _)| name.iter().chain(&[0]));
                give(&names.copied().collect::<Vec<u8>>(), room, reply);
            }
            Err(error) => reply.error(error),
        }
    }
}
