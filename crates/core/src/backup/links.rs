//! Files with several names: the first that is found has the content, the others say so.
//!
//! In: what was found, in order. Out: the first name of each further one. Memory: a name for each file that has more names
//! than were found so far.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use garret_format::archive::Item;
use garret_image::Metadata;

/// The first names of files that have several.
#[derive(Default)]
pub(super) struct Links {
    /// By device and inode: the path it is stored under, and how many names are still to be found.
    first: HashMap<(u64, u64), (Vec<u8>, u64)>,
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
        let (first, left) = known.get_mut();
        *left -= 1;
        Some(if *left == 0 { known.remove().0 } else { first.clone() })
    }

    /// Remembers what is stored if it has other names.
    pub(super) fn note(&mut self, item: &Item, metadata: &Metadata) {
        if item.linked {
            let first = (item.path.clone(), metadata.nlink - 1);
            self.first.insert((metadata.dev, metadata.ino), first);
        }
    }
}
