//! One segment of the client's own copy of the index: tables whose records lie in the order of the packs, and the prefixes
//! that they are looked up by.
//!
//! The bytes lie in a file, or in memory when there is no place for files. docs/format.md, "Local index", gives the layout.
//! The file is made by [`write`], under a temporary name, and never changes. It is memory-mapped, but records that are looked
//! up are read by calls, some neighbours at once: so lookups hold no more in memory than the prefixes, whatever the index
//! weighs, and whoever looks up what was stored one behind the other, as a backup of the same image does, mostly has it.

use std::fs::File;
use std::io::{self, Write};
use std::iter::Peekable;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, OnceLock, PoisonError};

use garret_format::index::{COPIES_MAX, Counts, GroupRow, PackRow, RECORD_LEN, Record, Tables};
use garret_format::object::Kind;
use garret_format::wire::{DecodeErrorKind, Reader};
use garret_format::{ChunkId, DecodeError, RepositoryId, SegmentId};
use memmap2::Mmap;

use super::prefixes::{self, Prefix, Prefixes, prefix};
use super::writer::Rows;

/// Entries of one prefix up to which their records are looked at one after the other.
const LOOKS_MAX: usize = 4;
/// Records that are read at once: most of what reading one costs is the call.
const BLOCK_RECORDS: usize = 16;
/// Blocks that are kept: several threads look up, and what they look for lies in packs of several kinds.
const BLOCKS: usize = 16;

/// Where the bytes of a segment are.
enum Bytes {
    Mapped(Mmap, File),
    Owned(Vec<u8>),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map, _) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

/// An open segment.
pub(crate) struct Segment {
    bytes: Bytes,
    /// Where the tables start in `bytes`.
    tables_at: usize,
    /// Where the prefixes start in `bytes`; they go to its end.
    prefixes_at: usize,
    /// The segments of the repository that went into it; none if it was made from footers of packs.
    pub(crate) sources: Vec<SegmentId>,
    /// The name of the file, if there is one.
    pub(crate) name: Option<String>,
    /// Records that were read from a file; a block is kept at the place that its number gives.
    kept: [Mutex<Block>; BLOCKS],
    /// Why records could not be read, the first time.
    unread: OnceLock<io::Error>,
}

/// Neighbouring records.
#[derive(Default)]
struct Block {
    /// Which of the blocks of the segment it is, if there are records.
    number: usize,
    records: Vec<u8>,
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
    pub(crate) fn open(file: File, name: &str, repository: RepositoryId) -> io::Result<Self> {
        // SAFETY: the caller looked at the open file: it is regular, belongs to this user, and nobody else may write to it or
        // truncate it. This program wrote it under another name, and never writes to it again. Who can write to the directory
        // can give its name to another file, which leaves this one, and the mapping, as it is.
        #[expect(
            unsafe_code,
            reason = "the only mapping; pread would cost calls for each bisection"
        )]
        let map = unsafe { Mmap::map(&file)? };
        let bytes = Bytes::Mapped(map, file);
        Self::parse(bytes, repository, Some(name.to_owned())).map_err(io::Error::other)
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
        let tables_at = reader.offset() as usize;
        let (tables, rest) = Tables::open(reader.take(reader.left())?)?;
        Prefixes::open(rest, tables.counts().chunks as usize)?;
        let prefixes_at = bytes.get().len() - rest.len();
        let (kept, unread) = (Default::default(), OnceLock::new());
        Ok(Segment { bytes, tables_at, prefixes_at, sources, name, kept, unread })
    }

    pub(crate) fn tables(&self) -> Tables<'_> {
        let bytes = self.bytes.get().get(self.tables_at..).unwrap_or_default();
        let (tables, _) =
            Tables::open(bytes).expect("the tables opened when the segment was parsed");
        tables
    }

    fn prefixes(&self) -> Prefixes<'_> {
        let bytes = self.bytes.get().get(self.prefixes_at..).unwrap_or_default();
        let count = self.tables().counts().chunks as usize;
        Prefixes::open(bytes, count).expect("the prefixes opened when the segment was parsed")
    }

    /// The records of a chunk, [`COPIES_MAX`] at most, and their rows.
    pub(crate) fn copies(&self, id: &ChunkId) -> impl Iterator<Item = (u64, Record)> {
        let (prefixes, id) = (self.prefixes(), *id);
        let record = move |entry| {
            let row = prefixes.row(entry)?;
            Some((row, self.record(row)?))
        };
        let entries = prefixes.find(&id);
        // Of ids that begin alike by chance there are two or three. Of as many as somebody made up, the first is bisected
        // for.
        let (mut low, mut high) = (entries.start, entries.end);
        while high - low > LOOKS_MAX {
            let middle = low + (high - low) / 2;
            match record(middle) {
                Some((_, found)) if found.id < id => low = middle + 1,
                _ => high = middle,
            }
        }
        let records = (low..entries.end).filter_map(record);
        let copies = records
            .skip_while(move |(_, found)| found.id < id)
            .take_while(move |(_, found)| found.id == id)
            .take(COPIES_MAX);
        copies.map(|(row, found)| (row.into(), found))
    }

    /// The record of a row. `None` where it cannot be read, which [`unread`](Self::unread) tells of.
    fn record(&self, row: u32) -> Option<Record> {
        let Bytes::Mapped(_, file) = &self.bytes else {
            return self.tables().record(row.into());
        };
        let (block, within) = (row as usize / BLOCK_RECORDS, row as usize % BLOCK_RECORDS);
        let mut kept =
            self.kept.get(block % BLOCKS)?.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.number != block || kept.records.is_empty() {
            let (counts, first) = (self.tables().counts(), block * BLOCK_RECORDS);
            let count = BLOCK_RECORDS.min((counts.chunks as usize).checked_sub(first)?);
            let at = self.tables_at + counts.record_offset(first as u64)?;
            kept.number = block;
            kept.records.resize(count * RECORD_LEN, 0);
            if let Err(error) = file.read_exact_at(&mut kept.records, at as u64) {
                kept.records.clear();
                let _told = self.unread.set(error);
            }
        }
        kept.records.as_chunks().0.get(within).map(Record::decode)
    }

    /// Why records could not be read, if some could not: what is not found then may be there.
    pub(crate) fn unread(&self) -> Option<&io::Error> {
        self.unread.get()
    }
}

/// What goes into a segment: tables whose records lie in the order of the packs, and their order by id.
pub(crate) struct Input<'a> {
    tables: Tables<'a>,
    order: Order<'a>,
}

/// In which order records have to be taken, so that their ids, and the rows of one id, are sorted.
enum Order<'a> {
    /// As another segment says.
    Segment(Prefixes<'a>),
    Rows(Vec<(Prefix, u32)>),
}

impl<'a> Input<'a> {
    /// All of another segment.
    pub(crate) fn of_segment(segment: &'a Segment) -> Self {
        Input { tables: segment.tables(), order: Order::Segment(segment.prefixes()) }
    }

    /// These rows, of which `tables` is the encoded form; see [`Rows::in_pack_order`].
    pub(crate) fn of_rows(rows: &Rows, tables: &'a [u8]) -> Result<Self, DecodeError> {
        let (tables, _) = Tables::open(tables)?;
        let mut order: Vec<(&ChunkId, u32)> =
            rows.records.iter().zip(0..).map(|(record, row)| (&record.id, row)).collect();
        order.sort_unstable();
        let order = order.into_iter().map(|(id, row)| (prefix(id), row)).collect();
        Ok(Input { tables, order: Order::Rows(order) })
    }

    fn order(&self) -> Box<dyn Iterator<Item = (Prefix, u32)> + '_> {
        match &self.order {
            Order::Segment(prefixes) => Box::new(prefixes.entries()),
            Order::Rows(order) => Box::new(order.iter().copied()),
        }
    }
}

/// Writes the segment that holds everything in `inputs`.
pub(crate) fn write(
    out: &mut impl Write,
    repository: RepositoryId,
    sources: &[SegmentId],
    inputs: &[Input<'_>],
) -> io::Result<()> {
    out.write_all(&Kind::LocalIndex.header())?;
    out.write_all(repository.as_bytes())?;
    out.write_all(&(sources.len() as u32).to_le_bytes())?;
    for source in sources {
        out.write_all(source.as_bytes())?;
    }
    let count = write_tables(out, inputs)?;
    let any_order = inputs.iter().flat_map(Input::order).map(|(prefix, _)| prefix);
    prefixes::write(out, count as usize, any_order, Merge::new(inputs))?;
    out.flush()
}

/// Writes the rows of all inputs behind each other; how many records those are.
fn write_tables(out: &mut impl Write, inputs: &[Input<'_>]) -> io::Result<u32> {
    let tables = || inputs.iter().map(|input| &input.tables);
    let sum = |count: fn(Counts) -> u64| tables().map(|tables| count(tables.counts())).sum::<u64>();
    let [packs, groups, chunks] = [
        sum(|counts| counts.packs.into()),
        sum(|counts| counts.groups.into()),
        sum(|counts| counts.chunks),
    ]
    .map(|sum| {
        u32::try_from(sum).map_err(|_| io::Error::other("more chunks than four bytes number"))
    });
    let (packs, groups, chunks) = (packs?, groups?, chunks?);
    out.write_all(&Counts { packs, groups, chunks: chunks.into() }.encode())?;
    for pack in tables().flat_map(Tables::packs) {
        out.write_all(&pack.encode())?;
    }
    let mut first_pack = 0;
    for tables in tables() {
        for group in tables.groups() {
            out.write_all(&GroupRow { pack: first_pack + group.pack, ..group }.encode())?;
        }
        first_pack += tables.counts().packs;
    }
    let mut first_group = 0;
    for tables in tables() {
        for record in tables.records() {
            out.write_all(&Record { group: first_group + record.group, ..record }.encode())?;
        }
        first_group += tables.counts().groups;
    }
    Ok(chunks)
}

/// The prefixes of several inputs in the order of the ids, those of one id in that of the inputs; rows renumbered.
struct Merge<'a> {
    inputs: Vec<MergeInput<'a>>,
}

struct MergeInput<'a> {
    order: Peekable<Box<dyn Iterator<Item = (Prefix, u32)> + 'a>>,
    tables: Tables<'a>,
    /// What is added to its rows.
    first_row: u32,
}

impl MergeInput<'_> {
    /// The whole id of the next one.
    fn id(&mut self) -> Option<ChunkId> {
        let (_, row) = *self.order.peek()?;
        self.tables.record(row.into()).map(|record| record.id)
    }
}

impl<'a> Merge<'a> {
    fn new(inputs: &'a [Input<'a>]) -> Self {
        let mut first_row = 0;
        let inputs = inputs.iter().map(|input| {
            let order = input.order().peekable();
            let merged = MergeInput { order, tables: input.tables, first_row };
            first_row += input.tables.counts().chunks as u32;
            merged
        });
        Merge { inputs: inputs.collect() }
    }
}

impl Iterator for Merge<'_> {
    type Item = (Prefix, u32);

    fn next(&mut self) -> Option<(Prefix, u32)> {
        let mut next: Option<(Prefix, usize)> = None;
        for number in 0..self.inputs.len() {
            let Some((prefix, _)) = self.inputs.get_mut(number)?.order.peek().copied() else {
                continue;
            };
            let is_first = match next {
                None => true,
                // Ids that begin alike are compared as a whole: mostly they are the same.
                Some((least, of)) if prefix == least => {
                    self.inputs.get_mut(number)?.id() < self.inputs.get_mut(of)?.id()
                }
                Some((least, _)) => prefix < least,
            };
            if is_first {
                next = Some((prefix, number));
            }
        }
        let MergeInput { order, first_row, .. } = self.inputs.get_mut(next?.1)?;
        order.next().map(|(prefix, row)| (prefix, *first_row + row))
    }
}

/// The rows of the pack table, for whoever asks which packs a segment covers.
pub(crate) fn packs(segment: &Segment) -> Vec<PackRow> {
    segment.tables().packs().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPOSITORY: RepositoryId = RepositoryId::from_bytes([7; 32]);

    /// Whoever misses a chunk is not told that the repository lacks it.
    #[test]
    fn what_cannot_be_read_is_not_found_and_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.index");
        // More than are kept.
        let count = 2 * (BLOCKS * BLOCK_RECORDS) as u64;
        let ids: Vec<ChunkId> = (0..count)
            .map(|n| ChunkId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes()))
            .collect();
        let record = |id: &ChunkId| Record { id: *id, group: 0, offset: 0, len: 1 };
        let rows = Rows { records: ids.iter().map(record).collect(), ..Rows::default() };
        let tables = rows.encode();
        let mut out = File::create_new(&path).unwrap();
        let input = Input::of_rows(&rows, &tables).unwrap();
        write(&mut out, REPOSITORY, &[], &[input]).unwrap();
        let open = || File::open(&path).unwrap();
        let mut segment = Segment::open(open(), "0.index", REPOSITORY).unwrap();
        let found = |segment: &Segment| ids.iter().all(|id| segment.copies(id).count() == 1);
        assert!(found(&segment) && segment.unread().is_none());
        // A file that is open for writing only cannot be read.
        let Bytes::Mapped(_, file) = &mut segment.bytes else { panic!("it is mapped") };
        *file = File::options().write(true).open(&path).unwrap();
        let last = ids.last().unwrap();
        assert_eq!(segment.copies(last).count(), 1, "it was read with its neighbours");
        assert!(segment.unread().is_none());
        assert_eq!(segment.copies(&ids[0]).count(), 0);
        assert!(segment.unread().is_some());
        assert_eq!(segment.copies(&ChunkId::from_bytes([99; 32])).count(), 0);
    }
}
