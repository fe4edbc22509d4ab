//! What a lease says of itself, all of it in its name: a list is enough to know who is there.
//!
//! ```text
//! session-2a-1440-ID-HOST-1234-56789      mode, epoch (hex), seconds, id, machine (hex), process, its start
//! check-0-1440-...    prune-0-...    alone-0-...
//! ```
//!
//! In: names, of which a hostile server can list any. Out: leases. Promises: a name is read as exactly what it would be
//! written as, or not at all.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use garret_format::condemned::EPOCH_MAX;

use super::holder::Holder;
use crate::store::LockMode;

/// The longest time that a lease may have: more is nobody's.
const TIME_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// One who is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub mode: LockMode,
    /// How long it lasts after it was put.
    pub time: Duration,
    pub id: LeaseId,
    pub holder: Holder,
}

impl Lease {
    /// The holder in words, to who wants the lease: `a program that deletes (pid 12)`.
    pub(super) fn told(&self, to: &Holder) -> String {
        let does = match self.mode {
            LockMode::Session(_) => "a program that reads or adds",
            LockMode::Check => "a program that checks",
            LockMode::Prune => "a program that deletes",
            LockMode::Exclusive => "a program that repairs",
        };
        match to.host != 0 && to.host == self.holder.host {
            true => format!("{does} (pid {})", self.holder.pid),
            false => {
                let minutes = self.time.as_secs().div_ceil(60);
                format!("{does} on another machine (if it died there, for {minutes} min at most)")
            }
        }
    }
}

/// Which lease it is: the client's number, and its own among those of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaseId(u128);

impl LeaseId {
    pub(super) const CLIENT_LEN: usize = 12;

    pub(super) fn new(client: [u8; Self::CLIENT_LEN], count: u32) -> Self {
        LeaseId(whole(client) | u128::from(count))
    }

    pub(super) fn is_of(self, client: [u8; Self::CLIENT_LEN]) -> bool {
        self.0 >> 32 == whole(client) >> 32
    }
}

/// The id of number 0.
fn whole(client: [u8; LeaseId::CLIENT_LEN]) -> u128 {
    client.iter().fold(0u128, |all, byte| all << 8 | u128::from(*byte)) << 32
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, epoch) = match self.mode {
            LockMode::Session(epoch) => ("session", epoch),
            LockMode::Check => ("check", 0),
            LockMode::Prune => ("prune", 0),
            LockMode::Exclusive => ("alone", 0),
        };
        let (seconds, Holder { host, pid, start }) = (self.time.as_secs(), &self.holder);
        write!(f, "{word}-{epoch:x}-{seconds}-{:032x}-{host:016x}-{pid}-{start}", self.id.0)
    }
}

impl FromStr for Lease {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let mut parts = name.split('-');
        let mut next = || parts.next().ok_or(());
        let (word, epoch) = (next()?, next()?);
        let epoch = u64::from_str_radix(epoch, 16).map_err(drop)?;
        let mode = match word {
            "session" if epoch <= EPOCH_MAX => LockMode::Session(epoch),
            "check" => LockMode::Check,
            "prune" => LockMode::Prune,
            "alone" => LockMode::Exclusive,
            _ => return Err(()),
        };
        let time = Duration::from_secs(next()?.parse().map_err(drop)?);
        let id = LeaseId(u128::from_str_radix(next()?, 16).map_err(drop)?);
        let host = u64::from_str_radix(next()?, 16).map_err(drop)?;
        let (pid, start) = (next()?.parse().map_err(drop)?, next()?.parse().map_err(drop)?);
        let lease = Lease { mode, time, id, holder: Holder { host, pid, start } };
        match time <= TIME_MAX && lease.to_string() == name {
            true => Ok(lease),
            false => Err(()),
        }
    }
}
