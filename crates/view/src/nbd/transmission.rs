//! Requests about an open export, and their replies.
//!
//! In: a connection whose handshake is done. Out: replies, in whatever order they are ready. Promises: a read is answered
//! piece by piece, so a request of any length takes no more memory than one piece; where some of it is damaged the rest is
//! given, if the client takes replies in chunks; who does not is given all or an error.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read, Write};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, bounded};
use garret_core::message;
use garret_image::{Source, SourceError};

use super::handshake::Wanted;
use super::stream::Stream;
use super::wire::{
    ALLOCATION_ID, CHUNK_HEAD, COMMAND_DF, COMMAND_FUA, COMMAND_REQ_ONE, ChunkKind,
    PAYLOAD_LEN_MAX, Refusal, Request, STATE_HOLE_ZERO, chunk, command, error, simple,
};
use crate::ahead::{Ahead, Reader};
use crate::exports::Exports;

/// Requests of one client that are worked on at once.
pub const WORKERS_MAX: usize = 8;

/// Requests of one client that wait behind those; then it is not listened to.
const WAITING_MAX: usize = 64;

/// Bytes of a read that are in memory at once.
const PIECE_LEN: u64 = 512 << 10;

/// Where some of a piece cannot be read it is read in halves, down to this: about a chunk.
const DAMAGED_LEN: u64 = 64 << 10;

/// Extents in one reply: 32 KiB of it. A client that wants to know more asks again from there.
const EXTENTS_MAX: usize = 4096;

/// Bytes of a chunk before the data in it.
const DATA_HEAD: usize = CHUNK_HEAD + 8;

/// An open export and its client.
struct Client<'a> {
    wanted: &'a Wanted,
    reader: Reader,
    exports: &'a dyn Exports,
    /// A chunk or a simple reply is written whole.
    line: Mutex<&'a Stream>,
}

/// Answers requests until the client leaves or breaks the protocol.
///
/// # Errors
/// It did the latter, or the connection broke.
pub(super) fn answer(
    stream: &Stream,
    wanted: &Wanted,
    exports: &dyn Exports,
    ahead: &Ahead,
) -> io::Result<()> {
    let reader = ahead.reader(wanted.source.clone());
    let client = Client { wanted, reader, exports, line: Mutex::new(stream) };
    let (requests, waiting) = bounded(WAITING_MAX);
    let work = || client.work(&waiting);
    thread::scope(|scope| {
        let mut workers = 0;
        let mut from = BufReader::new(stream);
        let ended = loop {
            let request = match client.next(&mut from) {
                Ok(Some(request)) => request,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            let is_short = workers == 0 || !requests.is_empty();
            if is_short && workers < WORKERS_MAX {
                match thread::Builder::new().spawn_scoped(scope, work) {
                    Ok(_) => workers += 1,
                    Err(error) if workers == 0 => break Err(error),
                    Err(_) => {}
                }
            }
            // Fails only when all workers are gone, which they are when the line is.
            if requests.send(request).is_err() {
                break Ok(());
            }
        };
        drop(requests);
        ended
    })
}

impl<'a> Client<'a> {
    /// The next request that is work; others are answered here.
    fn next(&self, from: &mut impl Read) -> io::Result<Option<Request>> {
        while let Some(request) = Request::read(from)? {
            match request.command {
                command::READ | command::BLOCK_STATUS => return Ok(Some(request)),
                command::DISCONNECT => return Ok(None),
                command::WRITE => {
                    // Its payload is on the line.
                    if request.len > PAYLOAD_LEN_MAX {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    io::copy(&mut from.by_ref().take(request.len.into()), &mut io::sink())?;
                    self.refuse(&request, Refusal::Permission, "it is read-only")?;
                }
                command::TRIM | command::WRITE_ZEROES => {
                    self.refuse(&request, Refusal::Permission, "it is read-only")?;
                }
                _ => self.refuse(&request, Refusal::Invalid, "there is no such command")?,
            }
        }
        Ok(None)
    }

    /// Answers requests until there are no more or the line is gone; then nobody listens on it either.
    fn work(&self, waiting: &Receiver<Request>) {
        let mut buffer = Vec::new();
        for request in waiting {
            let answered = match request.command {
                command::READ => self.read(&request, &mut buffer),
                _ => self.block_status(&request),
            };
            if answered.is_err() {
                self.line().shut_down();
                break;
            }
        }
    }

    fn line(&self) -> MutexGuard<'_, &'a Stream> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, request: &Request, refusal: Refusal, why: &str) -> io::Result<()> {
        match self.wanted.structured {
            true => self.chunk(ChunkKind::Error, request, &error(refusal, why, None), true),
            false => self.line().write_all(&simple(request.cookie, Some(refusal))),
        }
    }

    fn chunk(
        &self,
        kind: ChunkKind,
        request: &Request,
        payload: &[u8],
        is_last: bool,
    ) -> io::Result<()> {
        // Payloads are errors and lists of extents: bounded both.
        let head = chunk(kind, request.cookie, payload.len() as u32, is_last);
        self.line().write_all(&[&head, payload].concat())
    }

    /// The range of a request, if it makes sense.
    fn range(&self, request: &Request, flags: u16) -> Option<Range<u64>> {
        let end = request.offset.checked_add(request.len.into())?;
        let is_within = end <= self.wanted.source.len();
        let is_known = request.flags & !(flags | COMMAND_FUA) == 0;
        (is_within && is_known).then_some(request.offset..end)
    }

    fn read(&self, request: &Request, buffer: &mut Vec<u8>) -> io::Result<()> {
        let flags = if self.wanted.structured { COMMAND_DF } else { 0 };
        let Some(range) = self.range(request, flags).filter(|_| request.len <= PAYLOAD_LEN_MAX)
        else {
            return self.refuse(request, Refusal::Invalid, "it is not within the export");
        };
        let in_one = request.flags & COMMAND_DF != 0;
        match self.wanted.structured {
            true if in_one && range.end - range.start > PIECE_LEN => {
                self.refuse(request, Refusal::Overflow, "it is too long for one chunk")
            }
            true => self.read_in_chunks(request, range, buffer),
            false => self.read_whole(request, range, buffer),
        }
    }

    /// A reply in chunks: data, and in between the places that cannot be had.
    fn read_in_chunks(
        &self,
        request: &Request,
        range: Range<u64>,
        buffer: &mut Vec<u8>,
    ) -> io::Result<()> {
        if range.is_empty() {
            return self.chunk(ChunkKind::None, request, &[], true);
        }
        let in_one = request.flags & COMMAND_DF != 0;
        let mut left: VecDeque<Range<u64>> = pieces(range).collect();
        while let Some(piece) = left.pop_front() {
            let len = piece.end - piece.start;
            // At most a piece.
            buffer.resize(DATA_HEAD + len as usize, 0);
            let (head, data) = buffer.split_at_mut(DATA_HEAD);
            match self.reader.read(data, piece.start) {
                Ok(()) => {
                    let is_last = left.is_empty();
                    let start = chunk(ChunkKind::Data, request.cookie, len as u32 + 8, is_last);
                    head.copy_from_slice(&[&start[..], &piece.start.to_be_bytes()].concat());
                    self.line().write_all(buffer)?;
                }
                Err(_) if len > DAMAGED_LEN && !in_one => {
                    let middle = piece.start + (len / 2).next_multiple_of(DAMAGED_LEN).min(len - 1);
                    left.push_front(middle..piece.end);
                    left.push_front(piece.start..middle);
                }
                Err(failed) => {
                    self.exports.failed(&self.wanted.name, &failed);
                    let what = error(Refusal::Io, &message(&failed), Some(piece.start));
                    self.chunk(ChunkKind::ErrorAt, request, &what, left.is_empty())?;
                }
            }
        }
        Ok(())
    }

    /// A simple reply says before its data whether that can be had: what does not fit a piece is read twice.
    fn read_whole(
        &self,
        request: &Request,
        range: Range<u64>,
        buffer: &mut Vec<u8>,
    ) -> io::Result<()> {
        let read = |buffer: &mut Vec<u8>, piece: &Range<u64>| -> Result<(), SourceError> {
            buffer.resize((piece.end - piece.start) as usize, 0);
            let read = self.reader.read(buffer, piece.start);
            read.inspect_err(|failed| self.exports.failed(&self.wanted.name, failed))
        };
        for piece in pieces(range.clone()) {
            if read(buffer, &piece).is_err() {
                return self.line().write_all(&simple(request.cookie, Some(Refusal::Io)));
            }
        }
        let is_one = range.end - range.start <= PIECE_LEN;
        let mut line = self.line();
        line.write_all(&simple(request.cookie, None))?;
        for piece in pieces(range) {
            if !is_one {
                read(buffer, &piece).map_err(|_| io::ErrorKind::BrokenPipe)?;
            }
            line.write_all(buffer)?;
        }
        Ok(())
    }

    fn block_status(&self, request: &Request) -> io::Result<()> {
        let range = self.range(request, COMMAND_REQ_ONE).filter(|range| !range.is_empty());
        let (Some(range), true) = (range, self.wanted.allocation) else {
            return self.refuse(request, Refusal::Invalid, "there is no block status for it");
        };
        let most = if request.flags & COMMAND_REQ_ONE == 0 { EXTENTS_MAX } else { 1 };
        match extents(&*self.wanted.source, range, most) {
            Ok(extents) => {
                let mut payload = ALLOCATION_ID.to_be_bytes().to_vec();
                for (len, is_hole) in extents {
                    let state = if is_hole { STATE_HOLE_ZERO } else { 0 };
                    payload.extend(len.to_be_bytes());
                    payload.extend(state.to_be_bytes());
                }
                self.chunk(ChunkKind::BlockStatus, request, &payload, true)
            }
            Err(failed) => {
                self.exports.failed(&self.wanted.name, &failed);
                self.refuse(request, Refusal::Io, &message(&failed))
            }
        }
    }
}

/// A range, in pieces.
fn pieces(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    let starts = range.step_by(PIECE_LEN as usize);
    starts.map(move |start| start..end.min(start.saturating_add(PIECE_LEN)))
}

/// The first `most` extents of a range: of each its length, and whether it is a hole.
fn extents(
    source: &dyn Source,
    range: Range<u64>,
    most: usize,
) -> Result<Vec<(u32, bool)>, SourceError> {
    let mut found: Vec<(u32, bool)> = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let extent = source.extent_at(at)?;
        let end = (extent.offset() + extent.len()).clamp(at + 1, range.end);
        // A range is that of a request, so no longer than 32 bits say.
        let len = (end - at) as u32;
        let is_full = found.len() == most;
        match found.last_mut() {
            Some((last, is_hole)) if *is_hole == extent.is_hole() => *last += len,
            _ if is_full => break,
            _ => found.push((len, extent.is_hole())),
        }
        at = end;
    }
    Ok(found)
}
