//! What the chunker's test suites share: seeded bytes, keyed cutters, and a driver that hands a
//! stream to scan and stitch in segments and gives back its pieces.
#![allow(dead_code, reason = "no suite uses all of it")]
#![allow(clippy::unwrap_used, reason = "test code, but outside of test functions")]

use std::ops::Range;

use garret_chunker::{
    Cutter, FastCdc, PAGE, PUBLIC_PAGE_KEY, PageCutter, Piece, Segment, Sizes, Stitcher,
};

/// xorshift64*: the same bytes everywhere and forever, which the golden vectors rely on.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.word() % bound as u64) as usize
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            (0..len.div_ceil(8)).flat_map(|_| self.word().to_le_bytes()).collect();
        bytes.truncate(len);
        bytes
    }
}

pub fn sizes(min_pages: usize, target_pages: usize, max_pages: usize) -> Sizes {
    Sizes::new(min_pages * PAGE, target_pages * PAGE, max_pages * PAGE).unwrap()
}

/// The first acceptable gear table from `seed` on, found as the core finds one.
pub fn keyed_fastcdc(sizes: Sizes, seed: u64) -> FastCdc {
    let mut random = Random::new(seed);
    loop {
        let gear = Box::new([(); 256].map(|()| random.word()));
        if let Ok(cutter) = FastCdc::new(sizes, Some(gear)) {
            return cutter;
        }
    }
}

/// Both cutters, each without a secret (`keyed` is none) and with one.
pub fn cutter(page: bool, keyed: Option<u64>, sizes: Sizes) -> Cutter {
    match (page, keyed) {
        (true, None) => Cutter::Page(PageCutter::new(sizes, PUBLIC_PAGE_KEY)),
        (true, Some(seed)) => {
            let key = Random::new(seed).bytes(16).try_into().unwrap();
            Cutter::Page(PageCutter::new(sizes, key))
        }
        (false, None) => Cutter::Fastcdc(FastCdc::new(sizes, None).unwrap()),
        (false, Some(seed)) => Cutter::Fastcdc(keyed_fastcdc(sizes, seed)),
    }
}

/// How a stream is handed over.
pub struct Handing {
    /// Own parts in pages, used in turn. The final one is whatever is left.
    pub own_pages: Vec<usize>,
    /// Parts of zero runs that are holes: whatever `stream` holds there must not matter.
    pub holes: Vec<Range<usize>>,
    /// Whether segments inside a hole go through `skip_zero`.
    pub skip: bool,
    /// Whether a hole of which a segment shows less than 64 KiB is given as bytes instead.
    pub fill_short: bool,
    /// Lookahead beyond what is asked for.
    pub extra: usize,
}

/// Cuts `stream` by segments and gives its pieces, zero neighbours merged. Asserts on the way that
/// the stitcher keeps its promises about offsets and segment ends.
pub fn pieces_by_segments(cutter: &Cutter, stream: &[u8], handing: &Handing) -> Vec<Piece> {
    let mut stitcher = Stitcher::new();
    let mut merged: Vec<Piece> = Vec::new();
    let mut owns = handing.own_pages.iter().cycle();
    let (mut start, mut expected_first) = (0, 0);
    while start < stream.len() {
        let own = (owns.next().unwrap() * PAGE).min(stream.len() - start);
        let mut pieces = Vec::new();
        let in_hole = |hole: &Range<usize>| hole.start <= start && hole.end >= start + own;
        if handing.skip && own >= 16 * PAGE && handing.holes.iter().any(in_hole) {
            stitcher.skip_zero(own as u64, &mut pieces);
            assert_eq!((expected_first, pieces.as_slice()), (0, &[Piece::Zero(own as u64)][..]));
        } else {
            let end = stream.len().min(start + own + cutter.lookahead() + handing.extra);
            let (bytes, known_zero) = window(stream, start..end, handing);
            let last = end == stream.len();
            let segment = Segment { bytes: &bytes, own, last, known_zero: &known_zero };
            let scan = cutter.scan(&segment);
            let first = stitcher.stitch(cutter, &segment, &scan, &mut pieces);
            assert_eq!(first, expected_first);
            expected_first = check_ends(&pieces, first, own, bytes.len());
        }
        for piece in pieces {
            match (merged.last_mut(), piece) {
                (Some(Piece::Zero(len)), Piece::Zero(more)) => *len += more,
                _ => merged.push(piece),
            }
        }
        start += own;
    }
    assert_eq!(expected_first, 0);
    merged
}

/// A copy of the window and the holes in it, relative to it.
fn window(stream: &[u8], range: Range<usize>, handing: &Handing) -> (Vec<u8>, Vec<Range<usize>>) {
    let mut bytes = stream[range.clone()].to_vec();
    let mut known_zero = Vec::new();
    for hole in &handing.holes {
        let clipped = hole.start.max(range.start)..hole.end.min(range.end);
        if clipped.is_empty() {
            continue;
        }
        let relative = clipped.start - range.start..clipped.end - range.start;
        if handing.fill_short && relative.len() < 16 * PAGE {
            bytes[relative].fill(0);
        } else {
            known_zero.push(relative);
        }
    }
    (bytes, known_zero)
}

/// Asserts that pieces start in the own part, that zeros end there and chunks in the lookahead.
/// Returns how far the last piece reaches into the next segment.
fn check_ends(pieces: &[Piece], first: usize, own: usize, len: usize) -> usize {
    let mut at = first;
    for piece in pieces {
        assert!(at < own);
        at += piece_len(piece);
        let limit = if matches!(piece, Piece::Zero(_)) { own } else { len };
        assert!(at <= limit);
    }
    assert!(at >= own);
    at - own
}

pub fn piece_len(piece: &Piece) -> usize {
    match *piece {
        Piece::Zero(len) => usize::try_from(len).unwrap(),
        Piece::Chunk(len) => len,
    }
}

/// The chunks of a stream, as offset and bytes.
pub fn chunks<'a>(pieces: &[Piece], stream: &'a [u8]) -> Vec<(usize, &'a [u8])> {
    let mut at = 0;
    let mut chunks = Vec::new();
    for piece in pieces {
        let len = piece_len(piece);
        if matches!(piece, Piece::Chunk(_)) {
            chunks.push((at, &stream[at..at + len]));
        }
        at += len;
    }
    chunks
}

/// Cuts a stream in segments of 1 MiB without holes.
pub fn pieces(cutter: &Cutter, stream: &[u8]) -> Vec<Piece> {
    let handing = Handing {
        own_pages: vec![256],
        holes: Vec::new(),
        skip: false,
        fill_short: false,
        extra: 0,
    };
    pieces_by_segments(cutter, stream, &handing)
}
