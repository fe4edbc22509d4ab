//! Windows: the stretches of a stream that workers read, scan and hash, and the plan of them.
//!
//! A window is the bytes that pieces may start in plus a lookahead in which they end, so each chunk lies whole in one
//! buffer. What the lookahead reads, the window behind need not read again. Windows that are all hole are not read, nor are
//! holes inside a window. A stream may consist of sections, each cut as a stream of its own: windows begin where a section
//! does, and neither they nor the lookahead reach beyond its end.
//!
//! A window of which every byte, with the lookahead, is as in a base is given with what the base has in it, and need not be
//! read. Where such windows are to follow, the one that is read before them ends as far behind the last change as the
//! lookahead reaches: by then the cuts have nearly always met those of the base.

mod load;

use std::collections::VecDeque;
use std::io::Read;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};
use garret_chunker::PAGE;
use garret_image::{AllocationMap, Extent, Source, SourceError};

use crate::backup::base::{BaseFile, Known};
use crate::buffers::{Buffer, BufferPool};
use crate::limits::{HEAD_LEN, SAME_LEN, window_len};

pub(crate) use load::Loaded;
use load::{ReadWindow, Unread};

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
    /// To be read by the worker.
    Later(Unread),
    /// Read already.
    Ready(Buffer),
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Load::Later(unread) => write!(f, "Later({}, {})", unread.offset, unread.len),
            Load::Ready(buffer) => write!(f, "Ready({})", buffer.bytes().len()),
        }
    }
}

impl Window {
    /// Reads what has to be read.
    pub(crate) fn load(self, pool: &BufferPool) -> Result<Loaded, SourceError> {
        let Window { own, last, load } = self;
        match load {
            Load::Ready(buffer) => Ok(Loaded::ready(buffer, own, last)),
            Load::Later(unread) => unread.load(own, last, pool),
        }
    }
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
    /// As in the base; to be read if the stitcher does not stand before it as it stood there.
    Same(Known, Window),
    /// Whole windows of zeros that are not read.
    Hole,
}

/// Divides a source into windows, from its map of holes and of what is as in its base.
pub(crate) struct SourceWindows<'p> {
    source: Arc<dyn Source>,
    base: Option<Box<BaseFile<'p>>>,
    /// Of a window, without its lookahead.
    len: usize,
    lookahead: usize,
    at: u64,
    /// Where the section that `at` is in ends, and all behind it.
    ends: VecDeque<u64>,
    /// Whether `at` is the start of a section.
    fresh: bool,
    /// The window that ends here, if it will be read, and where its lookahead ends.
    before: Option<(u64, Receiver<ReadWindow>)>,
    /// The extents found so far that reach beyond `at`.
    extents: VecDeque<Extent>,
    /// Where the last of them ends.
    known_to: u64,
    /// The map of everything found so far.
    pub(crate) allocation: AllocationMap,
}

impl<'p> SourceWindows<'p> {
    /// The windows of `source`, whose sections start at `starts`: ascending, below its length, the first at 0.
    pub(crate) fn new(source: Arc<dyn Source>, starts: &[u64], lookahead: usize) -> Self {
        let ends = starts.iter().skip(1).copied().chain([source.len()]).collect();
        SourceWindows {
            source,
            base: None,
            len: window_len(lookahead),
            lookahead,
            at: 0,
            ends,
            fresh: true,
            before: None,
            extents: VecDeque::new(),
            known_to: 0,
            allocation: AllocationMap::new(),
        }
    }

    /// The same, with what the source is the same as.
    pub(crate) fn with_base(self, base: BaseFile<'p>) -> Self {
        SourceWindows { base: Some(Box::new(base)), ..self }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Stretch>, SourceError> {
        let Some(&section_end) = self.ends.front().filter(|end| self.at < **end) else {
            return Ok(None);
        };
        self.find_extents(section_end.min(self.at + (self.len + self.lookahead) as u64))?;
        // The source may have become shorter: what was a hole may be no file any more.
        let source_end = self.source.end();
        if self.at >= source_end {
            return Ok(None);
        }
        let zeros_to = self.zeros_to().min(section_end).min(source_end);
        let windows = zeros_to.saturating_sub(self.at) / self.len as u64;
        if windows > 0 {
            let len = windows * self.len as u64;
            return Ok(Some(self.step(len, 0, StretchBody::Hole)));
        }
        let same = self.extents.front().copied();
        if let Some(end) = same.and_then(|same| self.same_to(same, self.at, section_end)) {
            let (window, data) = self.window(end, section_end);
            let known = self.base.as_mut().and_then(|base| base.known(self.at..end, self.fresh));
            let body = match known {
                Some(known) => StretchBody::Same(known, window),
                None => StretchBody::Window(window),
            };
            return Ok(Some(self.step(end - self.at, data, body)));
        }
        let end = self.read_to(section_end);
        let (window, data) = self.window(end, section_end);
        Ok(Some(self.step(end - self.at, data, StretchBody::Window(window))))
    }

    /// A window that will be read, between the one before it and the one behind it.
    fn linked(&mut self, mut window: Window) -> Window {
        if let Load::Later(unread) = &mut window.load {
            unread.before = self.before.take();
            if window.own < unread.len {
                let (sender, receiver) = bounded(1);
                unread.behind = Some(sender);
                self.before = Some((unread.offset + unread.len as u64, receiver));
            }
        }
        window
    }

    /// Where the zeros end that begin at the current place and are known.
    fn zeros_to(&mut self) -> u64 {
        match self.extents.front() {
            Some(Extent::Hole { offset, len }) => offset + len,
            Some(Extent::Same { offset, len }) => {
                let end = self.base.as_mut().and_then(|base| base.zeros_to(self.at));
                end.map_or(self.at, |end| end.min(offset + len))
            }
            _ => self.at,
        }
    }

    /// Where a window from `at` on ends, if every byte of it and of its lookahead is as in the base because of `extent`.
    fn same_to(&self, extent: Extent, at: u64, section_end: u64) -> Option<u64> {
        let (Extent::Same { offset, len }, Some(base)) = (extent, &self.base) else { return None };
        let end = (offset + len).min(section_end);
        let len = end.saturating_sub(at);
        // The end of a stream has nothing behind it, but then there must be nothing in the base either.
        let is_end = end == section_end && (end < self.source.len() || end == base.len());
        let own = match is_end {
            true => len,
            false => len.saturating_sub(self.lookahead as u64) / PAGE as u64 * PAGE as u64,
        };
        let own = own.min(SAME_LEN as u64);
        (own > 0).then_some(at + own)
    }

    /// Where a window that is read ends: with the section, at its full length, or so far behind the start of what is as in
    /// the base that the cuts should have met.
    fn read_to(&self, section_end: u64) -> u64 {
        let end = section_end.min(self.at + self.len as u64);
        let later = self.extents.iter().filter(|extent| extent.offset() > self.at);
        let meets = later.copied().find_map(|extent| {
            let len = extent.offset() + self.lookahead as u64 - self.at;
            let meets = self.at + len.next_multiple_of(PAGE as u64);
            let is_followed = meets < end && self.same_to(extent, meets, section_end).is_some();
            is_followed.then_some(meets)
        });
        meets.unwrap_or(end)
    }

    /// The window from the current place to `own_end`, and how many of its bytes are not in holes.
    fn window(&self, own_end: u64, section_end: u64) -> (Window, u64) {
        let end = section_end.min(own_end + self.lookahead as u64);
        let holes = self.holes(end);
        let own = (own_end - self.at) as usize;
        let in_holes: usize =
            holes.iter().map(|hole| hole.end.min(own).saturating_sub(hole.start)).sum();
        let (source, offset, len) = (self.source.clone(), self.at, (end - self.at) as usize);
        let unread = Unread { source, offset, len, holes, before: None, behind: None };
        let load = Load::Later(unread);
        (Window { own, last: end == section_end, load }, (own - in_holes) as u64)
    }

    /// Whether the last stretch was given.
    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.source.end()
    }

    /// Goes on by a stretch.
    fn step(&mut self, len: u64, data: u64, body: StretchBody) -> Stretch {
        let body = match body {
            StretchBody::Window(window) => StretchBody::Window(self.linked(window)),
            other => {
                self.before = None;
                other
            }
        };
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
            let extent = match &mut self.base {
                Some(base) => base.clip(extent),
                None => extent,
            };
            let range = extent.offset()..extent.offset() + extent.len();
            self.known_to = range.end;
            match &self.base {
                Some(base) if extent.is_same() => {
                    base.extents(range).for_each(|extent| self.allocation.push(extent));
                }
                _ => self.allocation.push(extent),
            }
            match self.extents.back_mut() {
                Some(Extent::Same { len, .. }) if extent.is_same() => *len += extent.len(),
                _ => self.extents.push_back(extent),
            }
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
    /// As of [`SourceWindows`].
    len: usize,
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
            len: window_len(lookahead),
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

    /// The first bytes of the stream, [`HEAD_LEN`] or as many as there are.
    pub(crate) fn peek(&mut self) -> std::io::Result<&[u8]> {
        if self.ahead.is_empty() {
            let mut bytes = Vec::with_capacity(HEAD_LEN);
            self.reader.by_ref().take(HEAD_LEN as u64).read_to_end(&mut bytes)?;
            self.ahead = bytes;
        }
        Ok(&self.ahead)
    }

    pub(crate) fn next(&mut self, pool: &BufferPool) -> std::io::Result<Option<Stretch>> {
        if self.ended {
            return Ok(None);
        }
        let left = self.ends.front().map_or(u64::MAX, |end| end - self.at);
        let most = self.len + self.lookahead;
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
        let own = if last { len } else { self.len };
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

/// The windows of either.
pub(crate) enum Windows<'p> {
    /// Of what can be read at any place.
    Source(SourceWindows<'p>),
    /// What comes out of a pipe, and what errors call it.
    Stream(StreamWindows, PathBuf),
}

impl Windows<'_> {
    /// The next stretch, and whether it is the last.
    pub(crate) fn next(
        &mut self,
        buffers: &BufferPool,
    ) -> (Result<Option<Stretch>, SourceError>, bool) {
        match self {
            Windows::Source(windows) => (windows.next(), windows.is_at_end()),
            Windows::Stream(windows, path) => {
                let stretch = windows.next(buffers);
                let stretch = stretch.map_err(|error| SourceError::new(path, "read", error));
                (stretch, windows.is_at_end())
            }
        }
    }
}

#[cfg(test)]
mod tests;
