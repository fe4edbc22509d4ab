//! What need not be read: the files of the last archive of the same host and sources that are untouched since.
//!
//! In: the repository and the inputs. Out: contents by path. A file counts as untouched with the same size, times and inode,
//! if its last change was well before that archive began: a change within the same tick of the clock would not show.

use std::collections::HashMap;

use garret_format::archive::{Content, Item, ItemKind, Time};
use garret_format::recipe::Entry;
use garret_image::{At, Metadata};

use super::options::Input;
use super::stat::{identity, time};
use crate::backup::walk::below;
use crate::error::{Error, Result};
use crate::objects::archive::NamedArchive;
use crate::objects::items::ItemReader;
use crate::objects::recipe::RecipeReader;
use crate::progress::{Note, Progress};
use crate::read::chunks::Chunks;
use crate::repository::Repository;
use crate::store::Key;

/// Seconds that a file must not have changed before a backup began for its content to be trusted by the next: two, the
/// coarsest clock of a file system in use.
const SETTLED_SECS: i64 = 2;

/// The untouched files of the last archive of the same host and sources.
pub(super) struct Previous {
    /// Records by a hash of the path: a fraction of the memory that items and their paths take.
    files: HashMap<[u8; 16], Box<[u8]>>,
}

impl Previous {
    /// Those of `last`. What of it is damaged is no reason to fail: then it is read.
    ///
    /// Packs may have been lost since. If they may, every chunk of the content that would be reused is looked up: 5 ms for a
    /// gigabyte. On a client that has its copy of the index from that backup, it is enough that the packs of then are there.
    pub(super) fn of(
        repository: &Repository,
        last: Option<NamedArchive>,
        host: &str,
        sources: &[Vec<u8>],
        inputs: &[Input],
    ) -> Self {
        let Some(last) = last else { return Previous { files: HashMap::new() } };
        let (chunks, job) = (repository.chunks(), job(host, sources));
        let start = last.archive.start;
        let complete = chunks.index().is_complete(&job, &last.fingerprint);
        let items = ItemReader::new(&chunks, &last);
        // What comes before a damaged item is as good as it was.
        let reusable = items.map_while(Result::ok).filter(|item| {
            is_settled(item, start)
                && (complete || (is_same(item, inputs) && is_there(item, &chunks)))
        });
        let record = |item: Item| (key(&item.path), item.encode().into_boxed_slice());
        Previous { files: reusable.map(record).collect() }
    }

    /// The item of an untouched file: whatever of it changes, its ctime does, so content and metadata are those of then.
    pub(super) fn untouched(&mut self, path: &[u8], metadata: &Metadata) -> Option<Item> {
        let record = self.files.remove(&key(path))?;
        let before = Item::decode(record.get(4..)?).ok()?;
        (before.path == path && looks(&before, metadata)).then_some(before)
    }
}

/// The last archive of the same host and sources. A damaged or vanished one is none: then everything is read.
pub(super) fn last(
    repository: &Repository,
    host: &str,
    sources: &[Vec<u8>],
    progress: &dyn Progress,
) -> Result<Option<NamedArchive>> {
    let (index, job) = (repository.index(), job(host, sources));
    // Where this client made the last one, it knows its name. One that others made since would only be nearer.
    let noted = |names: &[String]| {
        let (name, fingerprint) = index.noted(&job, names)?;
        repository.archive(name).ok().filter(|found| found.fingerprint == fingerprint)
    };
    if let Some(last) = noted(&repository.first_sight()?.names()) {
        return Ok(Some(last));
    }
    // It was made since, or others made it.
    let names = repository.archive_names()?;
    match noted(&names) {
        Some(last) => Ok(Some(last)),
        None => newest(repository, &names, host, sources, progress),
    }
}

fn key(path: &[u8]) -> [u8; 16] {
    let hash = *blake3::hash(path).as_bytes();
    hash.first_chunk().copied().unwrap_or_default()
}

/// The last archive of these sources, out of all there are. One that cannot be read is told of: it may be the one, and then
/// everything is read again.
fn newest(
    repository: &Repository,
    names: &[String],
    host: &str,
    sources: &[Vec<u8>],
    progress: &dyn Progress,
) -> Result<Option<NamedArchive>> {
    let mut newest: Option<NamedArchive> = None;
    for name in names {
        match repository.archive(name) {
            Ok(found) if found.archive.host == host && found.archive.sources == sources => {
                if newest.as_ref().is_none_or(|last| found.archive.start > last.archive.start) {
                    newest = Some(found);
                }
            }
            Ok(_) => {}
            // Removed by somebody since it was listed.
            Err(Error::ArchiveMissing(_)) => {}
            Err(error) => {
                let object = Key::Archive(name.clone()).to_string();
                progress.note(object.as_bytes(), &Note::Skipped(&error));
            }
        }
    }
    Ok(newest)
}

/// What two archives of the same job have in common: host and sources.
pub(super) fn job(host: &str, sources: &[Vec<u8>]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for text in std::iter::once(host.as_bytes()).chain(sources.iter().map(Vec::as_slice)) {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text);
    }
    *hasher.finalize().as_bytes()
}

/// Whether a change of the file after it was read would show in its times, and all of it could be read.
fn is_settled(item: &Item, start: Time) -> bool {
    let is_whole = |content: &Content| content.unreadable.is_empty();
    let is_whole = matches!(&item.kind, ItemKind::File(content) if is_whole(content));
    is_whole && !item.changed && item.identity.ctime.secs.saturating_add(SETTLED_SECS) < start.secs
}

/// Whether the file is still there as it was: only then it pays to look for its chunks.
fn is_same(item: &Item, inputs: &[Input]) -> bool {
    let found = inputs.iter().find_map(|input| {
        let (path, stored) = input.walked()?;
        below(path, &stored, &item.path)
    });
    let stat = found.and_then(|path| At::path(&path).stat(true).ok());
    stat.is_some_and(|metadata| looks(item, &metadata))
}

/// Whether the item is of a file with this metadata.
fn looks(item: &Item, metadata: &Metadata) -> bool {
    (metadata.size, time(metadata.mtime), identity(metadata))
        == (item.size, item.mtime, item.identity)
}

/// Whether the repository still has every chunk that restoring the item needs.
fn is_there(item: &Item, chunks: &Chunks) -> bool {
    let ItemKind::File(content) = &item.kind else { return false };
    content.recipes().all(|recipe| {
        RecipeReader::new(chunks, recipe, "").all(|entry| match entry {
            Ok(Entry::Chunk { id, .. }) => chunks.index().contains(&id),
            Ok(Entry::Zero { .. }) => true,
            Err(_) => false,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_read_whole_and_was_at_rest_is_taken_again() {
        let start = Time { secs: 1000, nanos: 0 };
        let mut item = super::super::pipe::piped(b"vm".to_vec());
        item.identity.ctime.secs = start.secs - SETTLED_SECS - 1;
        assert!(is_settled(&item, start));
        let changed = Item { changed: true, ..item.clone() };
        let mut late = item.clone();
        late.identity.ctime.secs += 1;
        let mut unreadable = item.clone();
        if let ItemKind::File(content) = &mut unreadable.kind {
            content.unreadable.push(0..4096);
        }
        let directory = Item { kind: ItemKind::Directory, ..item };
        for other in [changed, late, unreadable, directory] {
            assert!(!is_settled(&other, start), "{other:?}");
        }
    }
}
