//! Bytes from and to fixed-width little-endian fields.
//!
//! [`Reader`] takes bytes that may come from anybody: it never indexes, never panics and never allocates from a length it
//! has not compared with what is left. [`Writer`] appends to a `Vec<u8>`. A decoder ends with [`Reader::finish`], which
//! refuses trailing bytes, so that every object has exactly one encoding.

use std::fmt;

/// Why bytes could not be decoded, and where in the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The object or part of an object being decoded.
    pub what: &'static str,
    /// Offset in bytes from the start of what was given to the decoder.
    pub offset: u64,
    /// What is wrong there.
    pub kind: DecodeErrorKind,
}

/// The ways in which bytes can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeErrorKind {
    /// The bytes end before the field does.
    Truncated,
    /// Bytes follow the last field.
    TrailingBytes,
    /// Not an object of this kind, or not one of garret's.
    BadMagic,
    /// Written by a newer garret, which needs format version `.0`.
    UnsupportedVersion(u8),
    /// The object needs features this garret does not know (the unknown bits).
    UnsupportedFeatures(u32),
    /// The checksum does not match.
    BadChecksum,
    /// A value is outside its documented bounds, or fields contradict each other.
    OutOfRange,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}: {}", self.what, self.offset, self.kind)
    }
}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeErrorKind::Truncated => f.write_str("ends too early"),
            DecodeErrorKind::TrailingBytes => f.write_str("has bytes after its end"),
            DecodeErrorKind::BadMagic => f.write_str("does not begin as it should"),
            DecodeErrorKind::UnsupportedVersion(version) => {
                write!(f, "has format version {version}, which a newer garret wrote")
            }
            DecodeErrorKind::UnsupportedFeatures(bits) => {
                write!(f, "needs features {bits:#x}, which a newer garret knows")
            }
            DecodeErrorKind::BadChecksum => f.write_str("does not match its checksum"),
            DecodeErrorKind::OutOfRange => f.write_str("holds a value out of bounds"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// A cursor over untrusted bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    offset: u64,
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// A reader over all of `bytes`; errors will name `what`.
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Reader { rest: bytes, offset: 0, what }
    }

    /// An error of `kind` at the current offset.
    pub fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError { what: self.what, offset: self.offset, kind }
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// `Truncated` if fewer are left.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(len) {
            Some((head, tail)) => {
                self.rest = tail;
                self.offset += len as u64;
                Ok(head)
            }
            None => Err(self.error(DecodeErrorKind::Truncated)),
        }
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// As of [`take`](Self::take).
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.rest = tail;
                self.offset += N as u64;
                Ok(*head)
            }
            None => Err(self.error(DecodeErrorKind::Truncated)),
        }
    }

    /// One byte.
    ///
    /// # Errors
    /// As of [`take`](Self::take).
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A little-endian 16-bit number.
    ///
    /// # Errors
    /// As of [`take`](Self::take).
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    /// A little-endian 32-bit number.
    ///
    /// # Errors
    /// As of [`take`](Self::take).
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    /// A little-endian 64-bit number.
    ///
    /// # Errors
    /// As of [`take`](Self::take).
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A little-endian signed 64-bit number.
    ///
    /// # Errors
    /// As of [`take`](Self::take).
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_le_bytes)
    }

    /// A byte string with a 32-bit length in front, at most `max` bytes long.
    ///
    /// # Errors
    /// `OutOfRange` for a longer one; `Truncated` if fewer bytes are left than it says.
    pub fn bytes(&mut self, max: u32) -> Result<&'a [u8], DecodeError> {
        let start = self.clone();
        let len = self.u32()?;
        if len > max {
            return Err(start.error(DecodeErrorKind::OutOfRange));
        }
        self.take(len as usize)
    }

    /// A 32-bit count of records of at least `record_len` bytes each, which the bytes left can hold, so that it may size an
    /// allocation.
    ///
    /// # Errors
    /// `Truncated` if the bytes left cannot hold them.
    pub fn count(&mut self, record_len: usize) -> Result<usize, DecodeError> {
        let start = self.clone();
        let count = self.u32()? as usize;
        match count.checked_mul(record_len) {
            Some(len) if len <= self.rest.len() => Ok(count),
            _ => Err(start.error(DecodeErrorKind::Truncated)),
        }
    }

    /// `len` bytes that must be zero: room for later versions.
    ///
    /// # Errors
    /// `OutOfRange` if one is not; `Truncated` if fewer are left.
    pub fn zeros(&mut self, len: usize) -> Result<(), DecodeError> {
        let start = self.clone();
        match self.take(len)?.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(start.error(DecodeErrorKind::OutOfRange)),
        }
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// The current offset in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether every byte was read.
    ///
    /// # Errors
    /// `TrailingBytes` if any was not.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.rest.is_empty() {
            true => Ok(()),
            false => Err(self.error(DecodeErrorKind::TrailingBytes)),
        }
    }
}

/// Appends fields to a byte vector.
#[derive(Clone, Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty writer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Writer(Vec::with_capacity(capacity))
    }

    /// Appends bytes as they are.
    pub fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.put(&[value])
    }

    /// Appends a little-endian 16-bit number.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    /// Appends a little-endian 32-bit number.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    /// Appends a little-endian 64-bit number.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    /// Appends a little-endian signed 64-bit number.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    /// Appends a byte string with its 32-bit length in front. Callers keep strings within the bounds of the format, all
    /// far below 4 GiB.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).put(bytes)
    }

    /// Appends a 32-bit count.
    ///
    /// # Panics
    /// If the count does not fit: every list in the format is bounded far below 2^32.
    pub fn count(&mut self, count: usize) -> &mut Self {
        self.u32(u32::try_from(count).expect("lists in the format are bounded below 2^32"))
    }

    /// The bytes written so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The finished bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_bytes_is_refused_before_anything_is_taken() {
        let mut reader = Reader::new(&[0xff, 0xff, 0xff, 0x7f, 1, 2], "test");
        assert_eq!(reader.clone().bytes(10).unwrap_err().kind, DecodeErrorKind::OutOfRange);
        assert_eq!(reader.clone().bytes(u32::MAX).unwrap_err().kind, DecodeErrorKind::Truncated);
        assert_eq!(reader.count(1).unwrap_err().kind, DecodeErrorKind::Truncated);
    }

    #[test]
    fn trailing_bytes_are_refused_with_their_offset() {
        let mut reader = Reader::new(&[1, 2, 3], "test");
        reader.u16().unwrap();
        let error = reader.finish().unwrap_err();
        assert_eq!((error.offset, error.kind), (2, DecodeErrorKind::TrailingBytes));
    }
}
