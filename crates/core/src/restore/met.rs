//! What a restore meets in the list of files, for who wants to know it before it begins.
//!
//! In: what is selected. Out: names, and contents. Promises: of several names of a file it says what the restore does, which
//! gives the content to the first one that is selected.

use garret_format::archive::Item;

use super::links::{LinkedFiles, Made, Wanted};
use super::options::RestoreOptions;
use super::session::stripped;
use crate::error::Result;
use crate::objects::archive::NamedArchive;
use crate::repository::Repository;
use crate::select::Selection;

/// What a restore meets of an item that is selected.
pub(super) enum Met<'a> {
    /// Something is made at this path, below the destination; the item that stands for it.
    Name(&'a Item, &'a [u8]),
    /// A content is restored: of each file once, under the first of its names.
    Content(&'a Item),
}

impl Repository {
    /// Gives what a restore meets, in order. The selection is settled.
    pub(super) fn each_met(
        &self,
        archive: &NamedArchive,
        selection: &mut Selection,
        options: &RestoreOptions,
        take: &mut dyn FnMut(Met<'_>),
    ) -> Result<()> {
        let mut links = LinkedFiles::default();
        for item in self.items(archive) {
            let item = item?;
            let path = stripped(&item.path, options.strip);
            let (true, Some(path)) = (selection.selects(&item.path), path) else {
                links.pass_over(item);
                continue;
            };
            take(Met::Name(&item, &path));
            if let Wanted::Whole(item, stored) = links.wanted(item, path) {
                if let Some(made) = Made::without_file(&item) {
                    links.made(stored, made);
                }
                take(Met::Content(&item));
            }
        }
        Ok(())
    }

    /// What a restore meets, up to where the list of files is damaged: that the restore says, behind what stands before.
    pub(super) fn each_readable(
        &self,
        archive: &NamedArchive,
        selection: &mut Selection,
        options: &RestoreOptions,
        take: &mut dyn FnMut(Met<'_>),
    ) {
        let _told_later = self.each_met(archive, selection, options, take);
    }
}
