//! Rows of the index on their way into a segment.

use std::collections::{HashMap, HashSet};

use garret_format::index::{
    COPIES_MAX, GroupRow, PackRow, Record, SEGMENT_CHUNKS_MAX, Tables, encode_segment,
};
use garret_format::pack::Footer;
use garret_format::{ChunkId, PackId};

use crate::objects::pack::listed;

/// The rows of one segment, in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pub(crate) packs: Vec<PackRow>,
    pub(crate) groups: Vec<GroupRow>,
    pub(crate) records: Vec<Record>,
}

impl Rows {
    /// Adds a pack. The records are not sorted any more.
    pub(crate) fn push(&mut self, pack: PackRow, footer: &Footer) {
        let pack_row = self.packs.len() as u32;
        self.packs.push(pack);
        for (row, chunks) in listed(footer) {
            let group = self.groups.len() as u32;
            self.groups.push(GroupRow { pack: pack_row, ..row });
            let mut at = 0;
            for (id, len) in chunks {
                self.records.push(Record { id: *id, group, offset: at, len: *len });
                at += len;
            }
        }
    }

    /// Adds all rows of another segment. The records are not sorted any more.
    pub(crate) fn append(&mut self, other: Rows) {
        let (packs, groups) = (self.packs.len() as u32, self.groups.len() as u32);
        self.packs.extend(other.packs);
        self.groups
            .extend(other.groups.iter().map(|row| GroupRow { pack: row.pack + packs, ..*row }));
        self.records
            .extend(other.records.iter().map(|row| Record { group: row.group + groups, ..*row }));
    }

    /// Sorts the records; of more than [`COPIES_MAX`] of a chunk the first stay, and of those in one group one.
    pub(crate) fn sorted(mut self) -> Self {
        self.records.sort_by_key(|record| (record.id, record.group));
        self.records.dedup_by_key(|record| (record.id, record.group));
        let mut last = None;
        self.records.retain(|record| {
            let count = match last {
                Some((id, count)) if id == record.id => count + 1,
                _ => 1,
            };
            last = Some((record.id, count));
            count <= COPIES_MAX
        });
        self
    }

    /// The records as they lie in the packs, so that neighbours of the local index are neighbours there.
    pub(super) fn in_pack_order(mut self) -> Self {
        self.records.sort_by_key(|record| (record.group, record.offset));
        self
    }

    pub(crate) fn from_tables(tables: &Tables<'_>) -> Self {
        Rows {
            packs: tables.packs().collect(),
            groups: tables.groups().collect(),
            records: tables.records().collect(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        encode_segment(&self.packs, &self.groups, &self.records)
    }

    /// Whether any of these copies of chunks is listed.
    pub(crate) fn lists_any(&self, copies: &HashSet<(ChunkId, PackId)>) -> bool {
        !copies.is_empty() && self.records.iter().any(|record| self.is_one_of(record, copies))
    }

    /// All but these copies of chunks.
    pub(crate) fn without(mut self, copies: &HashSet<(ChunkId, PackId)>) -> Self {
        let mut records = std::mem::take(&mut self.records);
        if !copies.is_empty() {
            records.retain(|record| !self.is_one_of(record, copies));
        }
        Rows { records, ..self }
    }

    fn is_one_of(&self, record: &Record, copies: &HashSet<(ChunkId, PackId)>) -> bool {
        let group = self.groups.get(record.group as usize);
        let pack = group.and_then(|group| self.packs.get(group.pack as usize));
        pack.is_some_and(|pack| copies.contains(&(record.id, pack.id)))
    }

    /// Only what lies in the packs that `keep` is true of.
    pub(crate) fn keep_packs(self, keep: impl Fn(&PackRow) -> bool) -> Self {
        if self.packs.iter().all(&keep) {
            return self;
        }
        let mut kept = Rows::default();
        let mut pack_rows = HashMap::new();
        for (row, pack) in self.packs.iter().enumerate().filter(|(_, pack)| keep(pack)) {
            pack_rows.insert(row as u32, kept.packs.len() as u32);
            kept.packs.push(*pack);
        }
        let mut group_rows = HashMap::new();
        for (row, group) in self.groups.iter().enumerate() {
            if let Some(pack) = pack_rows.get(&group.pack) {
                group_rows.insert(row as u32, kept.groups.len() as u32);
                kept.groups.push(GroupRow { pack: *pack, ..*group });
            }
        }
        kept.records.extend(self.records.iter().filter_map(|record| {
            Some(Record { group: *group_rows.get(&record.group)?, ..*record })
        }));
        kept
    }
}

/// Collects packs until a segment is full.
#[derive(Debug, Default)]
pub(crate) struct IndexWriter {
    rows: Rows,
}

impl IndexWriter {
    /// Adds a stored pack; gives the rows of a segment when it is full.
    pub(crate) fn push(&mut self, pack: PackRow, footer: &Footer) -> Option<Rows> {
        self.rows.push(pack, footer);
        if self.rows.records.len() >= SEGMENT_CHUNKS_MAX { self.finish() } else { None }
    }

    /// The rows of the last segment, if there are any.
    pub(crate) fn finish(&mut self) -> Option<Rows> {
        let rows = std::mem::take(&mut self.rows);
        (!rows.packs.is_empty()).then(|| rows.sorted())
    }
}
