//! Time, for stores that wait: the machine's, or that of a test, which passes without waiting.

use std::time::{Duration, Instant};

/// Measures time and lets it pass.
pub trait Clock: Send + Sync {
    /// The time since a moment that stays the same. It never goes back.
    fn now(&self) -> Duration;
    /// Returns when `time` has passed.
    fn sleep(&self, time: Duration);
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock that begins to count now.
    pub fn new() -> Self {
        SystemClock { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}
