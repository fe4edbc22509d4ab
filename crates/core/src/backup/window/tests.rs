//! Windows of random streams with random holes and sections, against the bytes: everything once, nothing across a section.

use std::sync::atomic::{AtomicU64, Ordering};

use garret_chunker::Sizes;
use proptest::prelude::*;

use super::load::KNOWN_ZERO_LEN;
use super::*;
use crate::limits::WINDOW_LEN;

const LOOKAHEAD: usize = 320 << 10;

/// Bytes with holes in which they are zero, and nowhere else.
struct Striped {
    bytes: Vec<u8>,
    holes: Vec<Range<u64>>,
    /// How many bytes were read.
    read_len: AtomicU64,
}

impl Striped {
    /// Data and holes take turns at these places.
    fn new(len: usize, mut cuts: Vec<usize>) -> Self {
        cuts.sort_unstable();
        let mut bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8 + 1).collect();
        let mut holes: Vec<Range<u64>> = Vec::new();
        for pair in cuts.chunks_exact(2).filter(|pair| pair[0] < pair[1]) {
            bytes[pair[0]..pair[1]].fill(0);
            let hole = pair[0] as u64..pair[1] as u64;
            match holes.last_mut() {
                // A file that does not change has no two holes beside each other.
                Some(Range { end, .. }) if *end == hole.start => *end = hole.end,
                _ => holes.push(hole),
            }
        }
        Striped { bytes, holes, read_len: AtomicU64::new(0) }
    }

    fn hole_len(&self, range: Range<u64>) -> u64 {
        let part =
            |hole: &Range<u64>| hole.end.min(range.end).saturating_sub(hole.start.max(range.start));
        self.holes.iter().map(part).sum()
    }
}

impl Source for Striped {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
        let next = self.holes.iter().find(|hole| hole.end > offset);
        Ok(match next {
            Some(hole) if hole.start <= offset => Extent::Hole { offset, len: hole.end - offset },
            Some(hole) => Extent::Data { offset, len: hole.start - offset },
            None => Extent::Data { offset, len: self.len() - offset },
        })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        let range = offset..offset + buf.len() as u64;
        assert_eq!(self.hole_len(range), 0, "a hole is read");
        self.read_len.fetch_add(buf.len() as u64, Ordering::Relaxed);
        buf.copy_from_slice(&self.bytes[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn changed(&self) -> Result<bool, SourceError> {
        Ok(false)
    }
}

/// A pipe that gives what it has in parts of any length.
struct Trickle {
    bytes: Vec<u8>,
    at: usize,
    parts: Vec<usize>,
}

impl Read for Trickle {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.parts.rotate_left(1);
        let len = buf.len().min(self.bytes.len() - self.at).min(self.parts[0]);
        buf[..len].copy_from_slice(&self.bytes[self.at..][..len]);
        self.at += len;
        Ok(len)
    }
}

/// Follows the stretches of a stream.
struct Follower<'a> {
    bytes: &'a [u8],
    starts: &'a [u64],
    pool: BufferPool,
    at: u64,
}

impl<'a> Follower<'a> {
    fn new(bytes: &'a [u8], starts: &'a [u64]) -> Self {
        let pool = BufferPool::default();
        // Buffers are used again: what is in them must not show.
        pool.get(WINDOW_LEN + LOOKAHEAD).bytes_mut().fill(0xee);
        Follower { bytes, starts, pool, at: 0 }
    }

    fn section_end(&self) -> u64 {
        let len = self.bytes.len() as u64;
        self.starts.iter().copied().find(|start| *start > self.at).unwrap_or(len).min(len)
    }

    /// Checks a stretch; gives what is known to be zero of it, by its place in the stream.
    fn take(&mut self, stretch: Stretch) -> Vec<Range<u64>> {
        let (start, section_end) = (self.at, self.section_end());
        let Stretch { fresh, len, body, .. } = stretch;
        assert_eq!(fresh, self.starts.contains(&start), "at {start}");
        assert!(start + len <= section_end, "a stretch crosses {section_end}");
        self.at += len;
        let window = match body {
            StretchBody::Window(window) => window,
            StretchBody::Same(..) => panic!("there is no base"),
            StretchBody::Hole => {
                assert!(len > 0 && len.is_multiple_of(WINDOW_LEN as u64));
                return std::iter::once(start..start + len).collect();
            }
        };
        let Loaded { own, last, buffer, known_zero, .. } = window.load(&self.pool).unwrap();
        assert_eq!(own as u64, len);
        let end = start + buffer.bytes().len() as u64;
        assert!(end <= section_end, "the lookahead crosses {section_end}");
        assert_eq!(last, end == section_end, "at {start}");
        assert!(last || end == start + (WINDOW_LEN + LOOKAHEAD) as u64);
        let mut found = buffer.bytes().to_vec();
        for zero in &known_zero {
            assert!(zero.start % PAGE == 0 && zero.len() >= KNOWN_ZERO_LEN);
            assert!(zero.end % PAGE == 0 || zero.end == found.len());
            found[zero.clone()].fill(0);
        }
        assert!(found == self.bytes[start as usize..end as usize], "bytes from {start} on");
        let absolute = |zero: &Range<usize>| start + zero.start as u64..start + zero.end as u64;
        known_zero.iter().map(absolute).collect()
    }

    fn finish(self) {
        assert_eq!(self.at, self.bytes.len() as u64, "everything was given");
    }
}

/// A source that is shorter than it was when it was opened, and of which a part cannot be read.
struct Fragile {
    len: u64,
    bytes: Vec<u8>,
    bad: Range<u64>,
    end: AtomicU64,
}

impl Source for Fragile {
    fn len(&self) -> u64 {
        self.len
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
        Ok(Extent::Data { offset, len: self.len - offset })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        let end = offset + buf.len() as u64;
        if self.bad.start < end && offset < self.bad.end {
            let path = std::path::Path::new("disk");
            return Err(SourceError::new(path, "read", std::io::ErrorKind::Other));
        }
        let rest = self.bytes.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        buf[len..].fill(0);
        if len < buf.len() {
            self.end.fetch_min(self.bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    fn changed(&self) -> Result<bool, SourceError> {
        Ok(self.end() < self.len)
    }
}

/// Places in a stream of `len` bytes: anywhere, at the ends of windows, near each other.
fn places(count: Range<usize>) -> impl Strategy<Value = Vec<usize>> {
    let place = prop_oneof![
        0..14_000_000_usize,
        (0..4_usize, 0..3_usize).prop_map(|(window, page)| window * WINDOW_LEN + page * PAGE),
        (0..30_000_usize).prop_map(|sector| sector * 512),
    ];
    prop::collection::vec(place, count)
}

fn stream() -> impl Strategy<Value = (Striped, Vec<u64>)> {
    let len =
        prop_oneof![Just(0_usize), 1..14_000_000_usize, (1..4_usize).prop_map(|n| n * WINDOW_LEN)];
    // One stream in four is a single hole.
    (len, places(0..8), places(0..6), 0..4_u8).prop_map(|(len, mut cuts, starts, kind)| {
        cuts.retain(|cut| *cut <= len);
        if kind == 0 {
            cuts = vec![cuts.first().map_or(0, |cut| cut % 10_000).min(len), len];
        }
        let mut starts: Vec<u64> = starts.into_iter().map(|start| start as u64).collect();
        starts.retain(|start| *start < len as u64);
        starts.push(0);
        starts.sort_unstable();
        starts.dedup();
        (Striped::new(len, cuts), starts)
    })
}

impl std::fmt::Debug for Striped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes with holes {:?}", self.bytes.len(), self.holes)
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        max_shrink_iters: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_source_is_given_once_and_no_window_crosses_a_section(
        (source, starts) in stream(),
        lost in prop_oneof![Just(vec![false; 20]), prop::collection::vec(prop::bool::weighted(0.2), 20)],
    ) {
        let bytes = source.bytes.clone();
        let source = Arc::new(source);
        let mut windows = SourceWindows::new(source.clone(), &starts, LOOKAHEAD);
        let mut follower = Follower::new(&bytes, &starts);
        while let Some(stretch) = windows.next().unwrap() {
            let (start, is_window) = (follower.at, matches!(stretch.body, StretchBody::Window(_)));
            let own = start..start + stretch.len;
            let in_holes = source.hole_len(own.clone());
            prop_assert_eq!(stretch.data, stretch.len - in_holes);
            prop_assert!(
                !is_window || stretch.len < WINDOW_LEN as u64 || stretch.data > 0,
                "a window of nothing but hole"
            );
            if is_window && lost[(start / WINDOW_LEN as u64) as usize] {
                // The window behind it reads what this one should have.
                follower.at += stretch.len;
                continue;
            }
            let known = follower.take(stretch);
            // Of each hole, all but the pages at its ends is known.
            let sum: u64 = known.iter().map(|zero| source.hole_len(zero.clone())).sum();
            prop_assert_eq!(sum, known.iter().map(|zero| zero.end - zero.start).sum::<u64>());
            for hole in &source.holes {
                let (from, to) = (hole.start.max(own.start), hole.end.min(own.end));
                if to.saturating_sub(from) >= (KNOWN_ZERO_LEN + 2 * PAGE) as u64 {
                    let inner = from + PAGE as u64..to - PAGE as u64;
                    let covers = |zero: &Range<u64>| zero.start <= inner.start && zero.end >= inner.end;
                    prop_assert!(known.iter().any(covers), "{hole:?} is not known");
                }
            }
        }
        prop_assert!(windows.is_at_end());
        follower.finish();
        let (len, read_len) = (bytes.len() as u64, source.read_len.load(Ordering::Relaxed));
        let data_len = len - source.hole_len(0..len);
        match lost.contains(&true) {
            true => prop_assert!(read_len <= data_len),
            false => prop_assert_eq!(read_len, data_len),
        }
        prop_assert_eq!(windows.allocation, AllocationMap::of(&*source).unwrap());
    }

    /// Every window on a thread of its own.
    #[test]
    fn of_a_source_that_shrinks_or_fails_each_window_has_what_is_there(
        len in 1..14_000_000_u64,
        left in prop_oneof![Just(100_u64), 0..100_u64],
        bad in prop_oneof![Just(0..0), (0..14_000_000_u64, 1..600_000_u64).prop_map(|(at, len)| at..at + len)],
    ) {
        let bytes: Vec<u8> = (0..len * left / 100).map(|at| (at % 251) as u8 + 1).collect();
        let there = bytes.len() as u64;
        let source = Fragile { len, bytes: bytes.clone(), bad: bad.clone(), end: AtomicU64::new(len) };
        let mut windows = SourceWindows::new(Arc::new(source), &[0], LOOKAHEAD);
        let (mut planned, mut at) = (Vec::new(), 0);
        while let Some(Stretch { len, body, .. }) = windows.next().unwrap() {
            let StretchBody::Window(window) = body else { panic!("no window at {at}") };
            planned.push((at, at + len, window));
            at += len;
        }
        prop_assert_eq!(at, len);
        let pool = BufferPool::default();
        let loaded: Vec<_> = std::thread::scope(|scope| {
            let load = |(start, end, window): (u64, u64, Window)| {
                let pool = &pool;
                (start, end, scope.spawn(move || window.load(pool)))
            };
            let threads: Vec<_> = planned.into_iter().map(load).collect();
            threads.into_iter().map(|(start, end, thread)| (start, end, thread.join().unwrap())).collect()
        });
        for (start, own_end, loaded) in loaded {
            let end = len.min(own_end + LOOKAHEAD as u64);
            let is_bad = bad.start < end && start < bad.end;
            prop_assert_eq!(loaded.is_err(), is_bad, "window at {}", start);
            let Ok(loaded) = loaded else { continue };
            let expected = &bytes[start.min(there) as usize..end.min(there) as usize];
            prop_assert!(loaded.buffer.bytes() == expected, "window at {start}");
            prop_assert_eq!(loaded.short, there < own_end);
            prop_assert_eq!(loaded.own as u64, own_end.min(there).saturating_sub(start));
        }
    }

    /// Sections may begin where the pipe has ended long since.
    #[test]
    fn a_pipe_is_given_once_and_no_window_crosses_a_section(
        (source, starts) in stream(),
        beyond in prop::collection::vec(1..9_000_000_u64, 0..3),
        parts in prop::collection::vec(1..2_000_000_usize, 1..9),
        peek in any::<bool>(),
    ) {
        let bytes = source.bytes;
        let mut all = starts.clone();
        all.extend(beyond.iter().map(|more| bytes.len() as u64 + more - 1));
        all.sort_unstable();
        all.dedup();
        let reader = Box::new(Trickle { bytes: bytes.clone(), at: 0, parts });
        let mut windows = StreamWindows::new(reader, LOOKAHEAD);
        if peek {
            let head = windows.peek().unwrap();
            prop_assert!(*head == bytes[..bytes.len().min(HEAD_LEN)]);
        }
        windows.set_starts(&all);
        let mut follower = Follower::new(&bytes, &all);
        while let Some(stretch) = windows.next(&BufferPool::default()).unwrap() {
            prop_assert_eq!(stretch.data, stretch.len);
            follower.take(stretch);
        }
        prop_assert!(windows.is_at_end());
        follower.finish();
    }
}

#[test]
fn the_lookahead_here_is_the_one_that_is_used() {
    let cutter = garret_chunker::PageCutter::new(Sizes::default(), garret_chunker::PUBLIC_PAGE_KEY);
    assert_eq!(garret_chunker::Cutter::Page(cutter).lookahead(), LOOKAHEAD);
    assert_eq!(window_len(LOOKAHEAD), WINDOW_LEN);
    assert_eq!(window_len((1 << 20) + (64 << 10)), 2 * WINDOW_LEN);
}
