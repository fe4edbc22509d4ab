//! A regular file or a block device as a [`Source`].
//!
//! In: a place. Out: extents by SEEK_DATA/SEEK_HOLE, bytes by `pread`.
//!
//! Page cache manners. The core reads every byte of a disk once, and whoever else works on this
//! machine should not lose his cache to that. What was in the page cache before a read stays
//! there; what the read brought in is dropped behind it. The question "was it there before?" is
//! put with `preadv2(RWF_NOWAIT)`, which delivers only what is cached.
//!
//! The kernel's own read-ahead would make the answer worthless: measured with 4 MiB reads of a
//! cold file, 451 of 512 were "cached", by the read-ahead of the read before, and 88 % of the file
//! stayed behind. So read-ahead is off (FADV_RANDOM), and each read that misses announces its
//! whole range (FADV_WILLNEED) before waiting for it. That leaves next to nothing behind and was
//! faster than the kernel's read-ahead: 1409 against 930 MB/s with a third of the CPU time. Between
//! two reads of one thread nothing is in flight, so reads should be large (1 MiB and more) or come
//! from two threads.
//!
//! The answer errs the other way too: a page that is cached but marked by somebody's read-ahead is
//! refused to NOWAIT. Dropping at once would empty a cache a little more with every backup (27 MB of
//! 1.5 GB a run were seen), so a range is dropped only if two places inside it were not cached
//! either. They lie a third from the ends: neighbouring reads may overlap a little.
//!
//! Asking starts the read of what is missing, so a device that answers before the question is
//! through passes for a cache: seen for up to 0.6 % of a file, with reads of two pages, and for 13 to 80 % each time on a
//! virtual machine with a fast disk. Where the kernel can drop what a read itself brought in (`RWF_DONTCACHE`, Linux 6.14 and
//! some file systems), the question is put so, and nothing of that stays.
//!
//! File systems without RWF_NOWAIT (tmpfs, NFS, FUSE) get plain `pread`, ordinary read-ahead, and
//! nothing is dropped.
//!
//! Files that are made up when they are read (`/proc`, `/sys`) take no space, and their lengths say
//! 0 or a page whatever they hold. So a small file that takes no space is read when it is opened, and
//! its length is what came out; an empty one costs that one read.

use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{Advice, OFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};

use crate::{
    At, Extent, Extra, FileKind, LOOKS_MAX, Metadata, PAGE_BYTES, Slot, Source, SourceError,
};

/// One FADV_WILLNEED: the kernel cuts a longer one off at the read-ahead window of the device,
/// silently. 128 KiB is the smallest window in common use.
const ANNOUNCE_BYTES: u64 = 128 * 1024;

/// `RWF_DONTCACHE` of linux/fs.h: what the read brings in is dropped when it was read.
const DONT_CACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// When SEEK_DATA and SEEK_HOLE contradict each other, because the file is being changed, this
/// much is taken as data and the walk goes on behind it: progress, and reading a hole is harmless.
const CONTRADICTION_BYTES: u64 = 64 * 1024;

/// Longest file that is read when it is opened if it takes no space.
const UNSTORED_BYTES_MAX: u64 = 64 * 1024;
/// Most that may come out of a file whose length says less: `/proc` has some without an end.
const MADE_UP_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// An open regular file or block device. `read_at` may be called from any number of threads.
#[derive(Debug)]
pub struct RawFile {
    file: File,
    path: PathBuf,
    metadata: Metadata,
    /// All of it, if it takes no space.
    made_up: Option<Vec<u8>>,
    /// It can drop what that question brings in.
    drops: AtomicBool,
    /// The file system can tell what is cached (RWF_NOWAIT).
    tells_cached: AtomicBool,
    /// Where reads met the end of the file, if that was before `metadata.size`.
    end: AtomicU64,
}

/// The part of a read that is on its way into the page cache.
struct Announced<'b> {
    missing: &'b mut [u8],
    /// Its place in the file.
    start: u64,
    /// The first byte to drop behind it.
    drop_from: u64,
}

impl RawFile {
    /// Opens `path`: see [`open_at`](Self::open_at).
    ///
    /// # Errors
    /// As of [`open_at`](Self::open_at).
    pub fn open(path: &Path, follow: bool) -> Result<RawFile, SourceError> {
        Self::open_at(At::path(path), follow, None)
    }

    /// Opens what is there for reading, without ever waiting for anybody: a named pipe is refused, not
    /// waited for. `follow` says whether it may be a symbolic link itself (a path named by
    /// the user, such as /dev/vg/lv); files found in a walk are opened with `false`. `seen` is what
    /// a look at it said, if there was one: that saves another.
    ///
    /// # Errors
    /// `NotSupported` for anything but a regular file or a block device; `NotFound`, `Denied` or `Io` if it cannot be opened.
    pub fn open_at(
        at: At<'_>,
        follow: bool,
        seen: Option<&Metadata>,
    ) -> Result<RawFile, SourceError> {
        let (path, fail) = (at.shown(), |error: io::Error| at.error("open", error));
        let (file, mut metadata) = open_known(at, follow, seen)?;
        if metadata.kind == FileKind::Block {
            metadata.size =
                rustix::fs::seek(&file, SeekFrom::End(0)).map_err(|e| fail(e.into()))?;
        }
        let made_up = read_made_up(&file, &metadata)
            .map_err(|error| SourceError::new(path, "read", error).at_offset(0))?;
        if let Some(bytes) = &made_up {
            metadata.size = bytes.len() as u64;
        }
        // Of a file that is read at once there is nothing to read ahead.
        if metadata.size > ANNOUNCE_BYTES {
            advise(&file, 0, 0, Advice::Random);
        }
        Ok(RawFile {
            file,
            path: path.to_owned(),
            metadata,
            made_up,
            drops: AtomicBool::new(true),
            tells_cached: AtomicBool::new(true),
            end: AtomicU64::new(metadata.size),
        })
    }

    /// What `stat` said when the file was opened, but that `size` is the length of the stream.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its extended attributes and flags.
    ///
    /// # Errors
    /// As of [`Extra::of_file`].
    pub fn extra(&self, len_max: usize) -> Result<Extra, SourceError> {
        Extra::of_file(&self.file, &self.path, len_max)
    }

    /// Reads what is in the page cache, from `offset` on: how many bytes of `buf` that filled.
    /// `None` if the file system cannot tell.
    fn read_cached(&self, buf: &mut [u8], offset: u64) -> Option<usize> {
        if !self.tells_cached.load(Ordering::Relaxed) {
            return None;
        }
        let mut ask = |how| {
            let mut slices = [IoSliceMut::new(&mut *buf)];
            rustix::io::preadv2(&self.file, &mut slices, offset, ReadWriteFlags::NOWAIT | how)
        };
        let drops = self.drops.load(Ordering::Relaxed);
        let mut answer = ask(if drops { DONT_CACHE } else { ReadWriteFlags::empty() });
        if drops && matches!(answer, Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL)) {
            self.drops.store(false, Ordering::Relaxed);
            answer = ask(ReadWriteFlags::empty());
        }
        match answer {
            Ok(len) => Some(len),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.tells_cached.store(false, Ordering::Relaxed);
                advise(&self.file, 0, 0, Advice::Sequential);
                None
            }
            // Nothing cached, or a failure that the waiting read will meet again and report.
            Err(_) => Some(0),
        }
    }

    /// Whether something inside a large range is in the page cache; pages of a small one may be
    /// shared with its neighbours and prove nothing.
    fn has_cached(&self, start: u64, end: u64) -> bool {
        let third = (end - start) / 3;
        let is_cached = |offset| self.read_cached(&mut [0], offset) == Some(1);
        third >= ANNOUNCE_BYTES && (is_cached(start + third) || is_cached(end - third))
    }

    /// Fills what needs no waiting for the device, or is not to be dropped afterwards, and announces
    /// the rest.
    fn begin<'b>(
        &self,
        buf: &'b mut [u8],
        offset: u64,
    ) -> Result<Option<Announced<'b>>, SourceError> {
        // A file that has grown since is not read past the length it had.
        let within = self.len().saturating_sub(offset).min(buf.len() as u64);
        let (buf, beyond) = buf.split_at_mut(usize::try_from(within).unwrap_or(buf.len()));
        beyond.fill(0);
        if let Some(bytes) = &self.made_up {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            if let Some(bytes) = bytes.get(start..).and_then(|rest| rest.get(..buf.len())) {
                buf.copy_from_slice(bytes);
            }
            return Ok(None);
        }
        let Some(cached) = self.read_cached(buf, offset) else {
            return self.read_waiting(buf, offset).map(|()| None);
        };
        let Some(missing) = buf.get_mut(cached..).filter(|missing| !missing.is_empty()) else {
            return Ok(None);
        };
        let start = offset.saturating_add(cached as u64);
        let end = start.saturating_add(missing.len() as u64);
        if self.has_cached(start, end) {
            return self.read_waiting(missing, start).map(|()| None);
        }
        let mut at = start;
        while at < end {
            let len = ANNOUNCE_BYTES.min(end - at);
            advise(&self.file, at, len, Advice::WillNeed);
            at += len;
        }
        // The page that this read shares with the one before it was kept for this read.
        let shared = offset - offset % PAGE_BYTES;
        let only_shared = shared < offset && start - shared <= PAGE_BYTES;
        let drop_from = if only_shared { shared } else { start };
        Ok(Some(Announced { missing, start, drop_from }))
    }

    /// Waits for what was announced, and drops it from the page cache.
    fn complete(&self, announced: Announced<'_>) -> Result<(), SourceError> {
        let Announced { missing, start, drop_from } = announced;
        let end = start.saturating_add(missing.len() as u64);
        let result = self.read_waiting(missing, start);
        advise(&self.file, drop_from, end - drop_from, Advice::DontNeed);
        result
    }

    /// Fills `buf` by plain reads, with zeros where the file has ended.
    fn read_waiting(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let place = offset.saturating_add(filled as u64);
            match self.file.read_at(rest, place) {
                Ok(0) => {
                    self.end.fetch_min(place, Ordering::Relaxed);
                    rest.fill(0);
                    return Ok(());
                }
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(SourceError::new(&self.path, "read", error).at_offset(place));
                }
            }
        }
        Ok(())
    }
}

impl Source for RawFile {
    fn len(&self) -> u64 {
        self.metadata.size
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
        self.find_extent(offset).map_err(|error| {
            SourceError::new(&self.path, "find the holes", error).at_offset(offset)
        })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        match self.begin(buf, offset)? {
            Some(announced) => self.complete(announced),
            None => Ok(()),
        }
    }

    fn read_many(&self, slots: &mut [Slot<'_>]) -> Result<(), SourceError> {
        let mut announced = Vec::new();
        for slot in slots {
            announced.extend(self.begin(slot.bytes, slot.offset)?);
        }
        announced.into_iter().try_for_each(|announced| self.complete(announced))
    }

    fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    fn changed(&self) -> Result<bool, SourceError> {
        if self.end() < self.len() {
            return Ok(true);
        }
        // What is made up was read at once, and its times say nothing of it.
        if self.metadata.kind == FileKind::Block || self.made_up.is_some() {
            return Ok(false);
        }
        let stat = rustix::fs::fstat(&self.file)
            .map_err(|error| SourceError::new(&self.path, "stat", error))?;
        let now = Metadata::from(&stat);
        let then = &self.metadata;
        Ok((now.size, now.mtime, now.ctime) != (then.size, then.mtime, then.ctime))
    }
}

/// What a small file that takes no space holds; `None` for all others, and where there is nothing but
/// zeros, which may be holes.
fn read_made_up(file: &File, metadata: &Metadata) -> io::Result<Option<Vec<u8>>> {
    let Metadata { kind, size, blocks, .. } = *metadata;
    if kind != FileKind::Regular || blocks > 0 || size > UNSTORED_BYTES_MAX {
        return Ok(None);
    }
    let mut bytes = vec![0; PAGE_BYTES as usize];
    let mut file = file;
    let first = file.read(&mut bytes)?;
    bytes.truncate(first);
    if first == 0 {
        return Ok((size > 0).then_some(bytes));
    }
    file.take(MADE_UP_BYTES_MAX).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MADE_UP_BYTES_MAX {
        let text = "its length says less than the 64 MiB that came out of it, and there is more";
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    let as_stated = bytes.len() as u64 == size && bytes.iter().all(|byte| *byte == 0);
    Ok((!as_stated).then_some(bytes))
}

/// Opens what is there, and makes sure that it is what was looked at before: opening some devices does something (a tape
/// rewinds). A file that was replaced meanwhile is looked at again.
fn open_known(
    at: At<'_>,
    follow: bool,
    mut seen: Option<&Metadata>,
) -> Result<(File, Metadata), SourceError> {
    let look = || at.stat(follow).map_err(|error| at.error("open", error.into_io_error()));
    for _ in 0..LOOKS_MAX {
        let before = seen.take().map_or_else(look, |seen| Ok(*seen))?;
        check_kind(before.kind).map_err(|error| at.error("open", error))?;
        let file = match at.open(OFlags::NOCTTY, follow) {
            Ok(file) => File::from(file),
            Err(Errno::LOOP) => continue,
            Err(error) => return Err(at.error("open", error)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|error| at.error("open", error))?;
        let metadata = Metadata::from(&stat);
        if metadata.is_of_same(&before) {
            return Ok((file, metadata));
        }
    }
    Err(at.exchanged())
}

/// Only what has a length and can be read at any place is a source.
fn check_kind(kind: FileKind) -> io::Result<()> {
    match kind {
        FileKind::Regular | FileKind::Block => Ok(()),
        other => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("is {}, not a regular file or block device", other.describe()),
        )),
    }
}

/// Advice is advice: a file system that does not take it still reads correctly. Length 0 means
/// the whole file.
fn advise(file: &File, offset: u64, len: u64, advice: Advice) {
    let _ignored = rustix::fs::fadvise(file, offset, NonZeroU64::new(len), advice);
}

impl RawFile {
    /// What SEEK_DATA and SEEK_HOLE say, clipped to `offset..len`, so that a file that changes
    /// meanwhile can neither make a walk loop nor step back. The calls take absolute offsets: the
    /// shared file position does not matter.
    fn find_extent(&self, offset: u64) -> io::Result<Extent> {
        let len = self.len();
        let hole = |end: u64| Extent::Hole { offset, len: end - offset };
        let data = |end: u64| Extent::Data { offset, len: end - offset };
        // A block device answers SEEK_DATA with EINVAL or, on newer kernels, with "all is data".
        if self.metadata.kind != FileKind::Regular || self.made_up.is_some() {
            return Ok(data(len));
        }
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) if start >= len => return Ok(hole(len)),
            Ok(start) if start > offset => return Ok(hole(start)),
            Ok(_) => {}
            Err(Errno::NXIO) => {
                // No data from here on, or no file any more.
                self.end.fetch_min(self.file.metadata()?.len(), Ordering::Relaxed);
                return Ok(hole(len));
            }
            Err(error) if not_supported(error) => return Ok(data(len)),
            Err(error) => return Err(error.into()),
        }
        let end = match rustix::fs::seek(&self.file, SeekFrom::Hole(offset)) {
            Ok(end) if end > offset => end,
            // A hole where there was data a moment ago, or the end of the file before it.
            Ok(_) | Err(Errno::NXIO) => offset.saturating_add(CONTRADICTION_BYTES),
            Err(error) if not_supported(error) => len,
            Err(error) => return Err(error.into()),
        };
        Ok(data(end.min(len)))
    }
}

fn not_supported(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOTTY)
}
