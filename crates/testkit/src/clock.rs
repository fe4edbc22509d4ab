//! A clock for tests of what waits: time passes when somebody sleeps, and at no other time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use garret_core::Clock;

/// The clock. It knows every sleep.
#[derive(Debug, Default)]
pub struct TestClock {
    slept: Mutex<Vec<Duration>>,
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

    fn lengths(&self) -> MutexGuard<'_, Vec<Duration>> {
        self.slept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for TestClock {
    fn now(&self) -> Duration {
        self.lengths().iter().sum()
    }

    fn sleep(&self, time: Duration) {
        self.lengths().push(time);
    }
}
