//! Data that compresses like a guest's.

use garret_random::Random;

/// `len` bytes that compress about as well as the file system of a guest, to a third: words of
/// a small vocabulary between stretches of noise.
pub fn text(random: &mut Random, len: usize) -> Vec<u8> {
    let words: Vec<Vec<u8>> = (0..512).map(|n| random.bytes(3 + n % 14)).collect();
    let mut text = Vec::with_capacity(len + 64);
    while text.len() < len {
        let dice = random.word();
        match words.get((dice >> 8) as usize % words.len()) {
            Some(word) if !dice.is_multiple_of(8) => text.extend_from_slice(word),
            _ => text.extend(random.bytes(12)),
        }
    }
    text.truncate(len);
    text
}
