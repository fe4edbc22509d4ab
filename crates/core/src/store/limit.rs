//! Asks a store for no more than it, or the line to it, should give.
//!
//! In: a store; how many requests may be under way, how many bytes may go up and down in a second. Out: the same store,
//! slower. Promises: in any stretch of time there are no more bytes than the rate gives, and the requests that began at its
//! start; a wait for a lock is no request, so whoever waits keeps nobody from giving it back.

use std::fmt;
use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::{Range, RangeInclusive};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{
    Area, Clock, Guard, Key, LockMode, Pace, Properties, Store, StoreError, SystemClock, Traffic,
};

/// What is limited; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitOptions {
    /// Most requests under way.
    pub in_flight: Option<NonZeroUsize>,
    /// Bytes of objects that are put in a second.
    pub up: Option<NonZeroU64>,
    /// Bytes of objects that are got in a second.
    pub down: Option<NonZeroU64>,
}

/// A store that is asked for less. Below [`Retry`](super::Retry), so that who pauses is not under way.
///
/// A request goes as a whole when it is its turn: what it was too fast is waited for by the next. What a `put` sends is paid
/// for before it begins, what a `get` brings when it is there.
///
/// ```
/// use garret_core::{Limit, LimitOptions, MemoryStore};
///
/// // Any store in the place of this one; at most 20 MB/s up.
/// let mut options = LimitOptions::default();
/// options.up = std::num::NonZero::new(20_000_000);
/// let store = Limit::new(MemoryStore::new(), options);
/// ```
pub struct Limit<S> {
    inner: S,
    clock: Arc<dyn Clock>,
    places: Option<Permits>,
    up: Option<Pace>,
    down: Option<Pace>,
}

impl<S: fmt::Debug> fmt::Debug for Limit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Requests that may begin.
struct Permits {
    count: NonZeroUsize,
    free: Mutex<usize>,
    left: Condvar,
}

/// A request under way.
struct Permit<'a>(&'a Permits);

impl Permits {
    fn free(&self) -> MutexGuard<'_, usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place.
    fn take(&self) -> Permit<'_> {
        let waited = self.left.wait_while(self.free(), |free| *free == 0);
        *waited.unwrap_or_else(PoisonError::into_inner) -= 1;
        Permit(self)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.free() += 1;
        self.0.left.notify_one();
    }
}

impl<S: Store> Limit<S> {
    /// The store `inner`, asked for no more than `options` say.
    pub fn new(inner: S, options: LimitOptions) -> Self {
        let places = |count: NonZeroUsize| Permits {
            count,
            free: Mutex::new(count.get()),
            left: Condvar::new(),
        };
        Limit {
            inner,
            clock: Arc::new(SystemClock::new()),
            places: options.in_flight.map(places),
            up: options.up.map(Pace::new),
            down: options.down.map(Pace::new),
        }
    }

    /// Measures time by another clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Limit { clock, ..self }
    }

    /// Waits until `len` bytes may go.
    fn wait(&self, pace: Option<&Pace>, len: u64) {
        let time = pace.map_or(Duration::ZERO, |pace| pace.take(len, self.clock.now()));
        if !time.is_zero() {
            self.clock.sleep(time);
        }
    }

    /// Makes a request for bytes, when those that were fetched before are paid for.
    fn fetch(
        &self,
        request: impl FnOnce(&S) -> Result<Vec<u8>, StoreError>,
    ) -> Result<Vec<u8>, StoreError> {
        self.wait(self.down.as_ref(), 0);
        let bytes = self.request(request)?;
        // Not before it came: a range that nobody has would be waited for without end.
        if let Some(down) = &self.down {
            down.take(bytes.len() as u64, self.clock.now());
        }
        Ok(bytes)
    }

    /// Makes a request when there is a place for it.
    fn request<T>(&self, request: impl FnOnce(&S) -> T) -> T {
        let _place = self.places.as_ref().map(Permits::take);
        request(&self.inner)
    }
}

impl<S: Store> Store for Limit<S> {
    fn properties(&self) -> Properties {
        let mut properties = self.inner.properties();
        if let Some(places) = &self.places {
            properties.in_flight = properties.in_flight.min(places.count.get());
        }
        properties
    }

    fn is_cold(&self, key: &Key) -> bool {
        self.inner.is_cold(key)
    }

    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.wait(self.up.as_ref(), parts.iter().map(|part| part.len() as u64).sum());
        self.request(|inner| inner.put(key, parts))
    }

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.wait(self.up.as_ref(), bytes.len() as u64);
        self.request(|inner| inner.put_new(key, bytes))
    }

    fn get(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.fetch(|inner| inner.get(key, range))
    }

    fn get_whole(&self, key: &Key, max: u64) -> Result<Vec<u8>, StoreError> {
        self.fetch(|inner| inner.get_whole(key, max))
    }

    fn len(&self, key: &Key) -> Result<u64, StoreError> {
        self.request(|inner| inner.len(key))
    }

    fn list(&self, area: Area) -> Result<Vec<(Key, u64)>, StoreError> {
        self.request(|inner| inner.list(area))
    }

    fn list_all(&self, areas: &[Area]) -> Result<Vec<(Key, u64)>, StoreError> {
        self.request(|inner| inner.list_all(areas))
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.request(|inner| inner.delete(key))
    }

    fn adopt(&self, key: &Key) -> Result<(), StoreError> {
        self.request(|inner| inner.adopt(key))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.request(|inner| inner.sync())
    }

    fn doubtful(&self) -> Result<Vec<String>, StoreError> {
        self.request(|inner| inner.doubtful())
    }

    fn strangers(&self) -> Result<Vec<(Key, u64)>, StoreError> {
        self.request(|inner| inner.strangers())
    }

    fn sweep(&self) -> Result<(), StoreError> {
        self.request(|inner| inner.sweep())
    }

    fn lock(
        &self,
        mode: LockMode,
        patience: Duration,
        waiting: &mut dyn FnMut(&str),
    ) -> Result<Box<dyn Guard>, StoreError> {
        self.inner.lock(mode, patience, waiting)
    }

    fn has_sessions(&self, epochs: RangeInclusive<u64>) -> Result<bool, StoreError> {
        self.request(|inner| inner.has_sessions(epochs))
    }

    fn pass_over(&self, key: &Key) {
        self.inner.pass_over(key);
    }

    fn traffic(&self) -> Option<Traffic> {
        self.inner.traffic()
    }

    fn is_exclusive(&self) -> Result<Option<bool>, StoreError> {
        self.request(|inner| inner.is_exclusive())
    }

    fn notices(&self) -> Vec<String> {
        self.inner.notices()
    }

    fn place(&self) -> String {
        self.inner.place()
    }
}
