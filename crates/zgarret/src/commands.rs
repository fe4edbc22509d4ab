//! One module per command: its words and the flags, and from there one library call and its rendering.

mod backup;
mod config;
mod context;
mod exchange;
mod gc;
mod info;
mod init;
mod inspect;
mod passwd;
mod restore;

use std::ffi::OsString;
use std::path::Path;

use garret_cli::failure::Failure;
use garret_cli::pages;
use garret_cli::ui::Ui;

use crate::args::{Line, unknown};
use crate::definition::{definition, script};
use crate::password::Password;
use crate::usage;
use context::Context;

/// Does what the line says.
pub(crate) fn run(line: &Line, ui: &Ui) -> Result<(), Failure> {
    let passwords = line.passwords.iter().map(Password::read).collect::<Result<_, _>>()?;
    if let Some(lock_wait) = line.runtime.lock_wait {
        ui.set_patience(lock_wait);
    }
    let context = Context { line, passwords, ui };
    let Some((command, words)) = line.words.split_first() else { return Ok(()) };
    if line.from_command.is_some() && command != "backup" {
        return Err(Failure::Fatal("--from-command is for backup <backup file name>".to_owned()));
    }
    match command.to_str() {
        Some("init") => init::run(&context, words),
        Some("backup") => backup::run(&context, words),
        Some("restore") => restore::run(&context, words),
        Some("export") => exchange::run(&context, words, exchange::Direction::Export),
        Some("import") => exchange::run(&context, words, exchange::Direction::Import),
        Some("gc") => gc::run(&context, words),
        Some("passwd") => passwd::run(&context, words),
        Some("inspect") => inspect::run(&context, words),
        Some("info") => info::run(&context, words),
        Some("config") => config::run(&context, words),
        Some("completions") => completions(&context, words),
        Some("man") => match words {
            [directory] => pages::write(definition(), Path::new(directory)),
            _ => Err(Failure::Usage(usage::of("man"))),
        },
        Some("nbd") => Err(Failure::Fatal(
            "nbd is not there yet: restore to a file or block device instead".to_owned(),
        )),
        _ => Err(Failure::Fatal(unknown(command))),
    }
}

fn completions(context: &Context<'_>, words: &[OsString]) -> Result<(), Failure> {
    let script = match words {
        [shell] => shell.to_str().and_then(script),
        _ => None,
    };
    match script {
        Some(text) => context.ui.print(&text),
        None => Err(Failure::Usage(usage::of("completions"))),
    }
}
