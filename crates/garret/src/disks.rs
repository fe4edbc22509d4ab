//! Disks of archives: what is kept of them in memory, and how they are served by NBD while something goes on.
//!
//! In: where to listen, what to serve. Out: a server in threads of its own, and what clients call its exports. Promises: who
//! cannot read the repository cannot connect to a socket of ours; threads that clients speak with can write nothing and start
//! nothing; a socket that was made is removed.

use std::fmt::Write;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use garret_cli::args::size;
use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_cli::sandbox;
use garret_cli::session::{self, Session};
use garret_cli::ui::Ui;
use garret_core::Repository;
use garret_view::nbd::{self, Listener};
use garret_view::{Ahead, Exports};
use rustix::fs::Mode;
use tempfile::TempDir;

/// What is kept of what was read, where it is read at any place.
#[derive(Debug, clap::Args)]
pub(crate) struct Cache {
    /// Keep so much of what was read in memory: bytes, or k, M, G or T, which are thousands
    #[arg(long = "cache", value_name = "SIZE", default_value = "256M", value_parser = size)]
    len: u64,
}

impl Cache {
    /// The repository, to be looked into for long.
    pub(crate) fn open(
        &self,
        location: &Location,
        ui: &Ui,
    ) -> Result<Session<Repository>, Failure> {
        session::viewer(location, self.len, ui)
    }
}

/// Where a server listens.
pub(crate) struct Door {
    listener: Listener,
    /// What was made for it, and goes with it.
    made: Made,
}

/// What a socket is in the file system.
enum Made {
    /// It is there for who started us, or it is no file.
    Nothing,
    File(PathBuf),
    In(TempDir),
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Made::File(path) = self {
            let _gone = std::fs::remove_file(path);
        }
    }
}

/// The name of a socket in a directory of its own.
const SOCKET: &str = "nbd.sock";

impl Door {
    /// The socket that the program which started this one listens at for it, as systemd does; none if there is no such.
    ///
    /// # Errors
    /// What it gave is no socket that clients come to.
    pub(crate) fn given() -> Result<Option<Self>, Failure> {
        let mut given = listenfd::ListenFd::from_env();
        if given.len() == 0 {
            return Ok(None);
        }
        let wrong = |error: std::io::Error| Failure::io("the socket that was passed on", &error);
        let listener = match given.take_unix_listener(0) {
            Ok(Some(listener)) => Listener::Unix(listener),
            Ok(None) => return Ok(None),
            Err(_) => match given.take_tcp_listener(0).map_err(wrong)? {
                Some(listener) => Listener::Tcp(listener),
                None => return Ok(None),
            },
        };
        Ok(Some(Door { listener, made: Made::Nothing }))
    }

    /// A socket in a directory that is made for it, for this user alone.
    pub(crate) fn private() -> Result<Self, Failure> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let place = runtime.filter(|path| path.is_dir()).unwrap_or_else(std::env::temp_dir);
        let directory = tempfile::Builder::new().prefix("garret-").tempdir_in(&place);
        let directory = directory.map_err(|error| Failure::io(place.display(), &error))?;
        let listener = bind(&directory.path().join(SOCKET))?;
        Ok(Door { listener, made: Made::In(directory) })
    }

    /// The socket `path`, for this user alone. One that nobody listens at any more is replaced.
    pub(crate) fn socket(path: &Path) -> Result<Self, Failure> {
        let is_socket = path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket());
        let refused = |error: std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
        if is_socket && UnixStream::connect(path).is_err_and(refused) {
            std::fs::remove_file(path).map_err(|error| Failure::io(path.display(), &error))?;
        }
        Ok(Door { listener: bind(path)?, made: Made::File(path.to_owned()) })
    }

    /// An address of this host that no other host reaches.
    pub(crate) fn address(address: SocketAddr) -> Result<Self, Failure> {
        if !address.ip().is_loopback() {
            return Err(Failure::Usage(format!(
                "{address} can be reached by other hosts, and NBD asks nobody who he is: listen at 127.0.0.1, and let ssh -L \
                 lead there"
            )));
        }
        let listener = TcpListener::bind(address);
        let listener = listener.map_err(|error| Failure::io(address, &error))?;
        Ok(Door { listener: Listener::Tcp(listener), made: Made::Nothing })
    }

    /// Where its socket is; of one that has none in the file system, nowhere.
    pub(crate) fn path(&self) -> PathBuf {
        match &self.made {
            Made::Nothing => PathBuf::new(),
            Made::File(path) => path.clone(),
            Made::In(directory) => directory.path().join(SOCKET),
        }
    }

    /// What a client calls the export `name` here; nothing where who started us knows.
    pub(crate) fn uri(&self, name: &str) -> Option<String> {
        let name = escaped(name.as_bytes(), b"/:");
        let path = match (&self.made, &self.listener) {
            (Made::Nothing, Listener::Unix(_)) => return None,
            (Made::Nothing, Listener::Tcp(listener)) => {
                return Some(format!("nbd://{}/{name}", listener.local_addr().ok()?));
            }
            _ => std::path::absolute(self.path()).ok()?,
        };
        let path = escaped(path.as_os_str().as_bytes(), b"/");
        Some(format!("nbd+unix:///{name}?socket={path}"))
    }

    /// Serves `exports` of the repository at `location` while `work` goes on, which is told whether the server still is
    /// there.
    ///
    /// # Errors
    /// Those of `work`, and what ended the server.
    pub(crate) fn serve<R>(
        &self,
        location: &Location,
        exports: &dyn Exports,
        work: impl FnOnce(&dyn Fn() -> bool) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let stops = AtomicBool::new(false);
        let stop = Stop(&stops);
        thread::scope(|scope| {
            let server = scope.spawn(|| {
                // What is far away may have to be connected to again.
                if location.directory().is_some() {
                    sandbox::confine_reader(&location.directories().collect::<Vec<_>>());
                }
                let ahead = Ahead::new();
                nbd::serve(&self.listener, exports, &ahead, &|| stops.load(Ordering::Relaxed))
            });
            // However this ends, a panic included, the server does.
            let stop = stop;
            let worked = work(&|| !server.is_finished());
            drop(stop);
            let served = server.join().unwrap_or(Ok(()));
            let worked = worked?;
            served.map_err(|error| Failure::io("the socket", &error))?;
            Ok(worked)
        })
    }
}

/// Ends a server when it is dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Listens at a socket for this user alone.
fn bind(path: &Path) -> Result<Listener, Failure> {
    // A mode that is set behind it would come too late. Nothing else is made meanwhile.
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener.map(Listener::Unix).map_err(|error| Failure::io(path.display(), &error))
}

/// As it stands in a URI; `plain` are those of the other characters that may stand for themselves.
fn escaped(bytes: &[u8], plain: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || plain.contains(byte) {
            true => text.push(char::from(*byte)),
            false => {
                let _infallible = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}
