//! Whatever the stream and however it is handed over, the segmented cutters give the reference's
//! pieces, and those keep the bounds that lib.rs states.

mod common;

use std::ops::Range;

use common::{Handing, Random, cutter, piece_len, pieces_by_segments, sizes};
use garret_chunker::{Cutter, PAGE, Piece, Segment, Sizes, Stitcher, reference};
use proptest::prelude::*;

/// A stretch of a stream.
#[derive(Clone, Debug)]
enum Part {
    ZeroPages(usize),
    Constant(u8, usize),
    Periodic(usize, u64, usize),
    Random(u64, usize),
    /// Zeros up to the next page boundary, so that what follows is aligned.
    Align,
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let part = prop_oneof![
        4 => (1usize..40).prop_map(Part::ZeroPages),
        1 => (any::<u8>(), 1usize..200_000).prop_map(|(byte, len)| Part::Constant(byte, len)),
        1 => (1usize..9000, any::<u64>(), 1usize..200_000)
            .prop_map(|(period, seed, len)| Part::Periodic(period, seed, len)),
        2 => (any::<u64>(), 1usize..300_000).prop_map(|(seed, len)| Part::Random(seed, len)),
        2 => (any::<u64>(), 1usize..60)
            .prop_map(|(seed, pages)| Part::Random(seed, pages * PAGE)),
        2 => Just(Part::Align),
    ];
    prop::collection::vec(part, 0..24)
}

fn build(parts: &[Part]) -> Vec<u8> {
    let mut stream = Vec::new();
    for part in parts {
        match *part {
            Part::ZeroPages(pages) => stream.resize(stream.len() + pages * PAGE, 0),
            Part::Constant(byte, len) => stream.resize(stream.len() + len, byte),
            Part::Periodic(period, seed, len) => {
                let pattern = Random::new(seed).bytes(period);
                stream.extend(pattern.iter().cycle().take(len));
            }
            Part::Random(seed, len) => stream.extend(Random::new(seed).bytes(len)),
            Part::Align => stream.resize(stream.len().next_multiple_of(PAGE), 0),
        }
    }
    stream
}

fn any_cutter() -> impl Strategy<Value = Cutter> {
    let sizes = prop_oneof![
        Just(Sizes::default()),
        Just(sizes(1, 1, 1)),
        Just(sizes(1, 4, 16)),
        Just(sizes(3, 3, 5)),
        Just(sizes(2, 7, 7)),
    ];
    (any::<bool>(), prop::option::of(any::<u64>()), sizes)
        .prop_map(|(page, keyed, sizes)| cutter(page, keyed, sizes))
}

/// Holes at random places inside the zero runs that the reference found, at least 64 KiB each.
fn punch(pieces: &[Piece], random: &mut Random) -> Vec<Range<usize>> {
    let (mut at, mut holes) = (0, Vec::new());
    for piece in pieces {
        let end = at + piece_len(piece);
        if matches!(piece, Piece::Zero(_)) && !random.below(4).is_multiple_of(4) {
            let spare = (end - at).div_ceil(PAGE) - 16;
            let before = random.below(spare + 1) * usize::from(random.below(2) == 0);
            let start = at + before * PAGE;
            let len = (16 + random.below(spare - before + 1)) * PAGE;
            let end = if random.below(2) == 0 { end } else { end.min(start + len) };
            holes.push(start..end);
        }
        at = end;
    }
    holes
}

/// The invariants of lib.rs that need no oracle.
fn check_bounds(cutter: &Cutter, pieces: &[Piece], len: usize) {
    let sizes = cutter.sizes();
    assert_eq!(pieces.iter().map(piece_len).sum::<usize>(), len);
    let mut at = 0;
    for (i, piece) in pieces.iter().enumerate() {
        let ends_extent = !matches!(pieces.get(i + 1), Some(Piece::Chunk(_)));
        match *piece {
            Piece::Zero(_) => {
                assert!(at % PAGE == 0 && piece_len(piece) > 15 * PAGE);
                assert!(i + 1 == pieces.len() || piece_len(piece).is_multiple_of(PAGE));
            }
            Piece::Chunk(len) => {
                assert!(len > 0 && len <= sizes.max());
                assert!(len >= sizes.min() || ends_extent);
                assert!(ends_extent || len % PAGE == 0 || matches!(cutter, Cutter::Fastcdc(_)));
            }
        }
        at += piece_len(piece);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn segments_of_any_size_give_the_pieces_of_the_reference(
        parts in parts(),
        cutter in any_cutter(),
        own_pages in prop::collection::vec(16usize..120, 1..5),
        (skip, fill_short, extra) in (any::<bool>(), any::<bool>(), 0usize..70_000),
        seed in any::<u64>(),
    ) {
        let mut stream = build(&parts);
        let expected = reference::pieces(&cutter, &stream);
        check_bounds(&cutter, &expected, stream.len());
        let mut random = Random::new(seed);
        let holes = punch(&expected, &mut random);
        for hole in &holes {
            // Whoever reads a hole reads garbage and cuts elsewhere.
            let garbage = random.bytes(hole.len());
            stream[hole.clone()].copy_from_slice(&garbage);
        }
        let handing = Handing { own_pages, holes, skip, fill_short, extra };
        prop_assert_eq!(pieces_by_segments(&cutter, &stream, &handing), expected);
    }

    #[test]
    fn zero_runs_around_the_limit_and_around_segment_ends(
        lens in prop::collection::vec((13usize..19, 1usize..4), 1..12),
        tail in 0usize..PAGE,
        page in any::<bool>(),
        own_pages in prop::collection::vec(prop_oneof![1usize..4, 16usize..20], 1..4),
        seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let mut stream = Vec::new();
        for (zero, data) in lens {
            stream.extend(random.bytes(data * PAGE));
            stream.resize(stream.len() + zero * PAGE, 0);
        }
        stream.resize(stream.len() + tail, 0);
        let cutter = cutter(page, None, sizes(1, 2, 8));
        let expected = reference::pieces(&cutter, &stream);
        let handing =
            Handing { own_pages, holes: Vec::new(), skip: false, fill_short: false, extra: 0 };
        prop_assert_eq!(pieces_by_segments(&cutter, &stream, &handing), expected);
    }

    /// A stitcher that is put where another one would stand is equal to it, and gives what it gives.
    #[test]
    fn a_stitcher_can_be_put_at_any_page(
        parts in parts(),
        cutter in any_cutter(),
        place in any::<prop::sample::Index>(),
    ) {
        let stream = build(&parts);
        let at = place.index(stream.len() / PAGE + 1) * PAGE;
        let (mut put, mut rest, mut end) = (Stitcher::new(), Vec::new(), 0);
        for piece in reference::pieces(&cutter, &stream) {
            let start = end;
            end += piece_len(&piece);
            if start >= at {
                rest.push(piece);
            } else if end >= at {
                put = match piece {
                    Piece::Zero(_) => Stitcher::in_zero_run(),
                    Piece::Chunk(_) => Stitcher::in_chunk(end - at),
                };
                let zeros = Piece::Zero((end - at) as u64);
                rest.extend((matches!(piece, Piece::Zero(_)) && end > at).then_some(zeros));
            }
        }
        let stitch = |stitcher: &mut Stitcher, own: Range<usize>| {
            let end = stream.len().min(own.end + cutter.lookahead());
            let (bytes, last) = (&stream[own.start..end], end == stream.len());
            let segment = Segment { bytes, own: own.len(), last, known_zero: &[] };
            let mut pieces = Vec::new();
            stitcher.stitch(&cutter, &segment, &cutter.scan(&segment), &mut pieces);
            pieces
        };
        let mut other = Stitcher::new();
        stitch(&mut other, 0..at);
        prop_assert_eq!(&other, &put);
        prop_assert_eq!(stitch(&mut put, at..stream.len()), rest);
    }

    /// A caller that breaks every rule gets nonsense, but no panic, and pieces that still cover.
    #[test]
    fn no_segment_panics(
        len in 0usize..200_000,
        owns in prop::collection::vec(0usize..300_000, 1..4),
        last in any::<bool>(),
        known in prop::collection::vec((0usize..250_000, 0usize..250_000), 0..4),
        (page, other, skip) in (any::<bool>(), any::<bool>(), 0u64..100_000),
    ) {
        let bytes: Vec<u8> = Random::new(len as u64).bytes(len).iter().map(|b| b & 1).collect();
        let known_zero: Vec<_> = known.into_iter().map(|(from, to)| from..to).collect();
        let cutters = [page, other].map(|page| cutter(page, None, sizes(1, 4, 16)));
        let mut stitcher = Stitcher::new();
        let (mut pieces, mut total) = (Vec::new(), 0);
        for own in owns {
            let segment = Segment { bytes: &bytes, own, last, known_zero: &known_zero };
            let scan = cutters[1].scan(&segment);
            stitcher.stitch(&cutters[0], &segment, &scan, &mut pieces);
            stitcher.skip_zero(skip, &mut pieces);
            total += own.min(len) + usize::try_from(skip).unwrap();
        }
        prop_assert!(pieces.iter().map(piece_len).sum::<usize>() >= total);
    }
}

#[test]
fn the_empty_stream_has_no_pieces() {
    for page in [true, false] {
        let cutter = cutter(page, None, Sizes::default());
        assert!(reference::pieces(&cutter, &[]).is_empty());
        let segment = Segment { bytes: &[], own: 0, last: true, known_zero: &[] };
        let mut pieces = Vec::new();
        let scan = cutter.scan(&segment);
        assert_eq!(Stitcher::new().stitch(&cutter, &segment, &scan, &mut pieces), 0);
        assert!(pieces.is_empty());
    }
}

/// The reference's own gear loop against the crate's iterator, at every kind of length.
#[test]
fn the_default_fastcdc_is_the_crates() {
    let cutter = cutter(false, None, Sizes::default());
    let data = Random::new(5).bytes(3 << 20);
    for len in [1, 16_384, 16_385, 65_535, 65_537, 262_143, 1_000_003, 3 << 20] {
        let crates: Vec<Piece> =
            fastcdc::v2020::FastCDC::new(&data[..len], 16 << 10, 64 << 10, 256 << 10)
                .map(|chunk| Piece::Chunk(chunk.length))
                .collect();
        assert_eq!(reference::pieces(&cutter, &data[..len]), crates, "{len} bytes");
    }
}
