//! The byte-granular cutter: FastCDC v2020 by the `fastcdc` crate, for what is not a disk image.
//!
//! In: a data extent and a position; out: the next cut. The crate is pinned, its masks are those of
//! normalization level 1, and golden vectors (`tests/golden.rs`) hold its cuts fast. Every cut is a
//! function of the chunk's start and the bytes that follow, up to the extent's end; on that rests
//! the speculation: [`FastCdc::speculate`] cuts a segment from a guessed position, and wherever the
//! true cuts meet a guessed one, all guesses after it in that extent are true.

use fastcdc::v2020::{Normalization, cut_gear, get_gear_with_seed, select_masks};

use crate::{Sizes, zero::ZeroRuns};

/// Steps after which the masked bits of the gear hash are those of the 64 bytes before: the hash
/// shifts left by one each byte, so a byte's part in it has left the word after 64.
const WARM_UP: usize = 64;

/// Cuts wherever a rolling hash of the bytes says so: FastCDC v2020, normalization level 1.
#[derive(Clone)]
pub struct FastCdc {
    sizes: Sizes,
    gear: Box<[u64; 256]>,
    /// `gear` shifted left by one: the crate takes bytes in pairs.
    gear_ls: Box<[u64; 256]>,
    /// Masks of the hash before and after the target size: 17 and 15 bits at 64 KiB.
    strict: u64,
    loose: u64,
}

impl FastCdc {
    /// A cutter with a secret gear table, or with the crate's own (`None`).
    ///
    /// # Errors
    /// A given table is refused if it cuts in a run of one byte value: then such runs (erased
    /// flash, padding) fall into chunks of about `min` and cost up to 16 times the index. Of random
    /// tables 10 % are refused at 16/64/256 KiB, 31 % at 4/16/64 and 99.5 % at 4/4/8, so derive
    /// another until one is taken, without a small limit on the tries.
    pub fn new(sizes: Sizes, gear: Option<Box<[u64; 256]>>) -> Result<FastCdc, GearTableError> {
        let keyed = gear.is_some();
        let gear = gear.unwrap_or_else(default_gear);
        let gear_ls = Box::new(gear.map(|entry| entry << 1));
        let (strict, loose) = select_masks(sizes.target(), Normalization::Level1);
        let cutter = FastCdc { sizes, gear, gear_ls, strict, loose };
        match (0..=u8::MAX).find(|&byte| keyed && cutter.cuts_constant(byte)) {
            Some(byte) => Err(GearTableError { byte }),
            None => Ok(cutter),
        }
    }

    pub(crate) fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// The table and the masks, for the reference.
    pub(crate) fn gear(&self) -> (&[u64; 256], u64, u64) {
        (&self.gear, self.strict, self.loose)
    }

    /// Whether an endless run of `byte` is cut before `max`. After the warm-up the hash stands
    /// still (at minus the table's entry), so that one test per mask decides for the rest. Sizes
    /// are whole pages: each of the two zones is either empty or longer than the warm-up.
    fn cuts_constant(&self, byte: u8) -> bool {
        let has_strict = self.sizes.min() < self.sizes.target();
        let has_loose = self.sizes.target() < self.sizes.max();
        let first = if has_strict { self.strict } else { self.loose };
        let mut hash = 0u64;
        for _ in 0..WARM_UP {
            hash = (hash << 1).wrapping_add(self.gear[usize::from(byte)]);
            if hash & first == 0 && (has_strict || has_loose) {
                return true;
            }
        }
        has_loose && hash & self.loose == 0
    }

    /// The end of the chunk that starts at `start` of the data extent that ends at `extent_end`,
    /// which is greater. Both are offsets in `bytes`.
    pub(crate) fn cut(&self, bytes: &[u8], start: usize, extent_end: usize) -> usize {
        let window = &bytes[start..extent_end];
        let (_, len) = cut_gear(
            window,
            self.sizes.min(),
            self.sizes.target(),
            self.sizes.max(),
            self.strict,
            self.loose,
            self.strict << 1,
            self.loose << 1,
            &*self.gear,
            &*self.gear_ls,
        );
        start + len
    }

    /// The cuts of all data extents as if a chunk started at the start of each: for each extent its
    /// start, then every cut up to the extent's end or the first one not in `..own`. Ascending.
    pub(crate) fn speculate(&self, bytes: &[u8], own: usize, zero: &ZeroRuns) -> Vec<usize> {
        let mut cuts = Vec::with_capacity(own / self.sizes.target() + 2);
        for extent in zero.extents(bytes.len()).take_while(|extent| extent.start < own) {
            let mut at = extent.start;
            cuts.push(at);
            while at < extent.end.min(own) {
                at = self.cut(bytes, at, extent.end);
                cuts.push(at);
            }
        }
        cuts
    }
}

/// What [`FastCdc::cut`] gives, looked up if `start` is among the speculative cuts. The extent ends
/// of `cuts` are never looked up: a zero run starts there, not a chunk.
pub(crate) fn adopt(cuts: &[usize], start: usize, extent_end: usize) -> Option<usize> {
    let index = cuts.binary_search(&start).ok()?;
    cuts.get(index + 1).copied().filter(|&end| end <= extent_end)
}

impl std::fmt::Debug for FastCdc {
    /// Without the gear table, which may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FastCdc").field("sizes", &self.sizes).finish_non_exhaustive()
    }
}

/// The table of the FastCDC papers, which the crate hands out as "seed 0".
fn default_gear() -> Box<[u64; 256]> {
    let (table, _) = get_gear_with_seed(0);
    let mut gear = Box::new([0; 256]);
    for (to, from) in gear.iter_mut().zip(table.iter()) {
        *to = *from;
    }
    gear
}

/// A gear table that cuts in a run of one byte value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GearTableError {
    /// The lowest such byte value.
    pub byte: u8,
}

impl std::fmt::Display for GearTableError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "gear table cuts in runs of byte {:#04x}", self.byte)
    }
}

impl std::error::Error for GearTableError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_table_is_the_crates_and_passes_its_own_check() {
        let cutter = FastCdc::new(Sizes::default(), None).unwrap();
        assert_eq!(cutter.gear_ls[..], get_gear_with_seed(0).1[..]);
        assert!(FastCdc::new(Sizes::default(), Some(cutter.gear)).is_ok());
    }

    /// The quick test of a table against really cutting a constant run of each byte value.
    #[test]
    fn tables_that_cut_constant_runs_are_refused_and_no_others() {
        let mut state = 1u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.wrapping_mul(0x2545_f491_4f6c_dd1d)
        };
        let page = crate::PAGE;
        let mut refused = 0;
        for sizes in [(1, 2, 4), (2, 2, 4), (1, 4, 4), (3, 3, 3)] {
            let sizes = Sizes::new(sizes.0 * page, sizes.1 * page, sizes.2 * page).unwrap();
            for _ in 0..20 {
                let gear = Box::new([(); 256].map(|()| random()));
                let result = FastCdc::new(sizes, Some(gear.clone())).map(|_| ());
                let mut cutter = FastCdc::new(sizes, None).unwrap();
                (cutter.gear_ls, cutter.gear) = (Box::new(gear.map(|entry| entry << 1)), gear);
                let cuts = |byte| cutter.cut(&vec![byte; sizes.max()], 0, sizes.max());
                let first = (0..=255).find(|&byte| cuts(byte) < sizes.max());
                assert_eq!(result, first.map_or(Ok(()), |byte| Err(GearTableError { byte })));
                refused += usize::from(result.is_err());
            }
        }
        assert!((5..75).contains(&refused), "{refused} of 80");
    }
}
