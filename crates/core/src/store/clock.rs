//! Time, for what waits or ends in time: the machine's, or that of a test, which passes without waiting.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Measures time and lets it pass.
pub trait Clock: Send + Sync {
    /// The time since a moment that stays the same. It never goes back.
    fn now(&self) -> Duration;
    /// Seconds since 1970-01-01 by the calendar. It may go back.
    fn date(&self) -> i64;
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

    fn date(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}
