//! A check of every byte in slices: each run reads the packs that were verified longest ago, for as long as it may, and the
//! next one, of whatever client, goes on. The oracle is what the store was asked for.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::io::Cursor;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use garret_core::{
    Area, CheckReport, Clock, Compression, Destination, Input, Key, MemoryStore, Result, Selection,
    Silent, Store, StoreError, StoreErrorKind,
};
use garret_format::config::KeyMode;
use garret_testkit::{
    Fault, FaultStore, Image, Lab, Random, Recorder, TestClock, Verb, check_options, is_structure,
};

const DAY: i64 = 24 * 60 * 60;
/// 2026-11-26.
const TODAY: i64 = 20_783 * DAY;

/// A store in which a whole pack takes a second to read.
#[derive(Clone)]
struct Slow {
    inner: MemoryStore,
    clock: Arc<TestClock>,
    read: Arc<Mutex<Vec<Key>>>,
    /// Of which packs anything was read.
    touched: Arc<Mutex<BTreeSet<Key>>>,
}

impl Store for Slow {
    garret_testkit::through!(inner: put, put_new, len, list, delete, adopt, sync, sweep);
    garret_testkit::through!(inner: lock, pass_over, has_sessions, notices, place);
    fn get(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        if matches!(key, Key::Pack(_)) {
            self.touched.lock().unwrap().insert(key.clone());
        }
        if matches!(key, Key::Pack(_)) && range == (0..self.inner.len(key)?) {
            self.clock.sleep(Duration::from_secs(1));
            self.read.lock().unwrap().push(key.clone());
        }
        self.inner.get(key, range)
    }
}

/// A repository of several packs, and what is read of it.
struct Victim {
    lab: Lab,
    store: MemoryStore,
    slow: Slow,
}

impl Victim {
    /// Every archive brings three packs: one of its file, and two of its structure.
    fn new(mode: KeyMode, archives: u64) -> Self {
        let (mut lab, store) = Lab::memory(mode);
        lab.skip_sample = true;
        lab.compression = Compression::None;
        for number in 0..archives {
            let reader = Box::new(Cursor::new(Image::noise(number, 200_000).bytes));
            // So long that nobody reads a whole pack of structure who wants its footer, and with no part twice.
            let mut random = Random::new(number);
            let name = (0..65_500).map(|_| b'a' + random.below(26_u8)).collect();
            let inputs = vec![Input::Stream { name, reader }];
            lab.backup_inputs(&number.to_string(), inputs).unwrap();
        }
        let clock = Arc::new(TestClock::new());
        clock.set_date(TODAY);
        let (read, touched) = Default::default();
        let slow = Slow { inner: store.clone(), clock: clock.clone(), read, touched };
        let opened = slow.clone();
        let mut lab = lab.with_store(move || Box::new(opened.clone()));
        lab.clock = clock;
        Victim { lab, store, slow }
    }

    fn packs(&self) -> Vec<Key> {
        self.store.list(Area::Packs).unwrap().into_iter().map(|(key, _)| key).collect()
    }

    fn is_data(&self, pack: &Key) -> bool {
        !is_structure(&self.store.get(pack, 0..8).unwrap())
    }

    /// A check for so many seconds; which packs it read whole, in order.
    fn check(&self, seconds: u64) -> (Vec<Key>, CheckReport, Recorder) {
        let mut options = check_options(true, self.lab.threads);
        options.max_duration = Some(Duration::from_secs(seconds));
        let recorder = Recorder::default();
        self.slow.read.lock().unwrap().clear();
        let report = self.lab.checker().unwrap().check(&options, &recorder).unwrap();
        (std::mem::take(&mut self.slow.read.lock().unwrap()), report, recorder)
    }

    /// The same, where nothing is wrong.
    #[track_caller]
    fn slice(&self, seconds: u64) -> Vec<Key> {
        let (read, report, recorder) = self.check(seconds);
        assert_eq!((recorder.problems(), recorder.notices()), (Vec::new(), Vec::new()));
        assert_eq!(report.verified_packs, read.len() as u64);
        assert_eq!(report.pack_count, self.packs().len() as u64, "each is looked at");
        read
    }

    /// Flips a bit in a pack. Gives its bytes as they were.
    fn rot(&self, key: &Key) -> Vec<u8> {
        let whole = self.store.get(key, 0..self.store.len(key).unwrap()).unwrap();
        let mut bytes = whole.clone();
        bytes[100_000] ^= 4;
        self.store.put(key, &[&bytes]).unwrap();
        whole
    }
}

fn set(keys: &[Key]) -> BTreeSet<Key> {
    keys.iter().cloned().collect()
}

#[test]
fn slices_read_each_pack_once_before_any_is_read_again() {
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        let victim = Victim::new(mode, 3);
        let all = set(&victim.packs());
        for seconds in [1, 3, 4, 10, 100] {
            let runs = all.len().div_ceil(seconds as usize);
            let mut read = Vec::new();
            for run in 0..runs {
                let slice = victim.slice(seconds);
                let expected = (seconds as usize).min(all.len());
                assert_eq!(slice.len(), expected, "run {run} of {seconds} seconds");
                read.extend(slice);
            }
            assert_eq!(set(&read[..all.len()]), all, "{seconds}: each once");
            assert_eq!(read[all.len()..], read[..read.len() - all.len()], "and in the same order");
        }
        // Whole checks count as well.
        assert!(victim.lab.check_reporting(true).unwrap().1.is_empty());
        let verified = victim.lab.reader().unwrap().verified(&Silent).unwrap();
        assert_eq!((verified.never_count, verified.recent_count), (0, 9));
        assert_eq!(verified.oldest, Some(TODAY));
    }
}

#[test]
fn on_threads_slices_cover_everything_too() {
    let mut victim = Victim::new(KeyMode::None, 3);
    victim.lab.threads = 4;
    let mut read = Vec::new();
    for _ in 0..3 {
        let slice = victim.slice(3);
        assert!(slice.len() >= 3);
        read.extend(slice);
    }
    assert_eq!(set(&read), set(&victim.packs()));
}

#[test]
fn damage_is_found_by_the_run_that_reads_it_and_looked_at_again_by_each() {
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        let (victim, order) = loop {
            let victim = Victim::new(mode, 2);
            let order: Vec<Key> = (0..3).flat_map(|_| victim.slice(2)).collect();
            // The order is that of the names, which are random.
            if victim.is_data(&order[3]) {
                break (victim, order);
            }
        };
        let rotten = &order[3];
        let whole = victim.rot(rotten);
        assert_eq!(victim.slice(2), order[..2], "not read, so not found");
        let (read, report, recorder) = victim.check(2);
        assert_eq!(set(&read), set(&order[2..4]));
        assert_eq!((report.damaged_packs, report.verified_packs), (1, 1));
        let named = |recorder: &Recorder| {
            let problems = recorder.heard();
            problems.iter().any(|one| one.subject.as_deref() == Some(&rotten.to_string()))
        };
        assert!(named(&recorder), "{:?}", recorder.problems());
        assert_eq!(report.incomplete.len(), 1, "its archive is named");
        assert_eq!(victim.store.list(Area::Damage).unwrap().len(), 1);
        for next in [&order[4], &order[5], &order[0]] {
            let (read, report, recorder) = victim.check(1);
            let expected = BTreeSet::from([next.clone(), rotten.clone()]);
            assert_eq!(set(&read), expected, "besides, so the round goes on");
            assert!(report.damaged_packs == 1 && named(&recorder));
        }
        victim.store.put(rotten, &[&whole]).unwrap();
        let (read, report, recorder) = victim.check(1);
        assert_eq!((read, report.damaged_packs), (vec![order[1].clone(), rotten.clone()], 0));
        assert!(recorder.notices()[0].ends_with("it counts again"), "{:?}", recorder.notices());
        assert_eq!(victim.store.list(Area::Damage).unwrap(), []);
        assert_eq!(victim.slice(2), [order[2].clone(), order[4].clone()]);
        assert_eq!(victim.slice(100)[3], *rotten, "it has its place in the round again");
    }
}

/// One that rots between two readings of one run, or whose disk does not give the same twice, is told of.
#[test]
fn a_reading_that_fails_once_is_told_of() {
    let victim = Victim::new(KeyMode::None, 3);
    let faults = FaultStore::new(victim.slow.clone());
    let opened = faults.clone();
    let lab = victim.lab.with_store(move || Box::new(opened.clone()));
    let mut options = check_options(true, 1);
    options.max_duration = Some(Duration::from_secs(1));
    let checker = lab.checker().unwrap();
    faults.arm(Fault { verbs: vec![Verb::Get], after: 2, times: 1, kind: StoreErrorKind::Other });
    let recorder = Recorder::default();
    checker.check(&options, &recorder).unwrap();
    assert_eq!(faults.fired(), 1);
    let told = recorder.problems();
    assert!(told.iter().any(|line| line.contains("do not give the same twice")), "{told:?}");
}

#[test]
fn no_clock_changes_the_order() {
    let victim = Victim::new(KeyMode::Passphrase, 2);
    let order: Vec<Key> = (0..3).flat_map(|_| victim.slice(2)).collect();
    for date in [TODAY - 400 * DAY, TODAY + 4000 * DAY, 0, -DAY, i64::MAX, i64::MIN, TODAY] {
        victim.slow.clock.set_date(date);
        let again: Vec<Key> = (0..3).flat_map(|_| victim.slice(2)).collect();
        assert_eq!(again, order, "{date}");
    }
    victim.slow.clock.set_date(TODAY + 31 * DAY);
    victim.slice(2);
    let verified = victim.lab.reader().unwrap().verified(&Silent).unwrap();
    assert_eq!((verified.pack_count, verified.never_count, verified.recent_count), (6, 0, 2));
    assert_eq!(verified.oldest, Some(TODAY));
    victim.slow.clock.set_date(TODAY - 10 * DAY);
    let verified = victim.lab.reader().unwrap().verified(&Silent).unwrap();
    assert_eq!(verified.recent_count, 0, "what is of the future is no news");
}

#[test]
fn a_record_that_is_damaged_forged_old_or_gone_has_packs_read_again_and_no_more() {
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        let victim = Victim::new(mode, 2);
        let record = || {
            victim.store.get(&Key::Verified, 0..victim.store.len(&Key::Verified).unwrap()).unwrap()
        };
        let first = victim.slice(2);
        let old = record();
        let second = victim.slice(2);
        let (stranger, theirs) = Lab::memory(mode);
        stranger.backup_bytes("x", &[1; 100_000]).unwrap();
        stranger.check();
        let foreign = theirs.get(&Key::Verified, 0..theirs.len(&Key::Verified).unwrap()).unwrap();
        let good = record();
        let mut flipped = good.clone();
        flipped[good.len() - 20] ^= 1;
        // Those that begin anew read what was never read, by name; so does one without a record.
        let bad = [&flipped[..], &good[..good.len() - 1], &[], &[7; 50], &foreign];
        for bytes in bad {
            victim.store.put(&Key::Verified, &[bytes]).unwrap();
            let (read, report, recorder) = victim.check(2);
            assert_eq!(recorder.problems(), [""; 0]);
            assert_eq!(report.verified_packs, 2);
            assert_eq!(recorder.notices().len(), 1, "it is told: {:?}", recorder.notices());
            assert!(recorder.notices()[0].contains("packs count as never verified"));
            assert_eq!(read, first, "from the beginning");
            assert_eq!(victim.slice(2), second, "and it was made anew");
        }
        victim.store.delete(&Key::Verified).unwrap();
        assert_eq!(victim.slice(2), first);
        assert_eq!(victim.slice(2), second);
        victim.store.put(&Key::Verified, &[&old]).unwrap();
        assert_eq!(victim.slice(2), second, "an old one has them read again");
        let verified = victim.lab.reader().unwrap().verified(&Silent).unwrap();
        assert_eq!(verified.never_count, 2);
        assert_eq!(set(&victim.slice(2)).intersection(&set(&[first, second].concat())).count(), 0);
    }
}

/// Has somebody else check for four seconds while the first pack is read.
#[derive(Clone)]
struct Shared {
    inner: Slow,
    other: Lab,
    is_over: Arc<AtomicBool>,
}

impl Store for Shared {
    garret_testkit::through!(inner: put, put_new, len, list, delete, adopt, sync, sweep);
    garret_testkit::through!(inner: lock, pass_over, has_sessions, notices, place);
    fn get(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let bytes = self.inner.get(key, range)?;
        let is_first = !self.inner.read.lock().unwrap().is_empty();
        if is_first && !self.is_over.swap(true, Ordering::Relaxed) {
            let mut options = check_options(true, 1);
            options.max_duration = Some(Duration::from_secs(4));
            self.other.checker().unwrap().check(&options, &Silent).unwrap();
        }
        Ok(bytes)
    }
}

/// What `check --verify-data REPO::NAME` is.
#[test]
fn a_check_of_one_archive_reads_the_packs_that_it_needs_and_no_other() {
    let victim = Victim::new(KeyMode::Passphrase, 4);
    let checker = victim.lab.checker().unwrap();
    let mut all = BTreeSet::new();
    for name in victim.lab.names() {
        victim.slow.touched.lock().unwrap().clear();
        let archive = checker.archive(&name).unwrap();
        let (mut everything, options) = (Selection::default(), victim.lab.restore_options());
        let report = checker
            .restore(&archive, &mut everything, Destination::Nowhere, &options, &Silent)
            .unwrap();
        assert_eq!((report.file_count, report.problem_count), (1, 0));
        let touched = std::mem::take(&mut *victim.slow.touched.lock().unwrap());
        // Its file's, and one of the two that have its structure.
        assert_eq!(touched.len(), 2, "{name}");
        assert!(all.is_disjoint(&touched));
        all.extend(touched);
    }
    assert!(victim.packs().iter().all(|pack| all.contains(pack) || !victim.is_data(pack)));
}

/// Two at once: what either has noted is taken up by who notes later.
#[test]
fn two_checks_at_once_read_some_twice_and_lose_nothing() {
    let victim = Victim::new(KeyMode::None, 2);
    let order: Vec<Key> = (0..3).flat_map(|_| victim.slice(2)).collect();
    victim.slow.read.lock().unwrap().clear();
    let store =
        Shared { inner: victim.slow.clone(), other: victim.lab.clone(), is_over: Arc::default() };
    let lab = victim.lab.with_store(move || Box::new(store.clone()));
    let mut options = check_options(true, 1);
    options.max_duration = Some(Duration::from_secs(7));
    lab.checker().unwrap().check(&options, &Silent).unwrap();
    // One read the first four while the other was at the first: it had three seconds left.
    let read = std::mem::take(&mut *victim.slow.read.lock().unwrap());
    assert_eq!(read, [&order[..1], &order[..4], &order[1..3]].concat());
    assert_eq!(victim.slice(3), order[4..].iter().chain(&order[3..4]).cloned().collect::<Vec<_>>());
}

/// A store that has no room for the record.
#[derive(Clone)]
struct Full {
    inner: MemoryStore,
}

impl Store for Full {
    garret_testkit::through!(inner: put_new, get, len, list, delete, adopt, sync, sweep);
    garret_testkit::through!(inner: lock, pass_over, has_sessions, notices, place);
    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        match key {
            Key::Verified => {
                Err(StoreError::new("write", key, std::io::ErrorKind::StorageFull.into()))
            }
            _ => self.inner.put(key, parts),
        }
    }
}

#[test]
fn gc_drops_the_rows_of_packs_that_are_gone() {
    let victim = Victim::new(KeyMode::Passphrase, 4);
    victim.slice(100);
    let len = || victim.store.len(&Key::Verified).unwrap();
    let before = len();
    let full = Full { inner: victim.store.clone() };
    let poor = victim.lab.with_store(move || Box::new(full.clone()));
    victim.lab.delete("2").unwrap();
    poor.gc().unwrap();
    assert_eq!(len(), before, "without room they stay, and gc has done its work");
    victim.lab.gc().unwrap();
    let gone = 12 - victim.packs().len() as u64;
    assert!(gone > 0);
    assert_eq!(before - len(), gone * 12);
    let verified = victim.lab.reader().unwrap().verified(&Silent).unwrap();
    assert_eq!((verified.pack_count, verified.never_count), (12 - gone, 0));
}

/// A check of a repository that may not be written to reads, and leaves it as it is.
#[test]
fn nothing_is_recorded_where_nothing_may_be() {
    let victim = Victim::new(KeyMode::None, 3);
    let mut options = check_options(true, 1);
    options.max_duration = Some(Duration::from_secs(1));
    options.records = false;
    let before = victim.store.objects();
    let checker = victim.lab.checker().unwrap();
    let recorder = Recorder::default();
    assert_eq!(checker.check(&options, &recorder).unwrap().verified_packs, 1);
    assert_eq!(recorder.notices().len(), 1, "{:?}", recorder.notices());
    assert!(victim.store.objects() == before);
    options.records = true;
    for max_duration in [None, Some(Duration::from_secs(1))] {
        let faults = FaultStore::new(victim.slow.clone());
        faults.arm(Fault {
            verbs: vec![Verb::Put],
            after: 0,
            times: Fault::FOR_GOOD,
            kind: StoreErrorKind::Denied,
        });
        let lab = victim.lab.with_store(move || Box::new(faults.clone()));
        options.max_duration = max_duration;
        let recorder = Recorder::default();
        let report = lab.checker().unwrap().check(&options, &recorder).unwrap();
        assert_eq!((report.problem_count, recorder.problems().len()), (0, 0));
        let told = recorder.notices();
        assert_eq!(
            told.len(),
            usize::from(max_duration.is_some()),
            "who goes on by it is told: {told:?}"
        );
    }
    assert!(victim.store.objects() == before);
}
