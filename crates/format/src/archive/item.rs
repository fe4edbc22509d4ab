//! An item: one path of an archive, with all its metadata. docs/format.md, "Item".

use std::ops::Range;

use super::{
    INLINE_LEN_MAX, OWNER_LEN_MAX, PATH_LEN_MAX, Time, XATTR_LEN_MAX, XATTR_NAME_LEN_MAX,
    XATTRS_LEN_MAX, is_safe_path, read_text,
};
use crate::recipe::{Recipe, STREAM_LEN_MAX};
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// The flags of files (`lsattr`) that are stored: those that `chattr` can set. What else the system reports says how a file
/// is stored, not how it shall be.
pub const FLAGS: u32 = 0x0000_00ff // secure deletion, undelete, compress, sync, immutable, append, no dump, no atime
    | 0x0000_4000 // journal data
    | 0x0000_8000 // no tail
    | 0x0001_0000 // directory sync
    | 0x0002_0000 // top directory
    | 0x0080_0000 // no copy on write
    | 0x2000_0000; // project inheritance

/// Bit of the marks: the file changed while it was read.
const CHANGED: u8 = 1;
/// Bit of the marks: later items may be other names of it.
const LINKED: u8 = 2;
/// Bit of the marks: a symbolic link stood at the path, and what is stored is what was behind it.
const FOLLOWED: u8 = 4;

/// Most stretches of one file that could not be read: at 16 bytes each far from the bound of a record.
pub const UNREADABLE_MAX: usize = 1 << 16;

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
    /// Stretches of the file that could not be read and are stored as zeros, in bytes: in order, none empty, none touching
    /// the next, none beyond the end of the file.
    pub unreadable: Vec<Range<u64>>,
}

impl Content {
    /// Bytes that could not be read and are stored as zeros.
    pub fn unreadable_len(&self) -> u64 {
        self.unreadable.iter().map(|range| range.end - range.start).sum()
    }

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
    /// Another name of what was stored under this path, which is `linked` and comes before this item.
    HardLink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// The node of a block device.
    BlockDevice(Device),
    /// The node of a character device.
    CharacterDevice(Device),
}

/// Which device a node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Which driver: 12 bits, as Linux has them.
    pub major: u32,
    /// Which of its devices: 20 bits.
    pub minor: u32,
}

/// Largest numbers of a device: Linux's `MKDEV` takes 12 and 20 bits, and makes another device of more.
const DEVICE_MAX: (u32, u32) = ((1 << 12) - 1, (1 << 20) - 1);

/// An extended attribute: its name with the namespace in front, and its value.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// What tells whether a file is still the one that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Inode number. The device is no part of it: a snapshot of the same file system has another every night.
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
    /// Length in bytes of the content; 0 but for files.
    pub size: u64,
    /// Time of the last change of content.
    pub mtime: Time,
    /// What tells whether it is still the same file.
    pub identity: Identity,
    /// Flags, of those in [`FLAGS`].
    pub flags: u32,
    /// Extended attributes, by name in byte order, each name once; POSIX ACLs are among them. None for a hard link: its
    /// first name has them.
    pub xattrs: Vec<Xattr>,
    /// Whether the file changed while it was read.
    pub changed: bool,
    /// Whether later items may be other names of it.
    pub linked: bool,
    /// Whether the user named a symbolic link at this path, and what is stored is what was behind it.
    pub followed: bool,
}

impl Item {
    /// The item as a record of the item stream, its length in front.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        let (kind, marks) = (self.kind.code(), self.marks());
        writer.bytes(&self.path).u8(kind).u8(marks).u16(self.mode as u16);
        writer.u32(self.uid).u32(self.gid);
        writer.bytes(self.user.as_bytes()).bytes(self.group.as_bytes());
        self.mtime.write(&mut writer);
        writer.u64(self.identity.inode);
        self.identity.ctime.write(&mut writer);
        writer.u32(self.flags).count(self.xattrs.len());
        for (name, value) in &self.xattrs {
            writer.bytes(name).bytes(value);
        }
        match &self.kind {
            ItemKind::File(content) => {
                writer.u64(self.size);
                content.recipe.write(&mut writer);
                content.layout.write(&mut writer);
                content.allocation.write(&mut writer);
                writer.count(content.unreadable.len());
                for range in &content.unreadable {
                    writer.u64(range.start).u64(range.end);
                }
            }
            ItemKind::Symlink(target) | ItemKind::HardLink(target) => {
                writer.bytes(target);
            }
            ItemKind::BlockDevice(device) | ItemKind::CharacterDevice(device) => {
                writer.u32(device.major).u32(device.minor);
            }
            ItemKind::Directory | ItemKind::Fifo => {}
        }
        let mut record = Writer::with_capacity(writer.as_bytes().len() + 4);
        record.bytes(writer.as_bytes());
        record.into_bytes()
    }

    /// Reads a record without its length.
    ///
    /// # Errors
    /// `OutOfRange` for a path that could lead outside, a kind or bits that there are not, values beyond their bounds, ranges
    /// or names out of order; `Truncated`; `TrailingBytes`.
    pub fn decode(record: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(record, "archive item");
        let start = reader.clone();
        let path = reader.bytes(PATH_LEN_MAX)?.to_vec();
        if !is_safe_path(&path) {
            return Err(start.error(DecodeErrorKind::OutOfRange));
        }
        let at = reader.clone();
        let (kind, marks, mode) = (reader.u8()?, reader.u8()?, u32::from(reader.u16()?));
        if marks & !(CHANGED | LINKED | FOLLOWED) != 0 || mode > 0o7777 {
            return Err(at.error(DecodeErrorKind::OutOfRange));
        }
        let (uid, gid) = (reader.u32()?, reader.u32()?);
        let user = read_text(&mut reader, OWNER_LEN_MAX)?;
        let group = read_text(&mut reader, OWNER_LEN_MAX)?;
        let mtime = Time::read(&mut reader)?;
        let identity = Identity { inode: reader.u64()?, ctime: Time::read(&mut reader)? };
        let at = reader.clone();
        let flags = reader.u32()?;
        if flags & !FLAGS != 0 {
            return Err(at.error(DecodeErrorKind::OutOfRange));
        }
        let xattrs = read_xattrs(&mut reader)?;
        let (kind, size) = read_kind(kind, &mut reader)?;
        reader.finish()?;
        Ok(Item {
            path,
            kind,
            mode,
            uid,
            gid,
            user,
            group,
            size,
            mtime,
            identity,
            flags,
            xattrs,
            changed: marks & CHANGED != 0,
            linked: marks & LINKED != 0,
            followed: marks & FOLLOWED != 0,
        })
    }

    fn marks(&self) -> u8 {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        bit(self.changed, CHANGED) | bit(self.linked, LINKED) | bit(self.followed, FOLLOWED)
    }
}

impl ItemKind {
    fn code(&self) -> u8 {
        match self {
            ItemKind::File(_) => 0,
            ItemKind::Directory => 1,
            ItemKind::Symlink(_) => 2,
            ItemKind::HardLink(_) => 3,
            ItemKind::Fifo => 4,
            ItemKind::BlockDevice(_) => 5,
            ItemKind::CharacterDevice(_) => 6,
        }
    }
}

/// What a kind of item has behind what all have: the kind and the size.
fn read_kind(code: u8, reader: &mut Reader<'_>) -> Result<(ItemKind, u64), DecodeError> {
    let start = reader.clone();
    let kind = match code {
        0 => {
            let size = reader.u64()?;
            return Ok((ItemKind::File(read_content(reader, size)?), size));
        }
        1 => ItemKind::Directory,
        2 => ItemKind::Symlink(reader.bytes(PATH_LEN_MAX)?.to_vec()),
        3 => match reader.bytes(PATH_LEN_MAX)? {
            first if is_safe_path(first) => ItemKind::HardLink(first.to_vec()),
            _ => return Err(start.error(DecodeErrorKind::OutOfRange)),
        },
        4 => ItemKind::Fifo,
        5 => ItemKind::BlockDevice(read_device(reader)?),
        6 => ItemKind::CharacterDevice(read_device(reader)?),
        _ => return Err(start.error(DecodeErrorKind::OutOfRange)),
    };
    Ok((kind, 0))
}

fn read_device(reader: &mut Reader<'_>) -> Result<Device, DecodeError> {
    let start = reader.clone();
    let device = Device { major: reader.u32()?, minor: reader.u32()? };
    match device.major <= DEVICE_MAX.0 && device.minor <= DEVICE_MAX.1 {
        true => Ok(device),
        false => Err(start.error(DecodeErrorKind::OutOfRange)),
    }
}

/// Names are neither empty nor hold a NUL, and ascend.
fn read_xattrs(reader: &mut Reader<'_>) -> Result<Vec<Xattr>, DecodeError> {
    let start = reader.clone();
    // A name of one byte at least, and two lengths.
    let count = reader.count(9)?;
    let mut xattrs: Vec<Xattr> = Vec::new();
    let mut total = 0;
    for _ in 0..count {
        let name = reader.bytes(XATTR_NAME_LEN_MAX)?;
        let value = reader.bytes(XATTR_LEN_MAX)?;
        total += name.len() + value.len() + 8;
        let ascends = xattrs.last().is_none_or(|(last, _)| last.as_slice() < name);
        if name.is_empty() || name.contains(&0) || !ascends || total > XATTRS_LEN_MAX {
            return Err(start.error(DecodeErrorKind::OutOfRange));
        }
        xattrs.push((name.to_vec(), value.to_vec()));
    }
    Ok(xattrs)
}

fn read_content(reader: &mut Reader<'_>, size: u64) -> Result<Content, DecodeError> {
    let start = reader.clone();
    let content = Content {
        recipe: Recipe::read(reader)?,
        layout: Side::read(reader)?,
        allocation: Side::read(reader)?,
        unreadable: read_ranges(reader, size)?,
    };
    // With a layout, the stream has the length that the layout says.
    let fits = !content.layout.is_empty() || content.recipe.len() == size;
    match fits && size <= STREAM_LEN_MAX {
        true => Ok(content),
        false => Err(start.error(DecodeErrorKind::OutOfRange)),
    }
}

fn read_ranges(reader: &mut Reader<'_>, size: u64) -> Result<Vec<Range<u64>>, DecodeError> {
    let start = reader.clone();
    let count = reader.count(16)?;
    let mut ranges: Vec<Range<u64>> = Vec::with_capacity(count.min(UNREADABLE_MAX));
    for _ in 0..count {
        let range = reader.u64()?..reader.u64()?;
        let ascends = ranges.last().is_none_or(|last| last.end < range.start);
        if count > UNREADABLE_MAX || range.is_empty() || range.end > size || !ascends {
            return Err(start.error(DecodeErrorKind::OutOfRange));
        }
        ranges.push(range);
    }
    Ok(ranges)
}
