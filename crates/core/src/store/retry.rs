//! Asks a store again when an error of it may pass.
//!
//! In: a store behind a network, or any other; how often and how long it is asked. Out: the same store, whose transient
//! errors come out only when trying again did not help. Promises: every other error comes out of the first try that meets it,
//! with its kind; what was made although its answer was lost is not taken for somebody else's; a store that is gone costs the
//! time of one operation, not of each.

use std::fmt;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{
    Area, Clock, Guard, Key, LockMode, Properties, Store, StoreError, StoreErrorKind, SystemClock,
    Traffic,
};

/// How often and how long a store is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryOptions {
    /// Most tries of one operation, the first included.
    pub tries: u32,
    /// No try begins later than this after the first failed. A try that is under way is not cut short: the store's own
    /// limits of time do that.
    pub time: Duration,
    /// The longest pause after the first try; it doubles after each.
    pub pause: Duration,
    /// The longest pause of all. Each is drawn between half of what it may be and that, so that not all clients of a server
    /// come back at once.
    pub pause_max: Duration,
}

/// Long enough for a server to be started again.
impl Default for RetryOptions {
    fn default() -> Self {
        RetryOptions {
            tries: 15,
            time: Duration::from_secs(600),
            pause: Duration::from_millis(500),
            pause_max: Duration::from_secs(60),
        }
    }
}

/// A store that is asked again.
///
/// Every operation does the same when it is done twice, but for `put_new`: if a later try finds an object, it is compared
/// with what was to be put, and the same bytes are the work of an earlier try. A lock is asked for again while there is
/// patience left.
///
/// ```
/// use garret_core::{MemoryStore, Retry, RetryOptions};
///
/// // Any store in the place of this one.
/// let store = Retry::new(MemoryStore::new(), RetryOptions::default());
/// ```
pub struct Retry<S> {
    inner: S,
    options: RetryOptions,
    clock: Arc<dyn Clock>,
    /// It did not answer to the last operation however often it was asked: until it answers again, each is tried once.
    is_down: AtomicBool,
    /// Whether nobody waits for answers any more.
    is_ended: Arc<AtomicBool>,
    untold: Mutex<Untold>,
}

/// What was tried again since the last notices.
#[derive(Debug, Default)]
struct Untold {
    count: u64,
    /// The error of the last, in words.
    last: String,
}

impl<S: fmt::Debug> fmt::Debug for Retry<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Retry");
        shown.field("inner", &self.inner).field("options", &self.options).finish_non_exhaustive()
    }
}

impl<S: Store> Retry<S> {
    /// The store `inner`, asked again as `options` say.
    pub fn new(inner: S, options: RetryOptions) -> Self {
        Retry {
            inner,
            options,
            clock: Arc::new(SystemClock::new()),
            is_down: AtomicBool::new(false),
            is_ended: Arc::default(),
            untold: Mutex::default(),
        }
    }

    /// The store itself: what is asked of it is asked once.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// As soon as `is_ended` is true nothing is tried again.
    #[must_use]
    pub fn until(self, is_ended: Arc<AtomicBool>) -> Self {
        Retry { is_ended, ..self }
    }

    /// Measures time by another clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Retry { clock, ..self }
    }

    /// Tries an operation until it gives something else than a transient error, for as long as the options allow. The
    /// operation is told which try it is, from 1.
    fn again<T>(
        &self,
        operation: impl FnMut(u32) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.again_until(None, operation)
    }

    /// The same; no try begins later than at `end`, where that is known before the first fails.
    fn again_until<T>(
        &self,
        mut end: Option<Duration>,
        mut operation: impl FnMut(u32) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (mut tries, mut pause) = (1, self.options.pause);
        loop {
            let error = match operation(tries) {
                Err(error) if error.kind == StoreErrorKind::Transient => error,
                answer => {
                    self.is_down.store(false, Ordering::Relaxed);
                    return answer.map_err(|error| counted(error, tries));
                }
            };
            let wait = drawn(pause.min(self.options.pause_max));
            let now = self.clock.now();
            let end = *end.get_or_insert(now.saturating_add(self.options.time));
            let is_over = tries >= self.options.tries
                || now.saturating_add(wait) > end
                || self.is_ended.load(Ordering::Relaxed);
            if is_over || self.is_down.load(Ordering::Relaxed) {
                self.is_down.fetch_or(tries > 1, Ordering::Relaxed);
                return Err(counted(error, tries));
            }
            self.note(&error);
            self.clock.sleep(wait);
            pause = pause.saturating_mul(2);
            tries += 1;
        }
    }

    /// Remembers, for the next notices, that something has to be tried again.
    fn note(&self, error: &StoreError) {
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        untold.count += 1;
        untold.last = format!("{error}: {}", error.source);
    }

    /// Whether the object is there with these bytes.
    fn holds(&self, key: &Key, bytes: &[u8]) -> Result<bool, StoreError> {
        let read = || {
            let len = self.inner.len(key)?;
            Ok(len == bytes.len() as u64 && self.inner.get(key, 0..len)? == bytes)
        };
        let is_other = |error: &StoreError| {
            matches!(error.kind, StoreErrorKind::NotFound | StoreErrorKind::WrongLength)
        };
        read().or_else(|error| if is_other(&error) { Ok(false) } else { Err(error) })
    }
}

/// A pause of half to all of `longest`.
pub(super) fn drawn(longest: Duration) -> Duration {
    let half = longest / 2;
    // Without random numbers clients come back together, which is no reason to fail.
    let random = u128::from(getrandom::u32().unwrap_or(u32::MAX));
    let nanos = (half.as_nanos() * random) >> u32::BITS;
    half.saturating_add(u64::try_from(nanos).map_or(half, Duration::from_nanos))
}

/// The error, with how often the operation was tried if that was more than once.
fn counted(error: StoreError, tries: u32) -> StoreError {
    if tries == 1 {
        return error;
    }
    let (kind, text) = (error.source.kind(), format!("{} (tried {tries} times)", error.source));
    StoreError { source: io::Error::new(kind, text), ..error }
}

impl<S: Store> Store for Retry<S> {
    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn is_cold(&self, key: &Key) -> bool {
        self.inner.is_cold(key)
    }

    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.again(|_| self.inner.put(key, parts))
    }

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.again(|tries| match self.inner.put_new(key, bytes) {
            Err(error) if error.kind == StoreErrorKind::AlreadyExists && tries > 1 => {
                if !self.holds(key, bytes)? {
                    return Err(error);
                }
                // The try that put it failed before it was over: it may not be in what the next sync covers.
                self.inner.adopt(key)
            }
            answer => answer,
        })
    }

    fn get(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.again(|_| self.inner.get(key, range.clone()))
    }

    fn get_whole(&self, key: &Key, max: u64) -> Result<Vec<u8>, StoreError> {
        self.again(|_| self.inner.get_whole(key, max))
    }

    fn len(&self, key: &Key) -> Result<u64, StoreError> {
        self.again(|_| self.inner.len(key))
    }

    fn list(&self, area: Area) -> Result<Vec<(Key, u64)>, StoreError> {
        self.again(|_| self.inner.list(area))
    }

    /// Once; then each kind by itself, which is tried as often as any: all at once may be one request, or as many as kinds.
    fn list_all(&self, areas: &[Area]) -> Result<Vec<(Key, u64)>, StoreError> {
        let error = match self.inner.list_all(areas) {
            Err(error) if error.kind == StoreErrorKind::Transient => error,
            answer => return answer,
        };
        self.note(&error);
        self.list_each(areas)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.again(|_| self.inner.delete(key))
    }

    fn adopt(&self, key: &Key) -> Result<(), StoreError> {
        self.again(|_| self.inner.adopt(key))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.again(|_| self.inner.sync())
    }

    fn doubtful(&self) -> Result<Vec<String>, StoreError> {
        self.again(|_| self.inner.doubtful())
    }

    fn strangers(&self) -> Result<Vec<(Key, u64)>, StoreError> {
        self.again(|_| self.inner.strangers())
    }

    fn sweep(&self) -> Result<(), StoreError> {
        self.again(|_| self.inner.sweep())
    }

    fn lock(
        &self,
        mode: LockMode,
        patience: Duration,
        waiting: &mut dyn FnMut(&str),
    ) -> Result<Box<dyn Guard>, StoreError> {
        let end = self.clock.now().saturating_add(patience);
        let mut is_told = false;
        let mut waiting = |who: &str| {
            if !std::mem::replace(&mut is_told, true) {
                waiting(who);
            }
        };
        self.again_until(Some(end), |_| {
            let left = end.saturating_sub(self.clock.now());
            self.inner.lock(mode, left, &mut waiting)
        })
    }

    fn has_sessions(&self, epochs: RangeInclusive<u64>) -> Result<bool, StoreError> {
        self.again(|_| self.inner.has_sessions(epochs.clone()))
    }

    fn pass_over(&self, key: &Key) {
        self.inner.pass_over(key);
    }

    fn traffic(&self) -> Option<Traffic> {
        self.inner.traffic()
    }

    fn is_exclusive(&self) -> Result<Option<bool>, StoreError> {
        self.again(|_| self.inner.is_exclusive())
    }

    fn notices(&self) -> Vec<String> {
        let mut lines = self.inner.notices();
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        let Untold { count, last } = std::mem::take(&mut *untold);
        match count {
            0 => {}
            1 => lines.push(format!("1 request was made again: {last}")),
            count => lines.push(format!("{count} requests were made again, the last for: {last}")),
        }
        lines
    }

    fn place(&self) -> String {
        self.inner.place()
    }
}
