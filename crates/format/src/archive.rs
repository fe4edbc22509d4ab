//! An archive: one finished backup. docs/format.md, "Archive".
//!
//! The file `backups/NAME` holds what is the same for the whole archive and the recipe of the item stream; the items (paths,
//! metadata, recipes of contents) are records in that stream, which is chunked and deduplicated like any other.

mod item;
mod name;
mod tags;

use std::collections::BTreeSet;

use crate::recipe::Recipe;
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

pub use item::{Content, Device, FLAGS, Identity, Item, ItemKind, Side, UNREADABLE_MAX, Xattr};
pub use name::{is_archive_name, is_unseen, name_fault, new_name_fault};
pub use tags::{TAG_LEN_MAX, TAGS_MAX, tag_fault};
pub(crate) use tags::{read_tags, write_tags};

/// Longest archive name in bytes.
pub const NAME_LEN_MAX: u32 = 1024;
/// Longest path, link target or command line argument in bytes.
pub const PATH_LEN_MAX: u32 = 64 << 10;
/// Longest host, user or group name in bytes.
const OWNER_LEN_MAX: u32 = 1024;
/// Most arguments of a command line, and most sources of an archive.
const LIST_MAX: usize = 1 << 16;
/// Most problems that an archive tells of in words: a disk full of errors must not make a file of errors.
pub const PROBLEMS_MAX: usize = 100;
/// Longest text of a problem in bytes.
pub const PROBLEM_LEN_MAX: u32 = 1024;
/// Longest comment in bytes.
pub const COMMENT_LEN_MAX: u32 = 4096;
/// Longest item record in bytes.
pub const ITEM_LEN_MAX: u32 = 4 << 20;
/// Longest byte string kept in an item instead of in a stream of its own.
pub const INLINE_LEN_MAX: usize = 4096;
/// Longest name of an extended attribute in bytes.
pub const XATTR_NAME_LEN_MAX: u32 = 255;
/// Longest value of an extended attribute in bytes.
pub const XATTR_LEN_MAX: u32 = 64 << 10;
/// Most bytes of all extended attributes of an item, names, values and eight for each: far from the bound of a record.
pub const XATTRS_LEN_MAX: usize = 1 << 20;

/// A moment: seconds since 1970 and nanoseconds below 10^9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970-01-01T00:00:00Z, negative before.
    pub secs: i64,
    /// Nanoseconds after that second, below 10^9.
    pub nanos: u32,
}

impl Time {
    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.i64(self.secs).u32(self.nanos);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.clone();
        match (reader.i64()?, reader.u32()?) {
            (secs, nanos) if nanos < 1_000_000_000 => Ok(Time { secs, nanos }),
            _ => Err(start.error(DecodeErrorKind::OutOfRange)),
        }
    }
}

/// What the file of an archive says, once opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The name it was made with; a file moved to another name by hand still says this.
    pub name: String,
    /// When the backup began.
    pub start: Time,
    /// When everything had been stored.
    pub end: Time,
    /// Host it was made on.
    pub host: String,
    /// User who made it.
    pub user: String,
    /// The command line.
    pub command: Vec<Vec<u8>>,
    /// Absolute paths of what was asked to be backed up.
    pub sources: Vec<Vec<u8>>,
    /// What the user says of it.
    pub comment: String,
    /// The tags that it was made with: at most [`TAGS_MAX`], none of which [`tag_fault`] says anything.
    pub tags: BTreeSet<String>,
    /// Bytes of all streams, holes included.
    pub original_len: u64,
    /// Regular files and images in it.
    pub file_count: u64,
    /// What could not be stored whole.
    pub problem_count: u64,
    /// The first of these problems in words, at most [`PROBLEMS_MAX`] and no more than `problem_count`.
    pub problems: Vec<String>,
    /// Bytes that were read for it: neither holes nor what was taken over unread.
    pub read_len: u64,
    /// Bytes of the chunks that the repository did not have.
    pub new_len: u64,
    /// Bytes of the packs that were written for it.
    pub stored_len: u64,
    /// The item stream.
    pub items: Recipe,
}

impl Archive {
    /// One of this name that says nothing else yet.
    pub fn new(name: impl Into<String>, items: Recipe) -> Self {
        Archive {
            name: name.into(),
            start: Time::default(),
            end: Time::default(),
            host: String::new(),
            user: String::new(),
            command: Vec::new(),
            sources: Vec::new(),
            comment: String::new(),
            tags: BTreeSet::new(),
            original_len: 0,
            file_count: 0,
            problem_count: 0,
            problems: Vec::new(),
            read_len: 0,
            new_len: 0,
            stored_len: 0,
            items,
        }
    }

    /// Whether it holds files, and all of them whole. A file that changed while it was read was stored as it was read, and
    /// counts as whole: a live image always changes.
    pub fn is_complete(&self) -> bool {
        self.problem_count == 0 && self.file_count > 0
    }

    /// The archive before sealing.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.bytes(self.name.as_bytes());
        self.start.write(&mut writer);
        self.end.write(&mut writer);
        writer.bytes(self.host.as_bytes()).bytes(self.user.as_bytes());
        for list in [&self.command, &self.sources] {
            writer.count(list.len());
            list.iter().for_each(|text| {
                writer.bytes(text);
            });
        }
        writer.bytes(self.comment.as_bytes());
        write_tags(&mut writer, &self.tags);
        writer.u64(self.original_len).u64(self.file_count).u64(self.problem_count);
        writer.count(self.problems.len());
        self.problems.iter().for_each(|text| {
            writer.bytes(text.as_bytes());
        });
        writer.u64(self.read_len).u64(self.new_len).u64(self.stored_len);
        self.items.write(&mut writer);
        writer.into_bytes()
    }

    /// Reads an opened archive.
    ///
    /// # Errors
    /// Anything that [`encode`](Self::encode) does not make of texts, lists, tags and problems within their bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, "archive");
        let archive = Archive {
            name: read_text(&mut reader, NAME_LEN_MAX)?,
            start: Time::read(&mut reader)?,
            end: Time::read(&mut reader)?,
            host: read_text(&mut reader, OWNER_LEN_MAX)?,
            user: read_text(&mut reader, OWNER_LEN_MAX)?,
            command: read_list(&mut reader)?,
            sources: read_list(&mut reader)?,
            comment: read_text(&mut reader, COMMENT_LEN_MAX)?,
            tags: read_tags(&mut reader)?,
            original_len: reader.u64()?,
            file_count: reader.u64()?,
            problem_count: reader.u64()?,
            problems: read_problems(&mut reader)?,
            read_len: reader.u64()?,
            new_len: reader.u64()?,
            stored_len: reader.u64()?,
            items: Recipe::read(&mut reader)?,
        };
        let start = Reader::new(bytes, "archive");
        match archive.problems.len() as u64 > archive.problem_count {
            true => Err(start.error(DecodeErrorKind::OutOfRange)),
            false => reader.finish().map(|()| archive),
        }
    }
}

fn read_problems(reader: &mut Reader<'_>) -> Result<Vec<String>, DecodeError> {
    let start = reader.clone();
    match reader.count(4)? {
        count if count <= PROBLEMS_MAX => {
            (0..count).map(|_| read_text(reader, PROBLEM_LEN_MAX)).collect()
        }
        _ => Err(start.error(DecodeErrorKind::OutOfRange)),
    }
}

fn read_text(reader: &mut Reader<'_>, max: u32) -> Result<String, DecodeError> {
    let start = reader.clone();
    let bytes = reader.bytes(max)?.to_vec();
    String::from_utf8(bytes).map_err(|_| start.error(DecodeErrorKind::OutOfRange))
}

fn read_list(reader: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, DecodeError> {
    let start = reader.clone();
    let count = reader.count(4)?;
    if count > LIST_MAX {
        return Err(start.error(DecodeErrorKind::OutOfRange));
    }
    (0..count).map(|_| reader.bytes(PATH_LEN_MAX).map(<[u8]>::to_vec)).collect()
}

/// Whether a path stays inside any directory it is put into: relative, no empty, `.` or `..` part, no NUL.
pub fn is_safe_path(path: &[u8]) -> bool {
    path.len() <= PATH_LEN_MAX as usize
        && !path.contains(&0)
        && path.split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
}
