//! From bytes to the id of a chunk, and back: bytes that are proven to be the chunk.

use std::sync::OnceLock;

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

    /// The same for a chunk that may be asked for again.
    pub(crate) fn verify_kept<'a>(
        &self,
        id: &ChunkId,
        chunk: &'a KeptChunk,
        bytes: &'a [u8],
    ) -> Option<VerifiedChunk<'a>> {
        let named = chunk.0.get_or_init(|| self.hash(bytes));
        (*named == *id).then_some(VerifiedChunk(bytes))
    }
}

/// The id of a chunk that stays in memory, once it was hashed. Whoever has it must always give the same bytes with it.
#[derive(Debug, Default)]
pub(crate) struct KeptChunk(OnceLock<ChunkId>);

/// Bytes whose id was checked. Only [`ChunkHasher`] makes one, and only this can be written to a restore target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VerifiedChunk<'a>(&'a [u8]);

impl<'a> VerifiedChunk<'a> {
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.0
    }
}
