//! The program `garret`: attic's command line on the core.
//!
//! ```text
//! attic -> args -> commands/COMMAND: Args -> options -> one library call -> render -> stdout
//!                                      ui: progress, -v, problems                  -> stderr, exit code
//! ```
//!
//! Promises: results on stdout, trouble on stderr with one line each; 0 = done, 1 = something went wrong, 2 = wrong use;
//! never asks without a terminal.

#![warn(clippy::indexing_slicing)]

mod archives;
mod args;
mod attic;
mod commands;
mod completion;
mod demo;
mod digest;
mod disks;
mod excludes;
mod guest;
mod inputs;
mod keep;
mod location;
mod nights;
mod qmp;
mod report;

use std::process::ExitCode;

use garret_cli::ui::Ui;

fn main() -> ExitCode {
    if completion::answer(args::definition) {
        return ExitCode::SUCCESS;
    }
    garret_cli::signals::catch();
    garret_cli::sandbox::hide_memory();
    let (words, warnings) = attic::rewrite(std::env::args_os().skip(1));
    let seems_json =
        words.iter().take_while(|word| *word != "--").any(|word| word == args::LOG_JSON);
    let parsed = args::parse(words);
    let json = parsed.as_ref().map_or(seems_json, |(_, _, json)| *json);
    let ui = Ui::new("garret").in_json(json);
    // Who does not read them may still have the command.
    let _unread = ui.print(&warnings);
    let (command, packs, _) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return args::refuse(&error, json),
    };
    let end = match command.exits_by_cause() {
        true => garret_cli::exit::exit_code_by_cause,
        false => garret_cli::exit::exit_code,
    };
    let done = packs.tell().and_then(|()| command.run(args::definition(), &ui));
    end(done, &ui)
}
