//! Numbers and bytes that follow from a seed, for the tests and benches of every crate. Dev only: not for secrets.
//!
//! In: a seed. Out: the same everywhere and forever: the repositories of older versions in `tests/golden` rely on it. The
//! committed cuts of the chunker rely on a generator of their own, in its tests.
#![forbid(unsafe_code)]

/// A generator: splitmix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers that follow from `seed`.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    ///
    /// # Panics
    /// If `end` is zero or negative.
    pub fn below<N: TryFrom<u64>>(&mut self, end: N) -> N
    where
        u64: TryFrom<N>,
    {
        let below = u64::try_from(end).ok().and_then(|end| self.word().checked_rem(end));
        below.and_then(|number| N::try_from(number).ok()).expect("the end is above zero")
    }

    /// Bytes that do not compress.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            (0..len.div_ceil(8)).flat_map(|_| self.word().to_le_bytes()).collect();
        bytes.truncate(len);
        bytes
    }

    /// The same without a single zero: what is read as zero was not written.
    pub fn bytes_without_zero(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.word() % 255) as u8 + 1).collect()
    }

    /// Bytes that compress like text.
    pub fn text(&mut self, len: usize) -> Vec<u8> {
        const WORDS: [&str; 8] = [
            "error ",
            "INFO: ",
            "kernel[1]: ",
            "eth0 ",
            "2026-11-23T",
            "started.\n",
            "/usr/lib/",
            "0x7f",
        ];
        let mut bytes = Vec::with_capacity(len + 16);
        while bytes.len() < len {
            bytes.extend_from_slice(WORDS[self.below(8)].as_bytes());
            bytes.push(b'0' + self.below(10) as u8);
        }
        bytes.truncate(len);
        bytes
    }

    /// Puts items into another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        (1..items.len()).rev().for_each(|at| items.swap(at, self.below(at + 1)));
    }
}
