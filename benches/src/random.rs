//! Bytes that are the same everywhere: xorshift64*, and text-like data made of it.
//!
//! In: a seed. Out: bytes. Not for secrets.

/// A generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of this seed.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// `len` bytes that do not compress.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            (0..len.div_ceil(8)).flat_map(|_| self.word().to_le_bytes()).collect();
        bytes.truncate(len);
        bytes
    }

    /// `len` bytes that compress about as well as the file system of a guest, to a third: words of
    /// a small vocabulary between stretches of noise.
    pub fn text(&mut self, len: usize) -> Vec<u8> {
        let words: Vec<Vec<u8>> = (0..512).map(|n| self.bytes(3 + n % 14)).collect();
        let mut text = Vec::with_capacity(len + 64);
        while text.len() < len {
            let dice = self.word();
            match words.get((dice >> 8) as usize % words.len()) {
                Some(word) if !dice.is_multiple_of(8) => text.extend_from_slice(word),
                _ => text.extend(self.bytes(12)),
            }
        }
        text.truncate(len);
        text
    }
}
