//! The reference: a whole stream in, its pieces out, in the plainest code that says what `lib.rs`
//! says. Slow and without any of the fast code: no vector tricks, no segments, no `fastcdc` crate.
//!
//! The tests compare the fast code with it; acceptance tools use it to predict deduplication.

use crate::{Cutter, FastCdc, PAGE, PageCutter, Piece, ZERO_RUN_PAGES};

/// The pieces of `stream`. Each zero run is one [`Piece::Zero`].
pub fn pieces(cutter: &Cutter, stream: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut extent_start = 0;
    let mut at = 0;
    while at < stream.len() {
        let pages = stream[at..].chunks(PAGE);
        let zero: Vec<&[u8]> = pages.take_while(|page| page.iter().all(|&b| b == 0)).collect();
        let len: usize = zero.iter().map(|page| page.len()).sum();
        if zero.len() >= ZERO_RUN_PAGES {
            cut_extent(cutter, &stream[extent_start..at], &mut pieces);
            pieces.push(Piece::Zero(len as u64));
            extent_start = at + len;
        }
        // Past the zero pages and the page that ended them.
        at = at + len + PAGE;
    }
    cut_extent(cutter, &stream[extent_start..], &mut pieces);
    pieces
}

fn cut_extent(cutter: &Cutter, mut extent: &[u8], pieces: &mut Vec<Piece>) {
    while !extent.is_empty() {
        let len = match cutter {
            Cutter::Page(cutter) => page_chunk(cutter, extent),
            Cutter::Fastcdc(cutter) => gear_chunk(cutter, extent),
        };
        pieces.push(Piece::Chunk(len));
        extent = &extent[len..];
    }
}

/// The length of the first chunk of `data` by the page cutter.
fn page_chunk(cutter: &PageCutter, data: &[u8]) -> usize {
    let (strict_max, loose_max) = cutter.thresholds();
    let sizes = cutter.sizes();
    for (page_index, page) in data.chunks(PAGE).enumerate() {
        let distance = page_index * PAGE;
        if distance == sizes.max() {
            return distance;
        }
        if distance < sizes.min() || page.len() < PAGE {
            continue;
        }
        let sample: Vec<u8> =
            (0..8).flat_map(|i| page[i * 584..].iter().take(8).copied()).collect();
        let threshold = if distance < sizes.target() { strict_max } else { loose_max };
        if cutter.hash(&sample) <= threshold {
            return distance;
        }
    }
    data.len()
}

/// The length of the first chunk of `data` by FastCDC v2020: a gear hash that starts at `min`,
/// tested at each byte. A hit at byte `p` makes a chunk of length `p`: that byte opens the next.
fn gear_chunk(cutter: &FastCdc, data: &[u8]) -> usize {
    let (gear, strict, loose) = cutter.gear();
    let sizes = cutter.sizes();
    let reach = data.len().min(sizes.max());
    let target = data.len().min(sizes.target());
    let mut hash = 0u64;
    // The crate tests bytes in pairs. Where the data ends at an odd length, its last byte has no
    // pair and is not tested; if that is before the target, neither zone has it.
    for p in sizes.min()..reach - reach % 2 {
        hash = (hash << 1).wrapping_add(gear[usize::from(data[p])]);
        let mask = if p < target { strict } else { loose };
        if hash & mask == 0 {
            return p;
        }
    }
    reach
}
