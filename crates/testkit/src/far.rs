//! A store that is far away: every request waits, any number of them at once.
//!
//! In: another store, how long each request takes, how many the store wants under way. Out: the same objects; and how many
//! requests there were.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use garret_core::{Area, Key, Properties, Store, StoreError};

/// The store. Clones count together.
#[derive(Clone)]
pub struct FarStore<S> {
    inner: S,
    wait: Duration,
    in_flight: usize,
    requests: Arc<AtomicU64>,
}

impl<S: Store> FarStore<S> {
    /// Each request takes `wait` longer; `in_flight` of them are worth making at once.
    pub fn new(inner: S, wait: Duration, in_flight: usize) -> Self {
        FarStore { inner, wait, in_flight, requests: Arc::default() }
    }

    /// How many requests there were since this was last asked.
    pub fn requests(&self) -> u64 {
        self.requests.swap(0, Ordering::Relaxed)
    }

    fn wait(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if !self.wait.is_zero() {
            std::thread::sleep(self.wait);
        }
    }
}

impl<S: Store> Store for FarStore<S> {
    fn properties(&self) -> Properties {
        Properties::in_flight(self.in_flight)
    }

    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.wait();
        self.inner.put(key, parts)
    }

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.wait();
        self.inner.put_new(key, bytes)
    }

    fn get(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.wait();
        self.inner.get(key, range)
    }

    fn get_whole(&self, key: &Key, max: u64) -> Result<Vec<u8>, StoreError> {
        self.wait();
        self.inner.get_whole(key, max)
    }

    fn len(&self, key: &Key) -> Result<u64, StoreError> {
        self.wait();
        self.inner.len(key)
    }

    fn list(&self, area: Area) -> Result<Vec<(Key, u64)>, StoreError> {
        self.wait();
        self.inner.list(area)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.wait();
        self.inner.delete(key)
    }

    crate::through!(inner: adopt, sync, doubtful, sweep, lock, pass_over, has_sessions, notices, place);
}
