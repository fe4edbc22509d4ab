//! ext2, ext3 and ext4, by `ext4-view`, which replays the journal in memory.
//!
//! In: a window. Out: a [`FileSystem`]. What the library takes from the superblock without a doubt is looked at before.

use ext4_view::{Ext4, Ext4Error, FileType, Metadata};
use garret_image::Time;

use crate::window::Window;
use crate::{Entries, Entry, Error, FileSystem, Kind, Result, STEP, has_room, sorted};

/// Groups of blocks; the descriptors of all are in memory. Of 128 MiB each, as usual, that is 256 TiB.
const GROUPS_MAX: u64 = 1 << 21;

struct Ext {
    system: Ext4,
    window: Window,
    /// Whether files lie in extents, as in ext4; if not the library takes a hole for damage.
    has_extents: bool,
}

pub(crate) fn open(window: Window) -> Result<Box<dyn FileSystem>> {
    let (has_extents, system) = window.ask(|| {
        let has_extents = bounded(&window)?;
        Ok((has_extents, Ext4::load(Box::new(window.clone())).map_err(told)?))
    })?;
    Ok(Box::new(Ext { system, window, has_extents }))
}

/// Refuses a superblock that says more than can be. Gives whether files lie in extents.
fn bounded(window: &Window) -> Result<bool> {
    let mut bytes = [0; 1024];
    window.fill(1024, &mut bytes).map_err(|error| Error::Damaged(error.to_string()))?;
    let number = |at: usize| {
        let field = bytes.get(at..at + 4).and_then(|field| field.try_into().ok());
        u64::from(field.map_or(0, u32::from_le_bytes))
    };
    let is_64 = number(0x60) & 0x80 != 0;
    let count = number(0x04) | if is_64 { number(0x150) << 32 } else { 0 };
    let len = 1024_u64.checked_shl(number(0x18) as u32).and_then(|len| len.checked_mul(count));
    let groups = count.checked_div(number(0x20)).unwrap_or(u64::MAX);
    match len.is_some_and(|len| len <= window.len()) && groups <= GROUPS_MAX {
        true => Ok(number(0x60) & 0x40 != 0),
        false => Err(Error::Damaged(format!(
            "it says that it has {count} blocks in {groups} groups, and the disk has {} bytes there",
            window.len()
        ))),
    }
}

/// What the library says, in words of this crate.
fn told(error: Ext4Error) -> Error {
    match error {
        Ext4Error::NotFound | Ext4Error::NotAbsolute | Ext4Error::MalformedPath => Error::Missing,
        Ext4Error::NotADirectory => Error::NotADirectory,
        Ext4Error::IsADirectory | Ext4Error::IsASpecialFile => Error::NotAFile,
        Ext4Error::Encrypted => Error::NotServed("the guest encrypted it".to_owned()),
        Ext4Error::Incompatible(why) => Error::NotServed(format!("of a kind not read here: {why}")),
        other => Error::Damaged(other.to_string()),
    }
}

fn entry(metadata: &Metadata) -> Entry {
    let modified = metadata.modified();
    Entry {
        kind: match metadata.file_type() {
            FileType::Regular => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Link,
            _ => Kind::Special,
        },
        len: metadata.len(),
        mode: Some(u32::from(metadata.mode())),
        owner: Some((metadata.uid(), metadata.gid())),
        modified: Some(Time { secs: modified.seconds(), nanos: modified.nanoseconds() }),
    }
}

impl FileSystem for Ext {
    fn entry(&mut self, path: &[u8]) -> Result<Entry> {
        let found = || self.system.symlink_metadata(path).map_err(told);
        Ok(entry(&self.window.ask(found)?))
    }

    fn entries(&mut self, path: &[u8]) -> Result<Entries> {
        self.window.ask(|| {
            let mut entries = Entries::new();
            for found in self.system.read_dir(path).map_err(told)? {
                let found = found.map_err(told)?;
                let name = found.file_name().as_ref().to_vec();
                if name != b"." && name != b".." {
                    has_room(entries.len())?;
                    let metadata = found.metadata().map_err(told);
                    entries.push((name, metadata.map(|metadata| entry(&metadata))));
                }
            }
            Ok(sorted(entries))
        })
    }

    fn target(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        let target = || self.system.read_link(path).map_err(told);
        Ok(self.window.ask(target)?.as_ref().to_vec())
    }

    fn read(
        &mut self,
        path: &[u8],
        take: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<()> {
        let mut file = self.window.ask(|| self.system.open(path).map_err(told))?;
        let (mut buffer, mut left) = (vec![0; STEP], file.metadata().len());
        while left > 0 {
            let read = self.window.ask(|| file.read_bytes(&mut buffer).map_err(told));
            let len = read.map_err(|error| match error {
                Error::Damaged(why) if !self.has_extents => Error::NotServed(format!(
                    "files of ext2 and ext3 that have holes are not read here, or it is damaged: {why}"
                )),
                error => error,
            })?;
            let bytes = buffer.get(..len).filter(|bytes| !bytes.is_empty());
            let bytes = bytes.ok_or_else(|| Error::Damaged("a file ends early".to_owned()))?;
            take(bytes)?;
            left = left.saturating_sub(len as u64);
        }
        Ok(())
    }
}
