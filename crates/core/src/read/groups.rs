//! Opened groups: the one place through which the content of packs is read.
//!
//! ```text
//! get  one group, now      cache -> (one reader, others wait for it) -> Store
//! each many groups, once   runs of neighbours -> requests side by side -> opened on the workers -> job
//! ```
//!
//! In: packs and groups, as an index says. Out: groups that opened and decompressed; their chunks are checked against their
//! ids when they are asked for ([`OpenGroup::verified`]). Promises: what `get` keeps is bounded by bytes; a group that
//! several want at once is read once, and once more if only its beginning was wanted before; what `each` reads is not kept,
//! for it is read once anyway; it has as many requests under way as the store says is good, and each is of at most
//! [`RUN_LEN_MAX`] bytes.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use garret_format::PackId;
use garret_format::index::{GroupRow, PackRow};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::error::{Error, Result, message};
use crate::keys::chunk::ChunkHasher;
use crate::keys::seal::Sealer;
use crate::limits::{RUN_GAP_MAX, RUN_LEN_MAX};
use crate::objects::group::{OpenGroup, WHOLE};
use crate::objects::pack::PackReader;
use crate::pipeline::Threads;
use crate::progress::{Problem, ProblemKind};
use crate::store::{Key, Store};

/// A group, by its pack and its offset there.
type GroupKey = (PackId, u32);

/// Reads groups of one repository.
pub(crate) struct Groups {
    store: Arc<dyn Store>,
    sealer: Sealer,
    hasher: ChunkHasher,
    group_len_max: u32,
    kept: Cache<GroupKey, Arc<OpenGroup>, ByBytes>,
    bypassed: Mutex<Bypassed>,
}

/// Packs of which something could not be read that another pack has too.
#[derive(Default)]
struct Bypassed {
    packs: HashSet<PackId>,
    /// Those of which something could not be read, whether another has it or not.
    met: HashSet<PackId>,
    untold: Vec<Problem>,
}

/// Of what is kept, the share for groups that were asked for again. The cache drops the newest one first where that share and
/// the newest have no room together: whoever takes it chunk by chunk would open it for each. So it is half, and
/// [`KEPT_LEAST`] is more than two.
const HOT_SHARE: f64 = 0.5;

/// Of how many of the longest groups there is room at least, whatever else each takes.
const KEPT_LEAST: u64 = 3;

/// A group counts as many bytes as it takes.
#[derive(Clone, Copy)]
struct ByBytes;

impl Weighter<GroupKey, Arc<OpenGroup>> for ByBytes {
    fn weight(&self, _: &GroupKey, group: &Arc<OpenGroup>) -> u64 {
        group.weight().max(1)
    }
}

/// A group that is to be read, and for whom.
pub(crate) struct Wanted<T> {
    pub(crate) pack: PackRow,
    pub(crate) group: GroupRow,
    /// Bytes from its start that are wanted of it, at most all: what lies behind is not decompressed.
    pub(crate) len: u32,
    pub(crate) by: T,
}

impl<T> Wanted<T> {
    fn range(&self) -> Range<u64> {
        let start = u64::from(self.group.offset);
        start..start + u64::from(self.group.sealed_len)
    }
}

/// Groups of one pack that one request gets: neighbours, or nearly.
struct Run<T> {
    range: Range<u64>,
    wanted: Vec<Wanted<T>>,
}

/// Parts of packs that were read before they are opened: the pack, where the part starts, its bytes.
#[derive(Default)]
pub(crate) struct Ahead(Vec<(PackId, u64, Vec<u8>)>);

impl Ahead {
    fn bytes(&self, pack: &PackRow, group: &GroupRow) -> Option<&[u8]> {
        let offset = u64::from(group.offset);
        self.0.iter().filter(|(id, ..)| *id == pack.id).find_map(|(_, start, bytes)| {
            let from = usize::try_from(offset.checked_sub(*start)?).ok()?;
            bytes.get(from..)?.get(..group.sealed_len as usize)
        })
    }
}

impl Groups {
    /// Keeps at most about `kept_len` bytes of groups, or a few of the longest.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        sealer: Sealer,
        hasher: ChunkHasher,
        group_len_max: u32,
        kept_len: u64,
    ) -> Self {
        let group_len = u64::from(group_len_max).max(1);
        let kept_len = kept_len.max(KEPT_LEAST * group_len);
        // A shard of the cache must hold some groups: one that has more shards than groups keeps none.
        let count = usize::try_from(kept_len / group_len).unwrap_or(1);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(count)
            .weight_capacity(kept_len)
            .hot_allocation(HOT_SHARE)
            .build()
            .expect("both capacities are set");
        let hash = DefaultHashBuilder::default();
        let kept = Cache::with_options(options, ByBytes, hash, DefaultLifecycle::default());
        let bypassed = Mutex::default();
        Groups { store, sealer, hasher, group_len_max, kept, bypassed }
    }

    /// Notes that something of a pack was had from another one, because of this error: it is told of once for each pack.
    pub(crate) fn bypassed(&self, pack: PackId, error: &Error) {
        self.met(pack);
        let mut bypassed = self.bypassed.lock().unwrap_or_else(PoisonError::into_inner);
        if bypassed.packs.insert(pack) {
            let text =
                format!("{}; another copy of what was needed of it was used", message(error));
            let of = Problem::from(error);
            bypassed.untold.push(Problem { kind: ProblemKind::Warning, text, ..of });
        }
    }

    /// Notes that something of a pack could not be had.
    pub(crate) fn met(&self, pack: PackId) {
        self.bypassed.lock().unwrap_or_else(PoisonError::into_inner).met.insert(pack);
    }

    /// The packs of which something could not be had since this was asked last.
    pub(crate) fn take_met(&self) -> HashSet<PackId> {
        let mut bypassed = self.bypassed.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut bypassed.met)
    }

    /// What was noted since this was asked last.
    pub(crate) fn take_bypassed(&self) -> Vec<Problem> {
        let mut bypassed = self.bypassed.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut bypassed.untold)
    }

    /// What names chunks, to ask an [`OpenGroup`] for one.
    pub(crate) fn hasher(&self) -> &ChunkHasher {
        &self.hasher
    }

    pub(crate) fn packs(&self) -> PackReader<'_> {
        PackReader { store: &*self.store, sealer: &self.sealer, group_len_max: self.group_len_max }
    }

    /// A group that may be asked for again.
    pub(crate) fn get(&self, pack: &PackRow, group: &GroupRow) -> Result<Arc<OpenGroup>> {
        self.get_start(pack, group, WHOLE, &Ahead::default())
    }

    /// The same, or as much of its beginning, if that is kept.
    fn kept(&self, pack: &PackRow, group: &GroupRow, len: u32) -> Option<Arc<OpenGroup>> {
        self.kept.get(&(pack.id, group.offset)).filter(|kept| kept.reaches(len))
    }

    /// Reads ahead what of these groups is not kept, up to the longest run, if the store is far away. What cannot be had is
    /// read when it is asked for, and says then what is wrong with it.
    pub(crate) fn ahead(&self, places: impl Iterator<Item = (PackRow, GroupRow)>) -> Ahead {
        if self.in_flight() <= 1 {
            return Ahead::default();
        }
        let new = places.filter(|(pack, group)| self.kept(pack, group, WHOLE).is_none());
        let wanted: Vec<Wanted<()>> =
            new.map(|(pack, group)| Wanted { pack, group, len: WHOLE, by: () }).collect();
        let mut ahead = Ahead::default();
        let mut left = RUN_LEN_MAX;
        for run in runs(wanted) {
            left = left.saturating_sub(run.range.end - run.range.start);
            if let (Some(bytes), Some(first)) = (self.fetch(&run), run.wanted.first()) {
                ahead.0.push((first.pack.id, run.range.start, bytes));
            }
            if left == 0 {
                break;
            }
        }
        ahead
    }

    /// As [`get`](Self::get), for a group that may have been read ahead, and of which only the first `len` bytes are wanted.
    pub(crate) fn get_start(
        &self,
        pack: &PackRow,
        group: &GroupRow,
        len: u32,
        ahead: &Ahead,
    ) -> Result<Arc<OpenGroup>> {
        let key = (pack.id, group.offset);
        // To read it a second time costs a store that is far away more than to decompress all of it.
        let mut len = if self.in_flight() > 1 { WHOLE } else { len };
        loop {
            let read = || self.packs().group(pack, group, len, ahead.bytes(pack, group));
            let open = self.kept.get_or_insert_with(&key, || read().map(Arc::new))?;
            if open.reaches(len) {
                return Ok(open);
            }
            // Its beginning is kept. Who comes back and wants more will want the rest too.
            let _gone = self.kept.remove_if(&key, |kept| !kept.reaches(len));
            len = WHOLE;
        }
    }

    /// How many requests the store wants under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.store.properties().in_flight
    }

    /// Reads every group that is wanted and gives it to `job`, or what went wrong with it. Results come in the order of
    /// `wanted`; from a store that is far away, in that of packs and places in them.
    pub(crate) fn each<'a, 'scope, T, R>(
        self: &Arc<Self>,
        wanted: Vec<Wanted<T>>,
        threads: Threads<'a, 'scope>,
        job: impl Fn(Result<Arc<OpenGroup>>, T) -> R + Clone + Send + 'scope,
    ) -> Box<dyn Iterator<Item = Result<R>> + 'a>
    where
        'scope: 'a,
        T: Send + 'scope,
        R: Send + 'scope,
    {
        self.each_read(wanted, threads, move |groups, wanted, bytes| {
            let Wanted { pack, group, len, by } = wanted;
            let opened = match groups.kept(&pack, &group, len) {
                Some(kept) => Ok(kept),
                None => groups.packs().group(&pack, &group, len, bytes).map(Arc::new),
            };
            job(opened, by)
        })
    }

    /// The same for a job that opens the group by itself; its bytes are there if they were read ahead.
    pub(crate) fn each_read<'a, 'scope, T, R>(
        self: &Arc<Self>,
        wanted: Vec<Wanted<T>>,
        threads: Threads<'a, 'scope>,
        job: impl Fn(&Groups, Wanted<T>, Option<&[u8]>) -> R + Clone + Send + 'scope,
    ) -> Box<dyn Iterator<Item = Result<R>> + 'a>
    where
        'scope: 'a,
        T: Send + 'scope,
        R: Send + 'scope,
    {
        let groups = self.clone();
        if self.in_flight() <= 1 {
            // A request costs what its bytes cost: whoever needs them reads them, into the cache of his core.
            let wanted = wanted.into_iter().map(Ok);
            let read = threads.workers.map(wanted, move |wanted| Ok(job(&groups, wanted, None)));
            return Box::new(read);
        }
        let source = self.clone();
        let fetched = threads.requests.map(runs(wanted).into_iter().map(Ok), move |run| {
            let bytes = source.fetch(&run).map(Arc::new);
            Ok((run, bytes))
        });
        let parts = fetched.flat_map(|fetched| {
            // The job above has no error of its own.
            let (run, bytes) = fetched.map_or((None, None), |(run, bytes)| (Some(run), bytes));
            run.into_iter().flat_map(move |run| {
                let (start, bytes) = (run.range.start, bytes.clone());
                run.wanted.into_iter().map(move |wanted| Ok((wanted, start, bytes.clone())))
            })
        });
        Box::new(threads.workers.map(parts, move |(wanted, start, bytes)| {
            let range = wanted.range();
            let [from, to] = [range.start - start, range.end - start].map(|at| at as usize);
            let part = bytes.as_deref().and_then(|bytes: &Vec<u8>| bytes.get(from..to));
            Ok(job(&groups, wanted, part))
        }))
    }

    /// The bytes of a run. None if they cannot be had at once: each of its groups is then read by itself, and says itself
    /// what is wrong with it.
    fn fetch<T>(&self, run: &Run<T>) -> Option<Vec<u8>> {
        let first = run.wanted.first()?;
        // One group that says it is longer than a run: reading it by itself says what is wrong with that.
        if run.range.end - run.range.start > RUN_LEN_MAX {
            return None;
        }
        self.store.get(&Key::Pack(first.pack.id), run.range.clone()).ok()
    }
}

/// Neighbours in one request, in the order of packs and places in them.
fn runs<T>(mut wanted: Vec<Wanted<T>>) -> Vec<Run<T>> {
    wanted.sort_by_key(|wanted| (wanted.pack.id, wanted.group.offset));
    let mut runs: Vec<Run<T>> = Vec::new();
    for wanted in wanted {
        let range = wanted.range();
        match runs.last_mut() {
            Some(run)
                if run.wanted.first().is_some_and(|first| first.pack.id == wanted.pack.id)
                    && (run.range.end..=run.range.end + RUN_GAP_MAX).contains(&range.start)
                    && range.end - run.range.start <= RUN_LEN_MAX =>
            {
                run.range.end = range.end;
                run.wanted.push(wanted);
            }
            _ => runs.push(Run { range, wanted: vec![wanted] }),
        }
    }
    runs
}
