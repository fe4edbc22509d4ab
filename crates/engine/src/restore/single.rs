//! A restore of one file to one place: a path that need not be its own, or a block device.
//!
//! In: the one selected file of an archive. Out: that path. Promises: a regular file that was there is replaced when the new
//! one is complete and not before; a device gets verified bytes only, and none if the file does not fit.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use format::archive::{Item, ItemKind};
use image::{Allocation, DeviceSink, Root, SinkError};

use super::target::Target;
use super::{Form, Later, RestoreOptions, RestoreReport, Restorer};
use crate::archive::ItemReader;
use crate::error::{Error, Result};
use crate::file::read_layout;
use crate::select::Selection;

impl Restorer<'_, '_, '_> {
    /// Restores the one selected file to `path`; `mode` is that of a regular file that is not there yet.
    pub(super) fn into_file(
        self,
        items: ItemReader<'_>,
        selection: &mut Selection,
        path: &Path,
        mode: u32,
    ) -> Result<RestoreReport> {
        if self.options.form != Form::Stored {
            return Err(Error::BadOption("a single file is restored as it was stored".to_owned()));
        }
        let mut item = only_file(items, selection)?;
        let ItemKind::File(content) = item.kind.clone() else { return Ok(self.report) };
        let name = String::from_utf8_lossy(&item.path).into_owned();
        let layout = read_layout(&content, item.size, self.chunks, &name)?;
        // A link stands for what is behind it, as it does for whoever opens it.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let there = found(&path)?;
        // A new file belongs to whoever its directory says.
        let owners = self.options.owners && there.is_some();
        let options = RestoreOptions { owners, ..self.options.clone() };
        let target = match there {
            Some(there) if there.file_type().is_block_device() => {
                Target::device(&name, layout, DeviceSink::open(&path, item.size)?)
            }
            there => {
                describe(&mut item, there.as_ref(), mode);
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let root = Root::open(parent.unwrap_or(Path::new(".")))?;
                let own_name = path.file_name().unwrap_or_default().as_bytes();
                let sink = root.file(own_name, item.size, Allocation::Sparse)?;
                Target::file(&name, layout, sink)
            }
        };
        let mut restorer = Restorer { options: &options, ..self };
        let mut later = Later::default();
        let stored = item.path.clone();
        restorer.plan_file(Arc::new(target), item, stored, &mut later)?;
        restorer.complete(&mut later)?;
        Ok(restorer.report)
    }
}

/// The one file among what is selected.
fn only_file(items: ItemReader<'_>, selection: &mut Selection) -> Result<Item> {
    let mut only = None;
    for item in items {
        let item = item?;
        if !selection.selects(&item.path) || !matches!(item.kind, ItemKind::File(_)) {
            continue;
        }
        if only.replace(item).is_some() {
            return Err(Error::NotRestored("more than one file was selected".to_owned()));
        }
    }
    only.ok_or_else(|| Error::NotRestored("no file was selected".to_owned()))
}

/// What is at `path`, if anything is.
fn found(path: &Path) -> Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SinkError::new(path, "stat", error).into()),
    }
}

/// Gives the file what belongs to its new place: owner and mode of what was there, else `mode`; written now.
fn describe(item: &mut Item, there: Option<&Metadata>, mode: u32) {
    // Names, xattrs and flags belonged to the old one.
    (item.user, item.group) = Default::default();
    (item.xattrs, item.flags) = Default::default();
    item.mode = mode;
    if let Some(there) = there {
        (item.uid, item.gid, item.mode) = (there.uid(), there.gid(), there.mode() & 0o7777);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    item.mtime.secs = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    item.mtime.nanos = now.subsec_nanos();
}
