//! A store whose n-th operation fails: once, or from then on as after a process's death or a full disk.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use garret_core::{Area, Key, Store, StoreError, StoreErrorKind};

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
struct State {
    fault: Option<Fault>,
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
        *self.state() = State { fault: Some(fault), ..State::default() };
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

    fn pass(&self, verb: Verb, object: impl std::fmt::Display) -> Result<(), StoreError> {
        let mut state = self.state();
        state.log.push((verb, object.to_string()));
        let counts = |fault: &Fault| fault.verbs.is_empty() || fault.verbs.contains(&verb);
        if !state.fault.as_ref().is_none_or(counts) {
            return Ok(());
        }
        let number = state.count;
        state.count += 1;
        let Some(fault) = &state.fault else { return Ok(()) };
        if number < fault.after || number - fault.after >= fault.times {
            return Ok(());
        }
        let kind = fault.kind;
        state.fired += 1;
        let source = match kind {
            StoreErrorKind::NoSpace => io::ErrorKind::StorageFull.into(),
            _ => io::Error::other("injected"),
        };
        Err(StoreError { kind, operation: "use", object: object.to_string(), source })
    }
}

impl Store for FaultStore {
    crate::through!(inner: lock, pass_over, notices, place, doubtful);

    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.pass(Verb::Put, key)?;
        self.inner.put(key, parts)
    }

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.pass(Verb::PutNew, key)?;
        self.inner.put_new(key, bytes)
    }

    fn get(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.pass(Verb::Get, key)?;
        self.inner.get(key, range)
    }

    fn len(&self, key: &Key) -> Result<u64, StoreError> {
        self.pass(Verb::Len, key)?;
        self.inner.len(key)
    }

    fn list(&self, area: Area) -> Result<Vec<(Key, u64)>, StoreError> {
        self.pass(Verb::List, format!("{area:?}"))?;
        self.inner.list(area)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.pass(Verb::Delete, key)?;
        self.inner.delete(key)
    }

    fn adopt(&self, key: &Key) -> Result<(), StoreError> {
        self.pass(Verb::Adopt, key)?;
        self.inner.adopt(key)
    }

    fn sweep(&self) -> Result<(), StoreError> {
        self.pass(Verb::Sweep, "tmp")?;
        self.inner.sweep()
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.pass(Verb::Sync, "everything")?;
        self.inner.sync()
    }
}
