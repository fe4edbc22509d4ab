//! A file of an archive, readable at any place: what a restore to a pipe, a look into an image, or a view of the disk in it
//! reads.
//!
//! In: the content of an item. Out: [`StoredFile`], a `Source`. Promises that every byte given was checked against the id of
//! its chunk, and that a read opens each group it needs once; so reads should be large (`limits::FILE_READ_LEN`).

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use garret_format::archive::{Content, Item, ItemKind};
use garret_format::recipe::{Entry, Recipe};
use garret_format::{ChunkId, PackId};
use garret_image::{Extent, FileOrder, Layout, Piece, Source, SourceError};

use crate::error::{Cause, Error, Result, message};
use crate::keys::chunk::VerifiedChunk;
use crate::limits::{EXTENT_ENTRIES_MAX, JUMP_LEN_MAX, TRAIL_LEN, WALK_SLACK};
use crate::objects::group::WHOLE;
use crate::objects::index::Location;
use crate::objects::recipe::{NodeSource, RecipeReader};
use crate::objects::stream::read_side;
use crate::progress::Problem;
use crate::read::chunks::{Chunks, wrong_chunk};
use crate::read::groups::Ahead;

/// The file. May be read from any number of threads, and outlives the session that it came from.
#[derive(Clone)]
pub struct StoredFile {
    name: Arc<str>,
    len: u64,
    recipe: Arc<Recipe>,
    /// How the file is divided; `None` if its stream is the file.
    order: Option<FileOrder>,
    chunks: Chunks,
    trail: Arc<Trail>,
}

impl std::fmt::Debug for StoredFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredFile").field("name", &self.name).field("len", &self.len).finish()
    }
}

/// Where the last reads ended, whoever's they were: some go through a file side by side, and one reads ahead of another.
#[derive(Default)]
struct Trail {
    ends: [AtomicU64; TRAIL_LEN],
    /// How many of them began anew.
    count: AtomicUsize,
}

impl Trail {
    /// Notes a read; whether it is short and begins near none of the last ones.
    fn step(&self, len: usize, offset: u64) -> bool {
        let is_near = |end: &AtomicU64| offset.abs_diff(end.load(Ordering::Relaxed)) <= WALK_SLACK;
        let near = self.ends.iter().position(is_near);
        // Each walk has one place; a new one takes that of the one that began first.
        let place = near.unwrap_or_else(|| self.count.fetch_add(1, Ordering::Relaxed) % TRAIL_LEN);
        if let Some(end) = self.ends.get(place) {
            end.store(offset.saturating_add(len as u64), Ordering::Relaxed);
        }
        near.is_none() && len <= JUMP_LEN_MAX
    }
}

/// Part of a chunk, and where in a stretch of the file it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    /// Its first byte in the stretch.
    pub(crate) to: usize,
    pub(crate) len: usize,
    /// Its first byte in the chunk.
    skip: usize,
    id: ChunkId,
    chunk_len: u32,
}

/// Spans, and where their chunks are, all in the group that stands first.
type InGroup = (Location, Vec<(Location, Span)>);

/// A read of a stretch of a file: what it is made of, and what of that was read ahead.
pub(crate) struct Prepared {
    file: StoredFile,
    groups: Vec<InGroup>,
    /// Of each group nothing is wanted but what is asked for here.
    is_jump: bool,
    ahead: Ahead,
}

impl StoredFile {
    /// The file that `item` describes. `None` if it is not a file.
    pub(crate) fn open(chunks: &Chunks, item: &Item) -> Result<Option<Self>> {
        let ItemKind::File(content) = &item.kind else { return Ok(None) };
        let name = String::from_utf8_lossy(&item.path).into_owned();
        let order = read_layout(content, item.size, chunks, &name)?;
        Ok(Some(StoredFile {
            name: name.into(),
            len: item.size,
            recipe: Arc::new(content.recipe.clone()),
            order: order.map(|layout| FileOrder::new(Arc::new(layout))),
            chunks: chunks.clone(),
            trail: Arc::default(),
        }))
    }

    /// The first `len` bytes of its stream, as a file.
    pub(crate) fn beginning_of_stream(&self, len: u64) -> StoredFile {
        StoredFile { len, order: None, trail: Arc::default(), ..self.clone() }
    }

    /// How the file is divided; `None` if its stream is the file.
    pub(crate) fn layout(&self) -> Option<&Layout> {
        self.order.as_ref().map(FileOrder::layout)
    }

    /// Fills `buf` with the bytes from `offset` on, zeros behind the end of the file.
    ///
    /// # Errors
    /// Damage of what was asked for, and a repository that cannot be read.
    pub fn read(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.prepare(buf.len(), offset)?.read(buf)
    }

    /// What [`read`](Self::read) does before it has anything to compute: it waits for the store, and nothing else.
    pub(crate) fn prepare(&self, len: usize, offset: u64) -> Result<Prepared> {
        let groups = self.by_group(self.spans(len, offset)?)?;
        let is_jump = self.trail.step(len, offset);
        let places = groups.iter().map(|(location, _)| (location.pack, location.group));
        let ahead = self.chunks.groups().ahead(places);
        Ok(Prepared { file: self.clone(), groups, is_jump, ahead })
    }

    /// What `len` bytes from `offset` on are made of, in the order of the stream; zeros where there is no span. Reads recipes
    /// only.
    pub(crate) fn spans(&self, len: usize, offset: u64) -> Result<Vec<Span>> {
        let mut spans = Vec::new();
        let mut entries = self.entries();
        for piece in self.pieces(len, offset) {
            let end = piece.offset + piece.len;
            let mut at = piece.offset;
            while at < end {
                let Some((start, entry)) = entries.entry_at(at).transpose()? else { break };
                let next = end.min(start + entry.len());
                if let Entry::Chunk { id, len: chunk_len } = entry {
                    // All below the length of the buffer or of a chunk.
                    let to = piece.file_offset + (at - piece.offset) - offset;
                    let [skip, to, len] = [at - start, to, next - at].map(|n| n as usize);
                    spans.push(Span { to, len, skip, id, chunk_len });
                }
                at = next;
            }
        }
        Ok(spans)
    }

    /// What the recipe says of the bytes from `offset` on, as far as they are all zero, or all chunks.
    fn extent(&self, offset: u64) -> Result<Extent> {
        let mut entries = self.entries();
        let mut found: Option<bool> = None;
        let (mut end, mut left) = (offset, EXTENT_ENTRIES_MAX);
        'pieces: for piece in self.in_order(offset..self.len) {
            if piece.offset < entries.at() {
                entries = self.entries();
            }
            let mut at = piece.offset;
            while at < piece.offset + piece.len {
                let entry = entries.entry_at(at).transpose()?;
                let (next, is_hole) = match entry {
                    Some((start, Entry::Chunk { len, .. })) => (start + u64::from(len), false),
                    Some((start, Entry::Zero { len })) => (start + len, true),
                    None => (u64::MAX, true),
                };
                if left == 0 || *found.get_or_insert(is_hole) != is_hole {
                    break 'pieces;
                }
                let next = next.min(piece.offset + piece.len);
                (end, left, at) = (end + (next - at), left - 1, next);
            }
        }
        let len = end - offset;
        Ok(match found {
            Some(false) => Extent::Data { offset, len },
            _ => Extent::Hole { offset, len },
        })
    }

    fn entries(&self) -> RecipeReader<&Chunks> {
        RecipeReader::new(&self.chunks, &self.recipe, self.name.clone())
    }

    /// The error of a read as that of a source.
    pub(crate) fn failed(&self, error: &Error) -> SourceError {
        let error = std::io::Error::other(message(error));
        SourceError::new(Path::new(&*self.name), "read", error)
    }

    /// The spans by the group they are in, in the order in which the stream first needs the groups.
    fn by_group(&self, spans: Vec<Span>) -> Result<Vec<InGroup>> {
        let mut groups: Vec<InGroup> = Vec::new();
        let mut known: HashMap<(PackId, u32), usize> = HashMap::new();
        for span in spans {
            let location = self.chunks.locate(&span.id, u64::from(span.chunk_len), &self.name)?;
            let place =
                *known.entry((location.pack.id, location.group.offset)).or_insert_with(|| {
                    groups.push((location, Vec::new()));
                    groups.len() - 1
                });
            if let Some((_, spans)) = groups.get_mut(place) {
                spans.push((location, span));
            }
        }
        Ok(groups)
    }

    /// What a stretch of the file is made of, in the order of the stream.
    fn pieces(&self, len: usize, offset: u64) -> Vec<Piece> {
        let end = self.len.min(offset.saturating_add(len as u64));
        let mut pieces: Vec<Piece> = self.in_order(offset..end).collect();
        pieces.sort_unstable_by_key(|piece| piece.offset);
        pieces
    }

    /// Where the bytes of a range, which is within the file, lie in its stream, in the order of the file.
    fn in_order(&self, range: Range<u64>) -> impl Iterator<Item = Piece> + '_ {
        let whole = (self.order.is_none() && range.start < range.end).then(|| {
            let len = range.end - range.start;
            Piece { offset: range.start, file_offset: range.start, len }
        });
        let divided = self.order.iter().flat_map(move |order| {
            let start = |part| order.layout().start(part);
            let in_stream = move |(part, piece): (_, Piece)| Piece {
                offset: piece.offset + start(part),
                ..piece
            };
            order.pieces(range.clone()).map(in_stream)
        });
        whole.into_iter().chain(divided)
    }
}

impl Prepared {
    /// Fills `buf` with the bytes of the stretch; it is as long as was said.
    pub(crate) fn read(self, buf: &mut [u8]) -> Result<()> {
        let spans = self.groups.iter().flat_map(|(_, spans)| spans);
        if spans.map(|(_, span)| span.len).sum::<usize>() < buf.len() {
            buf.fill(0);
        }
        let chunks = &self.file.chunks;
        for (location, spans) in &self.groups {
            let ends = spans.iter().map(|(chunk, _)| chunk.offset.saturating_add(chunk.len));
            let len = if self.is_jump { ends.max().unwrap_or(WHOLE) } else { WHOLE };
            match chunks.groups().get_start(&location.pack, &location.group, len, &self.ahead) {
                Ok(group) => {
                    for (location, span) in spans {
                        let copy = |chunk: VerifiedChunk<'_>| span.copy(location, chunk, buf);
                        chunks.intact(&group, location, &span.id, copy)??;
                    }
                }
                Err(error) => {
                    for (location, span) in spans {
                        let copy = |chunk: VerifiedChunk<'_>| span.copy(location, chunk, buf);
                        match chunks.elsewhere(location, &span.id, &error, copy) {
                            Some(copied) => copied?,
                            None => return Err(error),
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl Span {
    /// Copies its bytes to their place in `buf`.
    fn copy(&self, location: &Location, chunk: VerifiedChunk<'_>, buf: &mut [u8]) -> Result<()> {
        let from = chunk.bytes().get(self.skip..).and_then(|rest| rest.get(..self.len));
        let to = buf.get_mut(self.to..).and_then(|rest| rest.get_mut(..self.len));
        let (Some(from), Some(to)) = (from, to) else {
            return Err(wrong_chunk(location, &self.id));
        };
        to.copy_from_slice(from);
        Ok(())
    }
}

impl Source for StoredFile {
    fn len(&self) -> u64 {
        self.len
    }

    /// What is stored as zeros is a hole. A long piece comes as several.
    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
        self.extent(offset).map_err(|error| self.failed(&error))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        self.read(buf, offset).map_err(|error| self.failed(&error))
    }

    fn changed(&self) -> Result<bool, SourceError> {
        Ok(false)
    }
}

/// What is to be said when a file is given out of which something could not be read when it was backed up.
pub fn unreadable(item: &Item) -> Option<Problem> {
    let ItemKind::File(content) = &item.kind else { return None };
    let first = content.unreadable.first()?.start;
    let (path, zeros) = (String::from_utf8_lossy(&item.path), in_words(&content.unreadable));
    let what = format!(
        "zeros stand for {zeros}, from offset {first} on, that could not be read when it was backed up"
    );
    Some(Problem::warning(Cause::Unreadable, path, what))
}

/// How many bytes, and in how many places.
pub(crate) fn in_words(ranges: &[Range<u64>]) -> String {
    let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    match ranges.len() {
        1 => format!("{bytes} bytes in 1 place"),
        count => format!("{bytes} bytes in {count} places"),
    }
}

/// The layout of a file of `len` bytes, checked against the length of its stream. `None` if the stream is the file.
pub(crate) fn read_layout(
    content: &Content,
    len: u64,
    nodes: &impl NodeSource,
    needed_by: &str,
) -> Result<Option<Layout>> {
    if content.layout.is_empty() {
        return Ok(None);
    }
    let corrupt = |what: String| Error::Corrupt { object: needed_by.to_owned(), offset: 0, what };
    let bytes = read_side(&content.layout, nodes, needed_by)?;
    let layout = Layout::decode(&bytes, len).map_err(|error| corrupt(format!("its {error}")))?;
    match layout.stream_len() == content.recipe.len() {
        true => Ok(Some(layout)),
        false => Err(corrupt("its layout is of a stream of another length".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use garret_format::archive::Side;
    use garret_format::recipe::{CutterKind, Node};
    use garret_image::Lens;

    use super::*;

    /// Has no chunks.
    struct Nothing;

    impl NodeSource for Nothing {
        fn read_node(&self, id: &ChunkId, needed_by: &str) -> Result<Vec<u8>> {
            Err(Error::MissingChunk { id: *id, needed_by: needed_by.to_owned() })
        }
    }

    #[test]
    fn a_short_read_far_from_all_others_is_a_jump() {
        const MIB: u64 = 1 << 20;
        let trail = Trail::default();
        assert!(!trail.step(4096, 0), "the start of a file");
        assert!(trail.step(4096, 100 * MIB) && !trail.step(4096, 100 * MIB + 8192));
        assert!(!trail.step(JUMP_LEN_MAX + 1, 500 * MIB), "a long one");
        assert!(!trail.step(4096, 500 * MIB), "near the long one");
        // Walks side by side, in any order; each is told from jumps for as long as it goes on.
        let trail = Trail::default();
        let places = TRAIL_LEN as u64;
        for round in 0..4 {
            for walk in 0..places {
                let is_jump = trail.step(65536, (walk + 1) * 100 * MIB + round * 65536);
                assert_eq!(is_jump, round == 0, "{walk} {round}");
            }
        }
    }

    #[test]
    fn a_layout_of_another_stream_or_file_is_corrupt() {
        let run = Piece { offset: 3000, file_offset: 100, len: 5000 };
        let layout = Layout::new(Lens { file: 9000, guest: 20_000 }, [run]).unwrap();
        assert_eq!(layout.stream_len(), 24_000);
        let read = |bytes: Vec<u8>, stream_len: u64, file_len| {
            let root = Node::Leaf(vec![Entry::Zero { len: stream_len }]);
            let recipe = Recipe { cutter: CutterKind::Page, root };
            let allocation = Side::Inline(Vec::new());
            let layout = Side::Inline(bytes);
            let content = Content { recipe, layout, allocation, unreadable: Vec::new() };
            read_layout(&content, file_len, &Nothing, "vm")
        };
        let stored = layout.encode();
        assert_eq!(read(stored.clone(), 24_000, 9000).unwrap(), Some(layout));
        assert_eq!(read(Vec::new(), 24_000, 24_000).unwrap(), None);
        for (stream_len, file_len) in [(23_999, 9000), (24_001, 9000), (24_000, 9001), (24_000, 50)]
        {
            let found = read(stored.clone(), stream_len, file_len);
            assert!(matches!(found, Err(Error::Corrupt { .. })), "{stream_len} {file_len}");
        }
        assert!(matches!(read(vec![0xff], 24_000, 9000), Err(Error::Corrupt { .. })));
    }
}
