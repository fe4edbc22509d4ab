//! What the targets of `image` do: files taken for qcow2, and stored layouts.

use std::path::Path;
use std::sync::Arc;

use garret_image::qcow2::{Outcome, parse, raw_view};
use garret_image::{Extent, Layout, Part, PartSource, Source, SourceError};

/// Disks above this are parsed and not read: a header of 64 bytes can claim any size.
const DISK_LEN_MAX: u64 = 16 << 20;

/// A file in memory.
struct Memory(Vec<u8>);

impl Source for Memory {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
        Ok(Extent::Data { offset, len: self.len() - offset })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        let stored = self.0.get(offset as usize..).unwrap_or_default();
        let len = stored.len().min(buf.len());
        let (head, tail) = buf.split_at_mut(len);
        head.copy_from_slice(&stored[..len]);
        tail.fill(0);
        Ok(())
    }

    fn changed(&self) -> Result<bool, SourceError> {
        Ok(false)
    }
}

/// Any bytes: opaque, or divided into parts that make the same bytes again; and a raw view that is given or refused.
pub fn qcow2(bytes: &[u8]) {
    let file = Arc::new(Memory(bytes.to_vec()));
    let Ok(Outcome::Qcow2(map)) = parse(&*file) else { return };
    let stored = map.layout.encode();
    assert_eq!(Layout::decode(&stored, file.len()).as_ref(), Ok(&map.layout));
    if map.layout.len(Part::Guest) > DISK_LEN_MAX {
        return;
    }
    let layout = Arc::new(map.layout);
    let mut again = vec![0; bytes.len()];
    for part in [Part::Guest, Part::Residue] {
        let source = PartSource::new(file.clone(), layout.clone(), part);
        let stream = read(&source);
        for piece in layout.pieces(part, 0..source.len()) {
            let (at, to, len) =
                (piece.offset as usize, piece.file_offset as usize, piece.len as usize);
            again[to..to + len].copy_from_slice(&stream[at..at + len]);
        }
    }
    assert!(again == bytes, "the parts do not make the file");
    if let Ok(view) = raw_view(file, Path::new("fuzz")) {
        read(&view);
    }
}

/// Any bytes as a stored layout of a file of 1 MiB: refused, or the only encoding of what they say.
pub fn layout(bytes: &[u8]) {
    if let Ok(layout) = Layout::decode(bytes, 1 << 20) {
        assert_eq!(layout.encode(), bytes);
    }
}

fn read(source: &dyn Source) -> Vec<u8> {
    let mut bytes = vec![0; source.len() as usize];
    // Compressed clusters of a hostile file may not inflate: an error is an answer.
    drop(source.read_at(&mut bytes, 0));
    bytes
}
