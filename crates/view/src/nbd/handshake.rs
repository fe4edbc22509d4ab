//! The handshake: which export a client wants, and how it wants to be replied to.
//!
//! In: a connection, exports. Out: [`Wanted`], or nothing if the client only looked. Promises: a client says at most
//! [`OPTIONS_MAX`] things of at most `OPTION_LEN_MAX` bytes each; what is not known is refused and gone on from.

use std::io::{self, Read, Write};
use std::sync::Arc;

use garret_image::Source;

use super::wire::{
    ALLOCATION, ALLOCATION_ID, CAN_MULTI_CONN, FIXED_NEWSTYLE, GREETING, HAS_FLAGS, NO_ZEROES,
    OPTION_LEN_MAX, OPTION_MAGIC, OPTION_REPLY_MAGIC, PAYLOAD_LEN_MAX, READ_ONLY, SEND_DF, array,
    info, option, reply,
};
use crate::exports::Exports;

/// Things that a client may say: some for each of all exports of an archive with many images.
const OPTIONS_MAX: usize = 1 << 16;

/// The longest name of an export, in bytes, as the protocol has it.
const NAME_LEN_MAX: usize = 4096;

/// What is read best, in bytes: what most guests' file systems and caches read at once.
const PREFERRED_LEN: u32 = 64 << 10;

/// The export that a client chose, and how it is to be replied to.
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) source: Arc<dyn Source>,
    pub(super) structured: bool,
    /// Whether it may ask for block status.
    pub(super) allocation: bool,
}

/// One who shakes hands.
struct Handshake<'a, S> {
    line: &'a mut S,
    exports: &'a dyn Exports,
    structured: bool,
    /// The export of which the client wants to know what is allocated.
    allocation_of: Option<String>,
    /// No zeros behind the old reply.
    no_zeroes: bool,
}

/// What an option leads to.
enum Next {
    Option,
    Export(Wanted),
    End,
}

/// Shakes hands with a client; none if it leaves without an export. `goes_on` is told before each thing that it says.
///
/// # Errors
/// `InvalidData` for what is not the protocol; the connection broke.
pub(super) fn shake<S: Read + Write>(
    line: &mut S,
    exports: &dyn Exports,
    goes_on: &dyn Fn(),
) -> io::Result<Option<Wanted>> {
    line.write_all(GREETING)?;
    line.write_all(&(FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes())?;
    let flags = u32::from_be_bytes(array(line)?);
    let known = u32::from(FIXED_NEWSTYLE | NO_ZEROES);
    if flags & !known != 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let no_zeroes = flags & u32::from(NO_ZEROES) != 0;
    let mut hand = Handshake { line, exports, structured: false, allocation_of: None, no_zeroes };
    for _ in 0..OPTIONS_MAX {
        goes_on();
        match hand.option()? {
            Next::Option => {}
            Next::Export(wanted) => return Ok(Some(wanted)),
            Next::End => return Ok(None),
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

impl<S: Read + Write> Handshake<'_, S> {
    fn option(&mut self) -> io::Result<Next> {
        if u64::from_be_bytes(array(self.line)?) != OPTION_MAGIC {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let what = u32::from_be_bytes(array(self.line)?);
        let len = u32::from_be_bytes(array(self.line)?);
        if len > OPTION_LEN_MAX {
            // No option needs as much. What is longer than any payload is no option.
            if len > PAYLOAD_LEN_MAX || what == option::EXPORT_NAME {
                return Err(io::ErrorKind::InvalidData.into());
            }
            io::copy(&mut Read::by_ref(self.line).take(len.into()), &mut io::sink())?;
            return self.reply(what, reply::TOO_BIG, &[]);
        }
        let mut data = vec![0; len as usize];
        self.line.read_exact(&mut data)?;
        match what {
            option::EXPORT_NAME => self.old_style(&data),
            option::ABORT => {
                self.reply(what, reply::ACK, &[])?;
                Ok(Next::End)
            }
            option::LIST if data.is_empty() => self.list(),
            option::STRUCTURED_REPLY if data.is_empty() => {
                self.structured = true;
                self.reply(what, reply::ACK, &[])
            }
            option::LIST | option::STRUCTURED_REPLY => self.reply(what, reply::INVALID, &[]),
            option::INFO | option::GO => self.export(what, &data),
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => self.contexts(what, &data),
            _ => self.reply(what, reply::UNSUPPORTED, &[]),
        }
    }

    fn reply(&mut self, what: u32, kind: u32, data: &[u8]) -> io::Result<Next> {
        let mut bytes = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
        // What is replied is never longer than a name and some numbers.
        for number in [what, kind, data.len() as u32] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(data);
        self.line.write_all(&bytes)?;
        Ok(Next::Option)
    }

    fn list(&mut self) -> io::Result<Next> {
        let exports = self.exports;
        exports.each_name(&mut |name| {
            // As a client could not ask for it either.
            if name.len() > NAME_LEN_MAX {
                return Ok(());
            }
            let mut data = (name.len() as u32).to_be_bytes().to_vec();
            data.extend(name.as_bytes());
            self.reply(option::LIST, reply::SERVER, &data).map(drop)
        })?;
        self.reply(option::LIST, reply::ACK, &[])
    }

    /// The first way to name an export: it has no reply that says no.
    fn old_style(&mut self, name: &[u8]) -> io::Result<Next> {
        let wanted = std::str::from_utf8(name).ok().and_then(|name| self.open(name));
        let wanted = wanted.ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = wanted.source.len().to_be_bytes().to_vec();
        bytes.extend(self.flags().to_be_bytes());
        if !self.no_zeroes {
            bytes.extend([0; 124]);
        }
        self.line.write_all(&bytes)?;
        Ok(Next::Export(wanted))
    }

    fn open(&self, name: &str) -> Option<Wanted> {
        let source = self.exports.open(name)?;
        let allocation = self.structured && self.allocation_of.as_deref() == Some(name);
        Some(Wanted { name: name.to_owned(), source, structured: self.structured, allocation })
    }

    fn flags(&self) -> u16 {
        let one_chunk = if self.structured { SEND_DF } else { 0 };
        HAS_FLAGS | READ_ONLY | CAN_MULTI_CONN | one_chunk
    }

    /// Tells of an export, and opens it if the client wants to go on with it.
    fn export(&mut self, what: u32, data: &[u8]) -> io::Result<Next> {
        let mut fields = Fields(data);
        let (name, count) = (fields.text(), fields.number::<2>().map(u16::from_be_bytes));
        let (Some(name), Some(count)) = (name, count) else {
            return self.reply(what, reply::INVALID, &[]);
        };
        let infos: Option<Vec<u16>> =
            (0..count).map(|_| fields.number::<2>().map(u16::from_be_bytes)).collect();
        let (Some(infos), true) = (infos, fields.0.is_empty()) else {
            return self.reply(what, reply::INVALID, &[]);
        };
        let Some(wanted) = self.open(&name) else {
            return self.reply(what, reply::UNKNOWN, b"there is no such export");
        };
        let mut about = info::EXPORT.to_be_bytes().to_vec();
        about.extend(wanted.source.len().to_be_bytes());
        about.extend(self.flags().to_be_bytes());
        self.reply(what, reply::INFO, &about)?;
        if infos.contains(&info::NAME) {
            let mut about = info::NAME.to_be_bytes().to_vec();
            about.extend(name.as_bytes());
            self.reply(what, reply::INFO, &about)?;
        }
        let mut about = info::BLOCK_SIZE.to_be_bytes().to_vec();
        for len in [1, PREFERRED_LEN, PAYLOAD_LEN_MAX] {
            about.extend(len.to_be_bytes());
        }
        self.reply(what, reply::INFO, &about)?;
        self.reply(what, reply::ACK, &[])?;
        Ok(if what == option::GO { Next::Export(wanted) } else { Next::Option })
    }

    /// Says or notes what a client can be told about the extents of an export.
    fn contexts(&mut self, what: u32, data: &[u8]) -> io::Result<Next> {
        let is_list = what == option::LIST_META_CONTEXT;
        let mut fields = Fields(data);
        let name = fields.text();
        let count = fields.number::<4>().map(u32::from_be_bytes);
        let (Some(name), Some(count), true) = (name, count, self.structured) else {
            return self.reply(what, reply::INVALID, &[]);
        };
        let mut is_wanted = is_list && count == 0;
        for _ in 0..count {
            // Each takes 4 bytes of what was sent, so no number makes this long.
            let Some(query) = fields.text() else {
                return self.reply(what, reply::INVALID, &[]);
            };
            is_wanted |= query == ALLOCATION || is_list && query == "base:";
        }
        if !fields.0.is_empty() {
            return self.reply(what, reply::INVALID, &[]);
        }
        if self.exports.open(&name).is_none() {
            return self.reply(what, reply::UNKNOWN, b"there is no such export");
        }
        if !is_list {
            self.allocation_of = is_wanted.then_some(name);
        }
        if is_wanted {
            let id = if is_list { 0 } else { ALLOCATION_ID };
            let mut data = id.to_be_bytes().to_vec();
            data.extend(ALLOCATION.as_bytes());
            self.reply(what, reply::META_CONTEXT, &data)?;
        }
        self.reply(what, reply::ACK, &[])
    }
}

/// What is left of the data of an option.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (number, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*number)
    }

    /// A string, its length before it.
    fn text(&mut self) -> Option<String> {
        let len = u32::from_be_bytes(self.number()?);
        let (text, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }
}
