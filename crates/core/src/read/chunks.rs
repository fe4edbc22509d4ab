//! Single chunks by id: where they are, and their content.
//!
//! In: ids. Out: bytes that were checked against them. Promises: one [`Chunks`] sees one state of the index, whatever else
//! happens to the repository meanwhile; it is cheap to clone.

use std::sync::Arc;

use garret_format::ChunkId;

use crate::error::{Error, Result};
use crate::keys::chunk::VerifiedChunk;
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

    /// Where a chunk is; an error that names who needs it if it is nowhere.
    pub(crate) fn locate(&self, id: &ChunkId, needed_by: &str) -> Result<Location> {
        let missing = || Error::MissingChunk { id: *id, needed_by: needed_by.to_owned() };
        self.index.find(id).ok_or_else(missing)
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
}

impl NodeSource for Chunks {
    fn read_node(&self, id: &ChunkId, needed_by: &str) -> Result<Vec<u8>> {
        let location = self.locate(id, needed_by)?;
        let group = self.group(&location)?;
        Ok(self.verified(&group, &location, id)?.bytes().to_vec())
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
