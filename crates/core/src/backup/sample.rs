//! The sample that every backup takes of what is stored already: new archives are built on that, so what has rotted is found
//! by use, before anybody needs it.
//!
//! In: the index. Out: the packs that are damaged, recorded in the repository and known to the index. Promises: they are
//! known before anything is admitted, so nothing is built on them; it reads a small share, of bounded size.

use garret_format::PackId;
use garret_format::index::{GroupRow, PackRow};
use garret_format::pack::Footer;

use crate::error::{Error, Result};
use crate::keys::random;
use crate::objects::damage::{is_damage, record};
use crate::objects::group::WHOLE;
use crate::objects::index::Index;
use crate::objects::pack::listed;
use crate::pipeline::with_threads;
use crate::progress::{Problem, Progress};
use crate::read::groups::{Groups, Wanted};
use crate::repository::Repository;
use crate::store::Key;

/// One group in so many is read: a repository is gone through in some years of nights, an often used one sooner.
const SHARE: u64 = 1000;
/// Fewest groups that are read: 2 ms of one core each at most, 16 seeks of a disk.
const GROUPS_MIN: u64 = 16;
/// Most groups: a second of a slow disk.
const GROUPS_MAX: u64 = 128;
/// Bytes in the store for each of them, on an average: more than a group has before it is compacted. Where those that are
/// drawn are longer, fewer are read, so that a sample takes 8 to 64 MiB at most, and what one group has.
const GROUP_BYTES: u64 = 512 << 10;

/// Reads some groups, drawn at random, and takes out of `index` what is in packs that do not give them back.
pub(super) fn take(
    repository: &Repository,
    index: &mut Index,
    threads: usize,
    progress: &dyn Progress,
) -> Result<()> {
    let groups = repository.chunks().groups().clone();
    let store = repository.store();
    let places = draw(index, |pack| store.is_cold(&Key::Pack(*pack)))?;
    let read = with_threads(threads, groups.in_flight(), |threads| {
        let wanted = places.iter().map(|&(pack, group)| Wanted { pack, group, len: WHOLE, by: () });
        let read = groups.each_read(wanted.collect(), threads, |groups, wanted, bytes| {
            let Wanted { pack, group, .. } = wanted;
            let opened = groups.packs().body(&pack, &group, bytes);
            opened.err().and_then(|_| Some((pack.id, again(groups, &pack, &group)?)))
        });
        read.collect::<Result<Vec<Option<(PackId, Finding)>>>>()
    })?;
    for (pack, finding) in read.into_iter().flatten() {
        if !index.set_damaged(pack) {
            continue;
        }
        let mut problem = Problem::from(&finding.error);
        if !finding.is_damage {
            problem.text.push_str("; the index says of it what is not so");
        }
        problem
            .text
            .push_str("; what this pack should hold is stored again where it is still there");
        progress.problem(&problem);
        if finding.is_damage {
            let metadata = repository.metadata();
            record(repository.store(), metadata, pack, false, &finding.error, progress);
        }
    }
    Ok(())
}

/// What is wrong with a group.
struct Finding {
    error: Error,
    /// Whether the pack is damaged, and not the index.
    is_damage: bool,
}

/// Reads a group a second time: storage and memory err too. Where its groups are is asked of the pack itself, for a wrong
/// index is no damage of the pack.
fn again(groups: &Groups, pack: &PackRow, group: &GroupRow) -> Option<Finding> {
    let packs = groups.packs();
    let error = packs.body(pack, group, None).err().filter(is_damage)?;
    let is_listed = |(row, footer): (PackRow, Footer)| {
        let here = |(row, _): (GroupRow, _)| {
            (row.offset, row.sealed_len) == (group.offset, group.sealed_len)
        };
        row.salt == pack.salt && listed(&footer).any(here)
    };
    let is_damage = packs.footer(pack.id, u64::from(pack.len)).map_or(true, is_listed);
    Some(Finding { error, is_damage })
}

/// Draws groups of packs that are not known to be damaged, nor cold; all there are, if they are few and short.
fn draw(index: &Index, is_cold: impl Fn(&PackId) -> bool) -> Result<Vec<(PackRow, GroupRow)>> {
    let counts: Vec<u64> = index.tables().map(|tables| tables.counts().groups.into()).collect();
    let total: u64 = counts.iter().sum();
    let mut places = Vec::new();
    let wanted = (total / SHARE).clamp(GROUPS_MIN, GROUPS_MAX);
    let mut room = wanted * GROUP_BYTES;
    // Of few each comes once, and any may be the first: there may not be room for all.
    let first = u64::from_le_bytes(random()?);
    for number in 0..wanted.min(total) {
        let drawn = match total > GROUPS_MIN {
            true => u64::from_le_bytes(random()?),
            false => (first % total).saturating_add(number),
        };
        let mut at = drawn % total;
        let found = index.tables().zip(&counts).find_map(|(tables, count)| match at < *count {
            true => {
                let group = tables.group(at as u32)?;
                Some((tables.pack(group.pack)?, group))
            }
            false => {
                at -= count;
                None
            }
        });
        let may_be_read =
            |(pack, _): &(PackRow, GroupRow)| index.may_be_built_on(&pack.id) && !is_cold(&pack.id);
        let Some((pack, group)) = found.filter(may_be_read) else { continue };
        places.push((pack, group));
        match room.checked_sub(u64::from(group.sealed_len)) {
            Some(left) => room = left,
            None => break,
        }
    }
    Ok(places)
}
