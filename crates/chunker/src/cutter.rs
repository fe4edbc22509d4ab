//! The choice between the two cutters, which have the same shape: sizes and a key in; a scan that
//! knows nothing of what came before; and, at the true position, the next cut.

use crate::segment::{Marks, Scan, Segment};
use crate::zero::ZeroRuns;
use crate::{FastCdc, PageCutter, Sizes, ZERO_RUN, fast};

/// Decides where chunks end inside data extents.
#[derive(Clone, Debug)]
pub enum Cutter {
    /// For disk images: cuts at page boundaries only, at the speed of memory.
    Page(PageCutter),
    /// For everything else: cuts at any byte.
    Fastcdc(FastCdc),
}

impl Cutter {
    /// The chunk sizes that were given to the cutter.
    pub fn sizes(&self) -> &Sizes {
        match self {
            Cutter::Page(cutter) => cutter.sizes(),
            Cutter::Fastcdc(cutter) => cutter.sizes(),
        }
    }

    /// Bytes that a [`Segment`] must show behind its own part (unless the stream ends before):
    /// `max` + 64 KiB.
    ///
    /// It is enough: a chunk that starts at `p < own` ends at `p + max` at the latest, so only a
    /// zero run that starts before `own + max` can end it, and the 16 pages that make it a run are
    /// then all visible. A run that the end of the lookahead cuts to fewer pages, and that is taken
    /// for data, starts behind `own + max`, where no chunk of this segment reaches.
    pub fn lookahead(&self) -> usize {
        self.sizes().max() + ZERO_RUN
    }

    /// The parallel part: finds zero runs and possible cuts in a segment, knowing nothing of what
    /// came before it. Reads the data once; allocates the few vectors of the result.
    pub fn scan(&self, segment: &Segment) -> Scan {
        let own = segment.own();
        let zero = ZeroRuns::find(segment.bytes, segment.last, segment.known_zero);
        let marks = match self {
            Cutter::Page(cutter) => Marks::Pages(cutter.candidates(segment.bytes, own, &zero)),
            Cutter::Fastcdc(cutter) => Marks::Cuts(cutter.speculate(segment.bytes, own, &zero)),
        };
        Scan { zero, marks }
    }

    /// The end of the chunk that starts at `start` of the data extent that ends at `extent_end`.
    /// With a scan of another cutter's kind the pieces are wrong, but still cover the segment.
    pub(crate) fn cut(&self, bytes: &[u8], scan: &Scan, start: usize, extent_end: usize) -> usize {
        match (self, &scan.marks) {
            (Cutter::Page(cutter), Marks::Pages(found)) => cutter.cut(found, start, extent_end),
            (Cutter::Page(_), Marks::Cuts(_)) => extent_end.min(start + self.sizes().max()),
            (Cutter::Fastcdc(cutter), Marks::Cuts(cuts)) => fast::adopt(cuts, start, extent_end)
                .unwrap_or_else(|| cutter.cut(bytes, start, extent_end)),
            (Cutter::Fastcdc(cutter), Marks::Pages(_)) => cutter.cut(bytes, start, extent_end),
        }
    }
}
