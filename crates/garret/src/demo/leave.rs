//! Leaving the demo by Ctrl-C.
//!
//! In: the directory of the demo, programs that it runs. Out: nothing is left of either when a signal ends it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use garret_cli::signals::Ending;
use rustix::process::{Pid, Signal, kill_process};

/// How often it is looked whether a signal came.
const LOOK: Duration = Duration::from_millis(50);
/// How often the directory is removed again: somebody may be writing into it until it is gone.
const TRIES: usize = 40;

/// What is to be put away if a signal comes.
pub(super) struct Leaving {
    running: Arc<Mutex<Option<Pid>>>,
}

impl Leaving {
    /// From now on hangup, interrupt and termination remove `place` and all in it, and end the program.
    pub(super) fn watch(place: PathBuf) -> Self {
        let (ending, running) = (Ending::watch(), Arc::new(Mutex::new(None)));
        let of_thread = Arc::clone(&running);
        std::thread::spawn(move || {
            let signal = loop {
                match ending.signal() {
                    Some(signal) => break signal,
                    None => std::thread::sleep(LOOK),
                }
            };
            // Held until the end: nobody else says how it ended.
            let running = lock(&of_thread);
            if let Some(child) = *running {
                // It may have ended by itself.
                let _gone = kill_process(child, Signal::KILL);
            }
            for _ in 0..TRIES {
                match fs::remove_dir_all(&place) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        std::thread::sleep(LOOK)
                    }
                    _ => break,
                }
            }
            // As a shell has it of a program that a signal ended.
            std::process::exit(128 + i32::from(signal));
        });
        Leaving { running }
    }

    /// Runs a program that ends with this one.
    pub(super) fn run(&self, command: &mut Command) -> io::Result<Output> {
        let child: Child = {
            let mut running = lock(&self.running);
            let child = command.spawn()?;
            *running = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            child
        };
        let output = child.wait_with_output();
        *lock(&self.running) = None;
        output
    }
}

impl Leaving {
    /// Waits for the end, if a signal has come: what went wrong since is no news.
    pub(super) fn settle(&self) {
        drop(lock(&self.running));
    }
}

fn lock(running: &Mutex<Option<Pid>>) -> MutexGuard<'_, Option<Pid>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}
