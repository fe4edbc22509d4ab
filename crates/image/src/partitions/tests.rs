//! Tables made by sfdisk, made by hand, and hostile ones.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{Extent, SourceError};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;
const SECTOR: usize = 512;

/// What is written of a disk; zeros from there to `len`.
#[derive(Debug, Default)]
struct Disk {
    bytes: Vec<u8>,
    len: u64,
    broken: Option<u64>,
    reads: AtomicUsize,
}

impl Source for Disk {
    fn len(&self) -> u64 {
        self.len
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
        Ok(Extent::Data { offset, len: self.len - offset })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        let end = offset + buf.len() as u64;
        assert!(end <= self.len && buf.len() <= 64 * 1024, "{offset}, {} bytes", buf.len());
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.broken.is_some_and(|at| (offset..end).contains(&at)) {
            return Err(SourceError::new(Path::new("disk"), "read", io::Error::other("broken")));
        }
        buf.fill(0);
        let there = self.bytes.iter().skip(usize::try_from(offset).unwrap_or(usize::MAX));
        buf.iter_mut().zip(there).for_each(|(to, from)| *to = *from);
        Ok(())
    }

    fn changed(&self) -> Result<bool, SourceError> {
        Ok(false)
    }
}

impl Disk {
    fn new(len: u64) -> Disk {
        Disk { len, ..Disk::default() }
    }

    fn put(&mut self, offset: usize, what: &[u8]) {
        let end = offset + what.len();
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[offset..end].copy_from_slice(what);
    }

    /// A table, main or of a chain, in sector `at`: kind, start, sectors of each entry.
    fn table(mut self, at: usize, entries: &[(u8, u32, u32)]) -> Disk {
        for (index, &(kind, start, sectors)) in entries.iter().enumerate() {
            let entry = SECTOR * at + 446 + 16 * index;
            self.put(entry + 4, &[kind]);
            self.put(entry + 8, &start.to_le_bytes());
            self.put(entry + 12, &sectors.to_le_bytes());
        }
        self.put(SECTOR * at + 510, b"\x55\xaa");
        self
    }

    /// A GPT whose entries begin in sector 2: first and last sector of each.
    fn gpt(self, entries: &[(u64, u64)]) -> Disk {
        self.gpt_of(2, 128, 128, entries)
    }

    fn gpt_of(self, at: u64, count: u32, entry_len: u32, entries: &[(u64, u64)]) -> Disk {
        let mut disk = self.table(0, &[(0xee, 1, u32::MAX)]);
        disk.put(512, b"EFI PART\0\0\x01\0\x5c\0\0\0");
        disk.put(512 + 72, &at.to_le_bytes());
        disk.put(512 + 80, &count.to_le_bytes());
        disk.put(512 + 84, &entry_len.to_le_bytes());
        for (index, &(first, last)) in entries.iter().enumerate() {
            let entry = SECTOR * at as usize + index * entry_len as usize;
            disk.put(entry, &[7; 16]);
            disk.put(entry + 32, &first.to_le_bytes());
            disk.put(entry + 40, &last.to_le_bytes());
        }
        disk
    }

    /// Rows of 16 bytes, in hexadecimal.
    fn rows(len: u64, rows: &str) -> Disk {
        let mut disk = Disk::new(len);
        for row in rows.lines() {
            let (offset, bytes) = row.trim().split_once(' ').unwrap();
            let bytes = u128::from_str_radix(bytes, 16).unwrap().to_be_bytes();
            disk.put(usize::from_str_radix(offset, 16).unwrap(), &bytes);
        }
        disk
    }

    /// The starts in sectors. Whatever the disk says, they are as promised and cost few reads.
    fn starts(&self) -> Vec<u64> {
        self.reads.store(0, Ordering::Relaxed);
        let starts = section_starts(self);
        assert_eq!(starts[0], 0);
        assert!(starts.len() <= 1024 && starts.is_sorted_by(|a, b| a < b), "{starts:?}");
        assert!(starts.iter().skip(1).all(|&start| start < self.len), "{starts:?}");
        assert!(self.reads.load(Ordering::Relaxed) <= 1 + 128);
        starts.into_iter().map(|start| start / 512).collect()
    }
}

/// What sfdisk of util-linux 2.38.1 wrote for
///
/// ```text
/// start=63, size=1000, type=83, bootable
/// start=1071, size=900, type=7
/// start=2079, size=6000, type=f
/// start=2142, size=1000
/// start=3205, size=2000
/// ```
const SFDISK_DOS_63: &str = "1b0 00000000000000007856341200008001
    1c0 0100831037003f000000e80300000011
    1d0 0100071f12002f040000840300000021
    1e0 01000f800f001f080000701700000000
    1f0 000000000000000000000000000055aa
    103fb0 00000000000000000000000000000022
    103fc0 0100833137003f000000e80300000032
    103fd0 37000552270065040000d10700000000
    103ff0 000000000000000000000000000055aa
    1909b0 00000000000000000000000000000032
    1909c0 38008352270001000000d00700000000
    1909f0 000000000000000000000000000055aa";

/// The same as Debian's installer lays it out, with the extended partition off the grid:
///
/// ```text
/// start=2048, size=2046
/// start=4094, size=4098, type=5
/// start=4096, size=2047
/// start=6144, size=2048
/// ```
const SFDISK_DOS_2048: &str = "1b0 00000000000000007856341200000020
    1c0 210083403e0000080000fe0700000040
    1d0 3f0005820200fe0f0000021000000000
    1f0 000000000000000000000000000055aa
    1ffdb0 00000000000000000000000000000041
    1ffdc0 02008361200002000000ff0700000061
    1ffdd0 21000582020001080000010800000000
    1ffdf0 000000000000000000000000000055aa
    2fffb0 00000000000000000000000000000061
    2fffc0 22008382020001000000000800000000
    2ffff0 000000000000000000000000000055aa";

/// ```text
/// start=34, size=100, type=E3C9E316-0B5C-4DB8-817D-F92DF00215AE
/// start=2048, size=1000
/// start=3048, size=999
/// ```
const SFDISK_GPT_34: &str = "1c0 0200eeffffff01000000ff1f00000000
    1f0 000000000000000000000000000055aa
    200 4546492050415254000001005c000000
    210 c681e248000000000100000000000000
    220 ff1f0000000000002200000000000000
    230 de1f0000000000001111111111111111
    240 11111111111111110200000000000000
    250 80000000800000007c06ebe000000000
    400 16e3c9e35c0bb84d817df92df00215ae
    410 22222222222222222222222222222222
    420 22000000000000008500000000000000
    480 af3dc60f838472478e793d69d8477de4
    490 22222222222222222222222222222223
    4a0 0008000000000000e70b000000000000
    500 af3dc60f838472478e793d69d8477de4
    510 22222222222222222222222222222224
    520 e80b000000000000ce0f000000000000";

/// ```text
/// start=2048, size=1001
/// start=4096, size=1000
/// ```
const SFDISK_GPT_2048: &str = "1c0 0200eeffffff01000000ff1f00000000
    1f0 000000000000000000000000000055aa
    200 4546492050415254000001005c000000
    210 4f6c8a25000000000100000000000000
    220 ff1f0000000000002200000000000000
    230 de1f0000000000001111111111111111
    240 11111111111111110200000000000000
    250 8000000080000000b641a12f00000000
    400 af3dc60f838472478e793d69d8477de4
    410 22222222222222222222222222222223
    420 0008000000000000e80b000000000000
    480 af3dc60f838472478e793d69d8477de4
    490 22222222222222222222222222222224
    4a0 0010000000000000e713000000000000";

#[test]
fn tables_that_sfdisk_wrote_are_read_as_it_was_told() {
    let of = |rows| Disk::rows(4 * MIB, rows).starts();
    assert_eq!(of(SFDISK_DOS_63), [0, 63, 1063, 1071, 1971, 2142, 3142, 3205, 5205]);
    assert_eq!(of(SFDISK_GPT_34), [0, 34, 134, 2048, 3048, 4047]);
    assert_eq!(of(SFDISK_DOS_2048), [0], "logical partitions on pages");
    assert_eq!(of(SFDISK_GPT_2048), [0], "only an end is off the grid");
}

#[test]
fn a_partition_at_sector_63_makes_sections_and_so_do_its_neighbours() {
    let of = |entries: &[_]| Disk::new(MIB).table(0, entries).starts();
    assert_eq!(of(&[(0x83, 63, 937)]), [0, 63, 1000]);
    assert_eq!(of(&[(0x83, 1024, 8), (0x83, 63, 937)]), [0, 63, 1000, 1024, 1032]);
    assert_eq!(of(&[(0x83, 63, 100), (0x83, 163, 100)]), [0, 63, 163, 263], "they touch");
    assert_eq!(of(&[(0x83, 63, 200), (0x83, 64, 100)]), [0, 63, 64, 164, 263], "they overlap");
    assert_eq!(of(&[(0x83, 63, 1985)]), [0, 63], "as far as the end of the disk");
    assert_eq!(of(&[(0x83, 63, u32::MAX)]), [0, 63], "and beyond");
    assert_eq!(of(&[(0x83, 64, 100), (0x83, 1024, 9)]), [0], "on pages");
}

#[test]
fn what_is_no_table_is_one_section() {
    let of = |disk: Disk| disk.starts();
    let table = |entries: &[_]| Disk::new(MIB).table(0, entries);
    assert_eq!(of(Disk::new(0)), [0]);
    assert_eq!(of(Disk::new(1)), [0]);
    assert_eq!(of(Disk::new(MIB)), [0]);
    assert_eq!(of(table(&[])), [0]);
    assert_eq!(of(table(&[(0x83, 63, 10), (0x83, 5000, 1)])), [0], "outside of the disk");
    assert_eq!(of(table(&[(0x83, 63, 10), (0, 63, 10)])), [0], "unused and not empty");
    assert_eq!(of(table(&[(0xee, 1, 2047)])), [0], "protects nothing");
    assert_eq!(of(table(&[(0xee, 1, 62), (0x83, 63, 10)])), [0]);
    let mut fat = table(&[(0x83, 63, 10)]);
    fat.put(0, b"\xeb\x3c\x90mkfs.fat\x00\x02");
    fat.put(54, b"FAT16   ");
    assert_eq!(of(fat), [0]);
    let broken = Disk { broken: Some(100), ..table(&[(0x83, 63, 10)]) };
    assert_eq!(of(broken), [0]);
}

/// An extended partition of sectors 1000 to 2000, and what of a partition at 63.
fn extended() -> Disk {
    Disk::new(MIB).table(0, &[(0x83, 63, 10), (0x0f, 1000, 1000)])
}

#[test]
fn a_chain_of_logical_partitions_is_followed_from_the_start_of_the_extended_one() {
    let of = |disk: Disk| disk.starts();
    let two = || {
        let first = extended().table(1000, &[(0x83, 8, 92), (5, 700, 300)]);
        first.table(1700, &[(0x83, 1, 100), (5, 300, 100)])
    };
    let three = two().table(1300, &[(0x82, 10, 10)]);
    assert_eq!(
        of(three),
        [0, 63, 73, 1008, 1100, 1310, 1320, 1701, 1801],
        "the third lies between"
    );
    assert_eq!(of(two()), [0, 63, 73, 1008, 1100, 1701, 1801], "the third has no signature");

    let other_order = extended().table(1000, &[(0x85, 700, 300), (0x83, 8, 92)]);
    assert_eq!(of(other_order.table(1700, &[(0x83, 1, 1)])), [0, 63, 73, 1008, 1100, 1701, 1702]);
    let garbage = extended().table(1000, &[(0x83, 8, 92), (0, 0, 0), (0x83, 500, 1), (5, 600, 1)]);
    assert_eq!(of(garbage.table(1600, &[(0x83, 1, 1)])), [0, 63, 73, 1008, 1100]);
    let emptied = extended().table(1000, &[(0, 0, 0), (5, 600, 1)]);
    assert_eq!(of(emptied.table(1600, &[(0x83, 1, 1)])), [0, 63, 73, 1601, 1602]);
}

#[test]
fn a_hostile_chain_ends() {
    let of = |disk: Disk| disk.starts();
    let own = extended().table(1000, &[(0x83, 9, 90), (5, 0, 1)]);
    assert_eq!(of(own), [0, 63, 73, 1009, 1099], "a link to its own sector");
    let circle = extended().table(1000, &[(0x83, 9, 1), (5, 500, 1)]);
    let circle = circle.table(1500, &[(0x83, 9, 1), (5, 600, 1)]);
    let circle = circle.table(1600, &[(0x83, 9, 1), (5, 500, 1)]);
    assert_eq!(of(circle), [0, 63, 73, 1009, 1010, 1509, 1510, 1609, 1610]);
    let beyond = extended().table(1000, &[(0x83, 999, 5000), (5, 1000, 1)]);
    assert_eq!(
        of(beyond.table(2000, &[(0x83, 1, 1)])),
        [0, 63, 73, 1999],
        "out of the extended one"
    );
    for far in [5000, u32::MAX] {
        let far = extended().table(1000, &[(0x83, far, far), (5, far, far)]);
        assert_eq!(of(far), [0, 63, 73], "out of the disk");
    }
    let broken = extended().table(1000, &[(0x83, 9, 1)]);
    assert_eq!(of(Disk { broken: Some(512_000), ..broken }), [0]);
    assert_eq!(of(Disk { len: 512_100, ..extended() }), [0, 63, 73], "half of the sector is there");
}

#[test]
fn a_chain_is_followed_for_128_sectors_also_through_several_extended_partitions() {
    let mut disk = Disk::new(MIB).table(0, &[(5, 1, 999), (0x85, 1000, 1000), (5, 1, 1000)]);
    for at in (1..400).step_by(4).chain((1000..1400).step_by(4)) {
        let next = at % 1000 + 4 - usize::from(at < 1000);
        let link = if at == 397 { (0, 0, 0) } else { (5, next as u32, 1) };
        disk = disk.table(at, &[(0x83, 1, 1), link]);
    }
    let starts = disk.starts();
    assert_eq!(starts.len(), 1 + 128 * 2);
    assert!(starts.ends_with(&[1109, 1110]), "{starts:?}");
    assert_eq!(disk.reads.load(Ordering::Relaxed), 1 + 128);
}

#[test]
fn partitions_of_a_gpt_include_their_last_sector() {
    let of = |entries: &[_]| Disk::new(MIB).gpt(entries).starts();
    assert_eq!(of(&[(34, 133)]), [0, 34, 134]);
    assert_eq!(of(&[(2000, 2047), (34, 34)]), [0, 34, 35, 2000]);
    assert_eq!(of(&[(1024, 1032)]), [0]);
    assert_eq!(of(&[]), [0]);
    let mut unused = Disk::new(MIB).gpt(&[(34, 50), (60, 70), (80, 90)]);
    unused.put(1024 + 128, &[0; 16]);
    assert_eq!(unused.starts(), [0, 34, 51, 80, 91]);
    let large = Disk::new(MIB).gpt_of(40, 12, 4096, &[(34, 50), (60, 70)]);
    assert_eq!(large.starts(), [0, 34, 51, 60, 71]);
    let mut of_4096 = Disk::new(MIB).table(0, &[(0xee, 1, 255), (0, 0, 0)]);
    of_4096.put(4096, b"EFI PART\0\0\x01\0\x5c\0\0\0");
    assert_eq!(of_4096.starts(), [0]);
    let stale = Disk::new(MIB).gpt(&[(34, 133)]).table(0, &[(0x83, 63, 100)]);
    assert_eq!(stale.starts(), [0, 63, 163], "an MBR that protects no GPT holds");
}

#[test]
fn a_hostile_gpt_is_bounded() {
    let of = |at, count, entry_len, entries: &[_]| {
        Disk::new(MIB).gpt_of(at, count, entry_len, entries).starts()
    };
    assert_eq!(of(2, u32::MAX, 128, &[(34, 50)]), [0, 34, 51]);
    assert_eq!(of(2, u32::MAX, 4096, &[(34, 50)]), [0], "1024 of them reach beyond the end");
    assert_eq!(of(2, 0, 128, &[(34, 50)]), [0]);
    for entry_len in [0, 1, 64, 127, 129, 136, 384, 8192, 1 << 31, u32::MAX] {
        let mut disk = Disk::new(MIB).gpt(&[(34, 50)]);
        disk.put(512 + 84, &entry_len.to_le_bytes());
        assert_eq!(disk.starts(), [0], "{entry_len}");
    }
    for at in [u64::MAX, u64::MAX / 512, u64::MAX / 512 - 10, 2048, 2020] {
        let mut disk = Disk::new(MIB).gpt(&[(34, 50)]);
        disk.put(512 + 72, &at.to_le_bytes());
        assert_eq!(disk.starts(), [0], "{at}");
    }
    let lies =
        [(u64::MAX, u64::MAX), (0, u64::MAX), (34, u64::MAX / 512), (50, 34), (2048, 3000), (3, 3)];
    assert_eq!(of(2, 128, 128, &lies), [0, 3, 4], "those that make no sense are passed over");
    let most: Vec<_> = (0..1024).map(|index| (600 + index, 600 + index)).collect();
    assert_eq!(of(2, 2000, 128, &most), [vec![0], (600..1623).collect()].concat());
    let broken = Disk { broken: Some(40_000), ..Disk::new(MIB).gpt_of(70, 128, 128, &[(34, 50)]) };
    assert_eq!(broken.starts(), [0]);
}

#[test]
fn a_disk_cut_short_anywhere_is_read_as_far_as_it_goes() {
    for rows in [SFDISK_DOS_63, SFDISK_GPT_34] {
        for len in (0..20_000).chain((20_000..4 * MIB).step_by(4999)) {
            let disk = Disk { len, ..Disk::rows(0, rows) };
            let (whole, cut) = (Disk::rows(4 * MIB, rows).starts(), disk.starts());
            assert!(cut.iter().all(|start| whole.contains(start)), "{len}: {cut:?}");
        }
    }
}

const SECTORS: u32 = 300;

/// Small, on the disk or near its end, or anything.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![30 => 1..SECTORS, 1 => 0..2 * SECTORS, 1 => any::<u32>()]
}

fn entries() -> impl Strategy<Value = Vec<(u8, u32, u32)>> {
    let kinds = vec![0x83, 0x83, 0x07, 0x83, 0x05, 0x05, 0x0f, 0x85, 0x82, 0xee, 0];
    let kinds = prop::sample::select(kinds);
    prop::collection::vec((kinds, number(), number()), 0..=4)
}

fn disk() -> impl Strategy<Value = Disk> {
    let len = prop_oneof![4 => Just(u64::from(SECTORS) * 512), 1 => 0..u64::from(SECTORS) * 512];
    let tables = prop::collection::vec((0..SECTORS as usize, entries()), 0..40);
    let first_last = prop_oneof![(0..600_u64, 0..600_u64), any::<(u64, u64)>()];
    let size = prop::sample::select(vec![0, 128, 128, 256, 1000, 4096]);
    let gpt = (0..40_u64, number(), size, prop::collection::vec(first_last, 0..20));
    let noise = prop::collection::vec((0..SECTORS as usize * SECTOR, any::<[u8; 8]>()), 0..8);
    let parts = (len, entries(), tables, prop::option::of(gpt), noise);
    parts.prop_map(|(len, main, tables, gpt, noise)| {
        let mut disk = Disk::new(len).table(0, &main);
        for (at, entries) in tables {
            disk = disk.table(at.max(1), &entries);
        }
        if let Some((at, count, size, entries)) = gpt {
            disk = disk.gpt_of(at, count, size, &entries);
        }
        noise.into_iter().for_each(|(at, bytes)| disk.put(at, &bytes));
        disk
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_the_disk_says_the_promises_hold(disk in disk()) {
        disk.starts();
    }

    #[test]
    fn random_bytes_promise_the_same(
        bytes in prop::collection::vec(any::<u8>(), 0..10_000), len in 0..20_000_u64,
    ) {
        let mut disk = Disk { bytes, len, ..Disk::default() };
        disk.starts();
        disk.put(510, b"\x55\xaa");
        disk.starts();
    }

    #[test]
    fn partitions_of_a_sane_disk_are_the_sections(
        bounds in prop::collection::btree_set(34..2000_u64, 2..40),
    ) {
        let bounds: Vec<u64> = bounds.into_iter().collect();
        let parts: Vec<_> = bounds.chunks_exact(2).map(|pair| (pair[0], pair[1] - 1)).collect();
        let mut expected = vec![0];
        if parts.iter().any(|(first, _)| first % 8 != 0) {
            expected.extend(&bounds[..2 * parts.len()]);
        }
        prop_assert_eq!(Disk::new(MIB).gpt(&parts).starts(), expected);
    }
}
