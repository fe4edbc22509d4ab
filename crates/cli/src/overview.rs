//! A repository as a whole, in words: what both programs show of it.
//!
//! In: an open repository. Out: lines for stdout.

use std::path::Path;

use garret_core::Repository;
use garret_format::archive::Time;
use garret_format::config::KeyMode;

use crate::failure::Failure;
use crate::ui::Ui;
use crate::{render, session};

/// Everything about the repository at `path`.
pub fn repository(repository: &Repository, path: &Path, ui: &Ui) -> Result<String, Failure> {
    let config = repository.config();
    let mode = match config.key_mode {
        KeyMode::None => "none",
        KeyMode::Passphrase => "passphrase",
        KeyMode::Keyfile => "keyfile",
    };
    let created = render::long_time(Time { secs: config.created, nanos: 0 });
    let mut text = format!("Repository: {}\n", path.display());
    text += &format!("Repository id: {}\n", repository.id());
    text += &format!("Encryption: {mode}\nCreated: {created}\n");
    text += &format!("Number of archives: {}\n\n", repository.archive_names()?.len());
    text += &render::size_header();
    text += &all_archives(repository, ui)?;
    Ok(text)
}

/// The row of the whole repository. What an archive alone takes is not known: chunks of several archives are compressed
/// together, and most are shared.
pub fn all_archives(repository: &Repository, ui: &Ui) -> Result<String, Failure> {
    let original = render::size(session::original_len(repository, ui)?);
    let stored = render::size(repository.stored_len()?);
    Ok(render::size_row("All archives:", &original, "-", &stored))
}
