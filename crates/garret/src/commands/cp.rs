//! `garret cp`: files and directories of a guest, copied to this host.

use std::ffi::OsString;
use std::path::PathBuf;

use garret_cli::failure::Failure;
use garret_cli::render;
use garret_cli::ui::Ui;
use garret_core::{Cause, Problem, Progress};
use garret_guest::{CopyOptions, FileSystem, channel, receive, send};
use rustix::fs::Mode;

use crate::guest::{Inside, Word};

/// Arguments of `cp`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also the owners that files have in the guest, by number, and set-id bits
    #[arg(long)]
    owners: bool,
    #[command(flatten)]
    inside: Inside,
    /// The image, and what in it
    #[arg(value_name = "IMAGE:/PATH")]
    word: OsString,
    /// A directory that it goes into, or a name for it
    #[arg(value_name = "DESTINATION", default_value = ".")]
    destination: PathBuf,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let word = Word::new(&args.word);
    let path = word.path()?;
    // Before there are other threads, which have the same one.
    let umask = rustix::process::umask(Mode::empty());
    rustix::process::umask(umask);
    let options = CopyOptions { owners: args.owners, umask: umask.as_raw_mode() };
    args.inside.open(word.image, ui, |opened| {
        let (steps, received) = channel();
        // Its end of the channel goes with it: then nothing more comes.
        let sent = move |system: &mut dyn FileSystem, found: &[u8]| {
            let tell = |path: &[u8], error: &_| ui.problem(&opened.problem(path, error));
            let sent = send(system, (found, name(path, found)), steps, &tell);
            sent.map_err(|(path, error)| opened.failed(&path, error))?;
            Ok(system.caution())
        };
        let made = || {
            let tell = |error: &_| ui.problem(&problem(error));
            let made = receive(&received, &args.destination, options, &tell);
            // Who sends is not to wait for what nobody takes.
            drop(received);
            made.map_err(|error| {
                let Problem { cause, text, .. } = problem(&error);
                Failure::Because(cause, text)
            })
        };
        let (caution, copied) = opened.with(args.inside.partition, path, sent, made)?;
        caution.iter().for_each(|caution| ui.notice(caution));
        let files = render::plural(copied.count, "file");
        ui.done(&format!("{files}, {}", render::size(copied.len)));
        Ok(())
    })
}

/// What is copied is called as it was asked for, also where that is a link; as it is found where that is no name.
fn name<'p>(path: &'p [u8], found: &'p [u8]) -> &'p [u8] {
    let last = |path: &'p [u8]| path.split(|byte| *byte == b'/').rfind(|name| !name.is_empty());
    let asked = last(path).filter(|name| !matches!(*name, b"." | b".."));
    asked.or_else(|| last(found)).unwrap_or_default()
}

/// What could not be made, for the user.
fn problem(error: &garret_guest::SinkError) -> Problem {
    let cause = if error.is_no_space() { Cause::Full } else { Cause::Other };
    Problem::new(cause, Some(error.path().display().to_string()), error.to_string())
}
