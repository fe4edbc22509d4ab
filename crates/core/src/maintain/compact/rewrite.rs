//! Third station of compact: the chunks of groups as they should be, into new packs.
//!
//! In: planned groups. Out: new packs, durable, listed by new segments. Promises: every chunk is checked against its id; one
//! that cannot be had leaves its group as it is.

use std::collections::HashSet;

use garret_format::pack::Codec;
use garret_format::{ChunkId, PackId};

use super::plan::Planned;
use crate::error::{Cause, Error, Result};
use crate::limits::{GROUP_LEN_MOST, total_len};
use crate::maintain::gc::copy::take_back;
use crate::maintain::problems::Problems;
use crate::objects::codec::Compression;
use crate::objects::group::{CompressedGroup, Group};
use crate::objects::index::Index;
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
}

/// What was written.
#[derive(Default)]
pub(super) struct Rewritten {
    pub(super) group_count: u64,
    /// By its first chunk, how long each would be that got no smaller. Those that were made, and those that cannot be
    /// read, are as long as it gets.
    pub(super) tried: Vec<(ChunkId, u64)>,
    pub(super) plain_len: u64,
    pub(super) written_len: u64,
    pub(super) packs: HashSet<PackId>,
}

/// Writes these groups.
pub(super) fn rewrite(
    session: Deleting<'_>,
    planned: &[Planned],
    options: &Rewriting<'_>,
    problems: &mut Problems<'_>,
) -> Result<Rewritten> {
    let segments = session.store().list(Area::Index)?;
    let mut left = total_len(planned.iter().map(|group| group.plain_len));
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
            let begun = planned.iter().enumerate();
            let begun = begun.take_while(|(number, _)| *number == 0 || !(options.is_over)());
            let begun = begun.map(|(_, group)| Ok(group));
            let job = move |planned: &Planned| {
                let of = (planned.first(), planned.plain_len, planned.stored_len);
                Ok((of, group(&chunks, planned, compression)))
            };
            for made in threads.workers.map(begun, job) {
                let ((first, plain_len, planned_len), made) = made?;
                let mut came_to = u64::MAX;
                match made {
                    // What did not get smaller stays as it is.
                    Ok(made) if made.frame.sealed_len() >= planned_len => {
                        came_to = made.frame.sealed_len();
                    }
                    Ok(made) => {
                        done.group_count += 1;
                        done.plain_len += plain_len;
                        writer.keep_group(made)?;
                    }
                    Err(error @ Error::System { .. }) => return Err(error),
                    Err(error) => problems.report(Problem::from(&error)),
                }
                done.tried.extend(first.map(|first| (first, came_to)));
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
            done.written_len = stored?.pack_bytes;
            done.packs = log.packs().into_iter().collect();
            Ok(done)
        }
    }
}

/// One group, compressed.
fn group(chunks: &Chunks, planned: &Planned, compression: Compression) -> Result<CompressedGroup> {
    let (mut made, mut hardest) = (Group::default(), 0);
    made.bytes.reserve_exact(planned.plain_len as usize);
    for id in &planned.chunks {
        let index = chunks.index();
        let location = index.find(id).ok_or_else(|| index.missing(id, "a group of compact"))?;
        chunks.read(&location, id, |chunk| made.push(*id, chunk.bytes()))?;
        hardest = hardest.max(location.group.effort);
    }
    // Never less than what there was: a weak codec would make all of it longer.
    match hardest > compression.effort() {
        true => made.compress(Compression::like(Codec::Zstd, hardest)),
        false => made.compress(compression),
    }
}
