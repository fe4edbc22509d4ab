//! From bytes to the id of a chunk, and back: bytes that are proven to be the chunk.

use garret_format::ChunkId;

use crate::keys::{Keys, Purpose};

/// Names chunks: BLAKE3 of their content, keyed in encrypted repositories. One thread per chunk: below 128 KiB several
/// would only slow BLAKE3 down.
#[derive(Clone)]
pub(crate) struct ChunkHasher {
    keys: Keys,
}

impl ChunkHasher {
    pub(crate) fn new(keys: &Keys) -> Self {
        ChunkHasher { keys: keys.clone() }
    }

    /// The id of a chunk with this content.
    pub(crate) fn hash(&self, bytes: &[u8]) -> ChunkId {
        let hash = match self.keys.get(Purpose::ChunkId) {
            Some(key) => blake3::keyed_hash(key, bytes),
            None => blake3::hash(bytes),
        };
        ChunkId::from_bytes(*hash.as_bytes())
    }

    /// The proof that `bytes` are chunk `id`; `None` if they are not.
    pub(crate) fn verify<'a>(&self, id: &ChunkId, bytes: &'a [u8]) -> Option<VerifiedChunk<'a>> {
        (self.hash(bytes) == *id).then_some(VerifiedChunk(bytes))
    }
}

/// Bytes whose id was checked. Only [`ChunkHasher::verify`] makes one, and only this can be written to a restore target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VerifiedChunk<'a>(&'a [u8]);

impl<'a> VerifiedChunk<'a> {
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.0
    }
}
