//! What verified chunks are written to. The only way in takes a [`VerifiedChunk`], so other bytes cannot reach a disk.

use std::sync::{Arc, Mutex, PoisonError};

use format::ChunkId;
use image::{FileSink, Sink, Time};

use crate::chunk::VerifiedChunk;
use crate::error::{Error, Result};
use crate::limits::{ORDERED_PLAN_LEN, PLAN_ENTRIES};

/// A file, a stretch of memory, or nothing; and the first thing that went wrong with it.
pub(super) struct Target {
    name: String,
    place: Place,
    failure: Mutex<Option<String>>,
}

enum Place {
    File(FileSink),
    Memory(Mutex<Vec<u8>>),
    Nowhere,
}

impl Target {
    fn new(name: &str, place: Place) -> Self {
        Target { name: name.to_owned(), place, failure: Mutex::default() }
    }

    pub(super) fn file(name: &str, sink: FileSink) -> Self {
        Self::new(name, Place::File(sink))
    }

    pub(super) fn memory(name: &str, len: u64) -> Self {
        Self::new(name, Place::Memory(Mutex::new(vec![0; len as usize])))
    }

    pub(super) fn nowhere(name: &str) -> Self {
        Self::new(name, Place::Nowhere)
    }

    /// What errors call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn write(&self, offset: u64, chunk: VerifiedChunk<'_>) -> Result<()> {
        let bytes = chunk.bytes();
        match &self.place {
            Place::File(sink) => sink.write_at(offset, bytes)?,
            Place::Memory(memory) => {
                let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                let start = offset as usize;
                if let Some(place) = memory.get_mut(start..start + bytes.len()) {
                    place.copy_from_slice(bytes);
                }
            }
            Place::Nowhere => {}
        }
        Ok(())
    }

    pub(super) fn zero(&self, offset: u64, len: u64) -> Result<()> {
        match &self.place {
            Place::File(sink) => Ok(sink.write_zero(offset, len)?),
            Place::Memory(_) | Place::Nowhere => Ok(()),
        }
    }

    /// Remembers the first thing that went wrong, and where in the target (start and length in bytes); the target will not
    /// be finished.
    pub(super) fn fail(&self, range: Option<(u64, u64)>, error: &Error) {
        let range = range
            .map_or(String::new(), |(start, len)| format!("bytes {start} to {}: ", start + len));
        let text = format!("{range}{}", crate::error::message(error));
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
    }

    /// What went wrong, if anything did.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The content of a stretch of memory, when everything planned was written.
    pub(super) fn take_bytes(&self) -> Vec<u8> {
        match &self.place {
            Place::Memory(memory) => {
                std::mem::take(&mut *memory.lock().unwrap_or_else(PoisonError::into_inner))
            }
            Place::File(_) | Place::Nowhere => Vec::new(),
        }
    }

    /// Completes a file, unless something went wrong with it: then nothing of it stays.
    pub(super) fn finish(
        target: Arc<Self>,
        mode: u32,
        owner: Option<(u32, u32)>,
        mtime: Time,
    ) -> Result<()> {
        if let Some(what) = target.failure() {
            return Err(Error::NotRestored(what));
        }
        match Arc::try_unwrap(target).map(|target| target.place) {
            Ok(Place::File(sink)) => Ok(sink.finish(mode, owner, mtime)?),
            Ok(Place::Memory(_) | Place::Nowhere) => Ok(()),
            Err(_) => Err(Error::NotRestored("a part of it is still planned".to_owned())),
        }
    }
}

/// A stretch of a stream that is being laid out before it is read: where its chunks go.
#[derive(Default)]
pub(super) struct Memory {
    len: u64,
    chunks: Vec<(u64, ChunkId, u64)>,
}

impl Memory {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether it should be read and written before more is laid out.
    pub(super) fn is_full(&self) -> bool {
        self.len >= ORDERED_PLAN_LEN || self.chunks.len() >= PLAN_ENTRIES
    }

    /// Adds zeros.
    pub(super) fn grow(&mut self, len: u64) {
        self.len += len;
    }

    /// Adds a chunk.
    pub(super) fn plan(&mut self, id: ChunkId, len: u64) {
        self.chunks.push((self.len, id, len));
        self.len += len;
    }

    /// Its length and chunks (place, id, length), and starts anew.
    pub(super) fn take(&mut self) -> (u64, Vec<(u64, ChunkId, u64)>) {
        let Memory { len, chunks } = std::mem::take(self);
        (len, chunks)
    }
}
