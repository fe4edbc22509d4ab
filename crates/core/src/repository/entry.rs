//! The lock that a right needs, and a look around under it.
//!
//! ```text
//! join    which packs are condemned -> lock of that epoch -> still the same?     creators, readers
//! lock    of who checks, deletes, or is alone                                    no epoch: nobody deletes beside them
//! ahead   either, without waiting, beside the work that a passphrase makes       as if nothing were condemned
//! ```
//!
//! In: a repository that is not open yet, and what it is opened for. Out: the lock, what is condemned, and what was there
//! when the lock was held. Promises: nothing that a session goes by was read before it had its lock, but whether something
//! was condemned; what was done ahead is as good as what is done when it is needed, or it is given up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use garret_format::condemned::Condemned;

use super::Locked;
use crate::error::{Error, Result, message};
use crate::keys::seal::Sealer;
use crate::objects::condemned;
use crate::objects::damage::is_damage;
use crate::objects::index::Inventory;
use crate::pipeline::beside;
use crate::progress::Progress;
use crate::store::{Guard, LockMode, Store, StoreError, StoreErrorKind};

/// What a repository is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Right {
    /// To be read.
    Read,
    /// To add archives.
    Write,
    /// To be checked.
    Check,
    /// To delete.
    Prune,
    /// To be repaired: nobody else is there.
    Alone,
}

impl Right {
    /// Whether something may be put there or removed.
    pub fn writes(self) -> bool {
        matches!(self, Right::Write | Right::Prune | Right::Alone)
    }

    /// Whether the client's copy of the index will do.
    pub(super) fn believes_copy(self) -> bool {
        matches!(self, Right::Read | Right::Write)
    }

    /// Takes the lock, and looks around, unless that was done ahead.
    pub(super) fn enter(
        self,
        locked: &Locked,
        kind: &'static str,
        metadata: &Sealer,
        progress: &dyn Progress,
    ) -> Result<Entered> {
        let Entered { lock, condemned, mut inventory } =
            self.lock_and_look(locked, kind, metadata, progress)?;
        if matches!(self, Right::Write | Right::Prune) {
            // What is stored must not build on what is damaged, and a prune must not take it for whole.
            inventory = inventory.and_then(Inventory::with_damage);
        }
        Ok(Entered { lock, condemned, inventory })
    }

    fn lock_and_look(
        self,
        locked: &Locked,
        kind: &'static str,
        metadata: &Sealer,
        progress: &dyn Progress,
    ) -> Result<Entered> {
        if let Some(entered) = locked.take_ahead().and_then(|ahead| ahead.entered(self, metadata)) {
            return Ok(entered);
        }
        let mode = match self {
            Right::Read | Right::Write => return self.join(locked, kind, metadata, progress),
            Right::Check => LockMode::Check,
            Right::Prune => LockMode::Prune,
            Right::Alone => LockMode::Exclusive,
        };
        let mut lock = locked.lock(kind, mode, progress)?;
        if self == Right::Alone && locked.is_config_damaged {
            // The lock is on the file that goes; nothing was done by it yet.
            locked.mend_config()?;
            progress.notice("config was put back from its second copy");
            drop(lock);
            lock = locked.lock(kind, mode, progress)?;
        }
        // Nobody deletes beside these: what they do not know of is there all the same.
        let (condemned, inventory) = look_around(locked.store(), metadata)?;
        Ok(Entered { lock, condemned: condemned.unwrap_or_default(), inventory })
    }

    /// Becomes one of those whom gc waits for before it deletes what it condemns from now on (rule S1 of docs/design.md,
    /// "Why gc is safe").
    fn join(
        self,
        locked: &Locked,
        kind: &'static str,
        metadata: &Sealer,
        progress: &dyn Progress,
    ) -> Result<Entered> {
        let lock = |mode| match locked.lock(kind, mode, progress) {
            Err(Error::Lock { source, .. })
                if self == Right::Read && source.kind == StoreErrorKind::Other =>
            {
                let why = message(&source);
                progress.notice(&format!("{why}: a gc that comes meanwhile may end this"));
                Ok(Box::new(Unseen) as Box<dyn Guard>)
            }
            taken => taken,
        };
        let mut known = condemned::load(locked.store(), metadata);
        loop {
            let condemned = match known {
                Ok(condemned) => condemned,
                Err(error) if self == Right::Read || is_damage(&error) => {
                    progress.notice(&format!(
                        "{}: what gc condemned is not known until the next one",
                        message(&error)
                    ));
                    // Nobody is deleting then; whoever comes to it waits for a session of the first epoch, with every pack.
                    let alone =
                        (self == Right::Write).then(|| lock(LockMode::Prune)).transpose()?;
                    let joined = lock(LockMode::Session(0))?;
                    drop(alone);
                    let inventory = Inventory::list(locked.store());
                    let condemned = Condemned::default();
                    return Ok(Entered { lock: joined, condemned, inventory });
                }
                Err(error) => return Err(error),
            };
            let joined = lock(LockMode::Session(condemned.epoch))?;
            // A gc that condemned more meanwhile may not have seen this session.
            known = condemned::load(locked.store(), metadata);
            if known.as_ref().is_ok_and(|now| *now == condemned) {
                // Not beside that: a gc whose record has come and gone since may have been deleting until then.
                let inventory = Inventory::list(locked.store());
                return Ok(Entered { lock: joined, condemned, inventory });
            }
        }
    }
}

/// The lock, and what there was when it was taken.
pub(super) struct Entered {
    pub(super) lock: Box<dyn Guard>,
    pub(super) condemned: Condemned,
    pub(super) inventory: Result<Inventory>,
}

/// The same before the keys are known.
pub(super) struct Ahead {
    right: Right,
    lock: Box<dyn Guard>,
    /// The file of what is condemned. Sessions have none.
    record: Result<Vec<u8>, StoreError>,
    inventory: Result<Inventory>,
}

impl Ahead {
    /// What it comes to with the keys; none if it has to be done again, also for somebody to be told why it fails.
    fn entered(self, right: Right, metadata: &Sealer) -> Option<Entered> {
        let Ahead { right: meant, lock, record, inventory } = self;
        let condemned = condemned::open(metadata, record).ok()?;
        let inventory = Ok(inventory.ok()?);
        (meant == right).then_some(Entered { lock, condemned, inventory })
    }
}

impl Locked {
    /// Says what it will be opened for. Where the store is far away, the lock for that is taken, and what is there is listed,
    /// beside the work that a passphrase makes: if that works at once, nobody waits for it later.
    #[must_use]
    pub fn meant_for(self, right: Right) -> Self {
        Locked { meant_for: Some(right), ..self }
    }

    /// Enters for what it is meant for, if nobody has to be waited for, until `is_in_vain`. Who joins guesses that nothing is
    /// condemned: then that he finds no record under his lock is all of rule S1.
    pub(super) fn go_ahead(&self, is_in_vain: &AtomicBool) {
        let is_far = self.store.properties().in_flight > 1;
        let Some(right) = self.meant_for.filter(|_| is_far) else { return };
        let (mode, guesses) = match right {
            Right::Read | Right::Write => (LockMode::Session(0), true),
            Right::Check => (LockMode::Check, false),
            Right::Prune => (LockMode::Prune, false),
            // Who repairs may have to mend what the lock is on.
            Right::Alone => return,
        };
        let read = || condemned::read(&*self.store);
        let is_none = |record: &Result<_, StoreError>| {
            record.as_ref().is_err_and(|error| error.kind == StoreErrorKind::NotFound)
        };
        if guesses && !is_none(&read()) {
            return;
        }
        let Ok(lock) = self.store.lock(mode, Duration::ZERO, &mut |_| {}) else { return };
        if is_in_vain.load(Ordering::Relaxed) {
            return;
        }
        let record = read();
        if is_in_vain.load(Ordering::Relaxed) || guesses && !is_none(&record) {
            return;
        }
        // Not beside that, as in `join`.
        let inventory = Inventory::list(&*self.store);
        *self.ahead() = Some(Ahead { right, lock, record, inventory });
    }

    /// What was done ahead: it is given out once.
    pub(super) fn take_ahead(&self) -> Option<Ahead> {
        self.ahead().take()
    }

    fn ahead(&self) -> MutexGuard<'_, Option<Ahead>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is condemned, and what is there: for who holds a lock beside which nobody deletes.
pub(super) fn look_around(
    store: &dyn Store,
    metadata: &Sealer,
) -> Result<(Result<Condemned>, Result<Inventory>)> {
    let condemned = || condemned::load(store, metadata);
    beside(store.properties().in_flight, condemned, || Inventory::list(store))
}

/// In place of the lock of a reader where there are no locks.
struct Unseen;

impl Guard for Unseen {}
