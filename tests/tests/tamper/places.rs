//! Boxes and objects in other places and of other repositories, older states, configurations and keys.

use garret_core::{Key, MemoryStore};
use garret_format::RepositoryId;
use garret_format::config::{Cipher, Config, KeyMode};
use garret_format::pack::{PACK_HEADER_LEN, encode_trailer};
use garret_testkit::PackBox;

use super::{
    Case, End, Family, Objects, SIBLING, World, archive, packs, segments, slots, without_index,
};

pub(super) const BROKEN: &[&str] = &["the seal is broken"];
const LOST: &[&str] = &["the seal is broken", "no pack holds it"];
pub(super) const NO_PACK: &[&str] = &["no pack holds it"];
const OTHER_KEY: &[&str] =
    &["belongs to another repository, or the repository's config was altered"];
const NOT_THE_KNOWN: &[&str] = &["opens to another key than the one that this repository had"];
const NOT_ITS_PASSPHRASE: &[&str] = &["wrong passphrase"];
const OUT_OF_BOUNDS: &[&str] = &["holds a value out of bounds"];
const ABSENT: &[&str] = &["does not exist"];

pub(super) fn cases(world: &World) -> Vec<Case> {
    [
        boxes_in_other_places(world),
        objects_in_other_places(world),
        older_states(world),
        configs_and_slots(world),
    ]
    .concat()
}

/// A pack of other boxes: what comes behind its header, then the footer's box and a trailer that fits it.
fn pack_of(head: &[u8], groups: &[&[u8]], footer: &[u8]) -> Vec<u8> {
    [&head[..PACK_HEADER_LEN], &groups.concat(), footer, &encode_trailer(footer.len() as u32)]
        .concat()
}

/// The boxes of a pack as bytes: frame headers and bodies by turns, and the footer.
fn parts<'p>(pack: &'p [u8], boxes: &[PackBox]) -> (Vec<&'p [u8]>, &'p [u8]) {
    let mut parts: Vec<&[u8]> = boxes.iter().map(|one| &pack[one.range.clone()]).collect();
    let footer = parts.pop().unwrap();
    (parts, footer)
}

/// Boxes of packs in other places: of the same pack, of another, of the same place in another repository.
fn boxes_in_other_places(world: &World) -> Vec<Case> {
    let mut family = Family { world, name: "boxes in other places", cases: Vec::new() };
    let keys = packs(&world.now);
    let (key, other) = (&keys[0], &keys[1]);
    let (pack, second) = (&world.now[key], &world.now[other]);
    let (boxes, others) = (world.forge.boxes(pack).unwrap(), world.forge.boxes(second).unwrap());
    let (groups, footer) = parts(pack, &boxes);
    let (other_groups, other_footer) = parts(second, &others);
    let sibling = world.forge.of_repository(RepositoryId::from_bytes(SIBLING));
    let siblings = &world.sibling[&packs(&world.sibling)[0]];
    let sibling_boxes = sibling.boxes(siblings).unwrap();
    let (sibling_groups, sibling_footer) = parts(siblings, &sibling_boxes);
    assert!(groups.len() >= 4 && other_groups.len() >= 4 && sibling_groups.len() >= 4);
    let turned = [&groups[2..4], &groups[..2], &groups[4..]].concat();
    let bodies = [&[groups[0], groups[3], groups[2], groups[1]], &groups[4..]].concat();
    let frames = [&[groups[2], groups[1], groups[0], groups[3]], &groups[4..]].concat();
    let mixed = [&other_groups[..2], &groups[2..]].concat();
    let of_sibling = [&sibling_groups[..2], &groups[2..]].concat();
    for (what, bytes) in [
        ("groups in another order", pack_of(pack, &turned, footer)),
        ("bodies exchanged", pack_of(pack, &bodies, footer)),
        ("frame headers exchanged", pack_of(pack, &frames, footer)),
        ("the salt of another pack", pack_of(second, &groups, footer)),
        ("a group of another pack", pack_of(pack, &mixed, footer)),
        ("a group of the other repository", pack_of(pack, &of_sibling, footer)),
        ("the salt of a pack of the other repository", pack_of(siblings, &groups, footer)),
    ] {
        let change = |objects: &mut Objects| drop(objects.insert(key.clone(), bytes.clone()));
        // The index says the salt too.
        let end = if what.contains("salt") { End::Exact } else { End::Refused(LOST) };
        family.add(what, end, change);
        family.add(format!("{what}, no index"), End::Refused(LOST), |objects| {
            change(objects);
            *objects = without_index(std::mem::take(objects));
        });
    }
    // A footer only lists: without it the groups are read.
    for (what, footer) in [("another pack", other_footer), ("the other repository", sibling_footer)]
    {
        let bytes = pack_of(pack, &groups, footer);
        family.add(format!("the footer of {what}"), End::Exact, |objects| {
            objects.insert(key.clone(), bytes.clone());
            *objects = without_index(std::mem::take(objects));
        });
    }
    family.cases
}

/// Whole objects in other places.
fn objects_in_other_places(world: &World) -> Vec<Case> {
    let mut family = Family { world, name: "objects in other places", cases: Vec::new() };
    let keys = packs(&world.now);
    let exchange = |objects: &mut Objects, one: &Key, other: &Key| {
        let (a, b) = (objects[one].clone(), objects[other].clone());
        objects.extend([(one.clone(), b), (other.clone(), a)]);
    };
    // A pack is known by its bytes: under another name nothing of it is lost, and only a scrub tells.
    family.add("packs exchanged", End::Exact, |objects| exchange(objects, &keys[0], &keys[1]));
    let index = segments(&world.now);
    family.add("segments exchanged", End::Exact, |objects| exchange(objects, &index[0], &index[1]));
    let (one, two) = (archive("one"), archive("two"));
    let both = |objects: &mut Objects| exchange(objects, &one, &two);
    family.add("archives exchanged", End::SaysItsName(&[]), both);
    family.add("an archive copied over another", End::SaysItsName(&[]), |objects| {
        objects.insert(two.clone(), objects[&one].clone());
    });
    family.add("an archive renamed", End::Refused(ABSENT), |objects| {
        let moved = objects.remove(&one).unwrap();
        objects.insert(archive("moved"), moved);
    });
    for (who, from) in [("the other repository", &world.sibling), ("a stranger", &world.stranger)] {
        let pack = &from[&packs(from)[0]];
        family.add(format!("a pack of {who}"), End::Refused(NO_PACK), |objects| {
            objects.insert(keys[0].clone(), pack.clone());
        });
        let all = |objects: &mut Objects| {
            objects.extend(packs(from).into_iter().map(|key| (key.clone(), from[&key].clone())));
        };
        family.add(format!("the packs of {who} beside ours"), End::Exact, |objects| {
            all(objects);
            *objects = without_index(std::mem::take(objects));
        });
        family.add(format!("the index of {who}"), End::Exact, |objects| {
            *objects = without_index(std::mem::take(objects));
            let keys = segments(from).into_iter();
            objects.extend(keys.map(|key| (key.clone(), from[&key].clone())));
        });
        family.add(format!("an archive of {who}"), End::Refused(BROKEN), |objects| {
            objects.insert(one.clone(), from[&one].clone());
        });
        family.add(format!("everything of {who} but config and keys"), End::Refused(BROKEN), |o| {
            let ours = |key: &Key| matches!(key, Key::Config | Key::Slot(_));
            o.retain(|key, _| ours(key));
            o.extend(
                from.iter().filter(|(key, _)| !ours(key)).map(|(k, b)| (k.clone(), b.clone())),
            );
        });
    }
    family.cases
}

/// Older states. What is gone is gone, as docs/security.md says; what is there is right.
fn older_states(world: &World) -> Vec<Case> {
    let mut family = Family { world, name: "older states", cases: Vec::new() };
    family.add("everything", End::Refused(ABSENT), |objects| *objects = world.before.clone());
    family.add("the index", End::Exact, |objects| {
        *objects = without_index(std::mem::take(objects));
        let keys = segments(&world.before).into_iter();
        objects.extend(keys.map(|key| (key.clone(), world.before[&key].clone())));
    });
    family.add("an archive less", End::Refused(ABSENT), |o| drop(o.remove(&archive("one"))));
    family.add("an archive that was deleted", End::Refused(NO_PACK), |objects| {
        let store = MemoryStore::from_objects(objects.clone());
        let opened = store.clone();
        let lab = world.lab.with_store(move || Box::new(opened.clone()));
        lab.delete("one").unwrap();
        lab.gc().unwrap();
        let back = objects[&archive("one")].clone();
        *objects = store.objects();
        objects.insert(archive("one"), back);
    });
    let old = &slots(&world.before)[0];
    // Who has a copy of an old slot and its passphrase keeps access.
    family.add("a key slot beside the new one", End::Exact, |objects| {
        objects.insert(old.clone(), world.before[old].clone());
    });
    family.add("a key slot", End::Exact, |objects| {
        slots(objects).iter().for_each(|key| drop(objects.remove(key)));
        objects.insert(old.clone(), world.before[old].clone());
    });
    family.cases
}

/// `config` and key slots that are altered so that their checksums fit, and those of others.
fn configs_and_slots(world: &World) -> Vec<Case> {
    let mut family = Family { world, name: "config and keys", cases: Vec::new() };
    let config = Config::decode(&world.now[&Key::Config]).unwrap();
    let id = RepositoryId::from_bytes(SIBLING);
    let none = Config { cipher: None, key_mode: KeyMode::None, ..config.clone() };
    let keyfile = Config { key_mode: KeyMode::Keyfile, ..config.clone() };
    let other = match config.cipher {
        Some(Cipher::Aes256Gcm) => Cipher::XChaCha20Poly1305,
        _ => Cipher::Aes256Gcm,
    };
    for (what, altered, texts) in [
        ("another id", Config { repository: id, ..config.clone() }, OTHER_KEY),
        ("larger chunks", Config { chunk_max: 1 << 19, ..config.clone() }, OTHER_KEY),
        ("another date", Config { created: 1, ..config.clone() }, OTHER_KEY),
        ("no encryption", none, BROKEN),
        ("a key file", keyfile, OTHER_KEY),
        ("another cipher", Config { cipher: Some(other), ..config.clone() }, OTHER_KEY),
        ("no cipher", Config { cipher: None, ..config.clone() }, OUT_OF_BOUNDS),
        ("no key", Config { key_mode: KeyMode::None, ..config.clone() }, OUT_OF_BOUNDS),
    ] {
        let bytes = altered.encode();
        family.add(what, End::Refused(texts), |o| drop(o.insert(Key::Config, bytes)));
    }
    let mut needs = config.clone();
    needs.features.read = 1;
    family.add(
        "a feature to read",
        End::Refused(&["features 0x1, which a newer garret knows"]),
        |o| {
            o.insert(Key::Config, needs.encode());
        },
    );
    let strange = slots(&world.stranger).remove(0);
    let slot = slots(&world.now).remove(0);
    family.add("the config of the other repository", End::Refused(OTHER_KEY), |objects| {
        objects.insert(Key::Config, world.sibling[&Key::Config].clone());
    });
    family.add("the slot of a stranger", End::Refused(OTHER_KEY), |objects| {
        objects.insert(slot.clone(), world.stranger[&strange].clone());
    });
    family.add("config and slot of a stranger", End::Refused(NOT_THE_KNOWN), |objects| {
        objects.insert(slot.clone(), world.stranger[&strange].clone());
        objects.insert(Key::Config, world.stranger[&Key::Config].clone());
    });
    // Of the slot: its id, the KDF, memory, salt, nonce, date, label, wrapped key, commitment.
    for (place, texts) in [
        (8, NOT_ITS_PASSPHRASE),
        (24, OTHER_KEY),
        (56, OTHER_KEY),
        (88, OUT_OF_BOUNDS),
        (92, NOT_ITS_PASSPHRASE),
        (104, NOT_ITS_PASSPHRASE),
        (136, NOT_ITS_PASSPHRASE),
        (160, NOT_ITS_PASSPHRASE),
        (168, OUT_OF_BOUNDS),
        (232, NOT_ITS_PASSPHRASE),
        (280, NOT_ITS_PASSPHRASE),
    ] {
        family.add(format!("byte {place} of the slot"), End::Refused(texts), |objects| {
            let bytes = objects.get_mut(&slot).unwrap();
            bytes[place] ^= 1;
            let checksum = *blake3::hash(&bytes[..312]).as_bytes();
            bytes[312..].copy_from_slice(&checksum[..8]);
        });
    }
    family.cases
}
