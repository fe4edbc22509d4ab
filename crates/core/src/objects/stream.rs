//! Byte strings that the core makes itself (items, allocation maps), stored like any stream: cut, named, deduplicated,
//! listed in a recipe. They are small next to images, so this is the serial program.

use std::collections::HashSet;
use std::sync::Arc;

use garret_chunker::{Cutter, Piece, Segment, Stitcher};
use garret_format::ChunkId;
use garret_format::archive::{INLINE_LEN_MAX, Side};
use garret_format::recipe::{CutterKind, Entry, Recipe};

use crate::error::{Error, Result};
use crate::limits::{REPEATED_LEN_MAX, REPEATED_TIMES_MAX, SIDE_LEN_MAX};
use crate::objects::recipe::{NodeSource, NodeStore, RecipeReader, RecipeWriter};

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

    pub(crate) fn push(&mut self, bytes: &[u8], nodes: &mut dyn NodeStore) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        while self.buffer.len() >= SEGMENT_LEN + self.cutter.lookahead() {
            self.cut(SEGMENT_LEN, false, nodes)?;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self, nodes: &mut dyn NodeStore) -> Result<Recipe> {
        self.cut(self.buffer.len(), true, nodes)?;
        self.recipe.finish(nodes)
    }

    /// Stores the pieces that start in the first `own` bytes of the buffer, and drops those bytes.
    fn cut(&mut self, own: usize, last: bool, nodes: &mut dyn NodeStore) -> Result<()> {
        let segment = Segment { bytes: &self.buffer, own, last, known_zero: &[] };
        let scan = self.cutter.scan(&segment);
        self.pieces.clear();
        let mut at = self.stitcher.stitch(self.cutter, &segment, &scan, &mut self.pieces);
        for piece in &self.pieces {
            let (id, len) = match *piece {
                Piece::Zero(len) => {
                    self.recipe.zero(len, nodes)?;
                    (None, len as usize)
                }
                Piece::Chunk(len) => {
                    let chunk = self.buffer.get(at..at + len).unwrap_or_default();
                    let id = nodes.store_node(chunk)?;
                    self.recipe.chunk(id, len as u32, nodes)?;
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
    nodes: &mut dyn NodeStore,
) -> Result<Side> {
    if bytes.len() <= INLINE_LEN_MAX {
        return Ok(Side::Inline(bytes));
    }
    let mut stream = StreamWriter::new(cutter);
    stream.push(&bytes, nodes)?;
    Ok(Side::Stream(stream.finish(nodes)?))
}

/// Reads a byte string stored beside an item.
pub(crate) fn read_side(side: &Side, nodes: &impl NodeSource, needed_by: &str) -> Result<Vec<u8>> {
    match side {
        Side::Inline(bytes) => Ok(bytes.clone()),
        Side::Stream(recipe) if recipe.len() > SIDE_LEN_MAX => Err(Error::Corrupt {
            object: needed_by.to_owned(),
            offset: 0,
            what: "its layout or allocation map is too long".to_owned(),
        }),
        Side::Stream(recipe) => {
            let mut reader = StreamReader::new(nodes, recipe, needed_by);
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
pub(crate) struct StreamReader<N> {
    entries: RecipeReader<N>,
    zeros: u64,
    /// Of a stream that must not repeat itself for ever.
    repetition: Option<Repetition>,
}

impl<N: NodeSource> StreamReader<N> {
    pub(crate) fn new(nodes: N, recipe: &Recipe, needed_by: impl Into<Arc<str>>) -> Self {
        let entries = RecipeReader::new(nodes, recipe, needed_by);
        StreamReader { entries, zeros: 0, repetition: None }
    }

    /// An item stream: refused where it repeats itself beyond its bounds.
    pub(crate) fn of_items(nodes: N, recipe: &Recipe, needed_by: impl Into<Arc<str>>) -> Self {
        let repetition = Some(Repetition::default());
        StreamReader { repetition, ..Self::new(nodes, recipe, needed_by) }
    }

    /// What errors call it.
    pub(crate) fn needed_by(&self) -> Arc<str> {
        self.entries.needed_by.clone()
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
                object: self.needed_by().to_string(),
                offset: 0,
                what: "its list of files repeats itself without end".to_owned(),
            }),
        }
    }
}

impl<N: NodeSource> Iterator for StreamReader<N> {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Result<Vec<u8>>> {
        if self.zeros == 0 {
            let entry = self.entries.next()?;
            match entry.and_then(|entry| self.check(&entry).map(|()| entry)) {
                Ok(Entry::Chunk { id, .. }) => {
                    return Some(self.entries.nodes.read_node(&id, &self.needed_by()));
                }
                Ok(Entry::Zero { len }) => self.zeros = len,
                Err(error) => return Some(Err(error)),
            }
        }
        let len = self.zeros.min(ZEROS_MAX);
        self.zeros -= len;
        Some(Ok(vec![0; len as usize]))
    }
}
