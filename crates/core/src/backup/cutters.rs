//! The two cutters of a repository, and which one a stream gets.

use garret_chunker::{Cutter, FastCdc, PageCutter, Sizes};
use garret_format::config::Config;
use garret_format::recipe::CutterKind;

use crate::error::{Error, Result};
use crate::keys::{Keys, Purpose};

/// How a cutter is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CutterChoice {
    /// `page` for disk images, `fastcdc` for everything else.
    #[default]
    Auto,
    /// One for everything.
    Always(CutterKind),
}

/// The cutters with the repository's sizes and keys.
pub(crate) struct Cutters {
    pub(crate) page: Cutter,
    pub(crate) fastcdc: Cutter,
}

impl Cutters {
    pub(crate) fn new(config: &Config, keys: &Keys) -> Result<Self> {
        let refused = |error: &dyn std::error::Error| Error::Corrupt {
            object: "config".to_owned(),
            offset: 56,
            what: error.to_string(),
        };
        let (min, target, max) = (config.chunk_min, config.chunk_target, config.chunk_max);
        let sizes = Sizes::new(min as usize, target as usize, max as usize)
            .map_err(|error| refused(&error))?;
        let fastcdc = match keys.get(Purpose::Chunker) {
            None => FastCdc::new(sizes, None).map_err(|error| refused(&error))?,
            Some(seed) => keyed_fastcdc(sizes, seed).ok_or_else(|| {
                Error::BadOption("no gear table of this key suits the chunk sizes".to_owned())
            })?,
        };
        Ok(Cutters {
            page: Cutter::Page(PageCutter::new(sizes, *keys.page())),
            fastcdc: Cutter::Fastcdc(fastcdc),
        })
    }

    /// How far beyond a window's own bytes its buffer must reach.
    pub(crate) fn lookahead(&self) -> usize {
        self.page.lookahead().max(self.fastcdc.lookahead())
    }

    pub(crate) fn get(&self, kind: CutterKind) -> &Cutter {
        match kind {
            CutterKind::Page => &self.page,
            CutterKind::Fastcdc => &self.fastcdc,
        }
    }
}

/// The first table derived from `seed` that the cutter accepts: one in ten, at the default sizes, would cut
/// constant bytes to pieces and is refused; nearly all would at the smallest.
fn keyed_fastcdc(sizes: Sizes, seed: &[u8; 32]) -> Option<FastCdc> {
    (0..=u32::from(u16::MAX)).find_map(|attempt| {
        let mut bytes = [0; 256 * 8];
        blake3::Hasher::new_derive_key("garret v1 gear table")
            .update(seed)
            .update(&attempt.to_le_bytes())
            .finalize_xof()
            .fill(&mut bytes);
        let mut table = Box::new([0; 256]);
        for (entry, bytes) in table.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *entry = u64::from_le_bytes(*bytes);
        }
        FastCdc::new(sizes, Some(table)).ok()
    })
}
