//! Scrub: reads packs, segments of the index and second copies of archives, and says which are not what was written. Needs no
//! key.
//!
//! In: a repository that is locked. Out: which of the files that are named by the hash of their bytes are not those bytes.
//! Promises: nothing is decrypted, decoded or written, whatever the files hold; memory is one piece for each thread. It says
//! whether the disk is well, not whether a backup is: what stands in the files, and whether all that an archive needs is
//! there, only a check with the key knows.

use blake3::Hasher;
use garret_format::PackId;

use crate::error::{Error, Result, UNSTEADY, message};
use crate::limits::{RUN_LEN_MAX, total_len};
use crate::pipeline::with_workers;
use crate::progress::{Phase, Problem, Progress};
use crate::repository::Locked;
use crate::store::{Area, Key, LockMode, Store};

/// What to scrub.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ScrubOptions {
    /// Which part of the packs and segments.
    pub part: Part,
    /// Threads; 0 is 1.
    pub threads: usize,
}

/// One of the equal parts that packs and segments are divided into by their names, which are hashes: who scrubs each part
/// once has scrubbed everything once, and nothing has to be remembered for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    number: u32,
    count: u32,
}

impl Part {
    /// Part `number` of `count`; the first is 1. None if there is no such part.
    pub fn new(number: u32, count: u32) -> Option<Self> {
        (1..=count).contains(&number).then_some(Part { number, count })
    }

    /// Its number, and how many parts there are.
    pub fn numbers(self) -> [u32; 2] {
        [self.number, self.count]
    }

    /// Whether what has this name is in it. By the first 64 bits, so the parts of a few thousand are equal to a hair.
    fn holds(self, name: &[u8; PackId::LEN]) -> bool {
        let first = name.iter().take(8).fold(0_u128, |sum, byte| (sum << 8) | u128::from(*byte));
        (first * u128::from(self.count)) >> 64 == u128::from(self.number - 1)
    }
}

/// All there is.
impl Default for Part {
    fn default() -> Self {
        Part { number: 1, count: 1 }
    }
}

/// What was scrubbed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScrubReport {
    /// Packs that were read.
    pub pack_count: u64,
    /// Segments of the index that were read.
    pub segment_count: u64,
    /// Second copies of archives that were read.
    pub copy_count: u64,
    /// Bytes of all three.
    pub bytes: u64,
    /// Packs that are not what was written.
    pub damaged_packs: u64,
    /// Segments that are not.
    pub damaged_segments: u64,
    /// Copies that are not.
    pub damaged_copies: u64,
}

impl Locked {
    /// Reads packs, segments of the index and copies of archives, and compares each with its name. What is damaged is
    /// reported.
    ///
    /// # Errors
    /// `Lock` if somebody deletes in it for longer than is waited; the store cannot be listed.
    pub fn scrub(&self, options: &ScrubOptions, progress: &dyn Progress) -> Result<ScrubReport> {
        let _lock = self.lock("read", LockMode::Check, progress)?;
        let store = self.store();
        let mut found = store.list(Area::Index)?;
        found.extend(store.list(Area::Packs)?);
        found.extend(store.list(Area::Copies)?);
        found.retain(|(key, _)| name(key).is_some_and(|name| options.part.holds(name)));
        let total = total_len(found.iter().map(|(_, len)| *len));
        let task = progress.begin(Phase::Check, Some(total));
        let mut report = ScrubReport::default();
        let threads = options.threads.max(store.properties().in_flight);
        with_workers(threads, |workers| {
            let read = workers.map(found.into_iter().map(Ok), |(key, len)| {
                let wrong = look_twice(store, &key, len);
                Ok((key, len, wrong))
            });
            for read in read {
                let (key, len, wrong) = read?;
                report.count(&key, len, wrong.is_some());
                wrong.iter().for_each(|wrong| progress.problem(wrong));
                task.advance(len);
            }
            Ok(())
        })?;
        store.notices().iter().for_each(|notice| progress.notice(notice));
        self.tell(progress);
        Ok(report)
    }
}

impl ScrubReport {
    fn count(&mut self, key: &Key, len: u64, is_damaged: bool) {
        let (count, damaged) = match key {
            Key::Index(_) => (&mut self.segment_count, &mut self.damaged_segments),
            Key::ArchiveCopy(_) => (&mut self.copy_count, &mut self.damaged_copies),
            _ => (&mut self.pack_count, &mut self.damaged_packs),
        };
        *count += 1;
        *damaged += u64::from(is_damaged);
        self.bytes = self.bytes.saturating_add(len);
    }
}

/// The hash that a file's bytes must have.
fn name(key: &Key) -> Option<&[u8; PackId::LEN]> {
    match key {
        Key::Pack(id) => Some(id.as_bytes()),
        Key::Index(id) => Some(id.as_bytes()),
        Key::ArchiveCopy(hash) => Some(hash.as_bytes()),
        _ => None,
    }
}

/// What is wrong with a file, if anything is. What is not as it should be is read again: disk and memory err too.
fn look_twice(store: &dyn Store, key: &Key, len: u64) -> Option<Problem> {
    let object = key.to_string();
    let first = look_at(store, key, len).err()?;
    let text = match look_at(store, key, len) {
        Err(error) => message(&error),
        Ok(()) => format!("{}; {UNSTEADY}", message(&first)),
    };
    Some(Problem::new(first.cause(), Some(object), text))
}

fn look_at(store: &dyn Store, key: &Key, len: u64) -> Result<()> {
    let mut hasher = Hasher::new();
    let mut at = 0;
    while at < len {
        let end = at.saturating_add(RUN_LEN_MAX).min(len);
        hasher.update(&store.get(key, at..end)?);
        at = end;
    }
    match name(key).is_some_and(|name| hasher.finalize() == *name) {
        true => Ok(()),
        false => Err(Error::misnamed(&key.to_string())),
    }
}
