//! A block device as a [`Sink`].
//!
//! In: verified bytes and zero runs, in any order, from any number of threads. Out: the device, written in place: there is
//! no other place for it. Promises: nothing is written to a device that is in use or too small; every byte that is given is
//! written, zeros too, for the device holds something else; [`DeviceSink::finish`] returns when it all is on the device.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom};

use crate::sink::{PAGE_BYTES, Sink, SinkError, range_within, zeros};
use crate::used::is_locked;

/// A block device being restored to.
#[derive(Debug)]
pub struct DeviceSink {
    file: File,
    path: PathBuf,
    len: u64,
}

impl DeviceSink {
    /// Opens the block device at `path` for a stream of `len` bytes. What lies behind them stays. `used` allows one that a
    /// virtual machine has open.
    ///
    /// # Errors
    /// `Refused` for anything else, and for a device of fewer bytes; `Used` for one that a virtual machine has open; `Io`
    /// with the kernel's "busy" for one that is mounted or part of a volume.
    pub fn open(path: &Path, len: u64, used: bool) -> Result<DeviceSink, SinkError> {
        let fail = |error: io::Error| SinkError::new(path, "open", error);
        let refuse = |why: String| SinkError::refused(path, "restore to this device", why);
        // For a block device EXCL asks the kernel whether anybody uses it.
        let flags = OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOCTTY;
        if !std::fs::metadata(path).map_err(fail)?.file_type().is_block_device() {
            return Err(refuse("it is none".to_owned()));
        }
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| fail(e.into()))?;
        let file = File::from(file);
        if !used && is_locked(&file) {
            return Err(SinkError::used(path));
        }
        let room = rustix::fs::seek(&file, SeekFrom::End(0)).map_err(|e| fail(e.into()))?;
        match room >= len {
            true => Ok(DeviceSink { file, path: path.to_owned(), len }),
            false => Err(refuse(format!("it has {room} bytes, {len} are needed"))),
        }
    }

    /// Waits until everything is on the device.
    ///
    /// # Errors
    /// `NoSpace`, of a thin volume, or `Io`: not all of it is.
    pub fn finish(self) -> Result<(), SinkError> {
        self.file.sync_all().map_err(|error| SinkError::new(&self.path, "sync", error))
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), SinkError> {
        let written = self.file.write_all_at(bytes, offset);
        written.map_err(|error| SinkError::new(&self.path, "write", error))
    }

    fn write_zeros(&self, range: Range<u64>) -> Result<(), SinkError> {
        zeros(range).try_for_each(|(offset, zeros)| self.write(offset, zeros))
    }

    /// Whether the device could be told that these whole pages are zero: thin volumes and flash then keep nothing for them.
    fn punch(&self, range: &Range<u64>) -> bool {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let len = range.end - range.start;
        rustix::fs::fallocate(&self.file, flags, range.start, len).is_ok()
    }
}

impl Sink for DeviceSink {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), SinkError> {
        range_within(&self.path, self.len, offset, bytes.len() as u64)?;
        self.write(offset, bytes)
    }

    fn write_zero(&self, offset: u64, len: u64) -> Result<(), SinkError> {
        let range = range_within(&self.path, self.len, offset, len)?;
        let start = range.start.next_multiple_of(PAGE_BYTES).min(range.end);
        let end = (range.end - range.end % PAGE_BYTES).max(start);
        self.write_zeros(range.start..start)?;
        if start < end && !self.punch(&(start..end)) {
            self.write_zeros(start..end)?;
        }
        self.write_zeros(end..range.end)
    }
}
