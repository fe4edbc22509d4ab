//! Stations that are not public, for the benchmarks to measure by themselves.
//!
//! In: sizes and bytes made by a benchmark. Out: the station's own work and nothing around it. Promises nothing to anybody
//! else: this is no part of the library's interface.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use garret_format::condemned::Condemned;
use garret_format::config::Cipher;
use garret_format::index::{GroupRow, PackRow, Record, SEGMENT_CHUNKS_MAX};
use garret_format::pack::PackKind;
use garret_format::recipe::CutterKind;
use garret_format::{ChunkId, PackId, RepositoryId, SegmentId};

use crate::error::{Error, Result};
use crate::keys::chunk::ChunkHasher;
use crate::keys::seal::{BoxKind, Nonce, Sealer};
use crate::keys::{Keys, MasterKey, Purpose};
use crate::objects::codec::Compression;
use crate::objects::group::{ChunkBytes, GroupBuilder, SharedBytes};
use crate::objects::index::{Cache, Index, IndexSource, Input, Inventory, Rows};
use crate::objects::pack::{PackBuilder, PackPlan, PackReader};
use crate::objects::recipe::{NodeStore, RecipeWriter};
use crate::pipeline::with_threads;
use crate::progress::Silent;
use crate::store::{Key, MemoryStore, Store};
use crate::write::{ChunkTarget, write_chunks};

const REPOSITORY: RepositoryId = RepositoryId::from_bytes([7; 32]);
/// What the copy is authenticated with.
const KEY: [u8; 32] = [8; 32];
const GROUP_LEN: u32 = 1 << 20;
const CHUNK_LEN: u32 = 64 << 10;
/// Chunks of the usual length in a group, and groups in a pack.
const GROUP_CHUNKS: u64 = 16;
const PACK_GROUPS: u64 = 32;
/// Chunks in a segment: whole packs.
const SEGMENT_LEN: u64 = SEGMENT_CHUNKS_MAX as u64;

/// The id of chunk number `n` of a synthetic repository.
pub fn chunk_id(n: u64) -> ChunkId {
    ChunkId::from_bytes(numbered(b"chunk", n))
}

/// Seals and opens boxes as a repository with or without keys does.
pub struct Boxes {
    sealer: Sealer,
    nonce: Nonce,
}

impl Boxes {
    /// With a key for a cipher, or none.
    ///
    /// # Errors
    /// That there is no memory, or no randomness, for a key.
    pub fn new(cipher: Option<Cipher>) -> Result<Self> {
        let keys = match cipher {
            Some(cipher) => Keys::derive(&MasterKey::random()?, cipher)?,
            None => Keys::none(),
        };
        let sealer = Sealer::new(REPOSITORY, Purpose::Data, &keys);
        Ok(Boxes { sealer, nonce: Nonce::counted(&[2; 16], 0) })
    }

    /// Seals in place: `bytes` grow by the tag.
    pub fn seal(&self, bytes: &mut Vec<u8>) {
        self.sealer.seal(BoxKind::GroupBody, &self.nonce, &[], bytes);
    }

    /// Opens in place; whether the box was sound.
    pub fn open(&self, bytes: &mut Vec<u8>) -> bool {
        self.sealer.open(BoxKind::GroupBody, &self.nonce, &[], bytes).is_some()
    }

    /// The way of a pack's groups, uncompressed and sealed one after the other, into a store in memory; gives its length.
    ///
    /// # Errors
    /// None but for want of random numbers.
    pub fn write_pack(&self, chunks: &[&[u8]]) -> Result<u64> {
        let mut plan = PackPlan::new(PackKind::Data, u32::MAX)?;
        let mut builder: Option<PackBuilder> = None;
        let mut groups = GroupBuilder::new(GROUP_LEN);
        let numbered = chunks.iter().zip(0..);
        let mut full: Vec<_> = numbered
            .filter_map(|(chunk, n)| groups.push(chunk_id(n), ChunkBytes::Here(chunk)))
            .collect();
        full.extend(groups.finish());
        for group in full {
            let group = group.join().compress(Compression::None)?;
            let place = plan.place(&group.frame)?;
            let sealed = group.seal(&self.sealer, place);
            builder = Some(match builder {
                None => PackBuilder::begin(self.sealer.clone(), sealed),
                Some(mut builder) => {
                    drop(builder.push(sealed));
                    builder
                }
            });
        }
        let Some(pack) = builder.map(PackBuilder::finish) else { return Ok(0) };
        let parts: Vec<&[u8]> = pack.parts.iter().map(Vec::as_slice).collect();
        MemoryStore::new().put(&Key::Pack(pack.row.id), &parts)?;
        Ok(pack.row.len.into())
    }
}

impl std::fmt::Debug for Boxes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Boxes")
    }
}

/// The way of new chunks into packs where jobs of workers only wait, as long as is known of theirs: what is left is what is
/// serial, and what threads cost. A group has 16 chunks, as it does of 64 KiB.
#[derive(Clone, Copy, Debug)]
pub struct StubbedWriting {
    /// Threads that wait.
    pub workers: usize,
    /// How long one of them has to do with a group: reading, cutting, naming, compressing, sealing.
    pub group_takes: Duration,
    /// Groups of a pack. How long that takes is the store's.
    pub pack_groups: u32,
    /// Groups in all.
    pub group_count: u64,
}

/// Bytes of a chunk there, and chunks of a window, as those of 64 KiB in two megabytes.
const STUB_LEN: usize = 64;
const STUB_WINDOW_CHUNKS: u64 = 32;

/// A window whose bytes are there when somebody has waited for them.
struct StubWindow {
    bytes: [u8; STUB_LEN * STUB_WINDOW_CHUNKS as usize],
    takes: Duration,
}

impl AsRef<[u8]> for StubWindow {
    fn as_ref(&self) -> &[u8] {
        std::thread::sleep(self.takes);
        &self.bytes
    }
}

/// Nodes of recipes are named, as always, and go nowhere.
struct StubNodes(ChunkHasher);

impl NodeStore for StubNodes {
    fn store_node(&mut self, bytes: &[u8]) -> Result<ChunkId> {
        Ok(self.0.hash(bytes))
    }
}

impl StubbedWriting {
    /// Writes all of it.
    ///
    /// # Errors
    /// The store's.
    pub fn run(&self, store: &dyn Store) -> Result<()> {
        let keys = Keys::none();
        let data = Sealer::new(REPOSITORY, Purpose::Data, &keys);
        let metadata = Sealer::new(REPOSITORY, Purpose::Metadata, &keys);
        let (hasher, mut nodes) = (ChunkHasher::new(&keys), StubNodes(ChunkHasher::new(&keys)));
        let group_len = STUB_LEN as u32 * GROUP_CHUNKS as u32;
        let target = ChunkTarget {
            store,
            data: &data,
            metadata: &metadata,
            hasher: &hasher,
            index: &mut Index::empty(REPOSITORY),
            group_len,
            pack_len: group_len * self.pack_groups,
            log: None,
        };
        let mut recipe = RecipeWriter::new(CutterKind::Page);
        with_threads(self.workers, 1, |threads| {
            write_chunks(target, Compression::None, threads, |writer| {
                for window in 0..self.group_count * GROUP_CHUNKS / STUB_WINDOW_CHUNKS {
                    let bytes = [0; STUB_LEN * STUB_WINDOW_CHUNKS as usize];
                    let shared: SharedBytes =
                        Arc::new(StubWindow { bytes, takes: self.group_takes });
                    for n in 0..STUB_WINDOW_CHUNKS {
                        let id = chunk_id(window * STUB_WINDOW_CHUNKS + n);
                        let start = n as usize * STUB_LEN;
                        let place = start..start + STUB_LEN;
                        writer.admit(id, ChunkBytes::InWindow(&shared, place))?;
                        recipe.chunk(id, STUB_LEN as u32, &mut nodes)?;
                    }
                }
                Ok(())
            })
        })?;
        Ok(())
    }
}

/// A repository of which there is nothing but names and the client's copy of its index.
#[derive(Debug)]
pub struct SyntheticIndex {
    directory: PathBuf,
    store: MemoryStore,
}

/// A [`SyntheticIndex`] that was opened.
pub struct OpenIndex(Index);

impl SyntheticIndex {
    /// A repository of `chunk_count` chunks of 64 KiB whose copy was made below `directory` before.
    ///
    /// # Errors
    /// None.
    pub fn existing(directory: &Path, chunk_count: u64) -> Result<Self> {
        let store = MemoryStore::new();
        for number in 0..chunk_count.div_ceil(GROUP_CHUNKS * PACK_GROUPS) {
            store.put(&Key::Pack(pack_id(number)), &[])?;
        }
        for source in sources(chunk_count) {
            store.put(&Key::Index(source), &[])?;
        }
        Ok(SyntheticIndex { directory: directory.to_owned(), store })
    }

    /// Makes the copy too.
    ///
    /// # Errors
    /// What writing to the directory gives.
    pub fn create(directory: &Path, chunk_count: u64) -> Result<Self> {
        let all = rows(0, chunk_count);
        let tables = all.encode();
        let input = Input::of_rows(&all, &tables)
            .map_err(|error| Error::decode("synthetic tables", 0, error))?;
        let cache = Cache::in_directory(directory, REPOSITORY, Some(&KEY));
        drop(cache.create(REPOSITORY, &sources(chunk_count), &[input])?);
        Self::existing(directory, chunk_count)
    }

    /// Opens the index as every command does, from the listing and the copy.
    ///
    /// # Errors
    /// None, unless somebody else changes the copy.
    pub fn open(&self) -> Result<OpenIndex> {
        let sealer = Sealer::new(REPOSITORY, Purpose::Metadata, &Keys::none());
        let hasher = ChunkHasher::new(&Keys::none());
        let packs = PackReader { store: &self.store, sealer: &sealer, group_len_max: GROUP_LEN };
        let source =
            IndexSource { packs, metadata: &sealer, hasher: &hasher, repository: REPOSITORY };
        let cache = Cache::in_directory(&self.directory, REPOSITORY, Some(&KEY));
        let inventory = Inventory::list(source.packs.store)?;
        let opened = Index::open(&source, cache, &Condemned::default(), inventory, &Silent);
        opened.map(|(index, _)| OpenIndex(index))
    }
}

impl OpenIndex {
    /// Whether the repository has the chunk.
    pub fn contains(&self, id: &ChunkId) -> bool {
        self.0.contains(id)
    }
}

impl std::fmt::Debug for OpenIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenIndex")
    }
}

fn sources(chunk_count: u64) -> Vec<SegmentId> {
    let count = chunk_count.div_ceil(SEGMENT_LEN);
    (0..count).map(|n| SegmentId::from_bytes(numbered(b"segment", n))).collect()
}

fn pack_id(n: u64) -> PackId {
    PackId::from_bytes(numbered(b"pack", n))
}

fn numbered(what: &[u8], n: u64) -> [u8; 32] {
    *blake3::Hasher::new().update(what).update(&n.to_le_bytes()).finalize().as_bytes()
}

/// The rows of chunks `first` to `end`, as if they had been stored one behind the other.
fn rows(first: u64, end: u64) -> Rows {
    let mut rows = Rows::default();
    for n in first..end {
        let (group, pack) = (n / GROUP_CHUNKS, n / GROUP_CHUNKS / PACK_GROUPS);
        // A segment holds whole packs: a power of two of chunks.
        if n % (GROUP_CHUNKS * PACK_GROUPS) == 0 {
            let id = pack_id(pack);
            rows.packs.push(PackRow {
                id,
                salt: [1; 16],
                // As the store has it: of a pack in another length nothing counts as present.
                len: 0,
                kind: PackKind::Data,
            });
        }
        if n % GROUP_CHUNKS == 0 {
            let offset = (group % PACK_GROUPS) as u32 * GROUP_LEN;
            let pack = rows.packs.len() as u32 - 1;
            let (sealed_len, plain_len) = (GROUP_LEN, GROUP_LEN);
            rows.groups.push(GroupRow { pack, offset, sealed_len, plain_len, effort: 3 });
        }
        let offset = (n % GROUP_CHUNKS) as u32 * CHUNK_LEN;
        let group = rows.groups.len() as u32 - 1;
        rows.records.push(Record { id: chunk_id(n), group, offset, len: CHUNK_LEN });
    }
    rows
}
