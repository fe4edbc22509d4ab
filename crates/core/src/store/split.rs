//! A repository whose packs of files lie in a second place, which may take hours to give them back: a cold one.
//!
//! In: the store of everything else, the hot one, and the cold one. Out: one store. Promises: a pack of files goes to the
//! cold one and nowhere else, and everything else to the hot one, locks too; the two belong together, by a mark that both
//! have; whoever has lost his lock deletes nothing in either.

use std::collections::HashSet;
use std::io;
use std::ops::{Deref, Range, RangeInclusive};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use garret_format::PackId;
use garret_format::cold::{MARK_LEN, encode_mark};
use garret_format::object::Kind;

use super::{Area, Guard, Key, LockMode, Properties, Store, StoreError, StoreErrorKind, Traffic};

/// Two stores as one, each behind a pointer.
pub struct Split<P> {
    hot: P,
    cold: P,
    /// The packs in the hot one, which are those of structure, as far as they were listed or put.
    warm: RwLock<HashSet<PackId>>,
}

impl<P: Deref<Target: Store> + Send + Sync> Split<P> {
    /// The two that were made to belong together.
    ///
    /// # Errors
    /// They were not; either cannot be read.
    pub fn open(hot: P, cold: P) -> Result<Self, StoreError> {
        let missing = |store: &P, what: &str| {
            let source = io::Error::new(io::ErrorKind::NotFound, what);
            StoreError::new("open", store.place(), source)
        };
        let mark = |store: &P| store.get_whole(&Key::Cold, MARK_LEN as u64);
        let no_mark = |store: &P, what: &str, error: StoreError| match error.kind {
            StoreErrorKind::NotFound => missing(store, what),
            _ => error,
        };
        let ours = mark(&hot).map_err(|error| {
            no_mark(
                &hot,
                "all its packs lie in it: name no second place, nor in the environment",
                error,
            )
        })?;
        let theirs = mark(&cold).map_err(|error| {
            no_mark(&cold, "no packs of a repository elsewhere lie there", error)
        })?;
        let is_mark = ours.len() == MARK_LEN && ours.starts_with(&Kind::Cold.header());
        match (is_mark, ours == theirs) {
            // A repository has the same mark as the place of its packs, and is none.
            (true, true) => match cold.len(&Key::Config) {
                Err(error) if error.kind == StoreErrorKind::NotFound => {
                    Ok(Split { hot, cold, warm: RwLock::default() })
                }
                Err(error) => Err(error),
                Ok(_) => Err(missing(&cold, "it is the repository, not the place of its packs")),
            },
            (false, _) => {
                Err(missing(&hot, "its file cold is damaged: copy it from the second place"))
            }
            (true, false) => {
                Err(missing(&cold, "the packs that lie there are of another repository"))
            }
        }
    }

    /// Makes two that are empty belong together. What is cut short or fails here has left marks, for who made the two to
    /// remove.
    ///
    /// # Errors
    /// Either has a mark; it cannot be written; no random numbers.
    pub fn mark(hot: &P, cold: &P) -> Result<(), StoreError> {
        let mut place = [0; 32];
        getrandom::fill(&mut place)
            .map_err(|error| StoreError::new("mark", cold.place(), io::Error::other(error)))?;
        let mark = encode_mark(&place);
        // The hot one is made a repository last of all, by who has this: what is cut short before is nothing yet.
        for store in [cold, hot] {
            store.put_new(&Key::Cold, &mark)?;
            store.sync()?;
        }
        Ok(())
    }

    /// The store of everything but packs of files.
    pub fn hot(&self) -> &P {
        &self.hot
    }

    /// The store of packs of files.
    pub fn cold(&self) -> &P {
        &self.cold
    }

    fn is_warm(&self, pack: &PackId) -> bool {
        self.warm.read().unwrap_or_else(PoisonError::into_inner).contains(pack)
    }

    fn add_warm(&self, packs: impl IntoIterator<Item = PackId>) {
        self.warm.write().unwrap_or_else(PoisonError::into_inner).extend(packs);
    }

    /// Where an object is, as far as is known.
    fn of_key(&self, key: &Key) -> &P {
        match self.is_cold(key) {
            true => &self.cold,
            false => &self.hot,
        }
    }

    /// Asks where an object is; of a pack that nobody has listed yet both.
    fn ask<T>(
        &self,
        key: &Key,
        ask: impl Fn(&P) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match ask(self.of_key(key)) {
            Err(error) if self.is_cold(key) && error.kind == StoreErrorKind::NotFound => {
                ask(&self.hot)
            }
            answer => answer,
        }
    }
}

impl<P: Deref<Target: Store> + Send + Sync> Store for Split<P> {
    fn properties(&self) -> Properties {
        let [hot, cold] = [&self.hot, &self.cold].map(|store| store.properties().in_flight);
        Properties::in_flight(hot.max(cold))
    }

    fn is_cold(&self, key: &Key) -> bool {
        matches!(key, Key::Pack(pack) if !self.is_warm(pack))
    }

    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        let Key::Pack(pack) = key else { return self.hot.put(key, parts) };
        let start: Vec<u8> = parts.iter().flat_map(|part| part.iter()).take(8).copied().collect();
        if start != Kind::StructurePack.header() {
            return self.cold.put(key, parts);
        }
        self.hot.put(key, parts)?;
        self.add_warm([*pack]);
        Ok(())
    }

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.hot.put_new(key, bytes)
    }

    fn get(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.ask(key, |store| store.get(key, range.clone()))
    }

    fn get_whole(&self, key: &Key, max: u64) -> Result<Vec<u8>, StoreError> {
        self.ask(key, |store| store.get_whole(key, max))
    }

    fn len(&self, key: &Key) -> Result<u64, StoreError> {
        self.ask(key, |store| store.len(key))
    }

    fn list(&self, area: Area) -> Result<Vec<(Key, u64)>, StoreError> {
        self.list_all(&[area])
    }

    fn list_all(&self, areas: &[Area]) -> Result<Vec<(Key, u64)>, StoreError> {
        let mut listed = self.hot.list_all(areas)?;
        if areas.contains(&Area::Packs) {
            self.add_warm(listed.iter().filter_map(|(key, _)| match key {
                Key::Pack(pack) => Some(*pack),
                _ => None,
            }));
            // After what refers to them.
            let cold = self.cold.list(Area::Packs)?;
            listed.extend(cold.into_iter().filter(|(key, _)| self.is_cold(key)));
        }
        Ok(listed)
    }

    /// In the hot one first, also what is not there: it refuses whoever has lost his lock.
    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.hot.delete(key)?;
        match key {
            Key::Pack(_) => self.cold.delete(key),
            _ => Ok(()),
        }
    }

    fn adopt(&self, key: &Key) -> Result<(), StoreError> {
        self.ask(key, |store| store.adopt(key))
    }

    /// The cold one first, whatever for: packs are never less durable than what refers to them.
    fn sync(&self) -> Result<(), StoreError> {
        self.cold.sync()?;
        self.hot.sync()
    }

    fn doubtful(&self) -> Result<Vec<String>, StoreError> {
        self.hot.doubtful()
    }

    fn strangers(&self) -> Result<Vec<(Key, u64)>, StoreError> {
        self.hot.strangers()
    }

    /// Nobody is seen in the cold one, where nobody locks. Who begins in the instant between has a put fail, and nothing
    /// worse.
    fn sweep(&self) -> Result<(), StoreError> {
        self.hot.sweep()?;
        match self.hot.has_sessions(0..=garret_format::condemned::EPOCH_MAX)? {
            true => Ok(()),
            false => self.cold.sweep(),
        }
    }

    fn lock(
        &self,
        mode: LockMode,
        patience: Duration,
        waiting: &mut dyn FnMut(&str),
    ) -> Result<Box<dyn Guard>, StoreError> {
        self.hot.lock(mode, patience, waiting)
    }

    fn has_sessions(&self, epochs: RangeInclusive<u64>) -> Result<bool, StoreError> {
        self.hot.has_sessions(epochs)
    }

    fn pass_over(&self, key: &Key) {
        self.of_key(key).pass_over(key);
    }

    fn traffic(&self) -> Option<Traffic> {
        let (hot, cold) = (self.hot.traffic(), self.cold.traffic());
        let [one, other] = [hot, cold].map(Option::unwrap_or_default);
        hot.or(cold).map(|_| Traffic {
            requests: one.requests.saturating_add(other.requests),
            sent: one.sent.saturating_add(other.sent),
            received: one.received.saturating_add(other.received),
        })
    }

    fn is_exclusive(&self) -> Result<Option<bool>, StoreError> {
        self.hot.is_exclusive()
    }

    fn notices(&self) -> Vec<String> {
        let mut notices = self.hot.notices();
        notices.extend(self.cold.notices());
        notices
    }

    fn place(&self) -> String {
        self.hot.place()
    }
}
