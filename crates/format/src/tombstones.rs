//! The record of what was deleted: one row for each archive, in the order of their deletion. docs/format.md, "Tombstones".

use crate::id::ArchiveId;
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// Most rows of a record: 1 MiB.
pub const TOMBSTONES_MAX: usize = 1 << 16;
/// Bytes of a record before its rows.
pub const TOMBSTONES_HEAD_LEN: usize = 8 + 32 + 4;

/// The rows that there are, and what stands for those that there were before them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones {
    /// How many rows were dropped: the oldest ones.
    pub dropped: u64,
    /// The chain of hashes over the rows that were dropped; zeros if none was.
    pub head: [u8; 32],
    /// Archives that were deleted, and random rows for the removal of packs, the oldest first.
    pub rows: Vec<ArchiveId>,
}

impl Tombstones {
    /// The bytes inside the envelope of the file `tombstones`.
    pub fn encode(&self) -> Vec<u8> {
        let len = TOMBSTONES_HEAD_LEN + self.rows.len() * ArchiveId::LEN;
        let mut writer = Writer::with_capacity(len);
        writer.u64(self.dropped).put(&self.head).count(self.rows.len());
        for row in &self.rows {
            writer.put(row.as_bytes());
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
        let count = reader.count(ArchiveId::LEN)?;
        let is_counted = dropped.checked_add(count as u64).is_some();
        let is_begun = dropped > 0 || head == [0; 32];
        if count > TOMBSTONES_MAX || !is_counted || !is_begun {
            return Err(start.error(DecodeErrorKind::OutOfRange));
        }
        let mut rows = Vec::with_capacity(count);
        for _ in 0..count {
            rows.push(ArchiveId::from_bytes(reader.array()?));
        }
        reader.finish()?;
        Ok(Tombstones { dropped, head, rows })
    }
}
