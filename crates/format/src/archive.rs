//! An archive: one finished backup. docs/format.md, "Archive".
//!
//! The file `backups/NAME` holds what is the same for the whole archive and the recipe of the item stream; the items (paths,
//! metadata, recipes of contents) are records in that stream, which is chunked and deduplicated like any other.

use crate::recipe::{Recipe, STREAM_LEN_MAX};
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// Longest archive name in bytes.
pub const NAME_LEN_MAX: u32 = 1024;
/// Longest path, link target or command line argument in bytes.
pub const PATH_LEN_MAX: u32 = 64 << 10;
/// Longest host, user or group name in bytes.
const OWNER_LEN_MAX: u32 = 1024;
/// Most arguments of a command line, and most sources of an archive.
const LIST_MAX: usize = 1 << 16;
/// Longest item record in bytes.
pub const ITEM_LEN_MAX: u32 = 4 << 20;
/// Longest byte string kept in an item instead of in a stream of its own.
pub const INLINE_LEN_MAX: usize = 4096;

/// A moment: seconds since 1970 and nanoseconds below 10^9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970-01-01T00:00:00Z, negative before.
    pub secs: i64,
    /// Nanoseconds after that second, below 10^9.
    pub nanos: u32,
}

impl Time {
    fn write(&self, writer: &mut Writer) {
        writer.i64(self.secs).u32(self.nanos);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
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
    /// Bytes of all streams, holes included.
    pub original_len: u64,
    /// Regular files and images in it.
    pub file_count: u64,
    /// Problems met while making it: 0 for a complete archive.
    pub problem_count: u64,
    /// The item stream.
    pub items: Recipe,
}

impl Archive {
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
        writer.u64(self.original_len).u64(self.file_count).u64(self.problem_count);
        self.items.write(&mut writer);
        writer.into_bytes()
    }

    /// Reads an opened archive.
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
            original_len: reader.u64()?,
            file_count: reader.u64()?,
            problem_count: reader.u64()?,
            items: Recipe::read(&mut reader)?,
        };
        reader.finish()?;
        Ok(archive)
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

/// A byte string that may be long: short ones stand in the item, long ones are streams of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// The bytes.
    Inline(Vec<u8>),
    /// A stream that holds the bytes.
    Stream(Recipe),
}

impl Side {
    fn write(&self, writer: &mut Writer) {
        match self {
            Side::Inline(bytes) => {
                writer.u8(0).bytes(bytes);
            }
            Side::Stream(recipe) => {
                writer.u8(1);
                recipe.write(writer);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.clone();
        match reader.u8()? {
            0 => Ok(Side::Inline(reader.bytes(INLINE_LEN_MAX as u32)?.to_vec())),
            1 => Ok(Side::Stream(Recipe::read(reader)?)),
            _ => Err(start.error(DecodeErrorKind::OutOfRange)),
        }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        matches!(self, Side::Inline(bytes) if bytes.is_empty())
    }

    fn recipe(&self) -> Option<&Recipe> {
        match self {
            Side::Stream(recipe) => Some(recipe),
            Side::Inline(_) => None,
        }
    }
}

/// The content of a file or image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The stream.
    pub recipe: Recipe,
    /// Where the pieces of the stream lie in the file. Empty if the stream is the file.
    pub layout: Side,
    /// Which parts of the file were data and which were holes: alternating run lengths. Empty if there were no holes.
    pub allocation: Side,
}

impl Content {
    /// All recipes that restoring the content needs.
    pub fn recipes(&self) -> impl Iterator<Item = &Recipe> {
        let sides = [&self.layout, &self.allocation].into_iter().filter_map(Side::recipe);
        std::iter::once(&self.recipe).chain(sides)
    }
}

/// What an item is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// A regular file, or the content of a block device.
    File(Content),
    /// A directory.
    Directory,
    /// A symbolic link and where it points.
    Symlink(Vec<u8>),
}

/// What tells whether a file is still the one that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Device number of the file system.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Time of the last change of content or metadata.
    pub ctime: Time,
}

/// One path of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Relative path, `/` between its parts, no `.` or `..` part.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: ItemKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner by number.
    pub uid: u32,
    /// Group by number.
    pub gid: u32,
    /// Owner by name; empty if unknown.
    pub user: String,
    /// Group by name; empty if unknown.
    pub group: String,
    /// Length in bytes of the content.
    pub size: u64,
    /// Time of the last change of content.
    pub mtime: Time,
    /// What tells whether it is still the same file.
    pub identity: Identity,
    /// Whether the file changed while it was read.
    pub changed: bool,
}

impl Item {
    /// The item as a record of the item stream, its length in front.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer
            .bytes(&self.path)
            .u32(self.mode)
            .u32(self.uid)
            .u32(self.gid)
            .bytes(self.user.as_bytes())
            .bytes(self.group.as_bytes())
            .u64(self.size);
        self.mtime.write(&mut writer);
        writer.u64(self.identity.device).u64(self.identity.inode);
        self.identity.ctime.write(&mut writer);
        writer.u8(u8::from(self.changed));
        match &self.kind {
            ItemKind::File(content) => {
                writer.u8(0);
                content.recipe.write(&mut writer);
                content.layout.write(&mut writer);
                content.allocation.write(&mut writer);
            }
            ItemKind::Directory => {
                writer.u8(1);
            }
            ItemKind::Symlink(target) => {
                writer.u8(2).bytes(target);
            }
        }
        let mut record = Writer::with_capacity(writer.as_bytes().len() + 4);
        record.bytes(writer.as_bytes());
        record.into_bytes()
    }

    /// Reads a record without its length.
    pub fn decode(record: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(record, "archive item");
        let start = reader.clone();
        let path = reader.bytes(PATH_LEN_MAX)?.to_vec();
        if !is_safe_path(&path) {
            return Err(start.error(DecodeErrorKind::OutOfRange));
        }
        let (mode, uid, gid) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let user = read_text(&mut reader, OWNER_LEN_MAX)?;
        let group = read_text(&mut reader, OWNER_LEN_MAX)?;
        let size = reader.u64()?;
        let mtime = Time::read(&mut reader)?;
        let identity = Identity {
            device: reader.u64()?,
            inode: reader.u64()?,
            ctime: Time::read(&mut reader)?,
        };
        let flags = reader.clone();
        let (changed, kind) = (reader.u8()?, reader.u8()?);
        let kind = match kind {
            0 => ItemKind::File(read_content(&mut reader, size)?),
            1 => ItemKind::Directory,
            2 => ItemKind::Symlink(reader.bytes(PATH_LEN_MAX)?.to_vec()),
            _ => return Err(flags.error(DecodeErrorKind::OutOfRange)),
        };
        if changed > 1 || mode > 0o7777 {
            return Err(flags.error(DecodeErrorKind::OutOfRange));
        }
        reader.finish()?;
        let changed = changed == 1;
        Ok(Item { path, kind, mode, uid, gid, user, group, size, mtime, identity, changed })
    }
}

fn read_content(reader: &mut Reader<'_>, size: u64) -> Result<Content, DecodeError> {
    let start = reader.clone();
    let content = Content {
        recipe: Recipe::read(reader)?,
        layout: Side::read(reader)?,
        allocation: Side::read(reader)?,
    };
    // With a layout, the stream has the length that the layout says.
    let fits = !content.layout.is_empty() || content.recipe.len() == size;
    match fits && size <= STREAM_LEN_MAX {
        true => Ok(content),
        false => Err(start.error(DecodeErrorKind::OutOfRange)),
    }
}

/// Whether a path stays inside any directory it is put into: relative, no empty, `.` or `..` part, no NUL.
pub fn is_safe_path(path: &[u8]) -> bool {
    path.len() <= PATH_LEN_MAX as usize
        && !path.contains(&0)
        && path.split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
}

/// Whether a name can be an archive's: a safe path of at most [`NAME_LEN_MAX`] bytes whose parts do not begin with a dot
/// and hold no control characters.
pub fn is_archive_name(name: &str) -> bool {
    name.len() <= NAME_LEN_MAX as usize
        && is_safe_path(name.as_bytes())
        && name.split('/').all(|part| !part.starts_with('.') && part.len() <= 255)
        && !name.contains(|character: char| character.is_control())
}
