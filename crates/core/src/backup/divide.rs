//! How the stream of a file is made and cut: as it is or in the order of a guest's disk, by which cutter, in which sections.
//!
//! In: an open file, and what the user asked for. Out: the parts of its stream in order, and the layout that puts the file
//! together again. A wrong answer costs deduplication, never bytes.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use garret_format::recipe::{CutterKind, STREAM_LEN_MAX};
use garret_image::qcow2::{self, Doubt, Outcome};
use garret_image::{
    AllocationMap, Detected, Extent, PartSource, Slot, Source, SourceError, detect, section_starts,
};

use super::reading::Reading;
use crate::backup::cutters::CutterChoice;
use crate::limits::SIDE_LEN_MAX;

/// Files below this are no images worth a look.
const IMAGE_LEN_MIN: u64 = 64 << 10;

/// A file on its way into a stream.
pub(super) struct Divided {
    /// What its stream consists of, one behind the other; at least one part.
    pub(super) parts: Vec<StreamPart>,
    /// Where the stream lies in the file, encoded; empty if it is the file.
    pub(super) layout: Vec<u8>,
    /// Which parts of the file are holes, if it had to be asked before the file is read.
    pub(super) allocation: Option<Arc<AllocationMap>>,
    /// Whether it is a qcow2 image.
    pub(super) is_qcow2: bool,
    /// Why it is cut so.
    pub(super) why: Why,
}

/// A part of a stream.
pub(super) struct StreamPart {
    pub(super) source: Arc<dyn Source>,
    /// Where its sections start; the first at 0.
    pub(super) starts: Vec<u64>,
    pub(super) cutter: CutterKind,
}

/// Which cutter, in which sections, and why.
pub(super) struct Choice {
    pub(super) cutter: CutterKind,
    pub(super) starts: Vec<u64>,
    pub(super) why: Why,
    /// Whether it is a qcow2 image: a file, unlike a pipe, can be read in the order of the disk in it.
    is_qcow2: bool,
}

impl Choice {
    fn new(cutter: CutterKind, starts: Vec<u64>, why: Why) -> Self {
        Choice { cutter, starts, why, is_qcow2: false }
    }
}

/// Why a stream is cut as it is. Put into words when somebody listens.
#[derive(Clone, Copy)]
pub(super) enum Why {
    AsAsked,
    Small,
    Detected(Detected),
    GuestOrder,
    Doubt(Doubt),
    TooLarge,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::AsAsked => f.write_str("as asked"),
            Why::Small => f.write_str("small"),
            Why::Detected(detected) => detected.fmt(f),
            Why::GuestOrder => f.write_str("qcow2 image, in guest order"),
            Why::Doubt(doubt) => write!(f, "qcow2 image, not read as a disk: {doubt}"),
            Why::TooLarge => f.write_str("qcow2 image, not read as a disk: too large"),
        }
    }
}

/// Divides `file`, which is at `path`.
pub(super) fn divide(
    file: Arc<Reading>,
    path: &Path,
    wanted: CutterChoice,
) -> Result<Divided, SourceError> {
    let as_it_is = choose(&*file, path, wanted);
    let is_qcow2 = as_it_is.is_qcow2;
    let choice = match is_qcow2.then(|| guest_order(&file)).transpose()? {
        Some(Ok(divided)) => return Ok(divided),
        Some(Err(why)) => Choice::new(CutterKind::Page, vec![0], why),
        None => as_it_is,
    };
    let Choice { cutter, starts, why, .. } = choice;
    let parts = vec![StreamPart { source: file, starts, cutter }];
    Ok(Divided { parts, layout: Vec::new(), allocation: None, is_qcow2, why })
}

/// Divides a qcow2 file into the guest's disk and all the rest; or says why it is taken as it is.
fn guest_order(file: &Arc<Reading>) -> Result<Result<Divided, Why>, SourceError> {
    let map = match qcow2::parse(&**file)? {
        Outcome::Qcow2(map) => map,
        Outcome::Opaque(doubt) => {
            return Ok(Err(Why::Doubt(doubt)));
        }
    };
    let encoded = map.layout.encode();
    if encoded.len() as u64 > SIDE_LEN_MAX || map.layout.stream_len() > STREAM_LEN_MAX {
        return Ok(Err(Why::TooLarge));
    }
    let layout = Arc::new(map.layout);
    let allocation = Arc::new(AllocationMap::of(&**file)?);
    let settled = || Settled { file: file.clone(), allocation: allocation.clone() };
    let part = |part| Arc::new(PartSource::new(settled(), layout.clone(), part));
    let guest = part(garret_image::Part::Guest);
    let choice = Choice::new(CutterKind::Page, section_starts(&*guest), Why::GuestOrder);
    let guest = StreamPart { source: guest, starts: choice.starts, cutter: choice.cutter };
    let residue = part(garret_image::Part::Residue);
    let residue = StreamPart { source: residue, starts: vec![0], cutter: CutterKind::Fastcdc };
    Ok(Ok(Divided {
        parts: vec![guest, residue],
        layout: encoded,
        allocation: Some(allocation),
        is_qcow2: true,
        why: choice.why,
    }))
}

/// A file whose holes stay where they were when it was asked, whatever becomes of them: what is restored as a hole must have
/// been read as one.
struct Settled {
    file: Arc<Reading>,
    allocation: Arc<AllocationMap>,
}

impl Source for Settled {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
        let len = self.len() - offset;
        let first = self.allocation.extents(offset..self.len()).next();
        Ok(first.unwrap_or(Extent::Hole { offset, len }))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        self.file.read_at(buf, offset)
    }

    fn read_many(&self, slots: &mut [Slot<'_>]) -> Result<(), SourceError> {
        self.file.read_many(slots)
    }

    fn changed(&self) -> Result<bool, SourceError> {
        self.file.changed()
    }
}

/// How to cut a stream that is taken as it is.
pub(super) fn choose(source: &dyn Source, path: &Path, wanted: CutterChoice) -> Choice {
    match wanted {
        CutterChoice::Always(cutter) => Choice::new(cutter, vec![0], Why::AsAsked),
        CutterChoice::Auto if source.len() < IMAGE_LEN_MIN => {
            Choice::new(CutterKind::Fastcdc, vec![0], Why::Small)
        }
        CutterChoice::Auto => match detect(source, path) {
            Detected::Plain => {
                Choice::new(CutterKind::Fastcdc, vec![0], Why::Detected(Detected::Plain))
            }
            // Its pages are aligned in the file, and what looks like a partition table is none.
            Detected::Qcow2 => Choice {
                is_qcow2: true,
                ..Choice::new(CutterKind::Page, vec![0], Why::Detected(Detected::Qcow2))
            },
            image => Choice::new(CutterKind::Page, section_starts(source), Why::Detected(image)),
        },
    }
}
