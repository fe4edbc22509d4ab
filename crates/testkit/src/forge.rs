//! Keys and boxes of a repository by hand, as docs/format.md says and without a line of the core: what garret itself would
//! never write can be sealed so that it opens, and what it wrote can be opened without believing it.

use std::ops::Range;

use aes_gcm::Aes256Gcm;
use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305};
use garret_format::archive::{Archive, Identity, Item, ItemKind, Time};
use garret_format::config::{Cipher, Config};
use garret_format::object::{Envelope, Kind, NONCE_LEN, TAG_LEN, VERSION};
use garret_format::pack::{
    Codec, Footer, FooterGroup, Frame, PACK_HEADER_LEN, PackKind, SALT_LEN, SEALED_FRAME_LEN,
    TRAILER_LEN, encode_pack_header, encode_trailer,
};
use garret_format::recipe::{CutterKind, Entry, Node, Recipe};
use garret_format::slot::{Kdf, Slot};
use garret_format::{ChunkId, PackId, RepositoryId, SegmentId};

use garret_core::Key;

/// The keys that seal the boxes of one repository: none in mode none.
#[derive(Clone)]
pub struct Forge {
    repository: RepositoryId,
    cipher: Option<Cipher>,
    data: Option<[u8; 32]>,
    metadata: Option<[u8; 32]>,
}

/// A box in a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackBox {
    /// What it holds: `h`, `g` or `f`.
    pub content: u8,
    /// Where it lies in the file.
    pub range: Range<usize>,
    /// What its nonce was.
    pub nonce: [u8; NONCE_LEN],
}

/// A group to be sealed: its frame header and its body before that.
#[derive(Clone, Debug)]
pub struct ForgedGroup {
    /// The frame header, in whatever it says.
    pub header: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
}

impl Forge {
    /// Of the repository with this configuration, in mode none.
    pub fn plain(config: &[u8]) -> Self {
        let repository = Config::decode(config).unwrap().repository;
        Forge { repository, cipher: None, data: None, metadata: None }
    }

    /// Of the repository with this configuration and this slot, which opens with the passphrase.
    pub fn unlock(config: &[u8], slot: &[u8], passphrase: &[u8]) -> Self {
        let slot = Slot::decode(slot).unwrap();
        assert_eq!(slot.config_hash, *blake3::hash(config).as_bytes());
        let Kdf::Argon2id { memory_kib, passes, lanes } = slot.kdf else { panic!("blank") };
        let params = Params::new(memory_kib, passes, lanes, Some(32)).unwrap();
        let mut wrapping = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase, &slot.salt, &mut wrapping)
            .unwrap();
        let (master, tag) = slot.wrapped.split_at(32);
        let mut master = master.to_vec();
        XChaCha20Poly1305::new(&wrapping.into())
            .decrypt_inout_detached(
                &slot.nonce.into(),
                &slot.bound(),
                master.as_mut_slice().into(),
                &Tag::try_from(tag).unwrap(),
            )
            .unwrap();
        Forge {
            repository: slot.repository,
            cipher: Config::decode(config).unwrap().cipher,
            data: Some(blake3::derive_key("garret v1 pack data", &master)),
            metadata: Some(blake3::derive_key("garret v1 metadata", &master)),
        }
    }

    /// The same keys in another repository.
    pub fn of_repository(&self, repository: RepositoryId) -> Self {
        Forge { repository, ..self.clone() }
    }

    fn key(&self, content: u8) -> Option<&[u8; 32]> {
        if b"hgf".contains(&content) { self.data.as_ref() } else { self.metadata.as_ref() }
    }

    fn is_aes(&self) -> bool {
        self.cipher == Some(Cipher::Aes256Gcm)
    }

    fn bound(&self, content: u8, place: &[u8]) -> Vec<u8> {
        [&[content, VERSION][..], self.repository.as_bytes(), place].concat()
    }

    /// Seals a box: the tag is appended.
    pub fn seal(&self, content: u8, nonce: &[u8; NONCE_LEN], place: &[u8], bytes: &mut Vec<u8>) {
        let bound = self.bound(content, place);
        let tag: [u8; TAG_LEN] = match self.key(content) {
            None => plain_tag(nonce, &bound, bytes),
            Some(key) if self.is_aes() => {
                let (cipher, counter) = aes(key, nonce);
                let sealed = cipher.encrypt_inout_detached(
                    &counter.into(),
                    &bound,
                    bytes.as_mut_slice().into(),
                );
                sealed.unwrap().into()
            }
            Some(key) => XChaCha20Poly1305::new(key.into())
                .encrypt_inout_detached(&(*nonce).into(), &bound, bytes.as_mut_slice().into())
                .unwrap()
                .into(),
        };
        bytes.extend(tag);
    }

    /// Opens a box, if it is one of this content at this place.
    pub fn open(
        &self,
        content: u8,
        nonce: &[u8; NONCE_LEN],
        place: &[u8],
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        let bound = self.bound(content, place);
        let (bytes, tag) = sealed.split_last_chunk::<TAG_LEN>()?;
        let mut bytes = bytes.to_vec();
        let (body, given) = (bytes.as_mut_slice(), Tag::from(*tag));
        match self.key(content) {
            Some(key) if self.is_aes() => {
                let (cipher, counter) = aes(key, nonce);
                cipher.decrypt_inout_detached(&counter.into(), &bound, body.into(), &given).ok()?;
            }
            Some(key) => XChaCha20Poly1305::new(key.into())
                .decrypt_inout_detached(&(*nonce).into(), &bound, body.into(), &given)
                .ok()?,
            None if plain_tag(nonce, &bound, &bytes) == *tag => {}
            None => return None,
        }
        Some(bytes)
    }

    /// The file of an index segment or an archive with this content.
    pub fn envelope(&self, kind: Kind, nonce: [u8; NONCE_LEN], content: &[u8]) -> Vec<u8> {
        let mut sealed = content.to_vec();
        self.seal(kind as u8, &nonce, &[], &mut sealed);
        Envelope { nonce, sealed }.encode(kind)
    }

    /// What is in the file of an index segment or an archive.
    pub fn opened(&self, kind: Kind, file: &[u8]) -> Option<Vec<u8>> {
        let envelope = Envelope::decode(file, kind).ok()?;
        self.open(kind as u8, &envelope.nonce, &[], &envelope.sealed)
    }

    /// An index segment with this content, and its name.
    pub fn segment(&self, content: &[u8]) -> (Key, Vec<u8>) {
        let bytes = self.envelope(Kind::Index, [7; NONCE_LEN], content);
        (Key::Index(SegmentId::from_bytes(*blake3::hash(&bytes).as_bytes())), bytes)
    }

    /// A pack of these groups with this footer, and its name.
    pub fn pack(&self, groups: &[ForgedGroup], footer: &[u8]) -> (PackId, Vec<u8>) {
        let salt = [5; SALT_LEN];
        let mut bytes = encode_pack_header(PackKind::Data, &salt).to_vec();
        for group in groups {
            let mut header = group.header.clone();
            self.seal(b'h', &nonce(&salt, bytes.len()), &[], &mut header);
            bytes.extend(header);
            let mut body = group.body.clone();
            self.seal(b'g', &nonce(&salt, bytes.len()), &group.header, &mut body);
            bytes.extend(body);
        }
        let mut footer = footer.to_vec();
        self.seal(b'f', &nonce(&salt, bytes.len()), b"P", &mut footer);
        let trailer = encode_trailer(footer.len() as u32);
        bytes.extend([&footer[..], &trailer].concat());
        (PackId::from_bytes(*blake3::hash(&bytes).as_bytes()), bytes)
    }

    /// A pack that holds these chunks as they are, a group each; in mode none, where anybody can tell their ids.
    pub fn pack_of(&self, chunks: &[Vec<u8>]) -> (Key, Vec<u8>) {
        let mut listed = Vec::new();
        let mut group = |chunk: &Vec<u8>| {
            let len = chunk.len() as u32;
            let codec = Codec::None;
            let frame =
                Frame { body_len: len + 4, plain_len: len, chunk_count: 1, codec, effort: 0 };
            let group = ForgedGroup::new(frame, [&len.to_le_bytes()[..], chunk].concat());
            listed.push(group.listed(vec![(plain_id(chunk), len)]));
            group
        };
        let groups: Vec<ForgedGroup> = chunks.iter().map(&mut group).collect();
        let (id, bytes) = self.pack(&groups, &footer(listed));
        (Key::Pack(id), bytes)
    }

    /// The file of an archive whose item stream is this, and what it holds before it is sealed.
    pub fn archive(&self, name: &str, items: Recipe) -> (Key, Vec<u8>, Vec<u8>) {
        let archive = Archive { file_count: 1, ..Archive::new(name, items) };
        let content = archive.encode();
        let bytes = self.envelope(Kind::Archive, [8; NONCE_LEN], &content);
        (Key::Archive(name.to_owned()), bytes, content)
    }

    /// The boxes of a pack, each of which opened with the nonce that its place gives; `None` if one did not.
    pub fn boxes(&self, pack: &[u8]) -> Option<Vec<PackBox>> {
        let salt: [u8; SALT_LEN] = pack.get(8..PACK_HEADER_LEN)?.try_into().ok()?;
        let trailer = pack.len().checked_sub(TRAILER_LEN)?;
        let len = u32::from_le_bytes(*pack.get(trailer..)?.first_chunk()?) as usize;
        let footer = trailer.checked_sub(len)?;
        let mut boxes = Vec::new();
        let mut take = |content, range: Range<usize>, place: &[u8]| {
            let nonce = nonce(&salt, range.start);
            let opened = self.open(content, &nonce, place, pack.get(range.clone())?)?;
            boxes.push(PackBox { content, range, nonce });
            Some(opened)
        };
        let mut at = PACK_HEADER_LEN;
        while at < footer {
            let body = at + SEALED_FRAME_LEN;
            let header = take(b'h', at..body, &[])?;
            let frame = Frame::decode(&header, u32::MAX).ok()?;
            at = body + frame.body_len as usize + TAG_LEN;
            take(b'g', body..at, &header)?;
        }
        take(b'f', footer..trailer, &pack[6..7])?;
        (at == footer).then_some(boxes)
    }
}

impl ForgedGroup {
    /// A group as its frame says.
    pub fn new(frame: Frame, body: Vec<u8>) -> Self {
        ForgedGroup { header: frame.encode().to_vec(), body }
    }

    /// What a footer says of it.
    pub fn listed(&self, chunks: Vec<(ChunkId, u32)>) -> FooterGroup {
        FooterGroup { body_len: self.body.len() as u32, effort: 0, chunks }
    }
}

/// Whether the file of a pack is one of structure.
pub fn is_structure(pack: &[u8]) -> bool {
    pack.starts_with(&Kind::StructurePack.header())
}

/// The id of a chunk in mode none.
pub fn plain_id(chunk: &[u8]) -> ChunkId {
    ChunkId::from_bytes(*blake3::hash(chunk).as_bytes())
}

/// An item of nobody in particular; as a file, as long as its recipe is.
pub fn plain_item(path: &[u8], kind: ItemKind) -> Item {
    let size = match &kind {
        ItemKind::File(content) => content.recipe.len(),
        _ => 0,
    };
    Item {
        path: path.to_vec(),
        mode: 0o644,
        size,
        kind,
        uid: 0,
        gid: 0,
        flags: 0,
        user: String::new(),
        group: String::new(),
        mtime: Time::default(),
        identity: Identity::default(),
        xattrs: Vec::new(),
        changed: false,
        linked: false,
        followed: false,
    }
}

/// A stream of these entries.
pub fn leaf(entries: Vec<Entry>) -> Recipe {
    Recipe { cutter: CutterKind::Fastcdc, root: Node::Leaf(entries) }
}

/// The entry of a chunk in mode none.
pub fn plain_entry(chunk: &[u8]) -> Entry {
    Entry::Chunk { id: plain_id(chunk), len: chunk.len() as u32 }
}

/// The footer of these groups, not sealed.
pub fn footer(groups: Vec<FooterGroup>) -> Vec<u8> {
    Footer { groups }.encode()
}

/// The nonce of the box at an offset of a pack.
pub fn nonce(salt: &[u8; SALT_LEN], offset: usize) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[..SALT_LEN].copy_from_slice(salt);
    nonce[SALT_LEN..].copy_from_slice(&(offset as u64).to_le_bytes());
    nonce
}

/// The cipher with the key of a salt, and its nonce.
fn aes(key: &[u8; 32], nonce: &[u8; NONCE_LEN]) -> (Aes256Gcm, [u8; 12]) {
    let (salt, counter) = nonce.split_at(SALT_LEN);
    let key = blake3::derive_key("garret v1 aes-256-gcm", &[&key[..], salt].concat());
    let mut padded = [0; 12];
    padded[4..].copy_from_slice(counter);
    (Aes256Gcm::new(&key.into()), padded)
}

fn plain_tag(nonce: &[u8; NONCE_LEN], bound: &[u8], bytes: &[u8]) -> [u8; TAG_LEN] {
    let mut tag = [0; TAG_LEN];
    blake3::Hasher::new_derive_key("garret v1 unencrypted box")
        .update(nonce)
        .update(&(bound.len() as u64).to_le_bytes())
        .update(bound)
        .update(bytes)
        .finalize_xof()
        .fill(&mut tag);
    tag
}
