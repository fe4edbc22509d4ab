//! The objects that the samples of docs/format.md show, and checks of those that no decoder of crate
//! `format` reads whole.

#![allow(clippy::unwrap_used, reason = "test code, but outside of test functions")]

use std::collections::BTreeSet;

use garret_format::archive::{Archive, Content, Device, Identity, Item, ItemKind, Side, Time};
use garret_format::condemned::Condemned;
use garret_format::config::{Cipher, Config, Features, GROUP_LEN_MAX, KeyMode};
use garret_format::damage::DamageRecord;
use garret_format::index::{Counts, GroupRow, PackRow, Record, Tables, encode_segment};
use garret_format::object::{Envelope, Kind};
use garret_format::pack::{
    Codec, Footer, FooterGroup, Frame, PackKind, SEALED_FRAME_LEN, decode_pack_header,
    decode_trailer, encode_lens, encode_pack_header, encode_trailer,
};
use garret_format::recipe::{Child, CutterKind, Entry, Node, Recipe};
use garret_format::seen::{Deletions, Seen, SeenArchive};
use garret_format::slot::{Kdf, Label, Slot};
use garret_format::tags::TagRecord;
use garret_format::tombstones::{Removal, Tombstone, Tombstones};
use garret_format::verified::{VerifiedPack, short_id};
use garret_format::{ArchiveHash, ArchiveId, ChunkId, PackId, RepositoryId, SegmentId, SlotId};

/// The id of a chunk in an unencrypted repository.
pub(super) fn id_of(content: &[u8]) -> ChunkId {
    ChunkId::from_bytes(*blake3::hash(content).as_bytes())
}

pub(super) const REPOSITORY: RepositoryId = RepositoryId::from_bytes([0x11; 32]);
pub(super) const SALT: [u8; 16] = [0x55; 16];

/// What follows from the master key 00 01 02 .. 1f.
pub(super) fn derived_keys() -> Vec<u8> {
    let master: [u8; 32] = std::array::from_fn(|place| place as u8);
    let derive = |context| blake3::derive_key(context, &master);
    let chunker = derive("garret v1 chunker");
    let (mut page, mut table) = ([0; 16], [0; 32]);
    blake3::Hasher::new_derive_key("garret v1 chunker page")
        .update(&chunker)
        .finalize_xof()
        .fill(&mut page);
    blake3::Hasher::new_derive_key("garret v1 gear table")
        .update(&chunker)
        .update(&0u32.to_le_bytes())
        .finalize_xof()
        .fill(&mut table);
    let mut keys = derive("garret v1 chunk id").to_vec();
    keys.extend(chunker);
    keys.extend(page);
    keys.extend(table);
    keys.extend(derive("garret v1 pack data"));
    keys.extend(derive("garret v1 metadata"));
    keys.extend(derive("garret v1 client state"));
    keys
}

pub(super) fn config() -> Config {
    Config {
        repository: REPOSITORY,
        features: Features::default(),
        cipher: Some(Cipher::XChaCha20Poly1305),
        key_mode: KeyMode::Passphrase,
        chunk_min: 16 << 10,
        chunk_target: 64 << 10,
        chunk_max: 256 << 10,
        group_len: 1 << 20,
        pack_len: 32 << 20,
        created: 1_795_392_000,
    }
}

pub(super) fn slot() -> Slot {
    Slot {
        id: SlotId::from_bytes([0x22; 16]),
        repository: REPOSITORY,
        config_hash: *blake3::hash(&config().encode()).as_bytes(),
        kdf: Kdf::Argon2id { memory_kib: 256 << 10, passes: 3, lanes: 4 },
        salt: [0x33; 32],
        nonce: [0x44; 24],
        created: 1_795_392_000,
        label: Label::new("laptop").unwrap(),
        wrapped: [0x77; 48],
        commitment: [0x88; 32],
    }
}

pub(super) fn frame() -> Frame {
    Frame { body_len: 19, plain_len: 11, chunk_count: 2, codec: Codec::None, effort: 0 }
}

pub(super) fn body() -> Vec<u8> {
    let mut body = encode_lens(&[6, 5]);
    body.extend(b"hello world");
    body
}

pub(super) fn footer() -> Footer {
    let chunks = vec![(id_of(b"hello "), 6), (id_of(b"world"), 5)];
    Footer { groups: vec![FooterGroup { body_len: 19, effort: 0, chunks }] }
}

/// The tag of a box in an unencrypted repository, as docs/format.md, "Boxes", describes it.
pub(super) fn plain_tag(nonce: &[u8; 24], content: u8, place: &[u8], bytes: &[u8]) -> [u8; 16] {
    let mut bound = vec![content, 1];
    bound.extend(REPOSITORY.as_bytes());
    bound.extend(place);
    let mut tag = [0; 16];
    blake3::Hasher::new_derive_key("garret v1 unencrypted box")
        .update(nonce)
        .update(&(bound.len() as u64).to_le_bytes())
        .update(&bound)
        .update(bytes)
        .finalize_xof()
        .fill(&mut tag);
    tag
}

pub(super) fn nonce(counter: u64) -> [u8; 24] {
    let mut nonce = [0; 24];
    let (salt, last) = nonce.split_at_mut(16);
    salt.copy_from_slice(&SALT);
    last.copy_from_slice(&counter.to_le_bytes());
    nonce
}

/// A whole pack of an unencrypted repository.
pub(super) fn pack() -> Vec<u8> {
    let mut pack = encode_pack_header(PackKind::Data, &SALT).to_vec();
    let frame = frame().encode();
    for (content, place, bytes) in [
        (b'h', &[][..], frame.to_vec()),
        (b'g', &frame[..], body()),
        (b'f', &b"P"[..], footer().encode()),
    ] {
        let tag = plain_tag(&nonce(pack.len() as u64), content, place, &bytes);
        pack.extend(bytes);
        pack.extend(tag);
    }
    pack.extend(encode_trailer(footer().encode().len() as u32 + 16));
    pack
}

pub(super) fn check_pack(bytes: &[u8]) {
    let (header, rest) = bytes.split_at(24);
    assert_eq!(decode_pack_header(header), Ok((PackKind::Data, SALT)));
    let (frame_bytes, rest) = rest.split_at(SEALED_FRAME_LEN);
    assert_eq!(Frame::decode(&frame_bytes[..16], GROUP_LEN_MAX), Ok(frame()));
    let (group, _) = rest.split_at(19 + 16);
    assert_eq!(group[..19], body());
    let trailer = &bytes[bytes.len() - 8..];
    let (footer_at, footer_len) = decode_trailer(trailer, bytes.len() as u64).unwrap();
    assert_eq!((footer_at, footer_len), (91, 101));
    assert_eq!(Footer::decode(&bytes[91..176], GROUP_LEN_MAX), Ok(footer()));
    assert_eq!(bytes, pack());
}

pub(super) fn pack_row() -> PackRow {
    let pack = pack();
    let id = PackId::from_bytes(*blake3::hash(&pack).as_bytes());
    PackRow { id, salt: SALT, len: pack.len() as u32, kind: PackKind::Data }
}

pub(super) fn group_row() -> GroupRow {
    let Frame { plain_len, effort, .. } = frame();
    GroupRow { pack: 0, offset: 24, sealed_len: frame().sealed_len() as u32, plain_len, effort }
}

pub(super) fn records() -> Vec<Record> {
    let mut records = vec![
        Record { id: id_of(b"hello "), group: 0, offset: 0, len: 6 },
        Record { id: id_of(b"world"), group: 0, offset: 6, len: 5 },
    ];
    records.sort_by_key(|record| record.id);
    records
}

pub(super) fn tables() -> Vec<u8> {
    encode_segment(&[pack_row()], &[group_row()], &records())
}

pub(super) fn segment() -> Envelope {
    let mut sealed = tables();
    let tag = plain_tag(&nonce(0), b'I', &[], &sealed);
    sealed.extend(tag);
    Envelope { nonce: nonce(0), sealed }
}

pub(super) fn damage() -> DamageRecord {
    let found = Time { secs: 1_795_456_800, nanos: 0 };
    DamageRecord { pack: pack_row().id, found, what: "the seal is broken".to_owned() }
}

pub(super) fn verified() -> Vec<VerifiedPack> {
    let other = VerifiedPack { pack: *b"another ", day: 20_780 };
    vec![other, VerifiedPack { pack: short_id(&pack_row().id), day: 20_783 }]
}

pub(super) fn condemned() -> Condemned {
    Condemned { epoch: 3, packs: vec![(PackId::from_bytes([0xab; 32]), 2), (pack_row().id, 3)] }
}

pub(super) fn tombstones() -> Tombstones {
    let rows = [
        (Removal::Deleted, *b"an archive's id:"),
        (Removal::Missed, *b"another's id:   "),
        (Removal::Packs, *b"packs were freed"),
    ];
    let row = |(removal, id)| Tombstone { removal, id: ArchiveId::from_bytes(id) };
    Tombstones { dropped: 1, head: [0x99; 32], rows: rows.map(row).to_vec() }
}

pub(super) fn tags() -> TagRecord {
    let words = ["golden", "kernel-6.12"].map(str::to_owned);
    let archive = ArchiveHash::from_bytes(*b"the hash of the archive's file..");
    TagRecord { archive, protected: true, tags: BTreeSet::from(words) }
}

pub(super) fn seen() -> Seen {
    let id = ArchiveId::from_bytes(*b"an archive's id:");
    let name = "2026-11-23/vm".to_owned();
    let archive = SeenArchive { id, name, len: 400, end: 1_795_392_007, is_told: false };
    let deletions = Deletions { count: 3, head: [0x99; 32] };
    Seen { deletions, packs: vec![short_id(&pack_row().id)], archives: vec![archive] }
}

pub(super) fn segment_id() -> SegmentId {
    SegmentId::from_bytes(*blake3::hash(&segment().encode(Kind::Index)).as_bytes())
}

pub(super) fn local_index() -> Vec<u8> {
    let mut bytes = Kind::LocalIndex.header().to_vec();
    bytes.extend(REPOSITORY.as_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(segment_id().as_bytes());
    bytes.extend(tables());
    bytes.extend(0u32.to_le_bytes());
    bytes.extend(2u32.to_le_bytes());
    records().iter().zip(0u32..).for_each(|(record, row)| {
        bytes.extend(&record.id.as_bytes()[..6]);
        bytes.extend(row.to_le_bytes());
    });
    bytes
}

pub(super) fn check_local_index(bytes: &[u8]) {
    let (found, prefixes) = Tables::open(&bytes[76..]).unwrap();
    assert_eq!(found.counts(), Counts { packs: 1, groups: 1, chunks: 2 });
    assert_eq!(found.records().collect::<Vec<_>>(), records());
    let (fan_out, entries) = prefixes.split_at(8);
    assert_eq!(fan_out, [0, 0, 0, 0, 2, 0, 0, 0]);
    for (entry, (record, row)) in entries.chunks(10).zip(records().iter().zip(0u32..)) {
        assert_eq!(entry[..6], record.id.as_bytes()[..6]);
        assert_eq!(entry[6..], row.to_le_bytes());
    }
}

pub(super) fn leaf() -> Node {
    Node::Leaf(vec![
        Entry::Chunk { id: id_of(b"hello "), len: 6 },
        Entry::Zero { len: 1 << 20 },
        Entry::Chunk { id: id_of(b"world"), len: 5 },
    ])
}

pub(super) fn inner() -> Node {
    let child = Child { id: id_of(&leaf().encode()), span: leaf().span().unwrap() };
    Node::Inner { level: 1, children: vec![child] }
}

pub(super) fn allocation() -> Vec<u8> {
    let mut map = garret_image::AllocationMap::new();
    let hole_len = (1 << 20) - 4096;
    map.push(garret_image::Extent::Data { offset: 0, len: 4096 });
    map.push(garret_image::Extent::Hole { offset: 4096, len: hole_len });
    map.push(garret_image::Extent::Data { offset: 4096 + hole_len, len: 11 });
    map.encode()
}

/// Two clusters of 64 KiB, in the file the other way round, behind a header of one.
pub(super) fn layout() -> garret_image::Layout {
    let cluster = 1 << 16;
    let piece = |offset, file_offset| garret_image::Piece {
        offset,
        file_offset: file_offset * cluster,
        len: cluster,
    };
    let lens = garret_image::Lens { file: 3 * cluster, guest: 1 << 20 };
    garret_image::Layout::new(lens, [piece(0, 2), piece(8 * cluster, 1)]).unwrap()
}

pub(super) fn item() -> Item {
    let recipe = Recipe { cutter: CutterKind::Page, root: leaf() };
    Item {
        path: b"vm/disk.img".to_vec(),
        kind: ItemKind::File(Content {
            recipe,
            layout: Side::Inline(Vec::new()),
            allocation: Side::Inline(allocation()),
            unreadable: std::iter::once(0..512).collect(),
        }),
        mode: 0o640,
        uid: 107,
        gid: 107,
        user: "qemu".to_owned(),
        group: "qemu".to_owned(),
        size: (1 << 20) + 11,
        mtime: Time { secs: 1_795_391_000, nanos: 500_000_000 },
        identity: Identity {
            inode: 131_074,
            ctime: Time { secs: 1_795_391_000, nanos: 500_000_001 },
        },
        flags: 0x40,
        xattrs: vec![(b"user.note".to_vec(), b"golden".to_vec())],
        changed: false,
        linked: true,
        followed: false,
    }
}

/// Another name of that file.
pub(super) fn hard_link() -> Item {
    Item {
        path: b"vm/same.img".to_vec(),
        kind: ItemKind::HardLink(item().path),
        size: 0,
        flags: 0,
        xattrs: Vec::new(),
        linked: false,
        followed: false,
        ..item()
    }
}

/// A node of /dev.
pub(super) fn device() -> Item {
    Item {
        path: b"dev/sda".to_vec(),
        kind: ItemKind::BlockDevice(Device { major: 8, minor: 0 }),
        mode: 0o660,
        uid: 0,
        gid: 6,
        user: "root".to_owned(),
        group: "disk".to_owned(),
        ..hard_link()
    }
}

pub(super) fn archive() -> Archive {
    let items = item().encode();
    let entry = Entry::Chunk { id: id_of(&items), len: items.len() as u32 };
    let items = Recipe { cutter: CutterKind::Fastcdc, root: Node::Leaf(vec![entry]) };
    Archive {
        start: Time { secs: 1_795_392_000, nanos: 0 },
        end: Time { secs: 1_795_392_007, nanos: 250_000_000 },
        host: "node".to_owned(),
        user: "root".to_owned(),
        command: ["garret", "create", "/r::2026-11-23/vm"].map(|text| text.into()).to_vec(),
        sources: vec![b"/srv/vm".to_vec()],
        comment: "before 12.3".to_owned(),
        tags: BTreeSet::from(["golden".to_owned()]),
        original_len: (1 << 20) + 11,
        file_count: 1,
        problem_count: 1,
        problems: vec!["/srv/vm/b: cannot read".to_owned()],
        read_len: 1 << 20,
        new_len: 4096,
        stored_len: 1234,
        ..Archive::new("2026-11-23/vm", items)
    }
}
