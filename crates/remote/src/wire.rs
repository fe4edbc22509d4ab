//! The bytes between the two hosts.
//!
//! ```text
//! server   "garret serve\n" | version u32                 before anything else, so that other output is told apart
//! client   frame 0: Opening                               which repository, and whether it is to be made
//! client   frames: id | Request                           ids are the client's, each used once
//! server   frames: id | status | body                     MORE any number of times, then DONE or FAILED
//!
//! frame    length of what follows, u32 | id, u32 | body
//! ```
//!
//! Numbers are little-endian. A frame has at most [`FRAME_LEN_MAX`] bytes; one that is longer ends the connection. Long lists
//! come in several frames. There is no compatibility between versions: both hosts need the same one, and say so.

use std::io::{self, Read, Write};
use std::ops::Range;

use garret_core::{Area, Key, LockMode, Sharing, StoreError, StoreErrorKind, Traffic};
use garret_format::archive::{NAME_LEN_MAX, is_archive_name};
use garret_format::wire::{Reader, Writer};
use garret_format::{ArchiveHash, DecodeError, DecodeErrorKind, PackId, SegmentId, SlotId};

/// What the server says first.
pub(crate) const GREETING: &[u8; 13] = b"garret serve\n";
/// The version of all this.
pub const VERSION: u32 = 1;
/// Longest frame in bytes: an object of [`OBJECT_LEN_MAX`] bytes and what says where it goes.
pub(crate) const FRAME_LEN_MAX: u32 = OBJECT_LEN_MAX + (64 << 10);
/// Longest object, or part of one, that is sent at a time: index segments and archives have at most 64 MiB, packs half of
/// that and a group.
pub(crate) const OBJECT_LEN_MAX: u32 = 64 << 20;
/// Longest path of a repository, what Linux allows.
const PATH_LEN_MAX: u32 = 4096;
/// Longest text of an error or a line.
const TEXT_LEN_MAX: u32 = 16 << 10;
/// Entries of a list in one frame: some 100 KiB of ids, or as many names as archives have.
pub(crate) const LIST_MAX: usize = 2048;

/// What the client wants to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The repository, as bytes of a path on the server; one that is not absolute begins where the server was started.
    pub path: Vec<u8>,
    /// To be made, in a directory that is not there or empty, for these users; else it must be there.
    pub create: Option<Sharing>,
}

/// What the client asks for: the operations of a store. Of [`Request::Lock`] the guard is known by the id of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Put {
        key: Key,
        is_new: bool,
        bytes: Vec<u8>,
    },
    Get {
        key: Key,
        range: Range<u64>,
    },
    GetWhole {
        key: Key,
        max: u64,
    },
    Len(Key),
    /// The kinds, in the order in which they are to be listed.
    List(Vec<Area>),
    Delete(Key),
    Adopt(Key),
    Sync,
    Doubtful,
    Strangers,
    Sweep,
    Lock {
        mode: LockMode,
        patience_ms: u64,
    },
    Unlock(u32),
    IsHeld(u32),
    HasSessions(u64, u64),
    PassOver(Key),
    Notices,
    /// All of the repository, by who has its exclusive lock.
    Remove,
    /// What this connection made of a repository.
    UndoCreate,
    /// How many bytes the repository takes.
    TakenLen,
    Traffic,
    IsExclusive,
}

/// How an answer goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Done,
    More,
    Failed,
}

/// Reads a frame: its id and body. None at the end of the stream. `before` hears its length before room is made for it.
///
/// # Errors
/// The stream fails or ends within it; it is longer than it may be.
pub(crate) fn read_frame(
    input: &mut impl Read,
    before: impl FnOnce(u32),
) -> io::Result<Option<(u32, Vec<u8>)>> {
    let mut head = [0; 8];
    if !read_head(input, &mut head)? {
        return Ok(None);
    }
    let [a, b, c, d, e, f, g, h] = head;
    let len = u32::from_le_bytes([a, b, c, d]);
    let id = u32::from_le_bytes([e, f, g, h]);
    if len > FRAME_LEN_MAX {
        let text = format!("a frame of {len} bytes is longer than any");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    before(len);
    // As it comes: who only says that much follows gets no memory for it.
    let mut body = Vec::new();
    input.take(u64::from(len)).read_to_end(&mut body)?;
    match body.len() == len as usize {
        true => Ok(Some((id, body))),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Whether there was anything.
fn read_head(input: &mut impl Read, head: &mut [u8; 8]) -> io::Result<bool> {
    let mut rest = &mut head[..];
    while !rest.is_empty() {
        let is_begun = rest.len() < 8;
        match input.read(rest) {
            Ok(0) if is_begun => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => return Ok(false),
            Ok(len) => rest = rest.split_at_mut_checked(len).map_or(&mut [], |(_, rest)| rest),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Writes a frame whose body is the concatenation of `parts`.
///
/// # Errors
/// It is too long, and then nothing was written; the stream fails.
pub(crate) fn write_frame(output: &mut impl Write, id: u32, parts: &[&[u8]]) -> io::Result<()> {
    let len = parts.iter().map(|part| part.len()).sum::<usize>();
    let len = u32::try_from(len).ok().filter(|len| *len <= FRAME_LEN_MAX);
    let len = len.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
    output.write_all(&len.to_le_bytes())?;
    output.write_all(&id.to_le_bytes())?;
    parts.iter().try_for_each(|part| output.write_all(part))?;
    output.flush()
}

impl Opening {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(match self.create {
            None => 0,
            Some(Sharing::Private) => 1,
            Some(Sharing::Group) => 2,
            Some(_) => 3,
        });
        out.bytes(&self.path);
        out.into_bytes()
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut body = Reader::new(body, "opening");
        let create = match body.u8()? {
            0 => None,
            1 => Some(Sharing::Private),
            2 => Some(Sharing::Group),
            3 => Some(Sharing::Umask),
            _ => return Err(body.error(DecodeErrorKind::OutOfRange)),
        };
        let path = body.bytes(PATH_LEN_MAX)?.to_vec();
        body.finish()?;
        Ok(Opening { path, create })
    }
}

impl Request {
    /// The bytes, without those of an object that is put: these follow.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Request::Put { key, is_new, .. } => put_key(out.u8(if *is_new { 1 } else { 0 }), key),
            Request::Get { key, range } => {
                put_key(out.u8(2), key);
                out.u64(range.start).u64(range.end);
            }
            Request::GetWhole { key, max } => {
                put_key(out.u8(3), key);
                out.u64(*max);
            }
            Request::Len(key) => put_key(out.u8(4), key),
            Request::List(areas) => {
                out.u8(5);
                areas.iter().for_each(|area| _ = out.u8(number_of(*area)));
            }
            Request::Delete(key) => put_key(out.u8(6), key),
            Request::Adopt(key) => put_key(out.u8(7), key),
            Request::Sync => _ = out.u8(8),
            Request::Doubtful => _ = out.u8(9),
            Request::Strangers => _ = out.u8(10),
            Request::Sweep => _ = out.u8(11),
            Request::Lock { mode, patience_ms } => {
                let (mode, epoch) = match mode {
                    LockMode::Session(epoch) => (0, *epoch),
                    LockMode::Check => (1, 0),
                    LockMode::Prune => (2, 0),
                    LockMode::Exclusive => (3, 0),
                };
                out.u8(12).u8(mode).u64(epoch).u64(*patience_ms);
            }
            Request::Unlock(id) => _ = out.u8(13).u32(*id),
            Request::IsHeld(id) => _ = out.u8(14).u32(*id),
            Request::HasSessions(first, last) => _ = out.u8(15).u64(*first).u64(*last),
            Request::PassOver(key) => put_key(out.u8(16), key),
            Request::Notices => _ = out.u8(17),
            Request::Remove => _ = out.u8(18),
            Request::UndoCreate => _ = out.u8(19),
            Request::TakenLen => _ = out.u8(20),
            Request::Traffic => _ = out.u8(21),
            Request::IsExclusive => _ = out.u8(22),
        }
        out.into_bytes()
    }

    pub(crate) fn decode(mut whole: Vec<u8>) -> Result<Self, DecodeError> {
        let mut body = Reader::new(&whole, "request");
        let request = match body.u8()? {
            is_new @ (0 | 1) => {
                let key = key(&mut body)?;
                // What is left of the frame, where it lies.
                let bytes = body.left();
                whole.drain(..whole.len() - bytes);
                return Ok(Request::Put { key, is_new: is_new == 1, bytes: whole });
            }
            2 => Request::Get { key: key(&mut body)?, range: body.u64()?..body.u64()? },
            3 => Request::GetWhole { key: key(&mut body)?, max: body.u64()? },
            4 => Request::Len(key(&mut body)?),
            5 => Request::List(areas(&mut body)?),
            6 => Request::Delete(key(&mut body)?),
            7 => Request::Adopt(key(&mut body)?),
            8 => Request::Sync,
            9 => Request::Doubtful,
            10 => Request::Strangers,
            11 => Request::Sweep,
            12 => Request::Lock { mode: mode(&mut body)?, patience_ms: body.u64()? },
            13 => Request::Unlock(body.u32()?),
            14 => Request::IsHeld(body.u32()?),
            15 => match (body.u64()?, body.u64()?) {
                (first, last) if first <= last => Request::HasSessions(first, last),
                _ => return Err(body.error(DecodeErrorKind::OutOfRange)),
            },
            16 => Request::PassOver(key(&mut body)?),
            17 => Request::Notices,
            18 => Request::Remove,
            19 => Request::UndoCreate,
            20 => Request::TakenLen,
            21 => Request::Traffic,
            22 => Request::IsExclusive,
            _ => return Err(body.error(DecodeErrorKind::OutOfRange)),
        };
        body.finish()?;
        Ok(request)
    }
}

impl Status {
    pub(crate) fn encode(self) -> u8 {
        match self {
            Status::Done => 0,
            Status::More => 1,
            Status::Failed => 2,
        }
    }

    /// The status of an answer, and what follows it.
    pub(crate) fn split(body: &[u8]) -> Option<(Self, &[u8])> {
        let (status, rest) = body.split_first()?;
        match status {
            0 => Some((Status::Done, rest)),
            1 => Some((Status::More, rest)),
            2 => Some((Status::Failed, rest)),
            _ => None,
        }
    }
}

/// Entries of a list: keys, and the lengths of their objects in bytes.
pub(crate) fn encode_entries(entries: &[(Key, u64)]) -> Vec<u8> {
    let mut out = Writer::default();
    for (key, len) in entries {
        put_key(&mut out, key);
        out.u64(*len);
    }
    out.into_bytes()
}

pub(crate) fn decode_entries(body: &[u8]) -> Result<Vec<(Key, u64)>, DecodeError> {
    let mut body = Reader::new(body, "list");
    let mut entries = Vec::new();
    while body.left() > 0 {
        entries.push((key(&mut body)?, body.u64()?));
    }
    Ok(entries)
}

/// What went over a line; nothing where there is none.
pub(crate) fn encode_traffic(traffic: Option<Traffic>) -> Vec<u8> {
    let mut out = Writer::default();
    if let Some(Traffic { requests, sent, received }) = traffic {
        out.u64(requests).u64(sent).u64(received);
    }
    out.into_bytes()
}

pub(crate) fn decode_traffic(body: &[u8]) -> Result<Option<Traffic>, DecodeError> {
    let mut body = Reader::new(body, "traffic");
    if body.left() == 0 {
        return Ok(None);
    }
    let traffic = Traffic { requests: body.u64()?, sent: body.u64()?, received: body.u64()? };
    body.finish()?;
    Ok(Some(traffic))
}

/// Lines of text.
pub(crate) fn encode_lines(lines: &[String]) -> Vec<u8> {
    let mut out = Writer::default();
    for line in lines {
        let cut = line.floor_char_boundary(TEXT_LEN_MAX as usize);
        out.bytes(line.get(..cut).unwrap_or_default().as_bytes());
    }
    out.into_bytes()
}

pub(crate) fn decode_lines(body: &[u8]) -> Result<Vec<String>, DecodeError> {
    let mut body = Reader::new(body, "text");
    let mut lines = Vec::new();
    while body.left() > 0 {
        lines.push(text(&mut body)?);
    }
    Ok(lines)
}

/// Text of the other side, to be shown: what would move a terminal is left out.
fn text(body: &mut Reader<'_>) -> Result<String, DecodeError> {
    let text = String::from_utf8_lossy(body.bytes(TEXT_LEN_MAX)?);
    Ok(text.chars().map(|c| if c.is_control() { '?' } else { c }).collect())
}

/// What an operation can be called in an error: others are called the first.
const OPERATIONS: [&str; 14] = [
    "use",
    "read",
    "write",
    "put",
    "list",
    "remove",
    "sync",
    "lock",
    "open",
    "create",
    "clean",
    "find",
    "log in to",
    "connect to",
];

/// An error of the server's store.
pub(crate) fn encode_error(error: &StoreError) -> Vec<u8> {
    let kinds = KINDS.iter().position(|kind| *kind == error.kind);
    let operation = OPERATIONS.iter().position(|word| *word == error.operation);
    let mut out = Writer::default();
    out.u8(kinds.unwrap_or_default() as u8).u8(operation.unwrap_or_default() as u8);
    out.u32(error.source.raw_os_error().map_or(0, i32::cast_unsigned));
    out.put(&encode_lines(&[error.object.clone(), error.source.to_string()]));
    out.into_bytes()
}

pub(crate) fn decode_error(body: &[u8]) -> Result<StoreError, DecodeError> {
    let mut body = Reader::new(body, "error");
    let kind = KINDS.get(usize::from(body.u8()?)).copied().unwrap_or(StoreErrorKind::Other);
    let operation = OPERATIONS.get(usize::from(body.u8()?)).copied().unwrap_or("use");
    let errno = body.u32()?.cast_signed();
    let (object, why) = (text(&mut body)?, text(&mut body)?);
    body.finish()?;
    let source = match errno {
        0 => io::Error::other(why),
        errno => io::Error::from_raw_os_error(errno),
    };
    Ok(StoreError { kind, operation, object, source })
}

const KINDS: [StoreErrorKind; 9] = [
    StoreErrorKind::Other,
    StoreErrorKind::NotFound,
    StoreErrorKind::AlreadyExists,
    StoreErrorKind::WrongLength,
    StoreErrorKind::Denied,
    StoreErrorKind::NoSpace,
    StoreErrorKind::Busy,
    StoreErrorKind::NotAFile,
    StoreErrorKind::Transient,
];

const AREAS: [Area; 8] = [
    Area::Slots,
    Area::Packs,
    Area::Index,
    Area::Archives,
    Area::Damage,
    Area::Quarantine,
    Area::Copies,
    Area::Tags,
];

fn number_of(area: Area) -> u8 {
    AREAS.iter().position(|other| *other == area).unwrap_or_default() as u8
}

/// What is left: kinds, none of them twice.
fn areas(body: &mut Reader<'_>) -> Result<Vec<Area>, DecodeError> {
    let mut areas = Vec::new();
    while body.left() > 0 {
        let area = AREAS.get(usize::from(body.u8()?)).filter(|area| !areas.contains(*area));
        areas.push(*area.ok_or_else(|| body.error(DecodeErrorKind::OutOfRange))?);
    }
    Ok(areas)
}

fn mode(body: &mut Reader<'_>) -> Result<LockMode, DecodeError> {
    match (body.u8()?, body.u64()?) {
        (0, epoch) => Ok(LockMode::Session(epoch)),
        (1, 0) => Ok(LockMode::Check),
        (2, 0) => Ok(LockMode::Prune),
        (3, 0) => Ok(LockMode::Exclusive),
        _ => Err(body.error(DecodeErrorKind::OutOfRange)),
    }
}

fn put_key(out: &mut Writer, key: &Key) {
    match key {
        Key::Config => out.u8(0),
        Key::Slot(id) => out.u8(1).put(id.as_bytes()),
        Key::Pack(id) => out.u8(2).put(id.as_bytes()),
        Key::Index(id) => out.u8(3).put(id.as_bytes()),
        Key::Archive(name) => out.u8(4).bytes(name.as_bytes()),
        Key::Damage(id) => out.u8(5).put(id.as_bytes()),
        Key::Quarantine(id) => out.u8(6).put(id.as_bytes()),
        Key::Verified => out.u8(7),
        Key::Condemned => out.u8(8),
        Key::Tombstones => out.u8(9),
        Key::ConfigCopy => out.u8(10),
        Key::TombstonesCopy => out.u8(11),
        Key::SlotCopy(id) => out.u8(12).put(id.as_bytes()),
        Key::ArchiveCopy(hash) => out.u8(13).put(hash.as_bytes()),
        Key::Tags(hash) => out.u8(14).put(hash.as_bytes()),
        Key::Cold => out.u8(15),
    };
}

fn key(body: &mut Reader<'_>) -> Result<Key, DecodeError> {
    Ok(match body.u8()? {
        0 => Key::Config,
        1 => Key::Slot(SlotId::from_bytes(body.array()?)),
        2 => Key::Pack(PackId::from_bytes(body.array()?)),
        3 => Key::Index(SegmentId::from_bytes(body.array()?)),
        4 => {
            let name = body.bytes(NAME_LEN_MAX)?;
            let name = str::from_utf8(name).ok().filter(|name| is_archive_name(name));
            let name = name.ok_or_else(|| body.error(DecodeErrorKind::OutOfRange))?;
            Key::Archive(name.to_owned())
        }
        5 => Key::Damage(PackId::from_bytes(body.array()?)),
        6 => Key::Quarantine(PackId::from_bytes(body.array()?)),
        7 => Key::Verified,
        8 => Key::Condemned,
        9 => Key::Tombstones,
        10 => Key::ConfigCopy,
        11 => Key::TombstonesCopy,
        12 => Key::SlotCopy(SlotId::from_bytes(body.array()?)),
        13 => Key::ArchiveCopy(ArchiveHash::from_bytes(body.array()?)),
        14 => Key::Tags(ArchiveHash::from_bytes(body.array()?)),
        15 => Key::Cold,
        _ => return Err(body.error(DecodeErrorKind::OutOfRange)),
    })
}
