//! Lines of packs that a writer fills: the plan of the packs of each, what went into it, and the groups that grow.
//!
//! In: chunks. Out: groups to be compressed, and the places of each in the packs of its lanes. Promises: a chunk goes into a
//! lane once in a session, so what is stored twice lies in packs of two lanes, and these are never the same; it is compressed
//! once for both.

use std::collections::HashSet;

use garret_format::ChunkId;
use garret_format::pack::{Frame, PackKind};

use crate::error::Result;
use crate::limits::STRUCTURE_COPIES;
use crate::objects::codec::Compression;
use crate::objects::group::{ChunkBytes, GroupBuilder, GroupParts};
use crate::objects::pack::{GroupPlace, PackPlan, end_len};

/// One line of packs.
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

/// The lanes that a group goes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Data,
    Structure,
    Copies,
    /// Of structure, as is usual.
    Both,
}

impl Way {
    pub(super) const ALL: [Way; 4] = [Way::Data, Way::Structure, Way::Copies, Way::Both];

    pub(super) fn lanes(self) -> &'static [Lane] {
        match self {
            Way::Data => &[Lane::Data],
            Way::Structure => &[Lane::Structure],
            Way::Copies => &[Lane::Copies],
            Way::Both => &Lane::STRUCTURE,
        }
    }
}

/// Something for each lane.
#[derive(Default)]
pub(super) struct Lanes<T> {
    data: T,
    structure: T,
    copies: T,
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

impl Lanes<Filling> {
    /// Nothing is in them; packs of files end with `pack_len` bytes.
    pub(super) fn new(pack_len: u32) -> Result<Self> {
        let filling = |kind| -> Result<Filling> {
            let plan = PackPlan::new(kind, end_len(kind, pack_len))?;
            Ok(Filling { plan, session: HashSet::new() })
        };
        Ok(Lanes {
            data: filling(PackKind::Data)?,
            structure: filling(PackKind::Structure)?,
            copies: filling(PackKind::Structure)?,
        })
    }
}

/// What a lane is filled with.
pub(super) struct Filling {
    plan: PackPlan,
    /// Chunks that went into it in this session and that no stored segment lists yet.
    session: HashSet<ChunkId>,
}

impl Filling {
    pub(super) fn has(&self, id: &ChunkId) -> bool {
        self.session.contains(id)
    }

    pub(super) fn note(&mut self, id: ChunkId) {
        self.session.insert(id);
    }

    /// Forgets the chunks that are listed.
    pub(super) fn forget(&mut self, is_listed: impl Fn(&ChunkId) -> bool) {
        self.session.retain(|id| !is_listed(id));
    }

    /// The place of the next group.
    pub(super) fn place(&mut self, frame: &Frame) -> Result<GroupPlace> {
        self.plan.place(frame)
    }
}

/// The groups that grow, one for each way.
pub(super) struct GrowingGroups {
    data: GrowingGroup,
    structure: GrowingGroup,
    copies: GrowingGroup,
    both: GrowingGroup,
}

/// A group that grows, and how it is going to be compressed.
struct GrowingGroup {
    group: GroupBuilder,
    compression: Compression,
}

impl GrowingGroups {
    pub(super) fn new(group_len: u32) -> Self {
        let new = || GrowingGroup {
            group: GroupBuilder::new(group_len),
            compression: Compression::default(),
        };
        GrowingGroups { data: new(), structure: new(), copies: new(), both: new() }
    }

    fn of(&mut self, way: Way) -> &mut GrowingGroup {
        match way {
            Way::Data => &mut self.data,
            Way::Structure => &mut self.structure,
            Way::Copies => &mut self.copies,
            Way::Both => &mut self.both,
        }
    }

    /// Adds a chunk; gives the group before it if that is complete.
    pub(super) fn push(
        &mut self,
        way: Way,
        id: ChunkId,
        bytes: ChunkBytes<'_>,
        compression: Compression,
    ) -> Option<(GroupParts, Compression)> {
        let is_other = self.of(way).compression != compression;
        let before = if is_other { self.finish(way) } else { None };
        let growing = self.of(way);
        growing.compression = compression;
        let full = growing.group.push(id, bytes);
        before.or_else(|| full.map(|group| (group, compression)))
    }

    /// The group that grows, if there is one.
    pub(super) fn finish(&mut self, way: Way) -> Option<(GroupParts, Compression)> {
        let growing = self.of(way);
        growing.group.finish().map(|group| (group, growing.compression))
    }
}
