//! The repository's configuration: what init decided and what never changes. docs/format.md, "config".
//!
//! The file is not sealed, because it says how to open the rest; every key slot is bound to its hash instead.

use crate::id::RepositoryId;
use crate::object::Kind;
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// Length in bytes of an encoded configuration.
pub const CONFIG_LEN: usize = 116;
/// Chunk sizes are multiples of a page: the cutters need it.
const CHUNK_LEN_UNIT: u32 = 4096;
/// Largest chunk size a repository may ask for: 1 MiB. Bounds every buffer on both paths.
pub const CHUNK_LEN_MAX: u32 = 1 << 20;
/// Largest group of chunks, before compression: 16 MiB. Bounds what opening one group allocates.
pub const GROUP_LEN_MAX: u32 = 16 << 20;
/// Largest pack target: 1 GiB. Offsets in packs are 32-bit.
pub const PACK_LEN_MAX: u32 = 1 << 30;

/// What encrypts boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// XChaCha20-Poly1305: fast on any processor.
    XChaCha20Poly1305,
    /// AES-256-GCM, with a key of its own for each salt: faster where the processor has instructions for it.
    Aes256Gcm,
}

/// Where the key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyMode {
    /// There is none.
    None,
    /// In slots in the repository, under passphrases.
    Passphrase,
    /// In a file outside the repository.
    Keyfile,
}

/// Bits that say who may do what with a repository; a bit this garret does not know forbids the act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Needed to read.
    pub read: u32,
    /// Needed to add archives.
    pub write: u32,
    /// Needed to delete anything.
    pub delete: u32,
}

/// The decoded configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Random, made by init.
    pub repository: RepositoryId,
    /// Features in use; none are defined yet.
    pub features: Features,
    /// What encrypts boxes. None in an unencrypted repository: the tag is a truncated BLAKE3 that finds damage and stops
    /// nobody.
    pub cipher: Option<Cipher>,
    /// Where the key is.
    pub key_mode: KeyMode,
    /// Smallest chunk in bytes, but for the end of a data extent.
    pub chunk_min: u32,
    /// Chunk size in bytes that the cutters aim at.
    pub chunk_target: u32,
    /// Largest chunk in bytes.
    pub chunk_max: u32,
    /// Bytes of chunks, before compression, at which a group is full.
    pub group_len: u32,
    /// Bytes at which a pack is full.
    pub pack_len: u32,
    /// When init ran, in seconds since 1970.
    pub created: i64,
}

impl Config {
    /// The bytes of the file `config`.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(CONFIG_LEN);
        writer
            .put(&Kind::Config.header())
            .put(self.repository.as_bytes())
            .u32(self.features.read)
            .u32(self.features.write)
            .u32(self.features.delete)
            .u8(match self.cipher {
                None => 0,
                Some(Cipher::XChaCha20Poly1305) => 1,
                Some(Cipher::Aes256Gcm) => 2,
            })
            .u8(match self.key_mode {
                KeyMode::None => 0,
                KeyMode::Passphrase => 1,
                KeyMode::Keyfile => 2,
            })
            .u16(0)
            .u32(self.chunk_min)
            .u32(self.chunk_target)
            .u32(self.chunk_max)
            .u32(self.group_len)
            .u32(self.pack_len)
            .i64(self.created);
        let checksum = blake3::hash(writer.as_bytes());
        writer.put(checksum.as_bytes());
        writer.into_bytes()
    }

    /// Reads and checks the file `config`.
    ///
    /// # Errors
    /// `BadMagic` or `UnsupportedVersion`; then damage (`Truncated`, `TrailingBytes`, `BadChecksum`), then
    /// `UnsupportedFeatures`, so that what a feature changes in the other fields is told as the feature and not as nonsense;
    /// then `OutOfRange`.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, "config");
        Kind::Config.expect(&mut reader)?;
        let repository = RepositoryId::from_bytes(reader.array()?);
        let bits = reader.clone();
        let features =
            Features { read: reader.u32()?, write: reader.u32()?, delete: reader.u32()? };
        let modes = reader.clone();
        let (cipher, key_mode, zero) = (reader.u8()?, reader.u8()?, reader.u16()?);
        let sizes = reader.clone();
        let [chunk_min, chunk_target, chunk_max, group_len, pack_len] =
            [reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?];
        let created = reader.i64()?;
        let end = reader.clone();
        let checksum: [u8; 32] = reader.array()?;
        reader.finish()?;
        let body = bytes.get(..CONFIG_LEN - 32).unwrap_or_default();
        if blake3::hash(body) != checksum {
            return Err(end.error(DecodeErrorKind::BadChecksum));
        }
        if features.read != 0 {
            return Err(bits.error(DecodeErrorKind::UnsupportedFeatures(features.read)));
        }
        let refused = || modes.error(DecodeErrorKind::OutOfRange);
        let cipher = match cipher {
            0 => None,
            1 => Some(Cipher::XChaCha20Poly1305),
            2 => Some(Cipher::Aes256Gcm),
            _ => return Err(refused()),
        };
        let key_mode = match (key_mode, cipher, zero) {
            (0, None, 0) => KeyMode::None,
            (1, Some(_), 0) => KeyMode::Passphrase,
            (2, Some(_), 0) => KeyMode::Keyfile,
            _ => return Err(refused()),
        };
        let config = Config {
            repository,
            features,
            cipher,
            key_mode,
            chunk_min,
            chunk_target,
            chunk_max,
            group_len,
            pack_len,
            created,
        };
        match config.sizes_are_sane() {
            true => Ok(config),
            false => Err(sizes.error(DecodeErrorKind::OutOfRange)),
        }
    }

    fn sizes_are_sane(&self) -> bool {
        [self.chunk_min, self.chunk_target, self.chunk_max]
            .iter()
            .all(|len| len.is_multiple_of(CHUNK_LEN_UNIT))
            && 0 < self.chunk_min
            && self.chunk_min <= self.chunk_target
            && self.chunk_target <= self.chunk_max
            && self.chunk_max <= CHUNK_LEN_MAX
            && self.chunk_max <= self.group_len
            && self.group_len <= GROUP_LEN_MAX
            && self.group_len <= self.pack_len
            && self.pack_len <= PACK_LEN_MAX
    }
}
