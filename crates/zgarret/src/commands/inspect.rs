//! `zgarret inspect`: what zbackup shows of a backup, on stderr as there.
//!
//! The SHA-256 is not stored here: all data is read, and so verified, to compute it.

use std::ffi::OsString;
use std::io::{self, Write};

use garret_cli::failure::Failure;
use garret_cli::render;
use garret_core::{Destination, Selection};
use sha2::{Digest, Sha256};

use super::context::{Context, action, single, wrong_use};
use super::restore;
use crate::location::{self, Parents};

const ACTIONS: [&str; 2] = ["fast", "deep"];

pub(super) fn run(context: &Context<'_>, words: &[OsString]) -> Result<(), Failure> {
    let (action, path) = action(words, &ACTIONS).ok_or_else(|| wrong_use("inspect"))?;
    let place = location::backup(path, Parents::Exist)?;
    if !place.is_taken() {
        return Err(place.missing());
    }
    let repository = context.reader(&place.repository)?;
    let (archive, item) = single(&repository, &place)?;
    let mut digest = Sum(Sha256::new());
    let options = restore::options(context.line.runtime.threads());
    repository.restore(
        &archive,
        &mut Selection::new([item.path]),
        Destination::Stream(&mut digest),
        &options,
        context.ui,
    )?;
    let sum: String = digest.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let body = &archive.archive;
    let mut lines = vec![
        format!("Backup file: {}", place.given.display()),
        // zbackup's way to store its lists again; here they are trees.
        "Restore iterations: 0".to_owned(),
        format!("Original size: {}", item.size),
        format!("Duration (seconds): {}", body.end.secs.saturating_sub(body.start.secs).max(0)),
        format!("SHA256 sum of data: {sum}"),
    ];
    lines.extend(render::problems(body).lines().map(str::to_owned));
    if action == "deep" {
        lines.push("Bundles containing backup chunks:".to_owned());
        let packs = repository.archive_packs(&archive)?;
        lines.extend(packs.iter().map(ToString::to_string));
    }
    lines.iter().for_each(|line| context.ui.complain(line));
    Ok(())
}

/// A writer that only counts what it is given into a sum.
struct Sum(Sha256);

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
