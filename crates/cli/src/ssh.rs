//! The way to a repository on another host: the system's `ssh`, which runs `garret serve` there.
//!
//! In: a [`Remote`]; `GARRET_RSH`, the program instead of `ssh` with its options, split at spaces; `GARRET_REMOTE_PATH`, what
//! garret is called there. Out: a store. Promises: ssh has the user's configuration, agent and keys, and none of our
//! passphrases; without a terminal it asks nothing; how it ended is said in one line, behind what it says itself.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use garret_core::Sharing;
use garret_remote::RemoteStore;

use crate::elsewhere::{Server, connect_to};
use crate::failure::Failure;
use crate::location::{Location, Remote};

/// Seconds after which ssh asks a host that says nothing whether it is there, and how often in vain: a line that is gone is
/// noticed after three minutes, while a disk that stalls there for as long is waited for.
const ALIVE: [&str; 2] = ["-oServerAliveInterval=30", "-oServerAliveCountMax=6"];

/// Opens the repository there, or makes one for `create`.
///
/// # Errors
/// There is none, or there is one; ssh or garret does not run; the server does not let this client.
pub(crate) fn connect(remote: &Remote, create: Option<Sharing>) -> Result<RemoteStore, Failure> {
    let (command, host, path) = (command(remote), &remote.host, &remote.path);
    let server = Server { command, host, path, is_line: true, how_it_ended };
    connect_to(server, &Location::Remote(remote.clone()), create)
}

fn command(remote: &Remote) -> Command {
    let rsh = env::var_os("GARRET_RSH").unwrap_or_default();
    let words = rsh.as_bytes().split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let mut words = words.map(OsStr::from_bytes);
    let program = Path::new(words.next().unwrap_or(OsStr::new("ssh")));
    let mut command = Command::new(program);
    command.args(words);
    if program.file_name() == Some(OsStr::new("ssh")) {
        command.args(ALIVE).arg("-T");
        if !io::stdin().is_terminal() {
            command.arg("-oBatchMode=yes");
        }
    }
    if let Some(port) = remote.port {
        command.arg("-p").arg(port.to_string());
    }
    let garret = env::var_os("GARRET_REMOTE_PATH").filter(|path| !path.is_empty());
    let mut there = garret.unwrap_or_else(|| "garret".into());
    there.push(OsString::from(" serve"));
    command.arg(&remote.host).arg(there);
    command
}

/// Why nothing comes from it any more, if that is no good end.
fn how_it_ended(status: ExitStatus) -> Option<String> {
    match status.code() {
        Some(0) => None,
        Some(2) => Some(
            "garret there does not understand how it was started: why stands above, or it is an older one"
                .to_owned(),
        ),
        Some(126 | 127) => Some(
            "garret does not run there: install it, or say in GARRET_REMOTE_PATH where it is"
                .to_owned(),
        ),
        // Also where the program there was killed, of which ssh says nothing.
        Some(255) => {
            Some("ssh has failed: why stands above, or garret was killed there".to_owned())
        }
        _ => Some(format!("ssh ended with {status}")),
    }
}
