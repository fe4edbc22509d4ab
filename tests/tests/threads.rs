//! The number of threads changes nothing but the time: the same chunks get stored, down to recipes and items.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};

use garret_core::{Compression, CutterChoice, Input};
use garret_format::ChunkId;
use garret_format::config::KeyMode;
use garret_format::recipe::CutterKind;
use garret_testkit::{Image, Lab};

/// The ids of everything stored for archives of these files, each in a new repository without keys.
fn stored_ids(threads: usize, cutter: CutterKind, nights: &[PathBuf]) -> Vec<ChunkId> {
    let (mut lab, _) = Lab::memory(KeyMode::None);
    lab.threads = threads;
    lab.compression = Compression::Lz4;
    lab.cutter = CutterChoice::Always(cutter);
    for (night, path) in nights.iter().enumerate() {
        lab.backup_path(&format!("night-{night}"), path).unwrap();
    }
    lab.reader().unwrap().chunk_ids()
}

fn nights(dir: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for name in 0..2u64 {
        let mut image = Image::generate(name, 9_000_000 + 12_345 * name as usize);
        for night in 0..2 {
            let path = dir.join(format!("{name}-{night}.img"));
            image.write_sparse(&path);
            paths.push(path);
            image.mutate(night);
        }
    }
    paths
}

#[test]
fn the_set_of_chunks_does_not_depend_on_the_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let nights = nights(dir.path());
    for cutter in [CutterKind::Page, CutterKind::Fastcdc] {
        let serial = stored_ids(1, cutter, &nights);
        assert!(serial.len() > 60, "{} chunks", serial.len());
        assert!(serial.is_sorted());
        for threads in [2, 4] {
            assert!(
                stored_ids(threads, cutter, &nights) == serial,
                "{cutter:?}, {threads} threads"
            );
        }
    }
}

#[test]
fn a_pipe_and_a_file_of_the_same_content_give_the_same_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::generate(5, 12_000_001);
    let path = dir.path().join("image.raw");
    image.write_sparse(&path);
    for threads in [1, 4] {
        let (mut lab, _) = Lab::memory(KeyMode::None);
        lab.threads = threads;
        lab.cutter = CutterChoice::Always(CutterKind::Page);
        let first = lab.backup_path("file", &path).unwrap();
        assert!(first.written.chunk_count > 20);
        let reader = Box::new(std::fs::File::open(&path).unwrap());
        let input = Input::Stream { name: b"image".to_vec(), reader };
        let (second, _) = lab.backup_inputs("pipe", vec![input]).unwrap();
        assert_eq!(second.written.chunk_count, 0, "{threads} threads");
        assert_eq!(second.archive.archive.original_len, image.bytes.len() as u64);
    }
}
