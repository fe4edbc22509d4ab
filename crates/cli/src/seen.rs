//! What this client saw in a repository, at each place where it used it: so that it notices when what was there is gone, or
//! when all of it is as it was some time ago.
//!
//! In: `GARRET_STATE_DIR`; a repository that is open. Out: a file `ID-PLACE.seen` for each place, with the archives that were
//! there and how far the record of deletions had come; in words, what is wrong. Promises: a file is replaced whole, and
//! believed only if who wrote it had the key and nobody else can write there; what is lost is told of once.

use std::io::Read;
use std::path::{Path, PathBuf};

use garret_core::{
    Deletions, Keys, NamedArchive, Progress, Repository, Rollback, SEEN_MAX, Seen, SeenArchive,
};
use garret_format::archive::Time;
use garret_format::{ArchiveId, ChunkId, RepositoryId};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::state::{directory, forged, locations, open_own, unreadable};
use crate::{key_file, render};

/// Longest file that is read: as many archives as are remembered, with the longest names.
const LEN_MAX: u64 = 32 << 20;
/// Of the archives that are lost, how many are named.
const NAMED_MAX: usize = 3;

/// What was seen of one repository, by each name of its place.
pub(crate) struct Memory {
    keys: Keys,
    files: Vec<Remembered>,
    lost: Vec<SeenArchive>,
}

/// What a file says, or is to say.
struct Remembered {
    path: PathBuf,
    id: RepositoryId,
    place: String,
    seen: Seen,
    /// Whether the file says something else.
    is_changed: bool,
}

impl Memory {
    /// What is remembered of the repository at `path`.
    ///
    /// # Errors
    /// Why it is not believed.
    pub(crate) fn load(id: RepositoryId, keys: &Keys, path: &Path) -> Result<Self, Failure> {
        let mut files = Vec::new();
        if let Some(directory) = directory() {
            for place in locations(path) {
                files.push(Remembered::load(&directory, id, place, keys)?);
            }
        }
        Ok(Memory { keys: keys.clone(), files, lost: Vec::new() })
    }

    /// Compares the repository with it, and goes by the repository from then on. In what it is an older state, if it is;
    /// then this stays what it was.
    ///
    /// # Errors
    /// The repository cannot be looked at.
    pub(crate) fn look(
        &mut self,
        repository: &Repository,
        progress: &dyn Progress,
    ) -> garret_core::Result<Option<String>> {
        let mut looks = Vec::new();
        for file in &self.files {
            let look = repository.look(&file.seen, progress)?;
            if let Some(rollback) = look.rollback {
                return Ok(Some(older(rollback, &look.lost)));
            }
            looks.push(look);
        }
        self.lost.clear();
        for (file, look) in self.files.iter_mut().zip(looks) {
            file.set(look.seen);
            self.lost.extend(look.lost);
        }
        self.lost.sort_by(|a, b| (b.end, a.id).cmp(&(a.end, b.id)));
        self.lost.dedup_by_key(|lost| lost.id);
        Ok(None)
    }

    /// Goes by the repository, whatever it was.
    ///
    /// # Errors
    /// The repository cannot be looked at.
    pub(crate) fn accept(
        &mut self,
        repository: &Repository,
        progress: &dyn Progress,
    ) -> garret_core::Result<()> {
        let seen = repository.look(&Seen::default(), progress)?.seen;
        self.files.iter_mut().for_each(|file| file.set(seen.clone()));
        Ok(())
    }

    /// Adds an archive that was made. What others of this client added meanwhile stays.
    ///
    /// # Errors
    /// Its file is not there; or why what is remembered is not believed.
    pub(crate) fn add(
        &mut self,
        repository: &Repository,
        made: &NamedArchive,
    ) -> Result<(), Failure> {
        for file in &mut self.files {
            let directory = file.path.parent().unwrap_or(Path::new("")).to_owned();
            let mut now = Remembered::load(&directory, file.id, file.place.clone(), &self.keys)?;
            now.seen.add(repository, made)?;
            *file = Remembered { is_changed: true, ..now };
        }
        Ok(())
    }

    /// The archives that are gone and of which no deletion was recorded, the newest first.
    pub(crate) fn lost(&self) -> &[SeenArchive] {
        &self.lost
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
            key_file::write_private(&file.path, file.encode(&self.keys).as_bytes())?;
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
        let path = directory.join(format!("{id}-{}.seen", name.get(..16).unwrap_or_default()));
        let mut known = Remembered { path, id, place, seen: Seen::default(), is_changed: true };
        // Where nobody may look, nothing was remembered.
        if known.path.symlink_metadata().is_err() {
            return Ok(known);
        }
        let file = open_own(directory, &known.path)?;
        let (mut bytes, path) = (Vec::new(), &known.path);
        let read = file.take(LEN_MAX).read_to_end(&mut bytes);
        let value = read.ok().and_then(|_| serde_json::from_slice::<Value>(&bytes).ok());
        let value = value.ok_or_else(|| unreadable(path))?;
        known.seen = decode(&value).ok_or_else(|| unreadable(&known.path))?;
        known.is_changed = false;
        // It says whose it is by what it was sealed with.
        match known.encode(keys).as_bytes() == bytes {
            true => Ok(known),
            false => Err(Failure::Fatal(forged(&known.path))),
        }
    }

    fn set(&mut self, seen: Seen) {
        self.is_changed |= self.seen != seen;
        self.seen = seen;
    }

    /// The file: what was seen, then what authenticates it; without encryption everybody has the keys.
    fn encode(&self, keys: &Keys) -> String {
        let Seen { deletions, pack_count, archives } = &self.seen;
        let head = ChunkId::from_bytes(deletions.head).to_string();
        let archive = |known: &SeenArchive| {
            let SeenArchive { id, name, len, end, is_told } = known;
            json!([id.to_string(), name, len, end, is_told])
        };
        let mut value = json!({
            "id": self.id.to_string(),
            "place": self.place,
            "deletions": [deletions.count, head],
            "packs": pack_count,
            "archives": archives.iter().map(archive).collect::<Vec<_>>(),
        });
        let seal = keys.authenticate(value.to_string().as_bytes());
        if let Value::Object(fields) = &mut value {
            fields.insert("seal".to_owned(), json!(seal.map(|seal| seal.to_hex().to_string())));
        }
        format!("{value}\n")
    }
}

fn decode(value: &Value) -> Option<Seen> {
    let deletions = value.get("deletions")?;
    let head = ChunkId::from_hex(deletions.get(1)?.as_str()?)?;
    let archives = value.get("archives")?.as_array()?;
    let archive = |row: &Value| {
        Some(SeenArchive {
            id: ArchiveId::from_hex(row.get(0)?.as_str()?)?,
            name: row.get(1)?.as_str()?.to_owned(),
            len: row.get(2)?.as_u64()?,
            end: row.get(3)?.as_i64()?,
            is_told: row.get(4)?.as_bool()?,
        })
    };
    let archives = archives.iter().map(archive).collect::<Option<Vec<_>>>()?;
    let deletions = Deletions { count: deletions.get(0)?.as_u64()?, head: *head.as_bytes() };
    let pack_count = value.get("packs")?.as_u64()?;
    (archives.len() <= SEEN_MAX).then_some(Seen { deletions, pack_count, archives })
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
        "{} gone, and no deletion was recorded: removed by hand, or lost or hidden by the storage; look into it if nobody did that",
        named(lost)
    )
}

/// What is said of an older state.
fn older(rollback: Rollback, lost: &[SeenArchive]) -> String {
    let how = match rollback {
        Rollback::Archives => format!("{} gone together with data", named(lost)),
        _ => "deletions that were recorded are not any more".to_owned(),
    };
    format!(
        "this is an older state of the repository than this client saw: {how}; put the newer one back, or give --accept-state \
         to the next command that writes if this one is to stay"
    )
}
