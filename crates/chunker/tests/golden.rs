//! The cuts of one fixed stream, held in `golden/cuts.txt`. Cuts are part of the repository format:
//! if this test fails, existing repositories would stop deduplicating with new backups. Do not
//! update the file; find out what moved (the fastcdc or siphasher crate, masks, sample, threshold).
//!
//! One line per piece: `z` or `c` and its length in bytes.

#![allow(clippy::unwrap_used, reason = "test code, but outside of test functions")]

mod common;

use std::fmt::Write as _;

use common::{Random, cutter, pieces};
use garret_chunker::{Cutter, Piece, Sizes, reference};

const GOLDEN: &str = include_str!("golden/cuts.txt");

/// Random data, zero runs on both sides of the limit, constant and periodic stretches, and a tail
/// that is not a page.
fn stream() -> Vec<u8> {
    let mut random = Random::new(2026);
    let mut stream = random.bytes(1_500 << 10);
    stream.resize(stream.len() + (60 << 10), 0);
    stream.extend(random.bytes(300 << 10));
    stream.resize(stream.len() + (64 << 10), 0);
    stream.extend(random.bytes(700 << 10));
    stream.resize(stream.len() + (400 << 10), 0xff);
    let pattern = random.bytes(5000);
    stream.extend(pattern.iter().cycle().take(600 << 10));
    stream.resize(stream.len().next_multiple_of(4096) + (1 << 20), 0);
    stream.extend(random.bytes((900 << 10) + 1234));
    stream
}

fn describe(name: &str, pieces: &[Piece]) -> String {
    let mut text = format!("# {name}\n");
    for piece in pieces {
        match piece {
            Piece::Zero(len) => writeln!(text, "z {len}").unwrap(),
            Piece::Chunk(len) => writeln!(text, "c {len}").unwrap(),
        }
    }
    text
}

#[test]
fn cuts_are_those_of_the_committed_vectors() {
    let cutters: [(&str, Cutter); 4] = [
        ("page, public key", cutter(true, None, Sizes::default())),
        ("page, keyed", cutter(true, Some(77), Sizes::default())),
        ("fastcdc, default table", cutter(false, None, Sizes::default())),
        ("fastcdc, keyed", cutter(false, Some(77), Sizes::default())),
    ];
    let stream = stream();
    let describe_all = |cut: fn(&Cutter, &[u8]) -> Vec<Piece>| -> String {
        cutters.iter().map(|(name, cutter)| describe(name, &cut(cutter, &stream))).collect()
    };
    let actual = describe_all(pieces);
    assert!(actual == GOLDEN, "the cuts have changed; now they are:\n{actual}");
    assert!(describe_all(reference::pieces) == GOLDEN, "the reference has changed");
}
