//! What the benches and the prediction share: seeded data, and the reference cutter for streams
//! that do not fit into memory.
//!
//! In: a seed, or a stream part by part. Out: bytes that are the same everywhere; the pieces that
//! [`garret_chunker::reference::pieces`] gives for the whole stream. Memory is bounded by
//! [`BUFFER_LEN`]; no I/O, no threads.

mod stream;
mod text;

pub use garret_random::Random;
pub use stream::{BUFFER_LEN, StreamReference};
pub use text::text;
