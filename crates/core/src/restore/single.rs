//! A restore of one file to one place: a path that need not be its own, a block device, or a stream.
//!
//! In: the one selected file of an archive. Out: that place. Promises: a regular file that was there is replaced when the new
//! one is complete and not before; a device gets verified bytes only, and none if the file does not fit.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use garret_format::archive::{Content, Item, ItemKind};
use garret_image::{DeviceSink, Metadata, Root, SinkError, Source};

use super::links::Made;
use super::options::{FileMetadata, Form, RestoreOptions, RestoreReport};
use super::session::{Met, Session, lossy, not_restored};
use super::shape::as_it_was;
use super::target::{Output, Target};
use crate::buffers::{Buffer, BufferPool};
use crate::error::{Error, Result, message};
use crate::limits::FILE_READ_LEN;
use crate::objects::items::ItemReader;
use crate::read::chunks::Chunks;
use crate::read::disk::Disk;
use crate::read::file::StoredFile;
use crate::select::Selection;

impl<'scope> Session<'_, '_, 'scope> {
    /// Restores the one selected file to `path`.
    pub(super) fn into_file(
        mut self,
        items: ItemReader<Chunks>,
        selection: &mut Selection,
        path: &Path,
        metadata: FileMetadata,
    ) -> Result<RestoreReport> {
        let Some((mut item, content)) = self.only_file(items, selection)? else {
            return Ok(self.report);
        };
        let name = lossy(&item.path);
        if path.is_dir() {
            let error = std::io::Error::from(std::io::ErrorKind::IsADirectory);
            return Err(SinkError::new(path, "restore a file to it", error).into());
        }
        let mut options: RestoreOptions = self.options.clone();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let root = Root::open(parent.unwrap_or(Path::new(".")))?.replace_used(options.replace_used);
        // A link stands for what is behind it, if nobody else can have put it there.
        let own_name = path.file_name().unwrap_or_default().as_bytes();
        let at = garret_image::Place { path: own_name, followed: true };
        if let FileMetadata::OfPlace { mode } = metadata {
            let there = root.existing(at)?;
            // A new file belongs to whoever its directory says.
            options.owners &= there.is_some();
            describe(&mut item, there.as_ref(), mode);
        }
        let shape = self.shape(&item, &content, &name).map_err(named(&name))?;
        let allocation = self.allocation(&shape, &content, &name)?;
        let sink = root.file(at, shape.len, allocation)?;
        let mut session = self.with(&options);
        let target = session.begin(shape, Output::File(sink), &item, &name)?;
        session.write_one(target, item)
    }

    /// Writes the one selected file to the block device at `path`.
    pub(super) fn into_device(
        mut self,
        items: ItemReader<Chunks>,
        selection: &mut Selection,
        path: &Path,
    ) -> Result<RestoreReport> {
        self.refuse_salvage()?;
        let Some((item, content)) = self.only_file(items, selection)? else {
            return Ok(self.report);
        };
        let name = lossy(&item.path);
        let shape = self.shape(&item, &content, &name).map_err(named(&name))?;
        let place = Output::Device(DeviceSink::open(path, shape.len, self.options.replace_used)?);
        let target = self.begin(shape, place, &item, &name)?;
        self.write_one(target, item)
    }

    fn write_one(mut self, target: Option<Arc<Target>>, item: Item) -> Result<RestoreReport> {
        if let Some(target) = target {
            let path = item.path.clone();
            self.plan_file(target, item, path)?;
            self.complete()?;
        }
        Ok(self.report)
    }

    /// Writes the one selected file to a stream.
    pub(super) fn into_stream(
        mut self,
        items: ItemReader<Chunks>,
        selection: &mut Selection,
        out: &mut (dyn Write + Send),
    ) -> Result<RestoreReport> {
        self.refuse_salvage()?;
        if let Some((item, _)) = self.only_file(items, selection)?
            && let Some(stored) = StoredFile::open(&self.chunks, &item)?
        {
            let (stored, name) = (Arc::new(stored), lossy(&item.path));
            let disk = match self.options.form {
                Form::Stored => Disk::Same,
                Form::Raw => {
                    Disk::open(stored.clone(), &item).map_err(as_it_was).map_err(named(&name))?
                }
            };
            let len = match disk {
                Disk::Same => self.stream_stored(stored, out)?,
                Disk::Plain(disk) => self.stream_stored(disk, out)?,
                Disk::Packed(view) => self.stream_file(view, out)?,
            };
            self.restored(&item, &name, len, None);
        }
        out.flush().map_err(stream_error)?;
        Ok(self.report)
    }

    /// For where there is no other name that could say that something is missing.
    fn refuse_salvage(&self) -> Result<()> {
        let text = "what is left of a damaged file is restored to a directory or a file only";
        match self.options.salvage {
            true => Err(Error::BadOption(text.to_owned())),
            false => Ok(()),
        }
    }

    /// Writes one file in order. A stream cannot be taken back, so the first error ends it.
    fn stream_file<S: Source + 'scope>(
        &mut self,
        source: Arc<S>,
        out: &mut (dyn Write + Send),
    ) -> Result<u64> {
        let len = source.len();
        let starts = (0..len).step_by(FILE_READ_LEN).map(Ok);
        let buffers = BufferPool::default();
        let read = self.threads.workers.map(starts, move |start| {
            let mut buffer = buffers.get((len - start).min(FILE_READ_LEN as u64) as usize);
            source.read_at(buffer.bytes_mut(), start).map_err(|error| not_restored(&error))?;
            Ok(buffer)
        });
        self.write_in_order(read, out)?;
        Ok(len)
    }

    /// The same for a stored file as it is: what of it must come from the store is asked for before it is computed with.
    fn stream_stored(
        &mut self,
        file: Arc<StoredFile>,
        out: &mut (dyn Write + Send),
    ) -> Result<u64> {
        let len = file.len();
        let starts = (0..len).step_by(FILE_READ_LEN).map(Ok);
        let buffers = BufferPool::default();
        let source = file.clone();
        let asked = self.threads.requests.map(starts, move |start| {
            let part = (len - start).min(FILE_READ_LEN as u64) as usize;
            let prepared = source.prepare(part, start);
            Ok((prepared.map_err(|error| unread(&source, &error))?, part))
        });
        let read = self.threads.workers.map(asked, move |(prepared, part)| {
            let mut buffer = buffers.get(part);
            let read = prepared.read(buffer.bytes_mut());
            read.map_err(|error| unread(&file, &error))?;
            Ok(buffer)
        });
        self.write_in_order(read, out)?;
        Ok(len)
    }

    fn write_in_order(
        &self,
        read: impl Iterator<Item = Result<Buffer>>,
        out: &mut (dyn Write + Send),
    ) -> Result<()> {
        for buffer in read {
            let buffer = buffer?;
            out.write_all(buffer.bytes()).map_err(stream_error)?;
            self.task.advance(buffer.bytes().len() as u64);
        }
        Ok(())
    }

    /// The one file among what is selected; none if words named nothing, which is reported.
    ///
    /// # Errors
    /// `BadOption` if there are more, for nothing tells them apart where only one has room; and if there is none among what
    /// was named.
    fn only_file(
        &mut self,
        items: ItemReader<Chunks>,
        selection: &mut Selection,
    ) -> Result<Option<(Item, Content)>> {
        let mut only: Option<(Item, Content)> = None;
        self.each(items, selection, 0, &mut |_, met| {
            let Met::Item(item) = met else { return Ok(None) };
            let made = Made::without_file(&item);
            let ItemKind::File(content) = item.kind.clone() else { return Ok(made) };
            let name = lossy(&item.path);
            if let Some((first, _)) = only.replace((*item, content)) {
                let first = lossy(&first.path);
                return Err(Error::BadOption(format!(
                    "more than one file is selected, {first} and {name} among them: only one can go there, name its path"
                )));
            }
            Ok(made)
        })?;
        if only.is_none() && self.report.problem_count == 0 && selection.unmatched().is_empty() {
            let text =
                "nothing that is selected is a regular file: only one can go there, name its path";
            return Err(Error::BadOption(text.to_owned()));
        }
        Ok(only)
    }
}

/// The error of a stored file that cannot be read to its end.
fn unread(file: &StoredFile, error: &Error) -> Error {
    let why = message(&file.failed(error));
    Error::NotRestored { why, cause: error.cause(), hint: error.hint() }
}

/// Says which file was not restored.
fn named(name: &str) -> impl Fn(Error) -> Error {
    move |error| match error {
        Error::NotRestored { why, cause, hint } => {
            Error::NotRestored { why: format!("{name}: {why}"), cause, hint }
        }
        other => other,
    }
}

fn stream_error(source: io::Error) -> Error {
    Error::System { what: "writing to the output", source }
}

/// Gives the file what belongs to its new place: owner and permissions of what was there, else `mode`; written now. Set-id
/// bits were for the old content.
fn describe(item: &mut Item, there: Option<&Metadata>, mode: u32) {
    // Names, xattrs and flags belonged to the old one.
    (item.user, item.group) = Default::default();
    (item.xattrs, item.flags) = Default::default();
    item.mode = mode;
    if let Some(there) = there {
        (item.uid, item.gid, item.mode) = (there.uid, there.gid, there.mode & 0o777);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    item.mtime.secs = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    item.mtime.nanos = now.subsec_nanos();
}
