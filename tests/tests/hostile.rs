//! Every file of the fuzz corpora of hostile repositories and hostile destinations goes through what its target does, so that
//! CI needs no fuzzer. What they promise is said in `fuzz/src/hostile`.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::print_stdout, reason = "names the file that fails")]

#[path = "../../fuzz/src/hostile/mod.rs"]
mod hostile;

use std::fs;
use std::path::Path;

/// Runs every file of a target's corpus; there is at least one.
fn run(name: &str) {
    let (_, target) = hostile::TARGETS.into_iter().find(|(known, _)| *known == name).unwrap();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let paths: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!paths.is_empty(), "the corpus of {name} is empty");
    for path in &paths {
        println!("{}", path.display());
        target(&fs::read(path).unwrap());
    }
}

#[test]
fn every_repository_of_the_corpus_is_exact_or_an_error() {
    run("open_repository");
}

#[test]
fn every_directory_of_the_corpus_keeps_to_itself() {
    run("open_directory");
}

#[test]
fn every_copy_of_an_index_of_the_corpus_is_harmless() {
    run("open_cache");
}

#[test]
fn every_destination_of_the_corpus_keeps_what_is_outside() {
    run("restore_into");
}
