//! The way to a repository on another host: the system's `ssh`, which runs `garret serve` there.
//!
//! In: a [`Remote`]; `GARRET_RSH`, the program instead of `ssh` with its options, split at spaces; `GARRET_REMOTE_PATH`, what
//! garret is called there. Out: a store. Promises: ssh has the user's configuration, agent and keys, and none of our
//! passphrases; without a terminal it asks nothing; how it ended is said in one line, behind what it says itself on
//! stderr, of which nothing talks to the terminal: some of it is the other host's.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use garret_core::{Cause, Sharing, StoreError, StoreErrorKind};
use garret_remote::{Opening, RemoteStore};

use crate::failure::Failure;
use crate::location::{Location, Remote};
use crate::pipes::SECRETS;
use crate::render::one_line;

/// How long ssh may take to end when nothing comes from it any more.
const END_TIME: Duration = Duration::from_secs(5);
/// How long what it said may take to be passed on when it has ended: what it leaves behind to share the connection keeps the
/// pipe open.
const SAID_TIME: Duration = Duration::from_millis(200);
/// The longest line of what it says, in bytes; one that is longer becomes two.
const LINE_LEN_MAX: u64 = 64 << 10;
/// Seconds after which ssh asks a host that says nothing whether it is there, and how often in vain: a line that is gone is
/// noticed after three minutes, while a disk that stalls there for as long is waited for.
const ALIVE: [&str; 2] = ["-oServerAliveInterval=30", "-oServerAliveCountMax=6"];

/// Opens the repository there, or makes one for `create`.
///
/// # Errors
/// There is none, or there is one; ssh or garret does not run; the server does not let this client.
pub(crate) fn connect(remote: &Remote, create: Option<Sharing>) -> Result<RemoteStore, Failure> {
    let location = Location::Remote(remote.clone());
    let mut child = command(remote).spawn().map_err(|error| {
        let rsh = env::var_os("GARRET_RSH").unwrap_or_else(|| "ssh".into());
        Failure::io(format!("{} cannot be run", rsh.display()), &error)
    })?;
    let (Some(input), Some(output), Some(said)) =
        (child.stdout.take(), child.stdin.take(), child.stderr.take())
    else {
        return Err(Failure::Fatal(format!("no connection to {}", remote.host)));
    };
    let opening = Opening { path: remote.path.clone(), create };
    let said = pass_on(said);
    let ended = Box::new(move || {
        let how = how_it_ended(child);
        // It ends when all is passed on.
        let _all = said.recv_timeout(SAID_TIME);
        how
    });
    RemoteStore::open(input, output, ended, &remote.host, &opening)
        .map_err(|error| failure(error, &location, create.is_some()))
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
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Its configuration may say that variables are sent.
    SECRETS.iter().for_each(|name| _ = command.env_remove(name));
    command
}

/// Passes on what it says, line by line, as what can be seen of it; until nothing comes any more, and the channel ends.
fn pass_on(said: impl Read + Send + 'static) -> Receiver<()> {
    let (going_on, ended) = channel();
    let pass = move || {
        let _going_on = going_on;
        let (mut said, mut line) = (BufReader::new(said), Vec::new());
        while let Ok(1..) = said.by_ref().take(LINE_LEN_MAX).read_until(b'\n', &mut line) {
            let text = String::from_utf8_lossy(&line);
            let text = format!("{}\n", one_line(text.trim_end_matches(['\r', '\n'])));
            let _unheard = io::stderr().lock().write_all(text.as_bytes());
            line.clear();
        }
    };
    // Without a thread nobody hears it.
    let _silent = std::thread::Builder::new().name("ssh".to_owned()).spawn(pass);
    ended
}

/// Why nothing comes from it any more, if that is no good end.
fn how_it_ended(mut child: Child) -> Option<String> {
    let start = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() < END_TIME => sleep(Duration::from_millis(10)),
            _ => {
                let _gone = child.kill();
                break child.wait().ok()?;
            }
        }
    };
    match status.code() {
        Some(0) => None,
        Some(2) => Some("garret there knows no serve: is it an older one?".to_owned()),
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

/// The same words as of a directory here, where attic has some.
fn failure(error: StoreError, location: &Location, creates: bool) -> Failure {
    match error.kind {
        StoreErrorKind::NotFound if !creates => {
            let text = format!("Repository {} does not exist", location.display());
            Failure::Because(Cause::Missing, text)
        }
        StoreErrorKind::AlreadyExists if creates => {
            let text = format!(
                "Repository {} already exists: choose an empty or new directory",
                location.display()
            );
            Failure::Because(Cause::Taken, text)
        }
        _ => garret_core::Error::from(error).into(),
    }
}
