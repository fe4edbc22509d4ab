//! Which parts of a stream were stored and which were holes, as a run-length map.
//!
//! In: the extents of a source, in order, or the bytes of an encoded map. Out: the encoded map,
//! and the answer "which parts of this range were data". It lies beside the recipe, because equal
//! content shall give equal chunks and recipes however its zeros were allocated.
//!
//! Memory: 16 bytes per hole, so per pair of a data run and a hole, and at most 256 MiB: of a file with more than
//! [`HOLES_MAX`] holes, which a file system can make up, the further ones count as data. Encoded, a pair takes 2 to 20
//! bytes, so decoding allocates at most 8 times the length of its input.
//!
//! Encoding: lengths of runs as canonical LEB128 varints, alternating data, hole, data, ...,
//! starting with data. Only the first may be zero (a stream that starts with a hole). The sum is
//! the length of the stream, which is stored elsewhere; the empty stream is the empty string. So
//! each map has exactly one encoding.

use std::ops::Range;

use crate::varint::{push_varint, take_varint};
use crate::{Extent, Extents, Source, SourceError};

/// Most holes of a map.
pub const HOLES_MAX: usize = 1 << 24;

/// A run-length map of the data and holes of a stream; see the file's documentation for its cost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllocationMap {
    /// Bytes covered so far.
    len: u64,
    /// Sorted, disjoint, never empty and never touching each other.
    holes: Vec<Hole>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hole {
    start: u64,
    end: u64,
}

/// Bytes that are no allocation map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("allocation map is invalid at byte {offset}: {what}")]
pub struct MapError {
    /// Where in the encoded map, in bytes.
    pub offset: usize,
    /// The rule that it breaks.
    pub what: &'static str,
}

impl AllocationMap {
    /// The map of the empty stream; [`push`](Self::push) makes it longer.
    pub fn new() -> AllocationMap {
        AllocationMap::default()
    }

    /// Bytes of the stream that the map covers.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it covers nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether all is data.
    pub fn is_dense(&self) -> bool {
        self.holes.is_empty()
    }

    /// The map of `source`, asked for all its extents.
    ///
    /// # Errors
    /// As of [`Source::extent_at`].
    pub fn of(source: &dyn Source) -> Result<AllocationMap, SourceError> {
        let mut map = AllocationMap::new();
        Extents::new(source).try_for_each(|extent| extent.map(|extent| map.push(extent)))?;
        Ok(map)
    }

    /// How many holes there are: each takes 16 bytes of memory.
    pub fn hole_count(&self) -> usize {
        self.holes.len()
    }

    /// Bytes in holes.
    pub fn hole_len(&self) -> u64 {
        self.holes.iter().map(|hole| hole.end - hole.start).sum()
    }

    /// The map of the first `len` bytes, at most all.
    pub fn clipped(&self, len: u64) -> AllocationMap {
        let len = len.min(self.len);
        let holes = self.holes.iter().take_while(|hole| hole.start < len);
        let holes = holes.map(|hole| Hole { end: hole.end.min(len), ..*hole }).collect();
        AllocationMap { len, holes }
    }

    /// Appends the next extent. Neighbours of the same kind become one run; an extent of length
    /// zero changes nothing. A hole that is one too many is data, as far as the map goes.
    ///
    /// # Panics
    /// If the extent does not start where the one before ended: the caller left something out.
    pub fn push(&mut self, extent: Extent) {
        assert_eq!(extent.offset(), self.len, "extents are pushed in order and without gaps");
        let end = self.len.checked_add(extent.len()).expect("streams end below 2^64");
        if extent.is_hole() && end > self.len {
            let is_full = self.holes.len() == HOLES_MAX;
            match self.holes.last_mut() {
                Some(last) if last.end == self.len => last.end = end,
                _ if is_full => {}
                _ => self.holes.push(Hole { start: self.len, end }),
            }
        }
        self.len = end;
    }

    /// The map as bytes, in the encoding that the file's documentation describes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut position = 0;
        for hole in &self.holes {
            push_varint(&mut bytes, hole.start - position);
            push_varint(&mut bytes, hole.end - hole.start);
            position = hole.end;
        }
        if position < self.len {
            push_varint(&mut bytes, self.len - position);
        }
        bytes
    }

    /// The map of a stream of `len` bytes from its encoding. Total: any input gives a map that
    /// encodes to exactly this input, or an error.
    ///
    /// # Errors
    /// Where it breaks which rule of the encoding, does not cover `len` bytes, or has more than `HOLES_MAX` holes.
    pub fn decode(bytes: &[u8], len: u64) -> Result<AllocationMap, MapError> {
        let mut map = AllocationMap::new();
        let mut rest = bytes;
        let mut hole = false;
        while !rest.is_empty() {
            let offset = bytes.len() - rest.len();
            let fail = |what| MapError { offset, what };
            let run = take_varint(&mut rest).map_err(fail)?;
            if run == 0 && (offset != 0 || rest.is_empty()) {
                return Err(fail("run of length zero"));
            }
            if run > len - map.len {
                return Err(fail("runs exceed the length of the stream"));
            }
            if hole && map.holes.len() == HOLES_MAX {
                return Err(fail("it has too many holes"));
            }
            let offset = map.len;
            map.push(if hole {
                Extent::Hole { offset, len: run }
            } else {
                Extent::Data { offset, len: run }
            });
            hole = !hole;
        }
        if map.len != len {
            return Err(MapError {
                offset: bytes.len(),
                what: "runs do not cover the whole stream",
            });
        }
        Ok(map)
    }

    /// The sub-ranges of `range` that were data, in order. What lies past the map is none.
    /// Costs a binary search plus one step per range.
    pub fn data_ranges(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let end = range.end.min(self.len);
        let mut position = range.start;
        let first = self.holes.partition_point(|hole| hole.end <= position);
        let mut holes = self.holes.iter().skip(first);
        std::iter::from_fn(move || {
            while position < end {
                let (data_end, next) =
                    holes.next().map_or((end, end), |hole| (hole.start.min(end), hole.end));
                let start = std::mem::replace(&mut position, next);
                if start < data_end {
                    return Some(start..data_end);
                }
            }
            None
        })
    }

    /// `range` as extents, in order. What lies past the map is a hole.
    pub fn extents(&self, range: Range<u64>) -> impl Iterator<Item = Extent> + '_ {
        let Range { mut start, end } = range;
        let mut data = self.data_ranges(range).peekable();
        std::iter::from_fn(move || {
            let offset = start;
            let next = data.peek().cloned().unwrap_or(end..end);
            if offset < next.start {
                start = next.start;
                return Some(Extent::Hole { offset, len: next.start - offset });
            }
            data.next();
            start = next.end;
            (offset < next.end).then(|| Extent::Data { offset, len: next.end - offset })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map_of(runs: &[(bool, u64)]) -> AllocationMap {
        let mut map = AllocationMap::new();
        for &(hole, len) in runs {
            let offset = map.len();
            map.push(if hole {
                Extent::Hole { offset, len }
            } else {
                Extent::Data { offset, len }
            });
        }
        map
    }

    #[test]
    fn encoding_is_the_documented_one() {
        assert_eq!(map_of(&[]).encode(), []);
        assert_eq!(map_of(&[(false, 300)]).encode(), [0xac, 2]);
        assert_eq!(map_of(&[(true, 5)]).encode(), [0, 5]);
        assert_eq!(map_of(&[(false, 1), (true, 2), (true, 3), (false, 4)]).encode(), [1, 5, 4]);
        assert_eq!(map_of(&[(false, u64::MAX)]).encode().len(), 10);
        let last = AllocationMap::decode(&map_of(&[(false, u64::MAX)]).encode(), u64::MAX);
        assert_eq!(last.unwrap().len(), u64::MAX);
    }

    #[test]
    fn each_broken_rule_is_refused() {
        let refused = |bytes: &[u8], len| AllocationMap::decode(bytes, len).unwrap_err().what;
        assert_eq!(refused(&[], 1), "runs do not cover the whole stream");
        assert_eq!(refused(&[4], 5), "runs do not cover the whole stream");
        assert_eq!(refused(&[6], 5), "runs exceed the length of the stream");
        assert_eq!(refused(&[1, 5], 5), "runs exceed the length of the stream");
        assert_eq!(refused(&[0], 0), "run of length zero");
        assert_eq!(refused(&[0, 0], 0), "run of length zero");
        assert_eq!(refused(&[5, 0], 5), "run of length zero");
        assert_eq!(refused(&[0x85, 0], 5), "number is longer than needed");
        assert_eq!(refused(&[0x85], 5), "ends within a number");
        let max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert!(AllocationMap::decode(&max, u64::MAX).is_ok());
        let over = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 3];
        assert_eq!(refused(&over, u64::MAX), "number exceeds 64 bits");
        assert_eq!(refused(&[0x80; 11], u64::MAX), "number exceeds 64 bits");
    }

    #[test]
    fn holes_beyond_the_bound_are_data_and_no_map_has_them() {
        let most = [1, 1].repeat(HOLES_MAX);
        let len = most.len() as u64;
        let mut map = AllocationMap::decode(&most, len).unwrap();
        let more = [&most[..], &[1, 1]].concat();
        let refused = AllocationMap::decode(&more, len + 2).unwrap_err();
        assert_eq!((refused.what, refused.offset), ("it has too many holes", most.len() + 1));
        map.push(Extent::Hole { offset: len, len: 3 });
        map.push(Extent::Data { offset: len + 3, len: 1 });
        map.push(Extent::Hole { offset: len + 4, len: 1 });
        assert_eq!((map.hole_count(), map.hole_len()), (HOLES_MAX, HOLES_MAX as u64 + 3));
        assert!(map.data_ranges(len..len + 9).eq(std::iter::once(len + 3..len + 5)));
        assert_eq!(AllocationMap::decode(&map.encode(), len + 5).unwrap(), map);
    }

    #[test]
    #[should_panic(expected = "in order")]
    fn gap_is_a_bug_of_the_caller() {
        AllocationMap::new().push(Extent::Hole { offset: 1, len: 1 });
    }

    proptest! {
        #[test]
        fn decode_inverts_encode(
            runs in prop::collection::vec((any::<bool>(), 0..1_u64 << 40), 0..50),
        ) {
            let map = map_of(&runs);
            prop_assert_eq!(AllocationMap::decode(&map.encode(), map.len()).unwrap(), map);
        }

        #[test]
        fn any_bytes_decode_canonically_or_not_at_all(
            bytes in prop::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..12),
            len in prop_oneof![0..20_u64, any::<u64>()],
        ) {
            if let Ok(map) = AllocationMap::decode(&bytes, len) {
                prop_assert_eq!(map.encode(), bytes.clone());
                prop_assert_eq!(map.len(), len);
            }
            // With the length that the bytes add up to, so that many inputs are accepted.
            let sum = bytes.iter().filter(|b| **b < 0x80).map(|b| u64::from(*b)).sum();
            if let Ok(map) = AllocationMap::decode(&bytes, sum) {
                prop_assert_eq!(map.encode(), bytes);
            }
        }

        #[test]
        fn a_clipped_map_is_that_of_the_first_bytes(
            runs in prop::collection::vec((any::<bool>(), 0..9_u64), 0..20),
            len in 0..100_u64,
        ) {
            let mut left = len;
            let first: Vec<(bool, u64)> = runs
                .iter()
                .map(|&(hole, run)| {
                    let run = run.min(left);
                    left -= run;
                    (hole, run)
                })
                .collect();
            prop_assert_eq!(map_of(&runs).clipped(len), map_of(&first));
        }

        #[test]
        fn data_ranges_equal_a_bitmap(
            runs in prop::collection::vec((any::<bool>(), 0..9_u64), 0..20),
            start in 0..100_u64,
            len in 0..100_u64,
        ) {
            let map = map_of(&runs);
            let bits: Vec<bool> =
                runs.iter().flat_map(|&(hole, len)| (0..len).map(move |_| !hole)).collect();
            let mut found = vec![false; bits.len()];
            let mut last = None;
            for range in map.data_ranges(start..start + len) {
                prop_assert!(range.start < range.end, "no empty range");
                prop_assert!(last.is_none_or(|end| end < range.start), "in order and maximal");
                last = Some(range.end);
                for at in range {
                    found[usize::try_from(at).unwrap()] = true;
                }
            }
            for (at, bit) in bits.iter().enumerate() {
                let inside = (start..start + len).contains(&(at as u64));
                prop_assert_eq!(found[at], inside && *bit);
            }
            let (mut at, mut data) = (start, Vec::new());
            for extent in map.extents(start..start + len) {
                prop_assert_eq!(extent.offset(), at, "without gaps");
                at += extent.len();
                data.extend((!extent.is_hole()).then_some(extent.offset()..at));
            }
            prop_assert_eq!(at, start + len);
            prop_assert!(data.into_iter().eq(map.data_ranges(start..start + len)));
        }
    }
}
