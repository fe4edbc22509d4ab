//! The map of a qcow2 file: what its tables come to.
//!
//! In: a file. Out: [`Map`], or a doubt. Promises that the tables were consistent: each cluster of
//! the file is one thing, within the file, and used once.

use super::doubt::Doubt;
use super::doubt::Structure;
use super::header::{Compression, Header};
use super::metadata::Claims;
use super::stop::Stop;
use super::tables::{Cluster, l2_offsets, walk};
use crate::layout::Runs;
use crate::{Layout, LayoutError, Lens, Piece, RUNS_MAX, Source};

/// Subclusters of a cluster with extended L2 entries.
const SUBCLUSTERS: u64 = 32;

/// A qcow2 file as far as a backup is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// Where the guest's data lies in the file.
    pub layout: Layout,
    /// 2 or 3.
    pub version: u32,
    /// Bytes of a cluster, 512 to 2 MiB.
    pub cluster_bytes: u64,
    /// Whether the cluster is divided into 32 subclusters.
    pub extended_l2: bool,
    /// Whether what is not in this file may be in another one, which was not looked at.
    pub has_backing: bool,
    /// Bytes of the guest's disk that the tables say are zeros, whatever a backing file has there.
    pub zero_len: u64,
    /// Internal snapshots.
    pub snapshot_count: u64,
    /// Compressed clusters of the guest's disk: not in the layout's guest stream, which reads as
    /// zeros there.
    pub compressed_count: u64,
}

/// A compressed cluster of the guest's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compressed {
    /// In bytes of the guest's disk; a whole cluster starts here.
    pub(super) guest_offset: u64,
    pub(super) file_offset: u64,
    /// Bytes of the file, at most twice a cluster.
    pub(super) len: u64,
}

/// Reads the map of a file.
pub(super) fn read(file: &dyn Source) -> Result<Map, Stop> {
    let mut count = 0;
    let (map, _) = read_with(file, |_| {
        count += 1;
        Ok(())
    })?;
    Ok(Map { compressed_count: count, ..map })
}

/// Reads the map of a file, its compressed clusters in the order of the guest's disk, and how they
/// are compressed.
pub(super) fn read_compressed(
    file: &dyn Source,
) -> Result<(Map, Vec<Compressed>, Compression), Stop> {
    let mut found = Vec::new();
    let (map, compression) = read_with(file, |cluster| {
        if found.len() == RUNS_MAX {
            return Err(Doubt::Fragmented);
        }
        found.push(cluster);
        Ok(())
    })?;
    Ok((Map { compressed_count: found.len() as u64, ..map }, found, compression))
}

fn read_with(
    file: &dyn Source,
    mut compressed: impl FnMut(Compressed) -> Result<(), Doubt>,
) -> Result<(Map, Compression), Stop> {
    let header = Header::read(file)?;
    let mut claims = Claims::new(&header, file.len())?;
    claims.add_l2(l2_offsets(file, &header)?)?;
    let lens = Lens { file: file.len(), guest: header.guest_len };
    let mut plain = Plain { runs: Runs::new(lens), lens, part: header.cluster() / SUBCLUSTERS };
    let zero_len = walk(file, &header, |guest_offset, cluster| match cluster {
        Cluster::Plain { file_offset, allocated } => {
            plain.push(guest_offset, file_offset, allocated)
        }
        Cluster::Compressed { file_offset, .. } if file_offset >= lens.file => {
            Err(Doubt::OutOfRange { structure: Structure::Compressed, offset: file_offset })
        }
        Cluster::Compressed { file_offset, len } => {
            compressed(Compressed { guest_offset, file_offset, len })
        }
    })?;
    let layout = plain.runs.finish().map_err(doubt)?;
    claims.check(&layout)?;
    let map = Map {
        layout,
        version: header.version,
        cluster_bytes: header.cluster(),
        extended_l2: header.extended,
        has_backing: header.has_backing,
        zero_len,
        snapshot_count: header.snapshot_count,
        compressed_count: 0,
    };
    Ok((map, header.compression))
}

/// Collects the runs of plain clusters.
struct Plain {
    runs: Runs,
    lens: Lens,
    /// Bytes of a subcluster.
    part: u64,
}

impl Plain {
    /// Adds the subclusters of a cluster whose bits are set. What lies behind the end of the disk
    /// is not the guest's; what lies behind the end of the file reads as zeros, as QEMU has it, if
    /// the file ends within the subclusters, and raises doubts if it ends before them.
    fn push(&mut self, guest_offset: u64, file_offset: u64, allocated: u32) -> Result<(), Doubt> {
        let mut bits = allocated;
        let mut first = 0;
        while bits != 0 {
            first += bits.trailing_zeros();
            bits >>= bits.trailing_zeros();
            let count = bits.trailing_ones();
            bits = bits.checked_shr(count).unwrap_or(0);
            let skip = u64::from(first) * self.part;
            first += count;
            let (offset, file_offset) = (guest_offset + skip, file_offset + skip);
            if offset >= self.lens.guest {
                break;
            }
            if file_offset >= self.lens.file {
                let structure = Structure::Data;
                return Err(Doubt::OutOfRange { structure, offset: file_offset });
            }
            let len = u64::from(count) * self.part;
            let len = len.min(self.lens.guest - offset).min(self.lens.file - file_offset);
            self.runs.push(Piece { offset, file_offset, len }).map_err(doubt)?;
        }
        Ok(())
    }
}

/// The runs came in order and within bounds, so that only two of these can be.
fn doubt(error: LayoutError) -> Doubt {
    let structure = Structure::Data;
    match error {
        LayoutError::TooManyRuns => Doubt::Fragmented,
        LayoutError::Overlap { file_offset: offset } => Doubt::Overlap { structure, offset },
        LayoutError::OutOfRange { .. }
        | LayoutError::TooLong { .. }
        | LayoutError::Malformed { .. } => Doubt::OutOfRange { structure, offset: 0 },
    }
}
