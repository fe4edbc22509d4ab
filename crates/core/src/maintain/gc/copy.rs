//! Second station of gc: what is needed of packs that go, into new ones.
//!
//! In: the groups of which something is needed. Out: new packs, durable, listed by new segments; the packs that must stay,
//! and what of them could not be read.
//! Promises: every chunk is checked against its id on the way, and the new packs are seen in the store before this returns.

use std::collections::HashSet;

use garret_format::pack::PackKind;
use garret_format::{ChunkId, PackId};

use super::plan::{ChunkUse, GroupUse};
use super::{condemn, delete};
use crate::error::{Cause, Error, Result};
use crate::limits::{GROUP_LEN, total_len};
use crate::maintain::problems::Problems;
use crate::objects::codec::Compression;
use crate::objects::group::{CompressedGroup, Group, OpenGroup, WHOLE};
use crate::objects::index::{Index, Listing, read_segment};
use crate::pipeline::with_threads;
use crate::progress::{Phase, Problem};
use crate::read::groups::{Groups, Wanted};
use crate::repository::Deleting;
use crate::store::{Area, Key};
use crate::write::{ChunkTarget, PackLog, write_chunks};

/// What was copied, and what was not.
#[derive(Default)]
pub(in crate::maintain) struct Copied {
    /// Packs that must stay because something in them could not be read.
    pub(in crate::maintain) kept: HashSet<PackId>,
    /// What that is.
    pub(super) unread: HashSet<ChunkId>,
    /// Bytes of the new packs.
    pub(in crate::maintain) bytes: u64,
}

/// Copies what is needed into new packs.
pub(in crate::maintain) fn copy(
    session: Deleting<'_>,
    wanted: &[GroupUse],
    compression: Option<Compression>,
    threads: usize,
    problems: &mut Problems<'_>,
) -> Result<Copied> {
    if wanted.is_empty() {
        return Ok(Copied::default());
    }
    let segments = session.store().list(Area::Index)?;
    let mut left = total_len(wanted.iter().map(GroupUse::live_len));
    let task = problems.progress.begin(Phase::Repack, Some(left));
    // The writer gets an index of its own: repacking stores chunks that the repository has, and the plan's must not change.
    let mut index = Index::empty(session.id());
    let log = PackLog::default();
    let target = ChunkTarget { log: Some(&log), ..session.target(&mut index) };
    let groups = session.chunks().groups().clone();
    let copied = with_threads(threads, groups.in_flight(), |threads| {
        write_chunks(target, compression.unwrap_or_default(), threads, |writer| {
            let mut copied = Copied::default();
            let wanted = wanted.iter();
            let wanted = wanted.map(|group| {
                let GroupUse { pack, row, .. } = *group;
                Wanted { pack, group: row, len: WHOLE, by: group }
            });
            let read = groups.each_read(wanted.collect(), threads, |groups, wanted, bytes| {
                (wanted.by, read_live(groups, wanted.by, compression, bytes))
            });
            for read in read {
                let (group, live) = read?;
                match live {
                    Ok(Live::Whole(group)) => writer.keep_group(group)?,
                    Ok(Live::Some(before, chunks)) => {
                        let compression = compression.unwrap_or(before);
                        for (id, bytes, copies) in chunks {
                            match group.pack.kind {
                                PackKind::Data => writer.keep(id, &bytes, compression)?,
                                PackKind::Structure => {
                                    writer.keep_node(id, &bytes, copies, compression)?;
                                }
                            }
                        }
                    }
                    Err(error) => {
                        problems.report(Problem::from(&error));
                        copied.kept.insert(group.pack.id);
                        copied.unread.extend(group.chunks.iter().map(|chunk| chunk.id));
                    }
                }
                task.advance(group.live_len());
                left -= group.live_len();
            }
            Ok(copied)
        })
    });
    let copied = copied.and_then(|copied| {
        session.store().sync()?;
        Ok(copied)
    });
    let (copied, written) = match copied {
        Err(error) if error.cause() == Cause::Full => {
            // Whoever goes on from here plans anew.
            task.advance(left);
            take_back(session, log.packs(), &segments)?;
            return Err(error);
        }
        copied => copied?,
    };
    drop(task);
    // What the old packs held is going to be deleted: a file system that says it wrote may not have.
    let listing = Listing::read(session.store())?;
    let packs = log.packs();
    let found = total_len(packs.iter().filter_map(|pack| listing.len(pack)));
    if found != written.pack_bytes {
        return Err(Error::Corrupt {
            object: "packs".to_owned(),
            offset: 0,
            what: format!("of {} bytes that were written {found} are there", written.pack_bytes),
        });
    }
    Ok(Copied { bytes: written.pack_bytes, ..copied })
}

/// Removes the packs that were written, which take the room that a smaller step needs, and the segments of which it was not
/// said before that list one. Whoever is there may have listed them too: what he needs of them is where it was, but he would
/// not find it, so then they stay for the next gc.
pub(in crate::maintain) fn take_back(
    session: Deleting<'_>,
    packs: Vec<PackId>,
    before: &[(Key, u64)],
) -> Result<()> {
    let store = session.store();
    if store.has_sessions(condemn::ANY)? {
        return Ok(());
    }
    let packs: HashSet<PackId> = packs.into_iter().collect();
    for (key, len) in store.list(Area::Index)? {
        let Key::Index(id) = key else { continue };
        let is_new = !before.contains(&(key.clone(), len));
        let lists_ours = || match read_segment(&session.index_source(), id) {
            Ok(rows) => rows.packs.iter().any(|row| packs.contains(&row.id)),
            Err(_) => false,
        };
        if is_new && lists_ours() {
            store.delete(&key)?;
        }
    }
    // Before the packs that they list.
    store.sync()?;
    delete::packs(session, packs.iter())
}

/// The needed part of a group.
enum Live {
    /// A group of files that stays one: all of it, as it was, or what is left of versions that compact put together.
    Whole(CompressedGroup),
    /// Some chunks, how many copies of each are written, and how the group was compressed.
    Some(Compression, Vec<(ChunkId, Vec<u8>, usize)>),
}

/// Reads a group and checks every chunk that is needed of it: the pack it comes from will be deleted.
fn read_live(
    groups: &Groups,
    group: &GroupUse,
    compression: Option<Compression>,
    bytes: Option<&[u8]>,
) -> Result<Live> {
    let GroupUse { pack, row, chunks } = group;
    let (frame, body) = groups.packs().body(pack, row, bytes)?;
    let corrupt = |what| Error::Corrupt {
        object: Key::Pack(pack.id).to_string(),
        offset: u64::from(row.offset),
        what,
    };
    let open = OpenGroup::decompress(&frame, &body, WHOLE).map_err(corrupt)?;
    let live = chunks.iter().map(|ChunkUse { id, offset, len, copies }| {
        match open.verified(groups.hasher(), (*offset, *len), id) {
            Some(chunk) => Ok((*id, chunk.bytes(), *copies)),
            None => Err(corrupt(format!("the group does not hold chunk {id}"))),
        }
    });
    let live: Vec<(ChunkId, &[u8], usize)> = live.collect::<Result<_>>()?;
    // A chunk that is stored twice is listed once: the group is not whole then. Each chunk of structure has its own lanes.
    if pack.kind == PackKind::Data && frame.chunk_count as usize == live.len() {
        let chunks = live.iter().map(|(id, bytes, _)| (*id, bytes.len() as u32)).collect();
        return Ok(Live::Whole(CompressedGroup { frame, body, chunks }));
    }
    let before = Compression::like(frame.codec, frame.effort);
    if pack.kind == PackKind::Data && frame.plain_len > GROUP_LEN {
        let mut left = Group::default();
        live.iter().for_each(|(id, bytes, _)| left.push(*id, bytes));
        // A strong codec takes as much memory as all the rest of a gc.
        drop(live);
        drop((open, body));
        return Ok(Live::Whole(left.compress(compression.unwrap_or(before))?));
    }
    let live = live.into_iter().map(|(id, bytes, copies)| (id, bytes.to_vec(), copies));
    Ok(Live::Some(before, live.collect()))
}
