//! Where the client's copy of the index lies: a directory of its own per repository, or memory.
//!
//! Segments are `HASH.index`, named by their content; `JOB.complete` notes which packs there were when the last archive of a
//! job was complete. Files are written under another name and renamed when whole. Anything unreadable there is dropped: the
//! copy can always be made again. Whoever deletes checks the hashes first, because a flipped bit in the copy must not decide
//! that a pack is not needed.

use std::fs::{self, File};
use std::io::{BufWriter, Cursor};
use std::path::{Path, PathBuf};

use format::index::Tables;
use format::{RepositoryId, SegmentId, SlotId};

use super::segment::{self, Segment};
use crate::error::{Error, Result};
use crate::keys::random;

/// A place for segments.
pub(crate) struct Cache {
    directory: Option<PathBuf>,
    /// Keeps others from reading or merging the same files at the same time; the kernel releases it.
    _lock: Option<File>,
}

impl Cache {
    /// Segments stay in memory.
    pub(crate) fn in_memory() -> Self {
        Cache { directory: None, _lock: None }
    }

    /// Segments of `repository` lie below `root`; in memory if nothing can be written there or another process is using it,
    /// because a copy is a convenience and no reason to fail or to wait.
    pub(crate) fn in_directory(root: &Path, repository: RepositoryId) -> Self {
        let directory = root.join(repository.to_string());
        let lock = || {
            fs::create_dir_all(&directory)?;
            let lock = File::create(directory.join("lock"))?;
            lock.try_lock()?;
            Ok::<_, std::io::Error>(lock)
        };
        match lock() {
            Ok(lock) => Cache { directory: Some(directory), _lock: Some(lock) },
            Err(_) => Self::in_memory(),
        }
    }

    /// Every segment that is there and can be read; with `verify`, whose bytes are those that were written.
    pub(crate) fn load(&self, repository: RepositoryId, verify: bool) -> Vec<Segment> {
        let Some(entries) = self.directory.as_ref().and_then(|path| fs::read_dir(path).ok()) else {
            return Vec::new();
        };
        let mut segments = Vec::new();
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("index") => match Segment::open(&path, repository) {
                    Ok(segment) if !verify || is_whole(&path) => segments.push(segment),
                    _ => drop(fs::remove_file(&path)),
                },
                // Left by a process that was killed: this one holds the lock.
                Some("part") => drop(fs::remove_file(&path)),
                _ => {}
            }
        }
        segments
    }

    /// Makes a segment of everything in `inputs`.
    pub(crate) fn create(
        &self,
        repository: RepositoryId,
        sources: &[SegmentId],
        inputs: &[Tables<'_>],
    ) -> Result<Segment> {
        if let Some(directory) = &self.directory {
            let made = create_file(directory, repository, sources, inputs);
            if let Ok(segment) = made {
                return Ok(segment);
            }
        }
        let mut bytes = Cursor::new(Vec::new());
        segment::write(&mut bytes, repository, sources, inputs)
            .map_err(|source| Error::System { what: "making the local index", source })?;
        Segment::from_bytes(bytes.into_inner(), repository)
            .map_err(|error| Error::decode("the local index", 0, error))
    }

    /// Notes that the archive of this fingerprint needs no other packs than those of these hashes: what is kept of `job`.
    pub(crate) fn note_complete(&self, job: &[u8; 32], fingerprint: &[u8; 32], packs: &[[u8; 32]]) {
        let Some(path) = self.complete_path(job) else { return };
        let mut bytes = fingerprint.to_vec();
        packs.iter().for_each(|pack| bytes.extend_from_slice(pack));
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
        let part = path.with_extension("part");
        // A convenience: without it the next backup looks every chunk up.
        if fs::write(&part, &bytes).and_then(|()| fs::rename(&part, &path)).is_err() {
            drop(fs::remove_file(&part));
        }
    }

    /// The hashes that were noted for the archive of this fingerprint, if it is the one that was noted last for `job`.
    pub(crate) fn complete(&self, job: &[u8; 32], fingerprint: &[u8; 32]) -> Option<Vec<[u8; 32]>> {
        let bytes = fs::read(self.complete_path(job)?).ok()?;
        let (bytes, hash) = bytes.split_last_chunk::<32>()?;
        let (noted, packs) = bytes.split_first_chunk::<32>()?;
        let (packs, rest) = packs.as_chunks::<32>();
        let sound = noted == fingerprint && rest.is_empty() && blake3::hash(bytes) == *hash;
        sound.then(|| packs.to_vec())
    }

    fn complete_path(&self, job: &[u8; 32]) -> Option<PathBuf> {
        let name = format!("{}.complete", blake3::Hash::from_bytes(*job));
        self.directory.as_ref().map(|directory| directory.join(name))
    }

    /// Forgets a segment.
    pub(crate) fn remove(&self, segment: &Segment) {
        if let Some(path) = &segment.path {
            drop(fs::remove_file(path));
        }
    }
}

fn create_file(
    directory: &Path,
    repository: RepositoryId,
    sources: &[SegmentId],
    inputs: &[Tables<'_>],
) -> std::io::Result<Segment> {
    let name = SlotId::from_bytes(random().map_err(std::io::Error::other)?);
    let part = directory.join(format!("{name}.part"));
    let mut out = BufWriter::with_capacity(1 << 20, File::create_new(&part)?);
    let written = segment::write(&mut out, repository, sources, inputs).and_then(|()| {
        let path = directory.join(format!("{}.index", hash(&part)?));
        fs::rename(&part, &path)?;
        Segment::open(&path, repository)
    });
    if written.is_err() {
        drop(fs::remove_file(&part));
    }
    written
}

/// The hash of a file, which is its name.
fn hash(path: &Path) -> std::io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize())
}

fn is_whole(path: &Path) -> bool {
    let name = path.file_stem().and_then(|name| name.to_str());
    hash(path).is_ok_and(|hash| name == Some(hash.to_hex().as_str()))
}
