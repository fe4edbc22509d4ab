//! Reading ahead of who reads in order.
//!
//! In: reads of a source, at any places, from any threads. Out: the same bytes. What a reader who goes through a disk will
//! want next is read meanwhile by threads of their own, into the groups that the repository keeps, and is there when it is
//! asked for. Promises: a reader who jumps costs nothing more; no read waits for what is read ahead for another; what is
//! read ahead at once is bounded, whatever the number of readers.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Sender, bounded};
use garret_image::{Extent, Source, SourceError};

/// Threads that read ahead for all: a store that is far away has so many requests under way, and one that is near is read by
/// as many cores as there are.
const THREADS: usize = 4;

/// What one of them reads at once, in bytes: about a group.
const STEP: u64 = 1 << 20;

/// How far ahead of a reader is read, in bytes: at 25 ms a request, four of a MiB under way are 160 MB/s.
const WINDOW: u64 = 4 << 20;

/// How far from where a reader has come another read may be, in bytes, and still belong to the same walk: clients have
/// several requests under way, and they come in any order.
const SLACK: u64 = 1 << 20;

/// Reads of a walk before anything is read ahead: a guest that starts jumps, and reads two blocks at a place.
const WALK_READS: u32 = 3;

/// Steps that wait to be read; what finds no place is not read ahead.
const WAITING_MAX: usize = 16;

/// Threads that read ahead. They end when all readers are gone.
#[derive(Clone, Debug)]
pub struct Ahead {
    steps: Sender<Step>,
}

/// Something to be read, and dropped.
struct Step {
    source: Arc<dyn Source>,
    offset: u64,
    len: usize,
}

impl Ahead {
    /// Starts the threads; fewer, or none, where there are no more to be had.
    pub fn new() -> Self {
        let (steps, waiting) = bounded::<Step>(WAITING_MAX);
        for _ in 0..THREADS {
            let waiting = waiting.clone();
            let work = move || {
                let mut buffer = Vec::new();
                for Step { source, offset, len } in waiting {
                    buffer.resize(len, 0);
                    // Who asks for it is told what is wrong with it.
                    let _ahead = source.read_at(&mut buffer, offset);
                }
            };
            let _fewer = thread::Builder::new().name("ahead".to_owned()).spawn(work);
        }
        Ahead { steps }
    }

    /// A reader of `source`.
    pub fn reader(&self, source: Arc<dyn Source>) -> Reader {
        Reader { source, ahead: self.clone(), walk: Mutex::default() }
    }
}

impl Default for Ahead {
    fn default() -> Self {
        Self::new()
    }
}

/// One who reads a source; any number of threads may.
pub struct Reader {
    source: Arc<dyn Source>,
    ahead: Ahead,
    walk: Mutex<Walk>,
}

/// How a reader went so far.
#[derive(Default)]
struct Walk {
    /// Where he has come to.
    next: u64,
    /// Where what was read ahead ends.
    until: u64,
    /// Reads in order.
    reads: u32,
}

impl Walk {
    /// Notes a read; the part that is now to be read ahead, of a source of `len` bytes.
    fn step(&mut self, offset: u64, read_len: u64, len: u64) -> Option<(u64, u64)> {
        let end = offset.saturating_add(read_len);
        match offset.abs_diff(self.next) <= SLACK {
            true => self.reads = self.reads.saturating_add(1),
            false => *self = Walk { next: end, until: end, reads: 1 },
        }
        self.next = self.next.max(end);
        self.until = self.until.max(self.next);
        let is_due =
            self.reads > WALK_READS && self.until < self.next.saturating_add(WINDOW).min(len);
        is_due.then(|| (self.until, STEP.min(len - self.until)))
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("len", &self.source.len()).finish_non_exhaustive()
    }
}

impl Reader {
    /// What is read.
    pub fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// Those of the source.
    pub fn read(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        {
            let mut walk = self.walk.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some((at, len)) = walk.step(offset, buf.len() as u64, self.source.len()) {
                // At most a step.
                let step = Step { source: self.source.clone(), offset: at, len: len as usize };
                if self.ahead.steps.try_send(step).is_err() {
                    break;
                }
                walk.until = at + len;
            }
        }
        self.source.read_at(buf, offset)
    }
}

/// Read as a source it is the same, and reads ahead.
impl Source for Reader {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
        self.source.extent_at(offset)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        self.read(buf, offset)
    }

    fn end(&self) -> u64 {
        self.source.end()
    }

    fn changed(&self) -> Result<bool, SourceError> {
        self.source.changed()
    }
}
