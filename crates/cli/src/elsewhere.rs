//! A repository that another program serves on a pair of pipes: `ssh`, which starts garret on another host, or
//! `garret-stores`, which speaks with an object store.
//!
//! In: the command. Out: a store. Promises: the program has none of our passphrases; what it says on stderr is passed on line
//! by line, and nothing of it talks to the terminal; how it ended is said in one line behind that.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use garret_core::{Cause, Sharing, StoreError, StoreErrorKind};
use garret_remote::{Opening, RemoteStore};

use crate::events;
use crate::failure::Failure;
use crate::location::Location;
use crate::pipes::keep_secrets;
use crate::rates::{self, Paced};
use crate::render::one_line;

/// How long it may take to end when nothing comes from it any more.
const END_TIME: Duration = Duration::from_secs(5);
/// How long what it said may take to be passed on when it has ended: what it leaves behind to share a connection keeps the
/// pipe open.
const SAID_TIME: Duration = Duration::from_millis(200);
/// The longest line of what it says, in bytes; one that is longer becomes two.
const LINE_LEN_MAX: u64 = 64 << 10;

/// A program that serves a repository.
pub(crate) struct Server<'a> {
    /// What starts it.
    pub command: Command,
    /// What messages begin with where they name an object; nothing where the objects' names say it all.
    pub host: &'a str,
    /// What it is to open.
    pub path: &'a [u8],
    /// Whether what goes through its pipes goes over the line as it is, and so keeps to the rates; else it does that itself.
    pub is_line: bool,
    /// What its end means, in words, if that is no good one.
    pub how_it_ended: fn(ExitStatus) -> Option<String>,
}

/// Starts it and opens the repository, or makes one for `create`.
///
/// # Errors
/// There is none, or there is one; the program does not run, or does not let this client.
pub(crate) fn connect_to(
    server: Server<'_>,
    location: &Location,
    create: Option<Sharing>,
) -> Result<RemoteStore, Failure> {
    let Server { mut command, host, path, is_line, how_it_ended } = server;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    keep_secrets(&mut command);
    rates::tell(&mut command);
    let mut child = command.spawn().map_err(|error| {
        Failure::io(format!("{} cannot be run", command.get_program().display()), &error)
    })?;
    let (Some(input), Some(output), Some(said)) =
        (child.stdout.take(), child.stdin.take(), child.stderr.take())
    else {
        return Err(Failure::Fatal(format!("no connection to {}", location.display())));
    };
    let opening = Opening { path: path.to_vec(), create };
    let said = pass_on(said);
    let ended = Box::new(move || {
        let status = end(child)?;
        // It ends when all is passed on.
        let _all = said.recv_timeout(SAID_TIME);
        how_it_ended(status)
    });
    let (input, output) = (Paced::down(input, is_line), Paced::up(output, is_line));
    RemoteStore::open(input, output, ended, host, &opening)
        .map_err(|error| failure(error, location, create.is_some()))
}

/// Passes on what it says, line by line, as what can be seen of it; until nothing comes any more, and the channel ends.
fn pass_on(said: impl Read + Send + 'static) -> Receiver<()> {
    let (going_on, ended) = channel();
    let pass = move || {
        let _going_on = going_on;
        let (mut said, mut line) = (BufReader::new(said), Vec::new());
        while let Ok(1..) = said.by_ref().take(LINE_LEN_MAX).read_until(b'\n', &mut line) {
            let text = String::from_utf8_lossy(&line);
            let text = one_line(text.trim_end_matches(['\r', '\n']));
            if events::are_told() {
                events::notice(&text);
            } else {
                let _unheard = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
            }
            line.clear();
        }
    };
    // Without a thread nobody hears it.
    let _silent = std::thread::Builder::new().name("said".to_owned()).spawn(pass);
    ended
}

/// Waits for its end for a while, and then ends it.
fn end(mut child: Child) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if start.elapsed() < END_TIME => sleep(Duration::from_millis(10)),
            _ => {
                let _gone = child.kill();
                return child.wait().ok();
            }
        }
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
                "Repository {} already exists: choose an empty or new {}",
                location.display(),
                if matches!(location, Location::Store(_)) { "prefix" } else { "directory" }
            );
            Failure::Because(Cause::Taken, text)
        }
        _ => garret_core::Error::from(error).into(),
    }
}
