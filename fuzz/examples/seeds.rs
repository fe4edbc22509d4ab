//! Writes the seed corpora: the samples of docs/format.md, a few descriptions of streams, and what an honest client and
//! server say.
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
    let said = garret_fuzz::frames::seeds().map(|(path, bytes)| (path.to_owned(), bytes));
    for (path, bytes) in seeds::all(&samples::all()).into_iter().chain(said) {
        let path = corpus.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(&corpus))?;
        std::fs::write(path, bytes)?;
    }
    Ok(())
}
