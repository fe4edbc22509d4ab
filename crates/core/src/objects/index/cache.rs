//! Where the client's copy of the index lies: a directory of its own per repository, or memory.
//!
//! In: a directory that others may be able to write to, and a key that only who can open the repository has. Segments are
//! `HASH.index`, `JOB.last` notes the last archive of a job, and which packs there were when it was complete. Files are
//! written under another name and renamed when whole. Promises: a file is used only if the keyed hash says that it was made
//! with this key, and if nobody else can change it meanwhile; in a repository without key, only if nobody else can change the
//! directory. What is not used is dropped: the copy can always be made again. Nothing is written through links.

use std::fs::{DirBuilder, File};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use garret_format::{RepositoryId, SegmentId, SlotId};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::segment::{self, Input, Segment};
use crate::error::{Error, Result};
use crate::keys::random;

/// The last archive of a job.
pub(crate) struct Noted {
    name_hash: [u8; 32],
    /// BLAKE3 of its file.
    pub(crate) fingerprint: [u8; 32],
    /// Hashes of the rows of the packs that there were when it was complete.
    pub(crate) packs: Vec<[u8; 32]>,
}

/// A place for segments.
pub(crate) struct Cache {
    place: Option<CacheDirectory>,
}

impl Cache {
    /// Segments stay in memory.
    pub(crate) fn in_memory() -> Self {
        Cache { place: None }
    }

    /// Segments of `repository` lie below `root`, told from forged ones by `key`. In memory if nothing can be written there,
    /// another process is using it, or it cannot be trusted, because a copy is a convenience and no reason to fail or to
    /// wait.
    pub(crate) fn in_directory(
        root: &Path,
        repository: RepositoryId,
        key: Option<&[u8; 32]>,
    ) -> Self {
        Cache { place: CacheDirectory::open(root, repository, key).ok() }
    }

    /// Every segment that is there and was made with the key.
    pub(crate) fn load(&self, repository: RepositoryId) -> Vec<Segment> {
        let Some(place) = &self.place else { return Vec::new() };
        let mut segments = Vec::new();
        for name in place.names().unwrap_or_default() {
            match name.rsplit_once('.') {
                Some((hash, "index")) => match place.segment(&name, hash, repository) {
                    Ok(segment) => segments.push(segment),
                    Err(_) => place.remove(&name),
                },
                // Left by a process that was killed: this one holds the lock.
                Some((_, "part")) => place.remove(&name),
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
        inputs: &[Input<'_>],
    ) -> Result<Segment> {
        if let Some(place) = &self.place {
            let made = place.create_segment(repository, sources, inputs);
            if let Ok(segment) = made {
                return Ok(segment);
            }
        }
        let mut bytes = Vec::new();
        segment::write(&mut bytes, repository, sources, inputs)
            .map_err(|source| Error::System { what: "making the local index", source })?;
        Segment::from_bytes(bytes, repository)
            .map_err(|error| Error::decode("the local index", 0, error))
    }

    /// Notes that the archive of this name and fingerprint needs no other packs than those of these hashes: what is kept of
    /// `job`.
    pub(crate) fn note_complete(
        &self,
        job: &[u8; 32],
        name: &str,
        fingerprint: &[u8; 32],
        packs: &[[u8; 32]],
    ) {
        let Some(place) = &self.place else { return };
        let mut bytes = fingerprint.to_vec();
        // Not the name: it is nobody's business who gets hold of this disk.
        bytes.extend_from_slice(&place.name_hash(name));
        packs.iter().for_each(|pack| bytes.extend_from_slice(pack));
        let hash = place.hasher().update(&bytes).finalize();
        bytes.extend_from_slice(hash.as_bytes());
        // A convenience: without it the next backup looks every chunk up.
        let _unwritten = place.create(|mut file| {
            file.write_all(&bytes)?;
            Ok(((), note_name(job)))
        });
    }

    /// What was noted last for `job`.
    pub(crate) fn complete(&self, job: &[u8; 32]) -> Option<Noted> {
        let place = self.place.as_ref()?;
        let mut bytes = Vec::new();
        place.file(&note_name(job)).ok()?.read_to_end(&mut bytes).ok()?;
        let (bytes, hash) = bytes.split_last_chunk::<32>()?;
        // `blake3::Hash` compares in constant time.
        if place.hasher().update(bytes).finalize() != *hash {
            return None;
        }
        let (fingerprint, rest) = bytes.split_first_chunk::<32>()?;
        let (name_hash, packs) = rest.split_first_chunk::<32>()?;
        let (packs, rest) = packs.as_chunks::<32>();
        let (name_hash, fingerprint) = (*name_hash, *fingerprint);
        rest.is_empty().then(|| Noted { name_hash, fingerprint, packs: packs.to_vec() })
    }

    /// Which of `names` is that of a noted archive.
    pub(crate) fn name_of<'n>(&self, noted: &Noted, names: &'n [String]) -> Option<&'n String> {
        let place = self.place.as_ref()?;
        names.iter().find(|name| place.name_hash(name) == noted.name_hash)
    }

    /// Forgets a segment.
    pub(crate) fn remove(&self, segment: &Segment) {
        if let (Some(place), Some(name)) = (&self.place, &segment.name) {
            place.remove(name);
        }
    }
}

fn note_name(job: &[u8; 32]) -> String {
    format!("{}.last", blake3::Hash::from_bytes(*job))
}

/// A directory that is held open, and what tells our files in it from others.
struct CacheDirectory {
    directory: OwnedFd,
    key: Option<Zeroizing<[u8; 32]>>,
    /// Keeps others from reading or merging the same files at the same time; the kernel releases it.
    _lock: File,
}

impl CacheDirectory {
    fn open(root: &Path, repository: RepositoryId, key: Option<&[u8; 32]>) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
        let name = repository.to_string();
        match rustix::fs::mkdirat(&root, &name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let directory = rustix::fs::openat(&root, &name, flags | OFlags::NOFOLLOW, Mode::empty())?;
        // Without a key, whoever could put a file there has it taken for ours.
        if key.is_none() && !(is_ours_alone(&root)? && is_ours_alone(&directory)?) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let flags = OFlags::RDWR | OFlags::CREATE | NEVER_ELSEWHERE;
        let mode = Mode::RUSR | Mode::WUSR;
        let lock = File::from(rustix::fs::openat(&directory, "lock", flags, mode)?);
        lock.try_lock()?;
        Ok(CacheDirectory { directory, key: key.copied().map(Zeroizing::new), _lock: lock })
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            names.extend(entry?.file_name().to_str().ok().map(str::to_owned));
            if names.len() > NAMES_MAX {
                return Err(io::Error::other("it has more entries than any copy"));
            }
        }
        Ok(names)
    }

    /// A file that nobody else can change while it is read.
    fn file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | NEVER_ELSEWHERE;
        let file = rustix::fs::openat(&self.directory, name, flags, Mode::empty())?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
        match kind == FileType::RegularFile && is_ours_alone(&file)? {
            true => Ok(file.into()),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    fn segment(&self, name: &str, hash: &str, repository: RepositoryId) -> io::Result<Segment> {
        let file = self.file(name)?;
        let expected = blake3::Hash::from_hex(hash).map_err(io::Error::other)?;
        match self.hash(&file)? == expected {
            true => Segment::open(file, name, repository),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn create_segment(
        &self,
        repository: RepositoryId,
        sources: &[SegmentId],
        inputs: &[Input<'_>],
    ) -> io::Result<Segment> {
        self.create(|file| {
            let mut out = BufWriter::with_capacity(1 << 20, file);
            segment::write(&mut out, repository, sources, inputs)?;
            let name = format!("{}.index", self.hash(file)?);
            Ok((Segment::open(file.try_clone()?, &name, repository)?, name))
        })
    }

    /// Makes a file, which gets the name that `write` gives when that has written all of it.
    fn create<T>(&self, write: impl FnOnce(&File) -> io::Result<(T, String)>) -> io::Result<T> {
        let part = format!("{}.part", SlotId::from_bytes(random().map_err(io::Error::other)?));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | NEVER_ELSEWHERE;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = File::from(rustix::fs::openat(&self.directory, &part, flags, mode)?);
        let written = write(&file).and_then(|(made, name)| {
            rustix::fs::renameat(&self.directory, &part, &self.directory, &name)?;
            Ok(made)
        });
        if written.is_err() {
            self.remove(&part);
        }
        written
    }

    fn remove(&self, name: &str) {
        let _there = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
    }

    /// What stands for the name of an archive.
    fn name_hash(&self, name: &str) -> [u8; 32] {
        *self.hasher().update(name.as_bytes()).finalize().as_bytes()
    }

    /// What makes the hashes by which files are known.
    fn hasher(&self) -> blake3::Hasher {
        self.key.as_ref().map_or_else(blake3::Hasher::new, |key| blake3::Hasher::new_keyed(key))
    }

    fn hash(&self, mut file: &File) -> io::Result<blake3::Hash> {
        file.rewind()?;
        let mut hasher = self.hasher();
        hasher.update_reader(file)?;
        Ok(hasher.finalize())
    }
}

/// Names that are looked at: there are some dozen files, and who can write there, or has a file system of his own there, may
/// make names up without end.
pub(super) const NAMES_MAX: usize = 1 << 16;

/// Through no link, and without waiting for the other end of a pipe.
const NEVER_ELSEWHERE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Whether it belongs to this user, and only its owner can write to it.
fn is_ours_alone(opened: impl AsFd) -> io::Result<bool> {
    let stat = rustix::fs::fstat(opened)?;
    let owner = rustix::process::geteuid().as_raw();
    Ok(stat.st_uid == owner
        && !Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH))
}
