//! Which cold packs a restore reads, before it begins: they can be brought back then, all at once.
//!
//! In: what is selected. Out: packs. Promises: a restore of the same reads no other that is cold, as long as none of these is
//! damaged; nothing cold is read to find it out.

use std::collections::BTreeMap;

use garret_format::PackId;
use garret_format::archive::{Item, ItemKind};
use garret_format::recipe::Entry;

use super::links::{LinkedFiles, Made, Wanted};
use super::options::RestoreOptions;
use super::session::stripped;
use crate::error::Result;
use crate::objects::archive::NamedArchive;
use crate::objects::recipe::RecipeReader;
use crate::repository::Repository;
use crate::select::Selection;
use crate::store::Key;

impl Repository {
    /// The cold packs that a restore of the selected items reads, in the order of their ids, and the length of each in bytes.
    /// What cannot be found is left out: the restore tells of it.
    ///
    /// # Errors
    /// The list of files is damaged.
    pub fn cold_packs(
        &self,
        archive: &NamedArchive,
        selection: &mut Selection,
        options: &RestoreOptions,
    ) -> Result<BTreeMap<PackId, u64>> {
        let mut packs = BTreeMap::new();
        self.each_whole(archive, selection, options, &mut |item| {
            let ItemKind::File(content) = &item.kind else { return };
            let chunks = self.chunks();
            for entry in RecipeReader::new(&chunks, &content.recipe, "").map_while(Result::ok) {
                let Entry::Chunk { id, len } = entry else { continue };
                let Ok(location) = chunks.locate(&id, len.into(), "") else { continue };
                let pack = location.pack;
                if self.store().is_cold(&Key::Pack(pack.id)) {
                    packs.insert(pack.id, u64::from(pack.len));
                }
            }
        })?;
        Ok(packs)
    }

    /// Gives every item that a restore makes with its content, each content once.
    pub(super) fn each_whole(
        &self,
        archive: &NamedArchive,
        selection: &mut Selection,
        options: &RestoreOptions,
        take: &mut dyn FnMut(&Item),
    ) -> Result<()> {
        self.settle(&[archive], selection);
        let mut links = LinkedFiles::default();
        for item in self.items(archive) {
            let item = item?;
            let path = stripped(&item.path, options.strip);
            let (true, Some(path)) = (selection.selects(&item.path), path) else {
                links.pass_over(item);
                continue;
            };
            if let Wanted::Whole(item, stored) = links.wanted(item, path) {
                if let Some(made) = Made::without_file(&item) {
                    links.made(stored, made);
                }
                take(&item);
            }
        }
        Ok(())
    }
}
