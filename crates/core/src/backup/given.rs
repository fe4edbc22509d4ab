//! Sources that somebody else made: what they say of themselves is checked before anything relies on it.
//!
//! In: a source and the file that it is to be. Out: the source behind checks, and the item. Promises: extents go forward and
//! end with the stream, whose length stays what it was; an item that can be read again.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use garret_format::archive::{Item, ItemKind, Time, is_safe_path};
use garret_format::recipe::STREAM_LEN_MAX;
use garret_image::{Extent, Slot, Source, SourceError};

use super::options::SourceItem;
use super::pipe::piped;
use super::stat::nothing;
use crate::error::{Error, Result};

/// A source from outside.
pub(super) struct Given {
    source: Arc<dyn Source>,
    /// What its errors call it.
    path: Vec<u8>,
    len: u64,
}

impl Given {
    pub(super) fn new(source: Arc<dyn Source>, path: &[u8]) -> Self {
        Given { len: source.len(), source, path: path.to_owned() }
    }
}

impl Source for Given {
    fn len(&self) -> u64 {
        self.len
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
        let extent = self.source.extent_at(offset)?;
        let len = extent.len().min(self.len.saturating_sub(offset));
        if extent.offset() != offset || len == 0 {
            let path = Path::new(OsStr::from_bytes(&self.path));
            let error = SourceError::new(path, "tell the extents", ErrorKind::InvalidData);
            return Err(error.at_offset(offset));
        }
        Ok(match extent {
            Extent::Data { .. } => Extent::Data { offset, len },
            Extent::Hole { .. } => Extent::Hole { offset, len },
            Extent::Same { .. } => Extent::Same { offset, len },
        })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        self.source.read_at(buf, offset)
    }

    fn read_many(&self, slots: &mut [Slot<'_>]) -> Result<(), SourceError> {
        self.source.read_many(slots)
    }

    fn end(&self) -> u64 {
        self.source.end().min(self.len)
    }

    fn changed(&self) -> Result<bool, SourceError> {
        self.source.changed()
    }
}

/// Whether an archive can hold a file of that path and length.
///
/// # Errors
/// `BadOption` if it could be stored but never be read again.
pub(super) fn check(path: &[u8], len: u64) -> Result<()> {
    let refused = |what: &str| {
        let path = String::from_utf8_lossy(path);
        Err(Error::BadOption(format!("{path:?} {what}")))
    };
    match (is_safe_path(path), len <= STREAM_LEN_MAX) {
        (false, _) => refused("cannot be the path of a file"),
        (_, false) => refused("is longer than a file can be"),
        (true, true) => Ok(()),
    }
}

/// The item it is stored as, but for the names of its owners.
pub(super) fn item(source: SourceItem) -> Item {
    let SourceItem { path, mode, uid, gid, mtime } = source;
    let bare = piped(path);
    // A clock that somebody else read may have a second too many in its nanoseconds.
    let mtime =
        mtime.map_or(bare.mtime, |time| Time { nanos: time.nanos.min(999_999_999), ..time });
    Item { kind: ItemKind::File(nothing()), mode: mode & 0o7777, uid, gid, mtime, ..bare }
}
