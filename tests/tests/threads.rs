//! The number of threads changes nothing but the time: the same chunks get stored, down to recipes and items.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};

use garret_core::{
    Cause, Compression, CutterChoice, Input, Key, LocalStore, Store, StoreErrorKind,
};
use garret_format::ChunkId;
use garret_format::config::{Config, KeyMode};
use garret_format::recipe::CutterKind;
use garret_testkit::{Fault, FaultStore, Image, Lab, Verb};

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
        for threads in [2, 4, 40] {
            assert!(
                stored_ids(threads, cutter, &nights) == serial,
                "{cutter:?}, {threads} threads"
            );
        }
    }
}

/// Where there are workers for it packs are put side by side, also into a directory. Full at any of them, the backup fails as
/// with one, and what there is does for the next.
#[test]
fn packs_that_are_put_side_by_side_fail_as_one_does() {
    let image = Image::noise(6, 24 << 20).bytes;
    for after in [0, 3, 7, 11] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("repo");
        let mut lab = Lab::local(&root, KeyMode::None);
        let open = move || LocalStore::open(&root).unwrap();
        let mut config = Config::decode(&open().get_whole(&Key::Config, 4096).unwrap()).unwrap();
        (config.group_len, config.pack_len) = (1 << 20, 1 << 20);
        for key in [Key::Config, Key::ConfigCopy] {
            open().put(&key, &[&config.encode()]).unwrap();
        }
        lab.threads = 40;
        let fault = FaultStore::new(open());
        let shared = fault.clone();
        let full = lab.with_store(move || Box::new(shared.clone()));
        let (verbs, times) = (vec![Verb::Put], Fault::FOR_GOOD);
        fault.arm(Fault { verbs, after, times, kind: StoreErrorKind::NoSpace });
        let error = full.backup_bytes("a", &image).unwrap_err();
        assert_eq!(error.cause(), Cause::Full, "after {after}");
        assert!(fault.fired() > 0 && lab.names().is_empty());
        lab.check();
        lab.backup_bytes("a", &image).unwrap();
        assert!(lab.restore_bytes("a").unwrap() == image, "after {after}");
        lab.check();
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
