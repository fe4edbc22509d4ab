//! What a restore would meet at its destination, before it begins: whether there is room, and what is newer than the archive.
//!
//! In: what is selected, and where it would go. Out: a [`Preview`]. Reads items, and recipes only where the lengths of the
//! files leave it open whether there is room. Changes nothing, but that it removes what killed restores left there if room is
//! short.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use garret_format::archive::{Content, Item, ItemKind, Time};
use garret_format::recipe::Entry;
use garret_image::{AllocationMap, FileKind, Metadata, SinkError, Source};

use super::met::Met;
use super::options::{AllocationMode, Destination, Form, RestoreOptions};
use super::shape::{RAW_SUFFIX, disk_reads};
use crate::error::Result;
use crate::objects::archive::NamedArchive;
use crate::objects::recipe::RecipeReader;
use crate::objects::stream::read_side;
use crate::read::chunks::Chunks;
use crate::read::disk::Disk;
use crate::read::file::StoredFile;
use crate::repository::Repository;
use crate::select::Selection;

/// What a restore would meet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preview {
    /// Bytes of disk that it takes at most. What it replaces is given back only then, and is not counted.
    pub needed: u64,
    /// Bytes that this user can still write there.
    pub free: u64,
    /// Regular files that would be replaced, whatever by, and were changed after what the archive has of them.
    pub newer: Vec<PathBuf>,
}

impl Repository {
    /// Looks at what a restore of the selected items would meet; at files that are newer only if `newer` is set. A
    /// destination that is neither a directory nor a file has nothing to be met.
    ///
    /// # Errors
    /// How much is free cannot be found out.
    pub fn preview_restore(
        &self,
        archive: &NamedArchive,
        selection: &mut Selection,
        destination: &Destination<'_>,
        options: &RestoreOptions,
        newer: bool,
    ) -> Result<Preview> {
        let (home, file) = match destination {
            Destination::Directory(path) => (path.as_path(), None),
            Destination::File { path, .. } => (path.parent().unwrap_or(path), Some(path)),
            Destination::Device(_) | Destination::Stream(_) | Destination::Nowhere => {
                return Ok(Preview::default());
            }
        };
        let chunks = self.chunks();
        self.settle(&[archive], selection);
        let place =
            |path: &[u8]| file.cloned().unwrap_or_else(|| home.join(OsStr::from_bytes(path)));
        let mut preview = Preview { free: free_bytes(home)?, ..Preview::default() };
        let mut found = Vec::new();
        let mut newer_at = |place: PathBuf, mtime: Time, follows: bool| {
            if newer && is_newer(&place, mtime, follows) {
                found.push(place);
            }
        };
        self.each_readable(archive, selection, options, &mut |met| match met {
            // A directory replaces nothing.
            Met::Content(Item { kind: ItemKind::Directory, .. }) => b"",
            Met::Content(item) => {
                let disk = disk(&chunks, item, options.form);
                let suffix = disk.as_ref().map_or(&b""[..], |_| RAW_SUFFIX);
                if matches!(item.kind, ItemKind::File(_)) {
                    let len = disk.map_or(item.size, |view| view.len());
                    preview.needed = preview.needed.saturating_add(len);
                }
                let follows = file.is_some() || item.followed && suffix.is_empty();
                newer_at(place(&[&item.path, suffix].concat()), item.mtime, follows);
                suffix
            }
            Met::Link { path, mtime, suffix } => {
                newer_at(place(&[path, suffix].concat()), mtime, file.is_some());
                suffix
            }
        });
        preview.newer = found;
        if preview.needed > preview.free {
            self.clear_leftovers(archive, selection, options, &place);
            preview.free = free_bytes(home)?;
        }
        // Only where lengths do not settle it: the recipes of large images take their time.
        if preview.needed > preview.free && options.allocation != AllocationMode::Full {
            preview.needed = self.data_needed(archive, selection, options);
        }
        Ok(preview)
    }

    /// What a killed restore of the same left is in the way, and takes as much room.
    fn clear_leftovers(
        &self,
        archive: &NamedArchive,
        selection: &mut Selection,
        options: &RestoreOptions,
        place: &dyn Fn(&[u8]) -> PathBuf,
    ) {
        let mut last = None;
        self.each_readable(archive, selection, options, &mut |met| {
            let place = place(match met {
                Met::Content(item) => &item.path,
                Met::Link { path, .. } => path,
            });
            let parent = match place.parent() {
                Some(here) if here.as_os_str().is_empty() => Path::new("."),
                Some(parent) => parent,
                None => return b"",
            };
            if last.as_deref() != Some(parent) {
                garret_image::remove_leftovers(parent);
                last = Some(parent.to_owned());
            }
            b""
        });
    }

    /// Bytes of what is selected that are not in holes.
    fn data_needed(
        &self,
        archive: &NamedArchive,
        selection: &mut Selection,
        options: &RestoreOptions,
    ) -> u64 {
        let (chunks, mut needed) = (self.chunks(), 0u64);
        self.each_readable(archive, selection, options, &mut |met| {
            let Met::Content(item) = met else { return b"" };
            let ItemKind::File(content) = &item.kind else { return b"" };
            let data = match disk(&chunks, item, options.form) {
                Some(view) => disk_data_len(view),
                None => data_len(content, item, &chunks, options.allocation),
            };
            needed = needed.saturating_add(data);
            b""
        });
        needed
    }
}

/// The disk that a stored image comes back as, if it does. What cannot be read as one will not be restored.
fn disk(chunks: &Chunks, item: &Item, form: Form) -> Option<Arc<dyn Source>> {
    if form == Form::Stored {
        return None;
    }
    let stored = StoredFile::open(chunks, item).ok()??;
    Disk::open(Arc::new(stored), item).ok()?.of_its_own()
}

/// Bytes of a disk that are not known to be zero.
fn disk_data_len(disk: Arc<dyn Source>) -> u64 {
    let parts = disk_reads(disk, false).map_while(Result::ok);
    parts.map(|(_, len)| len as u64).fold(0, u64::saturating_add)
}

/// Whether a regular file is at `place`, or behind a link there that a restore follows, and is newer than what is stored.
fn is_newer(place: &Path, stored: Time, follows: bool) -> bool {
    let found = match follows {
        true => rustix::fs::stat(place).map(|found| Metadata::from(&found)).ok(),
        false => garret_image::lstat(place).ok(),
    };
    found.is_some_and(|found| {
        let there = found.mtime;
        found.kind == FileKind::Regular && (there.secs, there.nanos) > (stored.secs, stored.nanos)
    })
}

/// Bytes of a file that are not in holes. What cannot be read will not be restored either.
fn data_len(content: &Content, item: &Item, chunks: &Chunks, mode: AllocationMode) -> u64 {
    if mode == AllocationMode::Exact {
        let map = read_side(&content.allocation, chunks, "");
        let map = map.ok().and_then(|map| AllocationMap::decode(&map, item.size).ok());
        return map.map_or(item.size, |map| item.size.saturating_sub(map.hole_len()));
    }
    let entries = RecipeReader::new(chunks, &content.recipe, "").map_while(Result::ok);
    let len = |entry| match entry {
        Entry::Chunk { len, .. } => u64::from(len),
        Entry::Zero { .. } => 0,
    };
    entries.map(len).fold(0, u64::saturating_add)
}

/// Bytes that this user can write to the file system of `directory`, or of the nearest directory above it that is there.
fn free_bytes(directory: &Path) -> Result<u64> {
    let here = Path::new(".");
    let above = |path: &Path| match path.as_os_str().is_empty() {
        true => here.to_owned(),
        false => path.to_owned(),
    };
    let mut places = directory.ancestors().map(above);
    let there = places.find(|path| path.is_dir()).unwrap_or_else(|| here.to_owned());
    match rustix::fs::statvfs(&there) {
        Ok(stat) => Ok(stat.f_bavail.saturating_mul(stat.f_frsize)),
        Err(error) => Err(SinkError::new(&there, "find out how much is free on", error).into()),
    }
}
