//! Packs in a second place are brought back before they are read.
//!
//! In: which, and a line for the shell. Out: nothing; the line is given the names of the packs in that place, one on each
//! line of its standard input, and has them readable when it ends. Promises: it has none of our passphrases, and what it
//! prints is seen beside what we say, never in what a restore writes.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::process::{Command, Stdio};

use garret_core::Key;
use garret_format::PackId;

use crate::failure::Failure;
use crate::location::Location;
use crate::packs;
use crate::pipes;

/// What packs are called in the second place of the repository at `location`.
pub fn names<'p>(location: &Location, packs: impl Iterator<Item = &'p PackId>) -> String {
    let Location::Split { cold, .. } = location else { return String::new() };
    let line = |pack: &PackId| match **cold {
        // All in one directory.
        Location::Store(_) => format!("packs/{pack}\n"),
        _ => format!("{}\n", Key::Pack(*pack)),
    };
    packs.map(line).collect()
}

/// Runs the line with `names` as its input, and the second place in `GARRET_PACKS`.
///
/// # Errors
/// It cannot be run, or does not go well.
pub fn bring_back(line: &OsStr, location: &Location, names: &str) -> Result<(), Failure> {
    let failed = |why: String| {
        Failure::Fatal(format!("--warm-up {}: {why}: nothing was restored", line.display()))
    };
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(line).stdin(Stdio::piped()).stdout(Stdio::from(io::stderr()));
    pipes::keep_secrets(&mut command);
    if let Location::Split { cold, .. } = location {
        command.env(packs::VARIABLE, cold.to_os_string());
    }
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    if let Some(mut input) = child.stdin.take() {
        match input.write_all(names.as_bytes()) {
            // It knows what it wants of them.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written.map_err(|error| failed(error.to_string()))?,
        }
    }
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    match status.success() {
        true => Ok(()),
        false => Err(failed(pipes::ending(status))),
    }
}
