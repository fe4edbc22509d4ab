//! The same steps with other programs that are installed: borg, restic.
//!
//! In: which, and a directory of the demo's. Out: rows for the table. Promises: each has its own home there, so what the user
//! has of it is neither read nor written; it is told no more than where, what and how to compress.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use garret_cli::failure::Failure;
use garret_cli::pipes::keep_secrets;
use garret_cli::render;

use super::leave::Leaving;

/// A program that does the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Tool {
    /// without encryption, compressing as garret does
    Borg,
    /// encrypts always, and compresses as it does by default
    Restic,
}

/// One that is installed.
pub(super) struct Other {
    tool: Tool,
    /// Everything of it.
    home: PathBuf,
    stored: u64,
}

/// What a step took.
pub(super) struct Took {
    pub(super) seconds: f64,
    /// By how much its repository grew.
    pub(super) new: u64,
    /// How long that is now.
    pub(super) stored: u64,
}

impl Tool {
    pub(super) fn name(self) -> &'static str {
        match self {
            Tool::Borg => "borg",
            Tool::Restic => "restic",
        }
    }
}

impl Other {
    /// Its repository, made below `place`; none if it is not installed.
    pub(super) fn begin(
        tool: Tool,
        place: &Path,
        leaving: &Leaving,
    ) -> Result<Option<Self>, Failure> {
        let home = place.join(tool.name());
        fs::create_dir(&home).map_err(|error| failed(&home, &error))?;
        let other = Other { tool, home, stored: 0 };
        let mut version = other.command();
        version.arg(if tool == Tool::Borg { "--version" } else { "version" });
        if version.stdin(Stdio::null()).output().is_err() {
            return Ok(None);
        }
        other.run(other.words(&["init", "-e", "none"], &["init"]), leaving)?;
        Ok(Some(other))
    }

    pub(super) fn name(&self) -> &'static str {
        self.tool.name()
    }

    /// Backs up the images.
    pub(super) fn back_up(
        &mut self,
        archive: &str,
        images: &[&Path],
        leaving: &Leaving,
    ) -> Result<Took, Failure> {
        let archive = format!("::{archive}");
        let borg = ["create", "--compression", "zstd,3", "--read-special", &archive];
        let mut command = self.words(&borg, &["backup"]);
        command.args(images);
        let seconds = self.run(command, leaving)?;
        let stored = len_below(&self.home.join("repository"));
        let new = stored.saturating_sub(self.stored);
        self.stored = stored;
        Ok(Took { seconds, new, stored })
    }

    /// Restores an image of the last archive.
    pub(super) fn restore(&self, image: &Path, leaving: &Leaving) -> Result<f64, Failure> {
        let to = self.home.join("restored");
        fs::create_dir(&to).map_err(|error| failed(&to, &error))?;
        let mut command = self
            .words(&["extract", "--sparse", "::night-2"], &["restore", "latest", "--target", "."]);
        let path = std::path::absolute(image).map_err(|error| failed(image, &error))?;
        match self.tool {
            Tool::Borg => command.arg(image.strip_prefix("/").unwrap_or(image)),
            Tool::Restic => command.arg("--include").arg(path),
        };
        let seconds = self.run(command.current_dir(&to), leaving)?;
        // It takes room, and nobody looks at it.
        fs::remove_dir_all(&to).map_err(|error| failed(&to, &error))?;
        Ok(seconds)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.name());
        keep_secrets(&mut command);
        let repository = self.home.join("repository");
        match self.tool {
            Tool::Borg => command
                .env("BORG_REPO", repository)
                .env("BORG_BASE_DIR", &self.home)
                .env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes"),
            Tool::Restic => command
                .env("RESTIC_REPOSITORY", repository)
                .env("RESTIC_PASSWORD", "demo")
                .env("RESTIC_CACHE_DIR", self.home.join("cache")),
        };
        command
    }

    fn words(&self, borg: &[&str], restic: &[&str]) -> Command {
        let mut command = self.command();
        command.args(if self.tool == Tool::Borg { borg } else { restic });
        command
    }

    /// Runs it to its end; gives how long that took.
    fn run(
        &self,
        mut command: impl std::borrow::BorrowMut<Command>,
        leaving: &Leaving,
    ) -> Result<f64, Failure> {
        let command = command.borrow_mut();
        let started = Instant::now();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let output = leaving.run(command).map_err(|error| Failure::io(self.name(), &error))?;
        if output.status.success() {
            return Ok(started.elapsed().as_secs_f64());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no word of why");
        Err(Failure::Fatal(format!("{} failed: {}", self.name(), render::one_line(last))))
    }
}

/// Bytes of all files in a directory and below.
fn len_below(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let len = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => len_below(&entry.path()),
        Ok(found) => found.size(),
        Err(_) => 0,
    };
    entries.flatten().map(len).sum()
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::io(path.display(), error)
}
