//! Nights: which archives hold a file, and which of them is meant.
//!
//! In: words of the user for a night and for files, and the archives there are. Out: one archive and its files, or all that
//! hold them; else one line that says what there is instead. Promises: an archive or a list of files that cannot be read is
//! told of, and the search goes on without it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_cli::render;
use garret_cli::suggest::nearest_path;
use garret_cli::ui::Ui;
use garret_core::{Cause, NamedArchive, Progress, Repository};
use garret_format::archive::{Content, Item, ItemKind};
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::{archives, location};

/// Of the files that a word stands for, how many are named.
const NAMED_MAX: usize = 8;

/// Where to look.
pub(crate) struct Nights<'a> {
    pub(crate) repository: &'a Repository,
    /// As the user gave it.
    pub(crate) location: &'a Location,
    /// The one to take first, first.
    pub(crate) archives: Vec<NamedArchive>,
}

/// Files of one archive.
pub(crate) struct Chosen {
    pub(crate) archive: NamedArchive,
    /// One for each word.
    pub(crate) items: Vec<Item>,
}

impl<'a> Nights<'a> {
    /// The archives that `at` means: the one of that name, those of that day; all if there is no such word. The newest is
    /// first, after it older ones; those that are not complete are last.
    ///
    /// # Errors
    /// One line if there is none.
    pub(crate) fn at(
        repository: &'a Repository,
        location: &'a Location,
        at: Option<&str>,
        ui: &Ui,
    ) -> Result<Self, Failure> {
        let names = repository.archive_names()?;
        let date = |at: &str| at.parse().ok().filter(|_| !names.iter().any(|name| name == at));
        let all = || archives::newest_of(repository, usize::MAX, ui);
        let archives = match at.map(|at| (at, date(at))) {
            None => complete_first(all()?),
            Some((_, Some(date))) => complete_first(of_day(all()?, date)?),
            Some((name, None)) => vec![archives::find(repository, name, ui)?],
        };
        Ok(Nights { repository, location, archives })
    }

    /// The first archive in which each word stands for one file.
    ///
    /// # Errors
    /// One line if there is none, or if a word stands for several files.
    pub(crate) fn choose(&self, words: &[OsString], ui: &Ui) -> Result<Chosen, Failure> {
        let found = self.first(words, &self.archives, ui)?;
        found.ok_or_else(|| self.missing(words))
    }

    /// Says what speaks against the archive that was chosen for these words: it is not complete, or another is newer.
    pub(crate) fn doubt(&self, words: &[OsString], archive: &NamedArchive, ui: &Ui) {
        let newer = |other: &&NamedArchive| other.archive.end > archive.archive.end;
        let newer: Vec<NamedArchive> = self.archives.iter().filter(newer).cloned().collect();
        let (name, what) = (render::name(&archive.name), shown(words));
        if !archive.archive.is_complete() && self.archives.len() > 1 {
            ui.notice(&format!(
                "note: no complete archive holds {what}; {name} does{}",
                render::marks(archive)
            ));
        } else if let Ok(Some(other)) = self.first(words, &newer, ui) {
            let (marks, other) = (render::marks(&other.archive), render::name(&other.archive.name));
            ui.notice(&format!(
                "note: {name} is the newest complete archive with {what}; {other}{marks} is newer: --at {other}"
            ));
        }
    }

    /// An archive older than `than` in which each word stands for one file.
    pub(crate) fn older(
        &self,
        words: &[OsString],
        than: &NamedArchive,
        ui: &Ui,
    ) -> Option<NamedArchive> {
        let mut older = known(self.repository);
        older.retain(|other| other.archive.end < than.archive.end);
        Some(self.first(words, &older, ui).ok()??.archive)
    }

    fn first(
        &self,
        words: &[OsString],
        archives: &[NamedArchive],
        ui: &Ui,
    ) -> Result<Option<Chosen>, Failure> {
        for archive in archives {
            let mut items = Vec::new();
            for word in words {
                match archives::files(self.repository, archive, word) {
                    Ok(found) if found.len() > 1 => return Err(self.several(word, archive, &found)),
                    Ok(found) => items.extend(found),
                    Err(error) => ui.report(&(&error).into()),
                }
            }
            if items.len() == words.len() {
                return Ok(Some(Chosen { archive: archive.clone(), items }));
            }
        }
        Ok(None)
    }

    fn several(&self, word: &OsStr, archive: &NamedArchive, found: &[Item]) -> Failure {
        let names = found.iter().take(NAMED_MAX).map(|item| render::name(&item.path));
        let more = match found.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (word, name) = (render::name(word.as_bytes()), render::name(&archive.name));
        Failure::Usage(format!(
            "{word} stands for {} files of {name}: {}{more}; name one by its path, or get all with \
             garret restore {}::{name} '{word}'",
            found.len(),
            names.collect::<Vec<_>>().join(", "),
            self.location.display(),
        ))
    }

    fn missing(&self, words: &[OsString]) -> Failure {
        let names: Vec<&str> = self.archives.iter().map(|found| found.name.as_str()).collect();
        let is_archive = |word: &&OsString| {
            let names = self.repository.archive_names().unwrap_or_default();
            word.to_str().is_some_and(|word| names.iter().any(|name| name == word))
        };
        if let Some(word) = words.iter().find(is_archive) {
            return location::no_archive(
                &self.location.to_os_string(),
                &self.location.to_os_string(),
                Some(word),
            );
        }
        let place = match names.as_slice() {
            [] => {
                return Failure::Because(
                    Cause::Missing,
                    format!("{} has no archive", self.location.display()),
                );
            }
            [only] => format!("archive {only}"),
            _ => format!("any archive of {}", self.location.display()),
        };
        let near = nearest(self.repository, words);
        let list = || format!("; `garret list {}` shows the archives", self.location.display());
        let why = near.unwrap_or_else(list);
        Failure::Because(Cause::Missing, format!("{}: not in {place}{why}", shown(words)))
    }
}

/// What may have been meant, of the newest archive: `: did you mean images/app.raw?`
pub(crate) fn nearest(repository: &Repository, words: &[OsString]) -> Option<String> {
    let newest = known(repository).into_iter().next()?;
    let items: Vec<Item> = repository.items(&newest).map_while(Result::ok).collect();
    let paths = || items.iter().map(|item| item.path.as_slice());
    let near = words.iter().find_map(|word| nearest_path(word.as_bytes(), paths()))?;
    Some(format!(": did you mean {}?", render::name(near)))
}

/// The same archives, in the same order but for those that are not complete, which are last.
fn complete_first(mut archives: Vec<NamedArchive>) -> Vec<NamedArchive> {
    archives.sort_by_key(|found| !found.archive.is_complete());
    archives
}

/// Those of them that were made on that day.
fn of_day(newest_first: Vec<NamedArchive>, date: Date) -> Result<Vec<NamedArchive>, Failure> {
    let before = newest_first.iter().find(|found| day(found) < date).map(|found| {
        format!("; the last before it is {} of {}", render::name(&found.name), day(found))
    });
    let found: Vec<NamedArchive> =
        newest_first.into_iter().filter(|found| day(found) == date).collect();
    if found.is_empty() {
        let text = format!("no archive was made on {date}{}", before.unwrap_or_default());
        return Err(Failure::Because(Cause::Missing, text));
    }
    Ok(found)
}

/// The archives that can be read, the newest first; the others were told of before.
fn known(repository: &Repository) -> Vec<NamedArchive> {
    let names = repository.archive_names().unwrap_or_default();
    let readable = names.iter().filter_map(|name| repository.archive(name).ok());
    let mut readable: Vec<NamedArchive> = readable.collect();
    readable.sort_by_key(|found| std::cmp::Reverse(found.archive.end));
    readable
}

/// Words in a line.
fn shown(words: &[OsString]) -> String {
    words.iter().map(|word| render::name(word.as_bytes())).collect::<Vec<_>>().join(", ")
}

/// The day on which an archive was made, by local time.
fn day(found: &NamedArchive) -> Date {
    let end = jiff::Timestamp::from_second(found.archive.end.secs).unwrap_or_default();
    end.to_zoned(TimeZone::system()).date()
}

/// What became of a file since the archive before that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// There is none before.
    New,
    Same,
    Changed,
}

impl Since {
    /// As a column has it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Since::New => "new",
            Since::Same => "same",
            Since::Changed => "changed",
        }
    }
}

/// One night of a file.
pub(crate) struct Held<'a> {
    pub(crate) archive: &'a NamedArchive,
    pub(crate) size: u64,
    /// None of another name of a file.
    pub(crate) since: Option<Since>,
}

/// The files that a word stands for, by path, each with the archives that hold it, in the order of `archives`.
pub(crate) fn held<'a>(
    repository: &Repository,
    archives: &'a [NamedArchive],
    word: &OsStr,
    ui: &Ui,
) -> BTreeMap<Vec<u8>, Vec<Held<'a>>> {
    let mut found: BTreeMap<Vec<u8>, Vec<Held<'a>>> = BTreeMap::new();
    let mut last: BTreeMap<Vec<u8>, Content> = BTreeMap::new();
    for archive in archives {
        let items = match archives::files(repository, archive, word) {
            Ok(items) => items,
            Err(error) => {
                ui.report(&(&error).into());
                continue;
            }
        };
        for Item { path, size, kind, .. } in items {
            let since = match kind {
                ItemKind::File(content) => Some(match last.insert(path.clone(), content.clone()) {
                    None => Since::New,
                    Some(old) if is_same(&old, &content) => Since::Same,
                    Some(_) => Since::Changed,
                }),
                _ => None,
            };
            found.entry(path).or_default().push(Held { archive, size, since });
        }
    }
    found
}

/// Whether two contents are of the same bytes: by their chunks, for the same bytes are cut in the same way.
fn is_same(one: &Content, other: &Content) -> bool {
    (&one.recipe.root, &one.layout) == (&other.recipe.root, &other.layout)
}
