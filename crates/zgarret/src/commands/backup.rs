//! `zgarret backup`: makes a backup of standard input, of what a command prints, of a file or block device, or one of each
//! file of a directory.
//!
//! Promises: what cannot become a backup is refused before anything is read; a name in `backups/` appears when its backup is
//! complete; nothing on stdout.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use garret_cli::failure::{self, Failure};
use garret_cli::pipes::{self, Producer, Unfit, producer_failure};
use garret_cli::session::Session;
use garret_cli::surroundings;
use garret_core::{BackupOptions, Error, Input, NamedArchive, Progress, Writer};

use super::context::{Context, report, wrong_use};
use crate::location::{self, BackupPath, Parents, reason};

pub(super) fn run(context: &Context<'_>, words: &[OsString]) -> Result<(), Failure> {
    let command = &context.line.from_command;
    match words {
        [to] => match command {
            Some(line) => output_of(context, line, to),
            None => standard_input(context, to),
        },
        _ if command.is_some() => Err(wrong_use("backup")),
        [from, to] => {
            let metadata = fs::metadata(from).map_err(|error| cannot_open(from, &error))?;
            match metadata.is_dir() {
                true => directory(context, Path::new(from), to),
                false => file(context, from, to),
            }
        }
        _ => Err(wrong_use("backup")),
    }
}

/// An open repository and how to back up into it.
struct Backup<'a> {
    repository: Session<Writer>,
    options: BackupOptions,
    made: Vec<NamedArchive>,
    context: &'a Context<'a>,
}

impl<'a> Backup<'a> {
    fn open(context: &'a Context<'a>, path: &Path) -> Result<Self, Failure> {
        for name in &context.line.storable.sizes {
            context
                .ui
                .notice(&format!("note: {name} has no effect: the format has sizes of its own"));
        }
        let repository = context.writer(path)?;
        let mut options = surroundings::backup_options(&path.into())?;
        options.compression = context.line.storable.compression();
        options.threads = context.line.runtime.threads();
        Ok(Backup { repository, options, made: Vec::new(), context })
    }

    /// Makes one backup.
    fn only(mut self, place: &BackupPath, input: Input) -> Result<(), Failure> {
        self.back_up(place, input)?;
        self.finish();
        Ok(())
    }

    /// Has the client remember what was made.
    fn finish(mut self) {
        self.repository.made(&self.made, self.context.ui);
    }

    fn back_up(&mut self, place: &BackupPath, input: Input) -> Result<(), Failure> {
        let Backup { repository, options, context, .. } = self;
        let made = repository.backup(&place.name, vec![input], options, context.ui);
        let report = made.map_err(|error| match error {
            Error::Source(_) => producer_failure(context.line.from_command.as_deref(), error),
            Error::Store(_) => failure::full(error, "no archive made", "zgarret gc"),
            error => place.failure(error),
        })?;
        self.made.push(report.archive);
        Ok(())
    }
}

/// The place of a backup that is to be made.
fn free_place(to: &OsStr) -> Result<BackupPath, Failure> {
    let place = location::backup(to, Parents::MayBeMissing)?;
    if place.is_taken() { Err(place.exists()) } else { Ok(place) }
}

fn standard_input(context: &Context<'_>, to: &OsStr) -> Result<(), Failure> {
    let wont = |what: &str| Err(Failure::Fatal(format!("Won't read data from a {what}")));
    let reader = match pipes::input()? {
        Ok(reader) => reader,
        Err(Unfit::Terminal) => return wont("terminal"),
        Err(Unfit::Closed) => return wont("closed standard input"),
    };
    let place = free_place(to)?;
    Backup::open(context, &place.repository)?.only(&place, stream(&place, reader))
}

/// Backs up what a line for the shell prints, if it ends well.
fn output_of(context: &Context<'_>, line: &OsStr, to: &OsStr) -> Result<(), Failure> {
    let place = free_place(to)?;
    let input = stream(&place, Producer::new(line.to_owned()));
    Backup::open(context, &place.repository)?.only(&place, input)
}

/// A stream has no name of its own: it is called as the backup is.
fn stream(place: &BackupPath, reader: impl Read + Send + 'static) -> Input {
    let name = place.given.file_name().unwrap_or_default().as_bytes().to_vec();
    Input::Stream { name, reader: Box::new(reader) }
}

fn file(context: &Context<'_>, from: &OsStr, to: &OsStr) -> Result<(), Failure> {
    let place = free_place(to)?;
    let opened = File::open(from).and_then(|file| Ok((file.metadata()?.file_type(), file)));
    let (kind, file) = opened.map_err(|error| cannot_open(from, &error))?;
    let writer = Backup::open(context, &place.repository)?;
    // What `<(command)` of a shell gives.
    let input = match kind.is_fifo() {
        true => stream(&place, file),
        false => Input::Path(from.into()),
    };
    writer.only(&place, input)
}

/// One backup for each regular file. What goes wrong with one is reported, and the others go on.
fn directory(context: &Context<'_>, from: &Path, to: &OsStr) -> Result<(), Failure> {
    let real = from.canonicalize().map_err(|error| cannot_open(from.as_os_str(), &error))?;
    let top = real.file_name().ok_or_else(|| {
        Failure::Fatal(format!("{} has no name to put its backups under", from.display()))
    })?;
    let place = location::below(to, top.as_bytes())?;
    let mut writer = Backup::open(context, &place.repository)?;
    for (path, name) in files_below(context, from, top, &writer.options) {
        let place = match location::below(to, &name) {
            Ok(place) if place.is_taken() => Err(place.exists()),
            place => place,
        };
        match place.and_then(|place| writer.back_up(&place, Input::Path(path))) {
            Ok(()) => {}
            Err(Failure::Engine(error)) if !is_about_one_file(&error) => return Err(error.into()),
            Err(failure) => report(failure, context.ui),
        }
    }
    writer.finish();
    Ok(())
}

/// Whether the next file may fare better.
fn is_about_one_file(error: &Error) -> bool {
    matches!(error, Error::BadName { .. } | Error::NothingStored | Error::Source(_))
}

/// The regular files of a tree and the names of their backups, in the order of the names. Of all else there is a line.
fn files_below(
    context: &Context<'_>,
    top: &Path,
    name: &OsStr,
    options: &BackupOptions,
) -> Vec<(PathBuf, Vec<u8>)> {
    let (ui, minimal_size) = (context.ui, context.line.runtime.minimal_size);
    let mut found = Vec::new();
    let mut open = vec![(top.to_owned(), name.as_bytes().to_vec())];
    while let Some((directory, prefix)) = open.pop() {
        let entries = fs::read_dir(&directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                report(cannot_open(directory.as_os_str(), &error), ui);
                continue;
            }
        };
        for entry in entries {
            let path = entry.path();
            let name = [&prefix, entry.file_name().as_bytes()].join(&b'/');
            match path.symlink_metadata() {
                Err(error) => report(cannot_open(path.as_os_str(), &error), ui),
                Ok(stat) if stat.is_dir() => {
                    if !options.skip.contains(&(stat.dev(), stat.ino())) {
                        open.push((path, name));
                    }
                }
                Ok(stat) if !stat.is_file() => {
                    ui.complain(&format!("{} is not a regular file: skipped", path.display()));
                }
                Ok(stat) if stat.len() < minimal_size => {
                    let text = format!("{} is below backup.minimalSize: skipped", path.display());
                    ui.complain(&text);
                }
                Ok(_) => found.push((path, name)),
            }
        }
    }
    found.sort_unstable_by(|(_, a), (_, b)| a.cmp(b));
    found
}

fn cannot_open(path: &OsStr, error: &io::Error) -> Failure {
    Failure::Fatal(format!("Can't open {}: {}", Path::new(path).display(), reason(error)))
}
