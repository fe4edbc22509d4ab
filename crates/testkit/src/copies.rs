//! Second copies, for tests of what is damaged for good.
//!
//! In: the objects of a repository, and one of them. Out: that and its second copy, if it has one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use garret_core::{Key, MemoryStore, Store};
use garret_format::ArchiveHash;

/// The object under `key` and its second copy, as far as they are there.
pub fn both(objects: &BTreeMap<Key, Vec<u8>>, key: &Key) -> Vec<Key> {
    let copy = match key {
        Key::Config => Some(Key::ConfigCopy),
        Key::Tombstones => Some(Key::TombstonesCopy),
        Key::Slot(id) => Some(Key::SlotCopy(*id)),
        Key::Archive(_) => objects.get(key).map(|bytes| {
            Key::ArchiveCopy(ArchiveHash::from_bytes(*blake3::hash(bytes).as_bytes()))
        }),
        _ => None,
    };
    let copy = copy.filter(|copy| objects.contains_key(copy));
    [key.clone()].into_iter().chain(copy).collect()
}

/// Puts these bytes in the place of an object and of its second copy.
pub fn damage(store: &MemoryStore, key: &Key, bytes: &[u8]) {
    for key in both(&store.objects(), key) {
        store.put(&key, &[bytes]).unwrap();
    }
}

/// The file of this object in a repository's directory and that of its second copy, as far as they are there.
pub fn both_files(repository: &Path, object: &str) -> Vec<PathBuf> {
    let first = repository.join(object);
    let copy = match object.split_once('/') {
        Some(("backups", _)) => {
            std::fs::read(&first).map(|bytes| blake3::hash(&bytes).to_hex().to_string()).ok()
        }
        Some(("keys", slot)) => Some(slot.to_owned()),
        Some(_) => None,
        None => Some(object.to_owned()),
    };
    let copy = copy.map(|name| repository.join("copies").join(name));
    [first].into_iter().chain(copy.filter(|copy| copy.exists())).collect()
}

/// Gives each archive its second copy, as garret does; for archives that were made by hand.
pub fn add_copies(objects: &mut BTreeMap<Key, Vec<u8>>) {
    let archives = objects.iter().filter(|(key, _)| matches!(key, Key::Archive(_)));
    let copy = |(_, bytes): (&Key, &Vec<u8>)| {
        let hash = ArchiveHash::from_bytes(*blake3::hash(bytes).as_bytes());
        (Key::ArchiveCopy(hash), bytes.clone())
    };
    let copies: Vec<_> = archives.map(copy).collect();
    objects.extend(copies);
}

/// Alters each second copy as its first was altered since `before`.
pub fn follow(before: &BTreeMap<Key, Vec<u8>>, after: &mut BTreeMap<Key, Vec<u8>>) {
    for (first, bytes) in before {
        let altered = after.get(first).filter(|now| *now != bytes).cloned();
        if let (Some(altered), [_, copy]) = (altered, both(before, first).as_slice())
            && after.contains_key(copy)
        {
            after.insert(copy.clone(), altered);
        }
    }
}
