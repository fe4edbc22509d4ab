//! What is known of one stored file: its format, and where its bytes are; and which packs an archive lies in.
//!
//! In: an archive and a path in it. Out: [`FileInfo`]. Reads the recipes of the file and of older archives, each node once,
//! and of a disk image header and tables; no contents.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use garret_format::archive::{Content, Item, ItemKind};
use garret_format::recipe::Entry;
use garret_format::{ChunkId, PackId};
use garret_image::qcow2::{Map, Outcome, others, parse};
use garret_image::{AllocationMap, Detected, Part, detect};

use crate::compare::history::each_older;
use crate::error::{Cause, Error, Result, message};
use crate::objects::archive::NamedArchive;
use crate::objects::index::Location;
use crate::objects::recipe::RecipeReader;
use crate::objects::stream::read_side;
use crate::progress::Progress;
use crate::read::chunks::Chunks;
use crate::read::file::StoredFile;
use crate::read::mark::{Marks, Visitor, mark_archive, mark_item};
use crate::repository::Repository;

/// A stored file or image, in numbers of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileInfo {
    /// What it is, in words.
    pub format: String,
    /// Whether it is a disk in a format of its own, so that its length is not the disk's.
    pub is_container: bool,
    /// Length of the file.
    pub file_len: u64,
    /// Length of the disk in it; of the file if it is none or could not be read as one.
    pub disk_len: u64,
    /// What of the disk is stored in the file: clusters that have a place, or what of a raw disk is not in holes.
    pub allocated: u64,
    /// What of the disk lies in runs of zeros that are not stored; of compressed clusters none counts, nor does what is in a
    /// backing file.
    pub zero: u64,
    /// What of the disk is not in this file but in its backing file, if it has one: zeros only where that is shorter.
    pub backing: Option<u64>,
    /// What of the file could not be read and is stored as zeros.
    pub unreadable: Vec<Range<u64>>,
    /// What of the file is not the disk: tables, snapshots, compressed clusters.
    pub residue: u64,
    /// Its chunks that are in no archive that is older, nor in a file before it in its archive.
    pub new: u64,
}

impl Repository {
    /// Looks at the file at `path` of an archive. `None` if there is no file at that path. Older archives that cannot be read
    /// are reported and count as having nothing.
    ///
    /// # Errors
    /// Damage of the archive, or of what is read of the file.
    pub fn file_info(
        &self,
        archive: &NamedArchive,
        path: &[u8],
        progress: &dyn Progress,
    ) -> Result<Option<FileInfo>> {
        file_info(self, archive, path, progress)
    }

    /// The packs that hold what restoring an archive needs.
    ///
    /// # Errors
    /// `MissingChunk` if a chunk is in none.
    pub fn archive_packs(&self, archive: &NamedArchive) -> Result<BTreeSet<PackId>> {
        let chunks = self.chunks();
        let mut packs = Packs { found: BTreeSet::new(), missing: None };
        mark_archive(&chunks, archive, &Marks::new(chunks.index()), &mut packs)?;
        match packs.missing {
            None => Ok(packs.found),
            Some(id) => Err(chunks.index().missing(&id, &archive.object())),
        }
    }
}

fn file_info(
    repository: &Repository,
    archive: &NamedArchive,
    path: &[u8],
    progress: &dyn Progress,
) -> Result<Option<FileInfo>> {
    let chunks = repository.chunks();
    let find = |path: &[u8]| {
        let mut items = repository.items(archive);
        items.find(|item| item.as_ref().map_or(true, |item| item.path == path)).transpose()
    };
    let Some(mut item) = find(path)? else { return Ok(None) };
    if let ItemKind::HardLink(first) = &item.kind {
        let Some(first) = find(first)? else { return Ok(None) };
        item = first;
    }
    let ItemKind::File(content) = &item.kind else { return Ok(None) };
    let Some(file) = StoredFile::open(&chunks, &item)? else { return Ok(None) };
    let new = new_len(repository, &chunks, archive, &item, content, progress)?;
    let name = String::from_utf8_lossy(&item.path).into_owned();
    let detected = detect(&file, Path::new(&name));
    let not_read =
        |error: &dyn std::error::Error| Error::not_restored(Cause::Unreadable, message(error));
    let outcome = match detected {
        Detected::Qcow2 => Some(parse(&file).map_err(|error| not_read(&error))?),
        _ => None,
    };
    let whole = |format: String| -> Result<FileInfo> {
        Ok(FileInfo {
            format,
            is_container: false,
            file_len: item.size,
            disk_len: item.size,
            allocated: allocated(content, item.size, &chunks, &name)?,
            zero: zero_len(content, item.size, &chunks, &name)?,
            backing: None,
            unreadable: content.unreadable.clone(),
            residue: 0,
            new,
        })
    };
    match outcome {
        None => whole(detected.to_string()),
        Some(Outcome::Opaque(doubt)) => whole(format!("{detected}, stored as bytes: {doubt}")),
        Some(Outcome::Qcow2(map)) if file.layout() != Some(&map.layout) => {
            whole(format!("{}, stored as bytes", describe(&map, &file)))
        }
        Some(Outcome::Qcow2(map)) => {
            let compressed = map.compressed_count.saturating_mul(map.cluster_bytes);
            let disk_len = map.layout.len(Part::Guest);
            let zero = zero_len(content, disk_len, &chunks, &name)?.saturating_sub(compressed);
            let data = map.layout.data_len().saturating_add(compressed);
            let absent = disk_len.saturating_sub(data.saturating_add(map.zero_len));
            let backing = map.has_backing.then_some(absent);
            Ok(FileInfo {
                format: describe(&map, &file),
                is_container: true,
                file_len: item.size,
                disk_len,
                allocated: data.min(disk_len),
                zero: zero.saturating_sub(backing.unwrap_or(0)),
                backing,
                unreadable: content.unreadable.clone(),
                residue: map.layout.len(Part::Residue),
                new,
            })
        }
    }
    .map(Some)
}

/// What a qcow2 image is like, in words.
fn describe(map: &Map, file: &StoredFile) -> String {
    let mut words =
        format!("qcow2 version {}, clusters of {} bytes", map.version, map.cluster_bytes);
    if map.extended_l2 {
        words += ", extended L2 entries";
    }
    if map.compressed_count > 0 {
        words += &format!(", {} of them compressed", map.compressed_count);
    }
    if map.snapshot_count > 0 {
        words += &format!(", internal snapshots: {}", map.snapshot_count);
    }
    if map.has_backing {
        let name = others(file).ok().and_then(|others| others.backing).unwrap_or_default();
        words += &format!(", with the backing file {}", String::from_utf8_lossy(&name));
    }
    words
}

/// Bytes of the chunks that came with this file.
fn new_len(
    repository: &Repository,
    chunks: &Chunks,
    archive: &NamedArchive,
    item: &Item,
    content: &Content,
    progress: &dyn Progress,
) -> Result<u64> {
    let marks = Marks::new(chunks.index());
    each_older(repository, archive, progress, &mut |older| {
        mark_archive(chunks, older, &marks, &mut Nobody)
    })?;
    let object = archive.object();
    for before in repository.items(archive) {
        let before = before?;
        if before.path == item.path {
            break;
        }
        mark_item(chunks, &before, &object, &marks, &mut Nobody)?;
    }
    let mut sum = 0;
    for entry in RecipeReader::new(chunks, &content.recipe, object.as_str()) {
        if let Entry::Chunk { id, len } = entry?
            && chunks.index().find(&id).is_some_and(|location| marks.set(location.record))
        {
            sum += u64::from(len);
        }
    }
    Ok(sum)
}

/// Notes where chunks are.
struct Packs {
    found: BTreeSet<PackId>,
    missing: Option<ChunkId>,
}

impl Visitor for Packs {
    fn chunk(&mut self, _: &[u8], id: &ChunkId, location: Option<&Location>) {
        match location {
            Some(location) => drop(self.found.insert(location.pack.id)),
            None => drop(self.missing.get_or_insert(*id)),
        }
    }
}

/// Is told of chunks and does nothing.
struct Nobody;

impl Visitor for Nobody {
    fn chunk(&mut self, _: &[u8], _: &ChunkId, _: Option<&Location>) {}
}

/// Bytes of the file that were not in holes.
fn allocated(content: &Content, len: u64, chunks: &Chunks, name: &str) -> Result<u64> {
    if content.allocation.is_empty() {
        return Ok(len);
    }
    let bytes = read_side(&content.allocation, chunks, name)?;
    match AllocationMap::decode(&bytes, len) {
        Ok(map) => Ok(len - map.hole_len()),
        Err(error) => {
            let what = format!("its {error}");
            Err(Error::Corrupt { object: name.to_owned(), offset: 0, what })
        }
    }
}

/// Bytes in the zero runs of the first `len` bytes of the stream.
fn zero_len(content: &Content, len: u64, chunks: &Chunks, name: &str) -> Result<u64> {
    let (mut at, mut sum) = (0, 0);
    for entry in RecipeReader::new(chunks, &content.recipe, name) {
        let entry = entry?;
        if let Entry::Zero { len: run } = entry {
            sum += run.min(len - at);
        }
        at += entry.len();
        if at >= len {
            break;
        }
    }
    Ok(sum)
}
