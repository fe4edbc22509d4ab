//! A connection to a client, whichever kind of socket it came by.
//!
//! In: a socket. Out: bytes in both directions, from several threads. Promises: whoever reads or writes is woken when it is
//! shut down.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

/// A connection.
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    /// Ends it for both sides, whoever reads or writes meanwhile.
    pub(super) fn shut_down(&self) {
        // It may be gone already.
        let _gone = match self {
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    pub(super) fn again(&self) -> io::Result<Stream> {
        match self {
            Stream::Unix(stream) => Ok(Stream::Unix(stream.try_clone()?)),
            Stream::Tcp(stream) => Ok(Stream::Tcp(stream.try_clone()?)),
        }
    }
}

impl Read for &Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => (&mut &*stream).read(buf),
            Stream::Tcp(stream) => (&mut &*stream).read(buf),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => (&mut &*stream).write(buf),
            Stream::Tcp(stream) => (&mut &*stream).write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
