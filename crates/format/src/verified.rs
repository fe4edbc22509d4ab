//! The record of packs of which every byte was read and found as it was written. docs/format.md, "Verified packs".

use crate::id::PackId;
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// Most rows of a record: as many packs hold 128 TiB.
pub const VERIFIED_MAX: usize = 4 << 20;
/// Length of a row in bytes.
pub const VERIFIED_ROW_LEN: usize = 12;

/// A pack, and the day of its last verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedPack {
    /// The first eight bytes of its id.
    pub pack: [u8; 8],
    /// Days since 1970-01-01, by the clock of who read it.
    pub day: u32,
}

/// The part of a pack's id that a row has.
pub fn short_id(pack: &PackId) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *pack.as_bytes();
    [a, b, c, d, e, f, g, h]
}

/// The bytes inside the envelope of the file `verified`: rows in the order in which packs were read, the one that was read
/// longest ago first.
pub fn encode_verified(rows: &[VerifiedPack]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(4 + rows.len() * VERIFIED_ROW_LEN);
    writer.count(rows.len());
    for VerifiedPack { pack, day } in rows {
        writer.put(pack).u32(*day);
    }
    writer.into_bytes()
}

/// Decodes the opened bytes.
///
/// # Errors
/// Anything that [`encode_verified`] does not make.
pub fn decode_verified(bytes: &[u8]) -> Result<Vec<VerifiedPack>, DecodeError> {
    let mut reader = Reader::new(bytes, "record of verified packs");
    let start = reader.clone();
    let count = reader.count(VERIFIED_ROW_LEN)?;
    if count > VERIFIED_MAX {
        return Err(start.error(DecodeErrorKind::OutOfRange));
    }
    let mut rows = Vec::with_capacity(count);
    for _ in 0..count {
        rows.push(VerifiedPack { pack: reader.array()?, day: reader.u32()? });
    }
    reader.finish()?;
    Ok(rows)
}
