//! How fast what is stored and restored may go over the line.
//!
//! In: bytes in a second, as garret was told by `--limit-upload` and `--limit-download`. Out: how long to wait before so many
//! bytes go, or are looked at. Promises: all requests of this process together keep to it; it is counted in pieces, so the
//! line is never taken for long.

use std::env;
use std::num::NonZeroU64;
use std::time::Duration;

use garret_core::{Clock, Pace, SystemClock};

/// Variables in which garret says it.
const VARIABLES: [&str; 2] = ["GARRET_LIMIT_UPLOAD", "GARRET_LIMIT_DOWNLOAD"];

/// Up and down; nothing is waited for where there is none.
#[derive(Debug, Default)]
pub struct Paces {
    up: Option<Pace>,
    down: Option<Pace>,
}

impl Paces {
    /// So many bytes in a second up and down.
    pub fn new(up: Option<NonZeroU64>, down: Option<NonZeroU64>) -> Self {
        Paces { up: up.map(Pace::new), down: down.map(Pace::new) }
    }

    /// What the environment says.
    pub fn of_environment() -> Self {
        let [up, down] = VARIABLES.map(|name| env::var(name).ok()?.parse().ok());
        Paces::new(up, down)
    }

    /// Whether anything waits.
    pub(crate) fn are_any(&self) -> bool {
        self.up.is_some() || self.down.is_some()
    }

    /// Whether anything waits before it goes up.
    pub(crate) fn holds_up(&self) -> bool {
        self.up.is_some()
    }

    /// How long to wait before so many bytes go up.
    pub(crate) fn up(&self, len: usize) -> Duration {
        wait(self.up.as_ref(), len)
    }

    /// How long to wait before so many bytes that came count.
    pub(crate) fn down(&self, len: usize) -> Duration {
        wait(self.down.as_ref(), len)
    }
}

fn wait(pace: Option<&Pace>, len: usize) -> Duration {
    pace.map_or(Duration::ZERO, |pace| pace.take(len as u64, SystemClock::new().now()))
}
