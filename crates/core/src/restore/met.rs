//! What a restore meets in the list of files, for who wants to know it before it begins.
//!
//! In: what is selected. Out: contents, and links to them. Promises: of several names of a file it says what the restore
//! does, which gives the content to the first one that is selected.

use garret_format::archive::{Item, Time};

use super::links::{Due, LinkedFiles, Made};
use super::options::RestoreOptions;
use super::session::stripped;
use crate::error::Result;
use crate::objects::archive::NamedArchive;
use crate::repository::Repository;
use crate::select::Selection;

/// What a restore meets of an item that is selected.
pub(super) enum Met<'a> {
    /// It is made with its content, at the path of the item below the destination: each content once.
    Content(&'a Item),
    /// It is made as another name of what was met before.
    Link {
        /// Below the destination.
        path: &'a [u8],
        /// When the file was changed last.
        mtime: Time,
        /// What the file has behind its name, as it was said when its content was met.
        suffix: &'static [u8],
    },
}

/// Takes what is met; of a content it says what the file gets behind its name.
pub(super) type Take<'a> = dyn FnMut(Met<'_>) -> &'static [u8] + 'a;

impl Repository {
    /// Gives what a restore meets, in order. The selection is settled.
    pub(super) fn each_met(
        &self,
        archive: &NamedArchive,
        selection: &mut Selection,
        options: &RestoreOptions,
        take: &mut Take<'_>,
    ) -> Result<()> {
        let mut links = LinkedFiles::default();
        for item in self.items(archive) {
            let item = item?;
            let path = stripped(&item.path, options.strip);
            let (true, Some(path)) = (selection.selects(&item.path), path) else {
                links.pass_over(item);
                continue;
            };
            let (mtime, named) = (item.mtime, path.clone());
            match links.due(item, path) {
                Due::Whole(item, stored) => {
                    let suffix = take(Met::Content(&item));
                    if let Some(made) = Made::without_file(&item) {
                        links.made(stored, Made { suffix, ..made });
                    }
                }
                Due::Link(Made { suffix, .. }) => {
                    take(Met::Link { path: &named, mtime, suffix });
                }
                Due::Missing(_) => {}
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
        take: &mut Take<'_>,
    ) {
        let _told_later = self.each_met(archive, selection, options, take);
    }
}
