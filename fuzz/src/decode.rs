//! What the fuzz targets do with bytes, and the corpus test with every file of the corpora.
//!
//! In: any bytes. Promises checked: no decoder panics, and what one accepts it accepts as the only
//! encoding: encoding gives the same bytes again.

use garret_format::archive::{Archive, Item};
use garret_format::condemned::Condemned;
use garret_format::config::{Config, GROUP_LEN_MAX};
use garret_format::damage::DamageRecord;
use garret_format::index::{COPIES_MAX, Tables, encode_segment};
use garret_format::object::{Envelope, Kind};
use garret_format::pack::{
    Footer, Frame, decode_body, decode_pack_header, decode_trailer, encode_lens,
    encode_pack_header, encode_trailer,
};
use garret_format::paper::{GROUP_COUNT, PAPER_LEN, read_group, write};
use garret_format::recipe::{Node, Recipe};
use garret_format::seen::Seen;
use garret_format::slot::Slot;
use garret_format::tags::TagRecord;
use garret_format::tombstones::Tombstones;
use garret_format::verified::{decode_verified, encode_verified};
use garret_format::wire::{Reader, Writer};

/// A target: its name, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All that take bytes for an object, or a text for a key.
pub const TARGETS: [Target; 8] = [
    ("decode_config", config),
    ("decode_slot", slot),
    ("decode_pack", pack),
    ("decode_index", index),
    ("decode_recipe", recipe),
    ("decode_archive", archive),
    ("decode_records", records),
    ("read_paper", paper),
];

/// The file `config`.
pub fn config(bytes: &[u8]) {
    if let Ok(config) = Config::decode(bytes) {
        assert_eq!(config.encode(), bytes);
    }
}

/// A key slot.
pub fn slot(bytes: &[u8]) {
    if let Ok(slot) = Slot::decode(bytes) {
        assert_eq!(*slot.encode(), bytes);
    }
}

/// Every part of a pack: header, frame header alone and with a body, footer, trailer.
pub fn pack(bytes: &[u8]) {
    if let Ok((kind, salt)) = decode_pack_header(bytes) {
        assert_eq!(encode_pack_header(kind, &salt), bytes);
    }
    if let Ok(frame) = Frame::decode(bytes, GROUP_LEN_MAX) {
        assert_eq!(frame.encode(), bytes);
    }
    if let Some((head, body)) = bytes.split_at_checked(16)
        && let Ok(frame) = Frame::decode(head, GROUP_LEN_MAX)
        && let Ok((lens, compressed)) = decode_body(body, &frame)
    {
        let sum: u64 = lens.iter().map(|len| u64::from(*len)).sum();
        assert_eq!((lens.len(), sum), (frame.chunk_count as usize, u64::from(frame.plain_len)));
        assert_eq!([&encode_lens(&lens), compressed].concat(), body);
    }
    if let Ok(footer) = Footer::decode(bytes, GROUP_LEN_MAX) {
        assert_eq!(footer.encode(), bytes);
        assert!(footer.groups.iter().all(|group| group.sealed_len() >= 48));
    }
    for pack_len in [0, 31, 32, 1 << 20, u64::MAX] {
        if let Ok((at, len)) = decode_trailer(bytes, pack_len) {
            assert_eq!(encode_trailer(len), bytes);
            assert_eq!(at + u64::from(len) + 8, pack_len);
        }
    }
}

/// Envelopes, and what small ones hold: which packs are damaged, verified, condemned, what was deleted, what has
/// which tags, what a client saw.
pub fn records(bytes: &[u8]) {
    let records = [Kind::Damage, Kind::Verified, Kind::Condemned, Kind::Tombstones];
    let more = [Kind::Tags, Kind::Seen];
    for kind in records.into_iter().chain(more).chain([Kind::Index, Kind::Archive]) {
        if let Ok(envelope) = Envelope::decode(bytes, kind) {
            assert_eq!(envelope.encode(kind), bytes);
        }
    }
    if let Ok(record) = DamageRecord::decode(bytes) {
        assert_eq!(record.encode(), bytes);
    }
    if let Ok(record) = Condemned::decode(bytes) {
        assert_eq!(record.encode(), bytes);
    }
    if let Ok(rows) = decode_verified(bytes) {
        assert_eq!(encode_verified(&rows), bytes);
    }
    if let Ok(seen) = Seen::decode(bytes) {
        assert_eq!(seen.encode(), bytes);
    }
    if let Ok(record) = Tombstones::decode(bytes) {
        assert_eq!(record.encode(), bytes);
    }
    if let Ok(record) = TagRecord::decode(bytes) {
        assert_eq!(record.encode(), bytes);
    }
}

/// A group of a recovery key as somebody typed it, its number first: what is read is what a paper with it says, but for the
/// one character that was put right.
pub fn paper(bytes: &[u8]) {
    let Some((number, typed)) = bytes.split_first() else { return };
    let number = 1 + number % GROUP_COUNT as u8;
    let Ok(group) = read_group(number, &String::from_utf8_lossy(typed)) else { return };
    let mut whole = [0; PAPER_LEN];
    let at = usize::from(number - 1) * group.bytes.len();
    whole[at..at + group.bytes.len()].copy_from_slice(&*group.bytes);
    let text = write(&whole);
    let line = text.lines().nth(usize::from(number - 1)).and_then(|line| line.split_once(": "));
    let again = read_group(number, line.unwrap_or_default().1);
    assert!(again.is_ok_and(|again| again.bytes == group.bytes && again.corrected.is_none()));
}

/// Tables, as a client's file has them (unchecked rows) and as a segment (checked).
pub fn index(bytes: &[u8]) {
    if let Ok((tables, _)) = Tables::open(bytes) {
        for record in tables.records() {
            let _ = tables.group(record.group).and_then(|group| tables.pack(group.pack));
        }
    }
    if let Ok(tables) = Tables::decode(bytes, GROUP_LEN_MAX) {
        let (packs, groups): (Vec<_>, Vec<_>) =
            (tables.packs().collect(), tables.groups().collect());
        let records: Vec<_> = tables.records().collect();
        assert_eq!(encode_segment(&packs, &groups, &records), bytes);
        for (place, record) in records.iter().enumerate() {
            assert_eq!(tables.record(place as u64), Some(*record));
        }
        assert!(records.chunk_by(|a, b| a.id == b.id).all(|copies| copies.len() <= COPIES_MAX));
    }
}

/// A node; and a recipe as items have it, whatever follows.
pub fn recipe(bytes: &[u8]) {
    if let Ok(node) = Node::decode(bytes) {
        assert_eq!(node.encode(), bytes);
        assert!(node.span().is_some());
    }
    let mut reader = Reader::new(bytes, "recipe");
    if let Ok(recipe) = Recipe::read(&mut reader) {
        let mut writer = Writer::default();
        recipe.write(&mut writer);
        assert!(bytes.starts_with(writer.as_bytes()));
        assert_eq!(writer.as_bytes().len() as u64, reader.offset());
    }
}

/// An archive, and an item record.
pub fn archive(bytes: &[u8]) {
    if let Ok(archive) = Archive::decode(bytes) {
        assert_eq!(archive.encode(), bytes);
    }
    if let Ok(item) = Item::decode(bytes) {
        assert_eq!(item.encode().split_at(4).1, bytes);
    }
}
