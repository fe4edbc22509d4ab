//! How a chunk is looked up in a segment: the first bytes of every id, sorted, each with the row of its record.
//!
//! In: the ids of the records, in their order. Out: the few rows where the record of an id can be. These are all of a segment
//! that lookups hold in memory: some eleven bytes for each chunk, where a record has 44. Whoever asks for an id that is not
//! there nearly always learns it here: of 16 million chunks one id in 17 million begins as one of them does. A fan-out, as
//! the pack index of git has one, says where the ids of each beginning are, so that a lookup touches two places. Promises:
//! what is outside of the answer is not the id's; an answer for any bytes, also unsorted ones.

use std::io::{self, Write};
use std::ops::Range;

use garret_format::wire::{DecodeErrorKind, Reader};
use garret_format::{ChunkId, DecodeError};

/// Length of a prefix in bytes: of five, one in 10,000 would be taken by chance at 100 million chunks.
const PREFIX_LEN: usize = 6;
/// Length of an entry in bytes: a prefix and a row.
const ENTRY_LEN: usize = PREFIX_LEN + 4;
/// Entries for each place of the fan-out, at most on the average: 160 bytes, of which bisecting touches two lines.
const ENTRIES_OF_PLACE: usize = 16;
/// Most places of a fan-out, as a power of two: with 16 entries each they hold all rows that four bytes number.
const FAN_OUT_BITS_MAX: u32 = 28;

/// The first bytes of an id.
pub(super) type Prefix = [u8; PREFIX_LEN];

/// A view of what [`write`] wrote.
#[derive(Clone, Copy)]
pub(super) struct Prefixes<'a> {
    /// Of each beginning of so many bits as its length has, where its entries end, counted from the first of all.
    ends: &'a [[u8; 4]],
    entries: &'a [[u8; ENTRY_LEN]],
}

/// That of one id.
pub(super) fn prefix(id: &ChunkId) -> Prefix {
    *id.as_bytes().first_chunk().expect("an id is longer than its prefix")
}

impl<'a> Prefixes<'a> {
    /// Those of `count` records.
    pub(super) fn open(bytes: &'a [u8], count: usize) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, "prefixes of the local index");
        let start = reader.clone();
        let bits = reader.u32()?;
        let entries_len = count.checked_mul(ENTRY_LEN);
        let (Some(entries_len), 0..=FAN_OUT_BITS_MAX) = (entries_len, bits) else {
            return Err(start.error(DecodeErrorKind::OutOfRange));
        };
        let ends = reader.take(4 << bits)?.as_chunks().0;
        let entries = reader.take(entries_len)?.as_chunks().0;
        reader.finish()?;
        Ok(Prefixes { ends, entries })
    }

    /// The entries that begin as this id does.
    pub(super) fn find(&self, id: &ChunkId) -> Range<usize> {
        let wanted = prefix(id);
        let place = place(&wanted, self.ends.len().ilog2());
        let end = |place: usize| self.ends.get(place).map_or(0, |end| u32::from_le_bytes(*end));
        let (first, end) = (place.checked_sub(1).map_or(0, end) as usize, end(place) as usize);
        let within = self.entries.get(first..end).unwrap_or_default();
        let start = within.partition_point(|entry| entry.first_chunk() < Some(&wanted));
        let rest = within.get(start..).unwrap_or_default();
        let is_wanted = |entry: &[u8; ENTRY_LEN]| entry.first_chunk() == Some(&wanted);
        // Mostly there is one. Of many, as somebody may have chosen them, the end is bisected for.
        let count = match rest.get(1).is_some_and(is_wanted) {
            true => rest.partition_point(is_wanted),
            false => rest.first().is_some_and(is_wanted).into(),
        };
        first + start..first + start + count
    }

    /// The row of an entry.
    pub(super) fn row(&self, entry: usize) -> Option<u32> {
        self.entries.get(entry).map(|entry| split(entry).1)
    }

    /// Every entry, in the order of the ids.
    pub(super) fn entries(self) -> impl Iterator<Item = (Prefix, u32)> + 'a {
        self.entries.iter().map(split)
    }
}

fn split(entry: &[u8; ENTRY_LEN]) -> (Prefix, u32) {
    let (prefix, row) = entry.split_first_chunk().expect("an entry is longer than a prefix");
    (*prefix, u32::from_le_bytes(*row.first_chunk().expect("an entry ends with a row")))
}

/// The place of the fan-out that a prefix belongs to: its first `bits` bits.
fn place(prefix: &Prefix, bits: u32) -> usize {
    let number = prefix.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    (number >> (8 * PREFIX_LEN as u32 - bits)) as usize
}

/// Writes `count` entries, which come in the order of the ids, behind a fan-out made of the same prefixes in any order.
pub(super) fn write(
    out: &mut impl Write,
    count: usize,
    any_order: impl Iterator<Item = Prefix>,
    sorted: impl Iterator<Item = (Prefix, u32)>,
) -> io::Result<()> {
    let places = count.div_ceil(ENTRIES_OF_PLACE).max(1).next_power_of_two();
    let bits = places.ilog2().min(FAN_OUT_BITS_MAX);
    let mut ends = vec![0_u32; 1 << bits];
    for prefix in any_order {
        if let Some(end) = ends.get_mut(place(&prefix, bits)) {
            *end += 1;
        }
    }
    out.write_all(&bits.to_le_bytes())?;
    let mut sum = 0;
    for count in ends {
        sum += count;
        out.write_all(&sum.to_le_bytes())?;
    }
    for (prefix, row) in sorted {
        out.write_all(&prefix)?;
        out.write_all(&row.to_le_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
