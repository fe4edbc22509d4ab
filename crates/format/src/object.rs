//! What every stored file begins with, and the envelope of the sealed ones.
//!
//! Every file starts with eight bytes: `garret`, one letter for the kind, one byte for the format version. An index segment
//! and an archive are one sealed box behind that: nonce, ciphertext, tag. docs/format.md, "Objects".

use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// The version of every object written by this garret.
pub const VERSION: u8 = 1;
/// Length in bytes of the start of every file.
pub const HEADER_LEN: usize = 8;
/// Length in bytes of the tag behind every sealed box.
pub const TAG_LEN: usize = 16;
/// Length in bytes of a nonce: 16 random bytes and a 64-bit counter.
pub const NONCE_LEN: usize = 24;
/// Bytes that an [`Envelope`] adds to its content, the tag included.
pub const ENVELOPE_LEN: usize = HEADER_LEN + NONCE_LEN + TAG_LEN;

/// The kinds of stored files. The letter also goes into the associated data of everything sealed in such a file, so that
/// an object of one kind is never accepted as one of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Repository configuration.
    Config = b'C',
    /// Key slot.
    Slot = b'K',
    /// Pack.
    Pack = b'P',
    /// Index segment.
    Index = b'I',
    /// Archive.
    Archive = b'A',
    /// The client's own copy of the index; never stored in a repository.
    LocalIndex = b'L',
}

impl Kind {
    /// What errors call an object of this kind.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Config => "config",
            Kind::Slot => "key slot",
            Kind::Pack => "pack",
            Kind::Index => "index segment",
            Kind::Archive => "archive",
            Kind::LocalIndex => "local index",
        }
    }

    /// The eight bytes that begin a file of this kind.
    pub fn header(self) -> [u8; HEADER_LEN] {
        let [g, a, r, r2, e, t] = *b"garret";
        [g, a, r, r2, e, t, self as u8, VERSION]
    }

    /// Reads the eight bytes.
    ///
    /// # Errors
    /// `BadMagic` for anything else, `UnsupportedVersion` for the same kind in another version.
    pub fn expect(self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let start = reader.clone();
        let found: [u8; HEADER_LEN] = reader.array()?;
        let [.., version] = found;
        let [.., kind, _] = found;
        if found == self.header() {
            Ok(())
        } else if found.starts_with(b"garret") && kind == self as u8 {
            Err(start.error(DecodeErrorKind::UnsupportedVersion(version)))
        } else {
            Err(start.error(DecodeErrorKind::BadMagic))
        }
    }
}

/// A file that is one sealed box: index segment, archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The nonce of the box.
    pub nonce: [u8; NONCE_LEN],
    /// Ciphertext and tag.
    pub sealed: Vec<u8>,
}

impl Envelope {
    /// The bytes of the file.
    pub fn encode(&self, kind: Kind) -> Vec<u8> {
        let mut writer = Writer::with_capacity(HEADER_LEN + NONCE_LEN + self.sealed.len());
        writer.put(&kind.header()).put(&self.nonce).put(&self.sealed);
        writer.into_bytes()
    }

    /// Takes a file of `kind` apart; the box is still sealed.
    pub fn decode(bytes: &[u8], kind: Kind) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, kind.name());
        kind.expect(&mut reader)?;
        let nonce = reader.array()?;
        if reader.left() < TAG_LEN {
            return Err(reader.error(DecodeErrorKind::Truncated));
        }
        let sealed = reader.take(reader.left())?.to_vec();
        Ok(Envelope { nonce, sealed })
    }
}
