//! Windows: the stretches of a stream that workers read, scan and hash, and the plan of them.
//!
//! A window is the bytes that pieces may start in plus a lookahead in which they end, so each chunk lies whole in one
//! buffer. Windows that are all hole are not read, nor are holes inside a window. A stream may consist of sections, each cut
//! as a stream of its own: windows begin where a section does, and neither they nor the lookahead reach beyond its end.

use std::collections::VecDeque;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use garret_chunker::{PAGE, ZERO_RUN_PAGES};
use garret_image::{AllocationMap, Extent, Slot, Source, SourceError};

use crate::buffers::{Buffer, BufferPool};
use crate::limits::WINDOW_LEN;

/// Holes that the scan is told about instead of being given zeros.
const KNOWN_ZERO_LEN: usize = ZERO_RUN_PAGES * PAGE;

/// A window that is about to be scanned.
#[derive(Debug)]
pub(crate) struct Window {
    /// Bytes that pieces may start in.
    pub(crate) own: usize,
    /// Whether the stream ends where the buffer ends.
    pub(crate) last: bool,
    load: Load,
}

enum Load {
    /// To be read by the worker: holes are relative to the window.
    Later { source: Arc<dyn Source>, offset: u64, len: usize, holes: Vec<Range<usize>> },
    /// Read already.
    Ready(Buffer),
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Load::Later { offset, len, .. } => write!(f, "Later({offset}, {len})"),
            Load::Ready(buffer) => write!(f, "Ready({})", buffer.bytes().len()),
        }
    }
}

/// A window whose bytes are there, but for holes that are known to be zero.
pub(crate) struct Loaded {
    pub(crate) own: usize,
    pub(crate) last: bool,
    /// Whether the source ended within its own bytes, though it should have gone on: nothing comes after it.
    pub(crate) short: bool,
    pub(crate) buffer: Buffer,
    pub(crate) known_zero: Vec<Range<usize>>,
}

impl Window {
    /// Reads what has to be read.
    pub(crate) fn load(self, pool: &BufferPool) -> Result<Loaded, SourceError> {
        let Window { own, last, load } = self;
        match load {
            Load::Ready(buffer) => {
                Ok(Loaded { own, last, short: false, buffer, known_zero: Vec::new() })
            }
            Load::Later { source, offset, len, holes } => {
                let mut buffer = pool.get(len);
                let known_zero = fill(&*source, offset, &holes, buffer.bytes_mut())?;
                let loaded = Loaded { own, last, short: false, buffer, known_zero };
                // Asked behind the read, which may have met the end.
                Ok(loaded.clipped(source.end().saturating_sub(offset)))
            }
        }
    }
}

impl Loaded {
    /// The same, if the source ends `len` bytes behind its start.
    fn clipped(mut self, len: u64) -> Self {
        let Some(len) = usize::try_from(len).ok().filter(|len| *len < self.buffer.bytes().len())
        else {
            return self;
        };
        self.buffer.truncate(len);
        self.last = true;
        self.short = len < self.own;
        self.own = self.own.min(len);
        self.known_zero.retain_mut(|range| {
            range.end = range.end.min(len);
            range.start < range.end
        });
        self
    }
}

/// Fills the buffer from `offset` of the source; gives the page-aligned parts of holes that were left alone.
fn fill(
    source: &dyn Source,
    offset: u64,
    holes: &[Range<usize>],
    bytes: &mut [u8],
) -> Result<Vec<Range<usize>>, SourceError> {
    let len = bytes.len();
    let mut known_zero = Vec::new();
    let mut slots = Vec::new();
    let mut rest = bytes;
    let mut at = 0;
    // The holes, and the end as one more without bytes.
    for hole in holes.iter().cloned().chain(std::iter::once(len..len)) {
        let (part, tail) = rest.split_at_mut(hole.start - at);
        if !part.is_empty() {
            slots.push(Slot { offset: offset + at as u64, bytes: part });
        }
        let (gap, tail) = tail.split_at_mut(hole.len());
        let end = if hole.end == len { hole.end } else { hole.end - hole.end % PAGE };
        let inner = hole.start.next_multiple_of(PAGE)..end;
        if inner.len() >= KNOWN_ZERO_LEN {
            let (before, gap) = gap.split_at_mut(inner.start - hole.start);
            before.fill(0);
            gap.split_at_mut(inner.len()).1.fill(0);
            known_zero.push(inner);
        } else {
            gap.fill(0);
        }
        rest = tail;
        at = hole.end;
    }
    source.read_many(&mut slots)?;
    Ok(known_zero)
}

/// A stretch of a stream.
#[derive(Debug)]
pub(crate) struct Stretch {
    /// Whether a section of the stream begins here: it is cut as a stream of its own.
    pub(crate) fresh: bool,
    /// Its bytes, lookahead not counted.
    pub(crate) len: u64,
    /// How many of them are not in holes.
    pub(crate) data: u64,
    /// What becomes of it.
    pub(crate) body: StretchBody,
}

#[derive(Debug)]
pub(crate) enum StretchBody {
    /// To be read.
    Window(Window),
    /// Whole windows of hole.
    Hole,
}

/// Divides a source into windows, from its map of holes.
pub(crate) struct SourceWindows {
    source: Arc<dyn Source>,
    lookahead: usize,
    at: u64,
    /// Where the section that `at` is in ends, and all behind it.
    ends: VecDeque<u64>,
    /// Whether `at` is the start of a section.
    fresh: bool,
    /// The extents found so far that reach beyond `at`.
    extents: VecDeque<Extent>,
    /// Where the last of them ends.
    known_to: u64,
    /// The map of everything found so far.
    pub(crate) allocation: AllocationMap,
}

impl SourceWindows {
    /// The windows of `source`, whose sections start at `starts`: ascending, below its length, the first at 0.
    pub(crate) fn new(source: Arc<dyn Source>, starts: &[u64], lookahead: usize) -> Self {
        let ends = starts.iter().skip(1).copied().chain([source.len()]).collect();
        SourceWindows {
            source,
            lookahead,
            at: 0,
            ends,
            fresh: true,
            extents: VecDeque::new(),
            known_to: 0,
            allocation: AllocationMap::new(),
        }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Stretch>, SourceError> {
        let Some(&section_end) = self.ends.front().filter(|end| self.at < **end) else {
            return Ok(None);
        };
        let own_end = section_end.min(self.at + WINDOW_LEN as u64);
        let end = section_end.min(own_end + self.lookahead as u64);
        self.find_extents(end)?;
        // The source may have become shorter: what was a hole may be no file any more.
        let source_end = self.source.end();
        if self.at >= source_end {
            return Ok(None);
        }
        if let Some(Extent::Hole { offset, len }) = self.extents.front() {
            let hole_end = (offset + len).min(section_end).min(source_end);
            let windows = (hole_end - self.at) / WINDOW_LEN as u64;
            if windows > 0 {
                let len = windows * WINDOW_LEN as u64;
                return Ok(Some(self.step(len, 0, StretchBody::Hole)));
            }
        }
        let holes = self.holes(end);
        let own = (own_end - self.at) as usize;
        let in_holes: usize =
            holes.iter().map(|hole| hole.end.min(own).saturating_sub(hole.start)).sum();
        let (source, offset, len) = (self.source.clone(), self.at, (end - self.at) as usize);
        let load = Load::Later { source, offset, len, holes };
        let window = Window { own, last: end == section_end, load };
        let data = (own - in_holes) as u64;
        Ok(Some(self.step(own as u64, data, StretchBody::Window(window))))
    }

    /// Whether the last stretch was given.
    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.source.end()
    }

    /// Goes on by a stretch.
    fn step(&mut self, len: u64, data: u64, body: StretchBody) -> Stretch {
        let stretch = Stretch { fresh: self.fresh, len, data, body };
        self.at += len;
        self.fresh = self.ends.front() == Some(&self.at);
        if self.fresh {
            self.ends.pop_front();
        }
        stretch
    }

    /// Asks for extents up to `end`, and forgets those behind.
    fn find_extents(&mut self, end: u64) -> Result<(), SourceError> {
        while self.known_to < end {
            let extent = self.source.extent_at(self.known_to)?;
            self.allocation.push(extent);
            self.known_to = extent.offset() + extent.len();
            self.extents.push_back(extent);
        }
        while self.extents.front().is_some_and(|extent| extent.offset() + extent.len() <= self.at) {
            self.extents.pop_front();
        }
        Ok(())
    }

    /// The holes between the current place and `end`, relative to the current place.
    fn holes(&self, end: u64) -> Vec<Range<usize>> {
        let holes = self.extents.iter().filter(|extent| extent.is_hole());
        holes
            .map(|hole| {
                let start = hole.offset().max(self.at).min(end);
                let stop = (hole.offset() + hole.len()).min(end);
                (start - self.at) as usize..(stop.max(start) - self.at) as usize
            })
            .filter(|hole| !hole.is_empty())
            .collect()
    }
}

/// Divides what comes from a pipe into windows.
pub(crate) struct StreamWindows {
    reader: Box<dyn Read + Send>,
    lookahead: usize,
    at: u64,
    /// As of [`SourceWindows`], but for the end of the stream, which nobody knows.
    ends: VecDeque<u64>,
    fresh: bool,
    /// What was read beyond the window before.
    ahead: Vec<u8>,
    ended: bool,
}

impl StreamWindows {
    pub(crate) fn new(reader: Box<dyn Read + Send>, lookahead: usize) -> Self {
        StreamWindows {
            reader,
            lookahead,
            at: 0,
            ends: VecDeque::new(),
            fresh: true,
            ahead: Vec::new(),
            ended: false,
        }
    }

    /// Says where sections start, as to [`SourceWindows::new`], before the first window is taken.
    pub(crate) fn set_starts(&mut self, starts: &[u64]) {
        self.ends = starts.iter().skip(1).copied().collect();
    }

    /// Whether the last window was given.
    pub(crate) fn is_at_end(&self) -> bool {
        self.ended
    }

    /// The first bytes of the stream, as many as a window has or as there are.
    pub(crate) fn peek(&mut self) -> std::io::Result<&[u8]> {
        if self.ahead.is_empty() {
            let mut bytes = Vec::with_capacity(WINDOW_LEN);
            self.reader.by_ref().take(WINDOW_LEN as u64).read_to_end(&mut bytes)?;
            self.ahead = bytes;
        }
        Ok(&self.ahead)
    }

    pub(crate) fn next(&mut self, pool: &BufferPool) -> std::io::Result<Option<Stretch>> {
        if self.ended {
            return Ok(None);
        }
        let left = self.ends.front().map_or(u64::MAX, |end| end - self.at);
        let most = WINDOW_LEN + self.lookahead;
        let want = usize::try_from(left).map_or(most, |left| left.min(most));
        let mut buffer = pool.get(want);
        let mut len = self.ahead.len().min(want);
        let (known, ahead) = self.ahead.split_at(len);
        buffer.bytes_mut().split_at_mut(len).0.copy_from_slice(known);
        let ahead = ahead.to_vec();
        while len < want {
            let rest = buffer.bytes_mut().get_mut(len..).unwrap_or_default();
            match self.reader.read(rest) {
                Ok(0) => break,
                Ok(count) => len += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.ended = len < want;
        let last = self.ended || len as u64 == left;
        let own = if last { len } else { WINDOW_LEN };
        buffer.truncate(len);
        self.ahead = buffer.bytes().get(own..).unwrap_or_default().to_vec();
        self.ahead.extend(ahead);
        self.at += own as u64;
        let window = Window { own, last, load: Load::Ready(buffer) };
        let body = StretchBody::Window(window);
        let stretch = Stretch { fresh: self.fresh, len: own as u64, data: own as u64, body };
        self.fresh = last;
        if last {
            self.ends.pop_front();
        }
        Ok(Some(stretch))
    }
}

#[cfg(test)]
mod tests;
