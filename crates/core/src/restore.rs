//! Restore: from an archive to files, or to a stream.
//!
//! ```text
//! items -> recipe -> ReadPlan -> | read group -> open -> decompress -> verify -> write everywhere it belongs |
//!                    by group    | workers, out of order                                                     |
//! ```
//!
//! Within a plan every group is read and opened once, whatever the number of places it is written to. A file is built in a
//! staging directory and gets its name when it is complete; one that cannot be completed is reported and leaves nothing, and
//! the others go on.

pub(crate) mod cold;
mod links;
mod met;
mod nowhere;
pub(crate) mod options;
mod plan;
pub(crate) mod preview;
mod session;
mod shape;
mod single;
mod target;
mod tree;

use garret_format::archive::{Item, ItemKind};
use garret_image::Root;

use crate::error::Result;
use crate::objects::archive::NamedArchive;
use crate::objects::items::ItemReader;
use crate::pipeline::with_threads;
use crate::progress::{Phase, Progress};
use crate::repository::Repository;
use crate::select::Selection;
use met::Met;
use options::{Destination, Form, RestoreOptions, RestoreReport};
use session::Session;

impl Repository {
    /// Restores what `selection` selects of an archive.
    ///
    /// # Errors
    /// Damage of the archive itself or of its items, and a destination that cannot be written at all. Damage of single files
    /// is reported as problems.
    pub fn restore(
        &self,
        archive: &NamedArchive,
        selection: &mut Selection,
        destination: Destination<'_>,
        options: &RestoreOptions,
        progress: &dyn Progress,
    ) -> Result<RestoreReport> {
        let chunks = self.chunks();
        self.settle(&[archive], selection);
        let task = progress.begin(Phase::Restore, self.restored_len(archive, selection, options));
        let items = ItemReader::new(chunks.clone(), archive);
        let in_flight = chunks.groups().in_flight();
        let mut report = with_threads(options.threads, in_flight, |threads| {
            let session = Session::new(chunks, options, (progress, &*task), threads);
            match destination {
                Destination::Directory(path) => {
                    let root = Root::open(&path)?.replace_used(options.replace_used);
                    session.into_directory(items, selection, &root)
                }
                Destination::File { path, metadata } => {
                    session.into_file(items, selection, &path, metadata)
                }
                Destination::Device(path) => session.into_device(items, selection, &path),
                Destination::Stream(out) => session.into_stream(items, selection, out),
                Destination::Nowhere => session.into_nowhere(items, selection),
            }
        })?;
        drop(task);
        self.tell(progress);
        report.unmatched = selection.unmatched();
        Ok(report)
    }

    /// Bytes of the files that will be restored; not known where disks come back in another form than they are stored in.
    fn restored_len(
        &self,
        archive: &NamedArchive,
        selection: &mut Selection,
        options: &RestoreOptions,
    ) -> Option<u64> {
        if options.form == Form::Raw {
            return None;
        }
        if selection.is_everything() && options.strip == 0 {
            return Some(archive.archive.original_len);
        }
        let mut len = 0u64;
        let mut take = |met: Met<'_>| {
            if let Met::Content(Item { kind: ItemKind::File(_), size, .. }) = met {
                len = len.saturating_add(*size);
            }
            b"".as_slice()
        };
        self.each_readable(archive, selection, options, &mut take);
        Some(len)
    }
}
