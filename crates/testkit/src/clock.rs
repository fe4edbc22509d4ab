//! A clock for tests of what waits or ends in time: time passes when somebody sleeps, and at no other time; the date is
//! what a test sets.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use garret_core::Clock;

/// The clock. It knows every sleep.
#[derive(Debug, Default)]
pub struct TestClock {
    slept: Mutex<Vec<Duration>>,
    date: AtomicI64,
}

impl TestClock {
    /// A clock at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// The sleeps so far, in order.
    pub fn slept(&self) -> Vec<Duration> {
        self.lengths().clone()
    }

    /// Sets the date, in seconds since 1970. It stays so.
    pub fn set_date(&self, date: i64) {
        self.date.store(date, Ordering::Relaxed);
    }

    fn lengths(&self) -> MutexGuard<'_, Vec<Duration>> {
        self.slept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for TestClock {
    fn now(&self) -> Duration {
        self.lengths().iter().sum()
    }

    fn date(&self) -> i64 {
        self.date.load(Ordering::Relaxed)
    }

    fn sleep(&self, time: Duration) {
        self.lengths().push(time);
    }
}
