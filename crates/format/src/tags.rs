//! A tag record: what the tags of an archive are since they were changed, and whether it is protected. docs/format.md, "Tag
//! record".

use std::collections::BTreeSet;

use crate::archive::{TAG_LEN_MAX, TAGS_MAX, read_tags, write_tags};
use crate::id::ArchiveHash;
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// Longest record in bytes, before sealing.
pub const TAG_RECORD_LEN_MAX: usize = ArchiveHash::LEN + 5 + TAGS_MAX * (4 + TAG_LEN_MAX as usize);

/// What the file `tags/HASH` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRecord {
    /// The archive.
    pub archive: ArchiveHash,
    /// Whether it may not be deleted.
    pub protected: bool,
    /// Its tags, in place of those that it was made with.
    pub tags: BTreeSet<String>,
}

impl TagRecord {
    /// The bytes inside the envelope.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.put(self.archive.as_bytes()).u8(u8::from(self.protected));
        write_tags(&mut writer, &self.tags);
        writer.into_bytes()
    }

    /// Decodes the opened bytes.
    ///
    /// # Errors
    /// Anything that [`encode`](Self::encode) does not make of at most [`TAGS_MAX`] tags that may be.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, "tag record");
        let archive = ArchiveHash::from_bytes(reader.array()?);
        let start = reader.clone();
        let protected = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(start.error(DecodeErrorKind::OutOfRange)),
        };
        let tags = read_tags(&mut reader)?;
        reader.finish()?;
        Ok(TagRecord { archive, protected, tags })
    }
}
