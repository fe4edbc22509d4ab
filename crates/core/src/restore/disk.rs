//! The guest's disk in a stored disk image.
//!
//! In: a stored file. Out: what its guest's disk is made of. Knows qcow2 through `garret_image::qcow2` alone; a restore of
//! the file as it was does not come here.

use std::path::Path;
use std::sync::Arc;

use garret_format::archive::Item;
use garret_image::qcow2::{RawView, RawViewError, raw_view};
use garret_image::{Detected, Extent, Layout, Lens, Piece, Source, detect};

use crate::error::{Cause, Error, Result, message};
use crate::limits::FILE_READ_LEN;
use crate::read::file::StoredFile;

/// The guest's disk, as a source.
pub(super) type View = RawView<Arc<StoredFile>>;

/// A stored file as a disk.
pub(super) enum Disk {
    /// It is no image in a format of its own: the file is what there is.
    Same,
    /// The stream of the file begins with the disk.
    Plain(Arc<View>),
    /// The disk has to be read through the image's tables: parts are compressed, or it was stored as bytes.
    Packed(Arc<View>),
}

impl Disk {
    /// Looks at the file that `item` describes.
    ///
    /// # Errors
    /// `NotRestored`, with the file's name, if it is an image whose disk cannot be told from the file alone.
    pub(super) fn open(stored: Arc<StoredFile>, item: &Item) -> Result<Self> {
        if detect(&stored, Path::new("")) != Detected::Qcow2 {
            return Ok(Disk::Same);
        }
        let name = String::from_utf8_lossy(&item.path).into_owned();
        let view = raw_view(stored.clone(), Path::new(&name));
        let view =
            view.map_err(|error| Error::not_restored(Cause::Unsupported, refusal(&error)))?;
        // They differ if the file was written to while it was backed up: then the tables decide, as they will for QEMU.
        match view.plain_layout().is_some_and(|layout| stored.layout() == Some(layout)) {
            true => Ok(Disk::Plain(Arc::new(view))),
            false => Ok(Disk::Packed(Arc::new(view))),
        }
    }
}

/// Why there is no disk, and what to do.
fn refusal(error: &RawViewError) -> String {
    let why = match error {
        RawViewError::Backing => "it has a backing file, so it is not the whole disk".to_owned(),
        RawViewError::Opaque(doubt) => format!("the disk in it cannot be read: {doubt}"),
        other => return message(other),
    };
    why + "; leave out --as to get the image as it was"
}

/// The layout that puts the first `len` bytes of a stream into a file, and nothing else of it.
pub(super) fn identity(len: u64) -> Result<Layout> {
    let all = (len > 0).then_some(Piece { offset: 0, file_offset: 0, len });
    let layout = Layout::new(Lens { file: len, guest: len }, all);
    layout.map_err(|error| Error::not_restored(Cause::Unsupported, error.to_string()))
}

/// The parts of a disk, without those known to be zero unless `with_zeros`, in order: offset and length of stretches that are
/// read at once.
pub(super) fn stretches(
    view: Arc<View>,
    with_zeros: bool,
) -> impl Iterator<Item = Result<(u64, usize)>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < view.len() {
            match view.extent_at(at) {
                Err(error) => {
                    at = u64::MAX;
                    return Some(Err(Error::not_restored((&error).into(), message(&error))));
                }
                Ok(Extent::Hole { offset, len }) if !with_zeros => at = offset + len,
                Ok(extent) => {
                    let (offset, len) = (extent.offset(), extent.len().min(FILE_READ_LEN as u64));
                    at = offset + len;
                    return Some(Ok((offset, len as usize)));
                }
            }
        }
        None
    })
}
