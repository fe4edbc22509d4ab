//! Packs that no segment of the repository covers: a session that died wrote them, or one that is at work.
//!
//! In: the index, which knows them by their footers. Out: their rows, to be stored in a segment. Promises: no segment comes
//! to list a pack that gc is about to delete.

use std::sync::Arc;

use garret_format::index::PackRow;

use super::{Index, Rows, Segment};
use crate::error::Result;

impl Index {
    /// Takes out the packs that no segment of the repository covers, so that a writer can store them in one. Condemned ones
    /// stay: they may go at any moment.
    pub(crate) fn take_unstored(&mut self) -> Result<Vec<Rows>> {
        let unstored = self.remove_unstored();
        let is_condemned = |pack: &PackRow| self.condemned.contains(&pack.id);
        let (left, taken): (Vec<Rows>, Vec<Rows>) = unstored
            .into_iter()
            .map(|rows| {
                let left = rows.clone().keep_packs(is_condemned);
                (left, rows.keep_packs(|pack| !is_condemned(pack)))
            })
            .unzip();
        let has_packs = |rows: &Rows| !rows.packs.is_empty();
        for rows in left.into_iter().filter(has_packs) {
            self.add(rows, None)?;
        }
        Ok(taken.into_iter().filter(has_packs).collect())
    }

    /// Forgets the packs that no segment of the repository covers, and gives what was known of them.
    pub(super) fn remove_unstored(&mut self) -> Vec<Rows> {
        let unstored: Vec<Arc<Segment>> =
            self.segments.extract_if(.., |segment| segment.sources.is_empty()).collect();
        let rows = unstored.iter().map(|segment| {
            self.cache.remove(segment);
            Rows::from_tables(&segment.tables())
        });
        rows.collect()
    }

    /// The packs that no segment of the repository covers.
    pub(crate) fn unstored(&self) -> Vec<Rows> {
        let unstored = self.segments.iter().filter(|segment| segment.sources.is_empty());
        unstored.map(|segment| Rows::from_tables(&segment.tables())).collect()
    }
}
