//! Which archives damaged files are of: found out for all of them at once.
//!
//! In: a repository in which an archive does not open. Out: for each such file where what was in it is intact, if that can be
//! told. Promises: no file gets another archive than the one that was there; every archive and every copy without one is read
//! once; names and hashes are kept, no archives.
//!
//! ```text
//! by its salt     a copy, or another file, whose nonce begins as what is left of the file's     it is that archive
//!                 but no other file while a copy is left that was made with the name of this    written over by another
//! by its name     the copy that was made with the name of the file, if no other was
//!                 and each copy that is left over is that of another damaged file               none was renamed or removed
//!                 or the file has the length of the copy                                        damaged where it lies
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};

use garret_format::ArchiveHash;
use garret_format::object::{HEADER_LEN, NONCE_LEN};

use crate::error::Result;
use crate::keys::seal::Sealer;
use crate::limits::ARCHIVE_LEN_MAX;
use crate::objects::archive::{names, open};
use crate::objects::tombstones::{archive_id, buried};
use crate::pipeline::with_workers;
use crate::store::{Area, Key, Store, StoreErrorKind};

/// The random bytes that a nonce begins with; what follows is the same in all archives.
const SALT_LEN: usize = NONCE_LEN - 8;
/// What a file begins with, its salt included.
pub(crate) const OBJECT_START: usize = HEADER_LEN + SALT_LEN;
/// Of these, how many make sure that a damaged archive and a copy are the same: by chance 8 of 16 agree once in 10^15 cases.
const SALT_SAME: usize = 8;

/// The archives of a repository, and what is in its damaged files.
#[derive(Debug)]
pub(crate) struct Survey {
    /// The archives that open, by name.
    whole: HashMap<String, [u8; 32]>,
    /// Those that do not: where each is intact, if that is known.
    broken: HashMap<String, Option<Intact>>,
    /// A copy that is of no file, and the name of the archive, which nothing has.
    stray: Option<(Key, String)>,
}

/// Where an archive is that opens.
#[derive(Clone, Debug)]
pub(crate) struct Intact {
    pub(crate) key: Key,
    pub(crate) fingerprint: [u8; 32],
}

/// An archive's file, or a copy.
struct File {
    /// Where it is found; of a copy, the name with which its archive was made.
    name: String,
    key: Key,
    len: usize,
    /// What it has of its salt.
    salt: Vec<u8>,
    /// If it opens.
    fingerprint: Option<[u8; 32]>,
}

impl File {
    fn is_alike(&self, other: &File) -> bool {
        is_alike(&self.salt, &other.salt)
    }

    fn intact(&self) -> Option<Intact> {
        Some(Intact { key: self.key.clone(), fingerprint: self.fingerprint? })
    }
}

impl Survey {
    pub(crate) fn make(store: &dyn Store, metadata: &Sealer) -> Result<Self> {
        // Before the archives: whoever puts one has put its copy.
        let mut copies = archive_copies(store)?;
        let files = each(store, names(store)?, |name| Ok(read(store, metadata, name)))?;
        let (whole, damaged): (Vec<File>, Vec<File>) =
            files.into_iter().flatten().partition(|file| file.fingerprint.is_some());
        let gone = buried(store, metadata)?;
        copies.retain(|hash| !gone.contains(&archive_id(hash.as_bytes())));
        for fingerprint in whole.iter().filter_map(|file| file.fingerprint) {
            copies.remove(&ArchiveHash::from_bytes(fingerprint));
        }
        // Those of which nobody needs anything are not read.
        let copies: Vec<_> = match damaged.is_empty() {
            true => Vec::new(),
            false => copies.into_iter().collect(),
        };
        let lone = each(store, copies, |hash| Ok(read_copy(store, metadata, hash)))?;
        // One that does not open may be that of any file.
        let is_known = lone.iter().all(Option::is_some);
        let lone: Vec<File> = lone.into_iter().flatten().collect();
        let same = |file: &File| {
            let copy = lone.iter().find(|copy| copy.is_alike(file));
            // Somebody copied the file by hand: what he made is the same archive. But where the copy of the archive that
            // had this name is left over, another file may have been written over its beginning.
            let is_doubtful = || lone.iter().any(|copy| copy.name == file.name);
            let twin = || whole.iter().find(|twin| twin.is_alike(file)).filter(|_| !is_doubtful());
            copy.or_else(twin)?.intact()
        };
        let mut broken: HashMap<String, Option<Intact>> =
            damaged.iter().map(|file| (file.name.clone(), same(file))).collect();
        let is_left = |copy: &&File| !damaged.iter().any(|file| file.is_alike(copy));
        let left: Vec<&File> = lone.iter().filter(is_left).collect();
        let found = if is_known { by_name(&left, &damaged, &broken) } else { Vec::new() };
        broken.extend(found.into_iter().map(|(name, intact)| (name, Some(intact))));
        let whole: HashMap<String, [u8; 32]> =
            whole.into_iter().filter_map(|file| Some((file.name, file.fingerprint?))).collect();
        let is_stray =
            |copy: &&&File| !whole.contains_key(&copy.name) && !broken.contains_key(&copy.name);
        let stray = left.iter().find(is_stray).map(|copy| (copy.key.clone(), copy.name.clone()));
        Ok(Survey { whole, broken, stray })
    }

    /// Whether the file of that name does not open.
    pub(crate) fn is_broken(&self, name: &str) -> bool {
        self.broken.contains_key(name)
    }

    /// Where the archive is that was in the damaged file of that name.
    pub(crate) fn intact(&self, name: &str) -> Option<&Intact> {
        self.broken.get(name)?.as_ref()
    }

    /// A copy that may be that of a damaged file of which nothing is known, and the name with which its archive was made.
    pub(crate) fn stray(&self) -> Option<&(Key, String)> {
        self.stray.as_ref()
    }

    /// What there is under other names than these.
    pub(crate) fn without(&self, names: &HashSet<&str>) -> HashSet<[u8; 32]> {
        let broken = self.broken.iter().filter_map(|(name, found)| Some((name, found.as_ref()?)));
        let broken = broken.map(|(name, found)| (name, found.fingerprint));
        let all = self.whole.iter().map(|(name, found)| (name, *found)).chain(broken);
        all.filter(|(name, _)| !names.contains(name.as_str())).map(|(_, found)| found).collect()
    }
}

/// The copies that are told by the names of the damaged files of which nothing is left.
fn by_name(
    left: &[&File],
    damaged: &[File],
    broken: &HashMap<String, Option<Intact>>,
) -> Vec<(String, Intact)> {
    let mut made: BTreeMap<&str, Vec<&File>> = BTreeMap::new();
    left.iter().for_each(|copy| made.entry(&copy.name).or_default().push(copy));
    let is_lost = |name: &str| broken.get(name).is_some_and(Option::is_none);
    // Then none was renamed, and none removed.
    let is_each = made.iter().all(|(name, copies)| is_lost(name) && copies.len() == 1);
    let lost = damaged.iter().filter(|file| is_lost(&file.name));
    let found = lost.filter_map(|file| {
        let [copy] = made.get(file.name.as_str())?.as_slice() else { return None };
        let is_it = is_each || copy.len == file.len;
        Some((file.name.clone(), copy.intact().filter(|_| is_it)?))
    });
    found.collect()
}

/// Does this with each, with as many requests under way as the store wants.
fn each<A: Send, B: Send>(
    store: &dyn Store,
    of: impl IntoIterator<Item = A>,
    work: impl Fn(A) -> Result<B> + Sync,
) -> Result<Vec<B>> {
    let work = &work;
    with_workers(store.properties().in_flight, |workers| {
        workers.map(of.into_iter().map(Ok), work).collect()
    })
}

/// The file of that name; none if it was removed a moment ago.
fn read(store: &dyn Store, metadata: &Sealer, name: String) -> Option<File> {
    let key = Key::Archive(name.clone());
    let bytes = match store.get_whole(&key, ARCHIVE_LEN_MAX) {
        Err(error) if error.kind == StoreErrorKind::NotFound => return None,
        bytes => bytes.unwrap_or_default(),
    };
    let fingerprint = open(metadata, &name, &bytes).ok().map(|found| found.fingerprint);
    Some(File { name, key, len: bytes.len(), salt: salt(&bytes), fingerprint })
}

/// The copy of that name, if it opens.
fn read_copy(store: &dyn Store, metadata: &Sealer, hash: ArchiveHash) -> Option<File> {
    let key = Key::ArchiveCopy(hash);
    let bytes = store.get_whole(&key, ARCHIVE_LEN_MAX).ok()?;
    let found = open(metadata, "", &bytes).ok()?;
    let is_named = found.fingerprint == *hash.as_bytes();
    let (name, fingerprint) = (found.archive.name, Some(found.fingerprint));
    is_named.then(|| File { name, key, len: bytes.len(), salt: salt(&bytes), fingerprint })
}

fn archive_copies(store: &dyn Store) -> Result<HashSet<ArchiveHash>> {
    let listed = store.list(Area::Copies)?.into_iter();
    let hashes = listed.filter_map(|(key, _)| match key {
        Key::ArchiveCopy(hash) => Some(hash),
        _ => None,
    });
    Ok(hashes.collect())
}

/// Whether what is left of two salts is of one archive.
pub(crate) fn is_alike(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).filter(|(one, other)| one == other).count() >= SALT_SAME
}

/// What a file has of its salt; it begins with at least that.
pub(crate) fn salt(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().skip(HEADER_LEN).take(SALT_LEN).copied().collect()
}
