//! The program `garret-stores`: serves a repository in an object store, or by SFTP, on standard input and output, to the
//! garret that started it.
//!
//! In: the location, in what comes first. Out: answers, until standard input ends. Promises: it has no key and asks for none;
//! a request that fails on the way is made again for ten minutes, but for the first, which tells what is wrong at once.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use garret_core::{Retry, RetryOptions, StoreError, StoreErrorKind};
use garret_remote::{Gate, Opening, Rules};
use garret_stores::{ObjectStore, Paces, Place};

/// How often the first request is made, and the pauses between, which double.
const FIRST_TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        None => {}
        Some(word) if word == "--version" || word == "-V" => {
            let version = format!("garret-stores {}\n", env!("CARGO_PKG_VERSION"));
            let printed = io::stdout().write_all(version.as_bytes());
            return if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        Some(_) => {
            say(
                "garret starts it for a repository as s3://BUCKET/PREFIX or sftp://HOST/PATH; it takes no words but --version",
            );
            return ExitCode::from(2);
        }
    }
    garret_cli::sandbox::hide_memory();
    // It ends when garret does, which may have something to take back first.
    let _ending = garret_cli::signals::Ending::watch();
    let is_ended = Arc::new(AtomicBool::new(false));
    let input = UntilItEnds { input: io::stdin().lock(), is_ended: Arc::clone(&is_ended) };
    match garret_remote::serve(input, io::stdout(), |opening| open(opening, is_ended)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("standard input: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) {
    // There is no other place to say it.
    let _unheard = io::stderr().write_all(format!("garret-stores: {text}\n").as_bytes());
}

/// Input that notes its end: nobody waits then for what fails on the way.
struct UntilItEnds<R> {
    input: R,
    is_ended: Arc<AtomicBool>,
}

impl<R: Read> Read for UntilItEnds<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer);
        let is_end = match &read {
            Ok(len) => *len == 0 && !buffer.is_empty(),
            Err(error) => error.kind() != io::ErrorKind::Interrupted,
        };
        self.is_ended.fetch_or(is_end, Ordering::Relaxed);
        read
    }
}

fn open(
    opening: &Opening,
    is_ended: Arc<AtomicBool>,
) -> Result<Gate<Retry<ObjectStore>>, StoreError> {
    let location = String::from_utf8_lossy(&opening.path);
    let place = Place::parse(&location).map_err(|malformed| {
        let source = io::Error::new(io::ErrorKind::InvalidInput, malformed.0);
        StoreError::new("open", &location, source)
    })?;
    let store = ObjectStore::new(place, Paces::of_environment())?;
    let (mut tries, mut pause) = (1, FIRST_PAUSE);
    loop {
        let found = match opening.create {
            None => store.find(),
            Some(_) => store.find_nothing(),
        };
        match found {
            Ok(()) => break,
            Err(error) if error.kind != StoreErrorKind::Transient || tries == FIRST_TRIES => {
                return Err(error);
            }
            Err(_) => sleep(pause),
        }
        (tries, pause) = (tries + 1, pause * 2);
    }
    let store = Retry::new(store, RetryOptions::default()).until(is_ended);
    Ok(Gate::new(store, Rules::default(), opening.create.is_some()))
}
