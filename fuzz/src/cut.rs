//! The fast cutters against the reference, on streams that bytes describe.
//!
//! In: any bytes, read as choices: the cutter, its sizes and key, how the stream is handed over,
//! and then what the stream is made of, piece by piece. Promise checked: the pieces are those of
//! [`garret_chunker::reference::pieces`].

#[path = "../../crates/chunker/tests/common/mod.rs"]
mod common;

use common::{Handing, Random, cutter, pieces_by_segments, sizes};
use garret_chunker::{PAGE, reference};

/// Streams end here: long enough for a few segments with their lookahead.
const STREAM_LEN_MAX: usize = 512 << 10;

/// Cuts the stream that `bytes` describe in both ways.
pub fn equals_reference(bytes: &[u8]) {
    let Some((&[kind, key, own, extra], parts)) = bytes.split_first_chunk() else { return };
    let (min, target, max) =
        [(1, 2, 4), (1, 1, 1), (2, 4, 4), (1, 4, 16)][usize::from(kind >> 2) % 4];
    let cutter =
        cutter(kind & 1 == 0, (kind & 2 != 0).then_some(key.into()), sizes(min, target, max));
    let (stream, holes) = describe(parts);
    let handing = Handing {
        own_pages: vec![1 + usize::from(own) % 40, 1 + usize::from(own / 7)],
        holes,
        skip: extra & 1 == 0,
        fill_short: extra & 2 != 0,
        extra: usize::from(extra >> 2) * 97,
    };
    let found = pieces_by_segments(&cutter, &stream, &handing);
    assert_eq!(found, reference::pieces(&cutter, &stream));
}

/// The stream, and which of its zeros are holes.
fn describe(mut parts: &[u8]) -> (Vec<u8>, Vec<std::ops::Range<usize>>) {
    let (mut stream, mut holes) = (Vec::new(), Vec::new());
    while let Some((&[kind, len, seed], rest)) = parts.split_first_chunk()
        && stream.len() < STREAM_LEN_MAX
    {
        let start = stream.len();
        let end = STREAM_LEN_MAX.min(start + (1 + usize::from(len)) * PAGE / 4);
        parts = rest;
        match kind % 6 {
            0 => stream.extend(Random::new(seed.into()).bytes(end - start)),
            1 => stream.resize(end, 0),
            2 => {
                stream.resize(end, 0);
                let hole = start.next_multiple_of(PAGE)..end - end % PAGE;
                if hole.len() >= 16 * PAGE {
                    holes.push(hole);
                }
            }
            3 => stream.resize(end, seed),
            4 => {
                let period = Random::new(seed.into()).bytes(1 + usize::from(seed) * 50);
                stream.extend(period.iter().cycle().take(end - start));
            }
            _ => {
                let (literal, rest) = rest.split_at(rest.len().min(usize::from(len)));
                stream.extend(literal);
                parts = rest;
            }
        }
    }
    (stream, holes)
}
