//! Single chunks by id: where they are, and their content.
//!
//! In: ids. Out: bytes that were checked against them. Promises: one [`Chunks`] sees one state of the index, whatever else
//! happens to the repository meanwhile; it is cheap to clone. A chunk that lies in several packs is had from whichever holds
//! it intact, and the damage of the others is told of.

use std::sync::Arc;

use garret_format::ChunkId;

use crate::error::{Error, Result};
use crate::keys::chunk::VerifiedChunk;
use crate::objects::damage::is_damage;
use crate::objects::group::OpenGroup;
use crate::objects::index::{Index, Location};
use crate::objects::recipe::NodeSource;
use crate::read::groups::Groups;
use crate::store::{Guard, Key};

/// The chunks of a repository as its index knew them at one moment.
#[derive(Clone)]
pub(crate) struct Chunks {
    groups: Arc<Groups>,
    index: Arc<Index>,
    /// While anything can be read, nobody deletes.
    _lock: Arc<dyn Guard>,
}

impl Chunks {
    pub(crate) fn new(groups: Arc<Groups>, index: Arc<Index>, lock: Arc<dyn Guard>) -> Self {
        Chunks { groups, index, _lock: lock }
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    pub(crate) fn groups(&self) -> &Arc<Groups> {
        &self.groups
    }

    /// Where a chunk of `len` bytes is; an error that names who needs it if it is nowhere.
    pub(crate) fn locate(&self, id: &ChunkId, len: u64, needed_by: &str) -> Result<Location> {
        let first = self.first(id, needed_by)?;
        let mut copies = self.index.copies(id);
        let found = copies.find(|location| u64::from(location.len) == len);
        found.ok_or_else(|| wrong_chunk(&first, id))
    }

    fn first(&self, id: &ChunkId, needed_by: &str) -> Result<Location> {
        self.index.find(id).ok_or_else(|| self.index.missing(id, needed_by))
    }

    /// The group that a chunk is in.
    pub(crate) fn group(&self, location: &Location) -> Result<Arc<OpenGroup>> {
        self.groups.get(&location.pack, &location.group)
    }

    /// The chunk at `location` of its group, checked against its id.
    pub(crate) fn verified<'g>(
        &self,
        group: &'g OpenGroup,
        location: &Location,
        id: &ChunkId,
    ) -> Result<VerifiedChunk<'g>> {
        group
            .verified(self.groups.hasher(), (location.offset, location.len), id)
            .ok_or_else(|| wrong_chunk(location, id))
    }

    /// Reads the chunk at this place and checks it.
    pub(crate) fn verify(&self, location: &Location, id: &ChunkId) -> Result<()> {
        let group = self.group(location)?;
        self.verified(&group, location, id).map(drop)
    }

    /// Gives `take` the chunk at `location`, checked: the one copy in `group`, or another that is intact.
    ///
    /// # Errors
    /// What is wrong in `group`, if no copy is intact.
    pub(crate) fn intact<R>(
        &self,
        group: &OpenGroup,
        location: &Location,
        id: &ChunkId,
        take: impl FnOnce(VerifiedChunk<'_>) -> R,
    ) -> Result<R> {
        match self.verified(group, location, id) {
            Ok(chunk) => Ok(take(chunk)),
            Err(error) => self.elsewhere(location, id, &error, take).ok_or(error),
        }
    }

    /// Gives `take` another copy of a chunk that could not be had at `damaged`, checked; `None` if no other is intact. The
    /// damage is remembered, to be told of.
    pub(crate) fn elsewhere<R>(
        &self,
        damaged: &Location,
        id: &ChunkId,
        error: &Error,
        take: impl FnOnce(VerifiedChunk<'_>) -> R,
    ) -> Option<R> {
        let is_elsewhere = |other: &Location| {
            other.len == damaged.len
                && (other.pack.id, other.group) != (damaged.pack.id, damaged.group)
        };
        for other in self.index.copies(id).filter(is_elsewhere) {
            let Ok(group) = self.group(&other) else { continue };
            let Ok(chunk) = self.verified(&group, &other, id) else { continue };
            self.groups.bypassed(damaged.pack.id, error);
            return Some(take(chunk));
        }
        if is_damage(error) {
            self.groups.met(damaged.pack.id);
        }
        None
    }

    /// Gives `take` the chunk at `location`, checked, or another copy that is intact.
    ///
    /// # Errors
    /// What is wrong at `location`, if no copy is intact.
    pub(crate) fn read<R>(
        &self,
        location: &Location,
        id: &ChunkId,
        take: impl FnOnce(VerifiedChunk<'_>) -> R,
    ) -> Result<R> {
        match self.group(location) {
            Ok(group) => self.intact(&group, location, id, take),
            Err(error) => self.elsewhere(location, id, &error, take).ok_or(error),
        }
    }
}

impl NodeSource for Chunks {
    fn read_node(&self, id: &ChunkId, needed_by: &str) -> Result<Vec<u8>> {
        let location = self.first(id, needed_by)?;
        self.read(&location, id, |chunk| chunk.bytes().to_vec())
    }
}

/// The error for bytes that are not the chunk the index says they are.
pub(crate) fn wrong_chunk(location: &Location, id: &ChunkId) -> Error {
    Error::Corrupt {
        object: Key::Pack(location.pack.id).to_string(),
        offset: u64::from(location.group.offset),
        what: format!("the group does not hold chunk {id} at {}", location.offset),
    }
}
