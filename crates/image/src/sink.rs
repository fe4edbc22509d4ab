//! What a restore writes to: the trait, how zeros are allocated, and a file as a sink.
//!
//! In: verified bytes and zero runs, in any order, from any number of threads. Out: a file in a
//! staging directory, which [`FileSink::finish`] turns into NAME. Promises: NAME is either what it
//! was before or complete; a sink that is dropped unfinished leaves nothing behind; every byte of
//! the file that was never written is zero.
//!
//! Each byte is to be written at most once: skipping zeros relies on the file being fresh.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::AllocationMap;
use crate::attributes::{self, Attributes};
use crate::staging::{FileId, Staged};

/// Mode of a file that is being written: it may hold the secrets of a whole disk.
const STAGED_MODE: u32 = 0o600;

/// Zeros are found by pages of this many bytes, aligned in the file: the block size of nearly
/// every file system, so that each skipped page becomes a hole.
pub const PAGE_BYTES: u64 = 4096;

/// Source of real zeros, and what pages are compared with.
static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];

/// Which zeros of the stream are given disk space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allocation {
    /// None: every zero page becomes a hole.
    Sparse,
    /// Those that had disk space in the source, according to its map.
    Exact(AllocationMap),
    /// All.
    Full,
}

/// Takes the bytes of a stream in any order from any thread.
pub trait Sink: Send + Sync {
    /// Writes `bytes` from `offset` on.
    ///
    /// # Errors
    /// `Refused` for bytes past the end; `NoSpace`, `Denied` or `Io` if they cannot be written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), SinkError>;

    /// Makes the `len` bytes from `offset` on zero.
    ///
    /// # Errors
    /// As of [`write_at`](Self::write_at).
    fn write_zero(&self, offset: u64, len: u64) -> Result<(), SinkError>;
}

/// What sort of failure a [`SinkError`] is, by what a caller would do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkErrorKind {
    /// The disk or the quota is full.
    NoSpace,
    /// This user may not write there.
    Denied,
    /// We will not: a path that leads outside, a symbolic link on the way, something in the way.
    Refused,
    /// We will not: a virtual machine uses the image that would be replaced.
    Used,
    /// The system failed to write.
    Io,
}

/// Writing to a destination failed. Never about a source or the repository.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {operation}", path.display())]
pub struct SinkError {
    path: PathBuf,
    operation: &'static str,
    /// The kind, if it is not the system's word for what went wrong.
    ours: Option<SinkErrorKind>,
    source: io::Error,
}

impl SinkError {
    /// An error of `operation` (a verb: "write", "create the file") on `path`. Public for sinks
    /// that are built outside this crate.
    pub fn new(path: &Path, operation: &'static str, source: impl Into<io::Error>) -> SinkError {
        SinkError { path: path.to_owned(), operation, ours: None, source: source.into() }
    }

    /// We will not do it, for the reason `why`.
    pub(crate) fn refused(
        path: &Path,
        operation: &'static str,
        why: impl Into<String>,
    ) -> SinkError {
        let source = io::Error::other(why.into());
        let ours = Some(SinkErrorKind::Refused);
        SinkError { path: path.to_owned(), operation, ours, source }
    }

    /// We will not replace an image that is in use.
    pub(crate) fn used(path: &Path) -> SinkError {
        let why = "it is in use: a virtual machine has it open, and would go on writing";
        let ours = Some(SinkErrorKind::Used);
        SinkError { ours, ..SinkError::refused(path, "replace the image", why) }
    }

    /// The file or directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The verb: "write", "create the file", ...
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// The system's own words, or ours if it was refused.
    pub fn io_error(&self) -> &io::Error {
        &self.source
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> SinkErrorKind {
        self.ours.unwrap_or_else(|| match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SinkErrorKind::NoSpace,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                SinkErrorKind::Denied
            }
            _ => SinkErrorKind::Io,
        })
    }

    /// Whether the disk or the quota is full.
    pub fn is_no_space(&self) -> bool {
        self.kind() == SinkErrorKind::NoSpace
    }
}

/// What of the attributes of something restored could not be set: it is complete and in its place even so.
pub type Unset = Option<SinkError>;

/// What is missing of something that is complete and in its place but for attributes that could not be set.
pub(crate) fn unset_at(unset: Option<Errno>, path: &Path) -> Unset {
    unset.map(|error| SinkError::new(path, "set the extended attributes", error))
}

/// A file being restored; made by [`Root::file`](crate::Root::file).
#[derive(Debug)]
pub struct FileSink {
    file: File,
    staged: Staged,
    len: u64,
    allocation: Allocation,
}

impl FileSink {
    /// How many holes its map has; none without a map.
    pub fn hole_count(&self) -> usize {
        match &self.allocation {
            Allocation::Exact(map) => map.hole_count(),
            Allocation::Sparse | Allocation::Full => 0,
        }
    }

    /// Makes a fresh file and gives it its length, all of it a hole.
    pub(crate) fn new(
        staged: Staged,
        len: u64,
        allocation: Allocation,
    ) -> Result<FileSink, SinkError> {
        if let Allocation::Exact(map) = &allocation
            && map.len() != len
        {
            let why = format!("the allocation map is of {} bytes, the file of {len}", map.len());
            return Err(SinkError::refused(staged.path(), "create the file", why));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(STAGED_MODE);
        let made = staged.create(|directory, entry| {
            rustix::fs::openat(directory, entry, flags | OFlags::NOFOLLOW, mode)
        })?;
        let file = File::from(made);
        file.set_len(len).map_err(|e| SinkError::new(staged.path(), "set the length", e))?;
        Ok(FileSink { file, staged, len, allocation })
    }

    /// What tells this file from all others: for links to it, and for flags that have to wait for those.
    ///
    /// # Errors
    /// `Io` if the system does not say.
    pub fn id(&self) -> Result<FileId, SinkError> {
        match rustix::fs::fstat(&self.file) {
            Ok(stat) => Ok(FileId::of(&stat)),
            Err(error) => Err(SinkError::new(self.staged.path(), "stat", error)),
        }
    }

    /// Sets owner, extended attributes, mode and mtime, gives the file its name, and sets the flags:
    /// a file that is immutable has the name it has.
    ///
    /// An owner that only root may set is left as it is, and the set-id bits of the mode with it.
    /// Nothing is synced: a restore that a power cut spoils is simply run again.
    ///
    /// # Errors
    /// `Used` if a virtual machine has opened what is at NAME since; `NoSpace`, `Denied` or `Io` if it cannot be given its
    /// metadata or its name. What is at NAME stays then.
    pub fn finish(self, attributes: &Attributes<'_>) -> Result<Unset, SinkError> {
        let FileSink { file, staged, .. } = self;
        let path = staged.path().to_owned();
        let fail = |error| SinkError::new(&path, "set the metadata", error);
        if let (None, Some(group)) = (attributes.owner, staged.group()) {
            // Who may not give it to the group of the directory keeps it, as on a copy.
            let _kept = rustix::fs::fchown(&file, None, Some(group));
        }
        let unset = attributes::apply(&file, attributes).map_err(fail)?;
        staged.publish()?;
        if attributes.flags != 0 {
            attributes::set_flags(&file, attributes.flags);
        }
        Ok(unset_at(unset, &path))
    }

    /// It will be NAME and `suffix`, which in full is returned: what it holds is not what NAME stands for.
    pub fn append_to_name(&mut self, suffix: &str) -> &Path {
        self.staged.append_to_name(suffix);
        self.staged.path()
    }

    fn check(&self, offset: u64, len: u64) -> Result<Range<u64>, SinkError> {
        range_within(self.staged.path(), self.len, offset, len)
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), SinkError> {
        let written = self.file.write_all_at(bytes, offset);
        written.map_err(|error| SinkError::new(self.staged.path(), "write", error))
    }

    fn write_zeros(&self, range: Range<u64>) -> Result<(), SinkError> {
        zeros(range).try_for_each(|(offset, zeros)| self.write(zeros, offset))
    }
}

impl Sink for FileSink {
    /// See [`Allocation`] for what becomes of zeros.
    ///
    /// # Errors
    /// `Refused` for bytes past the length given at creation.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), SinkError> {
        let range = self.check(offset, bytes.len() as u64)?;
        match &self.allocation {
            Allocation::Full => self.write(bytes, offset),
            Allocation::Sparse => {
                let mut place = offset;
                for (zero, stretch) in (Stretches { bytes, offset }) {
                    if !zero {
                        self.write(stretch, place)?;
                    }
                    place += stretch.len() as u64;
                }
                Ok(())
            }
            Allocation::Exact(map) => {
                for data in map.data_ranges(range) {
                    let rest = skip(bytes, data.start - offset);
                    self.write(prefix(rest, data.end - data.start), data.start)?;
                }
                Ok(())
            }
        }
    }

    fn write_zero(&self, offset: u64, len: u64) -> Result<(), SinkError> {
        let range = self.check(offset, len)?;
        match &self.allocation {
            Allocation::Sparse => Ok(()),
            Allocation::Full => self.write_zeros(range),
            Allocation::Exact(map) => {
                map.data_ranges(range).try_for_each(|data| self.write_zeros(data))
            }
        }
    }
}

/// `offset..offset + len`, if that lies within the `end` bytes that `path` takes.
pub(crate) fn range_within(
    path: &Path,
    end: u64,
    offset: u64,
    len: u64,
) -> Result<Range<u64>, SinkError> {
    match offset.checked_add(len) {
        Some(to) if to <= end => Ok(offset..to),
        _ => {
            let why = format!("{len} bytes at {offset} are past the end at {end}");
            Err(SinkError::refused(path, "write", why))
        }
    }
}

/// Zeros to be written to a range, and where.
pub(crate) fn zeros(range: Range<u64>) -> impl Iterator<Item = (u64, &'static [u8])> {
    let end = range.end;
    range.step_by(ZEROS.len()).map(move |offset| (offset, prefix(&ZEROS, end - offset)))
}

/// At most the first `len` bytes.
fn prefix(bytes: &[u8], len: u64) -> &[u8] {
    usize::try_from(len).ok().and_then(|len| bytes.get(..len)).unwrap_or(bytes)
}

/// All but the first `len` bytes.
fn skip(bytes: &[u8], len: u64) -> &[u8] {
    usize::try_from(len).ok().and_then(|len| bytes.get(len..)).unwrap_or_default()
}

/// Splits bytes that belong at `offset` of a file into stretches of zero pages (true) and others,
/// alternating. A page cut off by the edge of the bytes counts as zero if the part at hand is:
/// the file is fresh, so not writing zeros is always right.
struct Stretches<'a> {
    bytes: &'a [u8],
    offset: u64,
}

impl<'a> Iterator for Stretches<'a> {
    type Item = (bool, &'a [u8]);

    fn next(&mut self) -> Option<(bool, &'a [u8])> {
        let mut end = 0;
        let mut zero = None;
        while let Some(rest) = self.bytes.get(end..).filter(|rest| !rest.is_empty()) {
            let place = self.offset + end as u64;
            let page = prefix(rest, PAGE_BYTES - place % PAGE_BYTES);
            let page_zero = is_zero(page);
            if *zero.get_or_insert(page_zero) != page_zero {
                break;
            }
            end += page.len();
        }
        let (stretch, rest) = self.bytes.split_at_checked(end)?;
        self.bytes = rest;
        self.offset += end as u64;
        Some((zero?, stretch))
    }
}

/// Compares with zeros that stay in the first-level cache; the comparison of slices is the C
/// library's, at memory speed, and ends at the first byte that differs.
fn is_zero(page: &[u8]) -> bool {
    page == prefix(&ZEROS, page.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_space_and_quota_are_told_apart_from_other_failures() {
        let error =
            |code| SinkError::new(Path::new("x"), "write", io::Error::from_raw_os_error(code));
        assert!(error(28).is_no_space(), "ENOSPC");
        assert!(error(122).is_no_space(), "EDQUOT");
        assert_eq!(error(13).kind(), SinkErrorKind::Denied);
        assert_eq!(error(30).kind(), SinkErrorKind::Denied);
        assert_eq!(error(5).kind(), SinkErrorKind::Io);
        assert_eq!(error(28).to_string(), "x: cannot write");
    }

    proptest! {
        #[test]
        fn stretches_are_the_maximal_runs_of_equal_pages(
            offset in 0..10_000_u64,
            pages in prop::collection::vec((any::<bool>(), 0..4096_usize), 0..8),
            cut in 0..4096_usize,
        ) {
            let mut bytes = vec![0; pages.len() * 4096 - cut.min(pages.len() * 4096)];
            for (index, (data, at)) in pages.iter().enumerate() {
                if *data && let Some(byte) = bytes.get_mut(index * 4096 + at) {
                    *byte = 1;
                }
            }
            let mut place = offset;
            let mut last = None;
            for (zero, stretch) in (Stretches { bytes: &bytes, offset }) {
                prop_assert!(!stretch.is_empty());
                prop_assert_ne!(last, Some(zero), "stretches alternate");
                last = Some(zero);
                // The oracle: byte by byte, each page of the file by itself.
                let mut page_start = 0;
                for at in 1..=stretch.len() {
                    if at == stretch.len() || (place + at as u64).is_multiple_of(4096) {
                        let page = &stretch[page_start..at];
                        prop_assert_eq!(page.iter().all(|b| *b == 0), zero);
                        page_start = at;
                    }
                }
                place += stretch.len() as u64;
            }
            prop_assert_eq!(place - offset, bytes.len() as u64);
        }
    }
}
