//! Every file of the fuzz corpora goes through what its target does, so that CI needs no fuzzer;
//! and the seeds are those that the samples of docs/format.md give.

#![allow(clippy::unwrap_used, reason = "test code, but outside of test functions")]
#![allow(clippy::print_stdout, reason = "names the file that fails")]

mod common;
#[path = "../../../fuzz/src/cut.rs"]
mod cut;
#[path = "../../../fuzz/src/decode.rs"]
mod decode;
#[path = "../../../fuzz/src/seeds.rs"]
mod seeds;

use std::fs;
use std::path::PathBuf;

use common::samples;

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

/// Runs every file of a target's corpus; says how many there were.
fn run(name: &str, target: fn(&[u8])) -> usize {
    let entries = fs::read_dir(corpus().join(name)).unwrap();
    let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    for path in &paths {
        println!("{}", path.display());
        target(&fs::read(path).unwrap());
    }
    paths.len()
}

#[test]
fn every_file_of_a_decoders_corpus_is_taken_or_refused() {
    for (name, target) in decode::TARGETS {
        assert!(run(name, target) > 0, "the corpus of {name} is empty");
    }
}

#[test]
fn every_file_of_the_cutters_corpus_is_cut_as_the_reference_cuts_it() {
    assert!(run("cut_equals_reference", cut::equals_reference) > 0);
}

#[test]
fn the_seeds_are_made_of_the_samples_of_the_page() {
    for (path, bytes) in seeds::all(&samples::all()) {
        let found = fs::read(corpus().join(&path)).ok();
        let how = "cargo run --manifest-path fuzz/Cargo.toml --example seeds";
        assert!(found == Some(bytes), "fuzz/corpus/{path} is not its sample: {how}");
    }
}
