//! A recipe: the ordered list of chunks and zero runs that makes one stream. docs/format.md, "Recipe".
//!
//! A recipe is a tree of nodes. A leaf holds entries of the stream, an inner node holds children. Nodes are stored as
//! chunks, cut where a chunk id says so, so that two recipes that agree over a stretch share the nodes of that stretch. The
//! root is not stored as a chunk: it stands in the item that owns the stream.

use crate::id::ChunkId;
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// Most entries or children of one node.
pub const NODE_ENTRIES_MAX: usize = 512;
/// Most levels above the leaves. Writers put at least 32 into every node but the last of a level: 2^63 bytes need 13.
pub const LEVEL_MAX: u8 = 16;
/// Longest stream in bytes: 8 EiB less one, what a file offset can say.
pub const STREAM_LEN_MAX: u64 = i64::MAX as u64;

/// Which cutter made the chunks of a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutterKind {
    /// Cuts at pages: disk images.
    Page,
    /// Cuts at bytes: everything else.
    Fastcdc,
}

/// A stretch of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The content of a chunk.
    Chunk {
        /// The chunk.
        id: ChunkId,
        /// Its length in bytes, at least one.
        len: u32,
    },
    /// Zeros that are not stored.
    Zero {
        /// How many bytes, at least one.
        len: u64,
    },
}

impl Entry {
    /// Length in bytes in the stream.
    pub fn len(&self) -> u64 {
        match *self {
            Entry::Chunk { len, .. } => u64::from(len),
            Entry::Zero { len } => len,
        }
    }

    /// Never: an entry covers at least one byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A child of an inner node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// The chunk that holds the child node.
    pub id: ChunkId,
    /// How many bytes of the stream the child covers, at least one.
    pub span: u64,
}

/// A node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Level 0: the stream itself.
    Leaf(Vec<Entry>),
    /// A level above.
    Inner {
        /// 1 for a node whose children are leaves, and so on.
        level: u8,
        /// The children, in the order of the stream.
        children: Vec<Child>,
    },
}

impl Node {
    /// How many bytes of the stream the node covers; `None` when its parts sum up to more than any stream.
    pub fn span(&self) -> Option<u64> {
        let add = |sum: u64, len: u64| sum.checked_add(len).filter(|sum| *sum <= STREAM_LEN_MAX);
        match self {
            Node::Leaf(entries) => entries.iter().try_fold(0, |sum, entry| add(sum, entry.len())),
            Node::Inner { children, .. } => {
                children.iter().try_fold(0, |sum, child| add(sum, child.span))
            }
        }
    }

    /// 0 for a leaf.
    pub fn level(&self) -> u8 {
        match self {
            Node::Leaf(_) => 0,
            Node::Inner { level, .. } => *level,
        }
    }

    /// The content of the chunk that holds the node.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.write(&mut writer);
        writer.into_bytes()
    }

    /// Reads a node from the content of its chunk.
    ///
    /// # Errors
    /// `OutOfRange` for a level above [`LEVEL_MAX`], more than [`NODE_ENTRIES_MAX`] entries or children, one that is empty or
    /// of no kind, and a span above [`STREAM_LEN_MAX`]; `Truncated`; `TrailingBytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, "recipe node");
        let node = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(node)
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Node::Leaf(entries) => {
                writer.u8(0).count(entries.len());
                for entry in entries {
                    match entry {
                        Entry::Chunk { id, len } => writer.u8(1).u32(*len).put(id.as_bytes()),
                        Entry::Zero { len } => writer.u8(0).u64(*len),
                    };
                }
            }
            Node::Inner { level, children } => {
                writer.u8(*level).count(children.len());
                for child in children {
                    writer.u64(child.span).put(child.id.as_bytes());
                }
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.clone();
        let level = reader.u8()?;
        let count = reader.count(if level == 0 { 9 } else { 40 })?;
        if level > LEVEL_MAX || count > NODE_ENTRIES_MAX {
            return Err(start.error(DecodeErrorKind::OutOfRange));
        }
        let node = if level == 0 {
            Node::Leaf((0..count).map(|_| read_entry(reader)).collect::<Result<_, _>>()?)
        } else {
            Node::Inner {
                level,
                children: (0..count).map(|_| read_child(reader)).collect::<Result<_, _>>()?,
            }
        };
        match node.span() {
            Some(_) => Ok(node),
            None => Err(start.error(DecodeErrorKind::OutOfRange)),
        }
    }
}

fn read_entry(reader: &mut Reader<'_>) -> Result<Entry, DecodeError> {
    let start = reader.clone();
    let entry = match reader.u8()? {
        0 => Entry::Zero { len: reader.u64()? },
        1 => {
            let len = reader.u32()?;
            Entry::Chunk { id: ChunkId::from_bytes(reader.array()?), len }
        }
        _ => return Err(start.error(DecodeErrorKind::OutOfRange)),
    };
    match entry.is_empty() {
        true => Err(start.error(DecodeErrorKind::OutOfRange)),
        false => Ok(entry),
    }
}

fn read_child(reader: &mut Reader<'_>) -> Result<Child, DecodeError> {
    let start = reader.clone();
    let span = reader.u64()?;
    let id = ChunkId::from_bytes(reader.array()?);
    match span {
        0 => Err(start.error(DecodeErrorKind::OutOfRange)),
        _ => Ok(Child { id, span }),
    }
}

/// The recipe of one stream, as it stands in an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Which cutter made the chunks.
    pub cutter: CutterKind,
    /// The root of the tree.
    pub root: Node,
}

impl Recipe {
    /// Length of the stream in bytes.
    pub fn len(&self) -> u64 {
        self.root.span().unwrap_or(STREAM_LEN_MAX)
    }

    /// Whether the stream has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the recipe.
    pub fn write(&self, writer: &mut Writer) {
        writer.u8(match self.cutter {
            CutterKind::Page => 0,
            CutterKind::Fastcdc => 1,
        });
        self.root.write(writer);
    }

    /// Reads a recipe.
    ///
    /// # Errors
    /// `OutOfRange` for a cutter that there is not; as of [`Node::decode`], but for `TrailingBytes`.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.clone();
        let cutter = match reader.u8()? {
            0 => CutterKind::Page,
            1 => CutterKind::Fastcdc,
            _ => return Err(start.error(DecodeErrorKind::OutOfRange)),
        };
        Ok(Recipe { cutter, root: Node::read(reader)? })
    }
}
