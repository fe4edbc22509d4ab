//! Packs that no segment covers, read from their footers.
//!
//! In: which. Out: the index knows what is in them, or that it does not. Promises: one that cannot be read is told of, each
//! or, where they are cold, all in one line; nothing that was read when something was not listed stays in the client's copy.

use std::collections::HashSet;

use garret_format::PackId;
use garret_format::index::SEGMENT_CHUNKS_MAX;

use super::listing::{Cut, Listing};
use super::{Index, IndexSource, Rows};
use crate::error::{Error, Result};
use crate::progress::{Phase, Problem, Progress};
use crate::store::{Key, StoreError, StoreErrorKind};

impl Index {
    /// Adds the packs that no segment covers; `otherwise` are listed in another length than they have.
    pub(super) fn load_footers(
        &mut self,
        source: &IndexSource<'_>,
        stored: &Listing,
        missing: HashSet<PackId>,
        otherwise: &HashSet<PackId>,
        progress: &dyn Progress,
    ) -> Result<()> {
        self.lacks_cold = false;
        if missing.is_empty() {
            return Ok(());
        }
        let task = progress.begin(Phase::Index, Some(missing.len() as u64));
        let mut missing: Vec<PackId> = missing.into_iter().collect();
        missing.sort_unstable();
        let (mut rows, mut cut, mut unread) = (Rows::default(), Cut::default(), 0);
        for id in missing {
            task.advance(1);
            if source.packs.is_foreign(id) {
                continue;
            }
            let len = stored.lens.get(&id).copied().unwrap_or(0);
            let footer = source.packs.footer(id, len);
            let is_cold = source.packs.store.is_cold(&Key::Pack(id));
            if self.condemned.contains(&id) && is_gone(&footer) {
                continue;
            }
            // What passes is told of as ever.
            let is_refused = |error: &StoreError| {
                matches!(error.kind, StoreErrorKind::Denied | StoreErrorKind::Other)
            };
            if is_cold && matches!(&footer, Err(Error::Store(error)) if is_refused(error)) {
                self.is_whole = false;
                unread += 1;
                continue;
            }
            self.is_whole &= footer.is_ok();
            let read = footer.or_else(|error| match error {
                // Storage that fails now may show the footer later: the pack stays unknown until then.
                Error::Store(error) if error.kind != StoreErrorKind::WrongLength => {
                    Err(error.into())
                }
                error => {
                    match otherwise.contains(&id) {
                        true => cut.add(id),
                        false => progress.problem(&Problem::from(&error)),
                    }
                    source.packs.salvage(id, source.hasher)
                }
            });
            match read {
                Ok((pack, footer)) => rows.push(pack, &footer),
                Err(error) => progress.problem(&Problem::from(&error)),
            }
            if rows.records.len() >= SEGMENT_CHUNKS_MAX {
                self.add(std::mem::take(&mut rows), None)?;
            }
        }
        if !rows.packs.is_empty() {
            self.add(rows, None)?;
        }
        drop(task);
        cut.tell(progress);
        self.tell_unread(unread, progress);
        Ok(())
    }

    /// Cold packs could not be read that no segment lists.
    fn tell_unread(&mut self, unread: u64, progress: &dyn Progress) {
        self.lacks_cold = unread > 0;
        if self.lacks_cold {
            // A segment may have been read when one of its packs was not in the listing: the next time all are read again.
            self.segments.iter().for_each(|segment| self.cache.remove(segment));
            progress.notice(&format!(
                "note: packs in the second place that the index does not list and that cannot be read now: {unread}; a \
                 backup that broke off left them, or the index is damaged: check it"
            ));
        }
    }
}

fn is_gone<T>(read: &Result<T>) -> bool {
    matches!(read, Err(Error::Store(error)) if error.kind == StoreErrorKind::NotFound)
}
