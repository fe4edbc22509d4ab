//! When a job does something again, and how much time it has.
//!
//! In: what failed, and how many tries are left; the job's window. Out: how the last try ended. Promises: no try begins when
//! the window is over, and a signal ends the waiting.

use std::time::{Duration, Instant};

use jiff::Zoned;

use super::{LOOK, Night};
use crate::failure::Failure;
use crate::nightly::words;

impl Night<'_> {
    /// Does something again while it fails for a reason that may pass, and tries are left.
    pub(super) fn again<T>(
        &self,
        left: &mut u32,
        work: impl Fn() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        loop {
            let failure = match work() {
                Err(failure) if *left > 0 && words::may_pass(&failure) => failure,
                done => return done,
            };
            *left -= 1;
            let pause = self.job.retries.pause;
            let open = self.job.window.map(|window| window.left(Zoned::now().time()));
            if open.is_some_and(|left| left.is_none_or(|left| left <= pause)) {
                return Err(failure);
            }
            self.pause(pause);
        }
    }

    pub(super) fn pause(&self, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.end_if_signalled();
            std::thread::sleep(LOOK.min(time.saturating_sub(begun.elapsed())));
        }
    }

    /// So much time, or what is left of the window; none if it is over.
    pub(super) fn within_window(&self, most: Duration) -> Option<Duration> {
        match self.job.window.map(|window| window.left(Zoned::now().time())) {
            Some(left) => left.map(|left| most.min(left)),
            None => Some(most),
        }
    }
}
