//! Every file of the fuzz corpora of what people write goes through what its target does, so that CI needs no fuzzer. What
//! they promise is said in `fuzz/src/words.rs`.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::print_stdout, reason = "names the file that fails")]

// Of the program, which is no library.
#[path = "../../crates/garret/src/location.rs"]
#[allow(dead_code, reason = "the program uses all of it")]
mod location;
#[path = "../../fuzz/src/words.rs"]
mod words;

use std::fs;
use std::path::Path;

#[test]
fn whatever_people_write_is_taken_or_refused() {
    for (name, target) in words::TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
        let entries = fs::read_dir(&corpus).unwrap();
        let paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        assert!(!paths.is_empty(), "the corpus of {name} is empty");
        for path in paths {
            println!("{}", path.display());
            target(&fs::read(path).unwrap());
        }
    }
}
