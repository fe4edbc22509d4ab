//! Several names of one file: which of them is made of its content, and which are only links.
//!
//! In: the items of an archive, in order. Out: what is to be made for each. The first name that is selected gets the content,
//! also when the archive has it under an earlier one that is not. Promises that a link is only made to what this restore
//! made.

use std::collections::HashMap;

use garret_format::archive::{Item, ItemKind};
use garret_image::FileId;

/// What was found of files that have several names, by the path that the archive has the content under.
#[derive(Default)]
pub(super) struct LinkedFiles {
    known: HashMap<Vec<u8>, FirstName>,
}

enum FirstName {
    /// Not selected: kept for a later name that is.
    Waiting(Box<Item>),
    /// Restored, or being restored.
    Made(Made),
}

/// What a file was restored as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    /// Below the destination.
    pub(super) path: Vec<u8>,
    /// What it has behind the name of the item: a disk in another form.
    pub(super) suffix: &'static [u8],
    /// The file itself: others may put something else under its name. `None` where no file is made.
    pub(super) id: Option<FileId>,
}

impl Made {
    /// What an item stands for of which no file is made, if it may have other names.
    pub(super) fn without_file(item: &Item) -> Option<Made> {
        item.linked.then(|| Made { path: item.path.clone(), suffix: b"", id: None })
    }
}

/// What is to be done for an item.
pub(super) enum Due {
    /// It is to be made, with its content; and the path that the archive has that under.
    Whole(Box<Item>, Vec<u8>),
    /// It is another name of what is made at this place.
    Link(Made),
    /// Its content is nowhere in what was read so far, or could not be restored; the path that it should be under.
    Missing(Vec<u8>),
}

impl LinkedFiles {
    /// Takes an item that is not restored.
    pub(super) fn pass_over(&mut self, item: Item) {
        if item.linked {
            self.known.insert(item.path.clone(), FirstName::Waiting(Box::new(item)));
        }
    }

    /// What is to be done for an item that is to be restored at `path`.
    pub(super) fn due(&mut self, mut item: Item, path: Vec<u8>) -> Due {
        let ItemKind::HardLink(first) = item.kind else {
            let stored = std::mem::replace(&mut item.path, path);
            return Due::Whole(Box::new(item), stored);
        };
        match self.known.remove(&first) {
            None => Due::Missing(first),
            Some(FirstName::Waiting(mut kept)) => {
                kept.path = path;
                Due::Whole(kept, first)
            }
            Some(FirstName::Made(made)) => {
                self.known.insert(first, FirstName::Made(made.clone()));
                Due::Link(made)
            }
        }
    }

    /// Remembers what became of what the archive has under `stored`.
    pub(super) fn made(&mut self, stored: Vec<u8>, made: Made) {
        self.known.insert(stored, FirstName::Made(made));
    }
}
