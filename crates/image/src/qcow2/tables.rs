//! L1 and L2 tables: from the header to every cluster of the guest's disk.
//!
//! In: a file and its header. Out: the places of the L2 tables, and each [`Cluster`] that is
//! allocated or compressed, in the guest's order.
//!
//! An entry is eight bytes, big-endian; an extended L2 entry has eight more, with the state of each
//! of 32 subclusters.
//!
//! | bits | L1 entry | standard cluster | compressed cluster (x = 70 - cluster_bits) |
//! | --- | --- | --- | --- |
//! | 0 | 0 | reads as zeros (version 3, not extended) | 0 to x-1: first byte in the file |
//! | 1-8 | 0 | 0 | |
//! | 9-55 | place of the L2 table, 0 if none | place of the cluster, 0 if none | |
//! | 56-61 | 0 | 0 | x to 61: further sectors of 512 bytes |
//! | 62 | 0 | 0 | 1 |
//! | 63 | refcount is one | refcount is one | 0 |
//!
//! Cost: each L2 table is read once, those that follow each other in the file by one read; those
//! that lie in holes are not read, so a huge sparse file costs no more than what it stores.

use super::doubt::Doubt;
use super::doubt::Structure;
use super::header::Header;
use super::stop::Stop;
use crate::extents::ExtentCursor;
use crate::{Source, SourceError};

/// Bytes of L1 table that are held at once.
const L1_BLOCK_BYTES: u64 = 64 * 1024;

/// Bytes of L2 tables that are read at once, unless one is larger.
const BATCH_BYTES: u64 = 1024 * 1024;

const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// The refcount is exactly one: of no interest to a reader.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;

const SECTOR_BYTES: u64 = 512;

/// A cluster of the guest's disk that has something in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cluster {
    /// Lies there as the guest reads it: the subclusters whose bits are set, of 32.
    Plain { file_offset: u64, allocated: u32 },
    /// To be inflated from these bytes (some of which may belong to a neighbour).
    Compressed { file_offset: u64, len: u64 },
}

/// Where the L2 tables of the guest's disk lie, in the guest's order: at most 2^22.
pub(super) fn l2_offsets(file: &dyn Source, header: &Header) -> Result<Vec<u64>, Stop> {
    let mut offsets = Vec::new();
    for_l2_tables(file, header, |_, offset| {
        offsets.push(offset);
        Ok(())
    })?;
    Ok(offsets)
}

/// Calls `visit` with the offset on the guest's disk of each cluster that has something in the
/// file, in order. All offsets it is given are below the length of the disk. Gives the bytes of the
/// disk that the entries say are zeros.
pub(super) fn walk(
    file: &dyn Source,
    header: &Header,
    mut visit: impl FnMut(u64, Cluster) -> Result<(), Doubt>,
) -> Result<u64, Stop> {
    let bytes = Vec::new();
    let mut batch = Batch { header, index: 0, file_offset: 0, count: 0, zero_len: 0, bytes };
    let mut holes = ExtentCursor::default();
    for_l2_tables(file, header, |index, offset| {
        let cluster = header.cluster();
        let extent = holes.extent(file, offset, cluster)?;
        if extent.is_hole() && extent.len() == cluster {
            return Ok(());
        }
        if !batch.append(index, offset) {
            batch.flush(file, &mut visit)?;
            batch.start(index, offset);
        }
        Ok(())
    })?;
    batch.flush(file, &mut visit)?;
    Ok(batch.zero_len)
}

/// Calls `visit` with index and place of each L2 table that the L1 table names and that is within
/// the file. Reads the L1 table in blocks.
fn for_l2_tables(
    file: &dyn Source,
    header: &Header,
    mut visit: impl FnMut(u64, u64) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let len = header.l1_needed() * 8;
    let mut at = 0;
    let mut block = Vec::new();
    while at < len {
        // At most 64 KiB.
        block.resize((len - at).min(L1_BLOCK_BYTES) as usize, 0);
        file.read_at(&mut block, header.l1_offset.saturating_add(at))?;
        for (index, entry) in (at / 8..).zip(entries(&block)) {
            if entry & !(OFFSET_MASK | COPIED) != 0 {
                return Err(Doubt::Entry { structure: Structure::L1, entry }.into());
            }
            let offset = entry & OFFSET_MASK;
            if offset != 0 {
                check_l2(header, offset, file.len())?;
                visit(index, offset)?;
            }
        }
        at += block.len() as u64;
    }
    Ok(())
}

/// Asked again in the second pass over the L1 table: the file may be changing.
fn check_l2(header: &Header, offset: u64, file_len: u64) -> Result<(), Doubt> {
    let structure = Structure::L2;
    if !offset.is_multiple_of(header.cluster()) {
        return Err(Doubt::Misaligned { structure, offset });
    }
    if offset + header.cluster() > file_len {
        return Err(Doubt::OutOfRange { structure, offset });
    }
    Ok(())
}

fn entries(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.as_chunks().0.iter().map(|entry| u64::from_be_bytes(*entry))
}

/// L2 tables that follow each other on the disk and in the file.
struct Batch<'a> {
    header: &'a Header,
    /// Of the first in the L1 table.
    index: u64,
    file_offset: u64,
    count: u64,
    /// Bytes of the disk that the entries so far say are zeros.
    zero_len: u64,
    bytes: Vec<u8>,
}

impl Batch<'_> {
    fn start(&mut self, index: u64, file_offset: u64) {
        (self.index, self.file_offset, self.count) = (index, file_offset, 1);
    }

    /// Whether the table was taken along.
    fn append(&mut self, index: u64, offset: u64) -> bool {
        let len = self.count << self.header.cluster_bits;
        let next = self.count > 0
            && len < BATCH_BYTES
            && index == self.index + self.count
            && offset == self.file_offset + len;
        self.count += u64::from(next);
        next
    }

    /// Reads the tables and visits what they hold.
    fn flush(
        &mut self,
        file: &dyn Source,
        visit: &mut impl FnMut(u64, Cluster) -> Result<(), Doubt>,
    ) -> Result<(), Stop> {
        // At most BATCH_BYTES, or a cluster of 2 MiB.
        self.bytes.resize((self.count << self.header.cluster_bits) as usize, 0);
        self.read(file)?;
        let first = self.index * self.header.l2_reach();
        let guest_offsets = (first..self.header.guest_len).step_by(1 << self.header.cluster_bits);
        if self.header.extended {
            let entries = self.bytes.as_chunks::<16>().0;
            for (guest_offset, entry) in guest_offsets.zip(entries) {
                let (entry, bitmap) = halves(entry);
                if entry & COMPRESSED == 0 {
                    self.zero_len += zero_len(self.header, guest_offset, (bitmap >> 32) as u32);
                }
                if let Some(cluster) = extended(self.header, entry, bitmap)? {
                    visit(guest_offset, cluster)?;
                }
            }
        } else {
            for (guest_offset, entry) in guest_offsets.zip(entries(&self.bytes)) {
                if entry & (COMPRESSED | ZERO) == ZERO {
                    self.zero_len += zero_len(self.header, guest_offset, u32::MAX);
                }
                if entry != 0
                    && let Some(cluster) = standard(self.header, entry)?
                {
                    visit(guest_offset, cluster)?;
                }
            }
        }
        self.count = 0;
        Ok(())
    }

    fn read(&mut self, file: &dyn Source) -> Result<(), SourceError> {
        if self.bytes.is_empty() { Ok(()) } else { file.read_at(&mut self.bytes, self.file_offset) }
    }
}

/// Bytes of a cluster's subclusters that these bits say are zeros, as far as the disk reaches.
fn zero_len(header: &Header, guest_offset: u64, zero: u32) -> u64 {
    let len = (header.cluster() * u64::from(zero.count_ones())) / u64::from(u32::BITS);
    len.min(header.guest_len - guest_offset)
}

fn halves(entry: &[u8; 16]) -> (u64, u64) {
    let both = u128::from_be_bytes(*entry);
    ((both >> 64) as u64, both as u64)
}

fn invalid(entry: u64) -> Doubt {
    Doubt::Entry { structure: Structure::L2, entry }
}

/// A standard entry that is not 0. A cluster with the zero flag has nothing in the file that the
/// guest would read, even if it has a place there.
fn standard(header: &Header, entry: u64) -> Result<Option<Cluster>, Doubt> {
    if entry & COMPRESSED != 0 {
        return compressed(header, entry).map(Some);
    }
    if header.version == 2 && entry & ZERO != 0 {
        return Err(invalid(entry));
    }
    let file_offset = place(header, entry & !ZERO)?;
    let plain = file_offset != 0 && entry & ZERO == 0;
    Ok(plain.then_some(Cluster::Plain { file_offset, allocated: u32::MAX }))
}

/// An extended entry. Each subcluster is allocated, or zero, or neither.
fn extended(header: &Header, entry: u64, bitmap: u64) -> Result<Option<Cluster>, Doubt> {
    if entry & COMPRESSED != 0 {
        return if bitmap == 0 {
            compressed(header, entry).map(Some)
        } else {
            Err(invalid(bitmap))
        };
    }
    let (zero, allocated) = ((bitmap >> 32) as u32, bitmap as u32);
    let file_offset = place(header, entry)?;
    if zero & allocated != 0 || (file_offset == 0 && allocated != 0) {
        return Err(invalid(bitmap));
    }
    Ok((allocated != 0).then_some(Cluster::Plain { file_offset, allocated }))
}

/// The place of a standard cluster, 0 if it has none.
fn place(header: &Header, entry: u64) -> Result<u64, Doubt> {
    let file_offset = entry & OFFSET_MASK;
    // "The offset may only be 0 with bit 63 set when an external data file is used."
    if entry & !(OFFSET_MASK | COPIED) != 0 || entry == COPIED {
        return Err(invalid(entry));
    }
    if !file_offset.is_multiple_of(header.cluster()) {
        return Err(Doubt::Misaligned { structure: Structure::Data, offset: file_offset });
    }
    Ok(file_offset)
}

/// A compressed cluster: from its first byte to the end of its last sector.
fn compressed(header: &Header, entry: u64) -> Result<Cluster, Doubt> {
    if entry & COPIED != 0 {
        return Err(invalid(entry));
    }
    let offset_bits = 70 - header.cluster_bits;
    let file_offset = entry & ((1 << offset_bits) - 1);
    let sectors = ((entry & !COMPRESSED) >> offset_bits) + 1;
    if file_offset >> 56 != 0 {
        return Err(invalid(entry));
    }
    // At most twice a cluster.
    let len = sectors * SECTOR_BYTES - file_offset % SECTOR_BYTES;
    Ok(Cluster::Compressed { file_offset, len })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qcow2::header::Compression;

    fn header(version: u32, cluster_bits: u32, extended: bool) -> Header {
        Header {
            version,
            cluster_bits,
            guest_len: 1 << 30,
            extended,
            compression: Compression::Zlib,
            has_backing: false,
            l1_size: 1,
            l1_offset: 1 << 16,
            refcount_offset: 2 << 16,
            refcount_clusters: 1,
            snapshot_count: 0,
            snapshots_offset: 0,
        }
    }

    #[test]
    fn standard_entries_are_plain_zero_or_invalid() {
        let v3 = header(3, 16, false);
        let plain = Cluster::Plain { file_offset: 0x5_0000, allocated: u32::MAX };
        assert_eq!(standard(&v3, 0x5_0000), Ok(Some(plain)));
        assert_eq!(standard(&v3, COPIED | 0x5_0000), Ok(Some(plain)));
        assert_eq!(standard(&v3, 1), Ok(None), "zero without a place");
        assert_eq!(standard(&v3, COPIED | 0x5_0001), Ok(None), "preallocated zero");
        assert!(standard(&header(2, 16, false), 0x5_0001).is_err(), "no zero flag in version 2");
        for entry in [COPIED, COPIED | 1, 0x5_0002, 0x5_0100, 1 << 56, 1 << 61] {
            assert!(standard(&v3, entry).is_err(), "{entry:#x}");
        }
        let misaligned = Doubt::Misaligned { structure: Structure::Data, offset: 0x5_0200 };
        assert_eq!(standard(&v3, 0x5_0200), Err(misaligned));
    }

    #[test]
    fn extended_entries_have_32_states() {
        let v3 = header(3, 16, true);
        let plain = Cluster::Plain { file_offset: 0x5_0000, allocated: 0x8000_0001 };
        assert_eq!(extended(&v3, 0x5_0000, 0x8000_0001), Ok(Some(plain)));
        assert_eq!(extended(&v3, 0x5_0000, 0xff << 32), Ok(None));
        assert_eq!(extended(&v3, 0, 0xff << 32), Ok(None), "zeros need no place");
        assert_eq!(extended(&v3, 0x5_0000, 1 << 32 | 1), Err(invalid(1 << 32 | 1)), "both");
        assert_eq!(extended(&v3, 0, 1), Err(invalid(1)), "allocated nowhere");
        assert_eq!(extended(&v3, 0x5_0001, 1), Err(invalid(0x5_0001)), "no zero flag");
        assert_eq!(extended(&v3, COMPRESSED | 512, 1), Err(invalid(1)));
    }

    #[test]
    fn compressed_entries_reach_to_the_end_of_a_sector() {
        // QEMU's layout with 64 KiB clusters: 54 bits of place, 8 of sectors.
        let v3 = header(3, 16, false);
        let cluster = |file_offset, len| Ok(Some(Cluster::Compressed { file_offset, len }));
        assert_eq!(standard(&v3, COMPRESSED | 0x5_0000), cluster(0x5_0000, 512));
        assert_eq!(
            standard(&v3, COMPRESSED | 3 << 54 | 0x5_0064),
            cluster(0x5_0064, 4 * 512 - 100)
        );
        assert!(standard(&v3, COMPRESSED | COPIED | 0x5_0000).is_err());
        let small = header(3, 9, false);
        assert_eq!(standard(&small, COMPRESSED | 1 << 61 | 1), cluster(1, 1023));
        assert!(standard(&small, COMPRESSED | 1 << 56).is_err(), "bits beyond 55");
    }
}
