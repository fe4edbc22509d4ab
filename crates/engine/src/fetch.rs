//! Single chunks by id: recipe nodes, items, side streams. Contents of files go through `restore`, which reads by group.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use format::{ChunkId, PackId};

use crate::error::{Error, Result};
use crate::group::OpenGroup;
use crate::index::Location;
use crate::limits::GROUPS_KEPT;
use crate::repository::Repository;
use crate::store::Key;

/// Reads chunks and keeps the groups they were in for a while.
pub(crate) struct ChunkReader<'a> {
    pub(crate) repository: &'a Repository,
    kept: Mutex<VecDeque<((PackId, u32), OpenGroup)>>,
}

impl<'a> ChunkReader<'a> {
    pub(crate) fn new(repository: &'a Repository) -> Self {
        ChunkReader { repository, kept: Mutex::default() }
    }

    /// The content of a chunk, checked against its id.
    pub(crate) fn fetch(&self, id: &ChunkId, needed_by: &str) -> Result<Vec<u8>> {
        let location = locate(self.repository, id, needed_by)?;
        let key = (location.pack.id, location.group.offset);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let group = match kept.iter().position(|(known, _)| *known == key) {
            Some(place) => kept.remove(place),
            None => None,
        };
        let (_, group) = match group {
            Some(group) => group,
            None => (key, self.repository.packs().group(&location.pack, &location.group)?),
        };
        let bytes = verified(self.repository, &group, &location, id).map(<[u8]>::to_vec);
        kept.push_front((key, group));
        kept.truncate(GROUPS_KEPT);
        bytes
    }
}

/// Where a chunk is; an error that names who needs it if it is nowhere.
pub(crate) fn locate(repository: &Repository, id: &ChunkId, needed_by: &str) -> Result<Location> {
    let missing = || Error::MissingChunk { id: *id, needed_by: needed_by.to_owned() };
    repository.index.find(id).ok_or_else(missing)
}

fn verified<'g>(
    repository: &Repository,
    group: &'g OpenGroup,
    location: &Location,
    id: &ChunkId,
) -> Result<&'g [u8]> {
    group
        .slice(location.offset, location.len)
        .and_then(|bytes| repository.hasher.verify(id, bytes))
        .map(|chunk| chunk.bytes())
        .ok_or_else(|| wrong_chunk(location, id))
}

/// The error for bytes that are not the chunk the index says they are.
pub(crate) fn wrong_chunk(location: &Location, id: &ChunkId) -> Error {
    Error::Corrupt {
        object: Key::Pack(location.pack.id).to_string(),
        offset: u64::from(location.group.offset),
        what: format!("the group does not hold chunk {id} at {}", location.offset),
    }
}
