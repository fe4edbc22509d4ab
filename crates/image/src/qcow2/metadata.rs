//! What the tables of a qcow2 file occupy, and that they share it with nobody.
//!
//! In: a header, the places of the L2 tables, and in the end the layout. Out: doubts.
//!
//! Only what leads to the guest's data is known by its place: header, L1, L2 tables, and, because
//! the header gives their extent, refcount table and the fixed part of the snapshot table. Refcount
//! blocks, the rest of the snapshot table, the tables of the snapshots and the bitmap directory are
//! not read: they are residue whatever they say, and the guest's view does not depend on them. A
//! dirty image, whose refcounts are wrong, is as good as any for that reason.

use std::ops::Range;

use super::doubt::Doubt;
use super::doubt::Structure;
use super::header::Header;
use super::stop::Stop;
use crate::Layout;

/// Bytes of an entry of the snapshot table without its variable parts.
const SNAPSHOT_BYTES_MIN: u64 = 40;

/// What is known to be tables.
pub(super) struct Claims {
    /// At most four.
    ranges: Vec<(Structure, Range<u64>)>,
    cluster: u64,
    file_len: u64,
    /// Where L2 tables start, sorted.
    l2: Vec<u64>,
}

impl Claims {
    /// What the header names.
    pub(super) fn new(header: &Header, file_len: u64) -> Result<Claims, Doubt> {
        let cluster = header.cluster();
        let mut claims = Claims { ranges: Vec::new(), cluster, file_len, l2: Vec::new() };
        claims.add(Structure::Header, 0, cluster.min(file_len))?;
        claims.add(Structure::L1, header.l1_offset, header.l1_size * 8)?;
        let len = header.refcount_clusters * cluster;
        claims.add(Structure::Refcounts, header.refcount_offset, len)?;
        let len = header.snapshot_count * SNAPSHOT_BYTES_MIN;
        claims.add(Structure::Snapshots, header.snapshots_offset, len)?;
        Ok(claims)
    }

    /// A table of zero bytes lies nowhere, whatever its offset says.
    fn add(&mut self, structure: Structure, offset: u64, len: u64) -> Result<(), Doubt> {
        if len == 0 {
            return Ok(());
        }
        if !offset.is_multiple_of(self.cluster) {
            return Err(Doubt::Misaligned { structure, offset });
        }
        let Some(end) = offset.checked_add(len).filter(|end| *end <= self.file_len) else {
            return Err(Doubt::OutOfRange { structure, offset });
        };
        let range = offset..end;
        if self.ranges.iter().any(|(_, other)| overlap(other, &range)) {
            return Err(Doubt::Overlap { structure, offset });
        }
        self.ranges.push((structure, range));
        Ok(())
    }

    /// The L2 tables, in any order, each within the file. Found here and before they are read: two entries of the L1
    /// table that name one L2 table, so that no table is read twice.
    pub(super) fn add_l2(&mut self, mut offsets: Vec<u64>) -> Result<(), Doubt> {
        let structure = Structure::L2;
        for &offset in &offsets {
            let range = offset..offset + self.cluster;
            if self.ranges.iter().any(|(_, other)| overlap(other, &range)) {
                return Err(Doubt::Overlap { structure, offset });
            }
        }
        offsets.sort_unstable();
        let twice = offsets.windows(2).find(|pair| pair.first() == pair.last());
        if let Some(&offset) = twice.and_then(|pair| pair.first()) {
            return Err(Doubt::Overlap { structure, offset });
        }
        self.l2 = offsets;
        Ok(())
    }

    /// That no table is guest data.
    pub(super) fn check(&self, layout: &Layout) -> Result<(), Stop> {
        let l2 = self.l2.iter().map(|&at| (Structure::L2, at..at + self.cluster));
        for (structure, range) in self.ranges.iter().cloned().chain(l2) {
            let offset = range.start;
            if !layout.is_residue(range) {
                return Err(Doubt::Overlap { structure, offset }.into());
            }
        }
        Ok(())
    }
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}
