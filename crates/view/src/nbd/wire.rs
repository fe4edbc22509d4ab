//! Numbers and shapes of the NBD protocol, as its specification (`doc/proto.md` of the NBD project) has them.
//!
//! In: what a client sent. Out: requests, options, and the bytes of replies. Promises: nothing is allocated for a length that
//! a client says before that was compared with what is allowed.

use std::io::{self, Read};

/// What a server says first.
pub(super) const GREETING: &[u8; 16] = b"NBDMAGICIHAVEOPT";
/// What stands before each option.
pub(super) const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// What stands before each reply to an option.
pub(super) const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
const CHUNK_MAGIC: u32 = 0x668e_33ef;

/// Of the handshake: options have replies; an old reply without 124 bytes of zeros at its end.
pub(super) const FIXED_NEWSTYLE: u16 = 1;
pub(super) const NO_ZEROES: u16 = 2;

/// Of an export: the flags are there, it is read-only, a read can be asked for in one chunk, several connections see the
/// same.
pub(super) const HAS_FLAGS: u16 = 1;
pub(super) const READ_ONLY: u16 = 1 << 1;
pub(super) const SEND_DF: u16 = 1 << 7;
pub(super) const CAN_MULTI_CONN: u16 = 1 << 8;

/// Of a request: force unit access, which means nothing to a read; one chunk; one extent.
pub(super) const COMMAND_FUA: u16 = 1;
pub(super) const COMMAND_DF: u16 = 1 << 2;
pub(super) const COMMAND_REQ_ONE: u16 = 1 << 3;

/// Of an extent: it has no space of its own, and it reads as zeros.
pub(super) const STATE_HOLE_ZERO: u32 = 1 | 2;

/// The one thing that is told of extents, and the number that stands for it.
pub(super) const ALLOCATION: &str = "base:allocation";
pub(super) const ALLOCATION_ID: u32 = 1;

/// Longest option data that is taken: two names of the longest that a string may have, and some numbers.
pub(super) const OPTION_LEN_MAX: u32 = 16 << 10;

/// Longest payload that a client may send or ask for: what the specification has clients assume.
pub(super) const PAYLOAD_LEN_MAX: u32 = 32 << 20;

/// What a client can ask for in the handshake.
pub(super) mod option {
    pub(crate) const EXPORT_NAME: u32 = 1;
    pub(crate) const ABORT: u32 = 2;
    pub(crate) const LIST: u32 = 3;
    pub(crate) const INFO: u32 = 6;
    pub(crate) const GO: u32 = 7;
    pub(crate) const STRUCTURED_REPLY: u32 = 8;
    pub(crate) const LIST_META_CONTEXT: u32 = 9;
    pub(crate) const SET_META_CONTEXT: u32 = 10;
}

/// What is replied to that.
pub(super) mod reply {
    const ERROR: u32 = 1 << 31;
    pub(crate) const ACK: u32 = 1;
    pub(crate) const SERVER: u32 = 2;
    pub(crate) const INFO: u32 = 3;
    pub(crate) const META_CONTEXT: u32 = 4;
    pub(crate) const UNSUPPORTED: u32 = ERROR + 1;
    pub(crate) const INVALID: u32 = ERROR + 3;
    pub(crate) const UNKNOWN: u32 = ERROR + 6;
    pub(crate) const TOO_BIG: u32 = ERROR + 9;
}

/// What can be told of an export.
pub(super) mod info {
    pub(crate) const EXPORT: u16 = 0;
    pub(crate) const NAME: u16 = 1;
    pub(crate) const BLOCK_SIZE: u16 = 3;
}

/// What can be wanted of an open export.
pub(super) mod command {
    pub(crate) const READ: u16 = 0;
    pub(crate) const WRITE: u16 = 1;
    pub(crate) const DISCONNECT: u16 = 2;
    pub(crate) const TRIM: u16 = 4;
    pub(crate) const WRITE_ZEROES: u16 = 6;
    pub(crate) const BLOCK_STATUS: u16 = 7;
}

/// What an error says, by the numbers of Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Refusal {
    /// The export is read-only.
    Permission = 1,
    /// The bytes cannot be had.
    Io = 5,
    /// The request makes no sense.
    Invalid = 22,
    /// It is too long for one chunk.
    Overflow = 75,
}

/// A request about the open export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) flags: u16,
    pub(super) command: u16,
    /// What the reply is to be known by.
    pub(super) cookie: u64,
    pub(super) offset: u64,
    pub(super) len: u32,
}

impl Request {
    /// The next one; none if the client is gone between two.
    ///
    /// # Errors
    /// `InvalidData` for what is no request; the connection broke.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Option<Request>> {
        let mut magic = [0; 4];
        if from.read(&mut magic[..1])? == 0 {
            return Ok(None);
        }
        from.read_exact(&mut magic[1..])?;
        if u32::from_be_bytes(magic) != REQUEST_MAGIC {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Some(Request {
            flags: u16::from_be_bytes(array(from)?),
            command: u16::from_be_bytes(array(from)?),
            cookie: u64::from_be_bytes(array(from)?),
            offset: u64::from_be_bytes(array(from)?),
            len: u32::from_be_bytes(array(from)?),
        }))
    }
}

/// The next bytes.
pub(super) fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Bytes of a simple reply before its data.
pub(super) const SIMPLE_HEAD: usize = 16;

/// A simple reply, without data. No refusal is success.
pub(super) fn simple(cookie: u64, refusal: Option<Refusal>) -> [u8; SIMPLE_HEAD] {
    let mut bytes = [0; SIMPLE_HEAD];
    let code = refusal.map_or(0, |refusal| refusal as u32);
    bytes[..4].copy_from_slice(&SIMPLE_REPLY_MAGIC.to_be_bytes());
    bytes[4..8].copy_from_slice(&code.to_be_bytes());
    bytes[8..].copy_from_slice(&cookie.to_be_bytes());
    bytes
}

/// What a chunk of a structured reply holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum ChunkKind {
    /// Nothing.
    None = 0,
    /// An offset, and the bytes from there on.
    Data = 1,
    /// A context, and extents: for each its length and state.
    BlockStatus = 5,
    /// A number, and a text with its length before it.
    Error = (1 << 15) + 1,
    /// The same, and an offset behind it.
    ErrorAt = (1 << 15) + 2,
}

/// Bytes of a chunk before its payload.
pub(super) const CHUNK_HEAD: usize = 20;

/// What stands before the payload of a chunk, which has `len` bytes; `is_last` ends the reply.
pub(super) fn chunk(kind: ChunkKind, cookie: u64, len: u32, is_last: bool) -> [u8; CHUNK_HEAD] {
    let mut bytes = [0; CHUNK_HEAD];
    bytes[..4].copy_from_slice(&CHUNK_MAGIC.to_be_bytes());
    bytes[4..6].copy_from_slice(&u16::from(is_last).to_be_bytes());
    bytes[6..8].copy_from_slice(&(kind as u16).to_be_bytes());
    bytes[8..16].copy_from_slice(&cookie.to_be_bytes());
    bytes[16..].copy_from_slice(&len.to_be_bytes());
    bytes
}

/// Longest text of an error: strings of the protocol have at most 4096 bytes.
const TEXT_LEN_MAX: usize = 1024;

/// The payload of a chunk that says what went wrong, and perhaps where.
pub(super) fn error(refusal: Refusal, text: &str, offset: Option<u64>) -> Vec<u8> {
    let text = text.get(..text.floor_char_boundary(TEXT_LEN_MAX)).unwrap_or_default();
    let mut bytes = (refusal as u32).to_be_bytes().to_vec();
    // At most TEXT_LEN_MAX.
    bytes.extend((text.len() as u16).to_be_bytes());
    bytes.extend(text.as_bytes());
    bytes.extend(offset.iter().flat_map(|offset| offset.to_be_bytes()));
    bytes
}
