//! A repository as a whole, in words: what both programs show of it.
//!
//! In: an open repository. Out: lines for stdout.

use garret_core::{Repository, Traffic, VerifiedReport};
use garret_format::archive::Time;
use garret_format::config::KeyMode;

use crate::drills::{self, Drill};
use crate::failure::{self, Failure};
use crate::location::Location;
use crate::ui::Ui;
use crate::{render, session};

/// Everything about the repository at `location`.
///
/// # Errors
/// As of [`all_archives`].
pub fn repository(
    repository: &Repository,
    location: &Location,
    ui: &Ui,
) -> Result<String, Failure> {
    let config = repository.config();
    let mode = match config.key_mode {
        KeyMode::None => "none",
        KeyMode::Passphrase => "passphrase",
        KeyMode::Keyfile => "keyfile",
    };
    let created = render::long_time(Time { secs: config.created, nanos: 0 });
    let mut text = format!("Repository: {}\n", location.display());
    if let Location::Split { cold, .. } = location {
        text += &format!("Packs of files: {}\n", cold.display());
    }
    text += &format!("Repository id: {}\n", repository.id());
    text += &format!("Encryption: {mode}\n");
    if let Some(cipher) = config.cipher {
        text += &format!("Cipher: {}\n", render::cipher(cipher));
    }
    text += &format!("Created: {created}\n");
    text += &exclusion(repository);
    text += &format!("Number of archives: {}\n", repository.archive_names()?.len());
    text += &format!("{}\n", verified(&repository.verified(ui)?));
    if let Some(drill) = drills::load(repository.id(), ui).last() {
        text += &drilled(drill);
    }
    text.push('\n');
    text += &render::size_header();
    text += &all_archives(repository, ui)?;
    Ok(text)
}

/// How much of a repository was read whole, and since when.
pub fn verified(report: &VerifiedReport) -> String {
    let VerifiedReport { pack_count: all, never_count: never, recent_count: recent, .. } = *report;
    let packs = render::plural(all, "pack");
    let Some(oldest) = report.oldest else { return format!("Verified: none of {packs}") };
    let since = render::date(oldest);
    match never {
        0 if recent == all => format!("Verified: all {packs} since {since}"),
        0 => format!("Verified: all {packs} since {since}, {recent} of them in the last 30 days"),
        never => format!(
            "Verified: {} of {packs} since {since}, {recent} of them in the last 30 days; {never} never",
            all - never
        ),
    }
}

/// How two are kept from making one archive, where that is not plain.
fn exclusion(repository: &Repository) -> String {
    let how = match repository.is_exclusive() {
        Ok(None) => return String::new(),
        Ok(Some(true)) => "by the store".to_owned(),
        Ok(Some(false)) => "by claims, for the store keeps nobody from replacing".to_owned(),
        Err(error) => format!("cannot be found out: {}", failure::say(&error)),
    };
    format!("Exclusion: {how}\n")
}

/// What went over the line, as a line of statistics; nothing where there is none.
pub fn traffic(repository: &Repository) -> String {
    repository.traffic().map_or_else(String::new, |Traffic { requests, sent, received }| {
        let [sent, received] = [sent, received].map(render::size);
        format!("Requests: {requests}, sent: {sent}, received: {received}\n")
    })
}

/// What was restored last to see that it can be.
fn drilled(drill: &Drill) -> String {
    let Drill { time, archive, path, size, seconds, restored, .. } = drill;
    let (when, archive) = (render::days_ago(*time), render::name(archive));
    match restored {
        true => {
            let pace = render::seconds_per_gb(*seconds, *size);
            format!("Drilled: {path} of {archive} {when}, {pace} s/GB\n")
        }
        false => format!("Drill failed: {path} of {archive} {when}\n"),
    }
}

/// The row of the whole repository. What an archive alone takes is not known: chunks of several archives are compressed
/// together, and most are shared.
///
/// # Errors
/// The store cannot be listed; there are no threads to read archives with.
pub fn all_archives(repository: &Repository, ui: &Ui) -> Result<String, Failure> {
    let original = render::size(session::original_len(repository, ui)?);
    let stored = render::size(repository.stored_len()?);
    Ok(render::size_row("All archives:", &original, "-", &stored))
}
