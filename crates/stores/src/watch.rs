//! Ends a request on which nothing moves any more.
//!
//! In: a way to send requests. Out: the same, whose requests fail when for [`SILENCE`] no piece of what they send was taken
//! and none of an answer came. Promises: a slow line is waited for as long as it moves; one that stalls is not.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use http::{Request, Response, StatusCode};
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport};
use tokio::time::timeout;

/// How long nothing may move.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);
/// Bytes that are handed over at once: a line that carries this in [`SILENCE`] moves.
const PIECE_LEN: usize = 64 << 10;

/// What servers say that want to be asked later: that the request took too long, or that there were too many, for which some
/// of Swift's have a number of their own.
const LATER: [u16; 3] = [408, 429, 498];

/// What comes of an answer.
type Pieces = Box<dyn Stream<Item = opendal::Result<Buffer>> + Send + Sync + Unpin>;

/// Requests that are watched.
pub(crate) struct Watched<T>(pub T);

/// A piece of what is sent, which says when nobody holds it any more.
struct Piece {
    whole: Bytes,
    range: Range<usize>,
    taken: Arc<AtomicU64>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.whole.get(self.range.clone()).unwrap_or_default()
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }
}

impl<T: HttpTransport> HttpTransport for Watched<T> {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let taken = Arc::new(AtomicU64::new(0));
        let request = request.map(|body| in_pieces(body.to_bytes(), &taken));
        let mut answer = Box::pin(self.0.fetch(request));
        let mut seen = 0;
        loop {
            if let Ok(answer) = timeout(SILENCE, &mut answer).await {
                let answer = answer?;
                return match LATER.contains(&answer.status().as_u16()) {
                    true => Err(later(answer.status())),
                    false => Ok(answer.map(in_time)),
                };
            }
            match taken.load(Ordering::Relaxed) {
                now if now == seen => return Err(silent()),
                now => seen = now,
            }
        }
    }
}

/// An answer each piece of which is waited for only so long.
fn in_time(body: HttpBody) -> HttpBody {
    body.map_inner(|pieces| {
        let next = async |mut pieces: Pieces| match timeout(SILENCE, pieces.next()).await {
            Ok(piece) => piece.map(|piece| (piece, pieces)),
            Err(_) => Some((Err(silent()), pieces)),
        };
        Box::new(Box::pin(unfold(pieces, next)))
    })
}

fn in_pieces(whole: Bytes, taken: &Arc<AtomicU64>) -> Buffer {
    let pieces = (0..whole.len()).step_by(PIECE_LEN).map(|start| {
        let range = start..whole.len().min(start + PIECE_LEN);
        Bytes::from_owner(Piece { whole: whole.clone(), range, taken: Arc::clone(taken) })
    });
    pieces.collect::<Vec<Bytes>>().into()
}

fn later(status: StatusCode) -> Error {
    Error::new(ErrorKind::RateLimited, format!("the store says {status}")).set_temporary()
}

/// Why a request ended on which nothing moved.
pub(crate) fn silent() -> Error {
    let why = format!("the store did not answer within {} s", SILENCE.as_secs());
    Error::new(ErrorKind::Unexpected, why).set_temporary()
}
