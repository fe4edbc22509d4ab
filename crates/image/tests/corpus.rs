//! Every file of the fuzz corpora goes through what its target does, so that CI needs no fuzzer.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test code outside of test functions")]

#[path = "../../../fuzz/src/divide.rs"]
mod divide;

use std::path::PathBuf;

/// Runs every file of a target's corpus; there is at least one.
fn run(name: &str, target: fn(&[u8])) {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut count = 0;
    for entry in std::fs::read_dir(&corpus).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        target(&std::fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 0, "the corpus of {name} is empty");
}

#[test]
fn every_file_of_the_qcow2_corpus_is_opaque_or_put_together_again() {
    run("parse_qcow2", divide::qcow2);
}

#[test]
fn every_file_of_the_layout_corpus_is_refused_or_canonical() {
    run("decode_layout", divide::layout);
}
