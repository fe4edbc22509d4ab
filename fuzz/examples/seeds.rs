//! Writes the seed corpora: the samples of docs/format.md, and a few descriptions of streams.
//!
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds` after a change of a sample; the test
//! `corpus` of crate `format` fails until then.

#[path = "../../crates/format/tests/common/samples.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod samples;
#[path = "../src/seeds.rs"]
mod seeds;

fn main() -> std::io::Result<()> {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (path, bytes) in seeds::all(&samples::all()) {
        let path = corpus.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(&corpus))?;
        std::fs::write(path, bytes)?;
    }
    Ok(())
}
