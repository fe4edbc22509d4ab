//! The order in which a restore reads: by group, each once, in the order in which the targets first need them.

use std::collections::HashMap;
use std::sync::Arc;

use garret_format::{ChunkId, PackId};

use super::target::Target;
use crate::error::Result;
use crate::limits::{PLAN_ENTRIES, PLAN_LEN};
use crate::objects::group::OpenGroup;
use crate::objects::index::Location;
use crate::read::chunks::{Chunks, wrong_chunk};
use crate::read::groups::Wanted;

/// Most files that are open at once.
pub(super) const FILES_MAX: usize = 256;

/// What is to be read, and where it goes.
#[derive(Default)]
pub(super) struct ReadPlan {
    groups: Vec<Wanted<Vec<Piece>>>,
    known: HashMap<(PackId, u32), usize>,
    entries: usize,
    bytes: u64,
}

/// A chunk of a group, and a place where it goes.
pub(super) struct Piece {
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
        let location = chunks.locate(&id, target.name())?;
        if u64::from(location.len) != len {
            return Err(wrong_chunk(&location, &id));
        }
        let place =
            *self.known.entry((location.pack.id, location.group.offset)).or_insert_with(|| {
                let Location { pack, group, .. } = location;
                self.groups.push(Wanted { pack, group, by: Vec::new() });
                self.groups.len() - 1
            });
        if let Some(group) = self.groups.get_mut(place) {
            group.by.push(Piece { id, location, target: target.clone(), offset });
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
    pub(super) fn take(&mut self) -> Vec<Wanted<Vec<Piece>>> {
        std::mem::take(self).groups
    }
}

/// Writes what is needed of a group to its places, each chunk checked against its id; returns the bytes written. What goes
/// wrong is remembered by the targets it concerns.
pub(super) fn write_group(chunks: &Chunks, group: Result<Arc<OpenGroup>>, pieces: &[Piece]) -> u64 {
    let mut bytes = 0;
    for Piece { id, location, target, offset } in pieces {
        let range = Some((*offset, u64::from(location.len)));
        let written = match &group {
            Err(error) => {
                target.fail(range, error);
                continue;
            }
            Ok(group) => chunks.verified(group, location, id),
        };
        match written.and_then(|chunk| target.write(*offset, chunk)) {
            Ok(placed) => bytes += placed,
            Err(error) => target.fail(range, &error),
        }
    }
    bytes
}
