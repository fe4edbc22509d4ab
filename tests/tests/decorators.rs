//! Stores that stand before another: what is tried again is done once, and what is limited is no faster than it may be.
//!
//! In: random sequences of operations with random faults, and the cases that they cannot be trusted to meet. The oracle of
//! `Retry` is the same sequence without faults.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use garret_core::{
    Area, Clock, Key, Limit, LimitOptions, LockMode, MemoryStore, Retry, RetryOptions, Store,
    StoreError, StoreErrorKind,
};
use garret_format::PackId;
use garret_format::config::KeyMode;
use garret_testkit::{Fault, FaultStore, Image, Lab, TestClock, Verb, through};
use proptest::prelude::*;

fn retry_options(tries: u32, time: Duration, pause: Duration, pause_max: Duration) -> RetryOptions {
    let mut options = RetryOptions::default();
    (options.tries, options.time) = (tries, time);
    (options.pause, options.pause_max) = (pause, pause_max);
    options
}

fn tries(tries: u32) -> RetryOptions {
    let mut options = RetryOptions::default();
    options.tries = tries;
    options
}

fn limit_options(
    in_flight: Option<NonZero<usize>>,
    up: Option<NonZero<u64>>,
    down: Option<NonZero<u64>>,
) -> LimitOptions {
    let mut options = LimitOptions::default();
    (options.in_flight, options.up, options.down) = (in_flight, up, down);
    options
}

const SECOND: Duration = Duration::from_secs(1);

/// A store whose operations fail, in memory, and one before it that asks again.
fn asked_again(options: RetryOptions) -> (Retry<FaultStore>, FaultStore, Arc<TestClock>) {
    let (store, clock) = (FaultStore::new(MemoryStore::new()), Arc::new(TestClock::new()));
    let retry = Retry::new(store.clone(), options).with_clock(clock.clone());
    (retry, store, clock)
}

fn transient(after: u64, times: u64) -> Fault {
    Fault { verbs: Vec::new(), after, times, kind: StoreErrorKind::Transient }
}

fn archive(name: u8) -> Key {
    Key::Archive(format!("archive {name}"))
}

/// What a sequence does, and to which of some objects.
#[derive(Clone, Debug)]
enum Operation {
    Put(u8, usize),
    PutNew(u8, usize),
    Get(u8, Range<u64>),
    Len(u8),
    List,
    Delete(u8),
    Adopt(u8),
    Sync,
    Sweep,
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let object = || 0..3u8;
    prop_oneof![
        (object(), 0..40usize).prop_map(|(object, len)| Put(object, len)),
        (object(), 0..40usize).prop_map(|(object, len)| PutNew(object, len)),
        (object(), 0..50u64, 0..50u64).prop_map(|(object, one, other)| Get(object, one..other)),
        object().prop_map(Len),
        Just(List),
        object().prop_map(Delete),
        object().prop_map(Adopt),
        Just(Sync),
        Just(Sweep),
    ]
}

/// What came of an operation, to be compared. No two puts have the same bytes, as no two archives do.
fn outcome(store: &dyn Store, operation: &Operation, number: usize) -> Result<String, String> {
    let bytes = |len: usize| [&number.to_le_bytes()[..], &vec![7; len]].concat();
    let done = match operation {
        Operation::Put(object, len) => store.put(&archive(*object), &[&bytes(*len), b"end"]),
        Operation::PutNew(object, len) => store.put_new(&archive(*object), &bytes(*len)),
        Operation::Get(object, range) => {
            let got = store.get(&archive(*object), range.clone());
            return got.map(|bytes| format!("{bytes:?}")).map_err(shown);
        }
        Operation::Len(object) => {
            return store.len(&archive(*object)).map(|len| len.to_string()).map_err(shown);
        }
        Operation::List => {
            return store.list(Area::Archives).map(|keys| format!("{keys:?}")).map_err(shown);
        }
        Operation::Delete(object) => store.delete(&archive(*object)),
        Operation::Adopt(object) => store.adopt(&archive(*object)),
        Operation::Sync => store.sync(),
        Operation::Sweep => store.sweep(),
    };
    done.map(|()| String::new()).map_err(shown)
}

/// The error but for how often it was tried.
fn shown(error: StoreError) -> String {
    let why = error.source.to_string();
    let why = why.split(" (tried").next().unwrap();
    format!("{:?} {} {}: {why}", error.kind, error.operation, error.object)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_asked_again_gives_what_it_gives_without_faults(
        operations in prop::collection::vec(operation(), 1..40),
        seed in any::<u64>(),
    ) {
        let (plain, below) = (MemoryStore::new(), MemoryStore::new());
        let faulty = FaultStore::new(below.clone());
        faulty.arm_at_random(seed);
        let options = retry_options(100, 1000 * SECOND, SECOND, SECOND);
        let retry = Retry::new(faulty, options).with_clock(Arc::new(TestClock::new()));
        for (number, operation) in operations.iter().enumerate() {
            let (wanted, got) =
                (outcome(&plain, operation, number), outcome(&retry, operation, number));
            prop_assert_eq!(wanted, got, "{:?}, number {}", operation, number);
        }
        prop_assert_eq!(plain.objects(), below.objects());
    }

    #[test]
    fn what_does_not_pass_comes_out_of_the_first_try(
        operations in prop::collection::vec(operation(), 1..20),
        kind in prop::sample::select(vec![
            StoreErrorKind::Denied, StoreErrorKind::NoSpace, StoreErrorKind::NotAFile, StoreErrorKind::Other,
            StoreErrorKind::NotFound, StoreErrorKind::AlreadyExists, StoreErrorKind::WrongLength, StoreErrorKind::Busy,
        ]),
    ) {
        let (retry, store, clock) = asked_again(RetryOptions::default());
        let other = FaultStore::new(MemoryStore::new());
        for (number, operation) in operations.iter().enumerate() {
            let fault = Fault { verbs: Vec::new(), after: 0, times: 1, kind };
            store.arm(fault.clone());
            other.arm(fault);
            prop_assert_eq!(outcome(&other, operation, number), outcome(&retry, operation, number));
            prop_assert_eq!(store.count(), 1);
            prop_assert_eq!(clock.slept(), []);
        }
    }
}

#[test]
fn an_error_says_how_often_it_was_tried_and_pauses_grow_to_their_bound() {
    let options = retry_options(7, 1000 * SECOND, SECOND, 8 * SECOND);
    let (retry, store, clock) = asked_again(options);
    store.arm(transient(0, Fault::FOR_GOOD));
    let error = retry.len(&Key::Config).unwrap_err();
    assert_eq!(garret_core::message(&error), "cannot use config: injected (tried 7 times)");
    assert_eq!((error.kind, store.count()), (StoreErrorKind::Transient, 7));
    let pauses = clock.slept();
    assert_eq!(pauses.len(), 6);
    for (pause, longest) in pauses.iter().zip([1, 2, 4, 8, 8, 8]) {
        let longest = longest * SECOND;
        assert!(*pause >= longest / 2 && *pause <= longest, "{pauses:?}");
    }
    // As many of many clients do not come back at once.
    assert!(pauses[3..].iter().any(|pause| *pause != pauses[3]), "{pauses:?}");
}

#[test]
fn no_try_begins_when_the_time_is_over() {
    let options = retry_options(u32::MAX, 30 * SECOND, SECOND, 4 * SECOND);
    let (retry, store, clock) = asked_again(options);
    store.arm(transient(0, Fault::FOR_GOOD));
    retry.list(Area::Packs).unwrap_err();
    let spent = clock.now();
    assert!(spent <= 30 * SECOND && spent > 25 * SECOND, "{spent:?}");
    let longest = retry_options(3, Duration::MAX, Duration::MAX, SECOND);
    let (retry, store, clock) = asked_again(longest);
    store.arm(transient(0, 2));
    retry.list(Area::Packs).unwrap();
    assert!(clock.now() <= 2 * SECOND, "{:?}", clock.slept());
}

/// A store that takes an hour to notice that its line is dead.
struct Slow {
    inner: FaultStore,
    clock: Arc<TestClock>,
}

impl Store for Slow {
    through!(inner: put, put_new, get, len, list, delete, adopt, sweep, doubtful, lock, pass_over);
    through!(inner: has_sessions, notices, place);

    fn sync(&self) -> Result<(), StoreError> {
        self.clock.sleep(3600 * SECOND);
        self.inner.sync()
    }
}

#[test]
fn when_nobody_waits_any_more_nothing_is_tried_again() {
    let (retry, store, clock) = asked_again(RetryOptions::default());
    let is_ended = Arc::new(AtomicBool::new(false));
    let retry = retry.until(Arc::clone(&is_ended));
    store.arm(transient(0, Fault::FOR_GOOD));
    is_ended.store(true, Ordering::Relaxed);
    let (before, start) = (store.count(), clock.now());
    retry.len(&archive(0)).unwrap_err();
    assert_eq!((store.count() - before, clock.now()), (1, start));
}

#[test]
fn a_slow_operation_is_tried_again_too() {
    let (inner, clock) = (FaultStore::new(MemoryStore::new()), Arc::new(TestClock::new()));
    let slow = Slow { inner: inner.clone(), clock: clock.clone() };
    let retry = Retry::new(slow, RetryOptions::default()).with_clock(clock);
    inner.arm(transient(0, 1));
    retry.sync().unwrap();
    inner.arm(transient(0, Fault::FOR_GOOD));
    retry.sync().unwrap_err();
    assert_eq!(inner.count(), 2, "the second try ended after the time was over");
}

/// A restore of a million files from a server that is gone ends.
#[test]
fn a_store_that_is_gone_costs_the_time_of_one_operation_until_it_answers() {
    let (retry, store, clock) = asked_again(tries(5));
    store.arm(transient(0, 7));
    retry.len(&Key::Config).unwrap_err();
    assert_eq!((store.count(), clock.slept().len()), (5, 4));
    let error = retry.len(&Key::Config).unwrap_err();
    assert_eq!(garret_core::message(&error), "cannot use config: injected");
    retry.sync().unwrap_err();
    assert_eq!((store.count(), clock.slept().len()), (7, 4));
    // An answer is an answer, also if it is an error.
    assert_eq!(retry.len(&Key::Config).unwrap_err().kind, StoreErrorKind::NotFound);
    store.arm(transient(0, 4));
    assert_eq!(retry.len(&Key::Config).unwrap_err().kind, StoreErrorKind::NotFound);
    assert_eq!(store.count(), 5);
}

#[test]
fn a_new_object_whose_answer_was_lost_is_ours_if_its_bytes_are() {
    let put_new = |times| Fault { verbs: vec![Verb::PutNew], ..transient(0, times) };
    for times in 1..4 {
        let (retry, store, _) = asked_again(RetryOptions::default());
        store.arm_answers(put_new(times));
        retry.put_new(&archive(1), b"ours").unwrap();
        // What the try that put it left undone is done: the next sync covers it.
        let log = store.log();
        assert_eq!(log.last().unwrap().0, Verb::Adopt, "{log:?}");
        store.disarm();
        assert_eq!(store.get(&archive(1), 0..4).unwrap(), b"ours");
    }
    for theirs in ["them", "longer", ""] {
        let (retry, store, _) = asked_again(RetryOptions::default());
        store.put(&archive(1), &[theirs.as_bytes()]).unwrap();
        store.arm(put_new(2));
        let error = retry.put_new(&archive(1), b"ours").unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::AlreadyExists);
        assert!(garret_core::message(&error).ends_with(" (tried 3 times)"), "{error:?}");
        store.disarm();
        assert_eq!(store.get(&archive(1), 0..theirs.len() as u64).unwrap(), theirs.as_bytes());
    }
    // Without a try before there is nothing that could be ours.
    let (retry, ..) = asked_again(RetryOptions::default());
    retry.put_new(&archive(1), b"ours").unwrap();
    let error = retry.put_new(&archive(1), b"ours").unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::AlreadyExists);
}

/// A store whose lock cannot be reached for some time, and the patience that it was asked with.
struct Unreachable {
    inner: MemoryStore,
    clock: Arc<TestClock>,
    times: AtomicUsize,
}

impl Store for Unreachable {
    through!(inner: put, put_new, get, len, list, delete, adopt, sync, sweep, doubtful, pass_over);
    through!(inner: has_sessions, notices, place);

    fn lock(
        &self,
        mode: LockMode,
        patience: Duration,
        waiting: &mut dyn FnMut(&str),
    ) -> Result<Box<dyn garret_core::Guard>, StoreError> {
        waiting("somebody");
        let left =
            self.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if left.is_err() {
            return self.inner.lock(mode, patience, waiting);
        }
        self.clock.sleep(SECOND);
        let source = std::io::ErrorKind::ConnectionReset.into();
        Err(StoreError::new("lock", "config", source))
    }
}

#[test]
fn a_lock_is_asked_for_again_while_there_is_patience() {
    let clock = Arc::new(TestClock::new());
    let lock = |times, patience| {
        let inner = MemoryStore::new();
        let store = Unreachable { inner, clock: clock.clone(), times: AtomicUsize::new(times) };
        let options = retry_options(1000, SECOND, SECOND, SECOND);
        let retry = Retry::new(store, options).with_clock(clock.clone());
        let (began, mut told) = (clock.now(), 0);
        let taken = retry.lock(LockMode::Session(0), patience, &mut |_| told += 1);
        assert_eq!(told, 1, "who waits is told once");
        (taken.map(drop), clock.now() - began)
    };
    // Longer than another operation would be tried.
    lock(5, 60 * SECOND).0.unwrap();
    let (taken, spent) = lock(1000, 20 * SECOND);
    assert_eq!(taken.unwrap_err().kind, StoreErrorKind::Transient);
    assert!(spent <= 21 * SECOND && spent > 15 * SECOND, "{spent:?}");
    let (taken, spent) = lock(1, Duration::ZERO);
    assert_eq!((taken.unwrap_err().kind, spent), (StoreErrorKind::Transient, SECOND));
}

#[test]
fn what_had_to_be_asked_again_is_told_once() {
    let (retry, store, _) = asked_again(RetryOptions::default());
    assert_eq!(retry.notices(), [""; 0]);
    store.arm(transient(0, 1));
    retry.sync().unwrap();
    let text = "1 request was made again: cannot use everything: injected";
    assert_eq!(retry.notices(), [text]);
    assert_eq!(retry.notices(), [""; 0]);
    store.arm(transient(0, 3));
    retry.sweep().unwrap();
    let text = "3 requests were made again, the last for: cannot use tmp: injected";
    assert_eq!(retry.notices(), [text]);
}

/// Everything that is done in a night, over a bad line, with threads.
#[test]
fn a_night_over_a_bad_line_ends_well() {
    for seed in 0..20 {
        let faulty = FaultStore::new(MemoryStore::new());
        let inside = faulty.clone();
        let clock = Arc::new(TestClock::new());
        let options = tries(100);
        let mut lab = Lab::over(
            move || Box::new(Retry::new(inside.clone(), options).with_clock(clock.clone())),
            KeyMode::None,
        );
        lab.threads = 3;
        faulty.arm_at_random(seed);
        let first = Image::noise(seed, 400_000).bytes;
        let second = [&first[..200_000], &Image::noise(seed + 100, 200_000).bytes].concat();
        lab.backup_bytes("first", &first).unwrap();
        lab.backup_bytes("second", &second).unwrap();
        lab.delete("first").unwrap();
        lab.gc().unwrap();
        assert!(lab.restore_bytes("second").unwrap() == second, "seed {seed}");
        lab.check();
        assert!(faulty.fired() > 0, "seed {seed}: nothing failed");
    }
}

/// Counts who is in it, and lets nobody out before so many are.
struct Crowd {
    inner: MemoryStore,
    inside: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    together: Barrier,
}

impl Store for Crowd {
    through!(inner: put, put_new, get, list, delete, adopt, sync, sweep, doubtful, lock, pass_over);
    through!(inner: has_sessions, notices, place);

    fn properties(&self) -> garret_core::Properties {
        garret_core::Properties::in_flight(16)
    }

    fn len(&self, key: &Key) -> Result<u64, StoreError> {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
        self.together.wait();
        self.inside.fetch_sub(1, Ordering::SeqCst);
        self.inner.len(key)
    }
}

#[test]
fn so_many_requests_are_under_way_and_no_more() {
    let inner = MemoryStore::new();
    inner.put(&Key::Config, &[b"x"]).unwrap();
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let crowd = Crowd { inner, inside, most: most.clone(), together: Barrier::new(3) };
    let options = limit_options(NonZero::new(3), None, None);
    let store = Limit::new(crowd, options);
    assert_eq!(store.properties().in_flight, 3);
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| assert_eq!(store.len(&Key::Config).unwrap(), 1));
        }
    });
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// After every request: no more than the rate gives, and one request.
    #[test]
    fn bytes_are_no_faster_than_they_may_be(
        lens in prop::collection::vec(0..50_000usize, 1..30),
        (up, down) in (1..1_000_000u64, 1..1_000_000u64),
    ) {
        let clock = Arc::new(TestClock::new());
        let options = limit_options(None, NonZero::new(up), NonZero::new(down));
        let store = Limit::new(MemoryStore::new(), options).with_clock(clock.clone());
        let bytes = vec![1; 50_000];
        let mut sent = 0;
        for (number, len) in lens.iter().enumerate() {
            match number % 2 {
                0 => store.put(&archive(0), &[&bytes[..len / 2], &bytes[len / 2..*len]]).unwrap(),
                _ => store.put_new(&archive(number as u8), &bytes[..*len]).unwrap(),
            }
            let allowed = clock.now().as_nanos() * u128::from(up) / 1_000_000_000;
            prop_assert!(sent <= allowed + 1, "{} up by {:?}", sent, clock.now());
            sent += *len as u128;
        }
        store.put(&archive(0), &[&bytes]).unwrap();
        let (began, mut came) = (clock.now(), 0);
        for len in &lens {
            prop_assert_eq!(store.get(&archive(0), 0..*len as u64).unwrap().len(), *len);
            let allowed = (clock.now() - began).as_nanos() * u128::from(down) / 1_000_000_000;
            prop_assert!(came <= allowed + 1, "{} down by {:?}", came, clock.now() - began);
            came += *len as u128;
        }
        // And no slower: the last request is not paid for yet, and the puts were.
        let last = *lens.last().unwrap() as u128;
        let seconds = (clock.now() - began).as_secs_f64();
        let needed = (came - last) as f64 / down as f64 + sent as f64 / up as f64;
        prop_assert!(seconds <= needed + 0.001, "{} s for {} s", seconds, needed);
    }
}

#[test]
fn what_was_not_used_is_not_saved_up_and_what_does_not_come_is_not_paid_for() {
    let clock = Arc::new(TestClock::new());
    let options = limit_options(None, None, NonZero::new(1000));
    let store = Limit::new(MemoryStore::new(), options).with_clock(clock.clone());
    store.put(&Key::Config, &[&[1; 2000]]).unwrap();
    assert_eq!(clock.now(), Duration::ZERO);
    let no_pack = Key::Pack(PackId::from_bytes([1; 32]));
    for range in [0..u64::MAX, 0..2001] {
        assert!(
            store.get(&Key::Config, range.clone()).is_err() && store.get(&no_pack, range).is_err()
        );
    }
    clock.sleep(100 * SECOND);
    let began = clock.now();
    for seconds in [0, 2, 4] {
        store.get(&Key::Config, 0..2000).unwrap();
        assert_eq!(clock.now() - began, seconds * SECOND);
    }
}

#[test]
fn who_waits_for_a_lock_keeps_nobody_from_the_store() {
    let options = limit_options(NonZero::new(1), None, None);
    let store = Limit::new(MemoryStore::new(), options);
    store.put(&Key::Config, &[b"x"]).unwrap();
    let held = store.lock(LockMode::Exclusive, Duration::ZERO, &mut |_| {}).unwrap();
    let begun = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let patience = Duration::from_secs(600);
            let mut waiting = |_: &str| {
                begun.wait();
            };
            drop(store.lock(LockMode::Session(0), patience, &mut waiting).unwrap());
        });
        begun.wait();
        // Whoever holds it ends his work while another waits.
        assert_eq!(store.len(&Key::Config).unwrap(), 1);
        drop(held);
    });
}
