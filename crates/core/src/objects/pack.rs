//! Packs: sealed groups behind each other, a sealed footer that lists them; written once, named by the hash of their bytes.
//!
//! ```text
//! CompressedGroup -> PackPlan (which pack, what offset) -> SealedGroup -> PackBuilder -> FinishedPack -> Store
//! ```
//!
//! The nonce of every box is the pack's salt and the box's offset in the file, so a place in a pack is bound to what lies
//! there. A pack is planned before its groups are sealed, so that groups are sealed on all cores.

use std::ops::Range;

use garret_format::index::{GroupRow, PackRow};
use garret_format::object::{HEADER_LEN, TAG_LEN};
use garret_format::pack::{
    Footer, FooterGroup, Frame, GROUP_CHUNKS_MAX, PACK_CHUNKS_END, PACK_HEADER_LEN, PackKind,
    SALT_LEN, SEALED_FRAME_LEN, TRAILER_LEN, decode_pack_header, decode_trailer,
    encode_pack_header, encode_trailer,
};
use garret_format::{ChunkId, PackId};

use crate::error::{Error, Result};
use crate::keys::chunk::ChunkHasher;
use crate::keys::random;
use crate::keys::seal::{BoxKind, Nonce, Sealer};
use crate::limits::{STRUCTURE_PACK_LEN, total_len};
use crate::objects::group::{CompressedGroup, OpenGroup, WHOLE};
use crate::store::{Key, Store, StoreErrorKind};

/// Bytes at the end of a pack that are read for its footer: enough for 1,800 chunks, three times what a pack of 32 MiB has of
/// the usual length. Far away they cost less than a second request.
const FOOTER_READ_LEN: u64 = 64 << 10;

/// Bytes at the start of a pack that tell whether it is one: its header and the head of its first group.
const HEAD_LEN: u64 = (PACK_HEADER_LEN + SEALED_FRAME_LEN) as u64;

/// Bytes with which a pack of this kind ends, in a repository whose packs end with `pack_len`.
pub(crate) fn end_len(kind: PackKind, pack_len: u32) -> u32 {
    match kind {
        PackKind::Data => pack_len,
        PackKind::Structure => pack_len.min(STRUCTURE_PACK_LEN),
    }
}

/// Where a group will lie: the pack, by its salt, and the place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupPlace {
    kind: PackKind,
    salt: [u8; SALT_LEN],
    offset: u64,
}

/// Decides which pack each group of one kind goes to.
#[derive(Debug)]
pub(crate) struct PackPlan {
    limit: u64,
    next: GroupPlace,
    chunk_count: u32,
}

impl PackPlan {
    /// Packs end with the group that reaches `limit` bytes or [`PACK_CHUNKS_END`] chunks.
    pub(crate) fn new(kind: PackKind, limit: u32) -> Result<Self> {
        Ok(PackPlan { limit: u64::from(limit), next: Self::start(kind)?, chunk_count: 0 })
    }

    fn start(kind: PackKind) -> Result<GroupPlace> {
        Ok(GroupPlace { kind, salt: random()?, offset: PACK_HEADER_LEN as u64 })
    }

    /// The place of the next group.
    pub(crate) fn place(&mut self, frame: &Frame) -> Result<GroupPlace> {
        if self.next.offset >= self.limit || self.chunk_count >= PACK_CHUNKS_END {
            self.next = Self::start(self.next.kind)?;
            self.chunk_count = 0;
        }
        let place = self.next;
        self.next.offset += frame.sealed_len();
        self.chunk_count += frame.chunk_count;
        Ok(place)
    }
}

/// A group as it will lie in the pack.
#[derive(Debug)]
pub(crate) struct SealedGroup {
    place: GroupPlace,
    bytes: Vec<u8>,
    listed: FooterGroup,
}

impl CompressedGroup {
    /// Seals the group for its place.
    pub(crate) fn seal(self, sealer: &Sealer, place: GroupPlace) -> SealedGroup {
        let header = self.frame.encode();
        let mut bytes = Vec::with_capacity(self.frame.sealed_len() as usize);
        bytes.extend_from_slice(&header);
        let nonce = Nonce::counted(&place.salt, place.offset);
        sealer.seal(BoxKind::FrameHeader, &nonce, &[], &mut bytes);
        let mut body = self.body;
        let nonce = Nonce::counted(&place.salt, place.offset + SEALED_FRAME_LEN as u64);
        sealer.seal(BoxKind::GroupBody, &nonce, &header, &mut body);
        bytes.extend_from_slice(&body);
        let Frame { body_len, effort, .. } = self.frame;
        let listed = FooterGroup { body_len, effort, chunks: self.chunks };
        SealedGroup { place, bytes, listed }
    }
}

/// A pack that grows.
pub(crate) struct PackBuilder {
    sealer: Sealer,
    kind: PackKind,
    salt: [u8; SALT_LEN],
    len: u64,
    parts: Vec<Vec<u8>>,
    footer: Footer,
}

/// A whole pack that is not stored yet.
pub(crate) struct FinishedPack {
    pub(crate) row: PackRow,
    pub(crate) parts: Vec<Vec<u8>>,
    pub(crate) footer: Footer,
}

impl PackBuilder {
    /// A pack that begins with `first`.
    pub(crate) fn begin(sealer: Sealer, first: SealedGroup) -> Self {
        let GroupPlace { kind, salt, .. } = first.place;
        let mut builder = PackBuilder {
            sealer,
            kind,
            salt,
            len: 0,
            parts: Vec::new(),
            footer: Footer::default(),
        };
        builder.append(encode_pack_header(kind, &salt).to_vec());
        builder.push_here(first);
        builder
    }

    /// Adds a group planned for this pack; gives it back if it is for the next one.
    pub(crate) fn push(&mut self, group: SealedGroup) -> Option<SealedGroup> {
        if group.place.salt != self.salt {
            return Some(group);
        }
        self.push_here(group);
        None
    }

    fn push_here(&mut self, group: SealedGroup) {
        debug_assert_eq!(group.place.offset, self.len, "groups arrive in the order of the plan");
        self.append(group.bytes);
        self.footer.groups.push(group.listed);
    }

    fn append(&mut self, bytes: Vec<u8>) {
        self.len += bytes.len() as u64;
        self.parts.push(bytes);
    }

    /// Closes the pack, and names it by all of its bytes.
    pub(crate) fn finish(mut self) -> FinishedPack {
        let mut footer = self.footer.encode();
        let nonce = Nonce::counted(&self.salt, self.len);
        let place = [self.kind.object() as u8];
        self.sealer.seal(BoxKind::PackFooter, &nonce, &place, &mut footer);
        let trailer = encode_trailer(footer.len() as u32);
        self.append(footer);
        self.append(trailer.to_vec());
        let mut hasher = blake3::Hasher::new();
        self.parts.iter().for_each(|part| _ = hasher.update(part));
        let id = PackId::from_bytes(*hasher.finalize().as_bytes());
        let row = PackRow { id, salt: self.salt, len: self.len as u32, kind: self.kind };
        FinishedPack { row, parts: self.parts, footer: self.footer }
    }
}

/// Reads packs of one repository.
#[derive(Clone, Copy)]
pub(crate) struct PackReader<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) sealer: &'a Sealer,
    pub(crate) group_len_max: u32,
}

impl PackReader<'_> {
    /// Reads and opens one group, and decompresses its first `len` bytes; what is read may have been read before.
    pub(crate) fn group(
        &self,
        pack: &PackRow,
        group: &GroupRow,
        len: u32,
        read: Option<&[u8]>,
    ) -> Result<OpenGroup> {
        let (frame, body) = self.body(pack, group, read)?;
        OpenGroup::decompress(&frame, &body, len).map_err(|what| Error::Corrupt {
            object: Key::Pack(pack.id).to_string(),
            offset: u64::from(group.offset),
            what,
        })
    }

    /// Reads and opens one group; it stays compressed. Its bytes may have been read before.
    pub(crate) fn body(
        &self,
        pack: &PackRow,
        group: &GroupRow,
        read: Option<&[u8]>,
    ) -> Result<(Frame, Vec<u8>)> {
        let key = Key::Pack(pack.id);
        let start = u64::from(group.offset);
        if let Some(bytes) = read {
            return self.open(&key, &pack.salt, start, bytes.to_vec());
        }
        // As much as a frame header could say; what an index says is not bounded by it.
        let most = u64::from(self.group_len_max) + 4 * u64::from(GROUP_CHUNKS_MAX);
        if u64::from(group.sealed_len) > most + (SEALED_FRAME_LEN + TAG_LEN) as u64 {
            return Err(Error::unsealed(&key.to_string(), start));
        }
        let bytes = self.store.get(&key, start..start + u64::from(group.sealed_len))?;
        self.open(&key, &pack.salt, start, bytes)
    }

    fn open(
        &self,
        key: &Key,
        salt: &[u8; SALT_LEN],
        offset: u64,
        mut bytes: Vec<u8>,
    ) -> Result<(Frame, Vec<u8>)> {
        let object = key.to_string();
        let (frame, header) = self.open_frame(&object, salt, offset, &bytes)?;
        let body_at = offset + SEALED_FRAME_LEN as u64;
        let unsealed = || Error::unsealed(&object, body_at);
        if bytes.len() != SEALED_FRAME_LEN + frame.body_len as usize + TAG_LEN {
            return Err(unsealed());
        }
        let nonce = Nonce::counted(salt, body_at);
        self.sealer
            .open_behind(SEALED_FRAME_LEN, BoxKind::GroupBody, &nonce, &header, &mut bytes)
            .ok_or_else(unsealed)?;
        Ok((frame, bytes))
    }

    fn open_frame(
        &self,
        object: &str,
        salt: &[u8; SALT_LEN],
        offset: u64,
        bytes: &[u8],
    ) -> Result<(Frame, Vec<u8>)> {
        let broken = || Error::unsealed(object, offset);
        let mut header = bytes.get(..SEALED_FRAME_LEN).ok_or_else(broken)?.to_vec();
        let nonce = Nonce::counted(salt, offset);
        self.sealer.open(BoxKind::FrameHeader, &nonce, &[], &mut header).ok_or_else(broken)?;
        let frame = Frame::decode(&header, self.group_len_max)
            .map_err(|error| Error::decode(object, offset, error))?;
        Ok((frame, header))
    }

    /// Whether what has the name of a pack is none; the store is told.
    pub(crate) fn is_foreign(&self, id: PackId) -> bool {
        let key = Key::Pack(id);
        let len = self.store.len(&key).map(|len| len.min(HEAD_LEN));
        let head = len.and_then(|len| self.store.get(&key, 0..len));
        // What cannot be read may be ours.
        let kinds = [PackKind::Data, PackKind::Structure].map(PackKind::object);
        let foreign = head.is_ok_and(|head| {
            let start = head.get(..HEADER_LEN).unwrap_or(&head);
            kinds.iter().all(|kind| kind.is_foreign(start)) && !self.is_ours(&head)
        });
        if foreign {
            self.store.pass_over(&key);
        }
        foreign
    }

    /// Whether the first group in the head of a file opens. A box is sealed for its version and for this repository: so a
    /// pack whose first bytes rotted is neither one of a newer garret, which would have to be left alone, nor somebody's
    /// file.
    fn is_ours(&self, head: &[u8]) -> bool {
        let frame = head.get(PACK_HEADER_LEN..).unwrap_or_default();
        let salt = salt(head);
        salt.is_some_and(|salt| self.open_frame("", &salt, PACK_HEADER_LEN as u64, frame).is_ok())
    }

    /// What a pack of `len` bytes holds, from its footer: reads its first bytes and its last, and once more if that is long.
    pub(crate) fn footer(&self, id: PackId, len: u64) -> Result<(PackRow, Footer)> {
        let key = Key::Pack(id);
        self.footer_in(id, len, |range| Ok(self.store.get(&key, range)?))
    }

    /// The same of a pack whose bytes are at hand.
    pub(crate) fn footer_of(&self, id: PackId, bytes: &[u8]) -> Result<(PackRow, Footer)> {
        self.footer_in(id, bytes.len() as u64, |range| {
            let range = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
            let found = range.and_then(|(start, end)| bytes.get(start..end));
            found.map(<[u8]>::to_vec).ok_or_else(|| Error::misnamed(&Key::Pack(id).to_string()))
        })
    }

    fn footer_in(
        &self,
        id: PackId,
        len: u64,
        read: impl Fn(Range<u64>) -> Result<Vec<u8>>,
    ) -> Result<(PackRow, Footer)> {
        let head = read(0..HEAD_LEN.min(len))?;
        let tail_at = len.saturating_sub(FOOTER_READ_LEN);
        let tail = read(tail_at..len)?;
        let object = Key::Pack(id).to_string();
        let header = head.get(..PACK_HEADER_LEN).unwrap_or(&head);
        let (kind, salt) = match decode_pack_header(header) {
            Ok(header) => header,
            Err(error) => {
                let error = Error::decode(&object, 0, error);
                return Err(if self.is_ours(&head) { error.of_ours() } else { error });
            }
        };
        let trailer_at = len.saturating_sub(TRAILER_LEN as u64);
        let trailer = tail.get(tail.len().saturating_sub(TRAILER_LEN)..).unwrap_or_default();
        let (footer_at, footer_len) = decode_trailer(trailer, len)
            .map_err(|error| Error::decode(&object, trailer_at, error))?;
        let known = usize::try_from(footer_at.wrapping_sub(tail_at)).ok();
        let known = known.and_then(|from| tail.get(from..)?.get(..footer_len as usize));
        let mut footer = match known {
            Some(footer) => footer.to_vec(),
            None => read(footer_at..footer_at + u64::from(footer_len))?,
        };
        let place = [kind.object() as u8];
        self.sealer
            .open(BoxKind::PackFooter, &Nonce::counted(&salt, footer_at), &place, &mut footer)
            .ok_or_else(|| Error::unsealed(&object, footer_at))?;
        let footer = Footer::decode(&footer, self.group_len_max)
            .map_err(|error| Error::decode(&object, footer_at, error))?;
        let groups_len: u64 = footer.groups.iter().map(FooterGroup::sealed_len).sum();
        match (u32::try_from(len), PACK_HEADER_LEN as u64 + groups_len == footer_at) {
            (Ok(len), true) => Ok((PackRow { id, salt, len, kind }, footer)),
            _ => Err(Error::unsealed(&object, footer_at)),
        }
    }

    /// What a pack holds, by walking its groups from the start and hashing their chunks: for a pack whose footer is lost.
    /// A group whose body does not open is passed over; the walk ends where a frame header does not open, or the file does.
    ///
    /// # Errors
    /// What is wrong with its first bytes, if no group opens behind them either: it may be a pack of a newer garret. A
    /// failure of the storage: what it did not show now it may show later, so the pack must not be taken for a short one.
    pub(crate) fn salvage(&self, id: PackId, hasher: &ChunkHasher) -> Result<(PackRow, Footer)> {
        let key = Key::Pack(id);
        let object = key.to_string();
        let len = self.store.len(&key)?;
        let mut footer = Footer::default();
        if len < PACK_HEADER_LEN as u64 {
            // Nothing is left of it, and so gc may drop it.
            let (salt, kind) = ([0; SALT_LEN], PackKind::Data);
            return Ok((PackRow { id, salt, len: len as u32, kind }, footer));
        }
        let head = self.store.get(&key, 0..PACK_HEADER_LEN as u64)?;
        let header = decode_pack_header(&head);
        let salt = salt(&head).unwrap_or_default();
        // Only a footer proves the kind: whoever holds the storage could have all data stored twice.
        let kind = PackKind::Data;
        let row = PackRow { id, salt, len: u32::try_from(len).unwrap_or(u32::MAX), kind };
        let mut offset = PACK_HEADER_LEN as u64;
        while offset + SEALED_FRAME_LEN as u64 <= u64::from(row.len) {
            let head = self.store.get(&key, offset..offset + SEALED_FRAME_LEN as u64)?;
            let Ok((frame, _)) = self.open_frame(&object, &salt, offset, &head) else { break };
            let end = offset + frame.sealed_len();
            let chunks = match self.salvage_group(&row, offset..end) {
                Ok(group) => {
                    group.chunks().map(|chunk| (hasher.hash(chunk), chunk.len() as u32)).collect()
                }
                Err(Error::Store(error)) if error.kind != StoreErrorKind::WrongLength => {
                    return Err(error.into());
                }
                Err(_) => Vec::new(),
            };
            if end > u64::from(row.len) {
                break;
            }
            let Frame { body_len, effort, .. } = frame;
            footer.groups.push(FooterGroup { body_len, effort, chunks });
            offset = end;
        }
        match header {
            Err(error) if footer.groups.is_empty() => Err(Error::decode(&object, 0, error)),
            _ => Ok((row, footer)),
        }
    }

    fn salvage_group(&self, pack: &PackRow, range: Range<u64>) -> Result<OpenGroup> {
        let group = GroupRow {
            pack: 0,
            offset: u32::try_from(range.start).unwrap_or(u32::MAX),
            sealed_len: u32::try_from(range.end - range.start).unwrap_or(u32::MAX),
            plain_len: 0,
            effort: 0,
        };
        self.group(pack, &group, WHOLE, None)
    }
}

/// The salt in the first bytes of a pack, whatever the others are.
fn salt(head: &[u8]) -> Option<[u8; SALT_LEN]> {
    head.get(HEADER_LEN..)?.first_chunk().copied()
}

/// The groups that a footer lists, in the order of the file, as rows for the first pack of a table.
pub(crate) fn listed(footer: &Footer) -> impl Iterator<Item = (GroupRow, &[(ChunkId, u32)])> {
    let mut offset = PACK_HEADER_LEN as u64;
    footer.groups.iter().map(move |group| {
        let (start, sealed_len) = (offset as u32, group.sealed_len());
        offset += sealed_len;
        let (sealed_len, effort) = (sealed_len as u32, group.effort);
        let plain_len = total_len(group.chunks.iter().map(|(_, len)| u64::from(*len))) as u32;
        let row = GroupRow { pack: 0, offset: start, sealed_len, plain_len, effort };
        (row, group.chunks.as_slice())
    })
}
