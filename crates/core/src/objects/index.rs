//! The index: which pack, group and place holds a chunk.
//!
//! The truth is in the packs; the repository's index segments are a faster way to read the same; the client's own copy is a
//! faster way again. Opening brings the copy up to date: segments it has not seen are read, and packs that no segment
//! covers (a crashed session left them, or `index/` is gone) are read from their footers. A chunk counts as present only if
//! its pack was in the repository's listing when the index was opened, in the length that it was written in; of one in
//! another length what its groups still hold. So what is lost with or of a pack is stored again by the next backup.

mod cache;
mod footers;
mod listing;
mod prefixes;
mod segment;
mod unstored;
mod writer;

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use garret_format::condemned::Condemned;
use garret_format::index::{GroupRow, PackRow, Record, Tables};
use garret_format::object::Kind;
use garret_format::pack::PackKind;
use garret_format::{ChunkId, PackId, RepositoryId, SegmentId};

use crate::error::{Error, Result};
use crate::keys::chunk::ChunkHasher;
use crate::keys::seal::Sealer;
use crate::limits::{
    LOCAL_SEGMENTS_MAX, SEGMENT_LEN_MAX, SEGMENTS_IN_FLIGHT_MAX, STRUCTURE_COPIES,
};
use crate::objects::pack::PackReader;
use crate::objects::{damage, envelope};
use crate::pipeline::with_workers;
use crate::progress::{Problem, Progress};
use crate::store::{Key, Store, StoreErrorKind};

pub(crate) use cache::Cache;
pub(crate) use listing::{Inventory, Listing};
pub(crate) use segment::Input;
use segment::Segment;
pub(crate) use writer::{IndexWriter, Rows};

/// How often what is listed is asked for anew because some of it is gone. A gc exchanges segments once or twice.
const LISTINGS_MAX: u32 = 8;

/// Where a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) pack: PackRow,
    pub(crate) group: GroupRow,
    /// Where the chunk starts in the uncompressed group, in bytes.
    pub(crate) offset: u32,
    /// Length of the chunk in bytes.
    pub(crate) len: u32,
    /// The record: segment and place in it.
    pub(crate) record: (usize, u64),
}

/// What opening an index needs of the repository.
#[derive(Clone, Copy)]
pub(crate) struct IndexSource<'a> {
    pub(crate) packs: PackReader<'a>,
    pub(crate) metadata: &'a Sealer,
    pub(crate) hasher: &'a ChunkHasher,
    pub(crate) repository: RepositoryId,
}

/// The index of a repository as it was at one moment. A copy grows by itself and shares what both have.
#[derive(Clone)]
pub(crate) struct Index {
    segments: Vec<Arc<Segment>>,
    cache: Arc<Cache>,
    repository: RepositoryId,
    /// Packs that are recorded as damaged: what they hold is read if it is intact, and counts as absent for whoever stores.
    damaged: Arc<HashSet<PackId>>,
    /// Packs that gc condemned: they are intact, but may go when older sessions have ended. They count as absent too.
    condemned: Arc<HashSet<PackId>>,
    /// Whether what is not listed is nowhere.
    is_whole: bool,
    /// Whether there are cold packs that no segment lists, and that cannot be read.
    lacks_cold: bool,
}

impl Index {
    /// Brings the client's copy up to date with what is there, and opens it. Gives what it went by.
    pub(crate) fn open(
        source: &IndexSource<'_>,
        cache: Cache,
        condemned: &Condemned,
        inventory: Inventory,
        progress: &dyn Progress,
    ) -> Result<(Self, Inventory)> {
        let mut index = Index::empty(source.repository);
        index.segments = cache.load(source.repository).into_iter().map(Arc::new).collect();
        index.cache = Arc::new(cache);
        index.set_condemned(condemned);
        let inventory = index.update(source, inventory, progress)?;
        Ok((index, inventory))
    }

    /// From now on these are the packs that are condemned.
    pub(crate) fn set_condemned(&mut self, condemned: &Condemned) {
        self.condemned = Arc::new(condemned.packs.iter().map(|(pack, _)| *pack).collect());
    }

    /// Brings it up to date with what the repository holds. Gives what it went by.
    pub(crate) fn update(
        &mut self,
        source: &IndexSource<'_>,
        mut inventory: Inventory,
        progress: &dyn Progress,
    ) -> Result<Inventory> {
        let store = source.packs.store;
        let mut damaged = damage::load(store, source.metadata, &inventory.damaged, progress);
        if inventory.damaged.is_err() {
            damaged.extend(self.damaged.iter());
        }
        self.damaged = Arc::new(damaged);
        // A gc may exchange segments meanwhile: those that are listed then are all there again.
        for tried in 1..=LISTINGS_MAX {
            // Another process of this client may have saved a copy since that listing: then the copy is not stale.
            let is_settled = tried > 1 || !self.is_stale(&inventory);
            if is_settled
                && self.update_once(source, &inventory, tried == LISTINGS_MAX, progress)?
            {
                break;
            }
            inventory = Inventory::list(store)?;
        }
        Ok(inventory)
    }

    /// The same by one listing; whether every segment of it was there. If it is the last, what is gone is told of.
    fn update_once(
        &mut self,
        source: &IndexSource<'_>,
        inventory: &Inventory,
        is_last: bool,
        progress: &dyn Progress,
    ) -> Result<bool> {
        // Segments of the same sources were left by a process that was killed when it had merged some.
        let sources = || self.segments.iter().flat_map(|segment| &segment.sources);
        let is_twice = sources().count() > sources().collect::<HashSet<_>>().len();
        if is_twice || self.is_stale(inventory) {
            self.forget();
        }
        let Inventory { segments: listed, packs: stored, .. } = inventory;
        // Of what it has already it was found out before.
        self.is_whole = self.damaged.is_empty() && (self.is_whole || self.segments.is_empty());
        let known: HashSet<SegmentId> =
            self.segments.iter().flat_map(|segment| segment.sources.iter().copied()).collect();
        let unknown: Vec<SegmentId> = listed.difference(&known).copied().collect();
        if !unknown.is_empty() {
            // One of them may cover packs that were read from their footers.
            drop(self.remove_unstored());
        }
        let mut missing: HashSet<PackId> = stored.lens.keys().copied().collect();
        for pack in self.segments.iter().flat_map(|segment| segment::packs(segment)) {
            missing.remove(&pack.id);
        }
        let loaded = self.load_segments(source, unknown, stored, &mut missing, progress)?;
        if !is_last && !loaded.gone.is_empty() {
            return Ok(false);
        }
        loaded.gone.iter().for_each(|error| progress.problem(&Problem::from(error)));
        self.load_footers(source, stored, missing, &loaded.otherwise, progress)?;
        Ok(true)
    }

    /// Whether it knows segments or packs that are not listed. A copy of segments that gc replaced, or that are lost, would
    /// hide that packs are listed twice, or nowhere.
    fn is_stale(&self, Inventory { segments: listed, packs: stored, .. }: &Inventory) -> bool {
        self.segments.iter().any(|segment| {
            segment::packs(segment).iter().any(|pack| !stored.has(pack))
                || segment.sources.iter().any(|id| !listed.contains(id))
        })
    }

    /// An index that knows nothing, in memory.
    pub(crate) fn empty(repository: RepositoryId) -> Self {
        let (cache, damaged, condemned) =
            (Arc::new(Cache::in_memory()), Arc::default(), Arc::default());
        Index {
            segments: Vec::new(),
            cache,
            repository,
            damaged,
            condemned,
            is_whole: true,
            lacks_cold: false,
        }
    }

    /// Forgets the copy, because packs it knows are gone; it is made again from the repository.
    pub(crate) fn forget(&mut self) {
        for segment in self.segments.drain(..) {
            self.cache.remove(&segment);
        }
    }

    /// Adds the repository's segments that the copy does not have yet.
    fn load_segments(
        &mut self,
        source: &IndexSource<'_>,
        mut unknown: Vec<SegmentId>,
        stored: &Listing,
        missing: &mut HashSet<PackId>,
        progress: &dyn Progress,
    ) -> Result<Loaded> {
        unknown.sort_unstable();
        let mut loaded = Loaded::default();
        let in_flight = source.packs.store.properties().in_flight.min(SEGMENTS_IN_FLIGHT_MAX);
        with_workers(in_flight, |workers| {
            let read = |id| Ok((id, read_segment(source, id)));
            for read in workers.map(unknown.into_iter().map(Ok), read) {
                let (id, rows) = read?;
                let rows = match rows {
                    Ok(rows) => rows,
                    Err(Error::Store(error)) if error.kind == StoreErrorKind::NotFound => {
                        loaded.gone.push(error.into());
                        continue;
                    }
                    // The packs it covered are read instead.
                    Err(error @ (Error::Corrupt { .. } | Error::Store(_))) => {
                        progress.problem(&Problem::from(&error));
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let other = rows.packs.iter().filter(|pack| !stored.has(pack));
                loaded.otherwise.extend(other.map(|pack| pack.id));
                self.is_whole &= rows.packs.iter().all(|pack| stored.has(pack));
                let rows = rows.keep_packs(|pack| stored.has(pack));
                rows.packs.iter().for_each(|pack| _ = missing.remove(&pack.id));
                self.add(rows, Some(id))?;
            }
            Ok(loaded)
        })
    }

    /// Adds rows: those of a stored segment, or of packs that none covers.
    pub(crate) fn add(&mut self, rows: Rows, id: Option<SegmentId>) -> Result<()> {
        let rows = rows.sorted().in_pack_order();
        let tables = rows.encode();
        let input = Input::of_rows(&rows, &tables)
            .map_err(|error| Error::decode("the local index", 0, error))?;
        let sources: Vec<SegmentId> = id.into_iter().collect();
        let segment = self.cache.create(self.repository, &sources, &[input])?;
        self.segments.push(Arc::new(segment));
        let merging: Vec<Arc<Segment>> = if self.segments.len() > LOCAL_SEGMENTS_MAX {
            self.segments.extract_if(.., |segment| !segment.sources.is_empty()).collect()
        } else {
            Vec::new()
        };
        if merging.len() > 1 {
            let sources: Vec<SegmentId> =
                merging.iter().flat_map(|segment| segment.sources.iter().copied()).collect();
            let inputs: Vec<Input<'_>> =
                merging.iter().map(|segment| Input::of_segment(segment)).collect();
            let merged = self.cache.create(self.repository, &sources, &inputs)?;
            merging.iter().for_each(|segment| self.cache.remove(segment));
            self.segments.push(Arc::new(merged));
        } else {
            self.segments.extend(merging);
        }
        Ok(())
    }

    /// Where a chunk is, if any pack holds it: the first of its copies.
    pub(crate) fn find(&self, id: &ChunkId) -> Option<Location> {
        self.copies(id).next()
    }

    /// Why a chunk that somebody needs is not found: it is nowhere, or the client's copy could not be read.
    pub(crate) fn missing(&self, id: &ChunkId, needed_by: &str) -> Error {
        match self.unread() {
            Some(error) => error,
            None => Error::MissingChunk { id: *id, needed_by: needed_by.to_owned() },
        }
    }

    /// Why something of the client's copy could not be read, if it could not: what it lists was not found then.
    pub(crate) fn unread(&self) -> Option<Error> {
        let error = self.segments.iter().find_map(|segment| segment.unread())?;
        let source = io::Error::new(error.kind(), error.to_string());
        Some(Error::System { what: "reading the local index, which may be deleted", source })
    }

    /// Everywhere where a chunk is: what is in condemned packs later, what is in damaged ones last.
    pub(crate) fn copies(&self, id: &ChunkId) -> impl Iterator<Item = Location> {
        let ranks = if self.damaged.is_empty() && self.condemned.is_empty() { 1 } else { 3 };
        let of = move |rank| self.places(id).filter(move |place| self.rank(&place.pack.id) == rank);
        (0..ranks).flat_map(of)
    }

    /// Whether a pack is neither condemned nor known to be damaged.
    pub(crate) fn may_be_built_on(&self, pack: &PackId) -> bool {
        self.rank(pack) == 0
    }

    /// 0 for a pack that may be built on, 1 for a condemned one, 2 for one that is known to be damaged.
    fn rank(&self, pack: &PackId) -> u8 {
        // Most repositories have neither.
        match (self.is_damaged(pack), self.condemned.is_empty()) {
            (true, _) => 2,
            (false, true) => 0,
            (false, false) => self.condemned.contains(pack).into(),
        }
    }

    fn places(&self, id: &ChunkId) -> impl Iterator<Item = Location> {
        self.segments.iter().enumerate().flat_map(move |(number, segment)| {
            segment.copies(id).filter_map(move |(place, record)| {
                let tables = segment.tables();
                let group = tables.group(record.group)?;
                let pack = tables.pack(group.pack)?;
                let Record { offset, len, .. } = record;
                Some(Location { pack, group, offset, len, record: (number, place) })
            })
        })
    }

    /// Whether a pack that is neither condemned nor known to be damaged holds a chunk: whether it need not be stored.
    pub(crate) fn contains(&self, id: &ChunkId) -> bool {
        match self.damaged.is_empty() && self.condemned.is_empty() {
            true => self.segments.iter().any(|segment| segment.copies(id).next().is_some()),
            false => self.places(id).any(|place| self.may_be_built_on(&place.pack.id)),
        }
    }

    /// How many more packs should hold a chunk of structure: it is safe in [`STRUCTURE_COPIES`] that may be built on.
    pub(crate) fn lacking_copies(&self, id: &ChunkId) -> usize {
        let packs = self.places(id).map(|place| place.pack);
        let mut packs = packs
            .filter(|pack| pack.kind == PackKind::Structure && self.may_be_built_on(&pack.id))
            .map(|pack| pack.id);
        let first = packs.next();
        let second = packs.find(|pack| Some(*pack) != first);
        STRUCTURE_COPIES - first.iter().chain(&second).count()
    }

    /// Whether everything is listed that the packs hold: no pack is known to be damaged, none had to be read without its
    /// footer, none is listed that is not there. What is not found then is nowhere.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Whether there are cold packs of which nobody knows what is in them, for no segment lists them.
    pub(crate) fn lacks_cold(&self) -> bool {
        self.lacks_cold
    }

    /// Whether gc condemned a pack.
    pub(crate) fn is_condemned(&self, pack: &PackId) -> bool {
        self.condemned.contains(pack)
    }

    /// Whether what a segment of the repository says is in it.
    pub(crate) fn has_segment(&self, id: &SegmentId) -> bool {
        self.segments.iter().any(|segment| segment.sources.contains(id))
    }

    /// Whether a pack is known to be damaged.
    pub(crate) fn is_damaged(&self, pack: &PackId) -> bool {
        // Most repositories have none.
        !self.damaged.is_empty() && self.damaged.contains(pack)
    }

    /// From now on a pack is known to be damaged; whether it was not before.
    pub(crate) fn set_damaged(&mut self, pack: PackId) -> bool {
        self.is_whole = false;
        Arc::make_mut(&mut self.damaged).insert(pack)
    }

    /// From now on a pack is not known to be damaged any more.
    pub(crate) fn set_intact(&mut self, pack: &PackId) {
        Arc::make_mut(&mut self.damaged).remove(pack);
    }

    /// Notes that every chunk of this archive was found in this index: the next backup of `job` need not look for the
    /// archive, nor look the chunks up again while no pack is lost.
    pub(crate) fn note_complete(&self, job: &[u8; 32], name: &str, fingerprint: &[u8; 32]) {
        let mut packs: Vec<[u8; 32]> = self.packs().collect();
        packs.sort_unstable();
        self.cache.note_complete(job, name, fingerprint, &packs);
    }

    /// The archive that was noted last for `job`, if it is among `names`: its name and fingerprint.
    pub(crate) fn noted<'n>(
        &self,
        job: &[u8; 32],
        names: &'n [String],
    ) -> Option<(&'n String, [u8; 32])> {
        let noted = self.cache.complete(job)?;
        self.cache.name_of(&noted, names).map(|name| (name, noted.fingerprint))
    }

    /// Whether this archive was noted, and every pack that there was then is still there.
    pub(crate) fn is_complete(&self, job: &[u8; 32], fingerprint: &[u8; 32]) -> bool {
        let packs: HashSet<[u8; 32]> = self.packs().collect();
        let noted = self.cache.complete(job).filter(|noted| noted.fingerprint == *fingerprint);
        noted.is_some_and(|noted| noted.packs.iter().all(|pack| packs.contains(pack)))
    }

    /// Hashes of the rows of the packs that the index covers and that may be built on: all were in the listing when it was
    /// opened, each in its length, or were written since.
    fn packs(&self) -> impl Iterator<Item = [u8; 32]> {
        let packs = self.segments.iter().flat_map(|segment| segment::packs(segment));
        let packs = packs.filter(|pack| self.may_be_built_on(&pack.id));
        packs.map(|pack| *blake3::hash(&pack.encode()).as_bytes())
    }

    /// The tables of every segment, in the order that [`Location::record`] counts.
    pub(crate) fn tables(&self) -> impl Iterator<Item = Tables<'_>> {
        self.segments.iter().map(|segment| segment.tables())
    }
}

/// What came of loading segments, besides what the index knows now.
#[derive(Default)]
struct Loaded {
    /// Packs of which they list what is not so.
    otherwise: HashSet<PackId>,
    /// Segments that were listed a moment ago.
    gone: Vec<Error>,
}

/// Reads, opens and checks a segment of the repository. Its name is looked at first: a damaged byte of its version makes it
/// no segment of a newer garret, which would have to be left alone.
pub(crate) fn read_segment(source: &IndexSource<'_>, id: SegmentId) -> Result<Rows> {
    let key = Key::Index(id);
    let bytes = source.packs.store.get_whole(&key, SEGMENT_LEN_MAX)?;
    if blake3::hash(&bytes) != *id.as_bytes() {
        return Err(Error::misnamed(&key.to_string()));
    }
    envelope::open(source.metadata, (&key, Kind::Index), &bytes, |tables| {
        Ok(Rows::from_tables(&Tables::decode(tables, source.packs.group_len_max)?))
    })
}

/// Seals and stores a segment of sorted rows, when what it refers to is durable.
pub(crate) fn store_segment(
    store: &dyn Store,
    metadata: &Sealer,
    rows: &Rows,
) -> Result<SegmentId> {
    let bytes = envelope::seal(metadata, Kind::Index, rows.encode())?;
    let id = SegmentId::from_bytes(*blake3::hash(&bytes).as_bytes());
    store.sync()?;
    store.put(&Key::Index(id), &[&bytes])?;
    Ok(id)
}

#[cfg(test)]
mod tests;
