//! What the store lists: an index believes nothing of packs that are not there.
//!
//! In: a store. Out: the packs that are there, and their lengths. Promises: one moment's listing, not looked at again.

use std::collections::HashMap;

use garret_format::PackId;
use garret_format::index::PackRow;

use crate::error::Result;
use crate::store::{Store, list_packs};

/// The packs that the repository holds, and the length of each in bytes.
pub(crate) struct Listing {
    pub(super) lens: HashMap<PackId, u64>,
}

impl Listing {
    pub(crate) fn read(store: &dyn Store) -> Result<Self> {
        Ok(Listing { lens: list_packs(store)?.into_iter().collect() })
    }

    /// Length of a pack in bytes, if it is there.
    pub(crate) fn len(&self, pack: &PackId) -> Option<u64> {
        self.lens.get(pack).copied()
    }

    /// Whether the pack is there in the length that it was written in.
    pub(crate) fn has(&self, pack: &PackRow) -> bool {
        self.lens.get(&pack.id) == Some(&u64::from(pack.len))
    }
}
