//! What a client remembers of a listing: archives, and packs by short ids.
//!
//! In: what was listed when a repository was opened, or is listed now. Out: the same, small and sorted.

use std::sync::Arc;

use garret_format::verified::short_id;

use super::Repository;
use crate::error::Result;
use crate::objects::index::Inventory;
use crate::store::{Area, Key};

/// The archives and packs that were there at one moment.
#[derive(Clone, Debug)]
pub struct Sight {
    /// Names and lengths of the files in bytes, sorted.
    pub(crate) archives: Vec<(String, u64)>,
    /// Sorted.
    pub(crate) packs: Vec<[u8; 8]>,
}

impl Sight {
    fn new(mut archives: Vec<(String, u64)>, mut packs: Vec<[u8; 8]>) -> Self {
        archives.sort_unstable();
        archives.dedup_by(|one, other| one.0 == other.0);
        packs.sort_unstable();
        packs.dedup();
        Sight { archives, packs }
    }

    /// None where archives could not be listed.
    pub(super) fn of(inventory: Inventory) -> Option<Self> {
        let packs = inventory.packs.lens.keys().map(short_id).collect();
        Some(Sight::new(inventory.archives.ok()?, packs))
    }

    /// Whether there was an archive of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.archives.binary_search_by(|(known, _)| known.as_str().cmp(name)).is_ok()
    }

    /// The names of the archives, sorted.
    pub fn names(&self) -> Vec<String> {
        self.archives.iter().map(|(name, _)| name.clone()).collect()
    }
}

impl Repository {
    /// What was there when it was opened.
    ///
    /// # Errors
    /// It could not be listed then, nor can it now.
    pub fn first_sight(&self) -> Result<Arc<Sight>> {
        match &self.shared.sight {
            Some(sight) => Ok(sight.clone()),
            None => self.sight().map(Arc::new),
        }
    }

    /// What is there now.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub fn sight(&self) -> Result<Sight> {
        self.shared.looked.clear();
        let (mut archives, mut packs) = (Vec::new(), Vec::new());
        for (key, len) in self.store().list_all(&[Area::Archives, Area::Packs])? {
            match key {
                Key::Archive(name) => archives.push((name, len)),
                Key::Pack(pack) => packs.push(short_id(&pack)),
                _ => {}
            }
        }
        Ok(Sight::new(archives, packs))
    }
}
