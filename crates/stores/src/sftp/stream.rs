//! The stream that carries a session: notes when something moves, and its end.
//!
//! In: a stream. Out: the same, and what is known of it. Promises: whoever asks what is known hears of the end at once, which
//! the library tells only to who was waiting then.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::watch;

/// What is known of the stream.
#[derive(Default)]
pub(super) struct Known {
    /// How often something moved.
    pub moved: AtomicU64,
    /// Whether it has ended.
    pub is_ended: watch::Sender<bool>,
}

/// A stream that notes when something moves, and its end.
pub(super) struct Watched {
    pub stream: UnixStream,
    pub known: Arc<Known>,
}

impl Watched {
    fn note(&self, is_ended: bool) {
        self.known.moved.fetch_add(1, Ordering::Relaxed);
        if is_ended {
            self.known.is_ended.send_replace(true);
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let had = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        self.note(read.is_err() || buffer.filled().len() == had);
        Poll::Ready(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.note(written.is_err());
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
