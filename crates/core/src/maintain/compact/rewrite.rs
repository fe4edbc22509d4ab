//! Fourth station of compact: the chunks of groups as they should be, into new packs.
//!
//! In: gathered groups. Out: new packs, durable, listed by new segments. Promises: every chunk is checked against its id; one
//! that cannot be had leaves its group as it is.

use std::collections::HashSet;

use garret_format::PackId;
use garret_format::pack::Codec;

use super::alike::Gathered;
use crate::error::{Cause, Error, Result};
use crate::limits::{GROUP_LEN_MOST, total_len};
use crate::maintain::gc::copy::take_back;
use crate::maintain::problems::Problems;
use crate::objects::codec::Compression;
use crate::objects::group::{CompressedGroup, Group};
use crate::objects::index::{Index, Location};
use crate::pipeline::with_threads;
use crate::progress::{Phase, Problem};
use crate::read::chunks::Chunks;
use crate::repository::Deleting;
use crate::store::Area;
use crate::write::{ChunkTarget, PackLog, write_chunks};

/// How groups are written.
pub(super) struct Rewriting<'o> {
    pub(super) compression: Compression,
    pub(super) threads: usize,
    /// Whether no further one is begun.
    pub(super) is_over: &'o (dyn Fn() -> bool + Sync),
    /// Whether there is room for what saves nothing.
    pub(super) has_room: bool,
}

/// What came of a group, or of parts of some.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tried {
    /// Whether it was written: what did not get smaller stays as it is.
    pub(super) is_made: bool,
    /// Bytes of packs that what was not written would take; the most if it cannot be read.
    pub(super) came_to: u64,
}

/// What was written.
#[derive(Default)]
pub(super) struct Rewritten {
    pub(super) group_count: u64,
    /// Of each that was begun.
    pub(super) tried: Vec<Tried>,
    /// Whether all were.
    pub(super) is_whole: bool,
    pub(super) plain_len: u64,
    pub(super) written_len: u64,
    pub(super) packs: HashSet<PackId>,
}

/// Writes these groups.
pub(super) fn rewrite(
    session: Deleting<'_>,
    gathered: &[Gathered],
    options: &Rewriting<'_>,
    problems: &mut Problems<'_>,
) -> Result<Rewritten> {
    let segments = session.store().list(Area::Index)?;
    let mut left = total_len(gathered.iter().map(|group| group.plain_len));
    let task = problems.progress.begin(Phase::Repack, Some(left));
    // The repository has every chunk: an index of its own lets the writer store them again.
    let mut index = Index::empty(session.id());
    let log = PackLog::default();
    let group_len = session.config().group_len.min(GROUP_LEN_MOST);
    let target = ChunkTarget { log: Some(&log), group_len, ..session.target(&mut index) };
    let (chunks, compression) = (session.chunks(), options.compression);
    let mut done = Rewritten::default();
    let written = with_threads(options.threads, 1, |threads| {
        write_chunks(target, compression, threads, |writer| {
            // One at least: who gives it little time each night gets on all the same.
            let begun = gathered.iter().enumerate();
            let begun = begun.take_while(|(number, _)| *number == 0 || !(options.is_over)());
            let begun = begun.map(|(_, group)| Ok(group));
            let has_room = options.has_room;
            let job = move |gathered: &Gathered| {
                let made = group(&chunks, gathered, compression, has_room);
                Ok((gathered.plain_len, made))
            };
            for made in threads.workers.map(begun, job) {
                let (plain_len, made) = made?;
                done.tried.push(match made {
                    Ok(Made::Group(made)) => {
                        done.group_count += 1;
                        done.plain_len += u64::from(made.frame.plain_len);
                        writer.keep_group(made)?;
                        Tried { is_made: true, came_to: 0 }
                    }
                    Ok(Made::NoSmaller(came_to)) => Tried { is_made: false, came_to },
                    Err(error @ Error::System { .. }) => return Err(error),
                    Err(error) => {
                        problems.report(Problem::from(&error));
                        Tried { is_made: false, came_to: u64::MAX }
                    }
                });
                task.advance(plain_len);
                left -= plain_len;
            }
            Ok(())
        })
    });
    let stored = written.and_then(|((), written)| {
        session.store().sync()?;
        Ok(written)
    });
    task.advance(left);
    match stored {
        Err(error) if error.cause() == Cause::Full => {
            take_back(session, log.packs(), &segments)?;
            Err(error)
        }
        stored => {
            done.is_whole = done.tried.len() == gathered.len();
            done.written_len = stored?.pack_bytes;
            done.packs = log.packs().into_iter().collect();
            Ok(done)
        }
    }
}

/// What came of a group.
enum Made {
    /// To be written.
    Group(CompressedGroup),
    /// It would take so many bytes of packs, and takes no more now.
    NoSmaller(u64),
}

/// One group, compressed. Where it gets no smaller, those of its chunks that nobody had tried to compress before, if there
/// are any and there is room: then it is known of them that they get no smaller, and not tried again each night.
fn group(
    chunks: &Chunks,
    gathered: &Gathered,
    compression: Compression,
    has_room: bool,
) -> Result<Made> {
    let (all, hardest) = joined(chunks, gathered, |_| true)?;
    // Never less than what there was: a weak codec would make all of it longer.
    let made = match hardest > compression.effort() {
        true => all.compress(Compression::like(Codec::Zstd, hardest)),
        false => all.compress(compression),
    }?;
    if made.frame.sealed_len() < gathered.stored_len {
        return Ok(Made::Group(made));
    }
    let came_to = made.frame.sealed_len();
    drop(made);
    if !has_room || compression.effort() == 0 {
        return Ok(Made::NoSmaller(came_to));
    }
    let (untried, _) = joined(chunks, gathered, |location| location.group.effort == 0)?;
    match untried.chunks.is_empty() {
        true => Ok(Made::NoSmaller(came_to)),
        false => Ok(Made::Group(untried.compress(compression)?)),
    }
}

/// The chunks of a group that are wanted, behind each other; and how hard what is compressed hardest of them is.
fn joined(
    chunks: &Chunks,
    gathered: &Gathered,
    is_wanted: impl Fn(&Location) -> bool,
) -> Result<(Group, u8)> {
    let (mut group, mut hardest) = (Group::default(), 0);
    for id in &gathered.chunks {
        let index = chunks.index();
        let location = index.find(id).ok_or_else(|| index.missing(id, "a group of compact"))?;
        if !is_wanted(&location) {
            continue;
        }
        if group.chunks.is_empty() {
            group.bytes.reserve_exact(gathered.plain_len as usize);
        }
        chunks.read(&location, id, |chunk| group.push(*id, chunk.bytes()))?;
        hardest = hardest.max(location.group.effort);
    }
    Ok((group, hardest))
}
