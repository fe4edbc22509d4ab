//! The way of new chunks into packs and the index.
//!
//! ```text
//! admit -> Dedup -> GroupBuilder -> compress -> PackPlan -> seal -> | PackBuilder -> Store -> IndexWriter -> Store
//!          known?   way             workers      lanes     workers  | a thread of its own: it waits for the disk
//! ```
//!
//! Chunks of files go into one lane, those of the structure of archives into each of two others: a pack that is lost takes
//! no archive with it.
//!
//! Order of durability: a pack before the segment that lists it. When `write_chunks` has returned, everything admitted is
//! durable but for the directory entries that the caller's next `sync` covers.

mod lane;
mod packs;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use garret_format::{ChunkId, SegmentId};

use crate::error::{Error, Result};
use crate::keys::chunk::ChunkHasher;
use crate::keys::seal::Sealer;
use crate::limits::{STRUCTURE_COPIES, WAITING_LEN};
use crate::objects::codec::Compression;
use crate::objects::group::{ChunkBytes, CompressedGroup, GroupParts};
use crate::objects::index::{Index, Rows, store_segment};
use crate::objects::pack::SealedGroup;
use crate::objects::recipe::NodeStore;
use crate::pipeline::{Ordered, Threads};
use crate::store::{Key, Store};
use lane::{Filling, GrowingGroups, Lane, Lanes, Way};
use packs::PackWriter;

pub(crate) use packs::PackLog;

/// What was new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// New chunks of streams.
    pub chunk_count: u64,
    /// Their bytes.
    pub chunk_bytes: u64,
    /// New chunks of recipes and item streams. Each is stored twice and counted once.
    pub node_count: u64,
    /// Their bytes.
    pub node_bytes: u64,
    /// Packs stored.
    pub pack_count: u64,
    /// Bytes of packs stored.
    pub pack_bytes: u64,
}

/// The parts of an open repository that writing needs.
pub(crate) struct ChunkTarget<'r> {
    pub(crate) store: &'r dyn Store,
    pub(crate) data: &'r Sealer,
    pub(crate) metadata: &'r Sealer,
    pub(crate) hasher: &'r ChunkHasher,
    pub(crate) index: &'r mut Index,
    pub(crate) group_len: u32,
    pub(crate) pack_len: u32,
    /// Where it is noted which packs are put.
    pub(crate) log: Option<&'r PackLog>,
}

/// Runs `body` with a writer; returns when everything it was given is stored. If storing fails, that error wins.
pub(crate) fn write_chunks<'scope, R>(
    target: ChunkTarget<'scope>,
    compression: Compression,
    threads: Threads<'_, 'scope>,
    body: impl FnOnce(&mut ChunkWriter<'_, 'scope>) -> Result<R>,
) -> Result<(R, Written)> {
    let ChunkTarget { store, data, metadata, log, group_len, pack_len, .. } = target;
    let (groups, sealed) = bounded((WAITING_LEN / group_len.max(1)).max(1) as usize);
    let (segments, stored) = unbounded();
    let (lanes, workers) = (Lanes::new(pack_len)?, threads.workers.count());
    adopt_unstored(store, metadata, target.index)?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("packs".to_owned())
            .spawn_scoped(scope, move || {
                let packs = PackWriter { store, data, metadata, log, workers, segments };
                packs.store_all(&sealed)
            })
            .map_err(|source| Error::System { what: "starting threads", source })?;
        let mut writer = ChunkWriter {
            hasher: target.hasher,
            index: target.index,
            lanes,
            growing: GrowingGroups::new(group_len),
            compressing: threads.workers.queue(),
            sealing: threads.workers.queue(),
            sealer: data,
            compression,
            groups,
            stored,
            written: Written::default(),
        };
        let result = body(&mut writer).and_then(|result| writer.flush().map(|()| result));
        let ChunkWriter { groups, stored, index, mut written, .. } = writer;
        drop(groups);
        let packs = match thread.join() {
            Ok(packs) => packs?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        for (id, rows) in stored {
            index.add(rows, Some(id))?;
        }
        (written.pack_count, written.pack_bytes) = packs;
        Ok((result?, written))
    })
}

/// Stores segments for packs that none covers, before anything is admitted: what they hold is known all the while.
fn adopt_unstored(store: &dyn Store, metadata: &Sealer, index: &mut Index) -> Result<()> {
    for rows in index.take_unstored()? {
        rows.packs.iter().try_for_each(|pack| store.adopt(&Key::Pack(pack.id)))?;
        let rows = rows.sorted();
        let id = store_segment(store, metadata, &rows)?;
        index.add(rows, Some(id))?;
    }
    Ok(())
}

/// Takes chunks, keeps the new ones.
pub(crate) struct ChunkWriter<'a, 'scope> {
    hasher: &'scope ChunkHasher,
    index: &'scope mut Index,
    lanes: Lanes<Filling>,
    growing: GrowingGroups,
    compressing: Ordered<'a, 'scope, Result<(Way, CompressedGroup)>>,
    sealing: Ordered<'a, 'scope, (Lane, SealedGroup)>,
    sealer: &'scope Sealer,
    /// Of what is admitted.
    compression: Compression,
    groups: Sender<(Lane, SealedGroup)>,
    stored: Receiver<(SegmentId, Rows)>,
    written: Written,
}

impl ChunkWriter<'_, '_> {
    /// Stores a chunk of a stream unless the repository has it; says whether it was new.
    pub(crate) fn admit(&mut self, id: ChunkId, bytes: ChunkBytes<'_>) -> Result<bool> {
        self.forget_stored()?;
        if self.index.contains(&id) {
            return Ok(false);
        }
        self.push(Way::Data, id, bytes, self.compression)
    }

    /// Stores a chunk whether or not the index has it, but once in this session, compressed so: repacking.
    pub(crate) fn keep(
        &mut self,
        id: ChunkId,
        bytes: &[u8],
        compression: Compression,
    ) -> Result<()> {
        self.push(Way::Data, id, ChunkBytes::Here(bytes), compression).map(drop)
    }

    /// Stores a chunk of structure `copies` more times than in this session so far, at most as often as any is: repacking.
    pub(crate) fn keep_node(
        &mut self,
        id: ChunkId,
        bytes: &[u8],
        copies: usize,
        compression: Compression,
    ) -> Result<()> {
        let [first, second] = Lane::STRUCTURE.map(|lane| !self.lanes.of(lane).has(&id));
        let way = match (first, second, copies) {
            (true, true, STRUCTURE_COPIES..) => Way::Both,
            (true, _, 1..) => Way::Structure,
            (false, true, 1..) => Way::Copies,
            _ => return Ok(()),
        };
        self.push(way, id, ChunkBytes::Here(bytes), compression)?;
        Ok(())
    }

    /// Stores a group of chunks of files that is compressed already: repacking one of which everything is needed.
    pub(crate) fn keep_group(&mut self, group: CompressedGroup) -> Result<()> {
        let data = self.lanes.of(Lane::Data);
        group.chunks.iter().for_each(|(id, _)| data.note(*id));
        self.seal(Way::Data, group)
    }

    /// Stores content that is not a user's stream (items, recipe nodes) in as many packs as the repository lacks it in.
    pub(crate) fn admit_node(&mut self, bytes: &[u8]) -> Result<ChunkId> {
        self.forget_stored()?;
        let id = self.hasher.hash(bytes);
        let way = match self.index.lacking_copies(&id) {
            0 => return Ok(id),
            1 => Way::Structure,
            _ => Way::Both,
        };
        self.push(way, id, ChunkBytes::Here(bytes), self.compression)?;
        Ok(id)
    }

    /// Stores a chunk unless a lane that it is to go into has it; whether it did.
    fn push(
        &mut self,
        way: Way,
        id: ChunkId,
        bytes: ChunkBytes<'_>,
        compression: Compression,
    ) -> Result<bool> {
        if way.lanes().iter().any(|lane| self.lanes.of(*lane).has(&id)) {
            return Ok(false);
        }
        way.lanes().iter().for_each(|lane| self.lanes.of(*lane).note(id));
        let (count, len) = match way {
            Way::Data => (&mut self.written.chunk_count, &mut self.written.chunk_bytes),
            _ => (&mut self.written.node_count, &mut self.written.node_bytes),
        };
        *count += 1;
        *len += bytes.len() as u64;
        if let Some(group) = self.growing.push(way, id, bytes, compression) {
            self.compress(way, group)?;
        }
        Ok(true)
    }

    /// Moves what a stored segment lists from the session's memory to the index.
    fn forget_stored(&mut self) -> Result<()> {
        while let Ok((id, rows)) = self.stored.try_recv() {
            self.index.add(rows, Some(id))?;
            let index = &*self.index;
            self.lanes.of(Lane::Data).forget(|id| index.contains(id));
            for lane in Lane::STRUCTURE {
                self.lanes.of(lane).forget(|id| index.lacking_copies(id) == 0);
            }
        }
        Ok(())
    }

    fn compress(
        &mut self,
        way: Way,
        (parts, compression): (GroupParts, Compression),
    ) -> Result<()> {
        while self.compressing.is_full() {
            self.seal_next()?;
        }
        self.compressing.submit(move || Ok((way, parts.join().compress(compression)?)));
        Ok(())
    }

    fn seal_next(&mut self) -> Result<()> {
        match self.compressing.next() {
            Some(group) => group.and_then(|(way, group)| self.seal(way, group)),
            None => Ok(()),
        }
    }

    fn seal(&mut self, way: Way, group: CompressedGroup) -> Result<()> {
        let [first, further @ ..] = way.lanes() else { return Ok(()) };
        for lane in further {
            self.seal_in(*lane, group.clone())?;
        }
        self.seal_in(*first, group)
    }

    fn seal_in(&mut self, lane: Lane, group: CompressedGroup) -> Result<()> {
        while self.sealing.is_full() {
            self.send_next()?;
        }
        let (place, sealer) = (self.lanes.of(lane).place(&group.frame)?, self.sealer);
        self.sealing.submit(move || (lane, group.seal(sealer, place)));
        Ok(())
    }

    fn send_next(&mut self) -> Result<()> {
        let Some(group) = self.sealing.next() else { return Ok(()) };
        // The thread ends early only with an error of its own, which then wins over this one.
        let gone = |_| Error::System {
            what: "storing packs",
            source: std::io::ErrorKind::BrokenPipe.into(),
        };
        self.groups.send(group).map_err(gone)
    }

    fn flush(&mut self) -> Result<()> {
        for way in Way::ALL {
            if let Some(group) = self.growing.finish(way) {
                self.compress(way, group)?;
            }
        }
        while !self.compressing.is_empty() {
            self.seal_next()?;
        }
        while !self.sealing.is_empty() {
            self.send_next()?;
        }
        Ok(())
    }
}

impl NodeStore for ChunkWriter<'_, '_> {
    fn store_node(&mut self, bytes: &[u8]) -> Result<ChunkId> {
        self.admit_node(bytes)
    }
}
