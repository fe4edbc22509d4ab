//! A store whose n-th operation fails: once, or from then on as after a process's death or a full disk; before it is done, or
//! after, as when the answer is lost on its way.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use garret_core::{Area, Key, Store, StoreError, StoreErrorKind};

use crate::Random;

/// The operations that are counted and can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `put`.
    Put,
    /// `put_new`.
    PutNew,
    /// `get`.
    Get,
    /// `len`.
    Len,
    /// `list`.
    List,
    /// `delete`.
    Delete,
    /// `adopt`.
    Adopt,
    /// `sync`.
    Sync,
    /// `sweep`.
    Sweep,
}

/// What fails, and how.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which operations count; all if empty.
    pub verbs: Vec<Verb>,
    /// The first of them that fails: 0 for the very next one.
    pub after: u64,
    /// How many fail: 1 for a hiccup, [`Fault::FOR_GOOD`] for a death.
    pub times: u64,
    /// The error.
    pub kind: StoreErrorKind,
}

impl Fault {
    /// Nothing works any more.
    pub const FOR_GOOD: u64 = u64::MAX;
}

/// Passes everything on to another store until its time has come. Clones share the count.
#[derive(Clone)]
pub struct FaultStore {
    inner: Arc<dyn Store>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
enum Plan {
    #[default]
    Fine,
    /// Whether what fails has been done.
    Fault(Fault, bool),
    AtRandom(Random),
}

#[derive(Default)]
struct State {
    plan: Plan,
    count: u64,
    fired: u64,
    log: Vec<(Verb, String)>,
}

impl FaultStore {
    /// A store that works, over `inner`.
    pub fn new(inner: impl Store + 'static) -> Self {
        FaultStore { inner: Arc::new(inner), state: Arc::default() }
    }

    /// Starts to count anew; `fault` will happen.
    pub fn arm(&self, fault: Fault) {
        *self.state() = State { plan: Plan::Fault(fault, false), ..State::default() };
    }

    /// The same, but what fails is done: only its answer is lost.
    pub fn arm_answers(&self, fault: Fault) {
        *self.state() = State { plan: Plan::Fault(fault, true), ..State::default() };
    }

    /// A bad line: every fourth operation or so fails with a transient error, half of those after they were done.
    pub fn arm_at_random(&self, seed: u64) {
        *self.state() = State { plan: Plan::AtRandom(Random::new(seed)), ..State::default() };
    }

    /// Everything works again; the count starts anew.
    pub fn disarm(&self) {
        *self.state() = State::default();
    }

    /// Operations since the last call of `arm` or `disarm`; with a fault armed, those it counts.
    pub fn count(&self) -> u64 {
        self.state().count
    }

    /// How many operations failed by the fault.
    pub fn fired(&self) -> u64 {
        self.state().fired
    }

    /// The operations since the last call of `arm` or `disarm`, and what on.
    pub fn log(&self) -> Vec<(Verb, String)> {
        self.state().log.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error that this operation gets, and whether it is done all the same.
    fn fault(&self, verb: Verb, object: String) -> Option<(StoreError, bool)> {
        let mut state = self.state();
        let State { plan, count, fired, log } = &mut *state;
        log.push((verb, object.clone()));
        let (kind, is_done) = match plan {
            Plan::Fault(fault, _) if !fault.verbs.is_empty() && !fault.verbs.contains(&verb) => {
                return None;
            }
            Plan::Fault(fault, is_done) => {
                let is_due = *count >= fault.after && *count - fault.after < fault.times;
                (is_due.then_some(fault.kind), *is_done)
            }
            Plan::AtRandom(random) => {
                let drawn = random.below(8);
                ((drawn < 2).then_some(StoreErrorKind::Transient), drawn == 1)
            }
            Plan::Fine => (None, false),
        };
        *count += 1;
        let kind = kind?;
        *fired += 1;
        let source = match kind {
            StoreErrorKind::NoSpace => io::ErrorKind::StorageFull.into(),
            _ => io::Error::other("injected"),
        };
        Some((StoreError { kind, operation: "use", object, source }, is_done))
    }

    fn pass<T>(
        &self,
        verb: Verb,
        object: impl std::fmt::Display,
        operation: impl FnOnce(&dyn Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.fault(verb, object.to_string()) {
            None => operation(&*self.inner),
            Some((error, is_done)) => {
                let _lost = is_done.then(|| operation(&*self.inner));
                Err(error)
            }
        }
    }
}

impl Store for FaultStore {
    crate::through!(inner: lock, pass_over, has_sessions, notices, place, doubtful);

    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.pass(Verb::Put, key, |inner| inner.put(key, parts))
    }

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.pass(Verb::PutNew, key, |inner| inner.put_new(key, bytes))
    }

    fn get(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.pass(Verb::Get, key, |inner| inner.get(key, range))
    }

    fn get_whole(&self, key: &Key, max: u64) -> Result<Vec<u8>, StoreError> {
        self.pass(Verb::Get, key, |inner| inner.get_whole(key, max))
    }

    fn len(&self, key: &Key) -> Result<u64, StoreError> {
        self.pass(Verb::Len, key, |inner| inner.len(key))
    }

    fn list(&self, area: Area) -> Result<Vec<(Key, u64)>, StoreError> {
        self.pass(Verb::List, format!("{area:?}"), |inner| inner.list(area))
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.pass(Verb::Delete, key, |inner| inner.delete(key))
    }

    fn adopt(&self, key: &Key) -> Result<(), StoreError> {
        self.pass(Verb::Adopt, key, |inner| inner.adopt(key))
    }

    fn sweep(&self) -> Result<(), StoreError> {
        self.pass(Verb::Sweep, "tmp", |inner| inner.sweep())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.pass(Verb::Sync, "everything", |inner| inner.sync())
    }
}
