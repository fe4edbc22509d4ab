//! Asking the terminal for a passphrase, or another secret.
//!
//! In: what to ask. Out: the line that was typed, without its end. Promises: what is typed is shown only if asked for;
//! however the program ends or is stopped meanwhile by a signal that it can see, the terminal shows again what is typed; the
//! line is wiped from memory when it is dropped.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// Longest line that a terminal gives: `N_TTY_BUF_SIZE` of Linux.
const LINE_LEN_MAX: usize = 4096;

/// What ends or stops a program at a prompt: ^C, ^\, ^Z, `kill`, and a terminal that goes away.
const ENDING: [Signal; 5] =
    [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP, Signal::SIGTERM, Signal::SIGHUP];

/// What is seen of what is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// Nothing.
    Hidden,
    /// All of it.
    Shown,
}

/// Asks the controlling terminal for a line.
///
/// # Errors
/// There is no such terminal, or it ends before the line does.
pub(crate) fn ask(prompt: &str, typed: Typed) -> io::Result<Zeroizing<Vec<u8>>> {
    let terminal = File::options().read(true).write(true).open("/dev/tty")?;
    loop {
        if let Some(line) = Quiet::new(&terminal, typed)?.line(prompt)? {
            return Ok(line);
        }
        // Only after a signal that stopped the program and one that let it go on.
    }
}

/// A terminal that does not show what is typed, and signals that wait until it does again.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
    pending: SignalFd,
    /// Those of `ENDING` that were not held back before.
    held_back: SigSet,
}

impl<'a> Quiet<'a> {
    fn new(terminal: &'a File, typed: Typed) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let already = SigSet::thread_get_mask()?;
        let held_back: SigSet =
            ENDING.into_iter().filter(|&signal| !already.contains(signal)).collect();
        let pending = SignalFd::with_flags(&held_back, SfdFlags::SFD_CLOEXEC)?;
        // First the signals: one that came in between would leave the terminal quiet.
        held_back.thread_block()?;
        let quiet = Quiet { terminal, before, pending, held_back };
        let mut modes = quiet.before.clone();
        modes.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON);
        modes.local_modes.set(LocalModes::ECHO, typed == Typed::Shown);
        tcsetattr(terminal, OptionalActions::Now, &modes)?;
        Ok(quiet)
    }

    /// The next line; none if a signal came first, which is delivered when this is dropped.
    fn line(self, prompt: &str) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let mut terminal = self.terminal;
        terminal.write_all(prompt.as_bytes())?;
        let wanted = |of| PollFd::new(of, PollFlags::POLLIN);
        let mut ready = [wanted(self.terminal.as_fd()), wanted(self.pending.as_fd())];
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) if ready[1].any().unwrap_or(true) => return Ok(None),
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let mut line = Zeroizing::new(vec![0; LINE_LEN_MAX]);
        let len = terminal.read(&mut line)?;
        line.truncate(len);
        match line.pop() {
            Some(b'\n') => Ok(Some(line)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing any more.
        let _gone = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
        let _same = self.held_back.thread_unblock();
    }
}
