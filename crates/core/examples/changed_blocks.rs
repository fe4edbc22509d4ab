//! Backs up one image with a map of what changed in it since an older archive, and reads only that.
//!
//! ```text
//! cargo run --example changed_blocks -- REPOSITORY IMAGE NAME BASE OFFSET:LENGTH...
//! ```
//!
//! The image is stored as `disk`; so it has to be in the archive BASE, which the changes are counted from. Where there is no
//! such archive, all is read. The map is believed: what changed and is not in it is not in the backup.
#![allow(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use garret_core::image::{Extent, RawFile, Source, SourceError};
use garret_core::{BackupOptions, Base, Input, LocalStore, Progress, Secret, Silent, SourceItem};

/// An image, and what changed in it: in order, and apart from each other.
struct Changed {
    image: RawFile,
    changes: Vec<Range<u64>>,
}

impl Source for Changed {
    fn len(&self) -> u64 {
        self.image.len()
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
        let next = self.changes.iter().find(|change| change.end > offset);
        let len = self.len() - offset;
        Ok(match next {
            Some(change) if change.start <= offset => {
                Extent::Data { offset, len: len.min(change.end - offset) }
            }
            Some(change) => Extent::Same { offset, len: len.min(change.start - offset) },
            None => Extent::Same { offset, len },
        })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        self.image.read_at(buf, offset)
    }

    fn changed(&self) -> Result<bool, SourceError> {
        self.image.changed()
    }
}

/// Says why more is read than changed.
struct Notices;

impl Progress for Notices {
    fn notice(&self, text: &str) {
        println!("{text}");
    }
}

fn change(word: &str) -> Result<Range<u64>, Box<dyn Error>> {
    let (offset, len) = word.split_once(':').ok_or("a change is OFFSET:LENGTH")?;
    let (offset, len): (u64, u64) = (offset.parse()?, len.parse()?);
    Ok(offset..offset.checked_add(len).ok_or("a change ends behind every image")?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [place, image, name, base, changes @ ..] = words.as_slice() else {
        return Err("usage: changed_blocks REPOSITORY IMAGE NAME BASE OFFSET:LENGTH...".into());
    };
    let image = RawFile::open(Path::new(image), true)?;
    let changes = changes.iter().map(|word| change(word)).collect::<Result<_, _>>()?;
    let locked = garret_core::open(LocalStore::open(place.as_ref())?)?;
    let keys = locked.unlock(Secret::None)?;
    let mut writer = locked.with(keys).writer(&Silent)?;
    let input = Input::Source {
        item: SourceItem::new(*b"disk"),
        source: Arc::new(Changed { image, changes }),
        base: Some(Base::new(base, *b"disk")),
    };
    let report = writer.backup(name, vec![input], &BackupOptions::default(), &Notices)?;
    println!("{} bytes were not read", report.same_bytes);
    Ok(())
}
