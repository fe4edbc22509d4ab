//! What can be looked at, by name: the files of archives, and the disks in them.
//!
//! In: an open repository, archives of it, perhaps which of their paths. Out: [`Exports`]: names, and for each a source.
//! Promises: nothing is read but lists of files, until something is opened; who opens what is open already gets the same.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use garret_core::{
    Cause, Error, NamedArchive, Problem, Progress, Repository, Selection, message, unreadable,
};
use garret_format::archive::{Item, ItemKind};
use garret_image::{Detected, Source, SourceError, detect};

/// Things with names that can be read at any place.
pub trait Exports: Sync {
    /// Hands over all names, in order, until one is not taken.
    ///
    /// # Errors
    /// What `visit` says.
    fn each_name(&self, visit: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()>;

    /// What has that name; the empty one is the only thing that there is. None if there is no such thing, or it cannot be
    /// opened, which is told of.
    fn open(&self, name: &str) -> Option<Arc<dyn Source>>;

    /// Some of what is called so could not be read.
    fn failed(&self, name: &str, error: &SourceError);
}

/// Stands behind the name of an image for the guest's disk in it.
pub const RAW_VIEW: &str = "?raw";

/// The shortest file that is looked at for whether it is an image, in bytes: a sector.
const IMAGE_LEN_MIN: u64 = 512;

/// Names that are kept with what they name: of a kilobyte each that is 128 MiB.
const CATALOG_MAX: usize = 1 << 17;

/// The files of one archive by their paths, or of several by `ARCHIVE::PATH`; and the guest's disk in each image behind
/// `?raw`. Names that are not UTF-8 are not among them.
pub struct ArchiveExports<'a> {
    repository: &'a Repository,
    archives: &'a [NamedArchive],
    /// Whether names say of which archive they are.
    in_full: bool,
    /// Which paths; all if there are none.
    words: Vec<Vec<u8>>,
    progress: &'a dyn Progress,
    open: Mutex<HashMap<String, Weak<dyn Source>>>,
    /// What has which name, from when something is opened; none if there is too much to be kept.
    catalog: OnceLock<Option<HashMap<String, (&'a NamedArchive, Item)>>>,
}

impl std::fmt::Debug for ArchiveExports<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArchiveExports").field("words", &self.words).finish_non_exhaustive()
    }
}

impl<'a> ArchiveExports<'a> {
    /// The files of `archive` that `words` select.
    pub fn of(
        repository: &'a Repository,
        archive: &'a NamedArchive,
        words: Vec<Vec<u8>>,
        progress: &'a dyn Progress,
    ) -> Self {
        let archives = std::slice::from_ref(archive);
        ArchiveExports { in_full: false, words, ..Self::of_all(repository, archives, progress) }
    }

    /// All files of these archives.
    pub fn of_all(
        repository: &'a Repository,
        archives: &'a [NamedArchive],
        progress: &'a dyn Progress,
    ) -> Self {
        let (open, catalog) = (Mutex::default(), OnceLock::new());
        let words = Vec::new();
        ArchiveExports { repository, archives, in_full: true, words, progress, open, catalog }
    }

    /// Hands over the selected files of an archive. What is damaged is told of, and ends it.
    fn each_file(
        &self,
        archive: &NamedArchive,
        visit: &mut dyn FnMut(Item) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut selection = Selection::new(self.words.clone());
        let visited = self.repository.visit_items(archive, &mut selection, |item| {
            match matches!(item.kind, ItemKind::File(_) | ItemKind::HardLink(_)) {
                true => visit(item).map_err(Stop::Visitor),
                false => Ok(()),
            }
        });
        match visited {
            Err(Stop::Visitor(error)) => Err(error),
            Err(Stop::Damage(error)) => {
                self.progress.problem(&Problem::from(&error));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// The name of a file of an archive, if it can have one.
    fn name(&self, archive: &NamedArchive, item: &Item) -> Option<String> {
        let path = std::str::from_utf8(&item.path).ok()?;
        Some(match self.in_full {
            true => format!("{}::{path}", archive.name),
            false => path.to_owned(),
        })
    }

    /// The file itself, where `item` is another name of it.
    fn resolved(&self, archive: &NamedArchive, item: Item) -> Result<Option<Item>, Error> {
        let ItemKind::HardLink(first) = &item.kind else { return Ok(Some(item)) };
        let mut items = self.repository.items(archive);
        items.find(|item| item.as_ref().map_or(true, |item| item.path == *first)).transpose()
    }

    /// Whether the disk in a file is another thing than the file. What cannot be read is for who opens it.
    fn is_image(&self, item: &Item) -> bool {
        let file = match item.kind {
            ItemKind::File(_) if item.size >= IMAGE_LEN_MIN => self.repository.open_file(item),
            _ => return false,
        };
        let is_qcow2 = |file| detect(&file, Path::new("")) == Detected::Qcow2;
        file.ok().flatten().is_some_and(is_qcow2)
    }

    /// All that has a name, by it. Whoever asks about each of many exports costs one walk of the archives then, and not one
    /// for each.
    fn catalog(&self) -> Option<&HashMap<String, (&'a NamedArchive, Item)>> {
        let made = self.catalog.get_or_init(|| {
            let mut catalog = HashMap::new();
            for archive in self.archives {
                let listed = self.each_file(archive, &mut |item| {
                    let Some(name) = self.name(archive, &item) else { return Ok(()) };
                    if catalog.len() >= CATALOG_MAX {
                        return Err(io::ErrorKind::OutOfMemory.into());
                    }
                    catalog.insert(name, (archive, item));
                    Ok(())
                });
                listed.ok()?;
            }
            Some(catalog)
        });
        made.as_ref()
    }

    /// The file of that name, and whether its disk is wanted. A file of that very name comes first.
    fn find(&self, name: &str) -> Option<(&'a NamedArchive, Item, bool)> {
        let Some(catalog) = self.catalog() else { return self.look_for(name) };
        let named = |name: &str| catalog.get(name).map(|(archive, item)| (*archive, item.clone()));
        let only = || match catalog.len() {
            1 => catalog.values().next().map(|(archive, item)| (*archive, item.clone())),
            _ => None,
        };
        let exact = if name.is_empty() { only() } else { named(name) };
        let image = || name.strip_suffix(RAW_VIEW).and_then(named);
        let exact = exact.map(|(archive, item)| (archive, item, false));
        exact.or_else(|| image().map(|(archive, item)| (archive, item, true)))
    }

    /// The same, of more than is kept.
    fn look_for(&self, name: &str) -> Option<(&'a NamedArchive, Item, bool)> {
        let (mut exact, mut image) = (None, None);
        let mut count = 0u64;
        for archive in self.archives {
            let prefix = format!("{}::", archive.name);
            if self.in_full && !name.is_empty() && !name.starts_with(&prefix) {
                continue;
            }
            // Never fails, for the visitor does not.
            let _all = self.each_file(archive, &mut |item| {
                count += 1;
                match self.name(archive, &item) {
                    Some(found) if found == name => exact = Some((archive, item)),
                    Some(found) if name.strip_suffix(RAW_VIEW) == Some(&found) => {
                        image = Some((archive, item));
                    }
                    _ if name.is_empty() && count == 1 => exact = Some((archive, item)),
                    _ => {}
                }
                Ok(())
            });
        }
        if name.is_empty() && count > 1 {
            return None;
        }
        let wants_disk = exact.is_none();
        let (archive, item) = exact.or(image)?;
        Some((archive, item, wants_disk))
    }

    /// Opens what has that name.
    fn open_named(&self, name: &str) -> Result<Option<Arc<dyn Source>>, Error> {
        let Some((archive, item, wants_disk)) = self.find(name) else { return Ok(None) };
        let Some(item) = self.resolved(archive, item)? else { return Ok(None) };
        unreadable(&item).iter().for_each(|problem| self.progress.problem(problem));
        if wants_disk {
            return self.repository.open_disk(&item);
        }
        Ok(self.repository.open_file(&item)?.map(|file| Arc::new(file) as Arc<dyn Source>))
    }
}

/// The guest's disk in the file at `path` of `archive`; none if there is no such file.
///
/// # Errors
/// As of [`Disk::of`].
pub fn disk(
    repository: &Repository,
    archive: &NamedArchive,
    path: &[u8],
    progress: &dyn Progress,
) -> Result<Option<Arc<dyn Source>>, Error> {
    let all = ArchiveExports::of_all(repository, std::slice::from_ref(archive), progress);
    let mut items = repository.items(archive);
    let is_it =
        |item: &garret_core::Result<Item>| item.as_ref().map_or(true, |item| item.path == path);
    let Some(item) = items.find(is_it).transpose()? else { return Ok(None) };
    let Some(item) = all.resolved(archive, item)? else { return Ok(None) };
    unreadable(&item).iter().for_each(|problem| progress.problem(problem));
    repository.open_disk(&item)
}

/// One disk, under a name that says which it is.
pub struct Disk<'a> {
    repository: &'a Repository,
    name: String,
    disk: Arc<dyn Source>,
    progress: &'a dyn Progress,
}

impl std::fmt::Debug for Disk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<'a> Disk<'a> {
    /// The guest's disk in the file at `path` of `archive`; none if there is no such file. Its name has that of the archive
    /// and the path, and behind `#` what tells it from any other archive of that name.
    ///
    /// # Errors
    /// Damage of the archive, and of what says how the file is divided; `NotRestored` for an image whose disk cannot be told
    /// from the file alone.
    pub fn of(
        repository: &'a Repository,
        archive: &NamedArchive,
        path: &str,
        progress: &'a dyn Progress,
    ) -> Result<Option<Self>, Error> {
        let disk = disk(repository, archive, path.as_bytes(), progress)?;
        let Some(disk) = disk else { return Ok(None) };
        let end = archive.archive.end;
        let name = format!(
            "{}::{path}{RAW_VIEW}#{}-{}.{:09}",
            archive.name,
            repository.id(),
            end.secs,
            end.nanos
        );
        Ok(Some(Disk { repository, name, disk, progress }))
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its length, in bytes.
    pub fn len(&self) -> u64 {
        self.disk.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.disk.is_empty()
    }
}

impl Exports for Disk<'_> {
    fn each_name(&self, visit: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        visit(&self.name)
    }

    fn open(&self, name: &str) -> Option<Arc<dyn Source>> {
        (name == self.name).then(|| self.disk.clone())
    }

    fn failed(&self, name: &str, error: &SourceError) {
        tell(self.repository, self.progress, name, error);
    }
}

/// Tells that some of what is called so could not be read.
fn tell(repository: &Repository, progress: &dyn Progress, name: &str, error: &SourceError) {
    repository.tell(progress);
    let text = format!("{name}: {}", message(error));
    progress.problem(&Problem::new(Cause::Damaged, Some(name.to_owned()), text));
}

impl Exports for ArchiveExports<'_> {
    fn each_name(&self, visit: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        for archive in self.archives {
            self.each_file(archive, &mut |item| {
                let Some(name) = self.name(archive, &item) else { return Ok(()) };
                visit(&name)?;
                match self.is_image(&item) {
                    true => visit(&format!("{name}{RAW_VIEW}")),
                    false => Ok(()),
                }
            })?;
        }
        Ok(())
    }

    fn open(&self, name: &str) -> Option<Arc<dyn Source>> {
        let open = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = open().get(name).and_then(Weak::upgrade) {
            return Some(source);
        }
        // Not held meanwhile: who wants what there is not makes nobody else wait.
        match self.open_named(name) {
            Ok(found) => {
                let source = found?;
                let mut open = open();
                open.retain(|_, source| source.strong_count() > 0);
                open.insert(name.to_owned(), Arc::downgrade(&source));
                Some(source)
            }
            Err(error) => {
                let text = format!("{name}: {}", message(&error));
                let problem = Problem::new(error.cause(), Some(name.to_owned()), text);
                self.progress.problem(&problem);
                None
            }
        }
    }

    fn failed(&self, name: &str, error: &SourceError) {
        tell(self.repository, self.progress, name, error);
    }
}

/// Why a visit ended early.
enum Stop {
    Visitor(io::Error),
    Damage(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Damage(error)
    }
}
