//! Leases: who is there, on a store that has no locks.
//!
//! ```text
//! lock           put the lease -> list them all -> is anybody there whom it excludes?    yes: take it back, try again
//! held           put it again, many times in its life
//! over           others were put later than its time allows, by the server's clock      its holder knows before anybody else
//! ```
//!
//! In: a [`LeaseTable`], small empty objects by name, each with the time at which the server got it last. Out: locks as
//! [`Store::lock`](super::Store::lock) and [`Store::has_sessions`](super::Store::has_sessions) promise them. Promises:
//!
//! - Of two who exclude each other at most one is let in: each puts before it lists, so one of the two sees the other. Both
//!   may be turned away, and try again after a time that is drawn.
//! - Whether a lease is over is said by the server's clock alone: how much later than it the looker's own was put. Nobody's
//!   own clock is compared with that of anybody else. Who has put none believes that all are there.
//! - A holder gives up after half of its time without having renewed it, by its own clock or by the server's, which also goes
//!   on while a virtual machine is paused; from then on [`Leases::permit`] refuses whatever it wants to write. The other half
//!   is for requests that are under way, and for servers whose clocks differ.
//! - Who was killed on this machine is not waited for: the kernel says that the process is gone.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Clock, Guard, LockMode, StoreError, SystemClock};

mod holder;
mod name;

use holder::Holder;
use name::{Lease, LeaseId};

/// How long a lease lasts after it was put: longer than a restart of a server takes, and than all tries of one request
/// ([`RetryOptions`](super::RetryOptions)) twice. So long others wait at most for who died on another machine.
pub const LEASE_TIME: Duration = Duration::from_secs(24 * 60);
/// Parts of its time: after so many it is put again, after so many if that failed, and after so many it is given up.
const RENEWAL: u32 = 24;
const NEXT_TRY: u32 = 144;
const VALID: u32 = 2;
/// First and longest time between two attempts to be let in; each is drawn from half of it to all.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// How often the server is asked whether a lease is still there, in a minute and a half.
const ASKED: u32 = 12;

/// What leases need of a store.
///
/// A list shows everything that was put before it began.
pub trait LeaseTable: Send + Sync {
    /// Puts the empty object of this name, or puts it again. The server notes when.
    ///
    /// # Errors
    /// A store that cannot be written to.
    fn put(&self, name: &str) -> Result<(), StoreError>;

    /// The names, and when each was put last, by the server's clock, since 1970.
    ///
    /// # Errors
    /// A store that cannot be read.
    fn list(&self) -> Result<Vec<(String, Duration)>, StoreError>;

    /// Removes the object, if there is one.
    ///
    /// # Errors
    /// A store that cannot be written to.
    fn remove(&self, name: &str) -> Result<(), StoreError>;
}

/// The locks of one client.
pub struct Leases {
    table: Arc<dyn LeaseTable>,
    clock: Arc<dyn Clock>,
    time: Duration,
    holder: Holder,
    /// What the ids of this client begin with.
    client: [u8; LeaseId::CLIENT_LEN],
    taken: Mutex<Taken>,
}

/// What this client has taken.
#[derive(Default)]
struct Taken {
    count: u32,
    held: Vec<Weak<Held>>,
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases").field("time", &self.time).finish_non_exhaustive()
    }
}

/// A lease that is held.
struct Held {
    lease: Lease,
    table: Arc<dyn LeaseTable>,
    clock: Arc<dyn Clock>,
    put: Mutex<Put>,
}

/// When a lease was put last.
struct Put {
    /// When the request began, by the holder's clock.
    began: Duration,
    /// By the server's clock; none before it was ever put.
    server: Option<Duration>,
    /// Too long ago for ever: others may have gone by that.
    is_given_up: bool,
}

/// Names of leases, and when each was put.
type Listed = Vec<(String, Duration)>;

impl Held {
    fn last_put(&self) -> MutexGuard<'_, Put> {
        self.put.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counted from before the request: the server cannot have got it earlier.
    fn is_valid(&self) -> bool {
        let mut put = self.last_put();
        let since = self.clock.now().saturating_sub(put.began);
        put.is_given_up |= since >= self.lease.time / VALID;
        !put.is_given_up
    }

    /// Puts it again, unless it was given up, and gives what is listed then. It is given up if the server has been without it
    /// for too long, whatever the holder's clock says.
    fn renew(&self) -> Result<Listed, StoreError> {
        let (began, name) = (self.clock.now(), self.lease.to_string());
        if !self.is_valid() {
            return Ok(Vec::new());
        }
        self.table.put(&name)?;
        let listed = self.table.list()?;
        let server = listed.iter().find(|(listed, _)| *listed == name).map(|(_, put)| *put);
        let mut put = self.last_put();
        let gap = put.server.zip(server).map(|(before, now)| now.saturating_sub(before));
        put.is_given_up |=
            server.is_none() || gap.is_some_and(|gap| gap >= self.lease.time / VALID);
        (put.began, put.server) = (began, server);
        Ok(listed)
    }
}

/// Renews the lease until it is dropped; then the lease goes.
struct LeaseGuard {
    held: Arc<Held>,
    /// Hangs up to end the thread.
    end: Option<Sender<()>>,
    renewer: Option<JoinHandle<()>>,
}

impl Guard for LeaseGuard {
    /// Asks the server: the clock of a machine that was paused tells nothing.
    fn is_held(&self) -> bool {
        let mut pause = PAUSES.0;
        // A store that has no time for a moment has taken nothing from anybody.
        for _ in 0..ASKED {
            if self.held.renew().is_ok() || !self.held.is_valid() {
                return self.held.is_valid();
            }
            self.held.clock.sleep(pause);
            pause = (pause * 2).min(PAUSES.1);
        }
        false
    }
}

impl LeaseGuard {
    fn new(held: Arc<Held>) -> io::Result<Self> {
        let (end, ended) = channel::<()>();
        let renewed = held.clone();
        let renew = move || {
            let time = renewed.lease.time;
            let mut pause = time / RENEWAL;
            while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                // What is wrong with the store is told by whoever wants something of it.
                pause = renewed.renew().map_or(time / NEXT_TRY, |_| time / RENEWAL);
            }
        };
        let renewer = std::thread::Builder::new().name("lease".to_owned()).spawn(renew)?;
        Ok(LeaseGuard { held, end: Some(end), renewer: Some(renewer) })
    }
}

impl Drop for LeaseGuard {
    /// What cannot be removed is over after its time.
    fn drop(&mut self) {
        self.end = None;
        // A renewal that is under way would put it there again.
        let _ = self.renewer.take().map(JoinHandle::join);
        let _ = self.held.table.remove(&self.held.lease.to_string());
    }
}

impl Leases {
    /// Leases of [`LEASE_TIME`].
    ///
    /// # Errors
    /// No random numbers.
    pub fn new(table: Arc<dyn LeaseTable>) -> io::Result<Self> {
        let mut client = [0; LeaseId::CLIENT_LEN];
        getrandom::fill(&mut client).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Leases {
            table,
            clock: Arc::new(SystemClock::new()),
            time: LEASE_TIME,
            holder: Holder::this_process(),
            client,
            taken: Mutex::default(),
        })
    }

    /// Measures its own time by another clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Leases { clock, ..self }
    }

    /// Leases that last so long, in whole seconds. All requests of the store, with their retries, must be over in half of it.
    #[must_use]
    pub fn with_time(self, time: Duration) -> Self {
        Leases { time: Duration::from_secs(time.as_secs().max(1)), ..self }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> Vec<Arc<Held>> {
        let mut taken = self.taken();
        taken.held.retain(|held| held.strong_count() > 0);
        taken.held.iter().filter_map(Weak::upgrade).collect()
    }

    /// Renews what is held, which is done in time anyway.
    ///
    /// # Errors
    /// A store that cannot be written to.
    pub fn renew(&self) -> Result<(), StoreError> {
        self.held().iter().try_for_each(|held| held.renew().map(drop))
    }

    /// That nothing which this client took was given up since. Whoever has leases asks before it changes anything in the
    /// store, for others may believe that he is gone; but not before he removes an archive or its copy: one that was
    /// published too late must be taken back.
    ///
    /// # Errors
    /// `Busy`: it must not change anything any more.
    pub fn permit(&self) -> Result<(), StoreError> {
        match self.held().iter().find(|held| !held.is_valid()) {
            None => Ok(()),
            Some(held) => {
                let since = (held.lease.time / VALID).as_secs() / 60;
                let why = format!("it could not be renewed for {since} min: run the command again");
                let source = io::Error::new(io::ErrorKind::WouldBlock, why);
                Err(StoreError::new("keep the lease", "leases/", source))
            }
        }
    }

    /// Whether nobody else deletes: this client holds a lease, still valid, beside which nobody does.
    pub fn nobody_deletes(&self) -> bool {
        let excludes = |held: &Arc<Held>| excludes(LockMode::Prune, held.lease.mode);
        self.held().iter().any(|held| excludes(held) && held.is_valid())
    }

    /// What the server's clock shows now, about, if this client holds a lease.
    pub fn server_time(&self) -> Option<Duration> {
        let now = self.clock.now();
        let shown = self.held().into_iter().filter_map(|held| {
            let put = held.last_put();
            Some(put.server?.saturating_add(now.saturating_sub(put.began)))
        });
        shown.max()
    }

    /// As [`Store::lock`](super::Store::lock).
    ///
    /// # Errors
    /// `Busy` after `patience`; a store that cannot be read or written to, or does not list what was put.
    pub fn lock(
        &self,
        mode: LockMode,
        patience: Duration,
        waiting: &mut dyn FnMut(&str),
    ) -> Result<Box<dyn Guard>, StoreError> {
        let end = self.clock.now().saturating_add(patience);
        let (mut pause, mut is_told) = (PAUSES.0, false);
        loop {
            let held = Arc::new(self.claim(mode));
            self.taken().held.push(Arc::downgrade(&held));
            let name = held.lease.to_string();
            let let_in = held.renew().and_then(|listed| self.look(&held.lease, listed));
            let other = match let_in {
                Ok(None) => {
                    let guard = LeaseGuard::new(held);
                    return match guard {
                        Ok(guard) => Ok(Box::new(guard)),
                        Err(source) => Err(StoreError::new("lock", "leases/", source)),
                    };
                }
                Ok(Some(other)) => {
                    self.table.remove(&name)?;
                    other
                }
                Err(error) => {
                    // If it is there it is one of this client that nobody holds, which excludes nobody here.
                    let _ = self.table.remove(&name);
                    return Err(error);
                }
            };
            let left = end.saturating_sub(self.clock.now());
            let who = other.told(&self.holder);
            if left.is_zero() {
                let why = format!("{who} holds it{}", still_after(patience));
                let source = io::Error::new(io::ErrorKind::WouldBlock, why);
                return Err(StoreError::new("lock", "leases/", source));
            }
            if !std::mem::replace(&mut is_told, true) {
                waiting(&who);
            }
            self.clock.sleep(super::retry::drawn(pause).min(left));
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// As [`Store::has_sessions`](super::Store::has_sessions).
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn has_sessions(&self, epochs: RangeInclusive<u64>) -> Result<bool, StoreError> {
        let (alive, _) = self.everybody(self.table.list()?);
        let is_asked_for = |lease: &Lease| matches!(lease.mode, LockMode::Session(epoch) if epochs.contains(&epoch));
        Ok(alive.iter().any(is_asked_for))
    }

    /// A new lease, put by nobody yet.
    fn claim(&self, mode: LockMode) -> Held {
        let mut taken = self.taken();
        taken.count = taken.count.wrapping_add(1);
        let id = LeaseId::new(self.client, taken.count);
        let lease = Lease { mode, time: self.time, id, holder: self.holder.clone() };
        let (table, clock) = (self.table.clone(), self.clock.clone());
        let put = Put { began: clock.now(), server: None, is_given_up: false };
        Held { lease, table, put: Mutex::new(put), clock }
    }

    /// Somebody whom the lease excludes, or who excludes it. Who deletes or checks clears away those that are over.
    fn look(&self, own: &Lease, listed: Listed) -> Result<Option<Lease>, StoreError> {
        let (alive, over) = self.everybody(listed);
        if !alive.iter().any(|lease| lease.id == own.id) {
            let source = io::Error::other("the store does not list what was put a moment ago");
            return Err(StoreError::new("lock", "leases/", source));
        }
        let other =
            alive.into_iter().find(|lease| lease.id != own.id && excludes(lease.mode, own.mode));
        if other.is_none() && !matches!(own.mode, LockMode::Session(_)) {
            // The next one clears away what is left.
            over.iter().for_each(|name| drop(self.table.remove(name)));
        }
        Ok(other)
    }

    /// Who is there; and the names of leases that are over, whoever put them.
    fn everybody(&self, listed: Listed) -> (Vec<Lease>, Vec<String>) {
        let held: Vec<LeaseId> = self.held().iter().map(|held| held.lease.id).collect();
        // Whatever else lies there is nobody's.
        let leases =
            listed.into_iter().filter_map(|(name, put)| Some((name.parse().ok()?, name, put)));
        let leases: Vec<(Lease, String, Duration)> = leases.collect();
        // Of what others put only the server knows when; it was asked a moment ago, or at the last renewal.
        let own = leases.iter().filter(|(lease, ..)| held.contains(&lease.id));
        let now = own.map(|(.., put)| *put).max().unwrap_or_default();
        let (mut alive, mut over) = (Vec::new(), Vec::new());
        for (lease, name, put) in leases {
            let is_orphan = lease.id.is_of(self.client) && !held.contains(&lease.id);
            let is_late = now.saturating_sub(put) > lease.time;
            match is_late || is_orphan || self.holder.knows_dead(&lease.holder) {
                true => over.push(name),
                false => alive.push(lease),
            }
        }
        (alive, over)
    }
}

/// Whether two locks cannot be held at once.
fn excludes(one: LockMode, other: LockMode) -> bool {
    let is_session = |mode| matches!(mode, LockMode::Session(_));
    match (one, other) {
        (LockMode::Exclusive, _) | (_, LockMode::Exclusive) => true,
        (LockMode::Check, LockMode::Check) => false,
        _ => !is_session(one) && !is_session(other),
    }
}

fn still_after(patience: Duration) -> String {
    match patience.as_secs() {
        0 => String::new(),
        seconds => format!(", still after {seconds} s"),
    }
}
