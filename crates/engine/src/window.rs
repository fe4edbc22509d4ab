//! Windows: the stretches of a stream that workers read, scan and hash, and the plan of them.
//!
//! A window is the bytes that pieces may start in plus a lookahead in which they end, so each chunk lies whole in one
//! buffer. Windows that are all hole are not read, nor are holes of 64 KiB and more inside a window.

use std::collections::VecDeque;
use std::io::Read;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use chunker::{PAGE, ZERO_RUN_PAGES};
use image::{AllocationMap, Extent, Source, SourceError};

use crate::limits::WINDOW_LEN;

/// Holes that the scan is told about instead of being given zeros.
const KNOWN_ZERO_LEN: usize = ZERO_RUN_PAGES * PAGE;

/// Buffers that are used again, so that their pages are not faulted in anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct BufferPool(Arc<Mutex<Vec<Vec<u8>>>>);

/// Bytes of a window. Goes back to its pool when dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    len: usize,
    pool: BufferPool,
}

impl BufferPool {
    /// A buffer of `len` bytes of any content.
    pub(crate) fn get(&self, len: usize) -> Buffer {
        let mut bytes =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        if bytes.len() < len {
            bytes.resize(len, 0);
        }
        Buffer { bytes, len, pool: self.clone() }
    }
}

impl Buffer {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.pool.0.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}

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
            Load::Ready(buffer) => write!(f, "Ready({})", buffer.len),
        }
    }
}

/// A window whose bytes are there, but for holes that are known to be zero.
pub(crate) struct Loaded {
    pub(crate) own: usize,
    pub(crate) last: bool,
    pub(crate) buffer: Buffer,
    pub(crate) known_zero: Vec<Range<usize>>,
}

impl Window {
    /// Reads what has to be read.
    pub(crate) fn load(self, pool: &BufferPool) -> Result<Loaded, SourceError> {
        let Window { own, last, load } = self;
        match load {
            Load::Ready(buffer) => Ok(Loaded { own, last, buffer, known_zero: Vec::new() }),
            Load::Later { source, offset, len, holes } => {
                let mut buffer = pool.get(len);
                let known_zero = fill(&*source, offset, &holes, buffer.bytes_mut())?;
                Ok(Loaded { own, last, buffer, known_zero })
            }
        }
    }
}

/// Fills the buffer from `offset` of the source; gives the page-aligned parts of holes that were left alone.
fn fill(
    source: &dyn Source,
    offset: u64,
    holes: &[Range<usize>],
    bytes: &mut [u8],
) -> Result<Vec<Range<usize>>, SourceError> {
    let mut known_zero = Vec::new();
    let mut at = 0;
    for hole in holes {
        read_part(source, offset, at..hole.start, bytes)?;
        at = hole.end;
        let end = if hole.end == bytes.len() { hole.end } else { hole.end - hole.end % PAGE };
        let inner = hole.start.next_multiple_of(PAGE)..end;
        if inner.len() >= KNOWN_ZERO_LEN {
            zero_part(hole.start..inner.start, bytes);
            zero_part(inner.end..hole.end, bytes);
            known_zero.push(inner);
        } else {
            zero_part(hole.clone(), bytes);
        }
    }
    read_part(source, offset, at..bytes.len(), bytes)?;
    Ok(known_zero)
}

fn read_part(
    source: &dyn Source,
    offset: u64,
    range: Range<usize>,
    bytes: &mut [u8],
) -> Result<(), SourceError> {
    let start = offset + range.start as u64;
    match bytes.get_mut(range) {
        Some(part) if !part.is_empty() => source.read_at(part, start),
        _ => Ok(()),
    }
}

fn zero_part(range: Range<usize>, bytes: &mut [u8]) {
    if let Some(part) = bytes.get_mut(range) {
        part.fill(0);
    }
}

/// A stretch of a stream.
#[derive(Debug)]
pub(crate) enum Stretch {
    /// To be read.
    Window(Window),
    /// Whole windows of hole.
    Hole(u64),
}

/// Divides a source into windows, from its map of holes.
pub(crate) struct SourceWindows {
    source: Arc<dyn Source>,
    lookahead: usize,
    at: u64,
    /// The extents found so far that reach beyond `at`.
    extents: VecDeque<Extent>,
    /// Where the last of them ends.
    known_to: u64,
    /// The map of everything found so far.
    pub(crate) allocation: AllocationMap,
}

impl SourceWindows {
    pub(crate) fn new(source: Arc<dyn Source>, lookahead: usize) -> Self {
        SourceWindows {
            source,
            lookahead,
            at: 0,
            extents: VecDeque::new(),
            known_to: 0,
            allocation: AllocationMap::new(),
        }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Stretch>, SourceError> {
        let len = self.source.len();
        if self.at >= len {
            return Ok(None);
        }
        let own_end = len.min(self.at + WINDOW_LEN as u64);
        let end = len.min(own_end + self.lookahead as u64);
        while self.known_to < end {
            let extent = self.source.extent_at(self.known_to)?;
            self.allocation.push(extent);
            self.known_to = extent.offset() + extent.len();
            self.extents.push_back(extent);
        }
        while self.extents.front().is_some_and(|extent| extent.offset() + extent.len() <= self.at) {
            self.extents.pop_front();
        }
        if let Some(Extent::Hole { offset, len }) = self.extents.front() {
            let windows = (offset + len - self.at) / WINDOW_LEN as u64;
            if windows > 0 {
                let hole = windows * WINDOW_LEN as u64;
                self.at += hole;
                return Ok(Some(Stretch::Hole(hole)));
            }
        }
        let window = Window {
            own: (own_end - self.at) as usize,
            last: end == len,
            load: Load::Later {
                source: self.source.clone(),
                offset: self.at,
                len: (end - self.at) as usize,
                holes: self.holes(end),
            },
        };
        self.at = own_end;
        Ok(Some(Stretch::Window(window)))
    }

    /// Whether the last stretch was given.
    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.source.len()
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
    /// What was read beyond the window before.
    ahead: Vec<u8>,
    ended: bool,
}

impl StreamWindows {
    pub(crate) fn new(reader: Box<dyn Read + Send>, lookahead: usize) -> Self {
        StreamWindows { reader, lookahead, ahead: Vec::new(), ended: false }
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

    pub(crate) fn next(&mut self, pool: &BufferPool) -> std::io::Result<Option<Window>> {
        if self.ended {
            return Ok(None);
        }
        let want = WINDOW_LEN + self.lookahead;
        let mut buffer = pool.get(want);
        let mut len = self.ahead.len();
        if let Some(start) = buffer.bytes_mut().get_mut(..len) {
            start.copy_from_slice(&self.ahead);
        }
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
        let own = if self.ended { len } else { WINDOW_LEN };
        buffer.len = len;
        self.ahead = buffer.bytes().get(own..).unwrap_or_default().to_vec();
        Ok(Some(Window { own, last: self.ended, load: Load::Ready(buffer) }))
    }
}
