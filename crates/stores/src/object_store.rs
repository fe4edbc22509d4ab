//! A store whose objects are in a bucket, or on a server of SFTP.
//!
//! In: a [`Place`]. Out: a [`Store`]. Promises: the contract of the core, on a server that has no locks:
//!
//! - What a [`Service`] puts a reader sees as a whole or not at all.
//! - `put_new` believes the server only after it was seen to keep a second one out (`probe.rs`). Where it does not, who
//!   creates claims the name first, by a lease that excludes all others for as long as that takes.
//! - Leases stand for locks. Whoever has lost his writes nothing more, and may only take back what he published.
//! - What nobody else writes while this client has its lease is asked for once (`records.rs`).

use std::io;
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use garret_core::{
    Area, Guard, Key, LEASE_TIME, LeaseTable, Leases, LockMode, Properties, Store, StoreError,
    StoreErrorKind, Traffic,
};
use garret_remote::Removable;

use crate::first::{FIRST_LEN_MAX, First, list};
use crate::names::{CLAIMS, LEASES, PROBES, TMP, directory_of, is_passing, key_of, name_of};
use crate::paces::Paces;
use crate::place::Place;
use crate::probe;
use crate::records::Records;
use crate::service::Service;
use crate::way::way_to;

/// Requests under way: one over a line of 100 ms moves next to nothing.
const IN_FLIGHT: usize = 16;
/// And at a pace: each has to move now and then.
const IN_FLIGHT_PACED: usize = 4;
/// How long a claim lasts that is not given back, and how long one is waited for: two puts of an archive.
const CLAIM_TIME: Duration = Duration::from_secs(4 * 60);
/// Pauses between requests of leases that fail on the way.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
    Duration::from_millis(3200),
];
/// A repository's objects below a prefix of a bucket.
pub struct ObjectStore {
    service: Arc<dyn Service>,
    paces: Arc<Paces>,
    leases: Leases,
    exclusion: Arc<Exclusion>,
    first: First,
    records: Records,
    in_flight: usize,
    /// Whether nothing was there when this was opened, and nobody else made anything since.
    is_new: AtomicBool,
    /// Whether anything was put.
    has_put: AtomicBool,
}

/// Whether the server keeps a second one from creating what is there; unknown until a pack is put or something is created.
#[derive(Default)]
struct Exclusion {
    known: Mutex<Option<bool>>,
    /// Whether somebody looks, or has looked.
    is_asked: AtomicBool,
}

impl Exclusion {
    fn is_there(&self, service: &dyn Service) -> Result<bool, StoreError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match *known {
            Some(is_there) => Ok(is_there),
            None => Ok(*known.insert(probe::is_exclusive(service)?)),
        }
    }
}

/// Leases as empty objects.
struct Table {
    service: Arc<dyn Service>,
    directory: String,
}

impl LeaseTable for Table {
    fn put(&self, name: &str) -> Result<(), StoreError> {
        again(|| self.service.put(&format!("{}{name}", self.directory), &[], false))
    }

    fn list(&self) -> Result<Vec<(String, Duration)>, StoreError> {
        let listed = again(|| self.service.list(&self.directory, usize::MAX))?.into_iter();
        let leases = listed.filter_map(|found| {
            Some((found.name.strip_prefix(&self.directory)?.to_owned(), found.put?))
        });
        Ok(leases.collect())
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        again(|| self.service.delete(&format!("{}{name}", self.directory)))
    }
}

/// Makes a request of leases up to seven times: who will not wait for others waits for the line all the same, and one that is
/// given back nobody asks for again.
fn again<T>(request: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    for pause in PAUSES {
        match request() {
            Err(error) if error.kind == StoreErrorKind::Transient => std::thread::sleep(pause),
            answer => return answer,
        }
    }
    request()
}

fn leases(service: &Arc<dyn Service>, directory: String) -> Result<Leases, StoreError> {
    let table = Table { service: Arc::clone(service), directory };
    Leases::new(Arc::new(table)).map_err(|source| StoreError::new("lock", service.place(), source))
}

impl ObjectStore {
    /// The store at `place`, over a line on which no more goes than `paces` lets; nothing is asked yet.
    ///
    /// # Errors
    /// No random numbers or threads; an endpoint that is none.
    pub fn new(place: Place, paces: Paces) -> Result<Self, StoreError> {
        let in_flight = if paces.are_any() { IN_FLIGHT_PACED } else { IN_FLIGHT };
        let paces = Arc::new(paces);
        let service: Arc<dyn Service> = Arc::from(way_to(place, Arc::clone(&paces))?);
        let leases = leases(&service, LEASES.to_owned())?;
        let (exclusion, first, records) = Default::default();
        let (is_new, has_put) = Default::default();
        Ok(ObjectStore {
            service,
            paces,
            leases,
            exclusion,
            first,
            records,
            in_flight,
            is_new,
            has_put,
        })
    }

    /// Finds a repository there, and looks for what will be asked for next beside that.
    ///
    /// # Errors
    /// `NotFound` if there is none; the store cannot be read.
    pub fn find(&self) -> Result<(), StoreError> {
        self.service.connect()?;
        std::thread::scope(|scope| {
            scope.spawn(|| self.first.find(&*self.service, &Key::Condemned));
            scope.spawn(|| self.first.find(&*self.service, &Key::Cold));
            scope.spawn(|| self.first.find_slots(&*self.service));
            self.find_config()
        })
    }

    fn find_config(&self) -> Result<(), StoreError> {
        // The last where only the packs of a repository are.
        for key in [Key::Config, Key::ConfigCopy, Key::Cold] {
            // Read, not asked for: only with an answer that may have text does a server say what is wrong.
            match self.service.get_whole(&name_of(&key), FIRST_LEN_MAX) {
                Ok(bytes) => {
                    self.first.note(key, Ok(bytes));
                    return Ok(());
                }
                Err(error) if error.kind == StoreErrorKind::WrongLength => return Ok(()),
                Err(error) if error.kind == StoreErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::new("open", self.place(), io::ErrorKind::NotFound.into()))
    }

    /// Finds nothing there, so that a repository can be made.
    ///
    /// # Errors
    /// `AlreadyExists` if there is anything; the store cannot be read.
    pub fn find_nothing(&self) -> Result<(), StoreError> {
        match self.service.list("", 1)?.first() {
            None => {
                self.is_new.store(true, Ordering::Relaxed);
                Ok(())
            }
            Some(found) => {
                let why = format!("it holds {}", found.name);
                let source = io::Error::new(io::ErrorKind::AlreadyExists, why);
                Err(StoreError::new("make", self.place(), source))
            }
        }
    }

    /// Asks that beside the first pack that is put, so that who creates something later need not wait for the answer.
    fn ask_ahead(&self) {
        if self.exclusion.is_asked.swap(true, Ordering::Relaxed) {
            return;
        }
        let (service, exclusion) = (Arc::clone(&self.service), Arc::clone(&self.exclusion));
        // Whoever creates something asks himself if this failed.
        let ask = move || drop(exclusion.is_there(&*service));
        let _later = std::thread::Builder::new().name("probe".to_owned()).spawn(ask);
    }

    /// Creates an object while nobody else creates one of that name.
    fn claim_and_put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let directory = format!("{CLAIMS}{}/", blake3::hash(name.as_bytes()).to_hex());
        let claims = leases(&self.service, directory)?.with_time(CLAIM_TIME);
        let claim = claims.lock(LockMode::Exclusive, CLAIM_TIME, &mut |_| {})?;
        match self.service.len(name) {
            Ok(_) => {
                let object = format!("{}/{name}", self.place());
                Err(StoreError::new("create", object, io::ErrorKind::AlreadyExists.into()))
            }
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                claims.permit()?;
                // Some who creates it believes the server: as far as that keeps to it, so do we.
                match self.service.put(name, &[bytes], true) {
                    Err(error) if error.kind == StoreErrorKind::Other => {
                        self.service.put(name, &[bytes], false)?;
                    }
                    put => put?,
                }
                // Whoever was away for so long that others could create it does not say that he has.
                match claim.is_held() {
                    true => Ok(()),
                    false => claims.permit(),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Removes everything in a directory for which `is_ours` is right.
    fn remove_all(
        &self,
        directory: &str,
        is_ours: impl Fn(&str) -> bool,
    ) -> Result<(), StoreError> {
        let listed = self.service.list(directory, usize::MAX)?;
        let mut ours = listed.iter().filter(|found| is_ours(&found.name));
        ours.try_for_each(|found| self.service.delete(&found.name))
    }
}

impl Removable for ObjectStore {
    fn remove(&self) -> Result<(), StoreError> {
        self.delete(&Key::Config)?;
        for record in [Key::Verified, Key::Condemned, Key::Tombstones, Key::Cold] {
            self.delete(&record)?;
        }
        for area in Area::ALL {
            for (key, _) in self.list(area)? {
                self.delete(&key)?;
            }
        }
        let left = self.service.list("", usize::MAX)?;
        match left.iter().find(|found| !is_passing(&found.name)) {
            None => {
                self.remove_all("", |name| is_passing(name) && !name.starts_with(LEASES))?;
                self.service.clear();
                Ok(())
            }
            Some(found) => {
                let why = format!("there is more in it: {}", found.name);
                Err(StoreError::new("remove", self.place(), io::Error::other(why)))
            }
        }
    }

    fn undo_create(&self) -> Result<(), StoreError> {
        match self.is_new.load(Ordering::Relaxed) {
            // What is there by now is somebody else's.
            true if !self.has_put.load(Ordering::Relaxed) => Ok(()),
            true => {
                self.remove_all("", |_| true)?;
                self.service.clear();
                Ok(())
            }
            false => {
                let source = io::Error::new(io::ErrorKind::PermissionDenied, "it was there before");
                Err(StoreError::new("remove", self.place(), source))
            }
        }
    }

    fn taken_len(&self) -> Result<u64, StoreError> {
        let listed = self.service.list("", usize::MAX)?;
        Ok(listed.iter().fold(0, |sum, found| sum.saturating_add(found.len)))
    }
}

impl Store for ObjectStore {
    fn properties(&self) -> Properties {
        Properties::in_flight(self.in_flight)
    }

    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.leases.permit()?;
        if matches!(key, Key::Pack(_)) {
            self.ask_ahead();
        }
        self.has_put.store(true, Ordering::Relaxed);
        let name = name_of(key);
        let read = |max| self.service.get_whole(&name, max);
        let put = || self.service.put(&name, parts, false);
        self.records.change(key, || Some(parts.concat()), read, put)
    }

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.leases.permit()?;
        let put = match self.exclusion.is_there(&*self.service)? {
            true => self.service.put(&name_of(key), &[bytes], true),
            false => self.claim_and_put(&name_of(key), bytes),
        };
        // Somebody else makes it at the same time: what is there is not ours to take back.
        if put.as_ref().is_err_and(|error| error.kind == StoreErrorKind::AlreadyExists) {
            self.is_new.store(false, Ordering::Relaxed);
        }
        self.has_put.fetch_or(put.is_ok(), Ordering::Relaxed);
        put
    }

    fn get(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let name = name_of(key);
        if range.start < range.end {
            return self.service.get(&name, range);
        }
        let is_there = range.start == range.end && range.end <= self.service.len(&name)?;
        match is_there {
            true => Ok(Vec::new()),
            false => {
                let object = format!("{}/{name}", self.place());
                Err(StoreError::new("read", object, io::ErrorKind::UnexpectedEof.into()))
            }
        }
    }

    fn get_whole(&self, key: &Key, max: u64) -> Result<Vec<u8>, StoreError> {
        match self.first.take(key, max) {
            Some(found) => found,
            None => {
                self.records.get(key, &self.leases, || self.service.get_whole(&name_of(key), max))
            }
        }
    }

    /// Who asks for an archive's length is about to make one of that name: how that can be done is looked at beside it.
    fn len(&self, key: &Key) -> Result<u64, StoreError> {
        if matches!(key, Key::Archive(_)) {
            self.ask_ahead();
        }
        self.service.len(&name_of(key))
    }

    /// What begins otherwise than its kind does is not passed over: that would be a request for each object, and nobody but
    /// garret puts anything here.
    fn list(&self, area: Area) -> Result<Vec<(Key, u64)>, StoreError> {
        let known = if area == Area::Slots { self.first.take_slots() } else { None };
        match known {
            Some(slots) => Ok(slots),
            None => list(&*self.service, area),
        }
    }

    /// A server lists a thousand objects at once, in the order of their names: with the packs, of which there are the most,
    /// all others cost next to nothing.
    fn list_all(&self, areas: &[Area]) -> Result<Vec<(Key, u64)>, StoreError> {
        if let [area] = areas {
            return self.list(*area);
        }
        if !self.service.lists_in_order() {
            return self.list_each(areas);
        }
        let key = |name: &str| areas.iter().find_map(|area| key_of(*area, name));
        let listed = self.service.list("", usize::MAX)?;
        // Not all do: those of AWS that are directories do not.
        if !listed.is_sorted_by(|one, other| one.name <= other.name) {
            return self.list_each(areas);
        }
        let listed = listed.into_iter();
        Ok(listed.filter_map(|found| Some((key(&found.name)?, found.len))).collect())
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        if !matches!(key, Key::Archive(_) | Key::ArchiveCopy(_)) {
            self.leases.permit()?;
        }
        let name = name_of(key);
        let read = |max| self.service.get_whole(&name, max);
        self.records.change(key, || None, read, || self.service.delete(&name))
    }

    fn adopt(&self, key: &Key) -> Result<(), StoreError> {
        self.service.adopt(&name_of(key))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.service.sync()
    }

    fn doubtful(&self) -> Result<Vec<String>, StoreError> {
        self.service.touch(directory_of(Area::Archives));
        let listed = self.service.list(directory_of(Area::Archives), usize::MAX)?.into_iter();
        let doubtful = listed.filter(|found| key_of(Area::Archives, &found.name).is_none());
        Ok(doubtful.map(|found| format!("{}/{}", self.place(), found.name)).collect())
    }

    fn sweep(&self) -> Result<(), StoreError> {
        let (tmp, probes) = std::thread::scope(|scope| {
            let tmp = scope.spawn(|| self.service.list(TMP, usize::MAX));
            let probes = self.service.list(PROBES, usize::MAX);
            (tmp.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), probes)
        });
        let mut left = tmp?;
        left.extend(probes?);
        // Asked after the listing: what a session puts that begins from now on was not in it.
        if left.is_empty() || self.leases.has_sessions(0..=u64::MAX)? {
            return Ok(());
        }
        left.iter().try_for_each(|found| self.service.delete(&found.name))
    }

    fn lock(
        &self,
        mode: LockMode,
        patience: Duration,
        waiting: &mut dyn FnMut(&str),
    ) -> Result<Box<dyn Guard>, StoreError> {
        let locked = self.leases.lock(mode, patience, waiting);
        self.first.clear();
        self.records.clear();
        locked
    }

    /// Where a listing may be late, who began before something was condemned is in it for sure when a lease has ended since.
    fn has_sessions(&self, epochs: RangeInclusive<u64>) -> Result<bool, StoreError> {
        if *epochs.start() == 0 && self.service.lists_late() {
            let condemned = match self.service.put_time(&name_of(&Key::Condemned)) {
                Err(error) if error.kind == StoreErrorKind::NotFound => None,
                put => Some(put?.unwrap_or(Duration::MAX)),
            };
            let now = self.leases.server_time().unwrap_or_default();
            if condemned.is_some_and(|put| now.saturating_sub(put) < LEASE_TIME) {
                return Ok(true);
            }
        }
        self.leases.has_sessions(epochs)
    }

    fn pass_over(&self, _key: &Key) {}

    fn traffic(&self) -> Option<Traffic> {
        Some(self.paces.traffic())
    }

    fn is_exclusive(&self) -> Result<Option<bool>, StoreError> {
        self.exclusion.is_there(&*self.service).map(Some)
    }

    fn notices(&self) -> Vec<String> {
        self.service.notices()
    }

    fn place(&self) -> String {
        self.service.place()
    }
}
