//! How a file comes to be below the destination: under which name, of which length, with which holes, in which form.
//!
//! In: an item. Out: the target that its stream is written to; or nothing, if the file had to be made from another view of
//! the item and is complete. Promises that no two items of a restore take the same name because a disk got a new one.

use std::sync::Arc;

use format::archive::{Content, Item};
use image::{Allocation, AllocationMap, FileSink, Root, Sink, Source};

use super::disk::{self, Disk, View};
use super::target::Target;
use super::{AllocationMode, Form, Restorer, not_restored};
use crate::error::{Error, Result};
use crate::file::{StoredFile, read_layout};
use crate::stream::read_side;
use crate::window::BufferPool;

/// What a disk has behind the name of its image.
const RAW_SUFFIX: &[u8] = b".raw";

/// What stands behind the name of an item where its file is made, and what is to be written to.
pub(super) type Opened = (&'static [u8], Option<Arc<Target>>);

impl<'scope> Restorer<'_, '_, 'scope> {
    /// Makes the file and gives what its stream is to be written to, `None` if it is complete; and what stands behind its
    /// name now.
    pub(super) fn open_file(
        &mut self,
        root: &Root,
        item: &Item,
        content: &Content,
        name: &str,
    ) -> Result<Opened> {
        if self.options.form == Form::Raw
            && let Some(stored) = StoredFile::open(self.chunks.repository, item)?
        {
            let allocation = match self.options.allocation {
                AllocationMode::Sparse | AllocationMode::Exact => Allocation::Sparse,
                AllocationMode::Full => Allocation::Full,
            };
            let path = [&item.path, RAW_SUFFIX].concat();
            match Disk::open(Arc::new(stored), item)? {
                Disk::Same => {}
                Disk::Plain(view) => {
                    let sink = root.file(&path, view.len(), allocation)?;
                    self.claim(&path)?;
                    let layout = disk::identity(view.len())?;
                    let target = Target::file(name, Some(layout), sink);
                    return Ok((RAW_SUFFIX, Some(Arc::new(target))));
                }
                Disk::Packed(view) => {
                    let sink = root.file(&path, view.len(), allocation)?;
                    self.claim(&path)?;
                    self.copy(view, sink, item)?;
                    return Ok((RAW_SUFFIX, None));
                }
            }
        }
        let layout = read_layout(content, item.size, self.chunks, name)?;
        let allocation = match self.options.allocation {
            AllocationMode::Sparse => Allocation::Sparse,
            AllocationMode::Full => Allocation::Full,
            AllocationMode::Exact => self.exact(item, content, name)?,
        };
        let sink = root.file(&item.path, item.size, allocation)?;
        self.claim(&item.path)?;
        Ok((b"", Some(Arc::new(Target::file(name, layout, sink)))))
    }

    /// A disk gets a name that another file of the archive may have, and so does whatever loses leading parts of its path:
    /// neither takes the place of the other.
    pub(super) fn claim(&mut self, path: &[u8]) -> Result<()> {
        let is_new = self.options.form == Form::Raw && path.ends_with(RAW_SUFFIX);
        let is_contested = is_new || self.options.strip > 0;
        let is_free = !is_contested || self.claimed.insert(path.to_vec());
        match is_free {
            true => Ok(()),
            false => Err(Error::NotRestored(
                "another file has this name now; extract it alone".to_owned(),
            )),
        }
    }

    /// Writes a disk of which parts have to be inflated, and completes its file.
    fn copy(&mut self, view: Arc<View<'scope>>, sink: FileSink, item: &Item) -> Result<()> {
        let len = view.len();
        let sink = Arc::new(sink);
        let (to, progress, buffers) = (sink.clone(), self.progress, BufferPool::default());
        let with_zeros = self.options.allocation == AllocationMode::Full;
        let stretches = disk::stretches(view.clone(), with_zeros);
        let written = self.workers.map(stretches, move |(offset, len)| {
            let mut buffer = buffers.get(len);
            view.read_at(buffer.bytes_mut(), offset).map_err(|error| not_restored(&error))?;
            to.write_at(offset, buffer.bytes())?;
            progress.advance(len as u64);
            Ok(())
        });
        written.collect::<Result<()>>()?;
        let still_written = || Error::NotRestored("a part of it is still written".to_owned());
        let sink = Arc::try_unwrap(sink).map_err(|_| still_written())?;
        sink.finish(&self.attributes(item))?;
        self.report.file_count += 1;
        self.report.bytes += len;
        Ok(())
    }

    fn exact(&self, item: &Item, content: &Content, name: &str) -> Result<Allocation> {
        if content.allocation.is_empty() {
            return Ok(Allocation::Full);
        }
        let map = read_side(&content.allocation, self.chunks, name)?;
        match AllocationMap::decode(&map, item.size) {
            Ok(map) => Ok(Allocation::Exact(map)),
            Err(error) => Err(Error::Corrupt {
                object: name.to_owned(),
                offset: 0,
                what: format!("its allocation map: {error}"),
            }),
        }
    }
}
