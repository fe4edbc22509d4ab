//! What a disk is divided into, and what each part holds.
//!
//! In: a source. Out: its partitions, or the disk itself where it has none, and what the first bytes of each say.
//! Promises: at most 72 KiB of each are read; nothing fails: what cannot be read holds nothing.

use std::ops::Range;

use garret_image::{Source, partitions};

/// What a volume holds, as far as its first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// ext2, ext3 or ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// NTFS.
    Ntfs,
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// Something that is known, and not read here: its name.
    Other(&'static str),
    /// Nothing that is known.
    Nothing,
}

impl Holds {
    /// Whether it is read here.
    pub fn is_served(&self) -> bool {
        !matches!(self, Holds::Other(_) | Holds::Nothing)
    }
}

impl std::fmt::Display for Holds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Holds::Ext4 => "ext4",
            Holds::Xfs => "xfs",
            Holds::Ntfs => "ntfs",
            Holds::Fat => "fat",
            Holds::Other(name) => name,
            Holds::Nothing => "-",
        })
    }
}

/// A part of a disk, or all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The number of the partition, as Linux counts; none if the disk has no partitions.
    pub number: Option<u32>,
    /// Where it is on the disk, in bytes.
    pub range: Range<u64>,
    /// What it holds.
    pub holds: Holds,
    /// Its name, if what it holds has one in its first bytes.
    pub label: Vec<u8>,
}

/// What is told by where it has which bytes: place, bytes, what it is. In this order: a file system that was made over
/// another one may have left its bytes there.
const SIGNS: &[(u64, &[u8], Holds)] = &[
    (0, b"XFSB", Holds::Xfs),
    (3, b"NTFS    ", Holds::Ntfs),
    (3, b"EXFAT   ", Holds::Other("exfat")),
    (3, b"-FVE-FS-", Holds::Other("BitLocker")),
    (3, b"ReFS", Holds::Other("refs")),
    (0, b"LUKS\xba\xbe", Holds::Other("LUKS")),
    (512, b"LABELONE", Holds::Other("LVM")),
    (0, b"LABELONE", Holds::Other("LVM")),
    (1024, b"LABELONE", Holds::Other("LVM")),
    (1536, b"LABELONE", Holds::Other("LVM")),
    (0x10040, b"_BHRfS_M", Holds::Other("btrfs")),
    (1080, b"\x53\xef", Holds::Ext4),
    (1024, b"\x10\x20\xf5\xf2", Holds::Other("f2fs")),
    (4096, b"\xfc\x4e\x2b\xa9", Holds::Other("Linux RAID")),
    (0, b"hsqs", Holds::Other("squashfs")),
    (1024, b"\xe2\xe1\xf5\xe0", Holds::Other("erofs")),
    (0x8001, b"CD001", Holds::Other("iso9660")),
    (4086, b"SWAPSPACE2", Holds::Other("swap")),
    FAT32,
    (54, b"FAT", Holds::Fat),
];

/// What FAT32 has where the others have none of their names.
const FAT32: (u64, &[u8], Holds) = (82, b"FAT32   ", Holds::Fat);

/// The name of a volume of FAT that has none.
const NO_NAME: &[u8] = b"NO NAME";

/// The volumes of a disk, in order of their numbers.
pub fn volumes(disk: &dyn Source) -> Vec<Volume> {
    // What was on a disk before it was divided may still be there: its table comes first.
    let mut found: Vec<Volume> = partitions(disk)
        .into_iter()
        .map(|found| volume(disk, Some(found.number), found.range))
        .collect();
    found.sort_by_key(|found| found.number);
    match found.is_empty() {
        true => vec![volume(disk, None, 0..disk.len())],
        false => found,
    }
}

/// Looks at a part of the disk.
fn volume(disk: &dyn Source, number: Option<u32>, range: Range<u64>) -> Volume {
    let start = |at: u64, len: usize| {
        let mut bytes = vec![0; len];
        let end = at.checked_add(len as u64).filter(|end| *end <= range.end.min(disk.len()));
        end.and_then(|_| disk.read_at(&mut bytes, at).ok()).map(|()| bytes)
    };
    let has = |(at, sign, _): &&(u64, &[u8], Holds)| {
        range.start.checked_add(*at).and_then(|at| start(at, sign.len())).as_deref() == Some(sign)
    };
    let holds = SIGNS.iter().find(has).map_or(Holds::Nothing, |(_, _, holds)| *holds);
    let label = match holds {
        Holds::Ext4 => Some((1024 + 120, 16)),
        Holds::Xfs => Some((108, 12)),
        Holds::Fat if has(&&FAT32) => Some((71, 11)),
        Holds::Fat => Some((43, 11)),
        _ => None,
    };
    let label = label.and_then(|(at, len)| start(range.start.checked_add(at)?, len));
    let label = label.unwrap_or_default();
    let end = label.iter().position(|byte| *byte == 0).unwrap_or(label.len());
    let label = label.get(..end).unwrap_or_default().trim_ascii_end();
    let label = if label == NO_NAME { Vec::new() } else { label.to_vec() };
    Volume { number, range, holds, label }
}
