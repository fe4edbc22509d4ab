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
use crate::store::Key;

/// The chunks of a repository as its index knew them at one moment.
#[derive(Clone)]
pub(crate) struct Chunks {
    groups: Arc<Groups>,
    index: Arc<Index>,
}

impl Chunks {
    pub(crate) fn new(groups: Arc<Groups>, index: Arc<Index>) -> Self {
        Chunks { groups, index }
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

    /// Another copy of a chunk that could not be had at `damaged`: a group that holds it, where it verifies, and its place.
    /// The damage is remembered, to be told of.
    pub(crate) fn other_copy(
        &self,
        id: &ChunkId,
        damaged: &Location,
        error: &Error,
    ) -> Option<(Arc<OpenGroup>, Location)> {
        let elsewhere = |other: &Location| {
            other.len == damaged.len
                && (other.pack.id, other.group) != (damaged.pack.id, damaged.group)
        };
        let found = self.index.copies(id).filter(elsewhere).find_map(|other| {
            let group = self.group(&other).ok()?;
            self.verified(&group, &other, id).is_ok().then_some((group, other))
        });
        match found.is_some() {
            true => self.groups.bypassed(damaged.pack.id, error),
            false if is_damage(error) => self.groups.met(damaged.pack.id),
            false => {}
        }
        found
    }
}

impl NodeSource for Chunks {
    fn read_node(&self, id: &ChunkId, needed_by: &str) -> Result<Vec<u8>> {
        let location = self.first(id, needed_by)?;
        let group = self.group(&location);
        let read =
            group.and_then(|group| Ok(self.verified(&group, &location, id)?.bytes().to_vec()));
        read.or_else(|error| match self.other_copy(id, &location, &error) {
            Some((group, location)) => Ok(self.verified(&group, &location, id)?.bytes().to_vec()),
            None => Err(error),
        })
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
