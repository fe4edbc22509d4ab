//! Brings archives from another copy of a repository.
//!
//! ```text
//! there   archives -> which are not here? -> marks -> packs of what is not here --get--+
//! here                                                                  named by its bytes? -> put -> segment -> archive
//! ```
//!
//! In: another copy of the same repository, with the same keys, open to be read; names of archives. Out: the same archives
//! here, byte for byte, and what they need. Promises:
//!
//! - An archive is here when all that it needs is, durably; what was brought before it broke off is not brought again.
//! - A pack that is not what its name says does not come in. What is lost there costs the archives that need it, each with a
//!   line, and no other.
//! - What was deleted here stays deleted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use garret_format::archive::Time;
use garret_format::index::PackRow;
use garret_format::pack::{Footer, PackKind};
use garret_format::{ArchiveHash, ChunkId, PackId};

use crate::error::{Cause, Error, Result, message};
use crate::limits::ARCHIVE_LEN_MAX;
use crate::objects::archive::NamedArchive;
use crate::objects::copies::of_archive;
use crate::objects::damage;
use crate::objects::index::{Index, IndexWriter, Location, Rows, store_segment};
use crate::objects::pack::PackReader;
use crate::objects::tombstones;
use crate::progress::{Phase, Problem, Progress};
use crate::read::mark::{Marks, Visitor, mark_archive};
use crate::repository::{Adding, Repository, Writer};
use crate::store::{Key, MemoryStore, StoreErrorKind};

/// Packs under way: each is in memory as a whole.
const IN_FLIGHT: usize = 4;

/// What was brought.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TransferReport {
    /// Archives that are here now and were not.
    pub brought: Vec<NamedArchive>,
    /// Archives that were here.
    pub present_count: usize,
    /// Archives that were here once and were deleted.
    pub deleted_count: usize,
    /// Archives that are not here and began before what was asked for.
    pub older_count: usize,
    /// Packs that came.
    pub pack_count: u64,
    /// Their bytes.
    pub pack_bytes: u64,
}

impl Writer {
    /// Brings the archives `names` from another copy of this repository, the oldest first; only those that began at `since`
    /// or later, if that is said.
    ///
    /// # Errors
    /// `BadOption` if that is another repository or has another key; the index or the lists of either cannot be read; this
    /// one cannot be written. What is wrong with an archive there is a problem, and the others come.
    pub fn transfer(
        &mut self,
        from: &Repository,
        names: Vec<String>,
        since: Option<Time>,
        progress: &dyn Progress,
    ) -> Result<TransferReport> {
        let (archives, mut report) = not_here(from, Some(self.as_ref()), names, since, progress)?;
        // Others may have made some of them since it was opened.
        from.refresh_index(progress)?;
        let to = self.adding();
        to.growing(|index| {
            let marks = Marks::new(&from.index());
            let mut transfer = Transfer { from, to, index, marks };
            for archive in archives {
                match transfer.bring(&archive, &mut report, progress) {
                    Ok(()) => report.brought.push(archive),
                    // What is wrong here is wrong for all.
                    Err(Failed::Here(error)) => return Err(error),
                    Err(Failed::There(why)) => {
                        // Not all that is marked has come: the next archive may need it too.
                        transfer.marks = Marks::new(&from.index());
                        match from.archive(&archive.name) {
                            Err(error @ Error::ArchiveMissing(_)) => {
                                tell(&archive.name, &error, progress);
                            }
                            _ => {
                                let text = format!("not brought: {why}");
                                let problem = Problem::loss(Cause::Damaged, &archive.name, text);
                                progress.problem(&problem);
                            }
                        }
                    }
                }
            }
            Ok(())
        })?;
        from.tell(progress);
        self.tell(progress);
        Ok(report)
    }
}

impl Repository {
    /// What [`Writer::transfer`] would bring from this repository to `to`, or to where nothing is: archives, without packs.
    ///
    /// # Errors
    /// As of that, but that `to` need not be written.
    pub fn plan_transfer(
        &self,
        to: Option<&Repository>,
        names: Vec<String>,
        since: Option<Time>,
        progress: &dyn Progress,
    ) -> Result<TransferReport> {
        let (archives, report) = not_here(self, to, names, since, progress)?;
        for repository in [Some(self), to].into_iter().flatten() {
            repository.tell(progress);
        }
        Ok(TransferReport { brought: archives, ..report })
    }

    /// Which of these archives, of this repository or of a copy of it, somebody deleted here while they were whole: not those
    /// that were found gone, or had lost something.
    ///
    /// # Errors
    /// A record that cannot be read; of one that is lost nothing is known.
    pub fn deleted_of(&self, mut archives: Vec<NamedArchive>) -> Result<Vec<NamedArchive>> {
        let deleted = tombstones::deleted(self.store(), self.metadata())?;
        archives.retain(|found| deleted.contains(&tombstones::archive_id(&found.fingerprint)));
        Ok(archives)
    }
}

/// Which of the archives at `from` are not at `to`, the oldest first, and how many are or were.
fn not_here(
    from: &Repository,
    to: Option<&Repository>,
    names: Vec<String>,
    since: Option<Time>,
    progress: &dyn Progress,
) -> Result<(Vec<NamedArchive>, TransferReport)> {
    let (mut here, mut buried) = (HashMap::new(), HashSet::new());
    if let Some(to) = to {
        if from.id() != to.id() || from.keys().id() != to.keys().id() {
            return Err(Error::BadOption(format!(
                "{} and {} are not copies of one repository",
                from.store().place(),
                to.store().place()
            )));
        }
        let named: HashSet<String> = to.archive_names()?.into_iter().collect();
        let both = names.iter().filter(|name| named.contains(*name)).cloned().collect();
        // What a name stands for here only the archive says.
        here.extend(to.archives(both)?);
        buried = tombstones::buried(to.store(), to.metadata())?;
    }
    let (mut lacking, mut report) = (Vec::new(), TransferReport::default());
    for (name, found) in from.archives(names)? {
        let archive = match found {
            Ok(archive) => archive,
            Err(error) => {
                tell(&name, &error, progress);
                continue;
            }
        };
        let is_buried = buried.contains(&tombstones::archive_id(&archive.fingerprint));
        match here.get(&name) {
            _ if is_buried => report.deleted_count += 1,
            None if since.is_some_and(|since| archive.archive.start < since) => {
                report.older_count += 1;
            }
            None => lacking.push(archive),
            Some(Err(error)) => progress.problem(&Problem::from(error)),
            Some(Ok(found)) if found.fingerprint == archive.fingerprint => {
                report.present_count += 1;
            }
            Some(Ok(_)) => {
                let text = "not brought: there is another archive of that name";
                progress.problem(&Problem::loss(Cause::Taken, &name, text));
            }
        }
    }
    lacking.sort_by(|one, other| {
        (one.archive.start, &one.name).cmp(&(other.archive.start, &other.name))
    });
    Ok((lacking, report))
}

/// Tells why an archive does not come that was listed there a moment ago: that somebody deleted it since is no problem.
fn tell(name: &str, error: &Error, progress: &dyn Progress) {
    match error {
        Error::ArchiveMissing(_) => {
            progress.notice(&format!("{name} is not there any more: not brought"));
        }
        error => progress.problem(&Problem::from(error)),
    }
}

/// Why an archive does not come.
enum Failed {
    /// Because of where it is to come.
    Here(Error),
    /// Because of where it is.
    There(String),
}

/// What comes from where, and what is known to be here.
struct Transfer<'t> {
    from: &'t Repository,
    to: Adding<'t>,
    index: &'t mut Index,
    /// What archives needed there that are here by now, with all of that.
    marks: Marks,
}

/// Finds the packs that an archive needs and that are not here.
struct Needed<'n> {
    from: &'n Index,
    to: &'n Index,
    marks: &'n Marks,
    /// By their ids, their lengths in bytes.
    packs: BTreeMap<PackId, u32>,
    lost: Option<String>,
}

impl Visitor for Needed<'_> {
    fn chunk(&mut self, path: &[u8], id: &ChunkId, location: Option<&Location>) {
        let Some(location) = location else {
            let path = String::from_utf8_lossy(path);
            self.lost.get_or_insert_with(|| format!("something that {path} needs is lost there"));
            return;
        };
        if self.marks.is_set(location.record) {
            return;
        }
        match location.pack.kind {
            PackKind::Data if !self.to.contains(id) => {
                self.packs.insert(location.pack.id, location.pack.len);
            }
            PackKind::Data => {}
            PackKind::Structure => {
                let here: HashSet<PackId> = self.to.copies(id).map(|copy| copy.pack.id).collect();
                let others = self.from.copies(id).filter(|copy| {
                    copy.pack.kind == PackKind::Structure && !here.contains(&copy.pack.id)
                });
                // Those that are known to be damaged come last.
                for copy in others.take(self.to.lacking_copies(id)) {
                    self.packs.insert(copy.pack.id, copy.pack.len);
                }
            }
        }
    }
}

/// Finds whether anything that an archive needs is not here.
struct Left<'l> {
    to: &'l Index,
    is_any: bool,
}

impl Visitor for Left<'_> {
    fn chunk(&mut self, _path: &[u8], id: &ChunkId, _location: Option<&Location>) {
        self.is_any |= !self.to.contains(id);
    }
}

impl Transfer<'_> {
    /// Brings one archive and all that it needs.
    fn bring(
        &mut self,
        archive: &NamedArchive,
        report: &mut TransferReport,
        progress: &dyn Progress,
    ) -> Result<(), Failed> {
        let there = |error: Error| Failed::There(message(&error));
        let chunks = self.from.chunks();
        let mut needed = Needed {
            from: chunks.index(),
            to: self.index,
            marks: &self.marks,
            packs: BTreeMap::new(),
            lost: None,
        };
        mark_archive(&chunks, archive, &self.marks, &mut needed).map_err(there)?;
        let Needed { packs, lost, .. } = needed;
        if let Some(lost) = lost {
            return Err(Failed::There(lost));
        }
        if let Some(why) = self.bring_packs(packs.into_iter().collect(), report, progress)? {
            // What did not come may have been one of two copies.
            let mut left = Left { to: self.index, is_any: false };
            let marks = Marks::new(chunks.index());
            mark_archive(&chunks, archive, &marks, &mut left).map_err(there)?;
            if left.is_any {
                return Err(Failed::There(why));
            }
            progress.problem(&Problem::warning(
                Cause::Damaged,
                &archive.name,
                format!("of its structure one copy came: {why}"),
            ));
        }
        self.bring_file(archive, progress)
    }

    /// Brings packs, several at once, and the rows of the index for them. Why one did not come, if one did not.
    fn bring_packs(
        &mut self,
        packs: Vec<(PackId, u32)>,
        report: &mut TransferReport,
        progress: &dyn Progress,
    ) -> Result<Option<String>, Failed> {
        // gc may have decided by now that it goes (rule S2).
        if packs.iter().any(|(id, _)| self.index.is_condemned(id)) {
            let why =
                "what it needs is being given back here: prune this copy, then bring it again";
            return Err(Failed::There(why.to_owned()));
        }
        let bytes = packs.iter().map(|(_, len)| u64::from(*len)).sum();
        let task = progress.begin(Phase::Transfer, Some(bytes));
        let (next, arrived) =
            (AtomicUsize::new(0), Mutex::new((IndexWriter::default(), Vec::new())));
        let (from, to, packs) = (self.from, self.to, &packs);
        let carry = || -> Result<(), Failed> {
            let mut lacks = Ok(());
            while let Some((id, len)) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (row, footer) = match carry_pack(from, to, *id, *len) {
                    Ok(carried) => carried,
                    Err(Failed::There(why)) => {
                        lacks = Err(Failed::There(why));
                        continue;
                    }
                    Err(failed) => {
                        // Nobody goes on.
                        next.store(packs.len(), Ordering::Relaxed);
                        return Err(failed);
                    }
                };
                task.advance(u64::from(*len));
                let mut arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
                let full = arrived.0.push(row, &footer);
                arrived.1.extend(full);
            }
            lacks
        };
        let carried: Vec<Result<(), Failed>> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..IN_FLIGHT.min(packs.len())).map(|_| scope.spawn(carry)).collect();
            let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined.map(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let (mut writer, mut segments) =
            arrived.into_inner().unwrap_or_else(PoisonError::into_inner);
        segments.extend(writer.finish());
        for rows in segments {
            let packs = rows.packs.iter().map(|pack| pack.id);
            let mended: Vec<PackId> = packs.filter(|pack| self.index.is_damaged(pack)).collect();
            self.note(rows, report).map_err(Failed::Here)?;
            // They are durable by now.
            for pack in mended {
                self.index.set_intact(&pack);
                damage::forget(to.store(), pack, progress);
            }
        }
        // After what came is noted, so that it need not come again.
        let mut lacking = None;
        for ended in carried {
            match ended {
                Ok(()) => {}
                Err(Failed::There(why)) => lacking = Some(why),
                Err(Failed::Here(error)) => return Err(Failed::Here(error)),
            }
        }
        Ok(lacking)
    }

    /// Stores a segment that lists packs which have come.
    fn note(&mut self, rows: Rows, report: &mut TransferReport) -> Result<()> {
        let id = store_segment(self.to.store(), self.to.metadata(), &rows)?;
        report.pack_count += rows.packs.len() as u64;
        report.pack_bytes += rows.packs.iter().map(|pack| u64::from(pack.len)).sum::<u64>();
        self.index.add(rows, Some(id))
    }

    /// Brings the archive's own file, with what it is tagged with.
    fn bring_file(&self, archive: &NamedArchive, progress: &dyn Progress) -> Result<(), Failed> {
        let there = |error: Error| Failed::There(message(&error));
        let (from, to) = (self.from.store(), self.to.store());
        let hash = archive.fingerprint;
        let read = |key: &Key| {
            let bytes = from.get_whole(key, ARCHIVE_LEN_MAX)?;
            match *blake3::hash(&bytes).as_bytes() == hash {
                true => Ok(bytes),
                false => Err(Error::misnamed(&key.to_string())),
            }
        };
        let bytes = read(&Key::Archive(archive.name.clone()))
            .or_else(|_| read(&of_archive(&hash)))
            .map_err(there)?;
        let tags = Key::Tags(ArchiveHash::from_bytes(hash));
        let record = match from.get_whole(&tags, ARCHIVE_LEN_MAX) {
            Ok(record) => Some(record),
            Err(error) if error.kind == StoreErrorKind::NotFound => None,
            Err(error) => return Err(there(error.into())),
        };
        let put_tags = || match (&record, to.len(&tags)) {
            // What somebody said of it here counts here.
            (Some(record), Err(error)) if error.kind == StoreErrorKind::NotFound => {
                match to.put(&tags, &[record]) {
                    // A server that lets archives only be added.
                    Err(error) if error.kind == StoreErrorKind::Denied => {
                        let text = format!("it comes without its tags: {}", message(&error));
                        progress.problem(&Problem::warning(Cause::Denied, &archive.name, text));
                        Ok(())
                    }
                    put => put,
                }
            }
            _ => Ok(()),
        };
        // Before the archive, so that one that is protected is so at once.
        put_tags().map_err(|error| Failed::Here(error.into()))?;
        match self.to.publish(&archive.name, &bytes) {
            // And again, if a gc that had listed the archives before took it for one of an archive that is gone.
            Ok(_) => {
                put_tags().and_then(|()| to.sync()).map_err(|error| Failed::Here(error.into()))
            }
            Err(Error::ArchiveExists(_)) => {
                Err(Failed::There("another archive of that name was made meanwhile".to_owned()))
            }
            Err(error) => Err(Failed::Here(error)),
        }
    }
}

/// Brings a pack; what the index says of it.
fn carry_pack(
    from: &Repository,
    to: Adding<'_>,
    id: PackId,
    len: u32,
) -> Result<(PackRow, Footer), Failed> {
    let there = |error: Error| Failed::There(message(&error));
    let key = Key::Pack(id);
    let bytes = from.store().get(&key, 0..u64::from(len)).map_err(|error| there(error.into()))?;
    if *blake3::hash(&bytes).as_bytes() != *id.as_bytes() {
        return Err(there(Error::misnamed(&key.to_string())));
    }
    to.store().put(&key, &[&bytes]).map_err(|error| Failed::Here(error.into()))?;
    let held = MemoryStore::from_objects([(key, bytes)]);
    let packs = PackReader { store: &held, ..to.packs() };
    packs.footer(id, u64::from(len)).map_err(there)
}
