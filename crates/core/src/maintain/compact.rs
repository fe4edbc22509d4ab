//! Compact: what is old, small: all versions of a place in one group, and what is alike; compressed as well as it can be.
//!
//! ```text
//! versions  archives of a host -> what each has in each place of a file, the newest first
//! plan      places -> groups as they should be -> those that are worth it
//! alike     of so many, what is like what stands before it -> behind that
//! rewrite   their chunks, each checked -> new groups -> new packs
//! gc        what the new packs hold is read once more; then the old copies go, as always
//! ```
//!
//! A night changes a few bytes in each of many chunks. Side by side in one group these cost next to nothing, for the codec
//! finds what is the same in them; no group depends on another, so nothing else changes. The newest stand first: who restores
//! them stops there. Promises: no chunk's old copy goes before its new one was read and is intact; killed at any moment it
//! costs its own work; done again it finds nothing to do. Memory grows with the work of one round, not with the repository,
//! but for what a gc takes.

mod alike;
mod plan;
mod rewrite;
mod taken;
mod versions;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use garret_format::PackId;

use super::gc::plan::Aims;
use super::gc::{GcOptions, GcReport, condemn};
use crate::error::{Cause, Error, Result};
use crate::keys::random;
use crate::limits::{GROUP_LEN_MOST, total_len};
use crate::maintain::problems::Problems;
use crate::objects::codec::Compression;
use crate::progress::{Problem, Progress};
use crate::repository::{Pruner, Repository};

use plan::{Planned, Worth};
use taken::{Passes, Taken, Under};

/// What a rewritten group must gain, as a fraction of what its chunks take now: first what gains much, if time may run out.
const GAINS: [u64; 2] = [4, LEAST_GAIN];
const LEAST_GAIN: u64 = 16;

/// Chunks of one round, from all of which what is alike comes together: half a gigabyte finds half of what two do. 8 MiB of
/// memory for what is planned, 70 for sketches if each chunk is a cell, 4 for ids while they are written, 24 in the gc after
/// it. It is less where the disk is nearly full.
const ROUND_CHUNKS: usize = 1 << 17;

/// While old copies have to stay, what is made of them would be made again each night.
const HOLDS: &str =
    "something that archives need is damaged; nothing is compacted until check --repair";

/// The part of the time that is left in which a round looks for what is alike.
const ALIKE_TIME: u32 = 4;

/// How to compact.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CompactOptions {
    /// How groups are compressed. What was compressed as hard before is taken up only to bring versions together.
    pub compression: Compression,
    /// After this time no further group is begun; one is in any case. The gc before it counts; that behind it takes what it
    /// takes.
    pub max_duration: Option<Duration>,
    /// Threads; 0 is 1.
    pub threads: usize,
}

impl Default for CompactOptions {
    fn default() -> Self {
        CompactOptions { compression: Compression::Zstd(19), max_duration: None, threads: 1 }
    }
}

/// What a compact would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactPlan {
    /// Groups that it would make of what lies in one place each, before what is alike comes together.
    pub group_count: u64,
    /// Bytes of the chunks in them, uncompressed.
    pub plain_len: u64,
    /// Bytes of packs that these take now, about.
    pub stored_len: u64,
    /// Bytes of packs that it would save, about: a guess.
    pub gain_len: u64,
    /// Whether it would make nothing, for something that archives need is known to be damaged. It is reported.
    pub holds: bool,
}

/// What a compact did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactReport {
    /// Groups written.
    pub group_count: u64,
    /// Bytes of the chunks in them, uncompressed.
    pub plain_len: u64,
    /// Bytes of the packs with them.
    pub written_len: u64,
    /// What came of the old copies.
    pub gc: GcReport,
    /// Whether time ran out before it was done.
    pub is_cut_short: bool,
}

impl CompactReport {
    /// Counts what a round wrote.
    fn add(&mut self, round: &rewrite::Rewritten) {
        self.group_count += round.group_count;
        self.plain_len += round.plain_len;
        self.written_len += round.written_len;
    }
}

/// What a round may take.
#[derive(Clone, Copy)]
struct Limits {
    /// When no further group is begun.
    end: Option<Instant>,
    /// Whether there was room for all so far.
    has_room: bool,
}

fn is_over(end: Option<Instant>) -> bool {
    end.is_some_and(|end| Instant::now() >= end)
}

/// That the disk was full, where that is what went wrong; anything else stays an error.
fn unless_full(done: Result<()>) -> Result<Option<Error>> {
    match done {
        Err(error) if error.cause() == Cause::Full => Ok(Some(error)),
        done => done.map(|()| None),
    }
}

impl Repository {
    /// What a compact would do. Neither locks nor writes anything. Damage that nobody has found yet it does not know.
    ///
    /// # Errors
    /// As of [`Pruner::gc`].
    pub fn plan_compact(
        &self,
        options: &CompactOptions,
        progress: &dyn Progress,
    ) -> Result<CompactPlan> {
        let mut whole = CompactPlan::default();
        if self.plan_gc(&[], options.threads, progress)?.holds {
            progress.problem(&Problem::new(Cause::Damaged, None, HOLDS.to_owned()));
            whole.holds = true;
            return Ok(whole);
        }
        let worth = Worth { compression: options.compression, gain: LEAST_GAIN };
        plan::each(self, worth, progress, &mut |planned| {
            whole.group_count += 1;
            whole.plain_len += planned.plain_len;
            whole.stored_len += planned.stored_len;
            whole.gain_len += planned.gain_len;
            Ok(true)
        })?;
        Ok(whole)
    }
}

impl Pruner {
    /// Puts all versions of each place of a file into one group, and what is alike beside it, and compresses what was not
    /// compressed as hard, where that is worth it. Then collects.
    ///
    /// # Errors
    /// As of [`Pruner::gc`]. Whatever was written before is there, and found again, but on a full disk: there new copies go
    /// again whose old ones are still there.
    pub fn compact(
        &mut self,
        options: &CompactOptions,
        progress: &dyn Progress,
    ) -> Result<CompactReport> {
        let mut written = HashSet::new();
        let done = self.rounds(options, &mut written, progress);
        // Of what was met on the way, so that the next one makes nothing of it again.
        self.note_damaged(progress);
        match done {
            Err(error) if error.cause() == Cause::Full => {
                // What came takes room of a disk that has none: it goes where the old copy is still there and intact.
                let index = self.index();
                let packs = index.tables().flat_map(|tables| tables.packs().collect::<Vec<_>>());
                let old = packs.map(|row| row.id).filter(|id| !written.contains(id)).collect();
                drop(index);
                let gc = GcOptions { compression: None, threads: options.threads };
                match self.gc_aiming(Aims::preferring(&old), &gc, progress) {
                    Err(further) if further.cause() != Cause::Full => Err(further),
                    _ => Err(error),
                }
            }
            done => done,
        }
    }

    /// Round by round, what is taken up is written, and the old copies go. `written` gets the new packs.
    fn rounds(
        &mut self,
        options: &CompactOptions,
        written: &mut HashSet<PackId>,
        progress: &dyn Progress,
    ) -> Result<CompactReport> {
        let end = options.max_duration.and_then(|most| Instant::now().checked_add(most));
        let gains = if end.is_some() { GAINS.as_slice() } else { &GAINS[1..] };
        // What the first gc takes away counts: after it all is looked at once more.
        let mut passes = Passes::new(gains, self.packs_len());
        let mut problems = Problems::new(progress);
        let (mut report, mut taken) = (CompactReport::default(), Taken::default());
        let mut most = ROUND_CHUNKS;
        // Before anything is made: what a gc refuses would be made in vain each night, what one that was killed made is all
        // that is found of it then, and of what is damaged and needed by nobody nothing is left.
        let first =
            self.drop_old(Aims::preferring(written), options.threads, progress, &mut report);
        let mut full = unless_full(first)?;
        if full.is_some() {
            report.gc.holds = self.plan_gc(&[], options.threads, progress)?.holds;
        }
        while let Some(gain) = passes.gain().filter(|_| !report.is_cut_short && !report.gc.holds) {
            let worth = Worth { compression: options.compression, gain };
            let begins_anywhere = end.is_some() && report.group_count == 0;
            let round = self.next_round(worth, most, begins_anywhere, &taken, progress)?;
            if round.is_empty() {
                if passes.ends(report.group_count) && !is_over(end) {
                    // As far as there is room for it.
                    let aims = Aims { is_thorough: true, ..Aims::preferring(written) };
                    let dropped = self.drop_old(aims, options.threads, progress, &mut report);
                    let is_full = unless_full(dropped)?.is_some();
                    full = full.filter(|_| is_full);
                }
                if passes.turn(report.group_count, self.packs_len()) {
                    taken.begin_pass();
                }
                continue;
            }
            let count: usize = round.iter().map(|planned| planned.members.len()).sum();
            let can_be_less = round.len() > 1;
            let has_room = full.is_none() && most == ROUND_CHUNKS;
            let limits = Limits { end, has_room };
            let done = match self.round(round, options, limits, &mut taken, &mut problems) {
                // It was taken back, if nobody else is there. Half of it may have room.
                Err(error)
                    if error.cause() == Cause::Full
                        && can_be_less
                        && !self.store().has_sessions(condemn::ANY)? =>
                {
                    most = most.min(count) / 2;
                    continue;
                }
                done => done?,
            };
            report.add(&done);
            self.deleting().reopen_index(progress)?;
            written.extend(done.packs);
            // Old packs of which something is still needed go when a later round has taken that up, too.
            let aims = Aims::preferring(written);
            full = unless_full(self.drop_old(aims, options.threads, progress, &mut report))?;
            most = if full.is_none() { (most * 2).min(ROUND_CHUNKS) } else { most };
            report.is_cut_short =
                !done.is_whole || is_over(end) && self.has_more(options, progress)?;
        }
        if report.gc.holds {
            problems.report(Problem::new(Cause::Damaged, None, HOLDS.to_owned()));
        }
        report.gc.problem_count += problems.count;
        full.map_or(Ok(report), Err)
    }

    /// Writes what is planned, as far as the time goes, and notes what came of it.
    fn round(
        &mut self,
        planned: Vec<Planned>,
        options: &CompactOptions,
        limits: Limits,
        taken: &mut Taken,
        problems: &mut Problems<'_>,
    ) -> Result<rewrite::Rewritten> {
        let (now, Limits { end, has_room }) = (Instant::now(), limits);
        let most = end.map(|end| now + end.saturating_duration_since(now) / ALIKE_TIME);
        let gathering = alike::Gathering {
            limit: u64::from(self.config().group_len.min(GROUP_LEN_MOST)),
            threads: options.threads,
            is_over: &|| is_over(most),
        };
        let chunks = self.chunks();
        let gathered = alike::gather(&chunks, &planned, &gathering, problems.progress)?;
        // What is compressed takes memory of its own.
        let round: Vec<Under> = planned.iter().map(Under::of).collect();
        drop((chunks, planned));
        let rewriting = rewrite::Rewriting {
            compression: options.compression,
            threads: options.threads,
            is_over: &|| is_over(end),
            has_room,
        };
        let written = rewrite::rewrite(self.deleting(), &gathered, &rewriting, problems)?;
        taken.note(&round, &gathered, &written.tried);
        Ok(written)
    }

    /// What is taken up next: groups of so many chunks in all, about, one group at least. Where time is short any of them
    /// comes first: who has it for one only, of which nothing comes, takes up another one the next night.
    fn next_round(
        &self,
        worth: Worth,
        most: usize,
        begins_anywhere: bool,
        taken: &Taken,
        progress: &dyn Progress,
    ) -> Result<Vec<Planned>> {
        let (mut round, mut chunks) = (Vec::new(), 0);
        plan::each(self, worth, progress, &mut |planned| {
            if taken.lets(&planned) {
                chunks += planned.members.len();
                round.push(planned);
            }
            Ok(chunks < most)
        })?;
        if begins_anywhere && !round.is_empty() {
            let first = u64::from_le_bytes(random()?) % round.len() as u64;
            round.rotate_left(first as usize);
        }
        Ok(round)
    }

    /// Whether there is anything left that is worth it.
    fn has_more(&self, options: &CompactOptions, progress: &dyn Progress) -> Result<bool> {
        let worth = Worth { compression: options.compression, gain: LEAST_GAIN };
        Ok(!self.next_round(worth, 1, false, &Taken::default(), progress)?.is_empty())
    }

    /// Bytes of all packs but those that are condemned.
    fn packs_len(&self) -> u64 {
        let (index, mut lens) = (self.index(), HashMap::new());
        for tables in index.tables() {
            let rows = tables.packs().filter(|row| !index.is_condemned(&row.id));
            lens.extend(rows.map(|row| (row.id, u64::from(row.len))));
        }
        total_len(lens.into_values())
    }

    fn drop_old(
        &mut self,
        aims: Aims<'_>,
        threads: usize,
        progress: &dyn Progress,
        report: &mut CompactReport,
    ) -> Result<()> {
        let options = GcOptions { compression: None, threads };
        report.gc.add_up(&self.gc_aiming(aims, &options, progress)?);
        Ok(())
    }
}
