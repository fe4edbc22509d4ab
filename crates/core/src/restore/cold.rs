//! Which cold packs a restore reads, before it begins: they can be brought back then, all at once.
//!
//! In: what is selected. Out: packs. Promises: a restore of the same reads no other that is cold, as long as none of these is
//! damaged; nothing cold is read to find it out.

use std::collections::BTreeMap;

use garret_format::PackId;
use garret_format::archive::{Item, ItemKind};
use garret_format::recipe::Entry;

use super::met::Met;
use super::options::RestoreOptions;
use crate::error::Result;
use crate::objects::archive::NamedArchive;
use crate::objects::index::Location;
use crate::objects::recipe::RecipeReader;
use crate::repository::Repository;
use crate::select::Selection;
use crate::store::Key;

/// The cold packs that a restore reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ColdPacks {
    /// In the order of their ids, and the length of each in bytes.
    pub packs: BTreeMap<PackId, u64>,
    /// How many files need something that is damaged or found nowhere: they may need more packs.
    pub lost_count: u64,
}

impl Repository {
    /// The cold packs that a restore of the selected items reads.
    ///
    /// # Errors
    /// The list of files is damaged.
    pub fn cold_packs(
        &self,
        archive: &NamedArchive,
        selection: &mut Selection,
        options: &RestoreOptions,
    ) -> Result<ColdPacks> {
        let (chunks, mut cold) = (self.chunks(), ColdPacks::default());
        self.settle(&[archive], selection);
        self.each_met(archive, selection, options, &mut |met| {
            let Met::Content(Item { kind: ItemKind::File(content), .. }) = met else { return b"" };
            let mut is_lost = false;
            let mut entries = RecipeReader::new(&chunks, &content.recipe, "");
            while let Some(entry) = entries.next() {
                let location = match entry {
                    Ok(Entry::Chunk { id, len }) => chunks.locate(&id, len.into(), ""),
                    Ok(Entry::Zero { .. }) => continue,
                    Err(error) => {
                        // What stands behind it may be restored all the same.
                        let _span = entries.pass_over();
                        Err(error)
                    }
                };
                match location {
                    Ok(Location { pack, .. }) if self.store().is_cold(&Key::Pack(pack.id)) => {
                        cold.packs.insert(pack.id, u64::from(pack.len));
                    }
                    found => is_lost |= found.is_err(),
                }
            }
            cold.lost_count += u64::from(is_lost);
            b""
        })?;
        Ok(cold)
    }
}
