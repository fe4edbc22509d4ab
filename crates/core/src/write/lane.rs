//! One line of packs that a writer fills: its open group, the plan of its packs, and what went into it.
//!
//! In: chunks. Out: groups to be compressed. Promises: a chunk goes into a lane once in a session, so what is stored twice
//! lies in packs of two lanes, and these are never the same.

use std::collections::HashSet;

use garret_format::ChunkId;
use garret_format::pack::{Frame, PackKind};

use crate::error::Result;
use crate::limits::STRUCTURE_COPIES;
use crate::objects::group::{Compression, Group, GroupBuilder};
use crate::objects::pack::{GroupPlace, PackPlan};

/// Which packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Of chunks of files.
    Data,
    /// Of structure.
    Structure,
    /// Of structure too: what is in the other is in this one again.
    Copies,
}

impl Lane {
    /// All, in the order in which they end.
    pub(super) const ALL: [Lane; 3] = [Lane::Data, Lane::Structure, Lane::Copies];
    /// Those that every chunk of structure goes into.
    pub(super) const STRUCTURE: [Lane; STRUCTURE_COPIES] = [Lane::Structure, Lane::Copies];
}

/// Something for each lane.
#[derive(Default)]
pub(super) struct Lanes<T> {
    pub(super) data: T,
    pub(super) structure: T,
    pub(super) copies: T,
}

impl<T> Lanes<T> {
    pub(super) fn of(&mut self, lane: Lane) -> &mut T {
        match lane {
            Lane::Data => &mut self.data,
            Lane::Structure => &mut self.structure,
            Lane::Copies => &mut self.copies,
        }
    }
}

/// What a lane is filled with.
pub(super) struct Filling {
    group: GroupBuilder,
    /// How the chunks of the open group are going to be compressed.
    compression: Compression,
    plan: PackPlan,
    /// Chunks that went into it in this session and that no stored segment lists yet.
    session: HashSet<ChunkId>,
}

impl Filling {
    pub(super) fn new(kind: PackKind, group_len: u32, pack_len: u32) -> Result<Self> {
        Ok(Filling {
            group: GroupBuilder::new(group_len),
            compression: Compression::default(),
            plan: PackPlan::new(kind, pack_len)?,
            session: HashSet::new(),
        })
    }

    pub(super) fn has(&self, id: &ChunkId) -> bool {
        self.session.contains(id)
    }

    /// Notes chunks that go into it as a group of their own.
    pub(super) fn note<'c>(&mut self, chunks: impl IntoIterator<Item = &'c ChunkId>) {
        self.session.extend(chunks);
    }

    /// Forgets the chunks that are listed.
    pub(super) fn forget(&mut self, is_listed: impl Fn(&ChunkId) -> bool) {
        self.session.retain(|id| !is_listed(id));
    }

    /// Adds a chunk that it does not have; gives the group before it if that is complete.
    pub(super) fn push(
        &mut self,
        id: ChunkId,
        bytes: &[u8],
        compression: Compression,
    ) -> Option<(Group, Compression)> {
        self.session.insert(id);
        let before = if self.compression == compression { None } else { self.finish() };
        self.compression = compression;
        let full = self.group.push(id, bytes);
        before.or_else(|| full.map(|group| (group, compression)))
    }

    /// The open group, if there is one.
    pub(super) fn finish(&mut self) -> Option<(Group, Compression)> {
        self.group.finish().map(|group| (group, self.compression))
    }

    /// The place of the next group.
    pub(super) fn place(&mut self, frame: &Frame) -> Result<GroupPlace> {
        self.plan.place(frame)
    }
}
