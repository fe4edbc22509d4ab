//! A restore to nowhere: everything that is selected is read and verified.

use std::sync::Arc;

use garret_format::archive::ItemKind;

use super::links::Made;
use super::options::RestoreReport;
use super::session::{Met, Session, lossy};
use super::target::{Output, Target};
use crate::error::Result;
use crate::objects::items::ItemReader;
use crate::read::chunks::Chunks;
use crate::read::file::read_layout;
use crate::select::Selection;

impl Session<'_, '_, '_> {
    pub(super) fn into_nowhere(
        mut self,
        items: ItemReader<Chunks>,
        selection: &mut Selection,
    ) -> Result<RestoreReport> {
        self.each(items, selection, 0, &mut |session, met| {
            let Met::Item(item) = met else { return Ok(None) };
            let made = Made::without_file(&item);
            if let ItemKind::File(content) = &item.kind {
                let name = lossy(&item.path);
                // What is verified is counted as what it is of the file.
                let layout = read_layout(content, item.size, &session.chunks, &name);
                let (layout, error) = match layout {
                    Ok(layout) => (layout, None),
                    Err(error) => (None, Some(error)),
                };
                let target =
                    Arc::new(Target::new(&name, layout, Output::Nowhere, session.options.salvage));
                error.iter().for_each(|error| target.fail(None, error));
                let path = item.path.clone();
                session.plan_file(target, *item, path)?;
            }
            Ok(made)
        })?;
        Ok(self.report)
    }
}
