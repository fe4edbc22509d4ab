//! The part of a disk that a file system lies on, as the libraries that read one want it.
//!
//! In: a source, and which part of it. Out: reads at any place of that part. What was read last is kept, for these
//! libraries ask for a few bytes at a time. Promises: nothing outside of the part is read; what one thing that is asked of
//! a file system reads is bounded, so that structures which lead in a circle come to an end.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use garret_image::Source;

use crate::{Error, Result};

/// What is read of the disk at once, and kept, in bytes.
const BLOCK_LEN: u64 = 64 * 1024;

/// Blocks that are kept: 4 MiB.
const BLOCKS: usize = 64;

/// What one thing that is asked may read, in bytes, what is kept included: a directory of two million names. A library may
/// hold as much while it goes round in a circle.
const READ_MAX: u64 = 1 << 29;

/// A block that was read: its number, its bytes.
type Block = (u64, Vec<u8>);

/// A part of a disk. Copies are the same.
#[derive(Clone)]
pub(crate) struct Window(Rc<Part>);

struct Part {
    source: Arc<dyn Source>,
    range: Range<u64>,
    /// By the number of a block: the last that had the place.
    kept: RefCell<Vec<Option<Block>>>,
    /// What may still be read.
    left: Cell<u64>,
    /// Why a read failed: the libraries do not say.
    failed: RefCell<Option<String>>,
}

impl Window {
    pub(crate) fn new(source: Arc<dyn Source>, range: Range<u64>) -> Self {
        let end = range.end.min(source.len());
        let range = range.start.min(end)..end;
        let kept = RefCell::new(vec![None; BLOCKS]);
        let (left, failed) = (Cell::new(READ_MAX), RefCell::default());
        Window(Rc::new(Part { source, range, kept, left, failed }))
    }

    /// Its length, in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.0.range.end - self.0.range.start
    }

    /// Begins what is asked of a file system: `work`. A failure of the disk is told as such, whatever a library makes of it.
    pub(crate) fn ask<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.0.left.set(READ_MAX);
        let done = work();
        match self.0.failed.take() {
            // Also where a library makes nothing of it.
            Some(why) => Err(Error::Disk(why)),
            None => done,
        }
    }

    /// Fills `buf` with the bytes from `offset` of the part on.
    pub(crate) fn fill(&self, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.len()) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let left = self.0.left.get().checked_sub(buf.len() as u64);
        self.0.left.set(left.ok_or_else(|| io::Error::other("it leads in a circle"))?);
        while !buf.is_empty() {
            let (number, skip) = (offset / BLOCK_LEN, offset % BLOCK_LEN);
            let len = (buf.len() as u64).min(BLOCK_LEN - skip);
            // At most a block.
            let (now, later) = buf.split_at_mut(len as usize);
            self.fill_in_block(number, skip as usize, now)?;
            (offset, buf) = (offset + len, later);
        }
        Ok(())
    }

    /// Fills `buf` from a block, which has that much behind `skip`.
    fn fill_in_block(&self, number: u64, skip: usize, buf: &mut [u8]) -> io::Result<()> {
        let mut kept = self.0.kept.borrow_mut();
        let place = usize::try_from(number % BLOCKS as u64).unwrap_or(0);
        let Some(slot) = kept.get_mut(place) else { return Err(ErrorKind::NotFound.into()) };
        if slot.as_ref().is_none_or(|(there, _)| *there != number) {
            let start = number * BLOCK_LEN;
            let mut bytes = vec![0; (self.len() - start).min(BLOCK_LEN) as usize];
            self.0.source.read_at(&mut bytes, self.0.range.start + start).map_err(|error| {
                *self.0.failed.borrow_mut() = Some(error.to_string());
                io::Error::other(error)
            })?;
            *slot = Some((number, bytes));
        }
        let bytes = slot.as_ref().and_then(|(_, bytes)| bytes.get(skip..skip + buf.len()));
        buf.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl ext4_view::Ext4Read for Window {
    fn read(
        &mut self,
        start_byte: u64,
        dst: &mut [u8],
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.fill(start_byte, dst)?)
    }
}

impl lamxfs::BlockRead for Window {
    type Error = io::Error;

    fn read_at(&mut self, offset_bytes: u64, buf: &mut [u8]) -> io::Result<()> {
        self.fill(offset_bytes, buf)
    }
}

/// A window with a place in it where the next read begins.
pub(crate) struct Cursor {
    window: Window,
    at: u64,
}

impl Cursor {
    pub(crate) fn new(window: Window) -> Self {
        Cursor { window, at: 0 }
    }
}

impl Read for Cursor {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.window.len().saturating_sub(self.at);
        let len = (buf.len() as u64).min(left);
        // At most the length of the buffer.
        let Some(buf) = buf.get_mut(..len as usize) else { return Ok(0) };
        self.window.fill(self.at, buf)?;
        self.at += len;
        Ok(buf.len())
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.window.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// What the reader of FAT could also do, and is never asked to.
impl Write for Cursor {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
