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
    /// Pack of chunks of files.
    Pack = b'P',
    /// Pack of what archives are made of: items, nodes of recipes, layouts.
    StructurePack = b'N',
    /// Index segment.
    Index = b'I',
    /// Archive.
    Archive = b'A',
    /// Damage record.
    Damage = b'D',
    /// The record of verified packs.
    Verified = b'V',
    /// The record of condemned packs.
    Condemned = b'G',
    /// The record of what was deleted.
    Tombstones = b'T',
    /// What an archive is tagged with, and whether it is protected.
    Tags = b'R',
    /// The mark that packs of files lie in a second place, and of that.
    Cold = b'O',
    /// The client's own copy of the index; never stored in a repository.
    LocalIndex = b'L',
    /// What a client saw; never stored in a repository.
    Seen = b'S',
}

impl Kind {
    /// What errors call an object of this kind.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Config => "config",
            Kind::Slot => "key slot",
            Kind::Pack => "pack",
            Kind::StructurePack => "structure pack",
            Kind::Index => "index segment",
            Kind::Archive => "archive",
            Kind::Damage => "damage record",
            Kind::Verified => "record of verified packs",
            Kind::Condemned => "record of condemned packs",
            Kind::Tombstones => "record of deletions",
            Kind::Tags => "tag record",
            Kind::Cold => "mark of a second place",
            Kind::LocalIndex => "local index",
            Kind::Seen => "what a client saw",
        }
    }

    /// The eight bytes that begin a file of this kind.
    pub fn header(self) -> [u8; HEADER_LEN] {
        let [g, a, r, r2, e, t] = *b"garret";
        [g, a, r, r2, e, t, self as u8, VERSION]
    }

    /// Whether a file that begins with `start`, its first eight bytes or all it has, was never an object of this kind: more
    /// than three in eight of them are not as [`Kind::header`] has them. What is empty, or nothing but 00 or ff, is what a
    /// broken disk leaves, so it may have been one.
    pub fn is_foreign(self, start: &[u8]) -> bool {
        let start = start.get(..HEADER_LEN).unwrap_or(start);
        let erased = [0, 0xff].iter().any(|erased| start.iter().all(|byte| byte == erased));
        let differing =
            start.iter().zip(self.header()).filter(|(found, wanted)| *found != wanted).count();
        !erased && differing * 8 > start.len() * 3
    }

    /// Reads the eight bytes.
    ///
    /// # Errors
    /// `BadMagic` for anything else, `UnsupportedVersion` for the same kind in another version, `Truncated` for fewer bytes.
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

/// A file that is one sealed box: index segment, archive, damage record, records of verified and condemned packs, of
/// deletions and of tags, what a client saw.
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
    ///
    /// # Errors
    /// As of [`Kind::expect`]; `Truncated` if there is no room for a nonce and a tag.
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

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 13] = [
        Kind::Config,
        Kind::Slot,
        Kind::Pack,
        Kind::StructurePack,
        Kind::Index,
        Kind::Archive,
        Kind::Damage,
        Kind::Verified,
        Kind::Condemned,
        Kind::Tombstones,
        Kind::Tags,
        Kind::LocalIndex,
        Kind::Seen,
    ];

    #[test]
    fn one_or_two_damaged_bytes_make_nothing_foreign() {
        for kind in KINDS {
            let header = kind.header();
            for (first, second) in
                (0..HEADER_LEN).flat_map(|a| (a..HEADER_LEN).map(move |b| (a, b)))
            {
                for (one, two) in (0..=u8::MAX).map(|byte| (byte, byte.rotate_left(3) ^ 0x5a)) {
                    let mut bytes = header;
                    (bytes[first], bytes[second]) = (one, two);
                    assert!(!kind.is_foreign(&bytes), "{kind:?} {bytes:02x?}");
                }
            }
            for other in KINDS {
                assert!(!kind.is_foreign(&other.header()), "{kind:?} {other:?}");
            }
        }
    }

    #[test]
    fn what_is_cut_off_or_erased_is_not_foreign() {
        for kind in KINDS {
            let header = kind.header();
            for len in 0..=HEADER_LEN {
                assert!(!kind.is_foreign(&header[..len]), "{kind:?} {len}");
            }
            for len in 0..20 {
                assert!(!kind.is_foreign(&vec![0; len]) && !kind.is_foreign(&vec![0xff; len]));
            }
            for (flipped, len) in (3..HEADER_LEN).flat_map(|len| (0..len).map(move |at| (at, len)))
            {
                let mut bytes = header;
                bytes[flipped] ^= 0x20;
                assert!(!kind.is_foreign(&bytes[..len]), "{kind:?} {flipped} of {len}");
            }
        }
    }

    #[test]
    fn what_others_write_is_foreign() {
        for text in
            ["thumb\n", "x", "no", "note", "\x7fELF\x02\x01\x01", "#!/bin/sh", "\0\0\0\x01Bud1"]
        {
            assert!(Kind::Archive.is_foreign(text.as_bytes()), "{text:?}");
        }
        assert!(Kind::Pack.is_foreign(b"PK\x03\x04.... and more"));
    }
}
