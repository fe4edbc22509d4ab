//! A file that is being backed up, and what of it cannot be read.
//!
//! In: a file, and what becomes of it if something cannot be read. Out: a [`Source`] of it. With `Fail` the first error is
//! the last: whoever plans stops, and reads that are under way are not shown. With `Zero` nothing fails: what cannot be read
//! is found in steps of 64 KiB, then 4 KiB, reads as zeros and is remembered. Promises: places are those of the file, in
//! whatever order it is read; what could not be read once is not asked for again, so that all reads of a place agree.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use garret_format::archive::UNREADABLE_MAX;
use garret_image::{Extent, Slot, Source, SourceError};

use super::options::ReadErrors;
use crate::error::Hint;
use crate::progress::Problem;
use crate::read::file::in_words;

/// Steps in which what can be read is found, in bytes: one that is quick, and the sector of a disk.
const STEPS: [u64; 2] = [64 << 10, SECTOR];
const SECTOR: u64 = 4 << 10;

/// The file. May be read from any number of threads.
pub(super) struct Reading<S = Arc<dyn Source>> {
    file: S,
    errors: ReadErrors,
    /// Whether anything could not be read. Read without the lock by every read.
    failed: AtomicBool,
    found: Mutex<Unreadable>,
}

/// What was met so far.
#[derive(Default)]
struct Unreadable {
    /// The error that lies nearest to the start of the file, and its place.
    first: Option<(u64, Problem)>,
    count: u64,
    /// Start and end of what could not be read, apart from each other.
    ranges: BTreeMap<u64, u64>,
    /// Ranges that lie nearer to each other than this are one: above 0 once there were too many.
    gap: u64,
}

impl<S: Source> Reading<S> {
    pub(super) fn new(file: S, errors: ReadErrors) -> Self {
        Reading { file, errors, failed: AtomicBool::new(false), found: Mutex::default() }
    }

    /// Whether the rest need not be read, because the file will not be stored.
    pub(super) fn is_lost(&self) -> bool {
        self.errors == ReadErrors::Fail && self.has_failed()
    }

    /// Why the file is not stored, if it is not.
    pub(super) fn loss(&self) -> Option<Problem> {
        let found = self.found();
        let (_, first) = found.first.as_ref().filter(|_| self.is_lost())?;
        let more = match found.count {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let text = format!("{}{more}; not stored", first.text);
        Some(Problem { text, hint: Some(Hint::StoreZeros), ..first.clone() })
    }

    /// What of the first `len` bytes is stored as zeros because it cannot be read; and that, if there is any.
    pub(super) fn unreadable(&self, len: u64) -> (Vec<Range<u64>>, Option<Problem>) {
        let found = self.found();
        let ranges = found.ranges.iter().map(|(start, end)| *start..(*end).min(len));
        let ranges: Vec<Range<u64>> = ranges.filter(|range| !range.is_empty()).collect();
        let line = found.first.as_ref().filter(|_| !ranges.is_empty()).map(|(_, first)| {
            let zeros = in_words(&ranges);
            let text = format!("{}; stored with zeros for {zeros} that cannot be read", first.text);
            Problem { text, ..first.clone() }
        });
        (ranges, line)
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn found(&self) -> MutexGuard<'_, Unreadable> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, error: &SourceError) {
        let place = error.offset().unwrap_or(u64::MAX);
        let mut found = self.found();
        found.count += 1;
        if found.first.as_ref().is_none_or(|(first, _)| place < *first) {
            found.first = Some((place, Problem::unread(error)));
        }
        self.failed.store(true, Ordering::Release);
    }

    /// What a read under way gets when the file is lost already: nobody is told.
    fn given_up(&self, offset: u64) -> SourceError {
        let path = std::path::Path::new("");
        SourceError::new(path, "read", std::io::ErrorKind::Other).at_offset(offset)
    }

    /// Fills the slots, as the file does it if it can.
    fn read(&self, slots: &mut [Slot<'_>]) -> Result<(), SourceError> {
        let first = slots.first().map_or(0, |slot| slot.offset);
        match self.errors {
            ReadErrors::Fail if self.has_failed() => Err(self.given_up(first)),
            ReadErrors::Fail => self.file.read_many(slots).inspect_err(|error| self.note(error)),
            ReadErrors::Zero => {
                if self.has_failed() || self.file.read_many(slots).is_err() {
                    slots.iter_mut().for_each(|slot| self.rescue(slot.bytes, slot.offset, &STEPS));
                }
                Ok(())
            }
        }
    }

    /// Reads what can be read in steps of the first length, those that cannot in the next; zeros at last.
    fn rescue(&self, bytes: &mut [u8], offset: u64, steps: &[u64]) {
        let Some((step, finer)) = steps.split_first() else {
            bytes.fill(0);
            return self
                .found()
                .add(offset..self.len().min(offset.saturating_add(bytes.len() as u64)));
        };
        let (mut rest, mut at) = (bytes, offset);
        while !rest.is_empty() {
            // Steps begin at their multiples, so that places are those of sectors. None is longer than 64 KiB.
            let len = usize::try_from(step - at % step).unwrap_or(usize::MAX).min(rest.len());
            let (block, later) = rest.split_at_mut(len);
            let range = at..at.saturating_add(len as u64);
            if self.found().covers(&range) {
                block.fill(0);
            } else if let Err(error) = self.file.read_at(block, at) {
                if finer.is_empty() {
                    self.note(&error);
                }
                self.rescue(block, at, finer);
            }
            (rest, at) = (later, range.end);
        }
    }
}

impl Unreadable {
    /// Whether all of the range is known not to be readable.
    fn covers(&self, range: &Range<u64>) -> bool {
        // Ranges that were joined hold bytes that can be read.
        let before = self.ranges.range(..=range.start).next_back();
        self.gap == 0 && before.is_some_and(|(_, end)| range.end <= *end)
    }

    fn add(&mut self, mut range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let reach = |gap: u64, end: u64| end.saturating_add(gap);
        while let Some((start, end)) =
            self.ranges.range(..=reach(self.gap, range.end)).next_back().map(|(a, b)| (*a, *b))
            && reach(self.gap, end) >= range.start
        {
            self.ranges.remove(&start);
            range = range.start.min(start)..range.end.max(end);
        }
        self.ranges.insert(range.start, range.end);
        if self.ranges.len() > UNREADABLE_MAX {
            self.gap = (self.gap * 2).max(SECTOR);
            for (start, end) in std::mem::take(&mut self.ranges) {
                self.add(start..end);
            }
        }
    }
}

impl<S: Source> Source for Reading<S> {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
        match (self.file.extent_at(offset), self.errors) {
            // Where the holes are does not matter to what is stored.
            (Err(_), ReadErrors::Zero) => Ok(Extent::Data { offset, len: self.len() - offset }),
            (found, _) => found.inspect_err(|error| self.note(error)),
        }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        self.read(&mut [Slot { offset, bytes: buf }])
    }

    fn read_many(&self, slots: &mut [Slot<'_>]) -> Result<(), SourceError> {
        self.read(slots)
    }

    fn end(&self) -> u64 {
        self.file.end()
    }

    fn changed(&self) -> Result<bool, SourceError> {
        self.file.changed()
    }
}

#[cfg(test)]
mod tests;
