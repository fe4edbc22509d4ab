//! The page cutter: data extents in, the pages that may start a chunk out; then the cut itself.
//!
//! A cut may fall only on a page boundary. Whether a page may start a chunk is a keyed
//! pseudo-random function of a sample of that page alone, so candidates are found independently of
//! each other and of the chunk's start, and one changed page moves at most the cuts around it.
//! A page is judged once, by two nested thresholds; where the chunk starts decides which counts.

use std::ops::Range;

use siphasher::sip::SipHasher24;

use crate::{PAGE, Sizes, zero::ZeroRuns};

/// The key in repositories without encryption, where cuts must be comparable across repositories.
/// Any constant would do; readable text shows that nothing is hidden in it.
pub const PUBLIC_PAGE_KEY: [u8; 16] = *b"garret page key1";

/// Words in a sample and bytes in each: 64 bytes, hashed in a
/// fraction of the time that the page takes to come from memory.
const SAMPLE_WORDS: usize = 8;
const WORD: usize = 8;

/// Bytes from one sampled word to the next: 584, so that the words are spread evenly from the first
/// bytes of the page to the last.
///
/// Guests fill pages with tables whose records are powers of two long and whose headers are alike
/// (inodes of 256 bytes, database pages of 512 to 4096). A stride of 512 meets the same field of
/// each record; 584 = 512 + 72 meets another one each time. Of 402,489 distinct nonzero pages (two
/// guests, two nights) this told 378,671 apart; offsets 0 + 512 i: 368,176; 256 + 512 i: 362,066;
/// 504 + 512 i: 370,090; 576 i: 363,517; the first 64 bytes: 369,855; denser at the front: 375,161.
/// Neighbours that differ but look alike, which would be judged alike: 7,355; 5,732 when denser at
/// the front, 9,102 to
/// 34,278. Words are aligned, so that none straddles two cache lines.
const STRIDE: usize = (PAGE - WORD) / (SAMPLE_WORDS - 1);

/// Cuts at page boundaries that a keyed function of the page's content chooses.
///
/// At distance `d` from the chunk's start a page starts the next chunk with probability 0 for
/// `d < min`, 1/(2n) for `min <= d < target` (strict), 2/n for `target <= d < max` (loose), where n
/// is the target in pages, and always at `max`. A partial last page never does, except at `max`.
#[derive(Clone)]
pub struct PageCutter {
    sizes: Sizes,
    hasher: SipHasher24,
    /// The largest hashes that make a strict and a loose candidate; strict <= loose.
    strict_max: u64,
    loose_max: u64,
}

impl PageCutter {
    /// A cutter with a secret key, or [`PUBLIC_PAGE_KEY`].
    pub fn new(sizes: Sizes, key: [u8; 16]) -> PageCutter {
        let pages = (sizes.target() / PAGE) as u64;
        PageCutter {
            sizes,
            hasher: SipHasher24::new_with_key(&key),
            strict_max: u64::MAX / (2 * pages),
            // Targets of one and two pages: every page is a candidate.
            loose_max: (u64::MAX / pages).saturating_mul(2),
        }
    }

    pub(crate) fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// The largest hashes of strict and loose candidates, for the reference.
    pub(crate) fn thresholds(&self) -> (u64, u64) {
        (self.strict_max, self.loose_max)
    }

    /// The keyed hash of a sample, for the reference.
    pub(crate) fn hash(&self, sample: &[u8]) -> u64 {
        self.hasher.hash(sample)
    }

    /// Judges every whole page of the data extents that a chunk from `..own` could reach.
    pub(crate) fn candidates(&self, bytes: &[u8], own: usize, zero: &ZeroRuns) -> Candidates {
        let reach = bytes.len().min(own.saturating_add(self.sizes.max()));
        let (pages, _) = bytes[..reach].as_chunks::<PAGE>();
        let mut found = Candidates::with_pages(pages.len());
        for extent in zero.extents(pages.len() * PAGE) {
            // Extents start at page boundaries; runs may end behind `reach`.
            for index in extent.start / PAGE..extent.end / PAGE {
                let Some(page) = pages.get(index) else { break };
                let hash = self.hasher.hash(&sample(page));
                found.mark(index, hash <= self.strict_max, hash <= self.loose_max);
            }
        }
        found
    }

    /// The end of the chunk that starts at page boundary `start` of the data extent that ends at
    /// `extent_end`, which is greater.
    pub(crate) fn cut(&self, found: &Candidates, start: usize, extent_end: usize) -> usize {
        let forced = extent_end.min(start + self.sizes.max());
        // Only pages wholly behind `start` and before the forced end can cut.
        let pages =
            |from: usize, to: usize| (start + from) / PAGE..forced.min(start + to).div_ceil(PAGE);
        first_set(&found.strict, pages(self.sizes.min(), self.sizes.target()))
            .or_else(|| first_set(&found.loose, pages(self.sizes.target(), self.sizes.max())))
            .map_or(forced, |page| page * PAGE)
    }
}

impl std::fmt::Debug for PageCutter {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageCutter").field("sizes", &self.sizes).finish_non_exhaustive()
    }
}

/// The bytes of a page that decide: eight words, evenly spread.
fn sample(page: &[u8; PAGE]) -> [u8; SAMPLE_WORDS * WORD] {
    let mut sample = [0; SAMPLE_WORDS * WORD];
    for (i, word) in sample.as_chunks_mut::<WORD>().0.iter_mut().enumerate() {
        word.copy_from_slice(&page[i * STRIDE..i * STRIDE + WORD]);
    }
    sample
}

/// The candidate pages of one segment: one bit per page and threshold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Candidates {
    strict: Vec<u64>,
    loose: Vec<u64>,
}

impl Candidates {
    fn with_pages(pages: usize) -> Candidates {
        let words = pages.div_ceil(64);
        Candidates { strict: vec![0; words], loose: vec![0; words] }
    }

    fn mark(&mut self, page: usize, strict: bool, loose: bool) {
        self.strict[page / 64] |= u64::from(strict) << (page % 64);
        self.loose[page / 64] |= u64::from(loose) << (page % 64);
    }
}

/// The first set bit in `range`; bits that `words` does not have are clear.
fn first_set(words: &[u64], range: Range<usize>) -> Option<usize> {
    let mut at = range.start;
    while at < range.end {
        let rest = words.get(at / 64)? >> (at % 64);
        if rest != 0 {
            let bit = at + rest.trailing_zeros() as usize;
            return (bit < range.end).then_some(bit);
        }
        at = (at / 64 + 1) * 64;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_span_the_page_and_no_word_straddles_a_cache_line() {
        assert_eq!(STRIDE, 584);
        assert_eq!((SAMPLE_WORDS - 1) * STRIDE + WORD, PAGE);
        let page: [u8; PAGE] = std::array::from_fn(|i| (i / 16) as u8);
        assert_eq!(sample(&page)[..9], [0, 0, 0, 0, 0, 0, 0, 0, 36]);
        assert_eq!(sample(&page)[63], 255);
        assert!((0..SAMPLE_WORDS).all(|i| (i * STRIDE) % 64 <= 64 - WORD));
    }

    #[test]
    fn first_set_finds_bits_in_range_only() {
        let words = [1 << 63, 0, 1 | 1 << 5];
        assert_eq!(first_set(&words, 0..64), Some(63));
        assert_eq!(first_set(&words, 0..63), None);
        assert_eq!(first_set(&words, 64..128), None);
        assert_eq!(first_set(&words, 64..129), Some(128));
        assert_eq!(first_set(&words, 129..1000), Some(133));
        assert_eq!(first_set(&words, 134..1000), None);
        assert_eq!(first_set(&words, 5..5), None);
    }

    #[test]
    fn thresholds_are_nested_and_have_the_promised_odds() {
        for pages in [1, 2, 3, 16, 256] {
            let size = pages * PAGE;
            let cutter = PageCutter::new(Sizes::new(PAGE, size, size).unwrap(), PUBLIC_PAGE_KEY);
            let odds = |max: u64| max as f64 / u64::MAX as f64;
            assert!(cutter.strict_max <= cutter.loose_max);
            assert!((odds(cutter.strict_max) - 0.5 / pages as f64).abs() < 1e-9);
            assert!((odds(cutter.loose_max) - (2.0 / pages as f64).min(1.0)).abs() < 1e-9);
        }
    }

    #[test]
    fn the_key_is_not_printed() {
        let printed = format!("{:?}", PageCutter::new(Sizes::default(), [0xab; 16]));
        assert!(!printed.contains("171") && !printed.contains("ab"), "{printed}");
    }
}
