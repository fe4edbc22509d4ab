//! A damage record: a pack of which something could not be read, twice. docs/format.md, "Damage record".

use crate::archive::Time;
use crate::id::PackId;
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// Longest description in bytes.
pub const DAMAGE_LEN_MAX: u32 = 1024;

/// What the file `damaged/PACK` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamageRecord {
    /// The pack.
    pub pack: PackId,
    /// When the damage was found.
    pub found: Time,
    /// What was found, for people.
    pub what: String,
}

impl DamageRecord {
    /// The bytes inside the envelope. A description that is too long loses its end.
    pub fn encode(&self) -> Vec<u8> {
        let end = self.what.floor_char_boundary(DAMAGE_LEN_MAX as usize);
        let what = self.what.get(..end).unwrap_or_default();
        let mut writer = Writer::with_capacity(PackId::LEN + 16 + what.len());
        writer.put(self.pack.as_bytes());
        self.found.write(&mut writer);
        writer.bytes(what.as_bytes());
        writer.into_bytes()
    }

    /// Decodes the opened bytes.
    ///
    /// # Errors
    /// Anything that [`encode`](Self::encode) does not make.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, "damage record");
        let pack = PackId::from_bytes(reader.array()?);
        let found = Time::read(&mut reader)?;
        let start = reader.clone();
        let what = String::from_utf8(reader.bytes(DAMAGE_LEN_MAX)?.to_vec());
        let what = what.map_err(|_| start.error(DecodeErrorKind::OutOfRange))?;
        reader.finish()?;
        Ok(DamageRecord { pack, found, what })
    }
}
