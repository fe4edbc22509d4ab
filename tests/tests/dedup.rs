//! Deduplication is what the reference says: new chunks of a night are those of `chunker::reference` that no earlier
//! stream had, by their BLAKE3, not one more and not one less.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::HashSet;

use chunker::{Cutter, FastCdc, PUBLIC_PAGE_KEY, PageCutter, Piece, Sizes, reference};
use engine::CutterChoice;
use format::config::KeyMode;
use format::recipe::CutterKind;
use testkit::{Image, Lab};

fn cutter(kind: CutterKind) -> Cutter {
    match kind {
        CutterKind::Page => Cutter::Page(PageCutter::new(Sizes::default(), PUBLIC_PAGE_KEY)),
        CutterKind::Fastcdc => Cutter::Fastcdc(FastCdc::new(Sizes::default(), None).unwrap()),
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
    let ids: HashSet<[u8; 32]> = lab
        .open(engine::Access::Read)
        .unwrap()
        .chunk_ids()
        .iter()
        .map(|id| *id.as_bytes())
        .collect();
    assert!(known.iter().all(|hash| ids.contains(hash.as_bytes())));
}
