//! Time, for what waits or ends in time: the machine's, or that of a test, which passes without waiting.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Measures time and lets it pass.
pub trait Clock: Send + Sync {
    /// The time since a moment that stays the same, that in which the machine slept included. It never goes back.
    fn now(&self) -> Duration;
    /// Seconds since 1970-01-01 by the calendar. It may go back.
    fn date(&self) -> i64;
    /// Returns when `time` has passed.
    fn sleep(&self, time: Duration);
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The machine's clock.
    pub fn new() -> Self {
        SystemClock
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        // Not `Instant`, which stands still while the machine sleeps, and with it whoever waits for a lease to end.
        let now = clock_gettime(ClockId::Boottime);
        let (seconds, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
        Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
    }

    fn date(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}
