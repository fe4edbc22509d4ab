//! How fast bytes may go.
//!
//! In: bytes that are about to go, and the time. Out: how long to wait for one's turn. Promises: in any stretch of time there
//! are no more bytes than the rate gives, and those that went at its start.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A bucket of tokens that holds none over: what was not used is not saved up, and what was taken on credit is waited for by
/// whoever comes next.
#[derive(Debug)]
pub struct Pace {
    /// Bytes in a second.
    rate: NonZeroU64,
    /// When everything that was taken is paid for.
    paid: Mutex<Duration>,
}

impl Pace {
    /// So many bytes in a second.
    pub fn new(rate: NonZeroU64) -> Self {
        Pace { rate, paid: Mutex::default() }
    }

    /// Takes `len` bytes at the time `now` of a clock that never goes back; says how long to wait for one's turn.
    pub fn take(&self, len: u64, now: Duration) -> Duration {
        let nanos = u128::from(len) * 1_000_000_000 / u128::from(self.rate.get());
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*paid).max(now);
        *paid = turn.saturating_add(cost);
        turn.saturating_sub(now)
    }
}
