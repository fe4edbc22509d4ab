//! Byte strings that the core makes itself (items, allocation maps), stored like any stream: cut, named, deduplicated,
//! listed in a recipe. They are small next to images, so this is the serial program.

use std::collections::HashSet;

use garret_chunker::{Cutter, Piece, Segment, Stitcher};
use garret_format::ChunkId;
use garret_format::archive::{INLINE_LEN_MAX, Side};
use garret_format::recipe::{CutterKind, Entry, Recipe};

use crate::error::{Error, Result};
use crate::fetch::ChunkReader;
use crate::limits::{REPEATED_LEN_MAX, REPEATED_TIMES_MAX, SIDE_LEN_MAX};
use crate::recipe::{RecipeReader, RecipeWriter};
use crate::write::ChunkWriter;

/// Bytes cut at a time; a multiple of the page.
const SEGMENT_LEN: usize = 1 << 20;

/// How much of a stream repeats what it held before.
#[derive(Default)]
struct Repetition {
    len: u64,
    different: HashSet<ChunkId>,
    different_len: u64,
}

impl Repetition {
    /// Counts a chunk, or zeros; whether the stream still is within its bounds.
    fn admits(&mut self, id: Option<ChunkId>, len: u64) -> bool {
        self.len = self.len.saturating_add(len);
        if id.is_some_and(|id| self.different.insert(id)) {
            self.different_len = self.different_len.saturating_add(len);
        }
        let most = self.different_len.saturating_mul(REPEATED_TIMES_MAX);
        self.len <= most.saturating_add(REPEATED_LEN_MAX)
    }
}

/// Takes bytes, gives the recipe of the stream they make.
pub(crate) struct StreamWriter<'c> {
    cutter: &'c Cutter,
    stitcher: Stitcher,
    recipe: RecipeWriter,
    buffer: Vec<u8>,
    pieces: Vec<Piece>,
    /// Of a stream that must not repeat itself for ever.
    repetition: Option<Repetition>,
}

impl<'c> StreamWriter<'c> {
    /// `cutter` must be the fastcdc cutter.
    pub(crate) fn new(cutter: &'c Cutter) -> Self {
        StreamWriter {
            cutter,
            stitcher: Stitcher::new(),
            recipe: RecipeWriter::new(CutterKind::Fastcdc),
            buffer: Vec::new(),
            pieces: Vec::new(),
            repetition: None,
        }
    }

    /// An item stream: fails where a reader would refuse it.
    pub(crate) fn of_items(cutter: &'c Cutter) -> Self {
        StreamWriter { repetition: Some(Repetition::default()), ..Self::new(cutter) }
    }

    pub(crate) fn push(&mut self, bytes: &[u8], writer: &mut ChunkWriter<'_, '_>) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        while self.buffer.len() >= SEGMENT_LEN + self.cutter.lookahead() {
            self.cut(SEGMENT_LEN, false, writer)?;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self, writer: &mut ChunkWriter<'_, '_>) -> Result<Recipe> {
        self.cut(self.buffer.len(), true, writer)?;
        self.recipe.finish(writer)
    }

    /// Stores the pieces that start in the first `own` bytes of the buffer, and drops those bytes.
    fn cut(&mut self, own: usize, last: bool, writer: &mut ChunkWriter<'_, '_>) -> Result<()> {
        let segment = Segment { bytes: &self.buffer, own, last, known_zero: &[] };
        let scan = self.cutter.scan(&segment);
        self.pieces.clear();
        let mut at = self.stitcher.stitch(self.cutter, &segment, &scan, &mut self.pieces);
        for piece in &self.pieces {
            let (id, len) = match *piece {
                Piece::Zero(len) => {
                    self.recipe.zero(len, writer)?;
                    (None, len as usize)
                }
                Piece::Chunk(len) => {
                    let chunk = self.buffer.get(at..at + len).unwrap_or_default();
                    let id = writer.admit_node(chunk)?;
                    self.recipe.chunk(id, len as u32, writer)?;
                    (Some(id), len)
                }
            };
            at += len;
            if self.repetition.as_mut().is_some_and(|rep| !rep.admits(id, len as u64)) {
                let text = "too many files have the same long attributes: no archive can hold them";
                return Err(Error::BadOption(text.to_owned()));
            }
        }
        self.buffer.drain(..own);
        Ok(())
    }
}

/// Stores a byte string beside an item: in it when short, as a stream when long.
pub(crate) fn store_side(
    bytes: Vec<u8>,
    cutter: &Cutter,
    writer: &mut ChunkWriter<'_, '_>,
) -> Result<Side> {
    if bytes.len() <= INLINE_LEN_MAX {
        return Ok(Side::Inline(bytes));
    }
    let mut stream = StreamWriter::new(cutter);
    stream.push(&bytes, writer)?;
    Ok(Side::Stream(stream.finish(writer)?))
}

/// Reads a byte string stored beside an item.
pub(crate) fn read_side(side: &Side, chunks: &ChunkReader<'_>, needed_by: &str) -> Result<Vec<u8>> {
    match side {
        Side::Inline(bytes) => Ok(bytes.clone()),
        Side::Stream(recipe) if recipe.len() > SIDE_LEN_MAX => Err(Error::Corrupt {
            object: needed_by.to_owned(),
            offset: 0,
            what: "its layout or allocation map is too long".to_owned(),
        }),
        Side::Stream(recipe) => {
            let mut reader = StreamReader::new(chunks, recipe, needed_by);
            let mut bytes = Vec::new();
            while let Some(part) = reader.next().transpose()? {
                bytes.extend_from_slice(&part);
            }
            Ok(bytes)
        }
    }
}

/// Longest zero run given out at once.
const ZEROS_MAX: u64 = 1 << 20;

/// Reads a stream from its start, part by part.
pub(crate) struct StreamReader<'a> {
    entries: RecipeReader<'a>,
    chunks: &'a ChunkReader<'a>,
    needed_by: &'a str,
    zeros: u64,
    /// Of a stream that must not repeat itself for ever.
    repetition: Option<Repetition>,
}

impl<'a> StreamReader<'a> {
    pub(crate) fn new(chunks: &'a ChunkReader<'a>, recipe: &Recipe, needed_by: &'a str) -> Self {
        StreamReader {
            entries: RecipeReader::new(chunks, recipe, needed_by),
            chunks,
            needed_by,
            zeros: 0,
            repetition: None,
        }
    }

    /// An item stream: refused where it repeats itself beyond its bounds.
    pub(crate) fn of_items(
        chunks: &'a ChunkReader<'a>,
        recipe: &Recipe,
        needed_by: &'a str,
    ) -> Self {
        let repetition = Some(Repetition::default());
        StreamReader { repetition, ..Self::new(chunks, recipe, needed_by) }
    }

    fn check(&mut self, entry: &Entry) -> Result<()> {
        let Some(repetition) = &mut self.repetition else { return Ok(()) };
        let id = match entry {
            Entry::Chunk { id, .. } => Some(*id),
            Entry::Zero { .. } => None,
        };
        match repetition.admits(id, entry.len()) {
            true => Ok(()),
            false => Err(Error::Corrupt {
                object: self.needed_by.to_owned(),
                offset: 0,
                what: "its list of files repeats itself without end".to_owned(),
            }),
        }
    }
}

impl Iterator for StreamReader<'_> {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Result<Vec<u8>>> {
        if self.zeros == 0 {
            let entry = self.entries.next()?;
            match entry.and_then(|entry| self.check(&entry).map(|()| entry)) {
                Ok(Entry::Chunk { id, .. }) => return Some(self.chunks.fetch(&id, self.needed_by)),
                Ok(Entry::Zero { len }) => self.zeros = len,
                Err(error) => return Some(Err(error)),
            }
        }
        let len = self.zeros.min(ZEROS_MAX);
        self.zeros -= len;
        Some(Ok(vec![0; len as usize]))
    }
}
