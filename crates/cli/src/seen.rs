//! What this client saw in a repository, at each place where it used it: so that it notices when what was there is gone, or
//! when all of it is as it was some time ago.
//!
//! In: `GARRET_STATE_DIR`; a repository that is open. Out: a file `ID.seen-PLACE` for each place, with the archives that were
//! there and how far the record of deletions had come; in words, what is wrong. Promises: a file is replaced whole, and
//! read by nobody who has not the key, and
//! believed only if who wrote it had it and nobody else can write there; what is lost is told of once.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use garret_core::{Keys, NamedArchive, Progress, Repository, Rollback, Seen, SeenArchive, Sight};
use garret_format::archive::Time;
use garret_format::object::ENVELOPE_LEN;
use garret_format::seen::SEEN_LEN_MAX;
use garret_format::{ChunkId, RepositoryId};

use crate::failure::Failure;
use crate::location::Location;
use crate::state::{directory, forged, open_own, unreadable};
use crate::{key_file, render};

/// Longest file that is read: as many archives as are remembered, with the longest names.
const LEN_MAX: u64 = (ENVELOPE_LEN + SEEN_LEN_MAX) as u64;
/// Of the archives that are lost, how many are named.
const NAMED_MAX: usize = 3;

/// What was seen of one repository, by each name of its place.
#[derive(Clone)]
pub(crate) struct Memory {
    keys: Keys,
    files: Vec<Remembered>,
    lost: Vec<SeenArchive>,
}

/// What a file says, or is to say.
#[derive(Clone)]
struct Remembered {
    path: PathBuf,
    id: RepositoryId,
    place: String,
    seen: Seen,
    /// Whether the file says something else.
    is_changed: bool,
}

impl Memory {
    /// What is remembered of the repository at `location`.
    ///
    /// # Errors
    /// Why it is not believed.
    pub(crate) fn load(
        id: RepositoryId,
        keys: &Keys,
        location: &Location,
    ) -> Result<Self, Failure> {
        let mut files = Vec::new();
        if let Some(directory) = directory() {
            for place in location.names() {
                files.push(Remembered::load(&directory, id, place, keys)?);
            }
        }
        Ok(Memory { keys: keys.clone(), files, lost: Vec::new() })
    }

    /// Compares what is there with it, and goes by the repository from then on. In what it is an older state, if it is;
    /// then this stays what it was.
    ///
    /// # Errors
    /// The repository cannot be looked at.
    pub(crate) fn look(
        &mut self,
        repository: &Repository,
        now: &Sight,
        progress: &dyn Progress,
    ) -> garret_core::Result<Option<String>> {
        let mut looks = Vec::new();
        for file in &self.files {
            let look = repository.look(now, &file.seen, progress)?;
            if let Some(rollback) = look.rollback {
                let mut lost = look.lost;
                newest_first(&mut lost);
                return Ok(Some(older(rollback, &lost)));
            }
            looks.push(look);
        }
        self.lost.clear();
        for (file, look) in self.files.iter_mut().zip(looks) {
            file.set(look.seen);
            self.lost.extend(look.lost);
        }
        newest_first(&mut self.lost);
        Ok(None)
    }

    /// Goes by the repository, whatever it was.
    ///
    /// # Errors
    /// The repository cannot be looked at.
    pub(crate) fn accept(
        &mut self,
        repository: &Repository,
        now: &Sight,
        progress: &dyn Progress,
    ) -> garret_core::Result<()> {
        let seen = repository.look(now, &Seen::default(), progress)?.seen;
        self.files.iter_mut().for_each(|file| file.set(seen.clone()));
        Ok(())
    }

    /// Adds archives that were made. What others of this client added meanwhile stays.
    ///
    /// # Errors
    /// The file of one is not there; or why what is remembered is not believed.
    pub(crate) fn add(
        &mut self,
        repository: &Repository,
        made: &[NamedArchive],
    ) -> Result<(), Failure> {
        for file in &mut self.files {
            let directory = file.path.parent().unwrap_or(Path::new("")).to_owned();
            let mut now = Remembered::load(&directory, file.id, file.place.clone(), &self.keys)?;
            for made in made {
                repository.note_made(&mut now.seen, made)?;
            }
            *file = Remembered { is_changed: true, ..now };
        }
        Ok(())
    }

    /// The archives that are gone and of which no deletion was recorded, the newest first.
    pub(crate) fn lost(&self) -> &[SeenArchive] {
        &self.lost
    }

    /// Whether any of them was not told of before.
    pub(crate) fn has_untold(&self) -> bool {
        self.lost.iter().any(|lost| !lost.is_told)
    }

    /// Those of them that were not told of before, in words, if there are any. Now they were.
    pub(crate) fn untold(&mut self) -> Option<String> {
        let untold: Vec<SeenArchive> =
            self.lost.iter().filter(|lost| !lost.is_told).cloned().collect();
        let is_untold = |known: &&mut SeenArchive| untold.iter().any(|lost| lost.id == known.id);
        self.lost.iter_mut().for_each(|lost| lost.is_told = true);
        for file in &mut self.files {
            for known in file.seen.archives.iter_mut().filter(is_untold) {
                file.is_changed |= !known.is_told;
                known.is_told = true;
            }
        }
        (!untold.is_empty()).then(|| gone(&untold))
    }

    /// Writes what has changed.
    ///
    /// # Errors
    /// Why it cannot be written.
    pub(crate) fn save(&mut self) -> std::io::Result<()> {
        for file in self.files.iter_mut().filter(|file| file.is_changed) {
            let place = file.place.as_bytes();
            let bytes = garret_core::seal_seen(&file.seen, file.id, &self.keys, place);
            key_file::write_private(&file.path, &bytes.map_err(std::io::Error::other)?)?;
            file.is_changed = false;
        }
        Ok(())
    }
}

impl Remembered {
    /// What is known of a place; nothing was seen there if there is no file.
    fn load(
        directory: &Path,
        id: RepositoryId,
        place: String,
        keys: &Keys,
    ) -> Result<Self, Failure> {
        let name = ChunkId::from_bytes(*blake3::hash(place.as_bytes()).as_bytes()).to_string();
        let path = directory.join(format!("{id}.seen-{}", name.get(..16).unwrap_or_default()));
        let mut known = Remembered { path, id, place, seen: Seen::default(), is_changed: true };
        // Where nobody may look, nothing was remembered.
        if known.path.symlink_metadata().is_err() {
            return Ok(known);
        }
        let (file, mut bytes) = (open_own(directory, &known.path)?, Vec::new());
        file.take(LEN_MAX).read_to_end(&mut bytes).map_err(|_| unreadable(&known.path))?;
        known.seen = garret_core::open_seen(&bytes, id, keys, known.place.as_bytes())
            .ok_or_else(|| Failure::Fatal(forged(&known.path)))?;
        known.is_changed = false;
        Ok(known)
    }

    fn set(&mut self, seen: Seen) {
        self.is_changed |= self.seen != seen;
        self.seen = seen;
    }
}

/// Sorts them so, each once; those that were seen later are newer than others of the same second.
fn newest_first(lost: &mut Vec<SeenArchive>) {
    lost.reverse();
    lost.sort_by_key(|lost| std::cmp::Reverse(lost.end));
    let mut known = HashSet::new();
    lost.retain(|lost| known.insert(lost.id));
}

/// `archive b, made Tue Nov 24 02:30:00 2026, is` or `3 archives, the newest c, b, a, are`.
fn named(lost: &[SeenArchive]) -> String {
    let names: Vec<String> =
        lost.iter().take(NAMED_MAX).map(|lost| render::name(&lost.name)).collect();
    match lost {
        [only] => {
            let made = render::long_time(Time { secs: only.end, nanos: 0 });
            format!("archive {}, made {made}, is", names.concat())
        }
        several => format!("{} archives, the newest {}, are", several.len(), names.join(", ")),
    }
}

/// What is said of archives that are gone.
fn gone(lost: &[SeenArchive]) -> String {
    format!(
        "{} gone, and no deletion was recorded: removed by hand, or lost or hidden by the storage; look into it \
         if nobody did that",
        named(lost)
    )
}

/// What is said of an older state.
fn older(rollback: Rollback, lost: &[SeenArchive]) -> String {
    let how = match rollback {
        Rollback::Archives => format!("{} gone together with data", named(lost)),
        _ => "deletions that were recorded are not any more, or tombstones is damaged".to_owned(),
    };
    format!(
        "this is an older state of the repository than this client saw: {how}; put the newer one back, or give \
         --accept-state to the next command that writes if this one is to stay"
    )
}
