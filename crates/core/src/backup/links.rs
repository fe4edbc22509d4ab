//! Files with several names: the first that is found has the content, the others say so.
//!
//! In: what was found, in order. Out: the first name of each further one. Memory: a name for each file that has more names
//! than were found so far. Promises: what has the number of a file that is gone by now is no further name of that.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use garret_format::archive::Item;
use garret_image::{FileKind, Metadata, Time};

/// The first names of files that have several.
#[derive(Default)]
pub(super) struct Links {
    /// By device and inode.
    first: HashMap<(u64, u64), First>,
}

struct First {
    /// The path it is stored under.
    path: Vec<u8>,
    /// How many names are still to be found.
    left: u64,
    looks: Looks,
}

/// What a file and another one that got its number have not in common. One that is only written to meanwhile is taken for
/// another too: that costs a link, and no bytes. Its ctime would do so whenever it gets a name.
type Looks = (FileKind, u64, Time);

fn looks(metadata: &Metadata) -> Looks {
    (metadata.kind, metadata.size, metadata.mtime)
}

impl Links {
    /// The first name of what is found under another one now.
    pub(super) fn first(&mut self, metadata: &Metadata) -> Option<Vec<u8>> {
        if metadata.nlink < 2 {
            return None;
        }
        let Entry::Occupied(mut known) = self.first.entry((metadata.dev, metadata.ino)) else {
            return None;
        };
        if known.get().looks != looks(metadata) {
            known.remove();
            return None;
        }
        let first = known.get_mut();
        first.left -= 1;
        Some(if first.left == 0 { known.remove().path } else { first.path.clone() })
    }

    /// Remembers what is stored if it has other names.
    pub(super) fn note(&mut self, item: &Item, metadata: &Metadata) {
        if item.linked {
            let (path, left) = (item.path.clone(), metadata.nlink - 1);
            let first = First { path, left, looks: looks(metadata) };
            self.first.insert((metadata.dev, metadata.ino), first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_got_the_number_of_a_file_that_is_gone_is_no_name_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, b"a").unwrap();
        let found = garret_image::At::path(&path).stat(false).unwrap();
        let found = Metadata { nlink: 3, ..found };
        let mut item = super::super::pipe::piped(b"a".to_vec());
        item.linked = true;
        let others = [
            Metadata { size: 2, ..found },
            Metadata { mtime: Time { secs: 1, ..found.mtime }, ..found },
            Metadata { kind: FileKind::Fifo, ..found },
        ];
        for other in others {
            let mut links = Links::default();
            links.note(&item, &found);
            assert_eq!(links.first(&found), Some(b"a".to_vec()));
            assert_eq!(links.first(&other), None);
            assert_eq!(links.first(&found), None, "it is gone");
        }
    }
}
