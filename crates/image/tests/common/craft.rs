//! Hostile images: a sound one, and every way to lie about it.
//!
//! The sound one has clusters of 4 KiB:
//! 0 header, 1 refcount table, 2 refcounts, 3 L1, 4 and 5 L2, 6 to 15 data, 16 compressed.

use std::path::Path;

use garret_random::Random;

pub const CLUSTER: u64 = 4096;
const L1: u64 = 3 * CLUSTER;
const L2: u64 = 4 * CLUSTER;
const OTHER_L2: u64 = 5 * CLUSTER;
const DATA: u64 = 6 * CLUSTER;
const PACKED: u64 = 16 * CLUSTER;
const LEN: u64 = 17 * CLUSTER;
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;

/// A file that is an image or pretends to be one.
#[derive(Clone)]
pub struct Craft {
    pub name: String,
    pub bytes: Vec<u8>,
    /// Whether it must be opaque; `None` where both would do.
    pub opaque: Option<bool>,
}

impl Craft {
    pub fn put(&mut self, offset: u64, bytes: &[u8]) {
        let start = usize::try_from(offset).unwrap();
        let end = start + bytes.len();
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[start..end].copy_from_slice(bytes);
    }

    pub fn be32(&mut self, offset: u64, value: u32) {
        self.put(offset, &value.to_be_bytes());
    }

    pub fn be64(&mut self, offset: u64, value: u64) {
        self.put(offset, &value.to_be_bytes());
    }
}

/// What the compressed cluster holds.
pub fn packed_plain() -> Vec<u8> {
    (0..CLUSTER).map(|at| (at / 16) as u8).collect()
}

/// The sound image.
pub fn sound() -> Craft {
    let mut craft = Craft { name: "sound".into(), bytes: Vec::new(), opaque: Some(false) };
    craft.put(0, b"QFI\xfb\0\0\0\x03");
    craft.be32(20, 12);
    craft.be64(24, 4 << 20);
    craft.be32(36, 2);
    craft.be64(40, L1);
    craft.be64(48, CLUSTER);
    craft.be32(56, 1);
    craft.be32(96, 4);
    craft.be32(100, 112);
    craft.be64(CLUSTER, 2 * CLUSTER);
    (0..17).for_each(|at| craft.put(2 * CLUSTER + 2 * at, &[0, 1]));
    craft.be64(L1, COPIED | L2);
    craft.be64(L1 + 8, COPIED | OTHER_L2);
    for at in 0..8 {
        craft.be64(L2 + 8 * (3 * at % 8), COPIED | (DATA + at * CLUSTER));
    }
    craft.be64(OTHER_L2, COPIED | (DATA + 8 * CLUSTER));
    craft.be64(OTHER_L2 + 8 * 511, COPIED | (DATA + 9 * CLUSTER));
    craft.be64(L2 + 8 * 100, 1);
    craft.be64(L2 + 8 * 101, COMPRESSED | 7 << 58 | PACKED);
    let data = Random::new(99).bytes_without_zero((10 * CLUSTER) as usize);
    craft.put(DATA, &data);
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Default::default());
    std::io::Write::write_all(&mut encoder, &packed_plain()).unwrap();
    let mut packed = encoder.finish().unwrap();
    packed.resize(CLUSTER as usize, 0);
    craft.put(PACKED, &packed);
    craft
}

/// An image of `disk` in clusters of 512 bytes, each of which lies anywhere in the file: behind the
/// header, a refcount table of zeros and the tables.
pub fn fragmented(disk: &[u8], random: &mut Random) -> Craft {
    const SMALL: u64 = 512;
    let clusters = disk.len() as u64 / SMALL;
    let tables = clusters.div_ceil(64);
    let l1_len = (8 * tables).next_multiple_of(SMALL);
    let data = 2 * SMALL + l1_len + tables * SMALL;
    let mut craft = Craft { name: "fragmented".into(), bytes: Vec::new(), opaque: Some(false) };
    craft.put(0, b"QFI\xfb\0\0\0\x02");
    craft.be32(20, 9);
    craft.be64(24, clusters * SMALL);
    craft.be32(36, tables as u32);
    craft.be64(40, 2 * SMALL);
    craft.be64(48, SMALL);
    craft.be32(56, 1);
    for at in 0..tables {
        craft.be64(2 * SMALL + 8 * at, COPIED | (2 * SMALL + l1_len + at * SMALL));
    }
    let mut places: Vec<u64> = (0..clusters).collect();
    random.shuffle(&mut places);
    for (at, (place, bytes)) in places.iter().zip(disk.chunks(SMALL as usize)).enumerate() {
        let file_offset = data + place * SMALL;
        craft.be64(2 * SMALL + l1_len + 8 * at as u64, COPIED | file_offset);
        craft.put(file_offset, bytes);
    }
    craft
}

/// Collects images, each a sound one with lies.
struct Collection(Vec<Craft>);

impl Collection {
    fn add(&mut self, name: &str, opaque: Option<bool>, lie: impl FnOnce(&mut Craft)) {
        let mut craft = sound();
        lie(&mut craft);
        self.0.push(Craft { name: name.into(), opaque, bytes: craft.bytes });
    }

    fn field32(&mut self, name: &str, offset: u64, values: &[u32]) {
        for &value in values {
            self.add(&format!("{name} = {value:#x}"), Some(true), |c| c.be32(offset, value));
        }
    }

    fn field64(&mut self, name: &str, offset: u64, values: &[u64]) {
        for &value in values {
            self.add(&format!("{name} = {value:#x}"), Some(true), |c| c.be64(offset, value));
        }
    }
}

/// All hostile images. `dir` is where they will lie, for those that name themselves.
pub fn hostile(dir: &Path) -> Vec<Craft> {
    let mut all = Collection(vec![sound()]);
    lengths(&mut all);
    header_fields(&mut all);
    extensions(&mut all);
    backing_names(&mut all, dir);
    l1_entries(&mut all);
    l2_entries(&mut all);
    extended_entries(&mut all);
    compressed_clusters(&mut all);
    all.0
}

fn lengths(all: &mut Collection) {
    for len in [0, 1, 4, 8, 71, 72, 103, 104, 111, 4095, 4096, 12289, 20480, 65535] {
        all.add(&format!("cut to {len}"), Some(true), |c| c.bytes.truncate(len));
    }
    let last = LEN as usize - 1;
    all.add("cut by one byte", Some(false), |c| c.bytes.truncate(last));
    all.add("cut in the last data cluster", Some(true), |c| c.bytes.truncate(PACKED as usize - 1));
    all.add("one byte behind", Some(false), |c| c.bytes.push(1));
    all.add("noise behind the magic", Some(true), |c| c.bytes[8..].fill(0xff));
    all.add("noise behind the header", Some(true), |c| c.bytes[112..].fill(0xff));
    all.add("nothing behind the header", Some(false), |c| c.bytes[112..].fill(0));
}

fn header_fields(all: &mut Collection) {
    all.field32("version", 4, &[0, 1, 4, u32::MAX]);
    all.field32("cluster_bits", 20, &[0, 8, 9, 11, 13, 21, 22, 31, 32, 63, 64, u32::MAX]);
    all.field64(
        "size",
        24,
        &[1, 511, (4 << 20) + 512, 1 << 40, (1 << 63) - 512, 1 << 63, u64::MAX],
    );
    all.add("size = 0", Some(false), |c| c.be64(24, 0));
    all.field32("crypt_method", 32, &[1, 2, 77, u32::MAX]);
    all.field32("l1_size", 36, &[0, 1, 1 << 20, 1 << 22, (1 << 22) + 1, u32::MAX]);
    let nowhere = [1, 511, LEN, 1 << 40, 1 << 63, u64::MAX - 4095, u64::MAX];
    all.field64("l1_table_offset", 40, &[&nowhere[..], &[0, CLUSTER]].concat());
    all.field64("refcount_table_offset", 48, &[&nowhere[..], &[0, L1, L2, DATA]].concat());
    all.field32("refcount_table_clusters", 56, &[0, 3, 2048, 2049, 1 << 31, u32::MAX]);
    all.add("refcounts are noise", Some(false), |c| c.put(CLUSTER, &[0xee; 2 * 4096]));
    all.field32("nb_snapshots without a place", 60, &[1, 65536, 65537, u32::MAX]);
    for at in [&nowhere[..], &[0, L1, L2, DATA]].concat() {
        all.add(&format!("snapshots at {at:#x}"), Some(true), |c| {
            c.be32(60, 3);
            c.be64(64, at);
        });
    }
    all.add("snapshots that are noise", Some(false), |c| {
        c.be32(60, 100);
        c.be64(64, LEN);
        c.put(LEN, &[0xff; 4096]);
    });
    for bit in [2, 3, 4, 5, 17, 63] {
        all.add(&format!("incompatible bit {bit}"), Some(true), |c| c.be64(72, 1 << bit));
    }
    for bits in 1..4 {
        all.add(&format!("dirty and corrupt {bits}"), Some(false), |c| c.be64(72, bits));
    }
    all.add("compatible and autoclear", Some(false), |c| c.put(80, &[0xff; 16]));
    all.field32("refcount_order", 96, &[7, 64, u32::MAX]);
    all.field32("header_length", 100, &[0, 72, 103, 105, 108, 4104, 1 << 20, u32::MAX]);
    all.field32("compression_type", 104, &[1 << 24, 2 << 24, 255 << 24]);
    all.add("unknown compression", Some(true), |c| {
        c.be64(72, 1 << 3);
        c.put(104, &[2]);
    });
    all.add("version 2 with a zero flag", Some(true), |c| c.be32(4, 2));
}

fn extensions(all: &mut Collection) {
    let extension = |c: &mut Craft, at: u64, kind: u32, len: u32| {
        c.be32(at, kind);
        c.be32(at + 4, len);
    };
    for len in [3977, 4096, 1 << 20, i32::MAX as u32, u32::MAX - 8, u32::MAX] {
        for kind in [0x6803_f857, 0x2385_2875, 0x4441_5441, 0xe279_2aca, 0x1234] {
            all.add(&format!("extension {kind:#x} of {len}"), Some(true), |c| {
                extension(c, 112, kind, len);
            });
        }
    }
    all.add("extension that fills the cluster", Some(false), |c| extension(c, 112, 7, 3976));
    all.add("extensions without end", Some(false), |c| {
        (112..4096).step_by(8).for_each(|at| extension(c, at, 1, 0));
    });
    all.add("bitmaps that are nowhere", Some(false), |c| {
        extension(c, 112, 0x2385_2875, 24);
        c.put(120, &[0xff; 24]);
        c.be64(88, 1);
    });
}

fn backing_names(all: &mut Collection, dir: &Path) {
    let itself = dir.join("itself").to_str().unwrap().to_owned();
    for name in [
        "/etc/shadow",
        "itself",
        &itself,
        "json:{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}",
        "nbd://127.0.0.1/x",
        "../../../../../../etc/passwd",
        "/dev/zero",
        "\0\0",
    ] {
        all.add(if name == itself { "itself" } else { name }, Some(false), |c| {
            c.be64(8, 1024);
            c.be32(16, name.len() as u32);
            c.put(1024, name.as_bytes());
        });
    }
    all.add("data file /etc/shadow", Some(true), |c| {
        c.be64(72, 4);
        c.put(112, b"DATA\0\0\0\x0b/etc/shadow");
    });
    all.add("data file without the feature", Some(false), |c| {
        c.put(112, b"DATA\0\0\0\x0b/etc/shadow");
    });
    for (at, len) in [(4096, 1), (4090, 7), (8, 4), (u64::MAX, 1), (1 << 40, 9), (1024, u32::MAX)] {
        all.add(&format!("name of {len} at {at}"), Some(true), |c| {
            c.be64(8, at);
            c.be32(16, len);
        });
    }
}

fn l1_entries(all: &mut Collection) {
    for (name, entry) in [
        ("the refcount table", CLUSTER),
        ("itself", L1),
        ("the other's table", OTHER_L2),
        ("a data cluster", DATA),
        ("nothing in the file", LEN),
        ("the far end", 0x00ff_ffff_ffff_f000),
        ("an odd place", L2 + 512),
        ("reserved bit 0", L2 | 1),
        ("reserved bit 8", L2 | 1 << 8),
        ("reserved bit 56", L2 | 1 << 56),
        ("reserved bit 62", L2 | 1 << 62),
        ("all ones", u64::MAX),
    ] {
        all.add(&format!("L1 entry: {name}"), Some(true), |c| c.be64(L1, entry));
    }
    all.add("L1 entry: none", Some(false), |c| c.be64(L1, 0));
    all.add("L1 entry: copied nothing", Some(false), |c| c.be64(L1, COPIED));
}

fn l2_entries(all: &mut Collection) {
    for (name, entry) in [
        ("its own table", L2),
        ("the other table", OTHER_L2),
        ("the L1 table", L1),
        ("the refcount table", CLUSTER),
        ("a cluster of another entry", DATA + CLUSTER),
        ("a cluster of the other table", DATA + 9 * CLUSTER),
        ("the end of the file", LEN),
        ("the far end", 0x00ff_ffff_ffff_f000),
        ("an odd place", DATA + 512),
        ("reserved bit 1", DATA | 2),
        ("reserved bit 8", DATA | 1 << 8),
        ("reserved bit 56", DATA | 1 << 56),
        ("reserved bit 61", DATA | 1 << 61),
        ("the header, copied", COPIED),
        ("zero at an odd place", 513),
        ("all ones", u64::MAX),
    ] {
        all.add(&format!("L2 entry: {name}"), Some(true), |c| c.be64(L2, entry));
    }
    all.add("every entry the same", Some(true), |c| {
        (0..512).for_each(|at| c.be64(L2 + 8 * at, COPIED | DATA));
    });
    all.add("refcounts as data", Some(false), |c| c.be64(L2, COPIED | (2 * CLUSTER)));
    all.add("preallocated zeros in the tables", Some(false), |c| c.be64(L2, L1 | 1));
    all.add("data under the last sector", Some(false), |c| c.be64(24, (4 << 20) - 4096 + 512));
}

/// The same image with clusters of 64 KiB and one extended L2 table at cluster 4.
fn extended_entries(all: &mut Collection) {
    const BIG: u64 = 65536;
    let image = |c: &mut Craft| {
        c.bytes[112..].fill(0);
        c.be32(20, 16);
        c.be64(72, 1 << 4);
        c.be32(36, 1);
        c.be64(40, 3 * BIG);
        c.be64(48, BIG);
        c.be64(3 * BIG, COPIED | (4 * BIG));
        c.put(6 * BIG, &Random::new(5).bytes_without_zero(2 * BIG as usize));
    };
    let cases = [
        ("subclusters", Some(false), COPIED | (6 * BIG), 0x0000_ff00_00ff_00ff),
        ("alternating", Some(false), COPIED | (6 * BIG), 0x5555_5555_aaaa_aaaa),
        ("no subcluster", Some(false), COPIED | (6 * BIG), 0),
        ("both states", Some(true), COPIED | (6 * BIG), 1 << 32 | 1),
        ("allocated nowhere", Some(true), 0, 1),
        ("all ones", Some(true), u64::MAX, u64::MAX),
        ("zero flag", Some(true), (6 * BIG) | 1, 1),
        ("compressed with subclusters", Some(true), COMPRESSED | (6 * BIG), 1),
        ("the table", Some(true), COPIED | (4 * BIG), 2),
        ("past the end", Some(true), COPIED | (8 * BIG), 2),
    ];
    for (name, opaque, entry, bitmap) in cases {
        all.add(&format!("extended: {name}"), opaque, |c| {
            image(c);
            c.be64(4 * BIG, entry);
            c.be64(4 * BIG + 8, bitmap);
        });
    }
    all.add("extended: two entries share a cluster by halves", None, |c| {
        image(c);
        for at in 0..2 {
            c.be64(4 * BIG + 16 * at, 6 * BIG);
            c.be64(4 * BIG + 16 * at + 8, if at == 0 { 0xffff } else { 0xffff_0000 });
        }
    });
    all.add("extended: most runs", Some(false), |c| {
        image(c);
        for at in 0..64 {
            c.be64(4 * BIG + 16 * at, (6 + at) * BIG);
            c.be64(4 * BIG + 16 * at + 8, 0x5555_5555);
        }
        c.bytes.resize(70 * BIG as usize, 7);
    });
}

fn compressed_clusters(all: &mut Collection) {
    for (name, opaque, entry) in [
        ("past the end", Some(true), COMPRESSED | LEN),
        ("far past the end", Some(true), COMPRESSED | 1 << 55),
        ("bits beyond 55", Some(true), COMPRESSED | 1 << 56),
        ("copied", Some(true), COMPRESSED | COPIED | PACKED),
        ("the header", Some(false), COMPRESSED),
        ("longest, at the end", Some(false), COMPRESSED | 15 << 58 | (LEN - 1)),
        ("a data cluster", Some(false), COMPRESSED | 3 << 58 | DATA),
    ] {
        all.add(&format!("compressed: {name}"), opaque, |c| c.be64(L2 + 8 * 101, entry));
    }
    all.add("compressed: everything from one place", Some(false), |c| {
        (0..512).for_each(|at| c.be64(L2 + 8 * at, COMPRESSED | 15 << 58 | PACKED));
    });
    let zeros = vec![0; 3_000_000];
    all.add("compressed: a bomb", Some(false), |c| {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Default::default());
        std::io::Write::write_all(&mut encoder, &zeros).unwrap();
        c.put(PACKED, &encoder.finish().unwrap()[..2000]);
    });
    all.add("compressed: a bomb of zstd", Some(false), |c| {
        c.be64(72, 1 << 3);
        c.put(104, &[1]);
        c.put(PACKED, &zstd::bulk::compress(&zeros, 3).unwrap());
    });
}
