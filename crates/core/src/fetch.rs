//! Single chunks by id: recipe nodes, items, side streams. Contents of files go through `restore`, which reads by group.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use garret_format::{ChunkId, PackId};

use crate::chunk::VerifiedChunk;
use crate::error::{Error, Result};
use crate::group::OpenGroup;
use crate::index::Location;
use crate::limits::GROUPS_KEPT;
use crate::repository::Repository;
use crate::store::Key;

/// Reads chunks and keeps the groups they were in for a while.
pub(crate) struct ChunkReader<'a> {
    pub(crate) repository: &'a Repository,
    kept: Mutex<VecDeque<Kept>>,
}

/// A group, by its pack and its offset there.
type Kept = ((PackId, u32), Arc<OpenGroup>);

impl<'a> ChunkReader<'a> {
    pub(crate) fn new(repository: &'a Repository) -> Self {
        ChunkReader { repository, kept: Mutex::default() }
    }

    /// The content of a chunk, checked against its id.
    pub(crate) fn fetch(&self, id: &ChunkId, needed_by: &str) -> Result<Vec<u8>> {
        let location = locate(self.repository, id, needed_by)?;
        let group = self.group(&location)?;
        Ok(verified(self.repository, &group, &location, id)?.bytes().to_vec())
    }

    /// The group that a chunk is in.
    pub(crate) fn group(&self, location: &Location) -> Result<Arc<OpenGroup>> {
        let key = (location.pack.id, location.group.offset);
        let known = self.keep(key, None);
        if let Some(group) = known {
            return Ok(group);
        }
        let group = self.repository.packs().group(&location.pack, &location.group)?;
        let group = Arc::new(group);
        self.keep(key, Some(group.clone()));
        Ok(group)
    }

    /// Moves a group that is kept, or `new`, to the front of what is kept, and gives it.
    fn keep(&self, key: (PackId, u32), new: Option<Arc<OpenGroup>>) -> Option<Arc<OpenGroup>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().position(|(known, _)| *known == key);
        let group = place.and_then(|place| kept.remove(place)).map(|(_, group)| group).or(new)?;
        kept.push_front((key, group.clone()));
        kept.truncate(GROUPS_KEPT);
        Some(group)
    }
}

/// Where a chunk is; an error that names who needs it if it is nowhere.
pub(crate) fn locate(repository: &Repository, id: &ChunkId, needed_by: &str) -> Result<Location> {
    let missing = || Error::MissingChunk { id: *id, needed_by: needed_by.to_owned() };
    repository.index.find(id).ok_or_else(missing)
}

/// The chunk at `location` of its group, checked against its id.
pub(crate) fn verified<'g>(
    repository: &Repository,
    group: &'g OpenGroup,
    location: &Location,
    id: &ChunkId,
) -> Result<VerifiedChunk<'g>> {
    group
        .slice(location.offset, location.len)
        .and_then(|bytes| repository.hasher.verify(id, bytes))
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
