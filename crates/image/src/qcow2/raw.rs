//! The guest's disk of a qcow2 file, as a raw copy of it would be.
//!
//! In: the file, as any source. Out: [`RawView`], a source of the guest's disk: data, zeros, and
//! compressed clusters inflated. Promises what `parse` promises about hostile files; memory beyond
//! the map is 24 bytes per compressed cluster and a few clusters per reading thread.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::doubt::Doubt;
use super::header::Compression;
use super::inflate::Inflater;
use super::map::{Compressed, Map, read_compressed};
use super::stop::Stop;
use crate::extents::{joined, piece};
use crate::{Extent, Layout, Part, PartSource, Source, SourceError};

/// Why a file has no raw view.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RawViewError {
    /// What is not in this file is in another one, and names in an image are not followed.
    #[error("the image has a backing file: only the whole chain is a disk; extract it as qcow2")]
    Backing,
    /// It cannot be read as an image.
    #[error("the disk in the image cannot be read: {0}")]
    Opaque(Doubt),
    /// The file cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// The guest's disk. May be read from any number of threads.
pub struct RawView<S> {
    name: PathBuf,
    file: S,
    guest: PartSource<S>,
    compressed: Vec<Compressed>,
    cluster_bytes: u64,
    compression: Compression,
    /// Idle decompressors, as many as threads ever read at once.
    inflaters: Mutex<Vec<Inflater>>,
    /// The cluster inflated last, and its place on the disk: readers ask for less than a cluster.
    last: Mutex<Option<(u64, Arc<[u8]>)>>,
}

/// The guest's disk in the qcow2 file `file`, which is a handle (a reference, an `Arc`). `name` is what errors call it.
///
/// # Errors
/// `Backing` if it has a backing file; `Opaque` if it is no image, or one that is not understood; `Source` if the file cannot
/// be read.
pub fn raw_view<S: Source + Clone>(file: S, name: &Path) -> Result<RawView<S>, RawViewError> {
    let (map, compressed, compression) = read_compressed(&file).map_err(|stop| match stop {
        Stop::Doubt(doubt) => RawViewError::Opaque(doubt),
        Stop::Source(error) => RawViewError::Source(error),
    })?;
    let Map { layout, cluster_bytes, has_backing, .. } = map;
    if has_backing {
        return Err(RawViewError::Backing);
    }
    Ok(RawView {
        name: name.to_owned(),
        guest: PartSource::new(file.clone(), Arc::new(layout), Part::Guest),
        file,
        compressed,
        cluster_bytes,
        compression,
        inflaters: Mutex::default(),
        last: Mutex::default(),
    })
}

impl<S: Source> RawView<S> {
    /// The layout of the file, if no cluster is compressed: the disk is its guest part.
    pub fn plain_layout(&self) -> Option<&Layout> {
        self.compressed.is_empty().then(|| self.guest.layout())
    }

    /// The compressed clusters from the one on that holds `offset` or is the next behind it.
    fn compressed_from(&self, offset: u64) -> &[Compressed] {
        let first =
            self.compressed.partition_point(|c| c.guest_offset + self.cluster_bytes <= offset);
        self.compressed.get(first..).unwrap_or_default()
    }

    fn extent_of_piece(&self, offset: u64) -> Result<Extent, SourceError> {
        let len = self.len().saturating_sub(offset);
        match self.compressed_from(offset).first() {
            Some(next) if next.guest_offset <= offset => {
                let end = next.guest_offset + self.cluster_bytes;
                Ok(piece(false, offset, (end - offset).min(len)))
            }
            next => {
                let found = self.guest.extent_at(offset)?;
                let len = next.map_or(len, |next| next.guest_offset - offset).min(found.len());
                Ok(piece(found.is_hole(), offset, len))
            }
        }
    }

    fn inflate(&self, cluster: &Compressed) -> Result<Arc<[u8]>, SourceError> {
        if let Some((offset, bytes)) = &*lock(&self.last)
            && *offset == cluster.guest_offset
        {
            return Ok(bytes.clone());
        }
        let fail = |error| {
            SourceError::new(&self.name, "inflate a cluster", error).at_offset(cluster.guest_offset)
        };
        // Both at most 4 MiB, by the format of an entry.
        let mut bytes = vec![0; cluster.len as usize];
        self.file.read_at(&mut bytes, cluster.file_offset)?;
        let mut inflated = vec![0; self.cluster_bytes as usize];
        let idle = lock(&self.inflaters).pop();
        let mut inflater =
            idle.map_or_else(|| Inflater::new(self.compression), Ok).map_err(fail)?;
        let done = inflater.inflate(&bytes, &mut inflated);
        lock(&self.inflaters).push(inflater);
        done.ok_or_else(|| fail(std::io::ErrorKind::InvalidData.into()))?;
        let inflated: Arc<[u8]> = inflated.into();
        *lock(&self.last) = Some((cluster.guest_offset, inflated.clone()));
        Ok(inflated)
    }
}

impl<S: Source> Source for RawView<S> {
    fn len(&self) -> u64 {
        self.guest.len()
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
        joined(offset, self.len(), |at| self.extent_of_piece(at))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        self.guest.read_at(buf, offset)?;
        let end = offset.saturating_add(buf.len() as u64).min(self.len());
        for cluster in self.compressed_from(offset) {
            if cluster.guest_offset >= end {
                break;
            }
            let bytes = self.inflate(cluster)?;
            let start = cluster.guest_offset.max(offset);
            let len = (cluster.guest_offset + self.cluster_bytes).min(end) - start;
            // Within a cluster, and within the buffer.
            let [skip, at, len] =
                [start - cluster.guest_offset, start - offset, len].map(|n| n as usize);
            let from = bytes.get(skip..).and_then(|rest| rest.get(..len));
            let to = buf.get_mut(at..).and_then(|rest| rest.get_mut(..len));
            if let (Some(from), Some(to)) = (from, to) {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }

    fn changed(&self) -> Result<bool, SourceError> {
        self.file.changed()
    }
}

/// Nothing that is locked here is left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
