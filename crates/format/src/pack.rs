//! A pack: header, groups, footer, trailer. docs/format.md, "Pack".
//!
//! Here are the plaintexts of the pieces and where they lie; sealing them is the core's. Every group is a sealed frame
//! header of fixed length followed by a sealed body, so a pack can be walked from its start without the footer. The footer
//! lists every group and every chunk, so that the index of a pack is one small read from its end.

use crate::id::ChunkId;
use crate::object::{HEADER_LEN, Kind, TAG_LEN};
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// Length in bytes of the salt that makes the nonces of a pack.
pub const SALT_LEN: usize = 16;
/// Length in bytes of a pack's header.
pub const PACK_HEADER_LEN: usize = HEADER_LEN + SALT_LEN;
/// Length in bytes of a frame header before sealing.
pub const FRAME_LEN: usize = 16;
/// Length in bytes of a sealed frame header.
pub const SEALED_FRAME_LEN: usize = FRAME_LEN + TAG_LEN;
/// Length in bytes of a pack's trailer.
pub const TRAILER_LEN: usize = 8;
/// The last four bytes of every pack.
const TRAILER_MAGIC: [u8; 4] = *b"tail";
/// Most chunks in one group: a tree of tiny files must not make tables longer than their content is worth.
pub const GROUP_CHUNKS_MAX: u32 = 1 << 12;
/// Chunks with which a pack ends: its last group is the one that reaches them.
pub const PACK_CHUNKS_END: u32 = 1 << 16;
/// Longest sealed footer in bytes: the most chunks that a pack can have, each in a group of its own. A trailer is not sealed:
/// without this bound a forged one would make a reader allocate 4 GiB.
pub const FOOTER_LEN_MAX: u32 =
    4 + (PACK_CHUNKS_END + GROUP_CHUNKS_MAX) * (9 + 36) + TAG_LEN as u32;
/// The most that can be tried to make a group small: lzma of preset 9.
pub const EFFORT_MAX: u8 = 41;

/// How a group's chunks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Stored as they are.
    None,
    /// One zstd frame.
    Zstd,
    /// One lz4 block.
    Lz4,
    /// One xz stream of LZMA2, with or without the filter for x86 code before it; without a checksum of the content.
    Lzma,
}

/// What is in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PackKind {
    /// Chunks of files.
    Data,
    /// What archives are made of: chunks of item streams, nodes of recipes, chunks of layouts and allocation maps.
    Structure,
}

impl PackKind {
    /// The kind of the file.
    pub fn object(self) -> Kind {
        match self {
            PackKind::Data => Kind::Pack,
            PackKind::Structure => Kind::StructurePack,
        }
    }
}

/// The kind and the salt at the start of a pack.
pub fn encode_pack_header(kind: PackKind, salt: &[u8; SALT_LEN]) -> [u8; PACK_HEADER_LEN] {
    let mut header = [0; PACK_HEADER_LEN];
    let (magic, rest) = header.split_at_mut(HEADER_LEN);
    magic.copy_from_slice(&kind.object().header());
    rest.copy_from_slice(salt);
    header
}

/// Reads the start of a pack: its kind and its salt.
///
/// # Errors
/// `BadMagic` if it is that of no pack; `UnsupportedVersion`; `Truncated`; `TrailingBytes`.
pub fn decode_pack_header(bytes: &[u8]) -> Result<(PackKind, [u8; SALT_LEN]), DecodeError> {
    let mut reader = Reader::new(bytes, "pack header");
    let kind = match Kind::StructurePack.expect(&mut reader.clone()) {
        Err(error) if error.kind == DecodeErrorKind::BadMagic => PackKind::Data,
        _ => PackKind::Structure,
    };
    kind.object().expect(&mut reader)?;
    let salt = reader.array()?;
    reader.finish()?;
    Ok((kind, salt))
}

/// What stands in front of a group's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Length of the body in bytes, without its tag.
    pub body_len: u32,
    /// Length of the group's chunks in bytes, uncompressed.
    pub plain_len: u32,
    /// Number of chunks, at least one.
    pub chunk_count: u32,
    /// How the chunks are compressed.
    pub codec: Codec,
    /// How much was tried to make them small, whatever came of it: see [`FooterGroup::effort`].
    pub effort: u8,
}

impl Frame {
    /// The frame header before sealing.
    pub fn encode(&self) -> [u8; FRAME_LEN] {
        let mut writer = Writer::with_capacity(FRAME_LEN);
        writer.u32(self.body_len).u32(self.plain_len).u32(self.chunk_count);
        writer
            .u8(match self.codec {
                Codec::None => 0,
                Codec::Zstd => 1,
                Codec::Lz4 => 2,
                Codec::Lzma => 3,
            })
            .u8(self.effort)
            .put(&[0; 2]);
        let mut bytes = [0; FRAME_LEN];
        bytes.copy_from_slice(writer.as_bytes());
        bytes
    }

    /// Reads an opened frame header; `group_len_max` bounds both lengths in bytes.
    ///
    /// # Errors
    /// `OutOfRange` for a codec that there is not, for counts, lengths and an effort beyond their bounds, for those that
    /// contradict each other, and for reserved bytes that are not 0; `Truncated`; `TrailingBytes`.
    pub fn decode(bytes: &[u8], group_len_max: u32) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, "frame header");
        let start = reader.clone();
        let (body_len, plain_len, chunk_count) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let codec = match reader.u8()? {
            0 => Codec::None,
            1 => Codec::Zstd,
            2 => Codec::Lz4,
            3 => Codec::Lzma,
            _ => return Err(start.error(DecodeErrorKind::OutOfRange)),
        };
        let effort = reader.u8()?;
        reader.zeros(2)?;
        reader.finish()?;
        let table_len = u64::from(chunk_count) * 4;
        let sane = (1..=GROUP_CHUNKS_MAX).contains(&chunk_count)
            && chunk_count <= plain_len
            && plain_len <= group_len_max
            && table_len <= u64::from(body_len)
            && u64::from(body_len) <= u64::from(group_len_max) + table_len
            && effort <= EFFORT_MAX;
        match sane {
            true => Ok(Frame { body_len, plain_len, chunk_count, codec, effort }),
            false => Err(start.error(DecodeErrorKind::OutOfRange)),
        }
    }

    /// Length in bytes of the group in the pack: sealed frame header and sealed body.
    pub fn sealed_len(&self) -> u64 {
        SEALED_FRAME_LEN as u64 + u64::from(self.body_len) + TAG_LEN as u64
    }
}

/// The start of a body: the length of each chunk. The compressed chunks follow.
pub fn encode_lens(lens: &[u32]) -> Vec<u8> {
    lens.iter().flat_map(|len| len.to_le_bytes()).collect()
}

/// Takes an opened body apart: the chunks' lengths, which sum up to the frame's `plain_len`, and the compressed chunks.
///
/// # Errors
/// `Truncated` if it ends within the lengths; `OutOfRange` if they sum up to anything else, or one is 0.
pub fn decode_body<'a>(body: &'a [u8], frame: &Frame) -> Result<(Vec<u32>, &'a [u8]), DecodeError> {
    let mut reader = Reader::new(body, "group");
    let start = reader.clone();
    let table = reader.take(frame.chunk_count as usize * 4)?;
    let lens: Vec<u32> = table.as_chunks().0.iter().map(|len| u32::from_le_bytes(*len)).collect();
    let sum: u64 = lens.iter().map(|len| u64::from(*len)).sum();
    if sum != u64::from(frame.plain_len) || lens.contains(&0) {
        return Err(start.error(DecodeErrorKind::OutOfRange));
    }
    Ok((lens, reader.take(reader.left())?))
}

/// One group as the footer lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FooterGroup {
    /// Length of the body in bytes, without its tag.
    pub body_len: u32,
    /// How much was tried to make the chunks small: 0 little or nothing, 1 to 22 that level of zstd, from 32 on lzma of the
    /// preset that is 32 less; at most [`EFFORT_MAX`].
    pub effort: u8,
    /// The group's chunks in order: id and length in bytes.
    pub chunks: Vec<(ChunkId, u32)>,
}

impl FooterGroup {
    /// Length of the group's chunks in bytes.
    pub fn plain_len(&self) -> u64 {
        self.chunks.iter().map(|(_, len)| u64::from(*len)).sum()
    }

    /// Length in bytes of the group in the pack.
    pub fn sealed_len(&self) -> u64 {
        SEALED_FRAME_LEN as u64 + u64::from(self.body_len) + TAG_LEN as u64
    }
}

/// The footer: every group of the pack in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footer {
    /// The groups, in the order of the file, without gaps from the end of the pack's header on.
    pub groups: Vec<FooterGroup>,
}

impl Footer {
    /// The footer before sealing.
    pub fn encode(&self) -> Vec<u8> {
        let chunks: usize = self.groups.iter().map(|group| group.chunks.len()).sum();
        let mut writer = Writer::with_capacity(4 + self.groups.len() * 9 + chunks * 36);
        writer.count(self.groups.len());
        for group in &self.groups {
            writer.u32(group.body_len).u8(group.effort).count(group.chunks.len());
            for (id, len) in &group.chunks {
                writer.put(id.as_bytes()).u32(*len);
            }
        }
        writer.into_bytes()
    }

    /// Reads an opened footer; every group's chunks sum up to at most `group_len_max` bytes.
    ///
    /// # Errors
    /// `OutOfRange` for a group of no chunks, of more than [`GROUP_CHUNKS_MAX`] or of more bytes, for an empty chunk, and for
    /// an effort above [`EFFORT_MAX`]; `Truncated`; `TrailingBytes`.
    pub fn decode(bytes: &[u8], group_len_max: u32) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, "pack footer");
        let group_count = reader.count(9)?;
        let mut groups = Vec::with_capacity(group_count);
        for _ in 0..group_count {
            let start = reader.clone();
            let body_len = reader.u32()?;
            let effort = reader.u8()?;
            let chunk_count = reader.count(36)?;
            let mut chunks = Vec::with_capacity(chunk_count);
            for _ in 0..chunk_count {
                chunks.push((ChunkId::from_bytes(reader.array()?), reader.u32()?));
            }
            let group = FooterGroup { body_len, effort, chunks };
            let empty_chunk = group.chunks.iter().any(|(_, len)| *len == 0);
            if !(1..=GROUP_CHUNKS_MAX as usize).contains(&chunk_count)
                || empty_chunk
                || effort > EFFORT_MAX
                || group.plain_len() > u64::from(group_len_max)
            {
                return Err(start.error(DecodeErrorKind::OutOfRange));
            }
            groups.push(group);
        }
        reader.finish()?;
        Ok(Footer { groups })
    }
}

/// The last bytes of a pack, which say how long the sealed footer in front of them is.
pub fn encode_trailer(sealed_footer_len: u32) -> [u8; TRAILER_LEN] {
    let [a, b, c, d] = sealed_footer_len.to_le_bytes();
    let [e, f, g, h] = TRAILER_MAGIC;
    [a, b, c, d, e, f, g, h]
}

/// Reads the last bytes of a pack of `pack_len` bytes: where the sealed footer starts, and its length.
///
/// # Errors
/// `BadMagic` if it is none; `OutOfRange` for a footer longer than [`FOOTER_LEN_MAX`] or than the pack; `Truncated`;
/// `TrailingBytes`.
pub fn decode_trailer(bytes: &[u8], pack_len: u64) -> Result<(u64, u32), DecodeError> {
    let mut reader = Reader::new(bytes, "pack trailer");
    let start = reader.clone();
    let footer_len = reader.u32()?;
    if reader.array()? != TRAILER_MAGIC {
        return Err(start.error(DecodeErrorKind::BadMagic));
    }
    reader.finish()?;
    if footer_len > FOOTER_LEN_MAX {
        return Err(start.error(DecodeErrorKind::OutOfRange));
    }
    let around = (PACK_HEADER_LEN + TRAILER_LEN) as u64 + u64::from(footer_len);
    match pack_len.checked_sub(around) {
        Some(groups_len) => Ok((PACK_HEADER_LEN as u64 + groups_len, footer_len)),
        None => Err(start.error(DecodeErrorKind::OutOfRange)),
    }
}
