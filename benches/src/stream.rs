//! The reference cutter for streams of any length: pages in, the pieces of the whole stream out.
//!
//! [`garret_chunker::reference::pieces`] wants the whole stream as one slice. What it gives can be had
//! part by part, and exactly, because of what the definition (`chunker`, crate documentation) says:
//!
//! 1. A zero run is a maximal run of at least 16 zero pages. So it suffices to count zero pages
//!    and to wait with them until a page that is not zero, or the end, says which they are.
//! 2. A cutter starts anew at each data extent, and the extent's end is a forced cut. So extents
//!    can be given to the reference one by one; holes of whole pages need not be read, they count
//!    as the zero pages they are.
//! 3. A cutter has no memory and looks at most `max` bytes ahead of a chunk's start. So of an
//!    extent whose end is not known yet, every chunk that starts at least `max` bytes before the
//!    end of what is known is final, and its bytes can go.

use garret_chunker::{Cutter, PAGE, Piece, ZERO_RUN_PAGES, reference};

/// Bytes of an extent that are collected before the reference is asked.
pub const BUFFER_LEN: usize = 64 << 20;

/// Takes a stream, gives its pieces to `each`: chunks with their bytes, zero runs with none.
pub struct StreamReference<'c, F: FnMut(Piece, &[u8])> {
    cutter: &'c Cutter,
    each: F,
    /// Bytes after which what is known of an extent is cut.
    limit: usize,
    /// The extent that is open, from the first byte that is not in a chunk yet.
    extent: Vec<u8>,
    /// Zero pages behind it, of which is not known yet whether they belong to it.
    zero_len: u64,
}

impl<'c, F: FnMut(Piece, &[u8])> StreamReference<'c, F> {
    /// The start of a stream.
    pub fn new(cutter: &'c Cutter, each: F) -> Self {
        Self::with_limit(cutter, BUFFER_LEN, each)
    }

    fn with_limit(cutter: &'c Cutter, limit: usize, each: F) -> Self {
        StreamReference { cutter, each, limit, extent: Vec::new(), zero_len: 0 }
    }

    /// The next bytes of the stream: whole pages, unless it ends with them.
    pub fn push(&mut self, bytes: &[u8]) {
        for page in bytes.chunks(PAGE) {
            if page.iter().all(|byte| *byte == 0) {
                self.zero_len += page.len() as u64;
                continue;
            }
            self.settle_zeros();
            self.extent.extend_from_slice(page);
            if self.extent.len() >= self.limit {
                self.cut(self.cutter.sizes().max());
            }
        }
    }

    /// The next `len` bytes of the stream, all zero: whole pages, unless it ends with them.
    pub fn push_zero(&mut self, len: u64) {
        self.zero_len += len;
    }

    /// The end of the stream.
    pub fn finish(mut self) {
        self.settle_zeros();
        self.cut(0);
    }

    /// Decides what the zero pages are, as the run of them has ended.
    fn settle_zeros(&mut self) {
        if self.zero_len.div_ceil(PAGE as u64) >= ZERO_RUN_PAGES as u64 {
            self.cut(0);
            (self.each)(Piece::Zero(self.zero_len), &[]);
        } else {
            // Less than 16 pages: fits any memory.
            self.extent.resize(self.extent.len() + self.zero_len as usize, 0);
        }
        self.zero_len = 0;
    }

    /// Gives the chunks that start at least `keep` bytes before the end of what is known.
    fn cut(&mut self, keep: usize) {
        let mut at = 0;
        for piece in reference::pieces(self.cutter, &self.extent) {
            let Piece::Chunk(len) = piece else {
                unreachable!("an extent has no 16 zero pages in a row");
            };
            if self.extent.len() - at < keep {
                break;
            }
            (self.each)(piece, self.extent.get(at..at + len).unwrap_or_default());
            at += len;
        }
        self.extent.drain(..at);
    }
}

#[cfg(test)]
mod tests {
    use garret_chunker::{FastCdc, PUBLIC_PAGE_KEY, PageCutter, Sizes};
    use proptest::prelude::*;

    use super::*;
    use crate::Random;

    fn cutter(page: bool) -> Cutter {
        let sizes = Sizes::new(PAGE, 2 * PAGE, 4 * PAGE).unwrap();
        match page {
            true => Cutter::Page(PageCutter::new(sizes, PUBLIC_PAGE_KEY)),
            false => Cutter::Fastcdc(FastCdc::new(sizes, None).unwrap()),
        }
    }

    proptest! {
        /// `parts`: pages of data or zeros; zeros may come as a hole.
        #[test]
        fn the_pieces_are_those_of_the_whole_stream(
            parts in prop::collection::vec((0..3u8, 1..40usize), 0..12),
            tail in 0..PAGE, zero_tail: bool, page: bool, limit in 1..64usize, seed: u64,
        ) {
            let (cutter, mut random) = (cutter(page), Random::new(seed));
            let (mut stream, mut found) = (Vec::new(), Vec::new());
            let each = |piece, bytes: &[u8]| found.push((piece, bytes.to_vec()));
            let mut streamed = StreamReference::with_limit(&cutter, limit * PAGE, each);
            for (kind, pages) in parts {
                let zeros = vec![0; pages * PAGE];
                let bytes = if kind == 0 { random.bytes(pages * PAGE) } else { zeros };
                match kind {
                    2 => streamed.push_zero(bytes.len() as u64),
                    _ => streamed.push(&bytes),
                }
                stream.extend(bytes);
            }
            let tail = if zero_tail { vec![0; tail] } else { random.bytes(tail) };
            streamed.push(&tail);
            streamed.finish();
            stream.extend(tail);
            let (mut at, mut expected) = (0, Vec::new());
            for piece in reference::pieces(&cutter, &stream) {
                let (len, bytes) = match piece {
                    Piece::Zero(len) => (len as usize, Vec::new()),
                    Piece::Chunk(len) => (len, stream[at..at + len].to_vec()),
                };
                expected.push((piece, bytes));
                at += len;
            }
            prop_assert!(found == expected);
        }
    }
}
