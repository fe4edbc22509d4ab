//! A server of objects that has no locks, and its clients, who make do with leases. Time is the test's.
//!
//! In: how much time each request takes. Out: stores, one for each client; a client that dies leaves its leases there.

use std::collections::BTreeMap;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use garret_core::{
    Area, Clock, Guard, Key, LeaseTable, Leases, LockMode, MemoryStore, Store, StoreError,
};

/// Time that passes for all at once when anybody sleeps or asks for something.
#[derive(Debug, Default)]
pub struct SharedClock(AtomicU64);

impl Clock for SharedClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn date(&self) -> i64 {
        0
    }

    fn sleep(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap().max(1);
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

/// The server: objects, and leases with the time by its own clock, which is nobody else's.
#[derive(Clone)]
pub struct LocklessServer {
    /// What is stored.
    pub objects: MemoryStore,
    clock: Arc<dyn Clock>,
    leases: Arc<Mutex<BTreeMap<String, Duration>>>,
    /// Held while it serves a request.
    at_work: Arc<Mutex<()>>,
    request: Duration,
}

/// The server's clock is so much ahead.
const AHEAD: Duration = Duration::from_secs(1_790_000_000);

impl LocklessServer {
    /// An empty one, by the clock that all go by. Each request takes so long.
    pub fn new(clock: Arc<dyn Clock>, request: Duration) -> Self {
        LocklessServer {
            objects: MemoryStore::new(),
            clock,
            leases: Arc::default(),
            at_work: Arc::default(),
            request,
        }
    }

    /// A new client, whose leases last so long.
    pub fn client(&self, lease: Duration) -> LocklessClient {
        self.client_by(lease, self.clock.clone())
    }

    /// The same with a clock of its own, which may stand still.
    pub fn client_by(&self, lease: Duration, clock: Arc<dyn Clock>) -> LocklessClient {
        let wire = Wire { server: self.clone(), is_dead: Arc::default() };
        let leases = Leases::new(Arc::new(wire.clone())).unwrap();
        let leases = leases.with_time(lease).with_clock(clock);
        LocklessClient {
            wire,
            leases: Arc::new(leases),
            renew: lease / 24,
            renewed: Arc::default(),
        }
    }

    /// The names of all leases, also of those that are over.
    pub fn leases(&self) -> Vec<String> {
        self.table().keys().cloned().collect()
    }

    /// Puts an object among the leases.
    pub fn put_lease(&self, name: &str) {
        self.put_lease_at(name, Duration::ZERO);
    }

    /// The same as if its time were so much later.
    pub fn put_lease_at(&self, name: &str, later: Duration) {
        self.table().insert(name.to_owned(), AHEAD + self.clock.now() + later);
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Duration>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way from a client to the server.
#[derive(Clone)]
struct Wire {
    server: LocklessServer,
    is_dead: Arc<AtomicBool>,
}

impl Wire {
    /// A request: no time passes for anybody while the server is at it.
    fn request<T>(
        &self,
        object: &str,
        serve: impl FnOnce(&LocklessServer) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.is_dead.load(Ordering::SeqCst) {
            return Err(StoreError::new("reach", object, io::Error::other("this client is dead")));
        }
        let _one = self.server.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.server.request.is_zero() {
            self.server.clock.sleep(self.server.request);
        }
        serve(&self.server)
    }
}

impl LeaseTable for Wire {
    fn put(&self, name: &str) -> Result<(), StoreError> {
        self.request(name, |server| {
            server.put_lease(name);
            Ok(())
        })
    }

    fn list(&self) -> Result<Vec<(String, Duration)>, StoreError> {
        let listed = |server: &LocklessServer| {
            server.table().iter().map(|(name, put)| (name.clone(), *put)).collect()
        };
        self.request("leases/", |server| Ok(listed(server)))
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.request(name, |server| {
            server.table().remove(name);
            Ok(())
        })
    }
}

/// One client. Clones are the same one.
#[derive(Clone)]
pub struct LocklessClient {
    wire: Wire,
    leases: Arc<Leases>,
    renew: Duration,
    renewed: Arc<Mutex<Duration>>,
}

impl LocklessClient {
    /// It reaches nothing any more, and takes nothing back.
    pub fn die(&self) {
        self.wire.is_dead.store(true, Ordering::SeqCst);
    }

    /// Its leases.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// What it holds is renewed in time, as long as it asks for anything.
    fn renew(&self) -> Result<(), StoreError> {
        let now = self.wire.server.clock.now();
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(*renewed) >= self.renew {
            *renewed = now;
            self.leases.renew()?;
        }
        Ok(())
    }

    fn ask<T>(
        &self,
        key: &Key,
        serve: impl FnOnce(&MemoryStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.renew()?;
        self.wire.request(&key.to_string(), |server| serve(&server.objects))
    }

    fn change<T>(
        &self,
        key: &Key,
        serve: impl FnOnce(&MemoryStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.ask(key, |objects| {
            self.leases.permit()?;
            serve(objects)
        })
    }
}

impl Store for LocklessClient {
    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.change(key, |objects| objects.put(key, parts))
    }

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.change(key, |objects| objects.put_new(key, bytes))
    }

    fn get(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.ask(key, |objects| objects.get(key, range))
    }

    fn get_whole(&self, key: &Key, max: u64) -> Result<Vec<u8>, StoreError> {
        self.ask(key, |objects| objects.get_whole(key, max))
    }

    fn len(&self, key: &Key) -> Result<u64, StoreError> {
        self.ask(key, |objects| objects.len(key))
    }

    fn list(&self, area: Area) -> Result<Vec<(Key, u64)>, StoreError> {
        self.ask(&Key::Config, |objects| objects.list(area))
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        match key {
            // Taking back needs no lease.
            Key::Archive(_) | Key::ArchiveCopy(_) => self.ask(key, |objects| objects.delete(key)),
            _ => self.change(key, |objects| objects.delete(key)),
        }
    }

    fn adopt(&self, key: &Key) -> Result<(), StoreError> {
        self.ask(key, |objects| objects.adopt(key))
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn sweep(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn lock(
        &self,
        mode: LockMode,
        patience: Duration,
        waiting: &mut dyn FnMut(&str),
    ) -> Result<Box<dyn Guard>, StoreError> {
        self.leases.lock(mode, patience, waiting)
    }

    fn has_sessions(&self, epochs: RangeInclusive<u64>) -> Result<bool, StoreError> {
        self.leases.has_sessions(epochs)
    }

    fn pass_over(&self, _key: &Key) {}

    fn notices(&self) -> Vec<String> {
        Vec::new()
    }

    fn place(&self) -> String {
        "a server without locks".to_owned()
    }
}
