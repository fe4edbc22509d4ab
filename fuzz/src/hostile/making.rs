//! A repository without encryption, made by hand as docs/format.md says, every byte string of it altered at will.
//!
//! In: contents, items and [`Changes`]. Out: objects. Each byte string passes the changes when it comes to be, before it is
//! hashed, sealed or named, so that a change of content, item, frame, footer, segment or archive is one that who holds the
//! storage can make; and once more as an object. Nothing is random: the same input gives the same bytes.

use garret_core::Key;
use garret_format::archive::{Archive, Item, Time};
use garret_format::config::{Config, Features, KeyMode};
use garret_format::index::{GroupRow, PackRow, Record, encode_segment};
use garret_format::object::{Kind, NONCE_LEN};
use garret_format::pack::{
    Codec, Footer, FooterGroup, Frame, PackKind, encode_lens, encode_pack_header, encode_trailer,
};
use garret_format::recipe::{Entry, Recipe};
use garret_format::{ChunkId, PackId, RepositoryId, SegmentId};
use garret_testkit::{Forge, leaf, nonce, plain_id};

use super::input::Input;

const REPOSITORY: RepositoryId = RepositoryId::from_bytes([5; 32]);
const SALT: [u8; 16] = [6; 16];
/// Byte strings end here, however often they are made longer.
const LEN_MAX: usize = 1 << 18;

/// What is altered.
#[derive(Default)]
pub struct Changes {
    changes: Vec<Change>,
    seen: usize,
    previous: Vec<u8>,
}

/// One change of one byte string.
struct Change {
    number: usize,
    kind: u8,
    at: usize,
    literal: Vec<u8>,
}

impl Changes {
    /// As the input says.
    pub fn read(input: &mut Input<'_>) -> Self {
        let changes = (0..input.below(8)).map(|_| Change {
            number: input.below(64),
            kind: input.byte(),
            at: input.below(1 << 16),
            literal: input.string().to_vec(),
        });
        Changes { changes: changes.collect(), ..Changes::default() }
    }

    /// Whether nothing is altered.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The next byte string, altered.
    pub fn pass(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for change in self.changes.iter().filter(|change| change.number == self.seen) {
            change.apply(&mut bytes, &self.previous);
        }
        self.seen += 1;
        self.previous.clone_from(&bytes);
        bytes
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, previous: &[u8]) {
        let at = self.at % (bytes.len() + 1);
        let end = bytes.len().min(at + self.literal.len().max(1));
        match self.kind % 7 {
            0 => bytes[at..end].iter_mut().for_each(|byte| *byte ^= 0x41),
            1 => bytes[at..end].iter_mut().zip(&self.literal).for_each(|(to, from)| *to = *from),
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..at, self.literal.iter().copied())),
            4 => drop(bytes.drain(at..end)),
            5 => drop(bytes.splice(at.., previous.iter().skip(at).copied())),
            _ => {
                let end = bytes.len().min(at + (self.literal.len() << 8));
                bytes[at..end].fill(self.literal.first().copied().unwrap_or(0xff));
            }
        }
        bytes.truncate(LEN_MAX);
    }
}

/// A repository in the making.
pub struct Making {
    changes: Changes,
    forge: Forge,
    objects: Vec<(Key, Vec<u8>)>,
    group: Vec<(ChunkId, Vec<u8>)>,
    /// Of the pack in the making.
    bytes: Vec<u8>,
    footer: Footer,
    listed: Vec<(GroupRow, Vec<Record>)>,
    packs: Vec<PackRow>,
    groups: Vec<GroupRow>,
    records: Vec<Record>,
}

impl Making {
    /// With its file `config` and nothing else.
    pub fn new(mut changes: Changes) -> Self {
        let config = Config {
            repository: REPOSITORY,
            features: Features::default(),
            cipher: None,
            key_mode: KeyMode::None,
            chunk_min: 16 << 10,
            chunk_target: 64 << 10,
            chunk_max: 256 << 10,
            group_len: 1 << 20,
            pack_len: 32 << 20,
            created: 0,
        };
        let mut bytes = config.encode();
        let forge = Forge::plain(&bytes);
        bytes.truncate(84);
        let mut bytes = changes.pass(bytes);
        bytes.extend(blake3::hash(&bytes).as_bytes());
        Making {
            changes,
            forge,
            objects: vec![(Key::Config, bytes)],
            group: Vec::new(),
            bytes: encode_pack_header(PackKind::Data, &SALT).to_vec(),
            footer: Footer::default(),
            listed: Vec::new(),
            packs: Vec::new(),
            groups: Vec::new(),
            records: Vec::new(),
        }
    }

    /// Puts a chunk into the group.
    pub fn chunk(&mut self, bytes: Vec<u8>) -> (ChunkId, u32) {
        let bytes = self.changes.pass(bytes);
        let id = plain_id(&bytes);
        let len = bytes.len() as u32;
        self.group.push((id, bytes));
        (id, len)
    }

    /// A stream of one chunk.
    pub fn stream(&mut self, bytes: Vec<u8>) -> Recipe {
        let (id, len) = self.chunk(bytes);
        leaf(vec![Entry::Chunk { id, len }])
    }

    /// Puts the group into the pack, and the pack into the repository.
    pub fn pack(&mut self, codec: Codec) {
        self.close_group(codec);
        let offset = self.bytes.len();
        let mut footer = self.changes.pass(std::mem::take(&mut self.footer).encode());
        self.forge.seal(b'f', &nonce(&SALT, offset), b"P", &mut footer);
        self.bytes.extend(&footer);
        self.bytes.extend(encode_trailer(footer.len() as u32));
        let bytes =
            std::mem::replace(&mut self.bytes, encode_pack_header(PackKind::Data, &SALT).to_vec());
        let id = PackId::from_bytes(*blake3::hash(&bytes).as_bytes());
        let pack = self.packs.len() as u32;
        self.packs.push(PackRow { id, salt: SALT, len: bytes.len() as u32, kind: PackKind::Data });
        for (row, records) in self.listed.drain(..) {
            let group = self.groups.len() as u32;
            self.groups.push(GroupRow { pack, ..row });
            self.records.extend(records.into_iter().map(|record| Record { group, ..record }));
        }
        let bytes = self.changes.pass(bytes);
        self.objects.push((Key::Pack(id), bytes));
    }

    /// Puts the group into the pack.
    pub fn close_group(&mut self, codec: Codec) {
        let chunks = std::mem::take(&mut self.group);
        let lens: Vec<u32> = chunks.iter().map(|(_, bytes)| bytes.len() as u32).collect();
        let (mut records, mut plain) = (Vec::new(), Vec::new());
        for ((id, bytes), len) in chunks.iter().zip(&lens) {
            let offset = plain.len() as u32;
            records.push(Record { id: *id, group: 0, offset, len: *len });
            plain.extend(bytes);
        }
        let plain_len = plain.len() as u32;
        let stored = match codec {
            Codec::Zstd => zstd::bulk::compress(&plain, 1).unwrap_or_default(),
            _ => plain,
        };
        let body = self.changes.pass([encode_lens(&lens), stored].concat());
        let (body_len, chunk_count) = (body.len() as u32, lens.len() as u32);
        let frame = Frame { body_len, plain_len, chunk_count, codec, effort: 3 };
        let (offset, header) = (self.bytes.len(), self.changes.pass(frame.encode().to_vec()));
        let (mut frame, mut body) = (header.clone(), body);
        self.forge.seal(b'h', &nonce(&SALT, offset), &[], &mut frame);
        self.forge.seal(b'g', &nonce(&SALT, offset + frame.len()), &header, &mut body);
        self.bytes.extend([frame, body].concat());
        let sealed_len = (self.bytes.len() - offset) as u32;
        let offset = offset as u32;
        self.listed.push((GroupRow { pack: 0, offset, sealed_len, plain_len, effort: 3 }, records));
        let chunks = chunks.iter().zip(&lens).map(|((id, _), len)| (*id, *len)).collect();
        self.footer.groups.push(FooterGroup { body_len, effort: 3, chunks });
    }

    /// Puts the item stream into a pack of its own, and the archive into the repository.
    pub fn archive(&mut self, name: &str, items: &[Item]) {
        let mut stream = Vec::new();
        for item in items {
            let record = self.changes.pass(item.encode().split_off(4));
            stream.extend((record.len() as u32).to_le_bytes());
            stream.extend(record);
        }
        let items = self.stream(stream);
        self.pack(Codec::None);
        let time = Time { secs: 1_790_000_000, nanos: 0 };
        let archive = Archive {
            start: time,
            end: time,
            host: "host".to_owned(),
            user: "user".to_owned(),
            command: vec![b"garret".to_vec()],
            sources: vec![b"/d".to_vec()],
            original_len: 1 << 20,
            file_count: 3,
            ..Archive::new(name, items)
        };
        let bytes = self.envelope(Kind::Archive, archive.encode());
        self.objects.push((Key::Archive(name.to_owned()), bytes));
    }

    /// The objects, an index segment of all packs among them.
    pub fn finish(mut self) -> (Vec<(Key, Vec<u8>)>, Changes) {
        self.records.sort_by_key(|record| record.id);
        self.records.dedup_by_key(|record| record.id);
        let tables = encode_segment(&self.packs, &self.groups, &self.records);
        let bytes = self.envelope(Kind::Index, tables);
        let id = SegmentId::from_bytes(*blake3::hash(&bytes).as_bytes());
        self.objects.push((Key::Index(id), bytes));
        (self.objects, self.changes)
    }

    fn envelope(&mut self, kind: Kind, bytes: Vec<u8>) -> Vec<u8> {
        let content = self.changes.pass(bytes);
        self.changes.pass(self.forge.envelope(kind, [7; NONCE_LEN], &content))
    }
}
