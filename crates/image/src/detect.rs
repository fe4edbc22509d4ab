//! Is this file a disk image? Decides how it is chunked, and `create -v` says why.
//!
//! In: a source and its path. Out: [`Detected`]. Reads at most [`DETECT_BYTES`]. A wrong answer
//! costs deduplication, never correctness, so nothing here fails: what cannot be read is plain.
//!
//! A magic of two bytes proves nothing: 55 AA ends every boot sector, also those of FAT and NTFS,
//! and EF 53 turns up by chance. Such signatures count only with sane fields around them.

use std::fmt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::Source;

/// Read from the start of a source: as far as the superblock of btrfs, the farthest there is.
pub const DETECT_BYTES: usize = 68 * 1024;

/// Unit of addresses in an MBR. Disks with 4096-byte sectors count in those, which makes the
/// comparison with the length of the image more lenient, not wrong.
pub(crate) const SECTOR_BYTES: u64 = 512;

/// What a file was taken for, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detected {
    /// Version 2 or 3 of QEMU's format, by its magic.
    Qcow2,
    /// A block device.
    BlockDevice,
    /// A disk with an MBR or a GPT.
    PartitionTable,
    /// A file system or LVM physical volume without partition table, by its superblock.
    FileSystem(&'static str),
    /// Nothing in its content, but its name ends as image names do.
    NamedImage,
    /// An ordinary file.
    Plain,
}

impl Detected {
    /// Whether it is to be treated as a disk image.
    pub fn is_image(self) -> bool {
        self != Detected::Plain
    }
}

impl fmt::Display for Detected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Detected::Qcow2 => f.write_str("qcow2 image"),
            Detected::BlockDevice => f.write_str("block device"),
            Detected::PartitionTable => f.write_str("disk image (partition table)"),
            Detected::FileSystem(name) => write!(f, "disk image ({name})"),
            Detected::NamedImage => f.write_str("disk image (by name)"),
            Detected::Plain => f.write_str("file"),
        }
    }
}

/// Looks at the first bytes of `source`, then at `path`.
pub fn detect(source: &dyn Source, path: &Path) -> Detected {
    let wanted = usize::try_from(source.len()).map_or(DETECT_BYTES, |len| len.min(DETECT_BYTES));
    let mut bytes = vec![0; wanted];
    if source.read_at(&mut bytes, 0).is_err() {
        bytes.clear();
    }
    let head = Head::new(&bytes, source.len());
    if head.is_qcow2() {
        Detected::Qcow2
    } else if std::fs::metadata(path).is_ok_and(|stat| stat.file_type().is_block_device()) {
        Detected::BlockDevice
    } else if head.gpt().is_some() {
        Detected::PartitionTable
    } else if let Some(name) = head.boot_sector() {
        Detected::FileSystem(name)
    } else if head.mbr().is_some() {
        Detected::PartitionTable
    } else if let Some(name) = head.superblock() {
        Detected::FileSystem(name)
    } else if is_image_name(path) {
        Detected::NamedImage
    } else {
        Detected::Plain
    }
}

fn is_image_name(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["img", "raw", "qcow2", "qcow"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    })
}

/// The first bytes of a stream of `len` bytes. Every access is total: past the end is "no".
pub(crate) struct Head<'a> {
    bytes: &'a [u8],
    len: u64,
}

impl<'a> Head<'a> {
    pub(crate) fn new(bytes: &'a [u8], len: u64) -> Self {
        Head { bytes, len }
    }

    fn at(&self, offset: usize, len: usize) -> Option<&'a [u8]> {
        self.bytes.get(offset..)?.get(..len)
    }

    pub(crate) fn has(&self, offset: usize, magic: &[u8]) -> bool {
        self.at(offset, magic.len()) == Some(magic)
    }

    fn le16(&self, offset: usize) -> Option<u16> {
        Some(u16::from_le_bytes(self.at(offset, 2)?.try_into().ok()?))
    }

    pub(crate) fn le32(&self, offset: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.at(offset, 4)?.try_into().ok()?))
    }

    pub(crate) fn le64(&self, offset: usize) -> Option<u64> {
        Some(u64::from_le_bytes(self.at(offset, 8)?.try_into().ok()?))
    }

    fn is_qcow2(&self) -> bool {
        self.has(0, b"QFI\xfb\0\0\0\x02") || self.has(0, b"QFI\xfb\0\0\0\x03")
    }

    /// Where the header of a GPT is: in the second sector, of 512 or 4096 bytes.
    pub(crate) fn gpt(&self) -> Option<usize> {
        [512, 4096].into_iter().find(|&sector| {
            let header_len = self.le32(sector + 12).unwrap_or(0);
            self.has(sector, b"EFI PART") && (92..=4096).contains(&header_len)
        })
    }

    /// File systems that start with a boot sector of their own and so look like an MBR.
    pub(crate) fn boot_sector(&self) -> Option<&'static str> {
        let jump = matches!(self.bytes.first(), Some(0xeb | 0xe9));
        let boot = jump && self.has(510, b"\x55\xaa");
        let sane = matches!(self.le16(11), Some(512 | 1024 | 2048 | 4096));
        if boot && self.has(3, b"NTFS    ") && sane {
            Some("ntfs")
        } else if boot && self.has(3, b"EXFAT   ") {
            Some("exfat")
        } else if boot && sane && (self.has(54, b"FAT1") || self.has(82, b"FAT32   ")) {
            Some("fat")
        } else {
            None
        }
    }

    /// An MBR: 55 AA and four entries that are empty or describe a part of this disk, at least
    /// one of them used and at most one active.
    pub(crate) fn mbr(&self) -> Option<[MbrEntry; 4]> {
        let [a, b, c, d] = [0, 1, 2, 3].map(|index| self.mbr_entry(index));
        let entries = [a?, b?, c?, d?];
        let used = entries.iter().any(|entry| entry.kind != 0);
        let active = entries.iter().filter(|entry| entry.active).count();
        (self.has(510, b"\x55\xaa") && used && active <= 1).then_some(entries)
    }

    /// One of the four entries, if it is sane.
    pub(crate) fn mbr_entry(&self, index: usize) -> Option<MbrEntry> {
        let offset = 446 + 16 * index;
        let status = *self.bytes.get(offset)?;
        let kind = *self.bytes.get(offset + 4)?;
        let start = u64::from(self.le32(offset + 8)?);
        let sectors = u64::from(self.le32(offset + 12)?);
        let inside = start >= 1 && start.saturating_mul(SECTOR_BYTES) < self.len;
        let sane = match (status, kind) {
            (0, 0) => start == 0 && sectors == 0,
            (0 | 0x80, 1..) => inside && sectors >= 1,
            _ => false,
        };
        sane.then_some(MbrEntry { kind, active: status != 0, start, sectors })
    }

    fn superblock(&self) -> Option<&'static str> {
        if let Some(name) = self.ext() {
            Some(name)
        } else if self.has(0, b"XFSB") {
            Some("xfs")
        } else if self.has(0x1_0040, b"_BHRfS_M") {
            Some("btrfs")
        } else if self.is_lvm() {
            Some("lvm2")
        } else {
            None
        }
    }

    /// The label of a physical volume lies in one of the first four sectors.
    fn is_lvm(&self) -> bool {
        (0..4).any(|i| self.has(512 * i, b"LABELONE") && self.has(512 * i + 24, b"LVM2 001"))
    }

    /// ext2, ext3 or ext4: by the same features that `blkid` goes by.
    fn ext(&self) -> Option<&'static str> {
        const SUPERBLOCK: usize = 1024;
        const HAS_JOURNAL: u32 = 0x4;
        /// Extents, 64bit, mmp, flex_bg, inline data and all that came later.
        const INCOMPATIBLE_EXT4: u32 = !0x3f;
        /// Huge files, checksums and all that came later.
        const READ_ONLY_EXT4: u32 = !0x7;
        let field = |offset| self.le32(SUPERBLOCK + offset);
        let sane = self.le16(SUPERBLOCK + 0x38)? == 0xef53
            && field(0x00)? >= 1                   // inodes
            && field(0x04)? >= 1                   // blocks
            && field(0x14)? <= 1                   // first data block
            && field(0x18)? <= 6                   // log2 of the block size, minus 10
            && field(0x20)? >= 1                   // blocks per group
            && field(0x4c)? <= 1; // revision
        if !sane {
            return None;
        }
        let (compatible, incompatible, read_only) = (field(0x5c)?, field(0x60)?, field(0x64)?);
        if incompatible & INCOMPATIBLE_EXT4 != 0 || read_only & READ_ONLY_EXT4 != 0 {
            Some("ext4")
        } else if compatible & HAS_JOURNAL != 0 {
            Some("ext3")
        } else {
            Some("ext2")
        }
    }
}

/// One of the four entries of an MBR. Kind 0 is an unused one.
pub(crate) struct MbrEntry {
    pub(crate) kind: u8,
    pub(crate) active: bool,
    /// In sectors, as is the length.
    pub(crate) start: u64,
    pub(crate) sectors: u64,
}
