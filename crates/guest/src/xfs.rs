//! XFS, by `lamxfs`, which replays the log in memory.
//!
//! In: a window. Out: a [`FileSystem`]. The library does not tell owners and times.

use lamxfs::{Inode, Metadata, Path, SuperblockReason, Xfs};

use crate::window::Window;
use crate::{Entries, Entry, Error, FileSystem, Kind, Result, STEP, has_room, sorted};

struct System {
    system: Xfs<Window>,
    window: Window,
}

pub(crate) fn open(window: Window) -> Result<Box<dyn FileSystem>> {
    let opened = || Xfs::open(window.clone(), window.len()).map_err(told);
    let system = window.ask(opened)?;
    Ok(Box::new(System { system, window }))
}

/// What the library says, in words of this crate.
fn told(error: lamxfs::Error) -> Error {
    use lamxfs::Error as Of;
    match error {
        Of::NotFound { .. } => Error::Missing,
        Of::NotARegularFile => Error::NotAFile,
        Of::NotASymlink => Error::NotServed("it is no link".to_owned()),
        Of::BadSuperblock(SuperblockReason::DirtyLog) => Error::NotServed(
            "its log has changes that only the guest's own kernel can bring in".to_owned(),
        ),
        Of::BadSuperblock(SuperblockReason::ExternalLog | SuperblockReason::RealtimeDevice)
        | Of::UnsupportedFeature(_) => {
            Error::NotServed(format!("of a kind not read here: {}", error.token()))
        }
        Of::Inconsistent { token: "not_a_directory", .. } => Error::NotADirectory,
        other => Error::Damaged(other.token().to_owned()),
    }
}

fn entry(metadata: &Metadata) -> Entry {
    Entry {
        kind: match () {
            () if metadata.is_file() => Kind::File,
            () if metadata.is_dir() => Kind::Directory,
            () if metadata.is_symlink() => Kind::Link,
            () => Kind::Special,
        },
        len: metadata.size(),
        mode: Some(metadata.mode() & 0o7777),
        owner: None,
        modified: None,
    }
}

impl System {
    /// What has this path.
    fn found(&mut self, path: &[u8]) -> Result<(Inode, Entry)> {
        let System { system, window } = self;
        window.ask(|| {
            let inode = system.resolve(Path::new(path)).map_err(told)?;
            Ok((inode, entry(&system.metadata(&inode).map_err(told)?)))
        })
    }
}

impl FileSystem for System {
    fn entry(&mut self, path: &[u8]) -> Result<Entry> {
        Ok(self.found(path)?.1)
    }

    fn entries(&mut self, path: &[u8]) -> Result<Entries> {
        if self.found(path)?.1.kind != Kind::Directory {
            return Err(Error::NotADirectory);
        }
        let System { system, window } = self;
        window.ask(|| {
            let mut entries = Entries::new();
            for found in system.read_dir(Path::new(path)).map_err(told)? {
                if found.name != b"." && found.name != b".." {
                    has_room(entries.len())?;
                    let metadata = system.metadata(&Inode { ino: found.inode_number });
                    let entry = metadata.map(|metadata| entry(&metadata)).map_err(told);
                    entries.push((found.name, entry));
                }
            }
            Ok(sorted(entries))
        })
    }

    fn target(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        let System { system, window } = self;
        window.ask(|| system.read_link(Path::new(path)).map_err(told))
    }

    fn read(
        &mut self,
        path: &[u8],
        take: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<()> {
        let (inode, entry) = self.found(path)?;
        if entry.kind != Kind::File {
            return Err(Error::NotAFile);
        }
        let System { system, window } = self;
        let (mut buffer, mut at) = (vec![0; STEP], 0);
        while at < entry.len {
            let len = window.ask(|| system.read_file_at(&inode, at, &mut buffer).map_err(told))?;
            let bytes = buffer.get(..len).filter(|bytes| !bytes.is_empty());
            take(bytes.ok_or_else(|| Error::Damaged("a file ends early".to_owned()))?)?;
            at += len as u64;
        }
        Ok(())
    }
}
