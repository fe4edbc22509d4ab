//! What a backup reads from: the trait, the pieces of a stream, and what can go wrong.
//!
//! In: nothing, this file holds the contract. Out: [`Source`], [`Extent`], [`SourceError`].
//! Promise: a `SourceError` always speaks of the thing being backed up, never of the repository,
//! so it may be reported and skipped where a repository error must stop the run.

use std::io;
use std::path::{Path, PathBuf};

/// A piece of the logical stream, in bytes. Never of length zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Bytes that have to be read. They may well be zeros.
    Data {
        /// First byte of the piece.
        offset: u64,
        /// Bytes in the piece.
        len: u64,
    },
    /// Bytes that the file system says it does not store: all zero, no need to read.
    Hole {
        /// First byte of the piece.
        offset: u64,
        /// Bytes in the piece.
        len: u64,
    },
    /// Bytes that are at the same place of a base that both sides know, holes and all: an older state
    /// of the stream. They can be read like any other; who has no base takes them for data.
    Same {
        /// First byte of the piece, here and in the base.
        offset: u64,
        /// Bytes in the piece.
        len: u64,
    },
}

impl Extent {
    /// First byte of the piece.
    pub fn offset(&self) -> u64 {
        match *self {
            Extent::Data { offset, .. }
            | Extent::Hole { offset, .. }
            | Extent::Same { offset, .. } => offset,
        }
    }

    /// Bytes in the piece.
    pub fn len(&self) -> u64 {
        match *self {
            Extent::Data { len, .. } | Extent::Hole { len, .. } | Extent::Same { len, .. } => len,
        }
    }

    /// Whether the piece has no bytes; a [`Source`] yields no such piece.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the piece is a hole.
    pub fn is_hole(&self) -> bool {
        matches!(self, Extent::Hole { .. })
    }

    /// Whether the piece is as in a base.
    pub fn is_same(&self) -> bool {
        matches!(self, Extent::Same { .. })
    }
}

/// A buffer, and the place of a stream that it is to be filled from.
#[derive(Debug)]
pub struct Slot<'a> {
    /// First byte in the stream.
    pub offset: u64,
    /// Where its bytes go.
    pub bytes: &'a mut [u8],
}

/// A logical stream of fixed length that can be read at any place from any thread.
pub trait Source: Send + Sync {
    /// Logical length in bytes, fixed when the source was opened.
    fn len(&self) -> u64;

    /// Whether the stream has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The piece that starts at `offset`, which is below [`len`](Source::len). It never reaches
    /// beyond the end.
    ///
    /// Found when asked, so the memory is bounded whatever the number of pieces. Neighbours of the
    /// same kind can occur when the file changes meanwhile. What it is must be true: a [hole](Extent::Hole)
    /// is taken for zeros and what is [the same](Extent::Same) for that of the base, and neither is read.
    ///
    /// # Errors
    /// It cannot be found out: the source cannot be read, or is gone.
    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError>;

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// Bytes past the end, because the source has become shorter than [`len`](Source::len), are
    /// zeros, and [`changed`](Source::changed) says so from then on.
    ///
    /// # Errors
    /// It cannot be read: the content of `buf` is unspecified then.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError>;

    /// Fills several buffers, each from its place, as [`read_at`](Source::read_at) does. A source
    /// may ask its device for all of them before it waits for the first.
    ///
    /// # Errors
    /// As of [`read_at`](Self::read_at), of the first buffer that cannot be filled.
    fn read_many(&self, slots: &mut [Slot<'_>]) -> Result<(), SourceError> {
        slots.iter_mut().try_for_each(|slot| self.read_at(slot.bytes, slot.offset))
    }

    /// Where the stream ends as far as reads have met it: [`len`](Source::len), or less once the source
    /// turned out to be shorter. Never grows.
    fn end(&self) -> u64 {
        self.len()
    }

    /// Whether what was read may be a mixture of two states: length, mtime or ctime differ from
    /// those at open, or a read came up short. Ask after the last read.
    ///
    /// # Errors
    /// It cannot be looked at any more.
    fn changed(&self) -> Result<bool, SourceError>;
}

/// Handles of a source are sources.
macro_rules! impl_for_handle {
    ($handle:ty) => {
        impl<S: Source + ?Sized> Source for $handle {
            fn len(&self) -> u64 {
                (**self).len()
            }

            fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
                (**self).extent_at(offset)
            }

            fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
                (**self).read_at(buf, offset)
            }

            fn read_many(&self, slots: &mut [Slot<'_>]) -> Result<(), SourceError> {
                (**self).read_many(slots)
            }

            fn end(&self) -> u64 {
                (**self).end()
            }

            fn changed(&self) -> Result<bool, SourceError> {
                (**self).changed()
            }
        }
    };
}

impl_for_handle!(&S);
impl_for_handle!(std::sync::Arc<S>);

/// The pieces of a source: contiguous, in order, from 0 to its length. After an error comes nothing.
pub struct Extents<'a> {
    source: &'a dyn Source,
    offset: u64,
}

impl<'a> Extents<'a> {
    /// The pieces of `source`.
    pub fn new(source: &'a dyn Source) -> Self {
        Extents { source, offset: 0 }
    }
}

impl Iterator for Extents<'_> {
    type Item = Result<Extent, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.source.len() {
            return None;
        }
        let extent = self.source.extent_at(self.offset);
        self.offset = extent.as_ref().map_or(u64::MAX, |extent| extent.offset() + extent.len());
        Some(extent)
    }
}

/// What sort of failure a [`SourceError`] is, by what a caller would do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceErrorKind {
    /// There is no such file (any more).
    NotFound,
    /// This user may not read it.
    Denied,
    /// Neither a regular file nor a block device, or a symbolic link that was not to be followed.
    NotSupported,
    /// The system failed to read it.
    Io,
}

/// Reading a source failed. Never about the repository or a destination.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {operation}{}", path.display(), at(*offset))]
pub struct SourceError {
    path: PathBuf,
    operation: &'static str,
    offset: Option<u64>,
    source: io::Error,
}

fn at(offset: Option<u64>) -> String {
    offset.map_or_else(String::new, |offset| format!(" at offset {offset}"))
}

impl SourceError {
    /// An error of `operation` (a verb: "open", "read") on `path`. Public for sources that are
    /// built outside this crate.
    pub fn new(path: &Path, operation: &'static str, source: impl Into<io::Error>) -> SourceError {
        SourceError { path: path.to_owned(), operation, offset: None, source: source.into() }
    }

    /// The same error with the byte offset at which it happened.
    #[must_use]
    pub fn at_offset(self, offset: u64) -> SourceError {
        SourceError { offset: Some(offset), ..self }
    }

    /// The file or device.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The verb: "open", "read", ...
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// Where in the stream, in bytes, if the operation had a place.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// The system's own words, for an error of another operation.
    pub(crate) fn into_io_error(self) -> io::Error {
        self.source
    }

    /// The system's own words.
    pub fn io_error(&self) -> &io::Error {
        &self.source
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> SourceErrorKind {
        match self.source.kind() {
            io::ErrorKind::NotFound => SourceErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => SourceErrorKind::Denied,
            io::ErrorKind::Unsupported => SourceErrorKind::NotSupported,
            _ => SourceErrorKind::Io,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn error_names_path_operation_and_place_and_leaves_the_cause_to_the_chain() {
        let cause = io::Error::from_raw_os_error(5);
        let error = SourceError::new(Path::new("/dev/sdx"), "read", cause).at_offset(4096);
        assert_eq!(error.to_string(), "/dev/sdx: cannot read at offset 4096");
        assert!(error.source().unwrap().to_string().contains("Input/output error"));
        assert_eq!(error.kind(), SourceErrorKind::Io);
        assert_eq!(error.offset(), Some(4096));
    }
}
