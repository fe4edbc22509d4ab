//! Drills: which images this client restored to see that it can, and what came of it.
//!
//! In: `GARRET_STATE_DIR`, results. Out: a file `ID.drills` for each repository, the last results in it, as JSON. Promises:
//! it decides nothing, it is shown; one that others can have written is not believed.

use std::io::Read;
use std::path::{Path, PathBuf};

use garret_core::Progress;
use garret_format::RepositoryId;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::state::{directory, open_own, unreadable};
use crate::ui::Ui;
use crate::{key_file, render};

/// Results that are kept.
const KEPT_MAX: usize = 200;
/// Longest file that is read.
const LEN_MAX: u64 = 4 << 20;

/// What came of one drill.
#[derive(Clone, Debug, PartialEq)]
pub struct Drill {
    /// When it ended, in seconds since 1970.
    pub time: i64,
    /// The name of the archive.
    pub archive: String,
    /// What tells that archive from others that get its name.
    pub id: String,
    /// The image.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// How long the restore took.
    pub seconds: f64,
    /// Whether every byte came back as it is stored.
    pub restored: bool,
}

impl Drill {
    /// As `list` has it behind the archive.
    pub fn mark(&self) -> String {
        let when = render::days_ago(self.time);
        if self.restored { format!(" (drilled {when})") } else { format!(" (drill failed {when})") }
    }

    fn read(value: &Value) -> Option<Self> {
        let text = |name: &str| Some(value.get(name)?.as_str()?.to_owned());
        Some(Drill {
            time: value.get("time")?.as_i64()?,
            archive: text("archive")?,
            id: text("id")?,
            path: text("path")?,
            size: value.get("size")?.as_u64()?,
            seconds: value.get("seconds")?.as_f64()?,
            restored: value.get("restored")?.as_bool()?,
        })
    }

    fn json(&self) -> Value {
        let Drill { time, archive, id, path, size, seconds, restored } = self;
        json!({
            "time": time, "archive": archive, "id": id, "path": path, "size": size, "seconds": seconds,
            "restored": restored,
        })
    }
}

/// The drills of a repository, the last one last. What is not believed counts for nothing, and is told of.
pub fn load(id: RepositoryId, ui: &Ui) -> Vec<Drill> {
    let loaded =
        directory().map_or(Ok(Vec::new()), |directory| read(&directory, &place(&directory, id)));
    loaded.unwrap_or_else(|why| {
        ui.notice(&format!("note: what is known of drills is passed over: {why}"));
        Vec::new()
    })
}

/// Adds a result. That it cannot be kept is told of, and fails nothing.
pub fn note(id: RepositoryId, drill: Drill, ui: &Ui) {
    let Some(directory) = directory() else { return };
    let path = place(&directory, id);
    let mut drills = load(id, ui);
    drills.push(drill);
    let surplus = drills.len().saturating_sub(KEPT_MAX);
    let kept: Vec<Value> = drills.iter().skip(surplus).map(Drill::json).collect();
    let text = format!("{:#}\n", Value::from(kept));
    if let Err(error) = key_file::write_private(&path, text.as_bytes()) {
        ui.notice(&format!("note: cannot remember this drill: {}: {error}", path.display()));
    }
}

fn place(directory: &Path, id: RepositoryId) -> PathBuf {
    directory.join(format!("{id}.drills"))
}

fn read(directory: &Path, path: &Path) -> Result<Vec<Drill>, String> {
    if path.symlink_metadata().is_err() {
        return Ok(Vec::new());
    }
    let said = |failure: Failure| failure.problem().map_or(String::new(), |problem| problem.text);
    let file = open_own(directory, path).map_err(said)?;
    let mut bytes = Vec::new();
    let whole = file.take(LEN_MAX).read_to_end(&mut bytes).ok();
    let values = whole.and_then(|_| serde_json::from_slice::<Vec<Value>>(&bytes).ok());
    let drills = values.and_then(|values| values.iter().map(Drill::read).collect());
    drills.ok_or_else(|| said(unreadable(path)))
}
