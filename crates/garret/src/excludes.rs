//! What is left out of a backup or a restore.
//!
//! In: `--exclude` and `--exclude-from`, as attic has them. Out: the patterns.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use garret_cli::failure::Failure;
use garret_core::Patterns;

/// The options that both commands have.
#[derive(Debug, clap::Args)]
pub(crate) struct Excludes {
    /// Leave out what matches PAT, a shell pattern over the whole path, and what is below it
    ///
    /// In it, * and ? match / too, [..] and [!..] one character of a set. What matches a directory leaves out all that is in
    /// it; a / at the end of PAT keeps the directory itself. An exclude beats a PATH. May be given several times.
    #[arg(short, long, value_name = "PAT")]
    exclude: Vec<OsString>,
    /// Leave out what matches a pattern in FILE: one on each line, none on lines that begin with #
    #[arg(long, value_name = "FILE")]
    exclude_from: Vec<PathBuf>,
}

impl Excludes {
    /// All patterns, those of files last.
    pub(crate) fn patterns(&self) -> Result<Patterns, Failure> {
        let given = self.exclude.iter().cloned();
        let mut patterns: Vec<Vec<u8>> = given.map(OsString::into_vec).collect();
        for path in &self.exclude_from {
            let text = std::fs::read(path).map_err(|error| {
                Failure::io(format!("--exclude-from {}", path.display()), &error)
            })?;
            patterns.extend(Patterns::lines(&text));
        }
        Ok(Patterns::new(patterns))
    }
}
