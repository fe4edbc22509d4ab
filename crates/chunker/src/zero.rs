//! The zero-run finder: a segment's bytes and known holes in, zero runs (byte ranges) out.
//!
//! Promises: holes are never read; every page outside them is read at most up to its first nonzero
//! block, so data pages cost one or two cache lines and zero pages run at memory speed.

use std::ops::Range;

use crate::{PAGE, ZERO_RUN_PAGES};

/// Bytes tested between two exits: two cache lines. Nearly all data pages differ in the first
/// block, and the compiler turns the fold over a fixed 128 bytes into plain vector ORs.
const BLOCK: usize = 128;

/// The zero runs of one segment, seen without what came before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ZeroRuns {
    /// Bytes in the zero pages that the segment starts with, however few: they are a run, or belong
    /// to data, depending on how the previous segment ended.
    pub(crate) leading: usize,
    /// Runs of at least [`ZERO_RUN_PAGES`] pages, or with a known hole in them (a hole that the
    /// segment's ends clip may be shorter here). Sorted, disjoint, not empty, not adjacent.
    pub(crate) runs: Vec<Range<usize>>,
}

impl ZeroRuns {
    /// Finds the runs in `bytes`; `last` says that the stream ends where `bytes` ends, so that a
    /// partial last page is one of the stream and not one cut off by the reader.
    pub(crate) fn find(bytes: &[u8], last: bool, known_zero: &[Range<usize>]) -> ZeroRuns {
        let whole = bytes.len() - bytes.len() % PAGE;
        let bytes = if last { bytes } else { &bytes[..whole] };
        let mut found = ZeroRuns::default();
        let mut holes = known_zero;
        let mut at = 0;
        while at < bytes.len() {
            let (end, has_hole) = zero_stretch(bytes, at, &mut holes);
            if at == 0 {
                found.leading = end;
            }
            if has_hole || (end - at).div_ceil(PAGE) >= ZERO_RUN_PAGES {
                found.runs.push(at..end);
            }
            // The stretch ended at a page that is not zero (or at the end of the bytes).
            at = end + PAGE;
        }
        found
    }

    /// The data extents between the runs of a segment of `len` bytes, in order.
    pub(crate) fn extents(&self, len: usize) -> impl Iterator<Item = Range<usize>> {
        let starts = std::iter::once(0).chain(self.runs.iter().map(|run| run.end));
        let ends = self.runs.iter().map(|run| run.start).chain(std::iter::once(len));
        starts.zip(ends).map(|(start, end)| start..end).filter(|extent| !extent.is_empty())
    }
}

/// The end of the zero pages from page `start` on (`start` itself if that page is not zero), and
/// whether a hole is among them.
fn zero_stretch(bytes: &[u8], start: usize, holes: &mut &[Range<usize>]) -> (usize, bool) {
    let (mut at, mut has_hole) = (start, false);
    while at < bytes.len() {
        if let Some(end) = hole_end(holes, at, bytes.len()) {
            (at, has_hole) = (end, true);
            continue;
        }
        let page = &bytes[at..bytes.len().min(at + PAGE)];
        if !is_zero(page) {
            break;
        }
        at += page.len();
    }
    (at, has_hole)
}

/// The end of the hole that covers page `at`, if one does; drops the holes that end before.
fn hole_end(holes: &mut &[Range<usize>], at: usize, len: usize) -> Option<usize> {
    while let Some((first, rest)) = holes.split_first()
        && first.end <= at
    {
        *holes = rest;
    }
    let hole = holes.first().filter(|hole| hole.start <= at)?;
    let end = if hole.end >= len { len } else { hole.end - hole.end % PAGE };
    (end > at).then_some(end)
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let ored = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all | byte);
    blocks.iter().all(|block| ored(block) == 0) && ored(rest) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(pages: &str, tail: usize, last: bool, holes: &[Range<usize>]) -> ZeroRuns {
        let mut bytes: Vec<u8> =
            pages.bytes().flat_map(|page| vec![u8::from(page != b'0'); PAGE]).collect();
        bytes.extend(vec![0; tail]);
        let holes: Vec<_> = holes.iter().map(|h| h.start * PAGE..h.end * PAGE).collect();
        ZeroRuns::find(&bytes, last, &holes)
    }

    fn runs(found: &ZeroRuns) -> Vec<(usize, usize)> {
        found.runs.iter().map(|run| (run.start, run.end)).collect()
    }

    #[test]
    fn every_single_nonzero_byte_is_seen() {
        let mut page = [0; PAGE + 77];
        assert!(is_zero(&page) && is_zero(&[]));
        for at in 0..page.len() {
            page[at] = 0x80;
            assert!(!is_zero(&page), "byte {at}");
            page[at] = 0;
        }
    }

    #[test]
    fn sixteen_pages_make_a_run_and_fifteen_do_not() {
        let (few, many) = ("0".repeat(15), "0".repeat(16));
        let found = find(&format!("{few}d{many}d{few}"), 0, true, &[]);
        assert_eq!(found.leading, 15 * PAGE);
        assert_eq!(runs(&found), [(16 * PAGE, 32 * PAGE)]);
        assert_eq!(
            found.extents(48 * PAGE).collect::<Vec<_>>(),
            [0..16 * PAGE, 32 * PAGE..48 * PAGE]
        );
    }

    #[test]
    fn a_partial_page_counts_only_at_the_end_of_the_stream() {
        let few = format!("d{}", "0".repeat(15));
        assert_eq!(runs(&find(&few, 9, true, &[])), [(PAGE, 16 * PAGE + 9)]);
        assert!(find(&few, 9, false, &[]).runs.is_empty());
    }

    #[test]
    fn holes_are_zero_whatever_the_buffer_holds_and_join_their_neighbours() {
        // Pages 2..20 are a hole with garbage in it; the zero pages beside it belong to the run.
        let found =
            find(&format!("d0{}00d", "g".repeat(18)), 0, true, std::slice::from_ref(&(2..20)));
        assert_eq!(runs(&found), [(PAGE, 22 * PAGE)]);
        // Clipped by the segment's start or end, a hole may be short.
        let found = find("ggddgg", 0, false, &[0..2, 4..9]);
        assert_eq!(found.leading, 2 * PAGE);
        assert_eq!(runs(&found), [(0, 2 * PAGE), (4 * PAGE, 6 * PAGE)]);
    }
}
