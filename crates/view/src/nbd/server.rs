//! Connections: who listens, who is listened to, and the end of all.
//!
//! In: a listener, exports, and whether to stop. Out: nothing, when it stopped. Promises: at most [`CONNECTIONS_MAX`] clients
//! at once, the others are turned away at once; who does not shake hands in time is gone; after the end nobody is connected.

use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use super::handshake::shake;
use super::stream::Stream;
use super::transmission::answer;
use crate::ahead::Ahead;
use crate::exports::Exports;

/// Clients at once. A copy has 4 connections, a guest one for each disk.
pub const CONNECTIONS_MAX: usize = 64;

/// How long a client that has chosen no export may take for each thing that it says, and we to answer.
const HANDSHAKE_TIME: Duration = Duration::from_secs(60);

/// How often it is looked whether to stop: nothing wakes a wait for a client but a client, or a signal.
const LOOK_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// How long nobody is let in after there was no descriptor left for one.
const FULL_TIME: Duration = Duration::from_millis(50);

/// What is listened at.
#[derive(Debug)]
pub enum Listener {
    /// A socket of the file system.
    Unix(UnixListener),
    /// An address.
    Tcp(TcpListener),
}

impl Listener {
    fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Unix(listener) => Ok(Stream::Unix(listener.accept()?.0)),
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Unix(listener) => listener.as_fd(),
            Listener::Tcp(listener) => listener.as_fd(),
        }
    }

    /// What comes is known by a poll, and may be gone again by then.
    fn never_waits(&self) -> io::Result<()> {
        // Not by `ioctl`, as the standard library does it: where the program is confined there is none.
        let flags = rustix::fs::fcntl_getfl(self.as_fd())?;
        Ok(rustix::fs::fcntl_setfl(self.as_fd(), flags | OFlags::NONBLOCK)?)
    }
}

/// Who is connected, by a number, so that all can be ended.
#[derive(Default)]
struct Connected(Mutex<HashMap<u64, Entry>>);

/// A client, and until when it must have said something more, or have chosen an export, if it has not.
struct Entry {
    stream: Stream,
    until: Option<Instant>,
}

impl Connected {
    fn all(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends those who take too long.
    fn end_the_slow(&self) {
        let now = Instant::now();
        let all = self.all();
        let slow = all.values().filter(|entry| entry.until.is_some_and(|until| until < now));
        slow.for_each(|entry| entry.stream.shut_down());
    }
}

/// One who is connected. Its place is free when it is dropped, whatever ends it.
struct Client<'a> {
    connected: &'a Connected,
    number: u64,
    stream: Stream,
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        self.connected.all().remove(&self.number);
        self.stream.shut_down();
    }
}

/// Serves `exports` to all who come, until `stops` says so.
///
/// # Errors
/// Nobody can be listened to any more.
pub fn serve(
    listener: &Listener,
    exports: &dyn Exports,
    ahead: &Ahead,
    stops: &dyn Fn() -> bool,
) -> io::Result<()> {
    listener.never_waits()?;
    let connected = Connected::default();
    thread::scope(|scope| {
        let stops = || {
            connected.end_the_slow();
            stops()
        };
        let ended = accept(listener, &stops, |number, stream| {
            if connected.all().len() >= CONNECTIONS_MAX {
                return Ok(());
            }
            let until = Some(Instant::now() + HANDSHAKE_TIME);
            connected.all().insert(number, Entry { stream: stream.again()?, until });
            let connected = &connected;
            let serve = move || {
                let client = Client { connected, number, stream };
                // What a client does wrong, or that it is gone, is nothing to tell.
                let _left = converse(&client, exports, ahead);
            };
            let spawned =
                thread::Builder::new().name("client".to_owned()).spawn_scoped(scope, serve);
            if spawned.is_err() {
                connected.all().remove(&number);
            }
            Ok(())
        });
        connected.all().values().for_each(|entry| entry.stream.shut_down());
        ended
    })
}

/// Lets clients in until it is time to stop.
fn accept(
    listener: &Listener,
    stops: &dyn Fn() -> bool,
    mut enter: impl FnMut(u64, Stream) -> io::Result<()>,
) -> io::Result<()> {
    let mut number = 0;
    while !stops() {
        let fd = listener.as_fd();
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        match poll(&mut fds, Some(&LOOK_TIME)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        number += 1;
        let entered = listener.accept().and_then(|stream| enter(number, stream));
        // Whatever else can become of one is his.
        if let Err(Some(FILES_FULL_HERE | FILES_FULL)) =
            entered.map_err(|error| error.raw_os_error())
        {
            thread::sleep(FULL_TIME);
        }
    }
    Ok(())
}

/// The process, or the system, has no descriptor left.
const FILES_FULL_HERE: i32 = rustix::io::Errno::MFILE.raw_os_error();
const FILES_FULL: i32 = rustix::io::Errno::NFILE.raw_os_error();

fn converse(client: &Client<'_>, exports: &dyn Exports, ahead: &Ahead) -> io::Result<()> {
    let mut stream = &client.stream;
    let wait_until = |until| {
        if let Some(entry) = client.connected.all().get_mut(&client.number) {
            entry.until = until;
        }
    };
    // What is asked of each of many exports may take longer than one thing may.
    let goes_on = || wait_until(Some(Instant::now() + HANDSHAKE_TIME));
    let Some(wanted) = shake(&mut stream, exports, &goes_on)? else { return Ok(()) };
    wait_until(None);
    answer(stream, &wanted, exports, ahead)
}
