//! What a client saw of a repository, and keeps outside of it. docs/format.md, "What a client saw".

use crate::archive::NAME_LEN_MAX;
use crate::id::ArchiveId;
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// Most archives that a client remembers.
pub const SEEN_MAX: usize = 1 << 14;
/// Most packs that it remembers: 4 TiB of them.
pub const SEEN_PACKS_MAX: usize = 1 << 17;
/// Most bytes of all that.
pub const SEEN_LEN_MAX: usize =
    8 + 32 + 4 + SEEN_PACKS_MAX * 8 + 4 + SEEN_MAX * (SEEN_ARCHIVE_LEN_MIN + NAME_LEN_MAX as usize);

const SEEN_ARCHIVE_LEN_MIN: usize = ArchiveId::LEN + 4 + 8 + 8 + 1;

/// How far a record of deletions had come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deletions {
    /// How many rows it ever had.
    pub count: u64,
    /// The chain of hashes over all of them.
    pub head: [u8; 32],
}

/// What a client saw of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// How far the record of deletions had come.
    pub deletions: Deletions,
    /// The first eight bytes of the ids of its packs, ascending; if there are too many, of those that come first.
    pub packs: Vec<[u8; 8]>,
    /// Its archives, those that were seen first first; also those that were lost, until their deletion is recorded.
    pub archives: Vec<SeenArchive>,
}

/// An archive that a client saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenArchive {
    /// What it is.
    pub id: ArchiveId,
    /// Where it was last.
    pub name: String,
    /// Length of its file in bytes.
    pub len: u64,
    /// When it was made, in seconds since 1970.
    pub end: i64,
    /// Whether the user was told that it is lost.
    pub is_told: bool,
}

impl Seen {
    /// The bytes inside the envelope.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u64(self.deletions.count).put(&self.deletions.head).count(self.packs.len());
        writer.put(self.packs.as_flattened()).count(self.archives.len());
        for SeenArchive { id, name, len, end, is_told } in &self.archives {
            writer.put(id.as_bytes()).bytes(name.as_bytes());
            writer.u64(*len).i64(*end).u8(u8::from(*is_told));
        }
        writer.into_bytes()
    }

    /// Decodes the opened bytes.
    ///
    /// # Errors
    /// Anything that [`encode`](Self::encode) does not make; more packs or archives than are remembered.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, "what a client saw");
        let deletions = Deletions { count: reader.u64()?, head: reader.array()? };
        let start = reader.clone();
        let count = reader.count(8)?;
        let packs = reader.take(count * 8)?.as_chunks().0.to_vec();
        if count > SEEN_PACKS_MAX || !packs.is_sorted_by(|one, next| one < next) {
            return Err(start.error(DecodeErrorKind::OutOfRange));
        }
        let start = reader.clone();
        let count = reader.count(SEEN_ARCHIVE_LEN_MIN)?;
        if count > SEEN_MAX {
            return Err(start.error(DecodeErrorKind::OutOfRange));
        }
        let mut archives = Vec::with_capacity(count);
        for _ in 0..count {
            let id = ArchiveId::from_bytes(reader.array()?);
            let at = reader.clone();
            let name = std::str::from_utf8(reader.bytes(NAME_LEN_MAX)?);
            let name = name.map_err(|_| at.error(DecodeErrorKind::OutOfRange))?.to_owned();
            let (len, end) = (reader.u64()?, reader.i64()?);
            let start = reader.clone();
            let is_told = match reader.u8()? {
                0 => false,
                1 => true,
                _ => return Err(start.error(DecodeErrorKind::OutOfRange)),
            };
            archives.push(SeenArchive { id, name, len, end, is_told });
        }
        reader.finish()?;
        Ok(Seen { deletions, packs, archives })
    }
}
