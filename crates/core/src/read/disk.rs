//! The guest's disk in a stored disk image.
//!
//! In: a stored file. Out: its guest's disk, as a source. Knows qcow2 through `garret_image::qcow2` alone; who wants the file
//! as it was does not come here.

use std::path::Path;
use std::sync::Arc;

use garret_format::archive::Item;
use garret_image::qcow2::{RawView, RawViewError, raw_view};
use garret_image::{Detected, Source, detect};

use crate::error::{Cause, Error, Result, message};
use crate::read::file::StoredFile;

/// A disk that is read through the tables of its image.
pub(crate) type View = RawView<Arc<StoredFile>>;

/// A stored file as a disk.
pub(crate) enum Disk {
    /// It is no image in a format of its own: the file is what there is.
    Same,
    /// The stream of the file begins with the disk, which is this.
    Plain(Arc<StoredFile>),
    /// The disk has to be read through the image's tables: parts are compressed, or it was stored as bytes.
    Packed(Arc<View>),
}

impl Disk {
    /// Looks at the file that `item` describes.
    ///
    /// # Errors
    /// `NotRestored`, with the file's name, if it is an image whose disk cannot be told from the file alone.
    pub(crate) fn open(stored: Arc<StoredFile>, item: &Item) -> Result<Self> {
        if detect(&stored, Path::new("")) != Detected::Qcow2 {
            return Ok(Disk::Same);
        }
        let name = String::from_utf8_lossy(&item.path).into_owned();
        let view = raw_view(stored.clone(), Path::new(&name));
        let view = view.map_err(|error| refusal(&error))?;
        // They differ if the file was written to while it was backed up: then the tables decide, as they will for QEMU.
        match view.plain_layout().is_some_and(|layout| stored.layout() == Some(layout)) {
            true => Ok(Disk::Plain(Arc::new(stored.beginning_of_stream(view.len())))),
            false => Ok(Disk::Packed(Arc::new(view))),
        }
    }

    /// The disk, if it is another one than the file.
    pub(crate) fn of_its_own(self) -> Option<Arc<dyn Source>> {
        match self {
            Disk::Same => None,
            Disk::Plain(disk) => Some(disk),
            Disk::Packed(disk) => Some(disk),
        }
    }
}

/// Why there is no disk.
fn refusal(error: &RawViewError) -> Error {
    let unsupported = |why: String| Error::not_restored(Cause::Unsupported, why);
    match error {
        RawViewError::Backing => {
            unsupported("it has a backing file, so it is not the whole disk".to_owned())
        }
        RawViewError::Opaque(doubt) => {
            unsupported(format!("the disk in it cannot be read: {doubt}"))
        }
        RawViewError::Source(error) => Error::not_restored(error.into(), message(error)),
        other => unsupported(message(other)),
    }
}
