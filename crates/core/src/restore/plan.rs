//! The order in which a restore reads: by group, each once, in the order in which the targets first need them.

use std::collections::HashMap;
use std::sync::Arc;

use garret_format::{ChunkId, PackId};

use super::target::Target;
use crate::chunk::VerifiedChunk;
use crate::error::Result;
use crate::fetch::{locate, wrong_chunk};
use crate::index::Location;
use crate::limits::{PLAN_ENTRIES, PLAN_LEN};
use crate::repository::Repository;

/// Most files that are open at once.
pub(super) const FILES_MAX: usize = 256;

/// What is to be read, and where it goes.
#[derive(Default)]
pub(super) struct ReadPlan {
    groups: Vec<GroupPlan>,
    known: HashMap<(PackId, u32), usize>,
    entries: usize,
    bytes: u64,
}

/// One group and the pieces of it that are needed.
pub(super) struct GroupPlan {
    location: Location,
    pieces: Vec<Piece>,
}

struct Piece {
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
        repository: &Repository,
        target: &Arc<Target>,
        offset: u64,
        id: ChunkId,
        len: u64,
    ) -> Result<()> {
        let location = locate(repository, &id, target.name())?;
        if u64::from(location.len) != len {
            return Err(wrong_chunk(&location, &id));
        }
        let place =
            *self.known.entry((location.pack.id, location.group.offset)).or_insert_with(|| {
                self.groups.push(GroupPlan { location, pieces: Vec::new() });
                self.groups.len() - 1
            });
        if let Some(group) = self.groups.get_mut(place) {
            group.pieces.push(Piece { id, location, target: target.clone(), offset });
        }
        self.entries += 1;
        self.bytes += len;
        Ok(())
    }

    /// Whether it should be executed before more is added.
    pub(super) fn is_full(&self) -> bool {
        self.entries >= PLAN_ENTRIES || self.bytes >= PLAN_LEN
    }

    /// The groups, in the order in which they were first needed; the plan is empty then.
    pub(super) fn take(&mut self) -> Vec<GroupPlan> {
        std::mem::take(self).groups
    }
}

impl GroupPlan {
    /// Reads the group, verifies what is needed of it and writes that to its places; gives the bytes written. What goes wrong
    /// is remembered by the targets it concerns.
    pub(super) fn run(self, repository: &Repository) -> u64 {
        let group = repository.packs().group(&self.location.pack, &self.location.group);
        let mut bytes = 0;
        // Pieces of one chunk are often neighbours: its id is checked once for all of them.
        let mut verified: Option<(ChunkId, VerifiedChunk<'_>)> = None;
        for Piece { id, location, target, offset } in self.pieces {
            let written = match &group {
                Err(error) => Err(error),
                Ok(group) => {
                    if verified.is_none_or(|(known, _)| known != id) {
                        verified = group
                            .slice(location.offset, location.len)
                            .and_then(|bytes| repository.hasher.verify(&id, bytes))
                            .map(|chunk| (id, chunk));
                    }
                    Ok(verified.filter(|(known, _)| *known == id))
                }
            };
            let range = Some((offset, u64::from(location.len)));
            match written {
                Ok(Some((_, chunk))) => match target.write(offset, chunk) {
                    Ok(placed) => bytes += placed,
                    Err(error) => target.fail(range, &error),
                },
                Ok(None) => target.fail(range, &wrong_chunk(&location, &id)),
                Err(error) => target.fail(range, error),
            }
        }
        bytes
    }
}
