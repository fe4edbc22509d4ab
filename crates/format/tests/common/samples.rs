//! The samples whose bytes docs/format.md shows: one of each object, small and easy to recognise.
//!
//! In: nothing. Out: [`all`]: per sample its name, its bytes as the encoder gives them, the fields
//! they fall into, and a check that bytes decode to the sample. The fuzz seeds are made of these.

#![allow(clippy::unwrap_used, reason = "test code, but outside of test functions")]

// A path of its own, because this file is included from other places too.
#[path = "objects.rs"]
mod objects;

use std::fmt::Write as _;

use garret_format::archive::{Archive, Item};
use garret_format::cold::encode_mark;
use garret_format::condemned::Condemned;
use garret_format::config::Config;
use garret_format::damage::DamageRecord;
use garret_format::index::Tables;
use garret_format::object::{Envelope, Kind};
use garret_format::pack::{Footer, Frame, decode_body, decode_trailer, encode_trailer};
use garret_format::recipe::Node;
use garret_format::seen::Seen;
use garret_format::slot::Slot;
use garret_format::tags::TagRecord;
use garret_format::tombstones::Tombstones;
use garret_format::verified::{decode_verified, encode_verified};

use objects::{
    archive, body, check_local_index, check_pack, condemned, config, damage, derived_keys, device,
    footer, frame, group_row, hard_link, inner, item, layout, leaf, local_index, pack, pack_row,
    records, seen, segment, slot, tables, tags, tombstones, verified,
};

/// What a mark has of a second place.
const PLACE: [u8; 32] = *b"no two are the same, by chance..";

/// One example of docs/format.md.
pub struct Sample {
    /// The name behind `hex` in the page.
    pub name: &'static str,
    /// What the encoder gives.
    pub bytes: Vec<u8>,
    /// Length in bytes and name of each field, in order.
    pub fields: Vec<(usize, &'static str)>,
    /// Fails unless the bytes decode to the sample.
    pub check: fn(&[u8]),
}

impl Sample {
    /// The lines of the page between the fences.
    pub fn block(&self) -> String {
        let (mut text, mut rest) = (String::new(), self.bytes.as_slice());
        for (len, field) in &self.fields {
            let (bytes, after) = rest.split_at(*len);
            rest = after;
            for (row, line) in bytes.chunks(16).enumerate() {
                let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
                match row {
                    0 => writeln!(text, "{:<47}  # {field}", hex.join(" ")).unwrap(),
                    _ => writeln!(text, "{}", hex.join(" ")).unwrap(),
                }
            }
        }
        assert!(rest.is_empty(), "{}: {} bytes are in no field", self.name, rest.len());
        text
    }
}

/// Every sample, in the order of the page.
pub fn all() -> Vec<Sample> {
    let mut samples = files();
    samples.extend(pack_parts());
    samples.extend(indexes());
    samples.extend(trees());
    samples
}

fn files() -> Vec<Sample> {
    vec![
        Sample {
            name: "config",
            bytes: config().encode(),
            fields: vec![
                (8, "\"garret\", kind C, version 1"),
                (32, "repository id"),
                (12, "features to read, to write, to delete"),
                (1, "cipher: XChaCha20-Poly1305"),
                (1, "key mode: passphrase"),
                (2, "zero"),
                (12, "chunk_min 16 KiB, chunk_target 64 KiB, chunk_max 256 KiB"),
                (4, "group_len 1 MiB"),
                (4, "pack_len 32 MiB"),
                (8, "created 2026-11-23T00:00:00Z"),
                (32, "BLAKE3 of all before"),
            ],
            check: |bytes| assert_eq!(Config::decode(bytes), Ok(config())),
        },
        Sample {
            name: "slot",
            bytes: slot().encode().to_vec(),
            fields: vec![
                (8, "\"garret\", kind K, version 1"),
                (16, "slot id"),
                (32, "repository id"),
                (32, "BLAKE3 of the file config"),
                (4, "kdf: Argon2id, then zero"),
                (12, "256 MiB, 3 passes, 4 lanes"),
                (32, "salt"),
                (24, "nonce"),
                (8, "created 2026-11-23T00:00:00Z"),
                (64, "label: laptop, then zeros"),
                (48, "wrapped master key (here: not a real one)"),
                (32, "commitment (here: not a real one)"),
                (8, "first 8 bytes of BLAKE3 of all before"),
            ],
            check: |bytes| assert_eq!(Slot::decode(bytes), Ok(slot())),
        },
        Sample {
            name: "keys",
            bytes: derived_keys(),
            fields: vec![
                (32, "chunk id key"),
                (32, "chunker key"),
                (16, "page key"),
                (32, "first four entries of gear table 0"),
                (32, "pack data key"),
                (32, "metadata key"),
                (32, "client state key"),
            ],
            check: |bytes| assert_eq!(bytes, derived_keys()),
        },
    ]
}

fn pack_parts() -> Vec<Sample> {
    vec![
        Sample {
            name: "pack",
            bytes: pack(),
            fields: vec![
                (8, "\"garret\", kind P, version 1"),
                (16, "salt"),
                (16, "at 24: frame header"),
                (16, "its tag"),
                (19, "at 56: body"),
                (16, "its tag"),
                (85, "at 91: footer"),
                (16, "its tag"),
                (8, "trailer: sealed footer of 101 bytes, \"tail\""),
            ],
            check: check_pack,
        },
        Sample {
            name: "frame",
            bytes: frame().encode().to_vec(),
            fields: vec![
                (4, "body_len 19"),
                (4, "plain_len 11"),
                (4, "chunk_count 2"),
                (1, "codec: none"),
                (1, "effort: none"),
                (2, "zero"),
            ],
            check: |bytes| assert_eq!(Frame::decode(bytes, 1 << 20), Ok(frame())),
        },
        Sample {
            name: "body",
            bytes: body(),
            fields: vec![
                (8, "lengths of the chunks: 6, 5"),
                (11, "\"hello world\", stored as it is"),
            ],
            check: |bytes| {
                let (lens, compressed) = decode_body(bytes, &frame()).unwrap();
                assert_eq!((lens, compressed), (vec![6, 5], &b"hello world"[..]));
            },
        },
        Sample {
            name: "footer",
            bytes: footer().encode(),
            fields: vec![
                (4, "one group"),
                (9, "body_len 19, effort 0, 2 chunks"),
                (36, "id of \"hello \", length 6"),
                (36, "id of \"world\", length 5"),
            ],
            check: |bytes| assert_eq!(Footer::decode(bytes, 1 << 20), Ok(footer())),
        },
        Sample {
            name: "trailer",
            bytes: encode_trailer(101).to_vec(),
            fields: vec![(4, "length of the sealed footer: 101"), (4, "\"tail\"")],
            check: |bytes| assert_eq!(decode_trailer(bytes, 200), Ok((91, 101))),
        },
    ]
}

fn indexes() -> Vec<Sample> {
    vec![
        Sample {
            name: "index",
            bytes: tables(),
            fields: vec![
                (16, "1 pack, 1 group, 2 chunks"),
                (53, "pack 0: id, salt, length 200, of files"),
                (17, "group 0: pack 0, offset 24, length 67, of 11 bytes, effort 0"),
                (44, "\"hello \": id, group 0, offset 0, length 6"),
                (44, "\"world\": id, group 0, offset 6, length 5"),
            ],
            check: |bytes| {
                let tables = Tables::decode(bytes, 1 << 20).unwrap();
                assert_eq!(tables.packs().collect::<Vec<_>>(), [pack_row()]);
                assert_eq!(tables.groups().collect::<Vec<_>>(), [group_row()]);
                assert_eq!(tables.records().collect::<Vec<_>>(), records());
            },
        },
        Sample {
            name: "segment",
            bytes: segment().encode(Kind::Index),
            fields: vec![
                (8, "\"garret\", kind I, version 1"),
                (24, "nonce: 16 random bytes, counter 0"),
                (174, "the tables above (unencrypted)"),
                (16, "tag"),
            ],
            check: |bytes| assert_eq!(Envelope::decode(bytes, Kind::Index), Ok(segment())),
        },
        Sample {
            name: "local-index",
            bytes: local_index(),
            fields: vec![
                (8, "\"garret\", kind L, version 1"),
                (32, "repository id"),
                (4, "made of one stored segment:"),
                (32, "its id"),
                (174, "the tables above"),
                (4, "a fan-out of 2^0 places"),
                (4, "where the entries of the only one end"),
                (6, "entry: first bytes of an id"),
                (4, "its row"),
                (6, "entry: first bytes of an id"),
                (4, "its row"),
            ],
            check: check_local_index,
        },
    ]
}

fn trees() -> Vec<Sample> {
    vec![
        Sample {
            name: "recipe-leaf",
            bytes: leaf().encode(),
            fields: vec![
                (5, "level 0, 3 entries"),
                (37, "chunk of 6 bytes"),
                (9, "zeros, 1 MiB"),
                (37, "chunk of 5 bytes"),
            ],
            check: |bytes| assert_eq!(Node::decode(bytes), Ok(leaf())),
        },
        Sample {
            name: "recipe-inner",
            bytes: inner().encode(),
            fields: vec![(5, "level 1, 1 child"), (40, "a leaf that covers 1 MiB and 11 bytes")],
            check: |bytes| assert_eq!(Node::decode(bytes), Ok(inner())),
        },
        Sample {
            name: "item",
            bytes: item().encode(),
            fields: vec![
                (4, "length of the record"),
                (15, "path, \"vm/disk.img\""),
                (1, "kind: file"),
                (1, "marks: may have other names"),
                (2, "mode 0640"),
                (8, "uid 107, gid 107"),
                (8, "user, \"qemu\""),
                (8, "group, \"qemu\""),
                (12, "mtime: seconds, nanoseconds"),
                (8, "inode"),
                (12, "ctime: seconds, nanoseconds"),
                (4, "flags: no dump"),
                (4, "1 extended attribute:"),
                (13, "\"user.note\""),
                (10, "\"golden\""),
                (8, "size: 1 MiB and 11 bytes"),
                (1, "cutter: page"),
                (88, "root of the recipe: the leaf above"),
                (5, "layout: inline, 0 bytes: none"),
                (11, "allocation: inline, 6 bytes: data 4096, hole 1044480, data 11"),
                (20, "1 stretch that could not be read: 0 to 512"),
            ],
            check: |bytes| check_item(bytes, &item()),
        },
        Sample {
            name: "item-hard-link",
            bytes: hard_link().encode(),
            fields: vec![
                (4, "length of the record"),
                (15, "path, \"vm/same.img\""),
                (1, "kind: hard link"),
                (1, "no marks"),
                (2, "mode 0640"),
                (8, "uid 107, gid 107"),
                (8, "user, \"qemu\""),
                (8, "group, \"qemu\""),
                (12, "mtime"),
                (8, "inode"),
                (12, "ctime"),
                (4, "no flags"),
                (4, "no extended attributes"),
                (15, "the first name, \"vm/disk.img\""),
            ],
            check: |bytes| check_item(bytes, &hard_link()),
        },
        Sample {
            name: "item-device",
            bytes: device().encode(),
            fields: vec![
                (4, "length of the record"),
                (11, "path, \"dev/sda\""),
                (1, "kind: block device"),
                (1, "no marks"),
                (2, "mode 0660"),
                (8, "uid 0, gid 6"),
                (8, "user, \"root\""),
                (8, "group, \"disk\""),
                (12, "mtime"),
                (8, "inode"),
                (12, "ctime"),
                (4, "no flags"),
                (4, "no extended attributes"),
                (8, "major number 8, minor number 0"),
            ],
            check: |bytes| check_item(bytes, &device()),
        },
        Sample {
            name: "layout",
            bytes: layout().encode(),
            fields: vec![
                (3, "guest stream: 1 MiB"),
                (1, "unit: 2^16 bytes"),
                (3, "gap 0, 2 units on in the file, 1 unit long"),
                (3, "gap 7, 2 units back from the end of that in the file, 1 unit long"),
            ],
            check: |bytes| assert_eq!(garret_image::Layout::decode(bytes, 3 << 16), Ok(layout())),
        },
        Sample {
            name: "archive",
            bytes: archive().encode(),
            fields: vec![
                (17, "name, \"2026-11-23/vm\""),
                (12, "start: seconds, nanoseconds"),
                (12, "end: seconds, nanoseconds"),
                (8, "host, \"node\""),
                (8, "user, \"root\""),
                (4, "3 arguments:"),
                (10, "\"garret\""),
                (10, "\"create\""),
                (21, "\"/r::2026-11-23/vm\""),
                (4, "1 source:"),
                (11, "\"/srv/vm\""),
                (15, "comment, \"before 12.3\""),
                (4, "1 tag:"),
                (10, "\"golden\""),
                (24, "original_len, 1 file, 1 problem"),
                (30, "1 of them in words, \"/srv/vm/b: cannot read\""),
                (24, "read_len, new_len, stored_len"),
                (1, "cutter: fastcdc"),
                (42, "root of the item stream: one chunk, the item above"),
            ],
            check: |bytes| assert_eq!(Archive::decode(bytes), Ok(archive())),
        },
        Sample {
            name: "damage",
            bytes: damage().encode(),
            fields: vec![
                (32, "the pack above"),
                (12, "found: seconds, nanoseconds"),
                (22, "\"the seal is broken\""),
            ],
            check: |bytes| assert_eq!(DamageRecord::decode(bytes), Ok(damage())),
        },
        Sample {
            name: "verified",
            bytes: encode_verified(&verified()),
            fields: vec![
                (4, "2 rows"),
                (8, "some other pack, read before"),
                (4, "on 2026-11-23"),
                (8, "the pack above"),
                (4, "on 2026-11-26"),
            ],
            check: |bytes| assert_eq!(decode_verified(bytes), Ok(verified())),
        },
        Sample {
            name: "condemned",
            bytes: condemned().encode(),
            fields: vec![
                (8, "the third epoch"),
                (4, "2 rows"),
                (32, "some other pack"),
                (8, "condemned in the second"),
                (32, "the pack above"),
                (8, "condemned in the third"),
            ],
            check: |bytes| assert_eq!(Condemned::decode(bytes), Ok(condemned())),
        },
        Sample {
            name: "cold",
            bytes: encode_mark(&PLACE).to_vec(),
            fields: vec![(8, "\"garret\", kind O, version 1"), (32, "random")],
            check: |bytes| assert_eq!(bytes, encode_mark(&PLACE)),
        },
        Sample {
            name: "tombstones",
            bytes: tombstones().encode(),
            fields: vec![
                (8, "1 row was dropped"),
                (32, "the chain over it (here: not a real one)"),
                (4, "3 rows"),
                (17, "an archive that was deleted"),
                (17, "one that was found gone"),
                (17, "packs were removed"),
            ],
            check: |bytes| assert_eq!(Tombstones::decode(bytes), Ok(tombstones())),
        },
        Sample {
            name: "tags",
            bytes: tags().encode(),
            fields: vec![
                (32, "the hash of the archive's file (here: not a real one)"),
                (1, "it is protected"),
                (4, "2 tags:"),
                (10, "\"golden\""),
                (15, "\"kernel-6.12\""),
            ],
            check: |bytes| assert_eq!(TagRecord::decode(bytes), Ok(tags())),
        },
        Sample {
            name: "seen",
            bytes: seen().encode(),
            fields: vec![
                (8, "3 rows of the record of deletions"),
                (32, "the chain over them (here: not a real one)"),
                (4, "1 pack"),
                (8, "the pack above"),
                (4, "1 archive"),
                (16, "its id"),
                (17, "name, \"2026-11-23/vm\""),
                (8, "length of its file"),
                (8, "end"),
                (1, "nobody was told that it is lost"),
            ],
            check: |bytes| assert_eq!(Seen::decode(bytes), Ok(seen())),
        },
    ]
}

fn check_item(bytes: &[u8], item: &Item) {
    let (len, record) = bytes.split_at(4);
    assert_eq!(len, (record.len() as u32).to_le_bytes());
    assert_eq!(Item::decode(record).as_ref(), Ok(item));
}
