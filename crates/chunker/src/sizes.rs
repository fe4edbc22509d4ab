//! The checked chunk sizes: three numbers of bytes in, [`Sizes`] or the reason why not out.
//!
//! A [`Sizes`] that exists satisfies both cutters, so nothing behind it checks again: the `fastcdc`
//! crate tests its bounds only in debug builds and cuts wrongly beyond them (odd sizes).

use crate::PAGE;

/// The largest `max`, 1 MiB: bounds the lookahead and thus the memory of every segment in flight.
const MAX_LIMIT: usize = 1 << 20;

// Multiples of a page up to 1 MiB are even and inside all ranges that fastcdc demands.
const _: () = {
    use fastcdc::v2020::{AVERAGE_MAX, AVERAGE_MIN, MAXIMUM_MAX, MAXIMUM_MIN, MINIMUM_MAX};
    assert!(PAGE >= fastcdc::v2020::MINIMUM_MIN && MAX_LIMIT <= MINIMUM_MAX);
    assert!(PAGE >= AVERAGE_MIN && MAX_LIMIT <= AVERAGE_MAX);
    assert!(PAGE >= MAXIMUM_MIN && MAX_LIMIT <= MAXIMUM_MAX);
};

/// Chunk sizes in bytes: multiples of [`PAGE`], `PAGE <= min <= target <= max <= 1 MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    min: usize,
    target: usize,
    max: usize,
}

impl Sizes {
    /// Checks and keeps the three sizes, in bytes.
    ///
    /// # Errors
    /// `Unaligned` for one that is no multiple of [`PAGE`]; `MinZero`; `OutOfOrder` unless `min <= target <= max`;
    /// `MaxTooLarge` above 1 MiB.
    pub const fn new(min: usize, target: usize, max: usize) -> Result<Sizes, SizesError> {
        if !min.is_multiple_of(PAGE) || !target.is_multiple_of(PAGE) || !max.is_multiple_of(PAGE) {
            return Err(SizesError::Unaligned);
        }
        if min == 0 {
            return Err(SizesError::MinZero);
        }
        if min > target || target > max {
            return Err(SizesError::OutOfOrder);
        }
        if max > MAX_LIMIT {
            return Err(SizesError::MaxTooLarge);
        }
        Ok(Sizes { min, target, max })
    }

    /// No chunk is shorter, unless its data extent ends.
    pub const fn min(&self) -> usize {
        self.min
    }

    /// Where the strict test gives way to the loose one; mean chunks are about 1.2 times as long.
    pub const fn target(&self) -> usize {
        self.target
    }

    /// No chunk is longer.
    pub const fn max(&self) -> usize {
        self.max
    }
}

impl Default for Sizes {
    /// 16/64/256 KiB: half the size saves 6 % of the data and doubles the index.
    fn default() -> Sizes {
        Sizes { min: 16 << 10, target: 64 << 10, max: 256 << 10 }
    }
}

/// Why three numbers are not [`Sizes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SizesError {
    /// A size is not a multiple of [`PAGE`].
    Unaligned,
    /// The minimum is zero, less than one page.
    MinZero,
    /// Not `min <= target <= max`.
    OutOfOrder,
    /// The maximum is above 1 MiB.
    MaxTooLarge,
}

impl std::fmt::Display for SizesError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SizesError::Unaligned => "chunk sizes must be multiples of 4 KiB",
            SizesError::MinZero => "minimum chunk size must be at least 4 KiB",
            SizesError::OutOfOrder => "chunk sizes must be ordered minimum <= target <= maximum",
            SizesError::MaxTooLarge => "maximum chunk size must be at most 1 MiB",
        })
    }
}

impl std::error::Error for SizesError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked_at_each_bound() {
        let kib = |a: usize, b: usize, c: usize| Sizes::new(a << 10, b << 10, c << 10);
        assert_eq!(kib(16, 64, 256), Ok(Sizes::default()));
        assert!(kib(4, 4, 4).is_ok());
        assert!(kib(1024, 1024, 1024).is_ok());
        assert_eq!(kib(0, 64, 256), Err(SizesError::MinZero));
        assert_eq!(kib(68, 64, 256), Err(SizesError::OutOfOrder));
        assert_eq!(kib(16, 260, 256), Err(SizesError::OutOfOrder));
        assert_eq!(kib(16, 64, 1028), Err(SizesError::MaxTooLarge));
        for (min, target, max) in [(16385, 65536, 262144), (16384, 65538, 262144), (4096, 4096, 1)]
        {
            assert_eq!(Sizes::new(min, target, max), Err(SizesError::Unaligned));
        }
        assert!(Sizes::new(usize::MAX, usize::MAX, usize::MAX).is_err());
    }
}
