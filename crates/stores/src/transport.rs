//! Carries requests of HTTP: at their pace, and not for ever.
//!
//! In: requests of `opendal`. Out: answers, by `reqwest`. Promises: a request fails when for [`SILENCE`] no piece of what it
//! sends was taken and none of an answer came; a slow line is waited for as long as it moves, and so is a [`Paces`].

use std::convert::Infallible;
use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::ready as ready_future;
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use http::{Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use opendal::raw::parse_content_length;
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport};
use reqwest::{Client, Url};
use tokio::time::{Sleep, sleep, timeout};

use crate::paces::Paces;

/// How long nothing may move.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);
/// Bytes that are handed over at once: a line that carries this in [`SILENCE`] moves.
const PIECE_LEN: usize = 64 << 10;

/// What servers say that want to be asked later: that the request took too long, or that there were too many, for which some
/// of Swift's have a number of their own.
const LATER: [u16; 3] = [408, 429, 498];

/// What comes of an answer.
type Pieces = Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send + Sync>>;

/// Sends requests.
pub(crate) struct Transport {
    client: Client,
    paces: Arc<Paces>,
}

/// What goes on with what is sent.
#[derive(Debug, Default)]
struct Sending {
    /// Pieces that nobody holds any more.
    taken: AtomicU64,
    /// Whether the next one waits for its turn.
    waits: AtomicBool,
}

/// A piece of what is sent.
struct Piece {
    whole: Bytes,
    range: Range<usize>,
    sending: Arc<Sending>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.whole.get(self.range.clone()).unwrap_or_default()
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.sending.taken.fetch_add(1, Ordering::Relaxed);
    }
}

/// What is sent, piece by piece.
struct Body {
    whole: Bytes,
    sent: usize,
    sending: Arc<Sending>,
    paces: Arc<Paces>,
    /// Until when the piece that is next waits; none before that is known.
    turn: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let range = self.sent..self.whole.len().min(self.sent + PIECE_LEN);
        if range.is_empty() {
            return Poll::Ready(None);
        }
        if self.turn.is_none() {
            let wait = self.paces.up(range.len());
            self.turn = (!wait.is_zero()).then(|| Box::pin(sleep(wait)));
            self.sending.waits.store(self.turn.is_some(), Ordering::Relaxed);
        }
        if let Some(turn) = &mut self.turn {
            ready!(turn.as_mut().poll(context));
            // Its turn came: that is no silence.
            self.sending.taken.fetch_add(1, Ordering::Relaxed);
        }
        self.turn = None;
        self.sending.waits.store(false, Ordering::Relaxed);
        self.sent = range.end;
        let (whole, sending) = (self.whole.clone(), Arc::clone(&self.sending));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(Piece { whole, range, sending })))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent == self.whole.len()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.whole.len() - self.sent) as u64)
    }
}

impl Transport {
    pub(crate) fn new(client: Client, paces: Arc<Paces>) -> Self {
        Transport { client, paces }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string()).map_err(|error| {
            Error::new(ErrorKind::Unexpected, "the address is none").set_source(error)
        })?;
        self.paces.asked();
        let is_head = parts.method == Method::HEAD;
        let sending = Arc::<Sending>::default();
        let mut request = self.client.request(parts.method, url).headers(parts.headers);
        if !body.is_empty() {
            let (paces, whole) = (Arc::clone(&self.paces), body.to_bytes());
            let body = Body { whole, sent: 0, sending: Arc::clone(&sending), paces, turn: None };
            request = request.body(reqwest::Body::wrap(body));
        }
        let mut answer = Box::pin(request.send());
        let mut seen = 0;
        let mut answer = loop {
            if let Ok(answer) = timeout(SILENCE, &mut answer).await {
                break answer.map_err(|error| failed("send the request", error))?;
            }
            let taken = sending.taken.load(Ordering::Relaxed);
            if taken == seen && !sending.waits.load(Ordering::Relaxed) {
                return Err(silent());
            }
            seen = taken;
        };
        if LATER.contains(&answer.status().as_u16()) {
            return Err(later(answer.status()));
        }
        // What a server says of an object that it does not send is no length of what comes.
        let len = if is_head { None } else { parse_content_length(answer.headers())? };
        let mut made = Response::builder().status(answer.status()).extension(parts.uri);
        if let Some(headers) = made.headers_mut() {
            std::mem::swap(headers, answer.headers_mut());
        }
        // What is empty would be taken for the end.
        let is_some = |piece: &reqwest::Result<Bytes>| {
            ready_future(
                piece.as_ref().is_err() || piece.as_ref().is_ok_and(|piece| !piece.is_empty()),
            )
        };
        let pieces = answer.bytes_stream().filter(is_some);
        let body = HttpBody::new(in_time(Box::pin(pieces), &self.paces), len);
        made.body(body).map_err(|error| {
            Error::new(ErrorKind::Unexpected, "the answer is none").set_source(error)
        })
    }
}

/// An answer each piece of which is waited for only so long.
fn in_time(
    pieces: Pieces,
    paces: &Arc<Paces>,
) -> impl Stream<Item = opendal::Result<Buffer>> + Send + Sync + Unpin + 'static {
    let next = async |(mut pieces, paces): (Pieces, Arc<Paces>)| {
        let piece = match timeout(SILENCE, pieces.next()).await {
            Ok(None) => return None,
            Ok(Some(Ok(piece))) => {
                sleep(paces.down(piece.len())).await;
                Ok(Buffer::from(piece))
            }
            Ok(Some(Err(error))) => Err(failed("read the answer", error)),
            Err(_) => Err(silent()),
        };
        Some((piece, (pieces, paces)))
    };
    Box::pin(unfold((pieces, Arc::clone(paces)), next))
}

/// All of these are of the way: what the server says is in its answer.
fn failed(what: &str, error: reqwest::Error) -> Error {
    let is_temporary = error.is_request() || error.is_body() || error.is_decode();
    let failed = Error::new(ErrorKind::Unexpected, format!("cannot {what}"));
    failed.with_temporary(is_temporary).set_source(error.without_url())
}

fn later(status: StatusCode) -> Error {
    Error::new(ErrorKind::RateLimited, format!("the store says {status}")).set_temporary()
}

/// Why a request ended on which nothing moved.
pub(crate) fn silent() -> Error {
    let why = format!("the store did not answer within {} s", SILENCE.as_secs());
    Error::new(ErrorKind::Unexpected, why).set_temporary()
}
