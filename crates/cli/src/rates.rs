//! How fast this process may use the line to repositories elsewhere.
//!
//! In: bytes in a second up and down, said once, before any repository is opened. Out: pipes that keep to it, and what the
//! program is told that speaks with a store, which keeps to it itself. Promises: all that goes through pipes keeps to it
//! together, and each store for itself; a directory, also one of a network's file system, is no line.

use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::process::Command;
use std::sync::{Arc, LazyLock, OnceLock};

use garret_core::{Clock, Pace, SystemClock};

use crate::args::size;

/// Bytes that go at once.
const PIECE_LEN: usize = 64 << 10;
/// The least there is: a piece goes in some seconds, and nobody takes that for silence.
const LEAST: u64 = 10_000;
/// In what the program that speaks with a store is told.
const VARIABLES: [&str; 2] = ["GARRET_LIMIT_UPLOAD", "GARRET_LIMIT_DOWNLOAD"];

/// Bytes in a second.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Rates {
    /// Send no more bytes in a second to another host or store: as 500k, 2M
    #[arg(long, global = true, value_name = "RATE", value_parser = rate)]
    limit_upload: Option<NonZeroU64>,
    /// Get no more bytes in a second from there
    #[arg(long, global = true, value_name = "RATE", value_parser = rate)]
    limit_download: Option<NonZeroU64>,
}

static RATES: OnceLock<Rates> = OnceLock::new();
static PACES: LazyLock<[Option<Arc<Pace>>; 2]> = LazyLock::new(|| {
    let rates = RATES.get().copied().unwrap_or_default();
    [rates.limit_upload, rates.limit_download].map(|rate| Some(Arc::new(Pace::new(rate?))))
});

impl Rates {
    /// Whether there is one.
    pub fn are_given(self) -> bool {
        self.limit_upload.or(self.limit_download).is_some()
    }

    /// Has them hold from now on. The first ones stay.
    pub fn tell(self) {
        let _first = RATES.set(self);
    }
}

fn rate(text: &str) -> Result<NonZeroU64, String> {
    let found = size(text).ok().filter(|rate| *rate >= LEAST).and_then(NonZeroU64::new);
    found.ok_or_else(|| {
        "it is a number of bytes in a second, as 500k or 2M, and 10k at least".to_owned()
    })
}

/// Tells the program what holds.
pub(crate) fn tell(command: &mut Command) {
    let Rates { limit_upload, limit_download } = RATES.get().copied().unwrap_or_default();
    for (name, rate) in VARIABLES.iter().zip([limit_upload, limit_download]) {
        match rate {
            Some(rate) => command.env(name, rate.to_string()),
            None => command.env_remove(name),
        };
    }
}

/// One end of a pipe, at the pace that holds for it.
pub(crate) struct Paced<T> {
    inner: T,
    pace: Option<Arc<Pace>>,
}

impl<T: Write> Paced<T> {
    pub(crate) fn up(inner: T, is_line: bool) -> Self {
        let [up, _] = &*PACES;
        Paced { inner, pace: up.clone().filter(|_| is_line) }
    }
}

impl<T: Read> Paced<T> {
    pub(crate) fn down(inner: T, is_line: bool) -> Self {
        let [_, down] = &*PACES;
        Paced { inner, pace: down.clone().filter(|_| is_line) }
    }
}

impl<T> Paced<T> {
    fn wait(&self, len: usize) {
        let clock = SystemClock::new();
        if let Some(pace) = &self.pace {
            clock.sleep(pace.take(len as u64, clock.now()));
        }
    }
}

impl<T: Write> Write for Paced<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = match self.pace {
            Some(_) => bytes.get(..PIECE_LEN).unwrap_or(bytes),
            None => bytes,
        };
        self.wait(piece.len());
        self.inner.write(piece)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Paced<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.wait(len);
        Ok(len)
    }
}
