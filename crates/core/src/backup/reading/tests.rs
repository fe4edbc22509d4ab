//! Disks that fail at chosen places: what is stored of them, and what is said.

use std::path::Path;
use std::sync::Arc;

use garret_image::{Layout, Lens, Part, PartSource, Piece};
use proptest::prelude::*;

use super::*;

/// A file of which some sectors cannot be read, by their numbers.
#[derive(Debug)]
struct Dying {
    bytes: Vec<u8>,
    bad: Vec<u64>,
    reads: Mutex<Vec<u64>>,
}

impl Dying {
    fn new(len: usize, bad: impl IntoIterator<Item = u64>) -> Self {
        let bytes = (0..len).map(|at| (at / 7 + 1) as u8 | 1).collect();
        Dying { bytes, bad: bad.into_iter().collect(), reads: Mutex::default() }
    }

    /// What of it can be read, and zeros; and the ranges of those.
    fn expected(&self) -> (Vec<u8>, Vec<Range<u64>>) {
        let (mut bytes, mut ranges) = (self.bytes.clone(), Vec::<Range<u64>>::new());
        for sector in &self.bad {
            let (start, end) = (sector * SECTOR, ((sector + 1) * SECTOR).min(self.len()));
            if start >= end {
                continue;
            }
            bytes[start as usize..end as usize].fill(0);
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
        }
        (bytes, ranges)
    }
}

impl Source for Dying {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
        Ok(Extent::Data { offset, len: self.len() - offset })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        self.reads.lock().unwrap().push(offset);
        let end = offset + buf.len() as u64;
        let bad = |sector: &&u64| **sector * SECTOR < end && (**sector + 1) * SECTOR > offset;
        if let Some(sector) = self.bad.iter().find(bad) {
            let error = SourceError::new(Path::new("disk"), "read", std::io::ErrorKind::Other);
            return Err(error.at_offset((sector * SECTOR).max(offset)));
        }
        buf.copy_from_slice(&self.bytes[offset as usize..end as usize]);
        Ok(())
    }

    fn changed(&self) -> Result<bool, SourceError> {
        Ok(false)
    }
}

/// Reads all of it in pieces of these lengths.
fn read_all(source: &dyn Source, step: usize, lookahead: usize) -> Vec<u8> {
    let len = source.len() as usize;
    let mut bytes = vec![0xaa; len];
    for at in (0..len).step_by(step) {
        // What lies ahead is read twice, as windows are.
        let mut buffer = vec![0xbb; (step + lookahead).min(len - at)];
        source.read_at(&mut buffer, at as u64).unwrap();
        let own = step.min(len - at);
        bytes[at..at + own].copy_from_slice(&buffer[..own]);
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rest_is_read_and_what_cannot_be_is_zeros_and_named(
        len in 1..700_000usize,
        bad in prop::collection::btree_set(0..170u64, 0..40),
        step in 1..100_000usize,
        lookahead in 0..70_000usize,
    ) {
        let disk = Dying::new(len, bad);
        let (bytes, ranges) = disk.expected();
        let step = step.max(len / 60);
        let reading = Reading::new(disk, ReadErrors::Zero);
        prop_assert!(read_all(&reading, step, lookahead) == bytes);
        let (found, line) = reading.unreadable(len as u64);
        prop_assert_eq!(&found, &ranges);
        prop_assert_eq!(line.is_some(), !ranges.is_empty());
        prop_assert!(!reading.is_lost() && reading.loss().is_none());
    }

    #[test]
    fn places_are_those_of_the_file_in_whatever_order_it_is_read(
        bad in prop::collection::btree_set(0..64u64, 0..20),
        order in Just((0..64u64).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let disk = Dying::new(64 * SECTOR as usize, bad);
        let (bytes, ranges) = disk.expected();
        // Every second sector is the disk's, in any order.
        let pieces = order.iter().filter(|place| *place % 2 == 0).zip(0..);
        let mut pieces: Vec<Piece> = pieces
            .map(|(place, number)| Piece {
                offset: number * SECTOR,
                file_offset: place * SECTOR,
                len: SECTOR,
            })
            .collect();
        pieces.sort_unstable_by_key(|piece| piece.offset);
        let lens = Lens { file: disk.len(), guest: 32 * SECTOR };
        let layout = Arc::new(Layout::new(lens, pieces.iter().copied()).unwrap());
        let reading = Arc::new(Reading::new(disk, ReadErrors::Zero));
        let guest = read_all(&PartSource::new(reading.clone(), layout.clone(), Part::Guest), 30_000, 9000);
        for (number, piece) in pieces.iter().enumerate() {
            let sector = SECTOR as usize;
            let (from, at) = (piece.file_offset as usize, number * sector);
            prop_assert!(guest[at..at + sector] == bytes[from..from + sector]);
        }
        read_all(&PartSource::new(reading.clone(), layout, Part::Residue), 30_000, 9000);
        prop_assert_eq!(reading.unreadable(u64::MAX).0, ranges);
    }
}

#[test]
fn what_could_not_be_read_once_is_not_asked_for_again() {
    let reading = Reading::new(Dying::new(1 << 20, [3, 4, 200]), ReadErrors::Zero);
    read_all(&reading, 1 << 20, 0);
    let place = |sector: u64| sector * SECTOR;
    reading.file.reads.lock().unwrap().clear();
    read_all(&reading, 1 << 20, 0);
    let asked = reading.file.reads.lock().unwrap().clone();
    assert!([3, 4, 200].iter().all(|sector| !asked.contains(&place(*sector))), "{asked:?}");
    let line = reading.unreadable(1 << 20).1.unwrap();
    assert!(line.text.starts_with("disk: cannot read at offset 12288: "), "{line:?}");
    assert!(line.text.contains("12288 bytes in 2 places"), "{line:?}");
}

#[test]
fn the_first_error_ends_a_file_and_the_nearest_to_its_start_is_told_with_a_count() {
    let reading = Reading::new(Dying::new(1 << 20, [100, 7]), ReadErrors::Fail);
    let mut buffer = [0; 100];
    assert!(
        reading.read_at(&mut buffer, 0).is_ok() && !reading.is_lost() && reading.loss().is_none()
    );
    assert!(reading.read_at(&mut buffer, 100 * SECTOR).is_err() && reading.is_lost());
    let before = reading.file.reads.lock().unwrap().len();
    assert!(reading.read_at(&mut buffer, 0).is_err(), "nothing is read any more");
    assert_eq!(reading.file.reads.lock().unwrap().len(), before);
    let loss = reading.loss().unwrap();
    assert!(loss.text.starts_with("disk: cannot read at offset 409600: "), "{loss:?}");
    // A read that was under way.
    reading.note(&reading.file.read_at(&mut buffer, 7 * SECTOR).unwrap_err());
    let loss = reading.loss().unwrap();
    assert!(loss.text.starts_with("disk: cannot read at offset 28672: "), "{loss:?}");
    assert!(loss.text.ends_with("(and 1 more); not stored"), "{loss:?}");
}

#[test]
fn the_number_of_ranges_has_a_bound_and_they_still_cover_everything() {
    let mut found = Unreadable::default();
    let sectors = (0..2 * UNREADABLE_MAX as u64 + 10).map(|number| 2 * number * SECTOR);
    for start in sectors.clone() {
        found.add(start..start + SECTOR);
    }
    assert!(found.ranges.len() <= UNREADABLE_MAX && found.gap >= SECTOR);
    let is_covered = |start: u64| {
        let before = found.ranges.range(..=start).next_back();
        before.is_some_and(|(_, end)| start + SECTOR <= *end)
    };
    assert!(sectors.clone().all(is_covered));
    assert!(!found.covers(&(0..SECTOR)), "ranges that were joined hold bytes that can be read");
}
