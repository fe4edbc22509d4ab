//! What a guest writes, over a disk that nobody can write to.
//!
//! In: the export of a disk. Out: a qcow2 file over it, made by `qemu-img`. Promises: an overlay is used with the disk that
//! it was made for, and with no other; what is to be thrown away is removed.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use garret_cli::failure::Failure;
use garret_cli::pipes::keep_secrets;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A disk that a server of ours has.
pub(super) struct Base<'a> {
    pub(super) socket: PathBuf,
    /// The name of the export, which is no other disk's.
    pub(super) export: &'a str,
}

impl Base<'_> {
    /// What qemu is to open.
    fn node(&self) -> Value {
        let server = json!({ "type": "unix", "path": self.socket });
        let file = json!({ "driver": "nbd", "server": server, "export": self.export });
        json!({ "driver": "raw", "node-name": "base", "read-only": true, "file": file })
    }

    /// The same as a name that stands in an overlay.
    fn name(&self) -> String {
        let server = json!({ "type": "unix", "path": self.socket });
        let file = json!({ "driver": "nbd", "server": server, "export": self.export });
        format!("json:{}", json!({ "driver": "raw", "file": file }))
    }
}

/// A file over a base.
pub(super) struct Overlay {
    path: PathBuf,
    /// Whether it was made just now.
    is_new: bool,
    /// The directory that goes with it.
    _thrown_away: Option<TempDir>,
}

/// Stands behind the name of a file that is being restored while its guest runs.
const SUFFIX: &str = ".garret-overlay";

impl Overlay {
    /// One that is gone in the end.
    pub(super) fn thrown_away(base: &Base<'_>) -> Result<Self, Failure> {
        // As qemu's own: it may become large, and /tmp may be memory.
        let place = std::env::var_os("TMPDIR").map_or_else(|| "/var/tmp".into(), PathBuf::from);
        let directory = tempfile::Builder::new().prefix("garret-").tempdir_in(&place);
        let directory = directory.map_err(|error| Failure::io(place.display(), &error))?;
        let path = absolute(&directory.path().join("overlay.qcow2"))?;
        create(&path, base)?;
        Ok(Overlay { path, is_new: true, _thrown_away: Some(directory) })
    }

    /// The one in `path`, which is made if it is not there.
    ///
    /// # Errors
    /// It is of another disk, or it is none.
    pub(super) fn kept(path: &Path, base: &Base<'_>) -> Result<Self, Failure> {
        let path = absolute(path)?;
        let is_new = path.symlink_metadata().is_err();
        match is_new {
            true => create(&path, base)?,
            false => is_of(&path, base)?,
        }
        Ok(Overlay { path, is_new, _thrown_away: None })
    }

    /// The one beside a file that is to be restored.
    ///
    /// # Errors
    /// As of [`kept`](Self::kept).
    pub(super) fn beside(file: &Path, base: &Base<'_>) -> Result<Self, Failure> {
        Self::kept(&behind(file, SUFFIX), base)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether no guest has written to it.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// What qemu is to open as the guest's disk. The base is said anew: its socket is another one each time.
    pub(super) fn node(&self, base: &Base<'_>) -> Value {
        let file = json!({ "driver": "file", "filename": self.path });
        json!({
            "driver": "qcow2", "node-name": "disk", "discard": "unmap", "file": file, "backing": base.node(),
        })
    }

    /// Removes it: what it holds is elsewhere now.
    pub(super) fn remove(&self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// A path as qemu takes it for one: what is before a colon in a name would be a protocol, and its options are text.
///
/// # Errors
/// It is not UTF-8.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let absolute =
        std::path::absolute(path).map_err(|error| Failure::io(path.display(), &error))?;
    match absolute.to_str() {
        Some(_) => Ok(absolute),
        None => Err(Failure::Usage(format!("{} is not UTF-8, as qemu wants it", path.display()))),
    }
}

/// Makes an empty file for this user alone, for qemu to fill: a disk is nobody else's.
fn private(path: &Path) -> Result<(), Failure> {
    let made = File::options().write(true).create_new(true).mode(0o600).open(path);
    made.map(drop).map_err(|error| Failure::io(path.display(), &error))
}

fn create(path: &Path, base: &Base<'_>) -> Result<(), Failure> {
    private(path)?;
    let base = base.name();
    let words = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", &base].map(OsStr::new);
    let made = qemu_img(words.into_iter().chain([path.as_os_str()]));
    made.map(drop).inspect_err(|_| {
        let _rest = std::fs::remove_file(path);
    })
}

/// Whether the overlay is of this disk.
fn is_of(path: &Path, base: &Base<'_>) -> Result<(), Failure> {
    // Opens the overlay alone: the socket that it names is gone.
    let words = ["info", "--output=json", "-f", "qcow2"].map(OsStr::new);
    let said = qemu_img(words.into_iter().chain([path.as_os_str()]))?;
    let said: Option<Value> = serde_json::from_slice(&said).ok();
    let name = said.as_ref().and_then(|said| said.get("backing-filename")?.as_str());
    let name = name.and_then(|name| name.strip_prefix("json:")).unwrap_or_default();
    let name: Value = serde_json::from_str(name).unwrap_or_default();
    let export = name.pointer("/file/export").and_then(Value::as_str);
    match export {
        Some(export) if export == base.export => Ok(()),
        Some(other) => {
            // What is behind it is for programs.
            let [other, ours] =
                [other, base.export].map(|name| name.split('#').next().unwrap_or(name));
            let of_that_name = if other == ours { "another archive of the name of " } else { "" };
            Err(Failure::Fatal(format!(
                "{} holds what was written over {of_that_name}{other}, not over {ours}",
                path.display()
            )))
        }
        None => Err(Failure::Fatal(format!("{} is no overlay of garret's", path.display()))),
    }
}

/// Makes an image to restore a disk of `len` bytes to.
pub(super) fn make(path: &Path, format: &str, len: u64) -> Result<(), Failure> {
    private(path)?;
    let len = len.to_string();
    let words = ["create", "-q", "-f", format].map(OsStr::new);
    qemu_img(words.into_iter().chain([path.as_os_str(), OsStr::new(&len)])).map(drop)
}

/// What `qemu-img` prints.
fn qemu_img<'w>(words: impl Iterator<Item = &'w OsStr>) -> Result<Vec<u8>, Failure> {
    let mut command = Command::new("qemu-img");
    command.args(words).stdin(Stdio::null()).stderr(Stdio::piped());
    keep_secrets(&mut command);
    let output = command.output().map_err(|error| Failure::io("qemu-img", &error))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(Failure::Fatal(said.trim().to_owned()))
        }
    }
}

/// Whether a disk that is restored to `path` is to be qcow2.
pub(super) fn format_of(path: &Path) -> &'static str {
    match path.extension().is_some_and(|extension| extension == "qcow2") {
        true => "qcow2",
        false => "raw",
    }
}

/// A path with something behind its name.
pub(super) fn behind(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
