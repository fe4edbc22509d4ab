//! Extents of streams that are put together from pieces of a file.
//!
//! In: the extents of the file. Out: an extent cursor that asks the file system once per extent
//! instead of once per piece, and [`joined`], which makes extents as long as they can be. What is the
//! same as at its place in a base becomes data: it has another place in what is put together.

use crate::{Extent, Source, SourceError};

/// The last extent that a source gave. Where a file changes meanwhile the answer may be of a
/// moment ago, as that of the file system itself is by the time the bytes are read.
#[derive(Debug, Default)]
pub(crate) struct ExtentCursor {
    last: Option<Extent>,
}

impl ExtentCursor {
    /// What `source` has at `offset`, for at most `len` bytes (at least 1), which are within it.
    pub(crate) fn extent(
        &mut self,
        source: &dyn Source,
        offset: u64,
        len: u64,
    ) -> Result<Extent, SourceError> {
        let known = self.last.filter(|last| last.offset() <= offset && offset < end(last));
        let extent = match known {
            Some(extent) => extent,
            None => source.extent_at(offset)?,
        };
        self.last = Some(extent);
        let len = len.min(end(&extent).saturating_sub(offset)).max(1);
        Ok(piece(extent.is_hole(), offset, len))
    }
}

/// The extent at `offset` of a stream of `stream_len` bytes, from what `next` says about each place:
/// neighbours of one kind are one extent.
pub(crate) fn joined(
    offset: u64,
    stream_len: u64,
    mut next: impl FnMut(u64) -> Result<Extent, SourceError>,
) -> Result<Extent, SourceError> {
    let first = next(offset)?;
    let mut at = end(&first);
    while at < stream_len {
        let extent = next(at)?;
        if extent.is_hole() != first.is_hole() {
            break;
        }
        at = end(&extent);
    }
    Ok(piece(first.is_hole(), offset, at - offset))
}

/// Streams end below 2^64, and so do their extents.
fn end(extent: &Extent) -> u64 {
    extent.offset().saturating_add(extent.len())
}

/// An extent of either kind.
pub(crate) fn piece(is_hole: bool, offset: u64, len: u64) -> Extent {
    if is_hole { Extent::Hole { offset, len } } else { Extent::Data { offset, len } }
}
