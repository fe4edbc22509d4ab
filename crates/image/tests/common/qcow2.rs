//! Divided files: put together again from their parts, by nothing but the layout.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use garret_image::qcow2::{Map, Outcome, parse};
use garret_image::{
    Extent, Extents, FileOrder, Layout, Part, PartSource, RawFile, Source, SourceError,
};

use super::Random;

/// Bytes in memory as a source. What lies past `bytes` up to `len` is zero; `hole` says whether it
/// is a hole or pretends to be data.
pub struct Memory {
    pub bytes: Vec<u8>,
    pub len: u64,
    pub hole: bool,
}

impl Memory {
    pub fn new(bytes: Vec<u8>) -> Memory {
        Memory { len: bytes.len() as u64, bytes, hole: false }
    }
}

impl Source for Memory {
    fn len(&self) -> u64 {
        self.len
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
        assert!(offset < self.len, "asked for {offset} of {}", self.len);
        let stored = (self.bytes.len() as u64).min(self.len);
        Ok(match self.hole {
            true if offset >= stored => Extent::Hole { offset, len: self.len - offset },
            true => Extent::Data { offset, len: stored - offset },
            false => Extent::Data { offset, len: self.len - offset },
        })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        let stored = &self.bytes[start..];
        let len = stored.len().min(buf.len());
        buf[..len].copy_from_slice(&stored[..len]);
        buf[len..].fill(0);
        Ok(())
    }

    fn changed(&self) -> Result<bool, SourceError> {
        Ok(false)
    }
}

/// The whole stream, by reads of random length over its data, holes left as they are.
pub fn read_all(source: &dyn Source, random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(source.len()).unwrap()];
    let mut covered = 0;
    for extent in Extents::new(source).map(Result::unwrap) {
        assert_eq!(extent.offset(), covered);
        assert!(!extent.is_empty());
        covered += extent.len();
        let mut at = extent.offset();
        while !extent.is_hole() && at < covered {
            let len = (random.below(600_000) + 1).min(covered - at);
            read(source, at..at + len, &mut bytes);
            at += len;
        }
    }
    assert_eq!(covered, source.len());
    // The same across extents: holes must read as zeros.
    let mut again = vec![0xee; bytes.len()];
    let mut at = 0;
    while at < source.len() {
        let len = (random.below(3_000_000) + 1).min(source.len() - at);
        read(source, at..at + len, &mut again);
        at += len;
    }
    assert!(again == bytes, "reads across holes give what the extents give");
    bytes
}

fn read(source: &dyn Source, range: Range<u64>, into: &mut [u8]) {
    let part = range.start as usize..range.end as usize;
    source.read_at(&mut into[part], range.start).unwrap();
}

/// The file from its two streams, as a restore makes it: each piece to its place.
pub fn put_together(layout: &Layout, streams: [(Part, &[u8]); 2]) -> Vec<u8> {
    let mut file = vec![0xee; usize::try_from(layout.file_len()).unwrap()];
    for (part, stream) in streams {
        assert_eq!(stream.len() as u64, layout.len(part));
        for piece in layout.pieces(part, 0..u64::MAX) {
            let [from, to, len] =
                [piece.offset, piece.file_offset, piece.len].map(|n| usize::try_from(n).unwrap());
            file[to..to + len].copy_from_slice(&stream[from..from + len]);
        }
    }
    file
}

/// Divides `file`, whose bytes are known, and puts it together from the layout as it is stored.
/// Gives map and guest stream, unless the file is opaque.
pub fn divide(file: Arc<dyn Source>, bytes: &[u8], random: &mut Random) -> Option<(Map, Vec<u8>)> {
    let Outcome::Qcow2(map) = parse(&*file).unwrap() else { return None };
    let stored = map.layout.encode();
    let layout = Arc::new(Layout::decode(&stored, bytes.len() as u64).unwrap());
    assert_eq!(*layout, map.layout);
    let stream = |part, random: &mut Random| {
        read_all(&PartSource::new(file.clone(), layout.clone(), part), random)
    };
    let guest = stream(Part::Guest, random);
    let residue = stream(Part::Residue, random);
    let streams = [(Part::Guest, &guest[..]), (Part::Residue, &residue[..])];
    assert!(put_together(&layout, streams) == bytes, "byte for byte");
    // The same in file order.
    let mut at = 0;
    for (part, piece) in FileOrder::new(layout).pieces(0..u64::MAX) {
        assert_eq!(piece.file_offset, at);
        let stream = if part == Part::Guest { &guest } else { &residue };
        let [from, to, len] = [piece.offset, at, piece.len].map(|n| n as usize);
        assert!(stream[from..from + len] == bytes[to..to + len]);
        at += piece.len;
    }
    assert_eq!(at, bytes.len() as u64);
    Some((map, guest))
}

/// The same for a file on disk.
pub fn divide_file(path: &Path, random: &mut Random) -> Option<(Map, Vec<u8>)> {
    let file = Arc::new(RawFile::open(path, false).unwrap());
    let divided = divide(file.clone(), &std::fs::read(path).unwrap(), random);
    assert!(!file.changed().unwrap());
    divided
}
