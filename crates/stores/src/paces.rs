//! How fast what is stored and restored may go over the line, and how much went.
//!
//! In: bytes in a second, as garret was told by `--limit-upload` and `--limit-download`. Out: how long to wait before so many
//! bytes go, or are looked at. Promises: all requests of this process together keep to it; it is counted in pieces, so the
//! line is never taken for long. What is counted are objects and lists, not what the protocol puts around them.

use std::env;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use garret_core::{Clock, Pace, SystemClock, Traffic};

/// Variables in which garret says it.
const VARIABLES: [&str; 2] = ["GARRET_LIMIT_UPLOAD", "GARRET_LIMIT_DOWNLOAD"];

/// Up and down; nothing is waited for where there is none.
#[derive(Debug, Default)]
pub struct Paces {
    up: Option<Pace>,
    down: Option<Pace>,
    requests: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Paces {
    /// So many bytes in a second up and down.
    pub fn new(up: Option<NonZeroU64>, down: Option<NonZeroU64>) -> Self {
        Paces { up: up.map(Pace::new), down: down.map(Pace::new), ..Paces::default() }
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

    /// Counts a request.
    pub(crate) fn asked(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// What went over the line so far.
    pub(crate) fn traffic(&self) -> Traffic {
        let [requests, sent, received] =
            [&self.requests, &self.sent, &self.received].map(|count| count.load(Ordering::Relaxed));
        Traffic { requests, sent, received }
    }

    /// How long to wait before so many bytes go up, which are counted.
    pub(crate) fn up(&self, len: usize) -> Duration {
        self.sent.fetch_add(len as u64, Ordering::Relaxed);
        wait(self.up.as_ref(), len)
    }

    /// How long to wait before so many bytes that came are looked at, which are counted.
    pub(crate) fn down(&self, len: usize) -> Duration {
        self.received.fetch_add(len as u64, Ordering::Relaxed);
        wait(self.down.as_ref(), len)
    }
}

fn wait(pace: Option<&Pace>, len: usize) -> Duration {
    pace.map_or(Duration::ZERO, |pace| pace.take(len as u64, SystemClock::new().now()))
}
