//! The way to a repository in an object store, or by SFTP: the program `garret-stores`, which speaks with it.
//!
//! In: a location; the variables of the store's own tools, as `AWS_ACCESS_KEY_ID`, and `GARRET_RSH` are that program's.
//! Out: a store. Promises: this process opens no socket; the program is the one beside this one, and only where there is
//! none that of PATH.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use garret_core::Sharing;
use garret_remote::RemoteStore;

use crate::elsewhere::{Server, connect_to};
use crate::failure::Failure;
use crate::location::Location;

const PROGRAM: &str = "garret-stores";

/// Opens the repository at this URL, or makes one for `create`.
///
/// # Errors
/// There is none, or there is one; the program does not run; the store does not answer, or does not let this user.
pub(crate) fn connect(url: &str, create: Option<Sharing>) -> Result<RemoteStore, Failure> {
    let location = Location::Store(url.to_owned());
    let mut command = Command::new(program());
    // Who presses Ctrl-C means us, and we may have something to take back there.
    command.process_group(0);
    let server = Server { command, host: "", path: url.as_bytes(), is_line: false, how_it_ended };
    connect_to(server, &location, create).map_err(|failure| match failure {
        Failure::Fatal(text) if text.contains("cannot be run") => Failure::Fatal(format!(
            "{text}: object stores and SFTP need it; install it beside garret"
        )),
        failure => failure,
    })
}

fn program() -> PathBuf {
    let beside = env::current_exe().ok().map(|own| own.with_file_name(PROGRAM));
    beside.filter(|beside| beside.is_file()).unwrap_or_else(|| PROGRAM.into())
}

fn how_it_ended(status: ExitStatus) -> Option<String> {
    (!status.success()).then(|| format!("{PROGRAM} ended with {status}"))
}
