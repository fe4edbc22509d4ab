//! The order in which a restore reads: by group, each once, in the order in which the targets first need them.

use std::collections::HashMap;
use std::sync::Arc;

use garret_format::{ChunkId, PackId};

use super::target::Target;
use crate::error::{Error, Result};
use crate::keys::chunk::VerifiedChunk;
use crate::limits::{PLAN_ENTRIES, PLAN_LEN};
use crate::objects::group::OpenGroup;
use crate::objects::index::Location;
use crate::read::chunks::Chunks;
use crate::read::groups::Wanted;

/// Most files that are open at once.
pub(super) const FILES_MAX: usize = 256;

/// What is to be read, and where it goes.
#[derive(Default)]
pub(super) struct ReadPlan {
    groups: Vec<Wanted<Vec<PlannedChunk>>>,
    known: HashMap<(PackId, u32), usize>,
    entries: usize,
    bytes: u64,
}

/// A chunk of a group, and a place where it goes.
pub(super) struct PlannedChunk {
    id: ChunkId,
    /// Place in the group.
    location: Location,
    target: Arc<Target>,
    /// Place in the stream of the target, in bytes.
    offset: u64,
}

impl ReadPlan {
    /// Counts memory that is held until the plan is executed.
    pub(super) fn hold(&mut self, entries: usize) {
        self.entries += entries;
    }

    /// Plans chunk `id`, of `len` bytes, for a place in the stream of `target`.
    pub(super) fn add(
        &mut self,
        chunks: &Chunks,
        target: &Arc<Target>,
        offset: u64,
        id: ChunkId,
        len: u64,
    ) -> Result<()> {
        let location = chunks.locate(&id, len, target.name())?;
        let place =
            *self.known.entry((location.pack.id, location.group.offset)).or_insert_with(|| {
                let Location { pack, group, .. } = location;
                self.groups.push(Wanted { pack, group, len: 0, by: Vec::new() });
                self.groups.len() - 1
            });
        if let Some(group) = self.groups.get_mut(place) {
            group.len = group.len.max(location.offset.saturating_add(location.len));
            group.by.push(PlannedChunk { id, location, target: target.clone(), offset });
        }
        self.entries += 1;
        self.bytes += len;
        Ok(())
    }

    /// Bytes of all places of its chunks.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it should be executed before more is added.
    pub(super) fn is_full(&self) -> bool {
        self.entries >= PLAN_ENTRIES || self.bytes >= PLAN_LEN
    }

    /// The groups, in the order in which they were first needed; the plan is empty then.
    pub(super) fn take(&mut self) -> Vec<Wanted<Vec<PlannedChunk>>> {
        std::mem::take(self).groups
    }
}

/// Writes what is needed of a group to its places, each chunk checked against its id; returns the bytes written. A chunk that
/// cannot be had in it is had from another copy. What goes wrong is remembered by the targets it concerns.
pub(super) fn write_group(
    chunks: &Chunks,
    group: Result<Arc<OpenGroup>>,
    pieces: &[PlannedChunk],
) -> u64 {
    let write = |piece: &PlannedChunk| {
        let (location, id) = (&piece.location, &piece.id);
        let write = |chunk: VerifiedChunk<'_>| piece.write(chunk);
        match &group {
            Ok(group) => {
                chunks.intact(group, location, id, write).unwrap_or_else(|error| piece.lose(&error))
            }
            Err(error) => {
                chunks.elsewhere(location, id, error, write).unwrap_or_else(|| piece.lose(error))
            }
        }
    };
    pieces.iter().map(write).sum()
}

impl PlannedChunk {
    /// Writes the chunk to its place; returns the bytes written.
    fn write(&self, chunk: VerifiedChunk<'_>) -> u64 {
        self.target.write(self.offset, chunk).unwrap_or_else(|error| {
            self.target.fail(Some((self.offset, u64::from(self.location.len))), &error);
            0
        })
    }

    fn lose(&self, error: &Error) -> u64 {
        self.target.lose(self.offset, u64::from(self.location.len), error);
        0
    }
}
