//! The record of what was deleted: one row for each archive, in the order of their deletion. docs/format.md, "Tombstones".

use crate::id::ArchiveId;
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// Most rows of a record: 1.1 MB.
pub const TOMBSTONES_MAX: usize = 1 << 16;
/// Bytes of a row.
pub const TOMBSTONE_LEN: usize = 1 + ArchiveId::LEN;
/// Bytes of a record before its rows.
pub const TOMBSTONES_HEAD_LEN: usize = 8 + 32 + 4;

/// What a row tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Removal {
    /// An archive that somebody deleted.
    Deleted,
    /// An archive that was lost: found gone, and nobody had said that it would be; or deleted when something of it was gone.
    /// Also one that was deleted and is there again, for what happens to it next.
    Missed,
    /// Packs, whichever.
    Packs,
}

/// A row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tombstone {
    /// What it tells of.
    pub removal: Removal,
    /// Of the archive; random if it tells of packs.
    pub id: ArchiveId,
}

impl Tombstone {
    /// As it is stored, and taken into the chain.
    pub fn encode(&self) -> [u8; TOMBSTONE_LEN] {
        let mut bytes = [0; TOMBSTONE_LEN];
        let (removal, id) = bytes.split_at_mut(1);
        removal.fill(match self.removal {
            Removal::Deleted => 0,
            Removal::Missed => 1,
            Removal::Packs => 2,
        });
        id.copy_from_slice(self.id.as_bytes());
        bytes
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.clone();
        let removal = match reader.u8()? {
            0 => Removal::Deleted,
            1 => Removal::Missed,
            2 => Removal::Packs,
            _ => return Err(start.error(DecodeErrorKind::OutOfRange)),
        };
        Ok(Tombstone { removal, id: ArchiveId::from_bytes(reader.array()?) })
    }
}

/// The rows that there are, and what stands for those that there were before them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones {
    /// How many rows were dropped: the oldest ones.
    pub dropped: u64,
    /// The chain of hashes over the rows that were dropped; zeros if none was.
    pub head: [u8; 32],
    /// The oldest first.
    pub rows: Vec<Tombstone>,
}

impl Tombstones {
    /// The bytes inside the envelope of the file `tombstones`.
    pub fn encode(&self) -> Vec<u8> {
        let len = TOMBSTONES_HEAD_LEN + self.rows.len() * TOMBSTONE_LEN;
        let mut writer = Writer::with_capacity(len);
        writer.u64(self.dropped).put(&self.head).count(self.rows.len());
        for row in &self.rows {
            writer.put(&row.encode());
        }
        writer.into_bytes()
    }

    /// Decodes the opened bytes.
    ///
    /// # Errors
    /// Anything that [`encode`](Self::encode) does not make; more rows than there may be, or than can be counted.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, "tombstones");
        let start = reader.clone();
        let (dropped, head) = (reader.u64()?, reader.array()?);
        let count = reader.count(TOMBSTONE_LEN)?;
        let is_counted = dropped.checked_add(count as u64).is_some();
        let is_begun = dropped > 0 || head == [0; 32];
        if count > TOMBSTONES_MAX || !is_counted || !is_begun {
            return Err(start.error(DecodeErrorKind::OutOfRange));
        }
        let mut rows = Vec::with_capacity(count);
        for _ in 0..count {
            rows.push(Tombstone::decode(&mut reader)?);
        }
        reader.finish()?;
        Ok(Tombstones { dropped, head, rows })
    }
}
