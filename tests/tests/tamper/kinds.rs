//! Objects and boxes of one kind in the place of another, and in versions that are not ours.

use garret_core::Key;
use garret_format::SegmentId;
use garret_format::object::{Envelope, Kind, NONCE_LEN, VERSION};
use garret_format::pack::encode_trailer;

use super::places::{BROKEN, NO_PACK};
use super::{Case, End, Family, Objects, World, archive, packs, segments, slots, without_index};

const NO_CONFIG: &[&str] = &[
    "its file config is not garret's",
    "are more than the 4096 it may have",
    "does not match its checksum",
    "ends too early",
    "has bytes after its end",
];
const NO_SLOT: &[&str] = &[
    "does not begin as it should",
    "are more than the 4096 it may have",
    "holds a value out of bounds",
    "ends too early",
];
const OTHER_KIND: &[&str] = &["does not begin as it should"];
const NEWER: &[&str] = &["which a newer garret wrote"];

pub(super) fn cases(world: &World) -> Vec<Case> {
    [objects_of_another_kind(world), boxes_of_another_kind(world), other_versions(world)].concat()
}

/// One object of each kind, by its name.
fn one_of_each(world: &World) -> [(Kind, Key); 5] {
    let objects = &world.now;
    [
        (Kind::Config, Key::Config),
        (Kind::Slot, slots(objects).remove(0)),
        (Kind::Pack, packs(objects).remove(0)),
        (Kind::Index, segments(objects).remove(0)),
        (Kind::Archive, archive("one")),
    ]
}

/// Puts bytes in the place of an object; a segment under the name that is right for them, so that more than that is
/// looked at.
fn put(objects: &mut Objects, key: &Key, bytes: Vec<u8>) {
    objects.remove(key);
    let key = match key {
        Key::Index(_) => Key::Index(SegmentId::from_bytes(*blake3::hash(&bytes).as_bytes())),
        key => key.clone(),
    };
    objects.insert(key, bytes);
}

/// How it ends when an object of this kind is another thing: an index is made again, all else is needed.
fn end_without(kind: Kind, archive: End) -> End {
    match kind {
        Kind::Config => End::Refused(NO_CONFIG),
        Kind::Slot => End::Refused(NO_SLOT),
        Kind::Pack | Kind::StructurePack => End::Refused(NO_PACK),
        Kind::Index | Kind::LocalIndex | Kind::Seen | Kind::Cold => End::Exact,
        Kind::Damage | Kind::Verified | Kind::Condemned | Kind::Tombstones | Kind::Tags => {
            End::Exact
        }
        Kind::Archive => archive,
    }
}

/// Every kind of object as every other: as it is, and with the first bytes of what it is to pass for.
fn objects_of_another_kind(world: &World) -> Vec<Case> {
    let mut family = Family { world, name: "objects of another kind", cases: Vec::new() };
    let all = one_of_each(world);
    for (wanted, key) in &all {
        for (given, from) in all.iter().filter(|(given, _)| given != wanted) {
            let bytes = world.now[from].clone();
            let mut dressed = bytes.clone();
            dressed[..8].copy_from_slice(&wanted.header());
            let what = format!("{} as {}", given.name(), wanted.name());
            let end = end_without(*wanted, End::Refused(OTHER_KIND));
            family.add(&what, end, |objects| put(objects, key, bytes));
            let end = end_without(*wanted, End::Refused(BROKEN));
            family.add(format!("{what}, dressed up"), end, |objects| put(objects, key, dressed));
        }
    }
    family.cases
}

/// Boxes with the very nonce that they were sealed under, offered as what they are not.
fn boxes_of_another_kind(world: &World) -> Vec<Case> {
    let mut family = Family { world, name: "boxes of another kind", cases: Vec::new() };
    let key = packs(&world.now).remove(0);
    let pack = &world.now[&key];
    let boxes = world.forge.boxes(pack).unwrap();
    let segment = segments(&world.now).remove(0);
    let Key::Pack(id) = key else { unreachable!("packs gives packs") };
    let damage = Key::Damage(id);
    let envelope = |key: &Key, kind| Envelope::decode(&world.now[key], kind).unwrap();
    let mut offered: Vec<(String, [u8; NONCE_LEN], Vec<u8>)> = vec![(
        "I".to_owned(),
        envelope(&segment, Kind::Index).nonce,
        envelope(&segment, Kind::Index).sealed,
    )];
    let one = envelope(&archive("one"), Kind::Archive);
    offered.push(("A".to_owned(), one.nonce, one.sealed));
    for one in [&boxes[0], &boxes[1], boxes.last().unwrap()] {
        let name = char::from(one.content).to_string();
        offered.push((name, one.nonce, pack[one.range.clone()].to_vec()));
    }
    for (name, nonce, sealed) in offered {
        for (kind, key, end) in [
            (Kind::Archive, archive("one"), End::Refused(BROKEN)),
            (Kind::Index, segment.clone(), End::Exact),
            (Kind::Damage, damage.clone(), End::Exact),
            (Kind::Verified, Key::Verified, End::Exact),
            (Kind::Condemned, Key::Condemned, End::Exact),
            (Kind::Tombstones, Key::Tombstones, End::Exact),
        ] {
            if name != char::from(kind as u8).to_string() {
                let bytes = Envelope { nonce, sealed: sealed.clone() }.encode(kind);
                family.add(format!("{name} as {}", kind.name()), end, |o| put(o, &key, bytes));
            }
        }
    }
    // A pack that ends behind the box, which is where its footer would be: so the nonce is right. Without a footer groups are
    // read, and behind the last one all are there.
    let last = boxes.len() - 2;
    for (number, one) in boxes[..=last].iter().enumerate() {
        let trailer = encode_trailer(one.range.len() as u32);
        let bytes = [&pack[..one.range.end], &trailer].concat();
        let what = format!("{} at {} as f", char::from(one.content), one.range.start);
        let end = if number == last { End::Exact } else { End::Refused(NO_PACK) };
        family.add(what, end, |objects| {
            objects.insert(key.clone(), bytes);
            *objects = without_index(std::mem::take(objects));
        });
    }
    family.cases
}

/// The version in the header, which is not sealed: what is not ours to read is said to be a newer garret's.
fn other_versions(world: &World) -> Vec<Case> {
    let mut family = Family { world, name: "other versions", cases: Vec::new() };
    for (kind, key) in one_of_each(world) {
        for version in [0, VERSION + 1, u8::MAX] {
            let mut bytes = world.now[&key].clone();
            bytes[7] = version;
            let what = format!("{} of version {version}", kind.name());
            // The boxes say that nothing but that byte is of another version.
            let end = match kind {
                Kind::Pack | Kind::Index => End::Exact,
                Kind::Archive => End::Refused(&["the version in its first bytes is damaged"]),
                _ => End::Refused(NEWER),
            };
            family.add(&what, end, |objects| put(objects, &key, bytes.clone()));
            if kind == Kind::Pack {
                family.add(format!("{what}, no index"), End::Exact, |objects| {
                    put(objects, &key, bytes.clone());
                    *objects = without_index(std::mem::take(objects));
                });
            }
            // A box that does not open as one of ours: what a newer garret wrote is left alone.
            if let Some(byte) = bytes.iter_mut().rev().nth(9) {
                *byte ^= 1;
            }
            if matches!(kind, Kind::Index | Kind::Archive) {
                let what = format!("{what}, sealed for it");
                family.add(what, End::Refused(NEWER), |objects| put(objects, &key, bytes));
            }
        }
    }
    family.cases
}
