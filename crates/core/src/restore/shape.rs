//! How a file comes to be: of which length, with which holes, in which form.
//!
//! In: an item. Out: its [`Shape`], and once there is a place for it, the target that its stream is written to; or nothing,
//! if the file had to be made from another view of the item and is complete. Promises that no two items of a restore take
//! the same name because a disk got a new one.

use std::sync::Arc;

use garret_format::archive::{Content, Item};
use garret_image::{Allocation, AllocationMap, Extent, Layout, Lens, Piece, Source};

use super::options::{AllocationMode, Form};
use super::session::{Session, not_restored};
use super::target::{Output, Target};
use crate::buffers::BufferPool;
use crate::error::{Cause, Error, Hint, Result, message};
use crate::limits::FILE_READ_LEN;
use crate::objects::stream::read_side;
use crate::read::disk::{Disk, View};
use crate::read::file::{StoredFile, read_layout};

/// What a disk has behind the name of its image.
pub(super) const RAW_SUFFIX: &[u8] = b".raw";

/// A file in the form that was asked for.
pub(super) struct Shape {
    /// What stands behind the name of its item.
    pub(super) suffix: &'static [u8],
    /// Bytes.
    pub(super) len: u64,
    access: Access,
}

/// How the bytes of a file are found.
enum Access {
    /// They are those of the stream, which lie so in the file; `None` if the file is the stream.
    Stream(Option<Layout>),
    /// They have to be read through the tables of a disk image.
    Packed(Arc<View>),
}

impl Session<'_, '_, '_> {
    /// What the file of an item will be.
    pub(super) fn shape(&self, item: &Item, content: &Content, name: &str) -> Result<Shape> {
        if self.options.form == Form::Raw
            && let Some(stored) = StoredFile::open(&self.chunks, item)?
        {
            let suffix = RAW_SUFFIX;
            match Disk::open(Arc::new(stored), item).map_err(as_it_was)? {
                Disk::Same => {}
                Disk::Plain(disk) => {
                    let (len, layout) = (disk.len(), identity(disk.len())?);
                    return Ok(Shape { suffix, len, access: Access::Stream(Some(layout)) });
                }
                Disk::Packed(view) => {
                    return Ok(Shape { suffix, len: view.len(), access: Access::Packed(view) });
                }
            }
        }
        let layout = read_layout(content, item.size, &self.chunks, name)?;
        Ok(Shape { suffix: b"", len: item.size, access: Access::Stream(layout) })
    }

    /// Which zeros of that file get disk space.
    pub(super) fn allocation(
        &self,
        shape: &Shape,
        content: &Content,
        name: &str,
    ) -> Result<Allocation> {
        match self.options.allocation {
            AllocationMode::Sparse => Ok(Allocation::Sparse),
            AllocationMode::Full => Ok(Allocation::Full),
            // The holes of an image say nothing of the disk in it.
            AllocationMode::Exact if !shape.suffix.is_empty() => Ok(Allocation::Sparse),
            AllocationMode::Exact if content.allocation.is_empty() => Ok(Allocation::Full),
            AllocationMode::Exact => {
                let map = read_side(&content.allocation, &self.chunks, name)?;
                match AllocationMap::decode(&map, shape.len) {
                    Ok(map) => Ok(Allocation::Exact(map)),
                    Err(error) => Err(Error::Corrupt {
                        object: name.to_owned(),
                        offset: 0,
                        what: format!("its allocation map: {error}"),
                    }),
                }
            }
        }
    }

    /// Gives what the stream of an item is to be written to; `None` if the file is complete.
    pub(super) fn begin(
        &mut self,
        shape: Shape,
        place: Output,
        item: &Item,
        name: &str,
    ) -> Result<Option<Arc<Target>>> {
        match shape.access {
            Access::Stream(layout) => {
                Ok(Some(Arc::new(Target::new(name, layout, place, self.options.salvage))))
            }
            Access::Packed(view) => self.copy(view, place, item, name).map(|()| None),
        }
    }

    /// A disk gets a name that another file of the archive may have, and so does what is left of a damaged file, and whatever
    /// loses leading parts of its path: neither takes the place of the other.
    pub(super) fn claim(&mut self, path: &[u8]) -> Result<()> {
        let is_new = self.options.form == Form::Raw && path.ends_with(RAW_SUFFIX);
        let is_contested = is_new || self.options.strip > 0 || self.options.salvage;
        let is_free = !is_contested || self.claimed.insert(path.to_vec());
        match is_free {
            true => Ok(()),
            false => Err(Error::not_restored(
                Cause::Taken,
                "another file has this name now; extract it alone",
            )),
        }
    }

    /// Writes a disk of which parts have to be inflated, and completes it.
    fn copy(&mut self, view: Arc<View>, place: Output, item: &Item, name: &str) -> Result<()> {
        let len = view.len();
        let with_zeros = self.options.allocation == AllocationMode::Full || place.needs_zeros();
        let place = Arc::new(place);
        let (to, task, buffers) = (place.clone(), self.task, BufferPool::default());
        let reads = disk_reads(view.clone(), with_zeros);
        let written = self.threads.workers.map(reads, move |(offset, len)| {
            let mut buffer = buffers.get(len);
            view.read_at(buffer.bytes_mut(), offset).map_err(|error| not_restored(&error))?;
            if let Some(sink) = to.sink() {
                sink.write_at(offset, buffer.bytes())?;
            }
            task.advance(len as u64);
            Ok(())
        });
        written.collect::<Result<()>>()?;
        let still_written = || Error::not_restored(Cause::Other, "a part of it is still written");
        let place = Arc::into_inner(place).ok_or_else(still_written)?;
        let unset = place.finish(&self.attributes(item))?;
        self.restored(item, name, len, unset);
        Ok(())
    }
}

/// Says of a disk that there is none how the file is to be had.
pub(super) fn as_it_was(error: Error) -> Error {
    match error {
        Error::NotRestored { why, cause: Cause::Unsupported, .. } => {
            let hint = Some(Hint::AsStored);
            Error::NotRestored { why, cause: Cause::Unsupported, hint }
        }
        other => other,
    }
}

/// The layout that puts the first `len` bytes of a stream into a file, and nothing else of it.
fn identity(len: u64) -> Result<Layout> {
    let all = (len > 0).then_some(Piece { offset: 0, file_offset: 0, len });
    let layout = Layout::new(Lens { file: len, guest: len }, all);
    layout.map_err(|error| Error::not_restored(Cause::Unsupported, error.to_string()))
}

/// The parts of a disk, without those known to be zero unless `with_zeros`, in order: offset and length of stretches that are
/// read at once.
pub(super) fn disk_reads(
    disk: Arc<dyn Source>,
    with_zeros: bool,
) -> impl Iterator<Item = Result<(u64, usize)>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < disk.len() {
            match disk.extent_at(at) {
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
