//! The record of condemned packs: what the last gc found that no archive needs. docs/format.md, "Condemned packs".

use crate::id::PackId;
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// Most rows of a record: as many packs hold 32 TiB.
pub const CONDEMNED_MAX: usize = 1 << 20;
/// Length of a row in bytes.
pub const CONDEMNED_ROW_LEN: usize = PackId::LEN + 8;
/// The highest epoch: one for each gc lasts for ever, and more than that is no number that was counted to.
pub const EPOCH_MAX: u64 = 1 << 60;

/// What gc condemned, and how often it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condemned {
    /// The epoch that began when packs were condemned last.
    pub epoch: u64,
    /// The packs, and the epoch that began when each was condemned.
    pub packs: Vec<(PackId, u64)>,
}

impl Condemned {
    /// The bytes inside the envelope of the file `condemned`.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(12 + self.packs.len() * CONDEMNED_ROW_LEN);
        writer.u64(self.epoch).count(self.packs.len());
        for (pack, epoch) in &self.packs {
            writer.put(pack.as_bytes()).u64(*epoch);
        }
        writer.into_bytes()
    }

    /// Decodes the opened bytes.
    ///
    /// # Errors
    /// More rows than [`CONDEMNED_MAX`], an epoch above [`EPOCH_MAX`], one of a pack that is 0 or above it, a wrong length.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, "record of condemned packs");
        let start = reader.clone();
        let epoch = reader.u64()?;
        let count = reader.count(CONDEMNED_ROW_LEN)?;
        if count > CONDEMNED_MAX || epoch > EPOCH_MAX {
            return Err(start.error(DecodeErrorKind::OutOfRange));
        }
        let mut packs = Vec::with_capacity(count);
        for _ in 0..count {
            let row = reader.clone();
            let (pack, since) = (PackId::from_bytes(reader.array()?), reader.u64()?);
            if !(1..=epoch).contains(&since) {
                return Err(row.error(DecodeErrorKind::OutOfRange));
            }
            packs.push((pack, since));
        }
        reader.finish()?;
        Ok(Condemned { epoch, packs })
    }
}
