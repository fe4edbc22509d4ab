//! Any bytes in any object of a repository.
//!
//! In: bytes, read as changes of a sound repository with encryption or without: of byte strings, then of objects. Out: see
//! [`Subject::try_everything`].

use garret_core::{Key, MemoryStore};
use garret_format::archive::is_archive_name;
use garret_format::{ArchiveHash, PackId, SegmentId, SlotId};

use super::attempt::Subject;
use super::base::{Objects, plain, sealed};
use super::input::Input;
use super::making::Changes;

/// Opens what the bytes describe.
pub fn open_repository(bytes: &[u8]) {
    let input = &mut Input(bytes);
    let sealed = (input.below(2) == 1).then(sealed);
    let mut objects = altered(sealed.map(|sealed| &sealed.objects), input);
    for _ in 0..input.below(5) {
        exchange(&mut objects, input);
    }
    let store = MemoryStore::from_objects(objects);
    let open = || Ok(Box::new(store.clone()) as Box<dyn garret_core::Store>);
    Subject { store: &open, sealed }.try_everything();
}

/// The objects of a sound repository, some of their bytes altered.
pub fn altered(sealed: Option<&Objects>, input: &mut Input<'_>) -> Objects {
    let mut changes = Changes::read(input);
    match sealed {
        None => plain(changes).0,
        Some(objects) => {
            let pass = |(key, bytes): &(Key, Vec<u8>)| (key.clone(), changes.pass(bytes.clone()));
            objects.iter().map(pass).collect()
        }
    }
}

/// Removes an object, gives it the bytes of another, or adds one under any name.
fn exchange(objects: &mut Objects, input: &mut Input<'_>) {
    if objects.is_empty() {
        return;
    }
    let (one, other) = (input.below(objects.len()), input.below(objects.len()));
    let bytes = objects[other].1.clone();
    match input.byte() % 5 {
        0 => drop(objects.swap_remove(one)),
        1 => objects[one].1 = bytes,
        2 => {
            objects[other].1 = objects[one].1.clone();
            objects[one].1 = bytes;
        }
        3 => objects.extend(key(&bytes, input).map(|key| (key, bytes))),
        _ => {
            let bytes = input.string().to_vec();
            objects.extend(key(&bytes, input).map(|key| (key, bytes)));
        }
    }
}

/// A name: that of the bytes, or any.
fn key(bytes: &[u8], input: &mut Input<'_>) -> Option<Key> {
    let hash = *blake3::hash(bytes).as_bytes();
    let any = [input.byte(); 32];
    let id = if input.below(2) == 0 { hash } else { any };
    Some(match input.byte() % 8 {
        0 => Key::Config,
        5 => Key::ConfigCopy,
        6 => Key::SlotCopy(SlotId::from_bytes([any[0]; 16])),
        7 => Key::ArchiveCopy(ArchiveHash::from_bytes(id)),
        1 => Key::Slot(SlotId::from_bytes([any[0]; 16])),
        2 => Key::Pack(PackId::from_bytes(id)),
        3 => Key::Index(SegmentId::from_bytes(id)),
        _ => {
            let name = String::from_utf8_lossy(input.string()).into_owned();
            Key::Archive(Some(name).filter(|name| is_archive_name(name))?)
        }
    })
}
