//! Tag records: what archives are tagged with since that was changed, and which of them are protected.
//!
//! In: what the holder of the lock to delete wants an archive to be. Out: a file `tags/HASH` for each archive that is
//! protected or has other tags than it was made with; what all archives are now. Promises: archives themselves are never
//! written again; a record is put whole, so an archive is protected or not at every instant, and there all the while. One
//! that is damaged protects its archive.

use std::collections::{BTreeSet, HashMap, HashSet};

use garret_format::ArchiveHash;
use garret_format::archive::{TAGS_MAX, tag_fault};
use garret_format::object::{ENVELOPE_LEN, Kind};
use garret_format::tags::{TAG_RECORD_LEN_MAX, TagRecord};

use crate::error::{Cause, Error, Result, message};
use crate::keys::seal::Sealer;
use crate::objects::archive::NamedArchive;
use crate::objects::damage::is_damage;
use crate::objects::envelope;
use crate::pipeline::with_workers;
use crate::progress::Problem;
use crate::store::{Area, Key, Store, StoreErrorKind};

/// Longest file of a record in bytes.
const RECORD_LEN_MAX: u64 = (ENVELOPE_LEN + TAG_RECORD_LEN_MAX) as u64;

/// What all archives are tagged with, and which are protected, as it was when this was asked for.
#[derive(Clone, Debug, Default)]
pub struct Tags {
    /// None of one that is damaged.
    records: HashMap<[u8; 32], Option<TagRecord>>,
}

impl Tags {
    /// Whether it may not be deleted.
    pub fn is_protected(&self, archive: &NamedArchive) -> bool {
        self.protects(&archive.fingerprint)
    }

    /// Whether the archive in a file of this hash may not be deleted.
    pub(crate) fn protects(&self, fingerprint: &[u8; 32]) -> bool {
        match self.records.get(fingerprint) {
            Some(Some(record)) => record.protected,
            Some(None) => true,
            None => false,
        }
    }

    /// Whether something is protected that is none of these archives.
    pub(crate) fn protects_another(&self, known: &HashSet<[u8; 32]>) -> bool {
        let mut all = self.records.keys();
        all.any(|fingerprint| self.protects(fingerprint) && !known.contains(fingerprint))
    }

    /// How many records protect one.
    pub(crate) fn protected_count(&self) -> usize {
        self.records.keys().filter(|fingerprint| self.protects(fingerprint)).count()
    }

    /// Whether its record is damaged.
    pub(crate) fn is_damaged(&self, archive: &NamedArchive) -> bool {
        matches!(self.records.get(&archive.fingerprint), Some(None))
    }

    /// Its tags.
    pub fn of<'a>(&'a self, archive: &'a NamedArchive) -> &'a BTreeSet<String> {
        match self.records.get(&archive.fingerprint) {
            Some(Some(record)) => &record.tags,
            _ => &archive.archive.tags,
        }
    }
}

/// What is to become of the tags of an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TagChange {
    /// These come, unless they are there.
    pub add: BTreeSet<String>,
    /// These go, if they are there.
    pub remove: BTreeSet<String>,
    /// Whether it is protected from now on; as it was, if it is not said.
    pub protect: Option<bool>,
}

/// Fails unless these can be the tags of one archive.
pub(crate) fn check_tags(tags: &BTreeSet<String>) -> Result<()> {
    if let Some((tag, why)) = tags.iter().find_map(|tag| Some((tag, tag_fault(tag)?))) {
        return Err(Error::BadOption(format!("{tag:?} cannot be a tag: {why}")));
    }
    match tags.len() {
        0..=TAGS_MAX => Ok(()),
        count => {
            let text =
                format!("an archive has {TAGS_MAX} tags at most, and this one would have {count}");
            Err(Error::BadOption(text))
        }
    }
}

/// The records; and what is wrong with those that are damaged.
pub(crate) fn load(store: &dyn Store, metadata: &Sealer) -> Result<(Tags, Vec<Problem>)> {
    let (mut tags, mut wrong) = (Tags::default(), Vec::new());
    let hashes = store.list(Area::Tags)?.into_iter().filter_map(|(key, _)| match key {
        Key::Tags(hash) => Some(hash),
        _ => None,
    });
    let read = |hash| Ok((hash, open(store, metadata, hash)));
    let found: Vec<_> = with_workers(store.properties().in_flight, |workers| {
        workers.map(hashes.map(Ok), read).collect::<Result<_>>()
    })?;
    for (hash, record) in found {
        let key = Key::Tags(hash);
        let record = match record {
            Ok(record) => Some(record),
            // Gone meanwhile.
            Err(Error::Store(error)) if error.kind == StoreErrorKind::NotFound => continue,
            Err(error) if is_damage(&error) => {
                let mut problem = Problem::warning(Cause::Damaged, &key, "");
                problem.text = format!(
                    "{}; the archive that it is of (a list shows which) counts as protected, with the tags that it was made \
                     with, until it is protected or unprotected again, or a repair writes the record anew",
                    message(&error)
                );
                wrong.push(problem);
                None
            }
            Err(error) => return Err(error),
        };
        tags.records.insert(*hash.as_bytes(), record);
    }
    Ok((tags, wrong))
}

fn open(store: &dyn Store, metadata: &Sealer, hash: ArchiveHash) -> Result<TagRecord> {
    let key = Key::Tags(hash);
    let bytes = store.get_whole(&key, RECORD_LEN_MAX)?;
    let record = envelope::open(metadata, (&key, Kind::Tags), &bytes, TagRecord::decode)?;
    match record.archive == hash {
        true => Ok(record),
        false => Err(Error::misnamed(&key.to_string())),
    }
}

/// What the record of an archive is to say, of which these are the tags now; none if it needs no record.
pub(crate) fn changed(
    tags: &Tags,
    archive: &NamedArchive,
    change: &TagChange,
) -> Result<(Key, Option<TagRecord>)> {
    let hash = ArchiveHash::from_bytes(archive.fingerprint);
    let kept = tags.of(archive).difference(&change.remove).chain(&change.add);
    let record = TagRecord {
        archive: hash,
        protected: change.protect.unwrap_or_else(|| tags.is_protected(archive)),
        tags: kept.cloned().collect(),
    };
    check_tags(&record.tags)?;
    let is_needed = record.protected || record.tags != archive.archive.tags;
    Ok((Key::Tags(hash), is_needed.then_some(record)))
}

/// Puts a record, or removes the one that is not needed; durable after the next sync. Only for the holder of the lock to
/// delete.
pub(crate) fn put(
    store: &dyn Store,
    metadata: &Sealer,
    (key, record): (Key, Option<TagRecord>),
) -> Result<()> {
    let Some(record) = record else { return Ok(store.delete(&key)?) };
    let bytes = envelope::seal(metadata, Kind::Tags, record.encode())?;
    Ok(store.put(&key, &[&bytes])?)
}

/// The records of other archives than those in files of these hashes.
pub(crate) fn of_others<'f>(
    store: &dyn Store,
    archives: impl Iterator<Item = &'f [u8; 32]>,
) -> Result<HashSet<Key>> {
    let known: HashSet<&[u8; 32]> = archives.collect();
    let is_other = |key: &Key| matches!(key, Key::Tags(hash) if !known.contains(hash.as_bytes()));
    Ok(store.list(Area::Tags)?.into_iter().map(|(key, _)| key).filter(is_other).collect())
}
