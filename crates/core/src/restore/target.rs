//! What verified chunks are written to. The only way in takes a [`VerifiedChunk`], so other bytes cannot reach a disk.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use garret_image::{Attributes, DeviceSink, FileId, FileSink, Layout, Piece, Sink, Unset};

use crate::error::{Cause, Error, Hint, Result};
use crate::keys::chunk::VerifiedChunk;

/// What stands behind the name of a file of which only a part could be restored.
pub(super) const DAMAGED_SUFFIX: &str = ".damaged";

/// A file, a device, or nothing; and what went wrong with it.
pub(super) struct Target {
    name: String,
    /// Where the stream lies in the file; `None` if it is the file.
    layout: Option<Layout>,
    place: Output,
    /// Whether what is lost may be left out.
    salvage: bool,
    trouble: Mutex<Trouble>,
}

/// What went wrong.
#[derive(Default)]
struct Trouble {
    /// The first of it: in words, for programs, and what can be done.
    first: Option<(String, Cause, Option<Hint>)>,
    /// Whether there can be no file at all.
    is_fatal: bool,
    /// Bytes of the file that cannot be had.
    lost: Vec<Range<u64>>,
}

impl Trouble {
    fn lose(&mut self, start: u64, len: u64) {
        let end = start.saturating_add(len);
        match self.lost.last_mut() {
            // As most do: a pack holds what lay together.
            Some(last) if last.end == start => last.end = end,
            _ => self.lost.push(start..end),
        }
    }
}

/// A file that is in its place.
pub(super) struct Finished {
    pub(super) unset: Unset,
    /// What of it could not be had, and is zero.
    pub(super) loss: Option<Loss>,
}

/// What a file lacks.
pub(super) struct Loss {
    /// Why, for the first of it.
    pub(super) why: String,
    pub(super) cause: Cause,
    pub(super) hint: Option<Hint>,
    /// Stretches of the file, in bytes, in order.
    pub(super) ranges: Vec<Range<u64>>,
    /// The file that the rest is in.
    pub(super) kept: Option<PathBuf>,
}

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

    /// What is written is not all there should be: a file gets another name, in full.
    fn call_damaged(&mut self) -> Option<PathBuf> {
        match self {
            Output::File(sink) => Some(sink.append_to_name(DAMAGED_SUFFIX).to_owned()),
            Output::Device(_) | Output::Nowhere => None,
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
    pub(super) fn new(name: &str, layout: Option<Layout>, place: Output, salvage: bool) -> Self {
        Target { name: name.to_owned(), layout, place, salvage, trouble: Mutex::default() }
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

    /// Bytes of the stream, from `offset` on, cannot be had. If what is lost may be left out the file is made without them.
    pub(super) fn lose(&self, offset: u64, len: u64, error: &Error) {
        let mut trouble = self.note(Some((offset, len)), error);
        match &self.layout {
            _ if !self.salvage => trouble.is_fatal = true,
            None => trouble.lose(offset, len),
            Some(layout) => {
                let pieces = layout.stream_pieces(offset..offset + len);
                pieces.for_each(|at| trouble.lose(at.file_offset, at.len));
            }
        }
    }

    /// The file cannot be made, whatever is left of it. `range` is where in the stream that showed: start and length in
    /// bytes.
    pub(super) fn fail(&self, range: Option<(u64, u64)>, error: &Error) {
        self.note(range, error).is_fatal = true;
    }

    /// The same for a reason that hides what went wrong before.
    pub(super) fn fail_for(&self, error: &Error) {
        *self.trouble() = Trouble::default();
        self.fail(None, error);
    }

    /// Whether there can be a file, but not all of it.
    pub(super) fn is_damaged(&self) -> bool {
        let trouble = self.trouble();
        trouble.first.is_some() && !trouble.is_fatal
    }

    /// Whether there can be no file at all.
    pub(super) fn has_failed(&self) -> bool {
        self.trouble().is_fatal
    }

    fn note(&self, range: Option<(u64, u64)>, error: &Error) -> MutexGuard<'_, Trouble> {
        let range = range
            .map_or(String::new(), |(start, len)| format!("bytes {start} to {}: ", start + len));
        let mut trouble = self.trouble();
        trouble.first.get_or_insert_with(|| {
            (format!("{range}{}", crate::error::message(error)), error.cause(), error.hint())
        });
        trouble
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes a file or device, unless it cannot be: then nothing of it stays.
    pub(super) fn finish(target: Arc<Self>, attributes: &Attributes<'_>) -> Result<Finished> {
        let target = Arc::try_unwrap(target)
            .map_err(|_| Error::not_restored(Cause::Other, "a part of it is still planned"))?;
        let trouble = target.trouble.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut place = target.place;
        let loss = match trouble.first {
            Some((why, cause, hint)) if trouble.is_fatal => {
                return Err(Error::NotRestored { why, cause, hint });
            }
            Some((why, cause, hint)) => {
                let kept = place.call_damaged();
                Some(Loss { why, cause, hint, ranges: joined(trouble.lost), kept })
            }
            None => None,
        };
        Ok(Finished { unset: place.finish(attributes)?, loss })
    }
}

/// The same stretches in order, those that touch as one.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, range| {
        let touches = next.start <= range.end;
        if touches {
            range.end = range.end.max(next.end);
        }
        touches
    });
    ranges
}
