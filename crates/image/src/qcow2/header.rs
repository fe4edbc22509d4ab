//! The header of a qcow2 file and its extensions: the first cluster.
//!
//! In: the first bytes of a file. Out: a [`Header`] whose fields are within their limits, or a
//! doubt. All numbers are big-endian.
//!
//! | offset | size | field | here |
//! | --- | --- | --- | --- |
//! | 0 | 4 | magic | "QFI\xfb" |
//! | 4 | 4 | version | 2 or 3 |
//! | 8 | 8 | backing_file_offset | bytes; 0 or in the first cluster |
//! | 16 | 4 | backing_file_size | bytes, <= 1023; the name itself is never opened, see [`Others`] |
//! | 20 | 4 | cluster_bits | 9 to 21 |
//! | 24 | 8 | size | bytes of the guest's disk, < 2^63, whole sectors |
//! | 32 | 4 | crypt_method | 0 |
//! | 36 | 4 | l1_size | entries, <= 2^22 |
//! | 40 | 8 | l1_table_offset | bytes |
//! | 48 | 8 | refcount_table_offset | bytes |
//! | 56 | 4 | refcount_table_clusters | 1 to 8 MiB in all |
//! | 60 | 4 | nb_snapshots | <= 65536 |
//! | 64 | 8 | snapshots_offset | bytes |
//! | | | the rest only in version 3 | |
//! | 72 | 8 | incompatible_features | dirty, corrupt, compression type, extended L2 |
//! | 80 | 8 | compatible_features | ignored |
//! | 88 | 8 | autoclear_features | ignored |
//! | 96 | 4 | refcount_order | <= 6 |
//! | 100 | 4 | header_length | bytes, a multiple of 8, >= 104 |
//! | 104 | 1 | compression_type | 0 zlib, 1 zstd; if header_length has room for it |

use super::doubt::Doubt;
use super::stop::Stop;
use crate::{Source, SourceError};

/// Length of a header of version 2, in bytes.
const V2_LEN: usize = 72;
/// Length of a header of version 3 as far as it always reaches.
const V3_LEN: usize = 104;
/// As far as this program knows a header.
const KNOWN_LEN: usize = 112;

/// Limits of QEMU.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
const EXTENDED_CLUSTER_BITS_MIN: u32 = 14;
const L1_SIZE_MAX: u64 = 32 * 1024 * 1024 / 8;
const REFCOUNT_TABLE_BYTES_MAX: u64 = 8 * 1024 * 1024;
const SNAPSHOT_COUNT_MAX: u64 = 65536;
const BACKING_NAME_BYTES_MAX: u64 = 1023;
const SECTOR_BYTES: u64 = 512;

/// Refcounts may be wrong. They are not read here, and what is read is checked.
const DIRTY: u64 = 1 << 0;
/// Anything may be wrong: as with every image, what is read is checked.
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
const KNOWN_FEATURES: u64 = DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION_TYPE | EXTENDED_L2;

/// How compressed clusters are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Zlib,
    Zstd,
}

/// What the rest of the parser needs of the header. Offsets are as the file says: unchecked.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) cluster_bits: u32,
    /// Bytes of the guest's disk.
    pub(super) guest_len: u64,
    /// L2 entries are of 16 bytes and have subclusters.
    pub(super) extended: bool,
    pub(super) compression: Compression,
    pub(super) has_backing: bool,
    pub(super) l1_size: u64,
    pub(super) l1_offset: u64,
    pub(super) refcount_offset: u64,
    pub(super) refcount_clusters: u64,
    pub(super) snapshot_count: u64,
    pub(super) snapshots_offset: u64,
}

impl Header {
    /// Reads and checks the header and walks over its extensions.
    pub(super) fn read(file: &dyn Source) -> Result<Header, Stop> {
        let mut bytes = [0; KNOWN_LEN];
        // A file that is shorter reads as zeros there.
        file.read_at(&mut bytes, 0)?;
        let fields = Fields(&bytes);
        let version = fields.be32(4);
        let header_min = if version == 2 { V2_LEN } else { V3_LEN };
        let known = fields.be32(0) == u32::from_be_bytes(*b"QFI\xfb") && matches!(version, 2 | 3);
        if !known || file.len() < header_min as u64 {
            return Err(Doubt::NotQcow2.into());
        }
        let (header, header_len) = Header::decode(&fields, version)?;
        header.walk_extensions(file, header_len, fields.be64(8))?;
        Ok(header)
    }

    fn decode(fields: &Fields<'_>, version: u32) -> Result<(Header, u64), Doubt> {
        let cluster_bits = fields.be32(20);
        check("cluster_bits", u64::from(cluster_bits), CLUSTER_BITS.contains(&cluster_bits))?;
        if fields.be32(32) != 0 {
            return Err(Doubt::Encrypted);
        }
        let cluster = 1 << cluster_bits;
        let newer = if version == 2 { Newer::V2 } else { Newer::decode(fields, cluster)? };
        let extended = newer.extended && cluster_bits >= EXTENDED_CLUSTER_BITS_MIN;
        check("cluster_bits", u64::from(cluster_bits), extended == newer.extended)?;
        let header = Header {
            version,
            cluster_bits,
            guest_len: fields.be64(24),
            extended,
            compression: newer.compression,
            has_backing: fields.be64(8) != 0 && fields.be32(16) != 0,
            l1_size: u64::from(fields.be32(36)),
            l1_offset: fields.be64(40),
            refcount_offset: fields.be64(48),
            refcount_clusters: u64::from(fields.be32(56)),
            snapshot_count: u64::from(fields.be32(60)),
            snapshots_offset: fields.be64(64),
        };
        header.check(fields.be64(8), u64::from(fields.be32(16)))?;
        Ok((header, newer.header_len))
    }

    fn check(&self, backing_offset: u64, backing_size: u64) -> Result<(), Doubt> {
        let len = self.guest_len;
        // QEMU makes no other, and would cut the last part of a sector off.
        check("size", len, i64::try_from(len).is_ok() && len.is_multiple_of(SECTOR_BYTES))?;
        check("l1_size", self.l1_size, self.l1_size <= L1_SIZE_MAX)?;
        if self.l1_needed() > self.l1_size {
            return Err(Doubt::L1TooSmall { entries: self.l1_size, guest_len: len });
        }
        let table = self.refcount_clusters << self.cluster_bits;
        let fits = (1..=REFCOUNT_TABLE_BYTES_MAX).contains(&table);
        check("refcount_table_clusters", self.refcount_clusters, fits)?;
        check("nb_snapshots", self.snapshot_count, self.snapshot_count <= SNAPSHOT_COUNT_MAX)?;
        let end = backing_offset.saturating_add(if backing_offset == 0 { 0 } else { backing_size });
        check("backing_file_offset", backing_offset, end <= self.cluster())?;
        let fits = backing_offset == 0 || backing_size <= BACKING_NAME_BYTES_MAX;
        check("backing_file_size", backing_size, fits)
    }

    /// Extensions are bytes of the residue, whatever they say; that they lie in the first cluster,
    /// before the name of the backing file, is what tells a header from chance.
    fn walk_extensions(&self, file: &dyn Source, start: u64, backing: u64) -> Result<(), Stop> {
        const END_MARK: u32 = 0;
        let end = if backing == 0 { self.cluster() } else { backing };
        let mut at = start;
        // Each step moves on by 8 bytes at least, in a cluster of 2 MiB at most.
        while at < end {
            let mut bytes = [0; 8];
            file.read_at(&mut bytes, at)?;
            let fields = Fields(&bytes);
            if fields.be32(0) == END_MARK {
                return Ok(());
            }
            let len = u64::from(fields.be32(4)).next_multiple_of(8);
            at += 8 + len;
            check("header extension", u64::from(fields.be32(0)), at <= end)?;
        }
        Ok(check("header_length", start, at == end)?)
    }

    /// Bytes of a cluster.
    pub(super) fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Bytes of an entry of an L2 table.
    pub(super) fn entry_len(&self) -> usize {
        if self.extended { 16 } else { 8 }
    }

    /// Bytes of the guest's disk that one L2 table describes: at most 2^39.
    pub(super) fn l2_reach(&self) -> u64 {
        self.cluster() / self.entry_len() as u64 * self.cluster()
    }

    /// Entries of the L1 table that the disk needs. There may be more: a grown image has room, and
    /// what they name is not on the disk.
    pub(super) fn l1_needed(&self) -> u64 {
        self.guest_len.div_ceil(self.l2_reach())
    }
}

/// The fields that version 3 added.
struct Newer {
    extended: bool,
    compression: Compression,
    header_len: u64,
}

impl Newer {
    const V2: Newer =
        Newer { extended: false, compression: Compression::Zlib, header_len: V2_LEN as u64 };

    fn decode(fields: &Fields<'_>, cluster: u64) -> Result<Newer, Doubt> {
        let features = fields.be64(72);
        if features & !KNOWN_FEATURES != 0 {
            return Err(Doubt::Features(features & !KNOWN_FEATURES));
        }
        if features & EXTERNAL_DATA != 0 {
            return Err(Doubt::ExternalData);
        }
        let refcount_order = u64::from(fields.be32(96));
        check("refcount_order", refcount_order, refcount_order <= 6)?;
        let header_len = u64::from(fields.be32(100));
        let sane = (V3_LEN as u64..=cluster).contains(&header_len) && header_len.is_multiple_of(8);
        check("header_length", header_len, sane)?;
        let kind = if header_len > V3_LEN as u64 { fields.byte(V3_LEN) } else { 0 };
        let compression = match (kind, features & COMPRESSION_TYPE != 0) {
            (0, false) => Compression::Zlib,
            (1, true) => Compression::Zstd,
            _ => return Err(Doubt::Field { field: "compression_type", value: u64::from(kind) }),
        };
        Ok(Newer { extended: features & EXTENDED_L2 != 0, compression, header_len })
    }
}

/// The names of other files without which the disk in a qcow2 file cannot be read. They are an enemy's words: for people to
/// read, and to be compared with names that are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Others {
    /// The file that has what this one does not, at most 1023 bytes.
    pub backing: Option<Vec<u8>>,
    /// The file that has the data, at most 1023 bytes; empty if the header does not name it.
    pub data: Option<Vec<u8>>,
}

/// The files that the qcow2 file `file` needs besides itself; none if it is no such file, or its header makes no sense there.
///
/// # Errors
/// Only if the file itself cannot be read.
pub fn others(file: &dyn Source) -> Result<Others, SourceError> {
    const DATA_FILE_NAME: u32 = u32::from_be_bytes(*b"DATA");
    let mut bytes = [0; KNOWN_LEN];
    file.read_at(&mut bytes, 0)?;
    let fields = Fields(&bytes);
    let mut others = Others::default();
    if fields.be32(0) != u32::from_be_bytes(*b"QFI\xfb") || !matches!(fields.be32(4), 2 | 3) {
        return Ok(others);
    }
    let name = |offset, len: u32| -> Result<Option<Vec<u8>>, SourceError> {
        let end = u64::from(len).checked_add(offset);
        if u64::from(len) > BACKING_NAME_BYTES_MAX || end.is_none_or(|end| end > file.len()) {
            return Ok(None);
        }
        let mut name = vec![0; len as usize];
        file.read_at(&mut name, offset)?;
        Ok(Some(name))
    };
    let (backing_offset, backing_len) = (fields.be64(8), fields.be32(16));
    if backing_offset != 0 && backing_len != 0 {
        others.backing = name(backing_offset, backing_len)?;
    }
    if fields.be32(4) == 3 && fields.be64(72) & EXTERNAL_DATA != 0 {
        others.data = Some(Vec::new());
        let mut at = u64::from(fields.be32(100));
        // The extensions lie in the first cluster, of 2 MiB at most; each is 8 bytes long at least.
        let end = (1 << fields.be32(20).min(*CLUSTER_BITS.end())).min(file.len());
        while at.saturating_add(8) <= end {
            let mut head = [0; 8];
            file.read_at(&mut head, at)?;
            let head = Fields(&head);
            match head.be32(0) {
                0 => break,
                DATA_FILE_NAME => {
                    others.data = Some(name(at + 8, head.be32(4))?.unwrap_or_default());
                    break;
                }
                _ => at += 8 + u64::from(head.be32(4)).next_multiple_of(8),
            }
        }
    }
    Ok(others)
}

fn check(field: &'static str, value: u64, sane: bool) -> Result<(), Doubt> {
    if sane { Ok(()) } else { Err(Doubt::Field { field, value }) }
}

/// Big-endian numbers in bytes. Total: past the end is zero.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes<const LEN: usize>(&self, offset: usize) -> [u8; LEN] {
        let found = self.0.get(offset..).and_then(|rest| rest.first_chunk());
        found.copied().unwrap_or([0; LEN])
    }

    fn byte(&self, offset: usize) -> u8 {
        self.0.get(offset).copied().unwrap_or(0)
    }

    fn be32(&self, offset: usize) -> u32 {
        u32::from_be_bytes(self.bytes(offset))
    }

    fn be64(&self, offset: usize) -> u64 {
        u64::from_be_bytes(self.bytes(offset))
    }
}
