//! What a repository has: its archives, their items, their files.

use std::sync::Arc;

use garret_format::archive::Item;
use garret_image::Source;

use super::{Adding, Repository};
use crate::error::{Error, Result};
use crate::objects::archive::{NamedArchive, load, names, publish};
use crate::objects::copies;
use crate::objects::items::ItemReader;
use crate::objects::tags::Tags;
use crate::pipeline::{both, with_workers};
use crate::progress::Progress;
use crate::read::chunks::Chunks;
use crate::read::disk::Disk;
use crate::read::file::StoredFile;
use crate::select::Selection;
use crate::store::{Key, StoreError};

/// Archives by their names; in the place of one that cannot be read, why.
type Found = Vec<(String, Result<NamedArchive>)>;

/// The items of an archive, one by one; see [`Repository::items`].
pub struct Items(ItemReader<Chunks>);

impl Iterator for Items {
    type Item = Result<Item>;

    fn next(&mut self) -> Option<Result<Item>> {
        self.0.next()
    }
}

impl std::fmt::Debug for Items {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Items")
    }
}

impl Repository {
    /// The names of all archives, sorted.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub fn archive_names(&self) -> Result<Vec<String>> {
        self.shared.looked.clear();
        names(self.store())
    }

    /// The archive of that name; from its second copy if its file is there and damaged, of which [`tell`](Self::tell) tells.
    ///
    /// # Errors
    /// `ArchiveMissing` if there is none, or what has that name is no archive; `Corrupt` if both copies are damaged.
    pub fn archive(&self, name: &str) -> Result<NamedArchive> {
        if let Some(found) = self.shared.looked.take(name) {
            return Ok(found);
        }
        let (store, metadata) = (self.store(), self.metadata());
        load(store, metadata, name)
            .or_else(|error| copies::archive(store, metadata, name, error, self.served()))
    }

    /// The archives of these names, as [`archive`](Self::archive) gives them, with as many requests under way as the store
    /// wants.
    ///
    /// # Errors
    /// There are no threads for that.
    pub fn archives(&self, names: Vec<String>) -> Result<Found> {
        with_workers(self.chunks().groups().in_flight(), |workers| {
            let read = |name: String| {
                let found = self.archive(&name);
                Ok((name, found))
            };
            workers.map(names.into_iter().map(Ok), read).collect()
        })
    }

    /// Notes that these archives were read a moment ago.
    pub(crate) fn note_looked<'a>(&self, found: impl Iterator<Item = &'a NamedArchive>) {
        self.shared.looked.note(found);
    }

    /// What all archives are tagged with, and the archives of these names: [`tags`](Self::tags) and
    /// [`archives`](Self::archives), side by side where the store is far away.
    ///
    /// # Errors
    /// As of both.
    pub fn tags_and_archives(
        &self,
        names: Vec<String>,
        progress: &dyn Progress,
    ) -> Result<(Tags, Found)> {
        let in_flight = self.store().properties().in_flight;
        both(in_flight, || self.tags(progress), || self.archives(names))
    }

    /// The items of an archive, in the order in which they were stored. They are read as they are asked for; after an error,
    /// which names what is damaged, nothing more comes.
    pub fn items(&self, archive: &NamedArchive) -> Items {
        Items(ItemReader::new(self.chunks(), archive))
    }

    /// The content of the file that `item` describes, to be read at any place; `None` if it is no file. It lives on its
    /// own, and holds the lock of its session as long: who wants to delete, in this program too, waits for it. A gc of the
    /// very session that it came from may take what it needs; reads fail then.
    ///
    /// # Errors
    /// Damage of what says how the file is divided.
    pub fn open_file(&self, item: &Item) -> Result<Option<StoredFile>> {
        StoredFile::open(&self.chunks(), item)
    }

    /// The guest's disk in the file that `item` describes, to be read at any place: what a raw copy of it would be. That is
    /// the file itself, if it is no image in a format of its own; `None` if it is no file. As [`open_file`](Self::open_file)
    /// otherwise.
    ///
    /// # Errors
    /// The same; and `NotRestored` for an image whose disk cannot be told from the file alone.
    pub fn open_disk(&self, item: &Item) -> Result<Option<Arc<dyn Source>>> {
        let Some(stored) = self.open_file(item)? else { return Ok(None) };
        let stored = Arc::new(stored);
        let disk = Disk::open(stored.clone(), item)?.of_its_own();
        Ok(Some(disk.unwrap_or(stored)))
    }

    /// Hands over the selected items of an archive one by one, in the order they were stored, until one is not taken. Nothing
    /// is kept of them.
    ///
    /// # Errors
    /// Damage of the archive or of its items, after those that could be read; what `visit` says.
    pub fn visit_items<E: From<Error>>(
        &self,
        archive: &NamedArchive,
        selection: &mut Selection,
        mut visit: impl FnMut(Item) -> Result<(), E>,
    ) -> Result<(), E> {
        self.settle(&[archive], selection);
        for item in self.items(archive) {
            let item = item?;
            if selection.selects(&item.path) {
                visit(item)?;
            }
        }
        Ok(())
    }

    /// Decides what the words of a selection stand for in these archives. What cannot be read of them is for the operation
    /// to say.
    pub(crate) fn settle(&self, archives: &[&NamedArchive], selection: &mut Selection) {
        let paths = archives
            .iter()
            .flat_map(|archive| self.items(archive).map_while(|item| Some(item.ok()?.path)));
        selection.settle(paths);
    }
}

impl Adding<'_> {
    /// The commit of an archive whose file has these bytes, as [`publish`]; takes it back if a gc that did not see this
    /// session may have taken what it is built on (rule S5).
    pub(crate) fn publish(&self, name: &str, bytes: &[u8]) -> Result<[u8; 32]> {
        let store = self.store();
        let fingerprint = publish(store, name, bytes)?;
        if self.shared.lock.is_held() {
            return Ok(fingerprint);
        }
        let taken_back = store
            .delete(&Key::Archive(name.to_owned()))
            .and_then(|()| store.delete(&copies::of_archive(&fingerprint)))
            .and_then(|()| store.sync());
        Err(exchanged(self, taken_back.is_ok()))
    }
}

/// The error for a repository whose lock was lost in the middle of a backup.
fn exchanged(repository: &Repository, is_taken_back: bool) -> Error {
    let why = match is_taken_back {
        true => {
            "it was lost meanwhile, for the file was exchanged or the lease ended, so a gc may have taken what the archive \
             needs: make it again"
        }
        false => {
            "it was lost meanwhile, for the file was exchanged, the lease or the connection ended, so a gc may have taken \
             what the archive needs, and it could not be taken back: check it, or delete it and make it again"
        }
    };
    let source = StoreError::new("lock", Key::Config, std::io::Error::other(why));
    Error::Lock { kind: "write", place: repository.store().place(), source }
}
