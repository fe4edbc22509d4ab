//! What chunks take: each its share of the group that it lies in, by its length.
//!
//! In: an index. Out: bytes, about, for what is compressed together cannot be told apart. Keeps a number for each group.

use crate::objects::index::{Index, Location};

/// How long the groups of an index are.
pub(crate) struct Shares {
    /// By segment and row, the bytes of the chunks of each group.
    plain_lens: Vec<Vec<u32>>,
}

impl Shares {
    pub(crate) fn new(index: &Index) -> Self {
        Shares::among(index, |_| true)
    }

    /// Of the chunks that `counts` alone, by the index segment and the place in it.
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
        Shares { plain_lens: lens.collect() }
    }

    /// Bytes of the chunks of the group that a chunk lies in; at least 1.
    pub(crate) fn plain_len(&self, index: &Index, location: &Location) -> u64 {
        let (segment, place) = location.record;
        let record = index.tables().nth(segment).and_then(|tables| tables.record(place));
        let lens = self.plain_lens.get(segment);
        let len = record.zip(lens).and_then(|(record, lens)| lens.get(record.group as usize));
        len.map_or(1, |len| u64::from((*len).max(1)))
    }

    /// Bytes of packs that a chunk takes at one place, about.
    pub(crate) fn stored_len(&self, index: &Index, location: &Location) -> u64 {
        let sealed = u64::from(location.group.sealed_len);
        u64::from(location.len) * sealed / self.plain_len(index, location)
    }
}
