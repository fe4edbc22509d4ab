//! Archives: list, load, publish; and the items in them.

use std::collections::VecDeque;

use garret_format::archive::{Archive, ITEM_LEN_MAX, Item, name_fault, new_name_fault};
use garret_format::object::{Envelope, Kind};

use crate::error::{Error, Result};
use crate::fetch::ChunkReader;
use crate::limits::ARCHIVE_LEN_MAX;
use crate::repository::Repository;
use crate::seal::{Content, Nonce, Sealer};
use crate::select::Selection;
use crate::store::{Area, Key, Store, StoreErrorKind, get_whole};
use crate::stream::StreamReader;

/// An archive and the name it is found under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedArchive {
    /// Name of its file in `backups/`.
    pub name: String,
    /// What it says.
    pub archive: Archive,
    /// BLAKE3 of its file: changes when anything in the archive does.
    pub fingerprint: [u8; 32],
}

impl Repository {
    /// The names of all archives, sorted.
    pub fn archive_names(&self) -> Result<Vec<String>> {
        let keys = self.store.list(Area::Archives)?.into_iter();
        let mut names: Vec<String> = keys
            .filter_map(|key| match key {
                Key::Archive(name) => Some(name),
                _ => None,
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The archive of that name.
    pub fn archive(&self, name: &str) -> Result<NamedArchive> {
        sound(name, name_fault)?;
        let key = Key::Archive(name.to_owned());
        let bytes = match get_whole(&*self.store, &key, ARCHIVE_LEN_MAX) {
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                return Err(Error::ArchiveMissing(name.to_owned()));
            }
            result => result?,
        };
        if Kind::Archive.is_foreign(&bytes) {
            return Err(Error::ArchiveMissing(name.to_owned()));
        }
        let object = key.to_string();
        let envelope = Envelope::decode(&bytes, Kind::Archive)
            .map_err(|error| Error::decode(&object, 0, error))?;
        let mut body = envelope.sealed;
        self.metadata
            .open(Content::Archive, &Nonce::from_bytes(envelope.nonce), &[], &mut body)
            .ok_or_else(|| Error::unsealed(&object, 0))?;
        let archive = Archive::decode(&body).map_err(|error| Error::decode(&object, 0, error))?;
        let fingerprint = *blake3::hash(&bytes).as_bytes();
        Ok(NamedArchive { name: name.to_owned(), archive, fingerprint })
    }

    /// The items of an archive, in the order they were stored.
    pub fn items(&self, archive: &NamedArchive) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        self.visit_items(archive, &mut Selection::default(), |item| {
            items.push(item);
            Ok::<(), Error>(())
        })?;
        Ok(items)
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
        let chunks = ChunkReader::new(self);
        let object = Key::Archive(archive.name.clone()).to_string();
        for item in ItemReader::new(&chunks, &archive.archive, &object) {
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
        let chunks = ChunkReader::new(self);
        let paths = archives.iter().flat_map(|archive| {
            ItemReader::new(&chunks, &archive.archive, "").map_while(|item| Some(item.ok()?.path))
        });
        selection.settle(paths);
    }
}

/// Fails if the name cannot be used for a new archive.
pub(crate) fn check_new_name(store: &dyn Store, name: &str) -> Result<()> {
    sound(name, new_name_fault)?;
    match store.len(&Key::Archive(name.to_owned())) {
        Ok(_) => Err(Error::ArchiveExists(name.to_owned())),
        Err(error) => match error.kind {
            StoreErrorKind::NotFound => Ok(()),
            StoreErrorKind::NotAFile => Err(Error::ArchiveExists(name.to_owned())),
            _ => Err(error.into()),
        },
    }
}

fn sound(name: &str, fault: fn(&str) -> Option<&'static str>) -> Result<()> {
    match fault(name) {
        Some(why) => Err(Error::BadName { name: name.to_owned(), why }),
        None => Ok(()),
    }
}

/// The commit: makes the archive visible, after everything it refers to is durable, and returns when it is durable itself.
pub(crate) fn publish(store: &dyn Store, metadata: &Sealer, archive: &Archive) -> Result<[u8; 32]> {
    let nonce = Nonce::random()?;
    let mut sealed = archive.encode();
    metadata.seal(Content::Archive, &nonce, &[], &mut sealed);
    let bytes = Envelope { nonce: nonce.to_bytes(), sealed }.encode(Kind::Archive);
    store.sync()?;
    match store.put_new(&Key::Archive(archive.name.clone()), &bytes) {
        Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
            return Err(Error::ArchiveExists(archive.name.clone()));
        }
        result => result?,
    }
    store.sync()?;
    Ok(*blake3::hash(&bytes).as_bytes())
}

/// Reads the items of an archive one by one.
pub(crate) struct ItemReader<'a> {
    stream: StreamReader<'a>,
    object: &'a str,
    buffer: VecDeque<u8>,
    failed: bool,
}

impl<'a> ItemReader<'a> {
    /// `object` names the archive in errors.
    pub(crate) fn new(chunks: &'a ChunkReader<'a>, archive: &Archive, object: &'a str) -> Self {
        ItemReader {
            stream: StreamReader::of_items(chunks, &archive.items, object),
            object,
            buffer: VecDeque::new(),
            failed: false,
        }
    }

    /// Reads until `len` bytes are in the buffer, or the stream ends.
    fn fill(&mut self, len: usize) -> Result<bool> {
        while self.buffer.len() < len {
            match self.stream.next().transpose()? {
                Some(part) => self.buffer.extend(part),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn read(&mut self) -> Result<Option<Item>> {
        let corrupt =
            |what: String| Error::Corrupt { object: self.object.to_owned(), offset: 0, what };
        let broken = corrupt("an item is cut off".to_owned());
        if !self.fill(4)? {
            return if self.buffer.is_empty() { Ok(None) } else { Err(broken) };
        }
        let mut len = [0; 4];
        len.iter_mut().zip(self.buffer.drain(..4)).for_each(|(to, from)| *to = from);
        let len = u32::from_le_bytes(len);
        if len > ITEM_LEN_MAX || !self.fill(len as usize)? {
            return Err(broken);
        }
        let record: Vec<u8> = self.buffer.drain(..len as usize).collect();
        let object = self.object;
        match Item::decode(&record) {
            Ok(item) => Ok(Some(item)),
            Err(error) => Err(Error::decode(object, 0, error)),
        }
    }
}

impl Iterator for ItemReader<'_> {
    type Item = Result<Item>;

    fn next(&mut self) -> Option<Result<Item>> {
        if self.failed {
            return None;
        }
        let item = self.read().transpose();
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}
