//! Deduplication is what the reference says: new chunks of a night are those of `garret_chunker::reference` that no earlier
//! stream had, by their BLAKE3, not one more and not one less.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../../crates/image/tests/common/mod.rs"]
mod common;

use std::collections::HashSet;

use garret_chunker::{Cutter, FastCdc, PUBLIC_PAGE_KEY, PageCutter, Piece, Sizes, reference};
use garret_core::CutterChoice;
use garret_format::config::KeyMode;
use garret_format::recipe::CutterKind;
use garret_testkit::{Image, Lab, Random, chunk_size};

use common::images::mbr;

fn cutter(kind: CutterKind) -> Cutter {
    let target = chunk_size().target() as usize;
    let sizes = Sizes::new(target / 4, target, target * 4).unwrap();
    match kind {
        CutterKind::Page => Cutter::Page(PageCutter::new(sizes, PUBLIC_PAGE_KEY)),
        CutterKind::Fastcdc => Cutter::Fastcdc(FastCdc::new(sizes, None).unwrap()),
    }
}

/// How many chunks and bytes of `stream` are not in `known` yet; they are then.
fn predict(cutter: &Cutter, stream: &[u8], known: &mut HashSet<blake3::Hash>) -> (u64, u64) {
    let (mut at, mut count, mut bytes) = (0, 0, 0);
    for piece in reference::pieces(cutter, stream) {
        match piece {
            Piece::Zero(len) => at += len as usize,
            Piece::Chunk(len) => {
                if known.insert(blake3::hash(&stream[at..at + len])) {
                    count += 1;
                    bytes += len as u64;
                }
                at += len;
            }
        }
    }
    assert_eq!(at, stream.len());
    (count, bytes)
}

#[test]
fn new_chunks_of_every_night_are_those_the_reference_predicts() {
    for kind in [CutterKind::Page, CutterKind::Fastcdc] {
        for (seed, len) in [(1, 0), (2, 1), (3, 4095), (4, 300_000), (5, 5 << 20), (6, 9_999_999)] {
            let dir = tempfile::tempdir().unwrap();
            let (mut lab, _) = Lab::memory(KeyMode::None);
            lab.threads = 2;
            lab.cutter = CutterChoice::Always(kind);
            let (cutter, mut known) = (cutter(kind), HashSet::new());
            let mut image = Image::generate(seed, len);
            for night in 0..3 {
                // A path of its own, so that no night is taken for untouched.
                let path = dir.path().join(format!("{night}.img"));
                if night == 1 {
                    image.write_dense(&path)
                } else {
                    image.write_sparse(&path)
                }
                let written = lab.backup_path(&format!("night-{night}"), &path).unwrap().written;
                let expected = predict(&cutter, &image.bytes, &mut known);
                let found = (written.chunk_count, written.chunk_bytes);
                assert_eq!(found, expected, "{kind:?}, seed {seed}, night {night}");
                image.mutate(seed * 10 + night);
            }
            lab.check();
        }
    }
}

/// A disk of two partitions off the grid of pages, with zeros where one ends and the other begins.
fn partitioned(random: &mut Random) -> (Image, [usize; 3]) {
    let [before, first, second] = [63, 9000 + random.below(9000), 3000 + random.below(9000)];
    let (end, len) = (before + first, before + first + second);
    let table = mbr(&[(before as u32, first as u32), (end as u32, second as u32)]);
    let [before, end, len] = [before, end, len].map(|sectors| sectors * 512);
    let mut image = Image::noise(random.word(), len);
    image.bytes[..512].copy_from_slice(&table);
    for place in [before, end, len] {
        let zeros = random.below(200_000);
        image.bytes[place.saturating_sub(zeros).max(512)..(place + random.below(60_000)).min(len)]
            .fill(0);
    }
    (image, [0, before, end])
}

/// A file of zeros of whole windows too.
#[test]
fn a_partition_is_cut_as_if_it_were_a_stream_of_its_own() {
    for seed in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.raw");
        let (mut image, starts) = partitioned(&mut Random::new(seed));
        if seed % 3 == 0 {
            let hole = (starts[1] / 4096 + 9) * 4096..image.bytes.len() / 4096 * 4096;
            image.bytes[hole.clone()].fill(0);
            image.holes.push(hole);
        }
        image.write_sparse(&path);
        let (mut known, mut expected) = (HashSet::new(), (0, 0));
        for (index, start) in starts.into_iter().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(image.bytes.len());
            let part = &image.bytes[start..end];
            let (count, bytes) = predict(&cutter(CutterKind::Page), part, &mut known);
            expected = (expected.0 + count, expected.1 + bytes);
        }
        let (lab, _) = Lab::memory(KeyMode::None);
        let file = lab.backup_path("file", &path).unwrap().written;
        assert_eq!((file.chunk_count, file.chunk_bytes), expected, "seed {seed}");
        assert_eq!(lab.backup_bytes("pipe", &image.bytes).unwrap().written.chunk_count, 0);
        assert!(lab.restore_bytes("file").unwrap() == image.bytes, "seed {seed}");
        assert!(lab.restore_bytes("pipe").unwrap() == image.bytes, "seed {seed}");
    }
}

#[test]
fn holes_and_written_zeros_are_the_same_data() {
    let dir = tempfile::tempdir().unwrap();
    for kind in [CutterKind::Page, CutterKind::Fastcdc] {
        for seed in 10..14 {
            let image = Image::generate(seed, 8_000_000 + seed as usize);
            let (mut lab, _) = Lab::memory(KeyMode::Passphrase);
            lab.cutter = CutterChoice::Always(kind);
            let (sparse, dense) = (dir.path().join("sparse.img"), dir.path().join("dense.img"));
            image.write_sparse(&sparse);
            image.write_dense(&dense);
            let first = lab.backup_path("sparse", &sparse).unwrap();
            assert!(first.written.chunk_count > 0);
            let second = lab.backup_path("dense", &dense).unwrap();
            assert_eq!(second.written.chunk_count, 0, "{kind:?}, seed {seed}");
        }
    }
}

#[test]
fn nothing_but_the_list_of_files_is_stored_for_an_unchanged_image() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.img");
    Image::generate(20, 12_000_000).write_sparse(&path);
    let (lab, _) = Lab::memory(KeyMode::Keyfile);
    lab.backup_path("one", &path).unwrap();
    let again = lab.backup_path("two", &path).unwrap();
    assert_eq!((again.written.chunk_count, again.written.node_count), (0, 0));
    assert_eq!(again.written.pack_count, 0);
}

#[test]
fn a_repository_without_keys_names_chunks_as_anybody_would() {
    let (mut lab, _) = Lab::memory(KeyMode::None);
    lab.cutter = CutterChoice::Always(CutterKind::Page);
    let image = Image::noise(7, 1 << 20);
    lab.backup_bytes("a", &image.bytes).unwrap();
    let mut known = HashSet::new();
    predict(&cutter(CutterKind::Page), &image.bytes, &mut known);
    let ids: HashSet<[u8; 32]> =
        lab.reader().unwrap().chunk_ids().iter().map(|id| *id.as_bytes()).collect();
    assert!(known.iter().all(|hash| ids.contains(hash.as_bytes())));
}
