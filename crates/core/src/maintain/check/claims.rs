//! What segments of the index say of packs, and whether that is so.
//!
//! In: rows of a segment, the footer of a pack. Out: the records that are right, or in how many the two differ.

use std::collections::HashSet;

use garret_format::index::PackRow;
use garret_format::pack::Footer;
use garret_format::{ChunkId, SegmentId};

use crate::objects::index::{Location, Rows};
use crate::objects::pack::listed;
use crate::read::chunks::Chunks;
use crate::store::Key;

/// What a segment of the index says of one pack.
pub(super) struct Claim {
    pub(super) segment: SegmentId,
    pub(super) pack: PackRow,
    pub(super) records: Vec<Listed>,
}

/// Where a chunk is in its pack: all that a record and the rows it refers to say of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Listed {
    pub(super) id: ChunkId,
    /// Where the sealed group starts in the pack, and its length, in bytes.
    pub(super) group: (u32, u32),
    /// Bytes of all chunks of the group. Whoever reads does without.
    pub(super) group_plain_len: u32,
    /// Where the chunk starts in the uncompressed group, and its length, in bytes.
    pub(super) place: (u32, u32),
}

/// What a segment says of each of its packs.
pub(super) fn claims(segment: SegmentId, rows: &Rows) -> Vec<Claim> {
    let claim = |pack: &PackRow| Claim { segment, pack: *pack, records: Vec::new() };
    let mut claims: Vec<Claim> = rows.packs.iter().map(claim).collect();
    for record in &rows.records {
        let Some(group) = rows.groups.get(record.group as usize) else { continue };
        if let Some(claim) = claims.get_mut(group.pack as usize) {
            let (group, group_plain_len) = ((group.offset, group.sealed_len), group.plain_len);
            let place = (record.offset, record.len);
            claim.records.push(Listed { id: record.id, group, group_plain_len, place });
        }
    }
    claims
}

/// The chunks of a footer.
pub(super) fn all(footer: &Footer) -> Vec<Listed> {
    let groups = listed(footer).flat_map(|(row, chunks)| {
        chunks.iter().scan(0, move |at: &mut u32, (id, len)| {
            let place = (*at, *len);
            *at = at.saturating_add(*len);
            let (group, group_plain_len) = ((row.offset, row.sealed_len), row.plain_len);
            Some(Listed { id: *id, group, group_plain_len, place })
        })
    });
    groups.collect()
}

/// The records of the index that lead to one of these chunks of the pack: more than one each if segments list it twice. And
/// how many of the chunks none leads to.
pub(super) fn sound(chunks: &Chunks, pack: &PackRow, there: &[Listed]) -> (Vec<(usize, u64)>, u64) {
    let mut unlisted = 0;
    let records = |listed: &Listed| -> Vec<(usize, u64)> {
        let is_right = |found: &Location| {
            let group = (found.group.offset, found.group.sealed_len);
            let place = (found.offset, found.len);
            found.pack == *pack && Listed { group, place, ..*listed } == *listed
        };
        let right = chunks.index().copies(&listed.id).filter(is_right);
        let right: Vec<_> = right.map(|found| found.record).collect();
        unlisted += u64::from(right.is_empty());
        right
    };
    let sound = there.iter().flat_map(records).collect();
    (sound, unlisted)
}

/// In what a segment of the index says something else of a pack than its footer. That it leaves out chunks is not wrong: a
/// gc lists one intact copy of a chunk, and that one's pack may be gone when no archive needed it. Nobody leaves out a
/// whole pack.
pub(super) fn mismatch(
    chunks: &Chunks,
    claim: Option<&Claim>,
    pack: &PackRow,
    there: &[Listed],
) -> Option<String> {
    let key = Key::Pack(pack.id);
    let Some(Claim { segment, pack: row, records }) = claim else {
        let lacks = |listed: &&Listed| chunks.index().find(&listed.id).is_none();
        let lacking = there.iter().filter(lacks).count();
        return (lacking > 0).then(|| format!("{key}: the index lacks {lacking} of its chunks"));
    };
    let segment = Key::Index(*segment);
    if row != pack {
        return Some(format!("{segment}: {key} has another length or salt than it says"));
    }
    let known: HashSet<&Listed> = there.iter().collect();
    let wrong = records.iter().filter(|record| !known.contains(record)).count();
    match wrong {
        0 => None,
        count => Some(format!("{segment}: does not agree with {key} about {count} chunks")),
    }
}
