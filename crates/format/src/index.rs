//! An index segment: which pack, group and place holds each of a sorted set of chunks. docs/format.md, "Index segment".
//!
//! The same tables stand sealed in the repository and, plain and followed by what finds a record, in the client's local copy,
//! where they are read in place: [`Tables`] is a view of bytes.

use crate::id::{ChunkId, PackId};
use crate::pack::{EFFORT_MAX, PackKind, SALT_LEN};
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// Chunks at which a segment in a repository is full: bounds what a client holds in memory to seal or open one (12 MiB).
pub const SEGMENT_CHUNKS_MAX: usize = 1 << 18;
/// Records that a segment has of one chunk at most: a forged segment must not make a lookup long. Far more than a repository
/// has, for which are listed is not chosen, and the one that is left out may be the intact one.
pub const COPIES_MAX: usize = 64;
/// Length in bytes of the counts in front of the tables.
pub const COUNTS_LEN: usize = 16;
/// Length in bytes of a row of the pack table.
pub const PACK_ROW_LEN: usize = 53;
/// Length in bytes of a row of the group table.
pub const GROUP_ROW_LEN: usize = 17;
/// Length in bytes of a chunk record.
pub const RECORD_LEN: usize = 44;

/// A row of the pack table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackRow {
    /// The pack.
    pub id: PackId,
    /// The salt of its nonces, so that a group can be opened without reading the pack's header.
    pub salt: [u8; SALT_LEN],
    /// Length of its file in bytes.
    pub len: u32,
    /// What is in it.
    pub kind: PackKind,
}

impl PackRow {
    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(PACK_ROW_LEN);
        writer.put(self.id.as_bytes()).put(&self.salt).u32(self.len);
        writer.u8(match self.kind {
            PackKind::Data => 0,
            PackKind::Structure => 1,
        });
        writer.into_bytes()
    }
}

/// A row of the group table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRow {
    /// Row of the pack table.
    pub pack: u32,
    /// Where the group's sealed frame header starts in the pack, in bytes.
    pub offset: u32,
    /// Length of the sealed group in bytes.
    pub sealed_len: u32,
    /// Length of all its chunks in bytes, listed or not; 0 if neither it nor the footer could be read.
    pub plain_len: u32,
    /// How much was tried to make it small, as the pack's footer says.
    pub effort: u8,
}

impl GroupRow {
    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(GROUP_ROW_LEN);
        writer
            .u32(self.pack)
            .u32(self.offset)
            .u32(self.sealed_len)
            .u32(self.plain_len)
            .u8(self.effort);
        writer.into_bytes()
    }
}

/// A chunk record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The chunk.
    pub id: ChunkId,
    /// Row of the group table.
    pub group: u32,
    /// Where the chunk starts in the uncompressed group, in bytes.
    pub offset: u32,
    /// Length of the chunk in bytes.
    pub len: u32,
}

impl Record {
    /// The record's bytes.
    pub fn encode(&self) -> [u8; RECORD_LEN] {
        let mut bytes = [0; RECORD_LEN];
        let (id, rest) = bytes.split_at_mut(ChunkId::LEN);
        id.copy_from_slice(self.id.as_bytes());
        for (field, value) in
            rest.as_chunks_mut::<4>().0.iter_mut().zip([self.group, self.offset, self.len])
        {
            *field = value.to_le_bytes();
        }
        bytes
    }

    /// Reads the record's bytes.
    pub fn decode(bytes: &[u8; RECORD_LEN]) -> Record {
        let (id, rest) =
            bytes.split_first_chunk::<{ ChunkId::LEN }>().expect("a record is longer than an id");
        let mut fields = rest.as_chunks::<4>().0.iter().map(|field| u32::from_le_bytes(*field));
        let mut field = || fields.next().expect("a record is an id and three numbers");
        Record { id: ChunkId::from_bytes(*id), group: field(), offset: field(), len: field() }
    }
}

/// The counts that say how long the tables are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows of the pack table.
    pub packs: u32,
    /// Rows of the group table.
    pub groups: u32,
    /// Chunk records.
    pub chunks: u64,
}

impl Counts {
    /// The bytes in front of the tables.
    pub fn encode(&self) -> [u8; COUNTS_LEN] {
        let mut writer = Writer::with_capacity(COUNTS_LEN);
        writer.u32(self.packs).u32(self.groups).u64(self.chunks);
        let mut bytes = [0; COUNTS_LEN];
        bytes.copy_from_slice(writer.as_bytes());
        bytes
    }

    /// Length in bytes of counts and tables; `None` beyond what any file can hold.
    pub fn tables_len(&self) -> Option<usize> {
        self.record_offset(self.chunks)
    }

    /// Where the record at `place` starts, in bytes from the counts on; `None` beyond what any file can hold.
    pub fn record_offset(&self, place: u64) -> Option<usize> {
        let packs = (self.packs as usize).checked_mul(PACK_ROW_LEN)?;
        let groups = (self.groups as usize).checked_mul(GROUP_ROW_LEN)?;
        let records = usize::try_from(place).ok()?.checked_mul(RECORD_LEN)?;
        COUNTS_LEN.checked_add(packs)?.checked_add(groups)?.checked_add(records)
    }
}

/// A view of encoded tables. Rows are checked when they are read, not all at the start, so that opening a large segment
/// costs nothing.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    packs: &'a [[u8; PACK_ROW_LEN]],
    groups: &'a [[u8; GROUP_ROW_LEN]],
    records: &'a [[u8; RECORD_LEN]],
}

impl<'a> Tables<'a> {
    /// A view of `bytes`, which begin with counts and tables; also what follows them.
    ///
    /// # Errors
    /// `Truncated` if the counts say more than there is.
    pub fn open(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let mut reader = Reader::new(bytes, "index segment");
        let start = reader.clone();
        let counts = Counts { packs: reader.u32()?, groups: reader.u32()?, chunks: reader.u64()? };
        match counts.tables_len() {
            Some(len) if len <= bytes.len() => {}
            _ => return Err(start.error(DecodeErrorKind::Truncated)),
        }
        let packs = reader.take(counts.packs as usize * PACK_ROW_LEN)?.as_chunks().0;
        let groups = reader.take(counts.groups as usize * GROUP_ROW_LEN)?.as_chunks().0;
        let records = reader.take(counts.chunks as usize * RECORD_LEN)?.as_chunks().0;
        Ok((Tables { packs, groups, records }, reader.take(reader.left())?))
    }

    /// A view of an opened segment from the repository, which is read once in full: order, references and lengths of every
    /// record are checked; groups are at most `group_len_max` bytes, and chunks lie within them.
    ///
    /// # Errors
    /// As of [`open`](Self::open); `TrailingBytes`; `OutOfRange` for records that are empty, out of order or more than
    /// [`COPIES_MAX`] of one id, for a kind of pack or an effort that there is not, for a group that is not within a pack
    /// or longer than `group_len_max`, and for a record of no group or that ends beyond its group.
    pub fn decode(bytes: &'a [u8], group_len_max: u32) -> Result<Self, DecodeError> {
        let (tables, rest) = Self::open(bytes)?;
        let fail = |kind| DecodeError { what: "index segment", offset: bytes.len() as u64, kind };
        if !rest.is_empty() {
            return Err(fail(DecodeErrorKind::TrailingBytes));
        }
        let place = |record| {
            let Record { id, group, .. } = Record::decode(record);
            (id, group)
        };
        let sorted = tables.records.windows(2).all(|pair| match pair {
            [a, b] => place(a) < place(b),
            _ => true,
        });
        let few = tables.records.windows(COPIES_MAX + 1).all(|run| match run {
            [first, .., last] => place(first).0 < place(last).0,
            _ => true,
        });
        let packs_known = tables.packs().count() == tables.packs.len();
        let groups_fit = tables.groups().all(|group| match tables.pack(group.pack) {
            Some(pack) => {
                u64::from(group.offset) + u64::from(group.sealed_len) <= u64::from(pack.len)
                    && group.plain_len <= group_len_max
                    && group.effort <= EFFORT_MAX
            }
            None => false,
        });
        let records_fit = tables.records().all(|record| {
            let end = u64::from(record.offset) + u64::from(record.len);
            let group = tables.group(record.group);
            record.len > 0 && group.is_some_and(|group| end <= u64::from(group.plain_len))
        });
        match sorted && few && packs_known && groups_fit && records_fit {
            true => Ok(tables),
            false => Err(fail(DecodeErrorKind::OutOfRange)),
        }
    }

    /// How long the tables are.
    pub fn counts(&self) -> Counts {
        Counts {
            packs: self.packs.len() as u32,
            groups: self.groups.len() as u32,
            chunks: self.records.len() as u64,
        }
    }

    /// A row of the pack table.
    pub fn pack(&self, row: u32) -> Option<PackRow> {
        let (id, rest) = self.packs.get(row as usize)?.split_first_chunk::<{ PackId::LEN }>()?;
        let (salt, len) = rest.split_first_chunk()?;
        let (len, kind) = len.split_first_chunk()?;
        let kind = match kind {
            [0] => PackKind::Data,
            [1] => PackKind::Structure,
            _ => return None,
        };
        Some(PackRow {
            id: PackId::from_bytes(*id),
            salt: *salt,
            len: u32::from_le_bytes(*len),
            kind,
        })
    }

    /// The pack table.
    pub fn packs(&self) -> impl Iterator<Item = PackRow> + '_ {
        (0..self.packs.len() as u32).filter_map(|row| self.pack(row))
    }

    /// A row of the group table.
    pub fn group(&self, row: u32) -> Option<GroupRow> {
        let row = self.groups.get(row as usize)?;
        let (fields, effort) = row.as_chunks::<4>();
        let mut fields = fields.iter().map(|field| u32::from_le_bytes(*field));
        Some(GroupRow {
            pack: fields.next()?,
            offset: fields.next()?,
            sealed_len: fields.next()?,
            plain_len: fields.next()?,
            effort: *effort.first()?,
        })
    }

    /// The group table.
    pub fn groups(&self) -> impl Iterator<Item = GroupRow> + '_ {
        (0..self.groups.len() as u32).filter_map(|row| self.group(row))
    }

    /// The record at `place`.
    pub fn record(&self, place: u64) -> Option<Record> {
        self.records.get(usize::try_from(place).ok()?).map(Record::decode)
    }

    /// The chunk records: in a segment of a repository sorted by id and, of one id, by group; in the local index by group.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.records.iter().map(Record::decode)
    }
}

/// Encodes a whole segment held in memory; for a repository `records` must be sorted by id and group, and be
/// [`COPIES_MAX`] of one id at most.
pub fn encode_segment(packs: &[PackRow], groups: &[GroupRow], records: &[Record]) -> Vec<u8> {
    let counts = Counts {
        packs: packs.len() as u32,
        groups: groups.len() as u32,
        chunks: records.len() as u64,
    };
    let mut writer = Writer::with_capacity(counts.tables_len().unwrap_or_default());
    writer.put(&counts.encode());
    for pack in packs {
        writer.put(&pack.encode());
    }
    for group in groups {
        writer.put(&group.encode());
    }
    for record in records {
        writer.put(&record.encode());
    }
    writer.into_bytes()
}
