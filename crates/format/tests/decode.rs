//! What every decoder promises, on random objects and random bytes: what is encoded decodes to the
//! same; what is cut off, continued, or (where there is a checksum) altered is refused; nothing
//! panics. How much hostile counts make a decoder allocate is in `allocation.rs`.

#![allow(clippy::unwrap_used, reason = "test code, but outside of test functions")]

mod common;
#[path = "../../../fuzz/src/decode.rs"]
mod decode;

use common::samples;
use garret_format::archive::{
    Archive, Content, Device, FLAGS, Identity, Item, ItemKind, Side, Time,
};
use garret_format::config::{Cipher, Config, Features, GROUP_LEN_MAX, KeyMode};
use garret_format::index::{GroupRow, PackRow, Record, Tables, encode_segment};
use garret_format::object::{Envelope, Kind};
use garret_format::pack::{
    Codec, EFFORT_MAX, FOOTER_LEN_MAX, Footer, FooterGroup, Frame, PackKind, decode_body,
    decode_pack_header, decode_trailer, encode_lens, encode_pack_header, encode_trailer,
};
use garret_format::recipe::{Child, CutterKind, Entry, Node, Recipe};
use garret_format::slot::{Kdf, Label, Slot};
use garret_format::{ChunkId, DecodeError, PackId, RepositoryId, SlotId};
use proptest::collection::vec;
use proptest::prelude::*;

fn config() -> impl Strategy<Value = Config> {
    let sizes = (1..=256u32, 1..=256u32, 1..=256u32, 0..=15u32 << 20, 0..=1u32 << 29);
    (any::<[u8; 32]>(), any::<(u32, u32)>(), (0..3u8, any::<bool>()), sizes, any::<i64>()).prop_map(
        |(id, (write, delete), (mode, is_aes), (a, b, c, group, pack), created)| {
            let mut pages = [a, b, c];
            pages.sort_unstable();
            let [chunk_min, chunk_target, chunk_max] = pages.map(|pages| pages * 4096);
            let cipher = if is_aes { Cipher::Aes256Gcm } else { Cipher::XChaCha20Poly1305 };
            Config {
                repository: RepositoryId::from_bytes(id),
                features: Features { read: 0, write, delete },
                cipher: (mode != 0).then_some(cipher),
                key_mode: [KeyMode::None, KeyMode::Passphrase, KeyMode::Keyfile][usize::from(mode)],
                chunk_min,
                chunk_target,
                chunk_max,
                group_len: chunk_max + group,
                pack_len: chunk_max + group + pack,
                created,
            }
        },
    )
}

fn slot() -> impl Strategy<Value = Slot> {
    let kdf = prop_oneof![
        Just(Kdf::Blank),
        (1..=4u32, 1..=64u32, 0..=1_000_000u32).prop_map(|(passes, lanes, memory)| {
            Kdf::Argon2id { memory_kib: 8 * lanes + memory, passes, lanes }
        }),
    ];
    let arrays = any::<([u8; 16], [u8; 32], [u8; 32], [u8; 32], [u8; 24], [u8; 32])>();
    let label = "[a-z \u{e9}]{0,20}".prop_map(|text| Label::new(&text).unwrap());
    let words = (any::<i64>(), label);
    (kdf, arrays, words, vec(any::<u8>(), 48)).prop_map(
        |(kdf, arrays, (created, label), wrapped)| {
            let (id, repository, config_hash, salt, nonce, commitment) = arrays;
            Slot {
                id: SlotId::from_bytes(id),
                repository: RepositoryId::from_bytes(repository),
                config_hash,
                kdf,
                salt,
                nonce,
                created,
                label,
                wrapped: wrapped.try_into().unwrap(),
                commitment,
            }
        },
    )
}

fn chunk_id() -> impl Strategy<Value = ChunkId> {
    any::<[u8; 32]>().prop_map(ChunkId::from_bytes)
}

/// Lengths of chunks, the opened frame header, and the body.
fn group() -> impl Strategy<Value = (Vec<u32>, Frame, Vec<u8>)> {
    let codecs = [Codec::None, Codec::Zstd, Codec::Lz4, Codec::Lzma];
    let how = (prop::sample::select(codecs.to_vec()), 0..=EFFORT_MAX);
    (vec(1..300_000u32, 1..40), how, vec(any::<u8>(), 0..500)).prop_map(
        |(lens, (codec, effort), compressed)| {
            let mut body = encode_lens(&lens);
            body.extend(compressed);
            let frame = Frame {
                body_len: body.len() as u32,
                plain_len: lens.iter().sum(),
                chunk_count: lens.len() as u32,
                codec,
                effort,
            };
            (lens, frame, body)
        },
    )
}

fn footer() -> impl Strategy<Value = Footer> {
    let group = (any::<u32>(), 0..=EFFORT_MAX, vec((chunk_id(), 1..400_000u32), 1..20))
        .prop_map(|(body_len, effort, chunks)| FooterGroup { body_len, effort, chunks });
    vec(group, 0..6).prop_map(|groups| Footer { groups })
}

fn pack_kind() -> impl Strategy<Value = PackKind> {
    prop_oneof![Just(PackKind::Data), Just(PackKind::Structure)]
}

type Rows = (Vec<PackRow>, Vec<GroupRow>, Vec<Record>);

fn rows() -> impl Strategy<Value = Rows> {
    let pack =
        (any::<([u8; 32], [u8; 16], u32)>(), pack_kind()).prop_map(|((id, salt, len), kind)| {
            PackRow { id: PackId::from_bytes(id), salt, len, kind }
        });
    let group = (any::<(prop::sample::Index, u32, u32)>(), 0..=EFFORT_MAX);
    let record = (chunk_id(), any::<prop::sample::Index>(), 0..1000u32, 1..1000u32);
    (vec(pack, 1..4), vec(group, 1..8), prop::collection::vec(record, 0..60)).prop_map(
        |(packs, groups, records)| {
            let groups: Vec<GroupRow> = groups
                .into_iter()
                .map(|((row, offset, len), effort)| {
                    let pack = row.index(packs.len());
                    let offset = offset.min(packs[pack].len);
                    let sealed_len = len.min(packs[pack].len - offset);
                    GroupRow { pack: pack as u32, offset, sealed_len, plain_len: 2000, effort }
                })
                .collect();
            let mut records: Vec<Record> = records
                .into_iter()
                .map(|(id, group, offset, len)| {
                    let group = group.index(groups.len()) as u32;
                    Record { id, group, offset, len }
                })
                .collect();
            records.sort_by_key(|record| record.id);
            records.dedup_by_key(|record| record.id);
            (packs, groups, records)
        },
    )
}

fn node() -> impl Strategy<Value = Node> {
    let entry = prop_oneof![
        (chunk_id(), 1..=1u32 << 20).prop_map(|(id, len)| Entry::Chunk { id, len }),
        (1..1u64 << 50).prop_map(|len| Entry::Zero { len }),
    ];
    let child = (chunk_id(), 1..1u64 << 50).prop_map(|(id, span)| Child { id, span });
    prop_oneof![
        vec(entry, 0..40).prop_map(Node::Leaf),
        (1..=16u8, vec(child, 0..40)).prop_map(|(level, children)| Node::Inner { level, children }),
    ]
}

fn recipe() -> impl Strategy<Value = Recipe> {
    let cutter = prop_oneof![Just(CutterKind::Page), Just(CutterKind::Fastcdc)];
    (cutter, node()).prop_map(|(cutter, root)| Recipe { cutter, root })
}

fn time() -> impl Strategy<Value = Time> {
    (any::<i64>(), 0..1_000_000_000u32).prop_map(|(secs, nanos)| Time { secs, nanos })
}

fn archive() -> impl Strategy<Value = Archive> {
    let list = || vec(vec(any::<u8>(), 0..30), 0..5);
    let tags = prop::collection::btree_set("[a-z:\u{e4}-]{1,20}", 0..5);
    let texts = (".{0,40}", ".{0,40}", ".{0,40}", (".{0,40}", tags), list(), list());
    (texts, time(), time(), any::<[u64; 6]>(), recipe()).prop_map(
        |((name, host, user, (comment, tags), command, sources), start, end, counts, items)| {
            Archive {
                start,
                end,
                host,
                user,
                command,
                sources,
                comment,
                tags,
                original_len: counts[0],
                file_count: counts[1],
                problem_count: counts[2],
                problems: vec!["disk.img: cannot read".to_owned(); counts[2].min(3) as usize],
                read_len: counts[3],
                new_len: counts[4],
                stored_len: counts[5],
                ..Archive::new(name, items)
            }
        },
    )
}

fn item() -> impl Strategy<Value = Item> {
    let side = || {
        prop_oneof![
            vec(any::<u8>(), 0..100).prop_map(Side::Inline),
            recipe().prop_map(Side::Stream),
        ]
    };
    let content = (recipe(), side(), side()).prop_map(|(recipe, layout, allocation)| Content {
        recipe,
        layout,
        allocation,
        unreadable: Vec::new(),
    });
    let path = || "[a-z]{1,9}(/[a-z .]{3,9}){0,3}";
    let device =
        || (0..1u32 << 12, 0..1u32 << 20).prop_map(|(major, minor)| Device { major, minor });
    let kind = prop_oneof![
        content.prop_map(ItemKind::File),
        Just(ItemKind::Directory),
        vec(any::<u8>(), 0..100).prop_map(ItemKind::Symlink),
        path().prop_map(|first| ItemKind::HardLink(first.into_bytes())),
        Just(ItemKind::Fifo),
        device().prop_map(ItemKind::BlockDevice),
        device().prop_map(ItemKind::CharacterDevice),
    ];
    let xattrs = prop::collection::btree_map(vec(1..=255u8, 1..20), vec(any::<u8>(), 0..50), 0..4);
    let xattrs = xattrs.prop_map(|xattrs| xattrs.into_iter().collect::<Vec<_>>());
    let numbers = (0..=0o7777u32, any::<(u32, u32, u64, u64, u32, bool, bool, bool)>());
    (path(), kind, numbers, ".{0,20}", ".{0,20}", time(), time(), xattrs).prop_map(
        |(path, mut kind, (mode, numbers), user, group, mtime, ctime, xattrs)| {
            let (uid, gid, inode, size, flags, changed, linked, followed) = numbers;
            let size = match &kind {
                ItemKind::File(content) if content.layout.is_empty() => content.recipe.len(),
                ItemKind::File(_) => size >> 1,
                _ => 0,
            };
            if let ItemKind::File(content) = &mut kind
                && size > 4
            {
                content.unreadable.extend([0..1, size / 2..size]);
            }
            let flags = flags & FLAGS;
            let (path, identity) = (path.into_bytes(), Identity { inode, ctime });
            Item {
                path,
                kind,
                mode,
                uid,
                gid,
                user,
                group,
                size,
                mtime,
                identity,
                flags,
                xattrs,
                changed,
                linked,
                followed,
            }
        },
    )
}

/// Asserts that every proper prefix is refused, and every continuation.
fn only_whole<T>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, DecodeError>) {
    for len in 0..bytes.len() {
        assert!(decode(&bytes[..len]).is_err(), "the first {len} of {} bytes", bytes.len());
    }
    for more in [0, 1, 0xff] {
        assert!(decode(&[bytes, &[more]].concat()).is_err(), "followed by {more}");
    }
}

/// Asserts that no byte can be any other.
fn only_unaltered<T>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, DecodeError>) {
    for place in 0..bytes.len() {
        for mask in [1, 0x80, 0xff] {
            let mut altered = bytes.to_vec();
            altered[place] ^= mask;
            assert!(decode(&altered).is_err(), "byte {place} with {mask:#x} flipped");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn config_round_trips_and_nothing_near_it_decodes(config in config()) {
        let bytes = config.encode();
        prop_assert_eq!(Config::decode(&bytes), Ok(config));
        only_whole(&bytes, Config::decode);
        only_unaltered(&bytes, Config::decode);
    }

    #[test]
    fn a_slot_round_trips_and_nothing_near_it_decodes(slot in slot()) {
        let bytes = slot.encode();
        prop_assert_eq!(Slot::decode(&bytes), Ok(slot));
        only_whole(&bytes, Slot::decode);
        only_unaltered(&bytes, Slot::decode);
    }

    #[test]
    fn a_group_round_trips((lens, frame, body) in group(), max in 0..GROUP_LEN_MAX) {
        let bytes = frame.encode();
        prop_assert_eq!(Frame::decode(&bytes, GROUP_LEN_MAX), Ok(frame));
        only_whole(&bytes, |bytes| Frame::decode(bytes, GROUP_LEN_MAX));
        if max < frame.plain_len {
            prop_assert!(Frame::decode(&bytes, max).is_err());
        }
        let table_len = lens.len() * 4;
        prop_assert_eq!(decode_body(&body, &frame), Ok((lens, &body[table_len..])));
        for len in 0..table_len {
            prop_assert!(decode_body(&body[..len], &frame).is_err());
        }
        let other = Frame { plain_len: frame.plain_len + 1, ..frame };
        prop_assert!(decode_body(&body, &other).is_err());
    }

    #[test]
    fn a_footer_round_trips(footer in footer()) {
        let bytes = footer.encode();
        prop_assert_eq!(Footer::decode(&bytes, GROUP_LEN_MAX), Ok(footer.clone()));
        only_whole(&bytes, |bytes| Footer::decode(bytes, GROUP_LEN_MAX));
        let longest = footer.groups.iter().map(FooterGroup::plain_len).max().unwrap_or(0);
        if longest > 0 {
            prop_assert!(Footer::decode(&bytes, longest as u32).is_ok());
            prop_assert!(Footer::decode(&bytes, longest as u32 - 1).is_err());
        }
    }

    #[test]
    fn the_ends_of_a_pack_round_trip(kind in pack_kind(), salt: [u8; 16], footer_len in 0..=FOOTER_LEN_MAX, groups_len: u32) {
        let header = encode_pack_header(kind, &salt);
        prop_assert_eq!(decode_pack_header(&header), Ok((kind, salt)));
        only_whole(&header, decode_pack_header);
        let trailer = encode_trailer(footer_len);
        let pack_len = 32 + u64::from(footer_len) + u64::from(groups_len);
        let at = 24 + u64::from(groups_len);
        prop_assert_eq!(decode_trailer(&trailer, pack_len), Ok((at, footer_len)));
        let shortest = 32 + u64::from(footer_len);
        prop_assert!(decode_trailer(&trailer, shortest - 1).is_err());
        only_whole(&trailer, |bytes| decode_trailer(bytes, pack_len));
        let longer = encode_trailer(FOOTER_LEN_MAX + 1 + footer_len);
        prop_assert!(decode_trailer(&longer, u64::MAX).is_err(), "longer than any footer can be");
    }

    #[test]
    fn an_index_segment_round_trips((packs, groups, records) in rows()) {
        let bytes = encode_segment(&packs, &groups, &records);
        let tables = Tables::decode(&bytes, 2000).unwrap();
        prop_assert_eq!(tables.packs().collect::<Vec<_>>(), packs);
        prop_assert_eq!(tables.groups().collect::<Vec<_>>(), groups);
        prop_assert_eq!(tables.records().collect::<Vec<_>>(), records.clone());
        only_whole(&bytes, |bytes| Tables::decode(bytes, 2000).map(|_| ()));
        prop_assert!(Tables::decode(&bytes, 1999).is_err());
    }

    #[test]
    fn an_index_segment_with_a_wrong_row_is_refused(
        (packs, groups, records) in rows(), place: prop::sample::Index,
    ) {
        prop_assume!(records.len() >= 2);
        let refused = |groups: &[GroupRow], records: &[Record]| {
            Tables::decode(&encode_segment(&packs, groups, records), 2000).is_err()
        };
        let place = place.index(records.len() - 1);
        let mut swapped = records.clone();
        swapped.swap(place, place + 1);
        prop_assert!(refused(&groups, &swapped));
        let mut twice = records.clone();
        twice.insert(place, records[place]);
        prop_assert!(refused(&groups, &twice));
        let mut empty = records.clone();
        empty[place].len = 0;
        prop_assert!(refused(&groups, &empty));
        let mut nowhere = records.clone();
        nowhere[place].group = groups.len() as u32;
        prop_assert!(refused(&groups, &nowhere));
        let mut stray = groups.clone();
        stray[0].pack = packs.len() as u32;
        prop_assert!(refused(&stray, &records));
        let mut beyond = groups.clone();
        beyond[0].offset = u32::MAX;
        beyond[0].sealed_len = u32::MAX;
        prop_assert!(refused(&beyond, &records));
        let Record { group, offset, len, .. } = records[place];
        let mut shorter = groups.clone();
        shorter[group as usize].plain_len = offset + len - 1;
        prop_assert!(refused(&shorter, &records));
    }

    #[test]
    fn a_recipe_node_round_trips(node in node()) {
        let bytes = node.encode();
        prop_assert_eq!(Node::decode(&bytes), Ok(node));
        only_whole(&bytes, Node::decode);
    }

    #[test]
    fn an_archive_round_trips(archive in archive()) {
        let bytes = archive.encode();
        prop_assert_eq!(Archive::decode(&bytes), Ok(archive));
        only_whole(&bytes, Archive::decode);
    }

    #[test]
    fn an_item_round_trips(item in item()) {
        let bytes = item.encode();
        let (len, record) = bytes.split_at(4);
        prop_assert_eq!(len, (record.len() as u32).to_le_bytes());
        if let ItemKind::File(content) = &item.kind {
            let lens = content.unreadable.iter().map(|range| range.end.abs_diff(range.start));
            prop_assert_eq!(content.unreadable_len(), lens.sum::<u64>());
        }
        prop_assert_eq!(Item::decode(record), Ok(item));
        only_whole(record, Item::decode);
    }

    #[test]
    fn an_envelope_round_trips(nonce: [u8; 24], sealed in vec(any::<u8>(), 16..200)) {
        let envelope = Envelope { nonce, sealed };
        let bytes = envelope.encode(Kind::Index);
        prop_assert_eq!(Envelope::decode(&bytes, Kind::Index), Ok(envelope));
        prop_assert!(Envelope::decode(&bytes, Kind::Archive).is_err());
        prop_assert!(Envelope::decode(&bytes[..47], Kind::Index).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..600)) {
        decode::TARGETS.iter().for_each(|(_, target)| target(&bytes));
    }

    /// Closer to the truth: a sample with a few bytes replaced by telling ones, cut, or continued.
    #[test]
    fn altered_samples_never_panic(
        sample: prop::sample::Index,
        edits in vec((any::<prop::sample::Index>(), prop_oneof![
            Just(0u8), Just(1), Just(0x7f), Just(0x80), Just(0xff), any::<u8>(),
        ]), 0..6),
        len: prop::sample::Index,
        whole: bool,
    ) {
        let samples = samples::all();
        let mut bytes = samples[sample.index(samples.len())].bytes.clone();
        for (place, value) in edits {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if !whole {
            bytes.truncate(len.index(bytes.len()));
        }
        decode::TARGETS.iter().for_each(|(_, target)| target(&bytes));
        decode::TARGETS.iter().for_each(|(_, target)| target(bytes.get(4..).unwrap_or_default()));
    }
}

#[test]
fn an_object_of_another_kind_or_version_is_refused_by_its_name() {
    use garret_format::DecodeErrorKind::{BadMagic, UnsupportedVersion};
    for sample in samples::all().into_iter().filter(|sample| sample.name == "config") {
        let kind_of = |at: usize, value: u8| {
            let mut bytes = sample.bytes.clone();
            bytes[at] = value;
            Config::decode(&bytes).unwrap_err().kind
        };
        assert_eq!(kind_of(0, b'G'), BadMagic);
        assert_eq!(kind_of(6, b'K'), BadMagic);
        assert_eq!(kind_of(7, 2), UnsupportedVersion(2));
    }
}

#[test]
fn errors_name_the_object_that_is_wrong() {
    let named = |error: DecodeError, name: &str| {
        assert!(error.to_string().starts_with(&format!("{name} at offset 0: ")), "{error}");
    };
    named(Config::decode(b"").unwrap_err(), "config");
    named(Slot::decode(b"").unwrap_err(), "key slot");
    named(Envelope::decode(b"", Kind::Pack).unwrap_err(), "pack");
    named(Envelope::decode(b"", Kind::Index).unwrap_err(), "index segment");
    named(Envelope::decode(b"", Kind::Archive).unwrap_err(), "archive");
    named(Envelope::decode(b"", Kind::LocalIndex).unwrap_err(), "local index");
}

#[test]
fn unknown_features_are_told_before_what_they_may_have_changed() {
    use garret_format::DecodeErrorKind::UnsupportedFeatures;
    let config = samples::all().into_iter().find(|sample| sample.name == "config").unwrap();
    let mut bytes = config.bytes[..84].to_vec();
    bytes[40] = 4;
    bytes[52] = 9;
    bytes[56..60].copy_from_slice(&[0xff; 4]);
    let checksum = blake3::hash(&bytes);
    bytes.extend(checksum.as_bytes());
    let error = Config::decode(&bytes).unwrap_err();
    assert_eq!((error.offset, error.kind), (40, UnsupportedFeatures(4)));
}

#[test]
fn chunk_sizes_that_no_cutter_takes_are_refused() {
    let config = samples::all().into_iter().find(|sample| sample.name == "config").unwrap();
    let config = Config::decode(&config.bytes).unwrap();
    for (chunk_min, chunk_target, chunk_max) in
        [(0, 4096, 8192), (4095, 8192, 8192), (4096, 8190, 8192), (4096, 8192, 8193)]
    {
        let config = Config { chunk_min, chunk_target, chunk_max, ..config.clone() };
        assert!(Config::decode(&config.encode()).is_err());
    }
}
