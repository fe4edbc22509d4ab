//! What the store lists: an index believes nothing of packs that are not there.
//!
//! In: a store. Out: what is there of all that an index goes by. Promises: one moment's listing, not looked at again; what
//! refers to other things was listed before these: archives, then segments, then packs.

use std::collections::{HashMap, HashSet};

use garret_format::index::PackRow;
use garret_format::{PackId, SegmentId};

use crate::error::Result;
use crate::progress::Progress;
use crate::store::{Area, Key, Store, StoreError, list_packs};

/// The packs that the repository holds, and the length of each in bytes.
pub(crate) struct Listing {
    pub(crate) lens: HashMap<PackId, u64>,
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

/// All that an index goes by, and the archives.
pub(crate) struct Inventory {
    /// The names of the archives, sorted, and the lengths of their files in bytes.
    pub(crate) archives: Result<Vec<(String, u64)>, StoreError>,
    /// The packs that are recorded as damaged.
    pub(crate) damaged: Result<Vec<PackId>, StoreError>,
    pub(crate) segments: HashSet<SegmentId>,
    pub(crate) packs: Listing,
}

impl Inventory {
    /// # Errors
    /// Segments or packs cannot be listed.
    pub(crate) fn list(store: &dyn Store) -> Result<Self> {
        let mut inventory = Inventory {
            archives: Ok(Vec::new()),
            damaged: Ok(Vec::new()),
            segments: HashSet::new(),
            packs: Listing { lens: HashMap::new() },
        };
        let areas = [Area::Archives, Area::Damage, Area::Index, Area::Packs];
        let listed = match store.list_all(&areas) {
            Ok(listed) => listed,
            // Not everybody needs all of it.
            Err(_) => {
                let mut listed = Vec::new();
                match store.list(Area::Archives) {
                    Ok(archives) => listed.extend(archives),
                    Err(error) => inventory.archives = Err(error),
                }
                match store.list(Area::Damage) {
                    Ok(records) => listed.extend(records),
                    Err(error) => inventory.damaged = Err(error),
                }
                listed.extend(store.list_all(&[Area::Index, Area::Packs])?);
                listed
            }
        };
        for (key, len) in listed {
            match key {
                Key::Archive(name) => {
                    if let Ok(archives) = &mut inventory.archives {
                        archives.push((name, len));
                    }
                }
                Key::Damage(pack) => {
                    if let Ok(packs) = &mut inventory.damaged {
                        packs.push(pack);
                    }
                }
                Key::Index(id) => _ = inventory.segments.insert(id),
                Key::Pack(id) => _ = inventory.packs.lens.insert(id, len),
                _ => {}
            }
        }
        if let Ok(archives) = &mut inventory.archives {
            archives.sort_unstable();
        }
        Ok(inventory)
    }

    /// The same, if it is known which packs are damaged.
    ///
    /// # Errors
    /// They could not be listed.
    pub(crate) fn with_damage(self) -> Result<Self> {
        Ok(Inventory { damaged: Ok(self.damaged?), ..self })
    }

    /// The names of the archives, sorted.
    ///
    /// # Errors
    /// They could not be listed.
    pub(crate) fn archive_names(self) -> Result<Vec<String>> {
        Ok(self.archives?.into_iter().map(|(name, _)| name).collect())
    }
}

/// Packs that are not as long as they were written, on their way into one line.
#[derive(Default)]
pub(super) struct Cut {
    first: Option<PackId>,
    count: u64,
}

impl Cut {
    pub(super) fn add(&mut self, id: PackId) {
        self.first.get_or_insert(id);
        self.count += 1;
    }

    pub(super) fn tell(&self, progress: &dyn Progress) {
        let Some(first) = self.first.map(Key::Pack) else { return };
        let more = match self.count {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        progress.notice(&format!(
            "{first}{more}: not as long as it was written; what it lost is stored again when it is backed up again; \
             a check of every byte says what needs it"
        ));
    }
}
