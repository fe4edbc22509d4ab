//! A key slot: the repository's master key, wrapped under a passphrase. docs/format.md, "Key slot".
//!
//! The same bytes stand in the repository or in a key file outside it. Everything before the wrapped key is associated data
//! of the wrapping. The checksum tells damage from a wrong passphrase.

use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::archive::is_unseen;
use crate::id::{RepositoryId, SlotId};
use crate::object::Kind;
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// Length in bytes of an encoded slot.
pub const SLOT_LEN: usize = 320;
/// Length in bytes of the part that is associated data of the wrapped key.
const BOUND_LEN: usize = 232;
/// Argon2 memory in KiB that a slot may ask for: 1 GiB. Storage must not make a client allocate more.
pub const KDF_MEMORY_KIB_MAX: u32 = 1 << 20;
/// Argon2 passes that a slot may ask for: with the most memory some seconds of a core.
pub const KDF_PASSES_MAX: u32 = 4;
/// Argon2 lanes that a slot may ask for.
pub const KDF_LANES_MAX: u32 = 64;

/// Longest label of a slot in bytes.
pub const LABEL_LEN_MAX: usize = 64;

/// How the key that wraps the master key is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kdf {
    /// From the salt alone: the slot itself is the secret (a key file without passphrase).
    Blank,
    /// Argon2id, version 0x13, of the passphrase.
    Argon2id {
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over the memory.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
}

/// What the user calls a slot: no secret, may be empty, holds no control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label(String);

impl Label {
    /// A new label.
    ///
    /// # Errors
    /// Why it can be none. What cannot be seen is kept out; a reader takes it.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        if text.len() > LABEL_LEN_MAX {
            Err("it has more than 64 bytes")
        } else if text.chars().any(|character| character.is_control() || is_unseen(character)) {
            Err("it has a character that is not seen, or turns round what is")
        } else {
            Ok(Label(text.to_owned()))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As it is stored: the text, then zeros.
    fn padded(&self) -> [u8; LABEL_LEN_MAX] {
        let mut bytes = [0; LABEL_LEN_MAX];
        bytes.iter_mut().zip(self.0.bytes()).for_each(|(place, byte)| *place = byte);
        bytes
    }

    fn stored(bytes: &[u8; LABEL_LEN_MAX]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.trim_end_matches('\0');
        (!text.contains(char::is_control)).then(|| Label(text.to_owned()))
    }
}

/// The decoded slot; the key in it is still wrapped. Without a passphrase that is no protection, so it is wiped when dropped.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct Slot {
    /// Random name of the slot.
    #[zeroize(skip)]
    pub id: SlotId,
    /// The repository it opens.
    #[zeroize(skip)]
    pub repository: RepositoryId,
    /// BLAKE3 of the repository's file `config`: a swapped or altered configuration does not open.
    pub config_hash: [u8; 32],
    /// How the wrapping key is made.
    #[zeroize(skip)]
    pub kdf: Kdf,
    /// Random salt of the KDF.
    pub salt: [u8; 32],
    /// Random nonce of the wrapping.
    pub nonce: [u8; 24],
    /// When it was made, in seconds since 1970.
    #[zeroize(skip)]
    pub created: i64,
    /// What the user calls it.
    #[zeroize(skip)]
    pub label: Label,
    /// XChaCha20-Poly1305 of the master key, tag included.
    pub wrapped: [u8; 48],
    /// Commitment to the wrapping key, which the AEAD alone does not give.
    pub commitment: [u8; 32],
}

impl Slot {
    /// The bytes that the wrapping and the commitment cover besides the key.
    pub fn bound(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::with_capacity(SLOT_LEN);
        let (kdf, memory_kib, passes, lanes) = match self.kdf {
            Kdf::Blank => (0, 0, 0, 0),
            Kdf::Argon2id { memory_kib, passes, lanes } => (1, memory_kib, passes, lanes),
        };
        writer
            .put(&Kind::Slot.header())
            .put(self.id.as_bytes())
            .put(self.repository.as_bytes())
            .put(&self.config_hash)
            .u8(kdf)
            .put(&[0; 3])
            .u32(memory_kib)
            .u32(passes)
            .u32(lanes)
            .put(&self.salt)
            .put(&self.nonce)
            .i64(self.created)
            .put(&self.label.padded());
        debug_assert_eq!(writer.as_bytes().len(), BOUND_LEN);
        Zeroizing::new(writer.into_bytes())
    }

    /// The bytes of the slot's file.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = self.bound();
        bytes.extend_from_slice(&self.wrapped);
        bytes.extend_from_slice(&self.commitment);
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    /// Reads and checks a slot.
    ///
    /// # Errors
    /// `BadMagic` or `UnsupportedVersion`; `OutOfRange` for a KDF that there is not or that asks for too little or too much,
    /// and for a label that is none; `BadChecksum`; `Truncated`; `TrailingBytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, "key slot");
        Kind::Slot.expect(&mut reader)?;
        let id = SlotId::from_bytes(reader.array()?);
        let repository = RepositoryId::from_bytes(reader.array()?);
        let config_hash = reader.array()?;
        let place = reader.clone();
        let kdf = (reader.u8()?, reader.zeros(3)?, reader.u32()?, reader.u32()?, reader.u32()?);
        let kdf = match kdf {
            (0, (), 0, 0, 0) => Kdf::Blank,
            (1, (), memory_kib, passes, lanes)
                if (1..=KDF_PASSES_MAX).contains(&passes)
                    && (1..=KDF_LANES_MAX).contains(&lanes)
                    && (8 * lanes..=KDF_MEMORY_KIB_MAX).contains(&memory_kib) =>
            {
                Kdf::Argon2id { memory_kib, passes, lanes }
            }
            _ => return Err(place.error(DecodeErrorKind::OutOfRange)),
        };
        let (salt, nonce, created) = (reader.array()?, reader.array()?, reader.i64()?);
        let place = reader.clone();
        let label = Label::stored(&reader.array()?);
        let slot = Slot {
            id,
            repository,
            config_hash,
            kdf,
            salt,
            nonce,
            created,
            label: label.ok_or_else(|| place.error(DecodeErrorKind::OutOfRange))?,
            wrapped: reader.array()?,
            commitment: reader.array()?,
        };
        let end = reader.clone();
        let found: [u8; 8] = reader.array()?;
        reader.finish()?;
        match found == checksum(bytes.get(..SLOT_LEN - 8).unwrap_or_default()) {
            true => Ok(slot),
            false => Err(end.error(DecodeErrorKind::BadChecksum)),
        }
    }
}

impl std::fmt::Debug for Slot {
    /// Without what opens it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Slot");
        shown.field("id", &self.id).field("label", &self.label);
        shown.field("repository", &self.repository).field("kdf", &self.kdf);
        shown.finish_non_exhaustive()
    }
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(bytes).as_bytes();
    [a, b, c, d, e, f, g, h]
}
