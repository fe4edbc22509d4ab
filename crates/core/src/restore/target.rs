//! What verified chunks are written to. The only way in takes a [`VerifiedChunk`], so other bytes cannot reach a disk.

use std::sync::{Arc, Mutex, PoisonError};

use garret_image::{Attributes, DeviceSink, FileId, FileSink, Layout, Piece, Sink, Unset};

use crate::error::{Cause, Error, Hint, Result};
use crate::keys::chunk::VerifiedChunk;

/// A file, a device, or nothing; and the first thing that went wrong with it.
pub(super) struct Target {
    name: String,
    /// Where the stream lies in the file; `None` if it is the file.
    layout: Option<Layout>,
    place: Output,
    failure: Mutex<Option<Failure>>,
}

/// What went wrong: in words, for programs, and what can be done.
type Failure = (String, Cause, Option<Hint>);

/// Where bytes go.
pub(super) enum Output {
    /// A file, which gets its name when it is complete.
    File(FileSink),
    /// A block device, written in place.
    Device(DeviceSink),
    /// They were verified, and that is all.
    Nowhere,
}

impl Output {
    /// What is written to, if anything is.
    pub(super) fn sink(&self) -> Option<&dyn Sink> {
        match self {
            Output::File(sink) => Some(sink),
            Output::Device(sink) => Some(sink),
            Output::Nowhere => None,
        }
    }

    /// Whether it holds other bytes than zeros before it is written to.
    pub(super) fn needs_zeros(&self) -> bool {
        matches!(self, Output::Device(_))
    }

    /// What tells a file from all others.
    pub(super) fn id(&self) -> Result<Option<FileId>> {
        match self {
            Output::File(sink) => Ok(Some(sink.id()?)),
            Output::Device(_) | Output::Nowhere => Ok(None),
        }
    }

    /// Completes it.
    pub(super) fn finish(self, attributes: &Attributes<'_>) -> Result<Unset> {
        match self {
            Output::File(sink) => Ok(sink.finish(attributes)?),
            Output::Device(sink) => Ok(sink.finish().map(|()| None)?),
            Output::Nowhere => Ok(None),
        }
    }
}

impl Target {
    pub(super) fn new(name: &str, layout: Option<Layout>, place: Output) -> Self {
        Target { name: name.to_owned(), layout, place, failure: Mutex::default() }
    }

    /// What errors call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of the file, if they are not as many as of the stream.
    pub(super) fn file_len(&self) -> Option<u64> {
        self.layout.as_ref().map(Layout::file_len)
    }

    /// Memory that it holds, in the entries of a plan.
    pub(super) fn entries(&self) -> usize {
        let holes = match &self.place {
            Output::File(sink) => sink.hole_count(),
            Output::Device(_) | Output::Nowhere => 0,
        };
        self.layout.as_ref().map_or(0, Layout::run_count) + holes
    }

    /// Whether this stretch of the stream is wanted: any byte of it has a place, or all are only verified.
    pub(super) fn wants(&self, offset: u64, len: u64) -> bool {
        let pieces = |layout: &Layout| layout.stream_pieces(offset..offset + len).next().is_some();
        matches!(self.place, Output::Nowhere) || self.layout.as_ref().is_none_or(pieces)
    }

    /// Writes a chunk that lies at `offset` of the stream to its places; gives the bytes that had one.
    pub(super) fn write(&self, offset: u64, chunk: VerifiedChunk<'_>) -> Result<u64> {
        let bytes = chunk.bytes();
        self.place_all(offset, bytes.len() as u64, |sink, piece| {
            // Within the chunk.
            let skip = (piece.offset - offset) as usize;
            let part = bytes.get(skip..).and_then(|rest| rest.get(..piece.len as usize));
            Ok(sink.write_at(piece.file_offset, part.unwrap_or_default())?)
        })
    }

    /// The same for `len` zeros.
    pub(super) fn zero(&self, offset: u64, len: u64) -> Result<u64> {
        self.place_all(
            offset,
            len,
            |sink, piece| Ok(sink.write_zero(piece.file_offset, piece.len)?),
        )
    }

    fn place_all(
        &self,
        offset: u64,
        len: u64,
        mut put: impl FnMut(&dyn Sink, Piece) -> Result<()>,
    ) -> Result<u64> {
        let sink = self.place.sink();
        let mut put = |piece| sink.map_or(Ok(()), |sink| put(sink, piece));
        let Some(layout) = &self.layout else {
            put(Piece { offset, file_offset: offset, len })?;
            return Ok(len);
        };
        let mut placed = 0;
        for piece in layout.stream_pieces(offset..offset + len) {
            put(piece)?;
            placed += piece.len;
        }
        Ok(placed)
    }

    /// Remembers the first thing that went wrong, and where in the target (start and length in bytes); the target will not
    /// be finished.
    pub(super) fn fail(&self, range: Option<(u64, u64)>, error: &Error) {
        let range = range
            .map_or(String::new(), |(start, len)| format!("bytes {start} to {}: ", start + len));
        let text = format!("{range}{}", crate::error::message(error));
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert((text, error.cause(), error.hint()));
    }

    /// What went wrong, if anything did.
    fn failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Completes a file or device, unless something went wrong with it: then nothing of it stays.
    pub(super) fn finish(target: Arc<Self>, attributes: &Attributes<'_>) -> Result<Unset> {
        if let Some((why, cause, hint)) = target.failure() {
            return Err(Error::NotRestored { why, cause, hint });
        }
        match Arc::try_unwrap(target).map(|target| target.place) {
            Ok(place) => place.finish(attributes),
            Err(_) => Err(Error::not_restored(Cause::Other, "a part of it is still planned")),
        }
    }
}
