//! From the names that a user gives to what there is: archives, and paths in them; or what he may have meant.
//!
//! In: names, as they were given. Out: archives, items; else the line that says what is not there, and what is.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_cli::names::relative;
use garret_cli::render;
use garret_cli::suggest::{nearest, nearest_path};
use garret_cli::ui::Ui;
use garret_core::{
    Cause, Error, Hint, NamedArchive, Problem, Progress, Repository, Selection, Tags,
};
use garret_format::archive::{Item, ItemKind};

use crate::location;

/// What stands for the newest archive, unless one has that name.
const LATEST: &str = "latest";

/// The archive of that name, or the newest one.
pub(crate) fn find(repository: &Repository, name: &str, ui: &Ui) -> Result<NamedArchive, Failure> {
    let found = repository.archive(name);
    repository.tell(ui);
    match found {
        Err(Error::ArchiveMissing(_)) if name == LATEST => newest(repository, ui),
        Err(Error::ArchiveMissing(_)) => Err(missing(&repository.archive_names()?, name)),
        // Perhaps only because of where it lies among the others.
        Err(error @ Error::Store(_)) => match relative(&repository.archive_names()?, name) {
            Some(why) => Err(Failure::Fatal(format!("Archive {name} does not exist: {why}"))),
            None => Err(error.into()),
        },
        found => Ok(found?),
    }
}

/// The archive that was made last; if something is missing in that one, a note says which is the last that is complete. One
/// that cannot be read is reported: it may be the one.
fn newest(repository: &Repository, ui: &Ui) -> Result<NamedArchive, Failure> {
    let archives = readable(repository, ui)?;
    let complete = archives.iter().filter(|found| found.archive.is_complete());
    let complete = complete.max_by_key(|found| found.archive.end).map(|found| found.name.clone());
    let none = || Failure::Fatal(format!("Archive {LATEST} does not exist: there is no archive"));
    let newest = archives.into_iter().max_by_key(|found| found.archive.end).ok_or_else(none)?;
    if !newest.archive.is_complete() {
        let last = complete.map_or("none is".to_owned(), |name| {
            format!("the last that is: {}", render::name(&name))
        });
        let name = render::name(&newest.name);
        ui.notice(&format!("note: the latest archive, {name}, is not complete; {last}"));
    }
    Ok(newest)
}

/// So many archives that were made last, the newest first. Those that cannot be read are reported: they may be among them.
pub(crate) fn newest_of(
    repository: &Repository,
    count: usize,
    ui: &Ui,
) -> Result<Vec<NamedArchive>, Failure> {
    let mut archives = readable(repository, ui)?;
    archives.sort_by_key(|found| std::cmp::Reverse(found.archive.end));
    archives.truncate(count);
    Ok(archives)
}

/// The archives that can be read, the one that was made first first. The others are reported.
pub(crate) fn oldest_first(repository: &Repository, ui: &Ui) -> Result<Vec<NamedArchive>, Failure> {
    let mut archives = readable(repository, ui)?;
    sort(&mut archives);
    Ok(archives)
}

/// The same, and what they are tagged with.
pub(crate) fn with_tags(
    repository: &Repository,
    ui: &Ui,
) -> Result<(Tags, Vec<NamedArchive>), Failure> {
    let names = repository.first_sight()?.names();
    let (tags, found) = repository.tags_and_archives(names, ui)?;
    let mut archives = those_read(repository, found, ui);
    sort(&mut archives);
    Ok((tags, archives))
}

fn sort(archives: &mut [NamedArchive]) {
    archives.sort_by(|a, b| (a.archive.end, &a.name).cmp(&(b.archive.end, &b.name)));
}

/// The archives that can be read. The others are reported.
fn readable(repository: &Repository, ui: &Ui) -> Result<Vec<NamedArchive>, Failure> {
    let found = repository.archives(repository.first_sight()?.names())?;
    Ok(those_read(repository, found, ui))
}

fn those_read(
    repository: &Repository,
    found: Vec<(String, garret_core::Result<NamedArchive>)>,
    ui: &Ui,
) -> Vec<NamedArchive> {
    let mut archives = Vec::new();
    for (_, found) in found {
        match found {
            Ok(found) => archives.push(found),
            Err(error) => ui.report(&(&error).into()),
        }
    }
    repository.tell(ui);
    archives
}

/// There is no archive `name` among `names`.
pub(crate) fn missing(names: &[String], name: &str) -> Failure {
    if name == LATEST {
        let why = "`latest` is for commands that read; name the archive, as `garret list` shows it";
        return Failure::Because(Cause::Missing, format!("Archive {name} does not exist: {why}"));
    }
    let near = || nearest(name.as_bytes(), names.iter().map(String::as_str));
    match relative(names, name).or_else(|| near().map(|near| format!("did you mean {near}?"))) {
        Some(why) => {
            Failure::Because(Cause::Missing, format!("Archive {name} does not exist: {why}"))
        }
        None => Error::ArchiveMissing(name.to_owned()).into(),
    }
}

/// What the user wants of an archive.
pub(crate) fn selection(words: &[OsString]) -> Selection {
    Selection::new(words.iter().cloned().map(OsString::into_vec))
}

/// Where words were looked for.
pub(crate) struct Searched<'a> {
    pub(crate) repository: &'a Repository,
    /// As the user gave it.
    pub(crate) location: &'a Location,
    /// One, or the two that are compared.
    pub(crate) archives: &'a [&'a NamedArchive],
}

impl Searched<'_> {
    /// Reports the words that named nothing.
    pub(crate) fn complain(&self, unmatched: &[Vec<u8>], ui: &Ui) -> Result<(), Failure> {
        if unmatched.is_empty() {
            return Ok(());
        }
        let mut paths = Vec::new();
        for archive in self.archives {
            for item in self.repository.items(archive) {
                paths.push(item?.path);
            }
        }
        let names: Vec<&str> = self.archives.iter().map(|found| found.name.as_str()).collect();
        let place = names.join(" nor in ");
        for word in unmatched {
            let shown = String::from_utf8_lossy(word);
            let mut hint = None;
            let why = if location::is_archive_of(self.location, OsStr::from_bytes(word)) {
                ": it is an archive, and a PATH was expected".to_owned()
            } else if let Some(near) = nearest_path(word, paths.iter().map(Vec::as_slice)) {
                format!(": did you mean {}?", String::from_utf8_lossy(near))
            } else {
                hint = Some(Hint::Find);
                String::new()
            };
            let text = format!("{shown}: not in archive {place}{why}");
            let mut problem = Problem::new(Cause::Missing, Some(shown.into_owned()), text);
            problem.hint = hint;
            ui.report(&problem);
        }
        Ok(())
    }
}

/// The files that a word stands for: the one at that path, or all that `extract` would restore. Other names of a file are
/// files.
///
/// # Errors
/// The list of files is damaged, behind those that could be read.
pub(crate) fn files(
    repository: &Repository,
    archive: &NamedArchive,
    word: &OsStr,
) -> garret_core::Result<Vec<Item>> {
    let stored = Selection::stored(word.as_bytes());
    let mut items = Vec::new();
    repository.visit_items(archive, &mut Selection::new([stored.clone()]), |item| {
        if is_file(&item) {
            items.push(item);
        }
        Ok::<(), Error>(())
    })?;
    if let Some(at) = items.iter().position(|item| item.path == stored) {
        items = vec![items.swap_remove(at)];
    }
    Ok(items)
}

fn is_file(item: &Item) -> bool {
    matches!(item.kind, ItemKind::File(_) | ItemKind::HardLink(_))
}

/// The path of the one file that a word names.
///
/// # Errors
/// One line if it names none, or several.
pub(crate) fn one_file(
    repository: &Repository,
    archive: &NamedArchive,
    word: &OsStr,
) -> Result<Vec<u8>, Failure> {
    let stored = Selection::stored(word.as_bytes());
    let mut selection = Selection::new([stored.clone()]);
    let mut items = Vec::new();
    repository.visit_items(archive, &mut selection, |item| {
        items.push(item);
        Ok::<(), Failure>(())
    })?;
    if let Some(item) = items.iter().find(|item| item.path == stored) {
        let kind = garret_core::kind_name(&item.kind);
        let other = || no_file(&stored, archive, &format!("it is a {kind}"));
        return is_file(item).then(|| stored.clone()).ok_or_else(other);
    }
    let files: Vec<&[u8]> =
        items.iter().filter(|item| is_file(item)).map(|item| item.path.as_slice()).collect();
    match files.as_slice() {
        [only] => Ok(only.to_vec()),
        [] => {
            let all = repository.items(archive).collect::<garret_core::Result<Vec<Item>>>()?;
            let near = nearest_path(&stored, all.iter().map(|item| item.path.as_slice()));
            let why = near.map_or("`garret list` shows what is".to_owned(), |near| {
                format!("did you mean {}?", String::from_utf8_lossy(near))
            });
            Err(no_file(&stored, archive, &why))
        }
        [first, second, ..] => {
            let [first, second] = [first, second].map(|path| String::from_utf8_lossy(path));
            let why = format!("it stands for {} files, as {first} and {second}", files.len());
            Err(no_file(&stored, archive, &why))
        }
    }
}

/// A word names no file.
pub(crate) fn no_file(word: &[u8], archive: &NamedArchive, why: &str) -> Failure {
    let word = String::from_utf8_lossy(word);
    Failure::Fatal(format!("archive {} contains no file {word}: {why}", archive.name))
}
