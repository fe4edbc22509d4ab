//! What chunks take: each its share of the group that it lies in, by its length.
//!
//! In: where a chunk lies; an index, and which of its records count. Out: bytes, about, for what is compressed together
//! cannot be told apart.

use crate::objects::index::{Index, Location};

impl Location {
    /// Bytes of all chunks of its group, whoever needs them; at least 1.
    pub(crate) fn group_plain_len(&self) -> u64 {
        u64::from(self.group.plain_len.max(1))
    }

    /// Bytes of packs that the chunk takes here, about.
    pub(crate) fn stored_len(&self) -> u64 {
        u64::from(self.len) * u64::from(self.group.sealed_len) / self.group_plain_len()
    }
}

/// How many bytes of each group of an index count. Keeps a number for each group.
pub(crate) struct Counted {
    /// By segment and row.
    lens: Vec<Vec<u32>>,
}

impl Counted {
    /// `counts` is given the index segment and the place in it.
    pub(crate) fn among(index: &Index, counts: impl Fn((usize, u64)) -> bool) -> Self {
        let lens = index.tables().enumerate().map(|(segment, tables)| {
            let mut lens = vec![0_u32; tables.counts().groups as usize];
            for (_, record) in
                (0..).zip(tables.records()).filter(|(row, _)| counts((segment, *row)))
            {
                if let Some(len) = lens.get_mut(record.group as usize) {
                    *len = len.saturating_add(record.len);
                }
            }
            lens
        });
        Counted { lens: lens.collect() }
    }

    /// Bytes that count of the group that a chunk lies in.
    pub(crate) fn len(&self, index: &Index, location: &Location) -> u64 {
        let (segment, place) = location.record;
        let record = index.tables().nth(segment).and_then(|tables| tables.record(place));
        let lens = self.lens.get(segment);
        let len = record.zip(lens).and_then(|(record, lens)| lens.get(record.group as usize));
        len.map_or(0, |len| u64::from(*len))
    }
}
