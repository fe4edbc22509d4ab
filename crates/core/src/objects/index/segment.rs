//! One segment of the client's own copy of the index: sorted tables, and a filter that knows most absent chunks.
//!
//! The bytes lie in a file that is memory-mapped, or in memory when there is no place for files. docs/format.md, "Local
//! index", gives the layout. The file is made by [`write`], under a temporary name, and never changes.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::iter::Peekable;

use garret_format::index::{COPIES_MAX, Counts, GroupRow, PackRow, Record, Tables, first_eight};
use garret_format::object::Kind;
use garret_format::wire::{DecodeErrorKind, Reader};
use garret_format::{ChunkId, DecodeError, RepositoryId, SegmentId};
use memmap2::Mmap;
use xorf::{BinaryFuse8, Descriptor, Filter};

use crate::limits::FILTER_KEYS;

/// Most partitions of a filter, as a power of two: 2^16 times `FILTER_KEYS` chunks are 500 TiB.
const PARTITION_BITS_MAX: u32 = 16;

/// Where the bytes of a segment are.
enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

/// An open segment.
pub(crate) struct Segment {
    bytes: Bytes,
    /// Where the tables start in `bytes`.
    tables_at: usize,
    /// The segments of the repository that went into it; none if it was made from footers of packs.
    pub(crate) sources: Vec<SegmentId>,
    filters: Vec<Option<BinaryFuse8>>,
    /// The name of the file, if there is one.
    pub(crate) name: Option<String>,
}

impl Segment {
    /// Opens the bytes that [`write`] made.
    pub(crate) fn from_bytes(
        bytes: Vec<u8>,
        repository: RepositoryId,
    ) -> Result<Self, DecodeError> {
        Self::parse(Bytes::Owned(bytes), repository, None)
    }

    /// Maps a file that [`write`] made, called `name`: a regular file of this user's that nobody else can write to.
    pub(crate) fn open(file: &File, name: &str, repository: RepositoryId) -> io::Result<Self> {
        // SAFETY: the caller looked at the open file: it is regular, belongs to this user, and nobody else may write to it or
        // truncate it. This program wrote it under another name, and never writes to it again. Who can write to the directory
        // can give its name to another file, which leaves this one, and the mapping, as it is.
        #[expect(unsafe_code, reason = "the only mapping; pread would cost a call per lookup")]
        let map = unsafe { Mmap::map(file)? };
        Self::parse(Bytes::Mapped(map), repository, Some(name.to_owned())).map_err(io::Error::other)
    }

    fn parse(
        bytes: Bytes,
        repository: RepositoryId,
        name: Option<String>,
    ) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes.get(), "local index");
        Kind::LocalIndex.expect(&mut reader)?;
        let start = reader.clone();
        if RepositoryId::from_bytes(reader.array()?) != repository {
            return Err(start.error(DecodeErrorKind::OutOfRange));
        }
        let source_count = reader.count(SegmentId::LEN)?;
        let sources = (0..source_count)
            .map(|_| reader.array().map(SegmentId::from_bytes))
            .collect::<Result<Vec<_>, _>>()?;
        let bits = reader.u32()?;
        if bits > PARTITION_BITS_MAX {
            return Err(start.error(DecodeErrorKind::OutOfRange));
        }
        let tables_at = reader.offset() as usize;
        let (_, filters) = Tables::open(reader.take(reader.left())?)?;
        let mut reader = Reader::new(filters, "local index filter");
        let filters =
            (0..1 << bits).map(|_| read_filter(&mut reader)).collect::<Result<Vec<_>, _>>()?;
        reader.finish()?;
        Ok(Segment { bytes, tables_at, sources, filters, name })
    }

    pub(crate) fn tables(&self) -> Tables<'_> {
        let bytes = self.bytes.get().get(self.tables_at..).unwrap_or_default();
        let (tables, _) =
            Tables::open(bytes).expect("the tables opened when the segment was parsed");
        tables
    }

    /// The records of a chunk and their places in the sorted order.
    pub(crate) fn copies(&self, id: &ChunkId) -> impl Iterator<Item = (u64, Record)> {
        let key = first_eight(id.as_bytes());
        let partition = partition(key, self.filters.len().ilog2());
        let filter = self.filters.get(partition).and_then(Option::as_ref);
        let tables = filter.filter(|filter| filter.contains(&key)).map(|_| self.tables());
        tables.into_iter().flat_map(move |tables| tables.copies(id))
    }
}

/// Which partition a key falls into: its first `bits` bits.
fn partition(key: u64, bits: u32) -> usize {
    key.checked_shr(u64::BITS - bits).unwrap_or(0) as usize
}

fn read_filter(reader: &mut Reader<'_>) -> Result<Option<BinaryFuse8>, DecodeError> {
    let start = reader.clone();
    let descriptor = Descriptor {
        seed: reader.u64()?,
        segment_length: reader.u32()?,
        segment_length_mask: reader.u32()?,
        segment_count_length: reader.u32()?,
    };
    let len = reader.count(1)?;
    let fingerprints = reader.take(len)?;
    if len == 0 {
        return Ok(None);
    }
    // A lookup touches fingerprints below segment_count_length + 2 * segment_length when these hold.
    let sane = descriptor.segment_length.is_power_of_two()
        && descriptor.segment_length_mask == descriptor.segment_length - 1
        && descriptor.segment_count_length > 0
        && descriptor.segment_count_length.is_multiple_of(descriptor.segment_length)
        && u64::from(descriptor.segment_count_length) + 2 * u64::from(descriptor.segment_length)
            <= len as u64;
    match sane {
        true => Ok(Some(BinaryFuse8 { descriptor, fingerprints: fingerprints.into() })),
        false => Err(start.error(DecodeErrorKind::OutOfRange)),
    }
}

/// Writes the segment that holds everything in `inputs`, but of each chunk [`COPIES_MAX`] records at most.
pub(crate) fn write(
    out: &mut (impl Write + Seek),
    repository: RepositoryId,
    sources: &[SegmentId],
    inputs: &[Tables<'_>],
) -> io::Result<()> {
    let total: u64 = inputs.iter().map(|tables| tables.counts().chunks).sum();
    let bits =
        total.div_ceil(FILTER_KEYS).max(1).next_power_of_two().ilog2().min(PARTITION_BITS_MAX);
    out.write_all(&Kind::LocalIndex.header())?;
    out.write_all(repository.as_bytes())?;
    out.write_all(&(sources.len() as u32).to_le_bytes())?;
    for source in sources {
        out.write_all(source.as_bytes())?;
    }
    out.write_all(&bits.to_le_bytes())?;
    let counts_at = out.stream_position()?;
    let mut counts = write_rows(out, inputs)?;
    let mut filters = FilterWriter { bits, current: 0, keys: Vec::new(), encoded: Vec::new() };
    let mut merge = Merge::new(inputs);
    while let Some(record) = merge.next() {
        out.write_all(&record.encode())?;
        filters.push(first_eight(record.id.as_bytes()))?;
        counts.chunks += 1;
    }
    out.write_all(&filters.finish()?)?;
    out.seek(SeekFrom::Start(counts_at))?;
    out.write_all(&counts.encode())?;
    out.flush()
}

/// Writes counts, pack rows and group rows of all inputs behind each other.
fn write_rows(out: &mut impl Write, inputs: &[Tables<'_>]) -> io::Result<Counts> {
    let mut counts = Counts::default();
    out.write_all(&counts.encode())?;
    for pack in inputs.iter().flat_map(Tables::packs) {
        out.write_all(&pack.encode())?;
    }
    for tables in inputs {
        for group in tables.groups() {
            out.write_all(&GroupRow { pack: counts.packs + group.pack, ..group }.encode())?;
        }
        counts.packs += tables.counts().packs;
        counts.groups += tables.counts().groups;
    }
    Ok(counts)
}

/// The records of one table, and what is added to its group rows.
struct MergeInput<'a> {
    records: Peekable<Box<dyn Iterator<Item = Record> + 'a>>,
    first_group: u32,
}

/// The records of several tables in the order of their ids, and of those of one id in that of the inputs; group rows
/// renumbered.
struct Merge<'a> {
    inputs: Vec<MergeInput<'a>>,
    /// The last id, and how many records of it were given.
    last: Option<(ChunkId, usize)>,
}

impl<'a> Merge<'a> {
    fn new(inputs: &'a [Tables<'a>]) -> Self {
        let mut first_group = 0;
        let inputs = inputs.iter().map(|tables| {
            let records: Box<dyn Iterator<Item = Record>> = Box::new(tables.records());
            let input = MergeInput { records: records.peekable(), first_group };
            first_group += tables.counts().groups;
            input
        });
        Merge { inputs: inputs.collect(), last: None }
    }

    fn next(&mut self) -> Option<Record> {
        loop {
            let heads = self
                .inputs
                .iter_mut()
                .enumerate()
                .filter_map(|(number, input)| Some((input.records.peek()?.id, number)));
            let (_, number) = heads.min()?;
            let MergeInput { records, first_group } = self.inputs.get_mut(number)?;
            let record = records.next()?;
            let count = match self.last {
                Some((id, count)) if id == record.id => count + 1,
                _ => 1,
            };
            self.last = Some((record.id, count));
            if count <= COPIES_MAX {
                return Some(Record { group: *first_group + record.group, ..record });
            }
        }
    }
}

/// Makes the filter of one partition after the other, as the sorted keys come.
struct FilterWriter {
    bits: u32,
    current: usize,
    keys: Vec<u64>,
    encoded: Vec<u8>,
}

impl FilterWriter {
    fn push(&mut self, key: u64) -> io::Result<()> {
        while self.current < partition(key, self.bits) {
            self.close()?;
        }
        if self.keys.last() != Some(&key) {
            self.keys.push(key);
        }
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        let none = Descriptor {
            seed: 0,
            segment_length: 0,
            segment_length_mask: 0,
            segment_count_length: 0,
        };
        let (descriptor, fingerprints) = if self.keys.is_empty() {
            (none, Box::default())
        } else {
            let filter = BinaryFuse8::try_from(&self.keys).map_err(io::Error::other)?;
            (filter.descriptor, filter.fingerprints)
        };
        self.encoded.extend(descriptor.seed.to_le_bytes());
        self.encoded.extend(descriptor.segment_length.to_le_bytes());
        self.encoded.extend(descriptor.segment_length_mask.to_le_bytes());
        self.encoded.extend(descriptor.segment_count_length.to_le_bytes());
        self.encoded.extend((fingerprints.len() as u32).to_le_bytes());
        self.encoded.extend_from_slice(&fingerprints);
        self.keys.clear();
        self.current += 1;
        Ok(())
    }

    fn finish(mut self) -> io::Result<Vec<u8>> {
        while self.current < 1 << self.bits {
            self.close()?;
        }
        Ok(self.encoded)
    }
}

/// The rows of the pack table, for whoever asks which packs a segment covers.
pub(crate) fn packs(segment: &Segment) -> Vec<PackRow> {
    segment.tables().packs().collect()
}
