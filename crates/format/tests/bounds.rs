//! Every bound that docs/format.md gives for a field: a value just outside is refused, one just
//! inside is taken. Objects are encoded with the wrong value, so checksums are right.

#![allow(clippy::unwrap_used, reason = "test code, but outside of test functions")]

use garret_format::archive::{
    Archive, Content, FLAGS, Identity, Item, ItemKind, Side, Time, is_archive_name, is_safe_path,
    is_unseen, name_fault, new_name_fault,
};
use garret_format::pack::{
    Codec, EFFORT_MAX, Footer, FooterGroup, Frame, decode_body, encode_lens,
};
use garret_format::recipe::{Child, CutterKind, Entry, Node, Recipe};
use garret_format::seen::{SEEN_LEN_MAX, SEEN_MAX, SEEN_PACKS_MAX, Seen, SeenArchive};
use garret_format::slot::{Kdf, Label, Slot};
use garret_format::tags::TagRecord;
use garret_format::tombstones::{
    Removal, TOMBSTONES_HEAD_LEN, TOMBSTONES_MAX, Tombstone, Tombstones,
};
use garret_format::verified::{VERIFIED_MAX, VerifiedPack, decode_verified, encode_verified};
use garret_format::{ArchiveHash, ArchiveId, ChunkId, RepositoryId, SlotId};

const ID: ChunkId = ChunkId::from_bytes([7; 32]);

fn slot_with(kdf: Kdf) -> Slot {
    Slot {
        id: SlotId::from_bytes([1; 16]),
        repository: RepositoryId::from_bytes([2; 32]),
        config_hash: [3; 32],
        kdf,
        salt: [4; 32],
        nonce: [5; 24],
        created: 0,
        label: Label::default(),
        wrapped: [6; 48],
        commitment: [7; 32],
    }
}

#[test]
fn key_slots_ask_for_bounded_work() {
    let takes = |kdf| Slot::decode(&slot_with(kdf).encode()).is_ok();
    let argon2 = |memory_kib, passes, lanes| Kdf::Argon2id { memory_kib, passes, lanes };
    assert!(takes(Kdf::Blank) && takes(argon2(8, 1, 1)) && takes(argon2(1 << 20, 4, 64)));
    assert!(takes(argon2(512, 1, 64)) && !takes(argon2(511, 1, 64)) && !takes(argon2(7, 1, 1)));
    assert!(!takes(argon2((1 << 20) + 1, 1, 1)) && !takes(argon2(1 << 31, 1, 1)));
    assert!(!takes(argon2(1024, 0, 1)) && !takes(argon2(1024, 5, 1)));
    assert!(!takes(argon2(1024, 1, 0)) && !takes(argon2(1024, 1, 65)));
}

#[test]
fn labels_of_slots_are_short_text_without_control_characters() {
    let longest = "\u{e9}".repeat(32);
    assert!(
        ["", "laptop", "of \u{5e3} and x", &longest].iter().all(|text| Label::new(text).is_ok())
    );
    for bad in ["a\nb", "\0", "\u{1b}[2J", "\u{202e}x", &format!("{longest}x")] {
        assert!(Label::new(bad).is_err(), "{bad:?}");
    }
    let slot = |label: &[u8]| {
        let mut bytes = slot_with(Kdf::Blank).encode();
        bytes[168..232].fill(0);
        bytes[168..168 + label.len()].copy_from_slice(label);
        let checksum = *blake3::hash(&bytes[..312]).as_bytes();
        bytes[312..].copy_from_slice(&checksum[..8]);
        Slot::decode(&bytes).map(|slot| slot.label.as_str().to_owned())
    };
    assert_eq!(slot(longest.as_bytes()).unwrap(), longest);
    // What a writer keeps out is read, and shown as an escape.
    assert_eq!(slot("\u{202e}x".as_bytes()).unwrap(), "\u{202e}x");
    for bad in [&b"a\0b"[..], b"a\nb", b"\xff", b"\0b"] {
        assert!(slot(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_record_of_verified_packs_has_so_many_rows() {
    let mut rows = vec![VerifiedPack { pack: [7; 8], day: 20_783 }; VERIFIED_MAX];
    assert_eq!(decode_verified(&encode_verified(&rows)).as_ref(), Ok(&rows));
    rows.push(VerifiedPack { pack: [8; 8], day: u32::MAX });
    assert!(decode_verified(&encode_verified(&rows)).is_err());
    let bytes = encode_verified(&rows[..3]);
    for len in 0..bytes.len() {
        assert!(decode_verified(&bytes[..len]).is_err(), "{len} bytes");
    }
    assert!(decode_verified(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn a_tag_record_has_its_tags_in_order_and_each_once() {
    let record = |tags: &[&str], protected| {
        let mut bytes = [[7; 32].as_slice(), &[protected]].concat();
        bytes.extend((tags.len() as u32).to_le_bytes());
        for tag in tags {
            bytes.extend((tag.len() as u32).to_le_bytes());
            bytes.extend(tag.as_bytes());
        }
        bytes
    };
    let takes = |bytes: &[u8]| TagRecord::decode(bytes).is_ok_and(|found| found.encode() == bytes);
    let bytes = record(&["a", "b"], 1);
    assert!(takes(&bytes) && takes(&record(&[], 0)));
    assert!(!takes(&record(&["b", "a"], 1)) && !takes(&record(&["a", "a"], 1)));
    assert!(!takes(&record(&["a"], 2)));
    assert!(
        (0..bytes.len()).all(|len| !takes(&bytes[..len])) && !takes(&[&bytes[..], &[0]].concat())
    );
}

#[test]
fn a_record_of_deletions_has_so_many_rows_and_begins_with_nothing() {
    let row = Tombstone { removal: Removal::Packs, id: ArchiveId::from_bytes([7; 16]) };
    let mut record = Tombstones { dropped: 0, head: [0; 32], rows: vec![row; TOMBSTONES_MAX] };
    let takes = |record: &Tombstones| Tombstones::decode(&record.encode()).as_ref() == Ok(record);
    assert!(takes(&record));
    record.rows.push(row);
    assert!(!takes(&record));
    record.rows.truncate(3);
    let last = u64::MAX - 3;
    for (dropped, head, is_one) in
        [(0, 1, false), (1, 0, true), (1, 1, true), (last, 1, true), (last + 1, 1, false)]
    {
        let record = Tombstones { dropped, head: [head; 32], ..record.clone() };
        assert_eq!(takes(&record), is_one, "{dropped} {head}");
    }
    let bytes = record.encode();
    for len in 0..bytes.len() {
        assert!(Tombstones::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
    assert!(Tombstones::decode(&[&bytes[..], &[0]].concat()).is_err());
    let mut other = bytes.clone();
    other[TOMBSTONES_HEAD_LEN] = 3;
    assert!(Tombstones::decode(&other).is_err(), "a row of no kind that there is");
}

#[test]
fn a_client_remembers_so_many_archives_and_packs() {
    let one = |len: usize| SeenArchive {
        id: ArchiveId::from_bytes([7; 16]),
        name: "n".repeat(len),
        len: 1,
        end: -1,
        is_told: true,
    };
    let mut seen = Seen { archives: vec![one(1); SEEN_MAX], ..Seen::default() };
    assert_eq!(Seen::decode(&seen.encode()).as_ref(), Ok(&seen));
    seen.archives.push(one(1));
    assert!(Seen::decode(&seen.encode()).is_err());
    seen.archives = vec![one(1024)];
    let bytes = seen.encode();
    assert_eq!(Seen::decode(&bytes).as_ref(), Ok(&seen));
    for len in 0..bytes.len() {
        assert!(Seen::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
    assert!(Seen::decode(&[&bytes[..], &[0]].concat()).is_err());
    for last in 2..=u8::MAX {
        let told = [&bytes[..bytes.len() - 1], &[last]].concat();
        assert!(Seen::decode(&told).is_err(), "{last}");
    }
    seen.archives = vec![one(1025)];
    assert!(Seen::decode(&seen.encode()).is_err());
    let packs = |count: usize| (0..count as u64).map(u64::to_be_bytes).collect();
    let mut seen = Seen { packs: packs(SEEN_PACKS_MAX), ..Seen::default() };
    seen.archives = vec![one(1024); SEEN_MAX];
    let bytes = seen.encode();
    assert_eq!((Seen::decode(&bytes).as_ref(), bytes.len()), (Ok(&seen), SEEN_LEN_MAX));
    for packs in [packs(SEEN_PACKS_MAX + 1), vec![[1; 8], [1; 8]], vec![[2; 8], [1; 8]]] {
        let seen = Seen { packs, ..Seen::default() };
        assert!(Seen::decode(&seen.encode()).is_err());
    }
}

#[test]
fn frame_headers_stay_within_the_groups_of_the_repository() {
    let takes = |body_len, plain_len, chunk_count| {
        let frame = Frame { body_len, plain_len, chunk_count, codec: Codec::Zstd, effort: 3 };
        Frame::decode(&frame.encode(), 1 << 20).is_ok()
    };
    assert!(takes(4, 1, 1) && takes((1 << 20) + 4, 1 << 20, 1));
    assert!(!takes(4, 1, 0), "no chunk");
    assert!(!takes(8, 1, 2), "a chunk without bytes");
    assert!(!takes(4, (1 << 20) + 1, 1), "longer than a group");
    assert!(!takes(7, 9, 2), "no room for the table");
    assert!(!takes((1 << 20) + 5, 1 << 20, 1), "longer than it was before compression");
    assert!(takes(1 << 20, 1 << 20, 4096));
    assert!(!takes(1 << 20, 1 << 20, 4097), "too many chunks");
    for (place, value) in [(12, 4), (13, EFFORT_MAX + 1), (14, 1), (15, 1)] {
        let mut bytes = Frame { codec: Codec::None, ..frame_of(4, 1, 1) }.encode();
        bytes[place] = value;
        assert!(Frame::decode(&bytes, 1 << 20).is_err(), "byte {place}");
    }
}

fn frame_of(body_len: u32, plain_len: u32, chunk_count: u32) -> Frame {
    Frame { body_len, plain_len, chunk_count, codec: Codec::None, effort: 0 }
}

#[test]
fn chunks_have_bytes_in_groups_and_footers() {
    for (lens, whole) in [(vec![1, 4], true), (vec![0, 5], false), (vec![1, 3], false)] {
        let body = encode_lens(&lens);
        let frame = frame_of(8, 5, 2);
        assert_eq!(decode_body(&body, &frame).is_ok(), whole, "{lens:?}");
    }
    let takes_effort = |effort: u8, chunks: Vec<(ChunkId, u32)>| {
        let footer = Footer { groups: vec![FooterGroup { body_len: 9, effort, chunks }] };
        Footer::decode(&footer.encode(), 100).is_ok()
    };
    let takes = |chunks| takes_effort(0, chunks);
    assert!(
        takes_effort(EFFORT_MAX, vec![(ID, 1)]) && !takes_effort(EFFORT_MAX + 1, vec![(ID, 1)])
    );
    assert!(takes(vec![(ID, 1), (ID, 99)]) && Footer::decode(&[0; 4], 100).is_ok());
    assert!(!takes(vec![]) && !takes(vec![(ID, 0)]) && !takes(vec![(ID, 1), (ID, 0)]));
    assert!(!takes(vec![(ID, 1), (ID, 100)]) && !takes(vec![(ID, u32::MAX), (ID, u32::MAX)]));
}

#[test]
fn recipes_are_bounded_in_width_height_and_length() {
    let takes = |node: Node| Node::decode(&node.encode()).is_ok();
    let inner = |level, count, span| {
        let children = vec![Child { id: ID, span }; count];
        Node::Inner { level, children }
    };
    assert!(takes(Node::Leaf(vec![])) && takes(inner(16, 512, 1)));
    assert!(!takes(inner(17, 1, 1)) && !takes(inner(1, 513, 1)) && !takes(inner(1, 1, 0)));
    let chunk = |len| Entry::Chunk { id: ID, len };
    assert!(takes(Node::Leaf(vec![chunk(1); 512])) && !takes(Node::Leaf(vec![chunk(1); 513])));
    assert!(!takes(Node::Leaf(vec![chunk(0)])));
    let zero = |len| Entry::Zero { len };
    let most = i64::MAX as u64;
    assert!(takes(Node::Leaf(vec![zero(most)])) && takes(inner(1, 1, most)));
    assert!(!takes(Node::Leaf(vec![zero(0)])) && !takes(Node::Leaf(vec![zero(most + 1)])));
    assert!(!takes(Node::Leaf(vec![zero(most), chunk(1)])));
    assert!(!takes(inner(1, 2, most)) && !takes(inner(1, 512, u64::MAX)));
    let mut bytes = Node::Leaf(vec![zero(1)]).encode();
    bytes[5] = 2;
    assert!(Node::decode(&bytes).is_err(), "a kind of entry that is none");
}

/// A file whose recipe is of 9 zeros.
fn file(size: u64) -> Item {
    laid_out(size, 0, 0)
}

/// The same with a layout and an allocation of so many bytes.
fn laid_out(size: u64, layout_len: usize, allocation_len: usize) -> Item {
    let root = Node::Leaf(vec![Entry::Zero { len: 9 }]);
    let content = Content {
        recipe: Recipe { cutter: CutterKind::Page, root },
        layout: Side::Inline(vec![1; layout_len]),
        allocation: Side::Inline(vec![1; allocation_len]),
        unreadable: Vec::new(),
    };
    Item {
        path: b"a".to_vec(),
        kind: ItemKind::File(content),
        mode: 0o644,
        uid: 0,
        gid: 0,
        user: String::new(),
        group: String::new(),
        size,
        mtime: Time::default(),
        identity: Identity::default(),
        flags: 0,
        xattrs: Vec::new(),
        changed: false,
        linked: false,
        followed: false,
    }
}

fn takes_item(item: &Item) -> bool {
    let bytes = item.encode();
    Item::decode(&bytes[4..]).is_ok()
}

#[test]
fn items_hold_only_what_a_file_system_can_have() {
    assert!(takes_item(&file(9)) && !takes_item(&file(8)) && !takes_item(&file(10)));
    assert!(takes_item(&laid_out(5, 1, 0)), "with a layout, file and stream differ in length");
    assert!(takes_item(&laid_out(i64::MAX as u64, 1, 0)));
    assert!(!takes_item(&laid_out(i64::MAX as u64 + 1, 1, 0)));
    assert!(takes_item(&Item { mode: 0o7777, ..file(9) }));
    assert!(!takes_item(&Item { mode: 0o10000, ..file(9) }));
    for nanos in [999_999_999, 1_000_000_000] {
        let (time, good) = (Time { secs: -1, nanos }, nanos < 1_000_000_000);
        assert_eq!(takes_item(&Item { mtime: time, ..file(9) }), good);
        let identity = Identity { ctime: time, ..Identity::default() };
        assert_eq!(takes_item(&Item { identity, ..file(9) }), good);
    }
    assert!(takes_item(&Item { user: "u".repeat(1024), ..file(9) }));
    assert!(!takes_item(&Item { user: "u".repeat(1025), ..file(9) }));
    assert!(!takes_item(&Item { group: "g".repeat(1025), ..file(9) }));
    for (len, good) in [(4096, true), (4097, false)] {
        assert_eq!(takes_item(&laid_out(9, 0, len)), good);
        assert_eq!(takes_item(&laid_out(9, len, 0)), good);
    }
    let unreadable = |ranges: &[[u64; 2]]| {
        let mut item = file(9);
        if let ItemKind::File(content) = &mut item.kind {
            content.unreadable = ranges.iter().map(|[start, end]| *start..*end).collect();
        }
        takes_item(&item)
    };
    assert!(unreadable(&[[0, 1], [2, 9]]));
    for bad in [&[[0, 0]][..], &[[1, 0]], &[[0, 10]], &[[0, 1], [1, 2]], &[[4, 5], [0, 1]]] {
        assert!(!unreadable(bad), "{bad:?}");
    }
    let many = |count: u64| {
        let mut item = laid_out(1 << 20, 1, 0);
        if let ItemKind::File(content) = &mut item.kind {
            content.unreadable = (0..count).map(|at| 2 * at..2 * at + 1).collect();
        }
        takes_item(&item)
    };
    assert!(many(1 << 16) && !many((1 << 16) + 1));
    for (len, good) in [(64 << 10, true), ((64 << 10) + 1, false)] {
        assert_eq!(takes_item(&Item { kind: ItemKind::Symlink(vec![b'x'; len]), ..file(0) }), good);
        assert_eq!(takes_item(&Item { path: vec![b'x'; len], ..file(9) }), good);
    }
}

/// Behind the path come the bytes kind and marks, and two of the mode; a user's name may be damaged.
#[test]
fn marks_kinds_and_names_that_are_none_are_refused() {
    let directory = Item { kind: ItemKind::Directory, user: "u".to_owned(), ..file(0) };
    let bytes = directory.encode().split_off(4);
    assert!(Item::decode(&bytes).is_ok());
    let kind_at = 4 + directory.path.len();
    let user_at = bytes.iter().position(|byte| *byte == b'u').unwrap();
    for (place, value) in [(kind_at, 7), (kind_at + 1, 8), (kind_at + 3, 0x10), (user_at, 0xff)] {
        let mut bytes = bytes.clone();
        bytes[place] = value;
        assert!(Item::decode(&bytes).is_err(), "byte {place}");
    }
}

#[test]
fn flags_are_those_that_can_be_set() {
    for bit in 0..32 {
        let item = Item { flags: 1 << bit, ..file(9) };
        assert_eq!(takes_item(&item), FLAGS & (1 << bit) != 0, "bit {bit}");
    }
    assert!(takes_item(&Item { flags: FLAGS, ..file(9) }));
}

#[test]
fn extended_attributes_have_names_in_order_and_bounds() {
    let takes =
        |xattrs: &[(Vec<u8>, Vec<u8>)]| takes_item(&Item { xattrs: xattrs.to_vec(), ..file(9) });
    let xattr = |name: &str, len: usize| (name.as_bytes().to_vec(), vec![b'v'; len]);
    assert!(takes(&[xattr("user.a", 0), xattr("user.b", 64 << 10)]));
    assert!(!takes(&[xattr("user.b", 0), xattr("user.a", 0)]), "not in order");
    assert!(!takes(&[xattr("user.a", 0), xattr("user.a", 1)]), "one name twice");
    assert!(!takes(&[xattr("", 1)]) && !takes(&[xattr("user.\0", 1)]));
    assert!(takes(&[xattr(&"n".repeat(255), 1)]) && !takes(&[xattr(&"n".repeat(256), 1)]));
    assert!(!takes(&[xattr("user.a", (64 << 10) + 1)]));
    // 2^20 bytes with eight for each: sixteen of the longest are too many.
    let many = |count: usize| -> Vec<_> {
        (0..count).map(|number| xattr(&format!("user.{number:02}"), 64 << 10)).collect()
    };
    assert!(takes(&many(15)) && !takes(&many(16)));
}

#[test]
fn hard_links_lead_to_paths_inside() {
    for (first, good) in [("a/b", true), ("../a", false), ("/a", false), ("", false), ("a/", false)]
    {
        let kind = ItemKind::HardLink(first.as_bytes().to_vec());
        assert_eq!(takes_item(&Item { kind, ..file(0) }), good, "{first:?}");
    }
}

#[test]
fn paths_of_items_stay_inside_the_directory_they_are_restored_to() {
    for path in ["a", "a/b", "...", "a/.b", "-", " ", "a/..b"] {
        assert!(is_safe_path(path.as_bytes()) && takes_item(&with_path(path)), "{path:?}");
    }
    for path in ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\0b"] {
        assert!(!is_safe_path(path.as_bytes()) && !takes_item(&with_path(path)), "{path:?}");
    }
}

fn with_path(path: &str) -> Item {
    Item { path: path.as_bytes().to_vec(), ..file(9) }
}

#[test]
fn names_of_archives_are_paths_that_a_terminal_can_show() {
    let longest = format!("{0}/{0}/{0}/{0}", "n".repeat(255));
    for name in ["a", "2026-11-23/vm", "a b", "caf\u{e9}", &longest] {
        assert!(is_archive_name(name), "{name:?}");
    }
    let (long_part, long) = ("n".repeat(256), format!("{longest}/n"));
    for name in [
        "",
        ".",
        "..",
        ".a",
        "a/.b",
        "/a",
        "a/",
        "a//b",
        "a\nb",
        "a\u{9b}b",
        "lost+found",
        "lost+found/a",
    ]
    .into_iter()
    .chain([long_part.as_str(), &long])
    {
        assert!(!is_archive_name(name), "{name:?}");
    }
}

#[test]
fn a_name_that_cannot_be_says_which_limit_it_met() {
    let long = "n".repeat(256);
    let longer = ["n"; 513].join("/");
    for (name, why) in [
        ("", "empty"),
        ("a//b", "empty part"),
        ("a/.b", "dot"),
        ("a\nb", "control"),
        (long.as_str(), "255 bytes"),
        (longer.as_str(), "1024 bytes"),
    ] {
        let fault = name_fault(name).unwrap();
        assert!(fault.contains(why), "{name}: {fault}");
        assert_eq!(new_name_fault(name), Some(fault));
    }
    assert_eq!(name_fault(&["n"; 512].join("/")), None, "1023 bytes");
}

#[test]
fn what_is_not_seen_is_read_in_a_name_and_not_made() {
    let unseen = [
        '\u{ad}', '\u{200b}', '\u{200d}', '\u{2028}', '\u{2029}', '\u{202e}', '\u{2066}',
        '\u{feff}',
    ];
    for character in unseen {
        let name = format!("a{character}b");
        assert!(is_unseen(character) && is_archive_name(&name), "{character:?}");
        assert!(new_name_fault(&name).is_some(), "{character:?}");
    }
    for character in ['a', ' ', '\u{a0}', '\u{301}', '\u{e9}', '\u{5d0}', '\u{1f600}', '\\', '\n'] {
        assert!(!is_unseen(character), "{character:?}");
    }
    assert_eq!(new_name_fault("caf\u{e9} \u{5d0}\u{5d1}"), None);
}

#[test]
fn archives_are_bounded_field_by_field() {
    let items = || Recipe { cutter: CutterKind::Fastcdc, root: Node::Leaf(vec![]) };
    let archive = |host: usize, source: usize, count: usize, nanos| Archive {
        end: Time { secs: 0, nanos },
        host: "h".repeat(host),
        command: vec![vec![]; count],
        sources: vec![vec![b's'; source]],
        ..Archive::new("n", items())
    };
    let takes = |archive: Archive| Archive::decode(&archive.encode()).is_ok();
    assert!(takes(archive(1024, 64 << 10, 1 << 16, 999_999_999)));
    assert!(!takes(archive(1025, 0, 0, 0)) && !takes(archive(0, (64 << 10) + 1, 0, 0)));
    assert!(!takes(archive(0, 0, (1 << 16) + 1, 0)) && !takes(archive(0, 0, 0, 1_000_000_000)));
    assert!(!takes(Archive { name: "n".repeat(1025), ..archive(0, 0, 0, 0) }));
    let says = |len| takes(Archive { comment: "c".repeat(len), ..archive(0, 0, 0, 0) });
    assert!(says(4096) && !says(4097));
    let tagged = |tags: &[&str]| {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let record =
            TagRecord { archive: ArchiveHash::from_bytes([1; 32]), protected: false, tags };
        let is_one = TagRecord::decode(&record.encode()).is_ok();
        let archive = Archive { tags: record.tags, ..archive(0, 0, 0, 0) };
        assert_eq!(takes(archive), is_one);
        is_one
    };
    let many: Vec<String> = (0..65).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(tagged(&many[..64]) && !tagged(&many) && tagged(&[&"t".repeat(64)]));
    for tag in ["", "a,b", "a b", "a\n", "a\u{ad}", &"t".repeat(65)] {
        assert!(!tagged(&[tag]), "{tag:?}");
    }
    let problems = |problem_count, texts: usize, len| {
        let problems = vec!["p".repeat(len); texts];
        takes(Archive { problem_count, problems, ..archive(0, 0, 0, 0) })
    };
    assert!(problems(100, 100, 1024) && problems(u64::MAX, 100, 0) && problems(9, 0, 0));
    assert!(!problems(99, 100, 1) && !problems(101, 101, 1) && !problems(1, 1, 1025));
}
