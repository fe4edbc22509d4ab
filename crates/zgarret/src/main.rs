//! The program `zgarret`: zbackup's command line on the core.
//!
//! ```text
//! args: flags out of the line -> commands/COMMAND: words -> options -> one library call -> render -> stdout
//!       options, usage            location, password        ui: progress, problems            -> stderr, exit code
//! ```
//!
//! Promises: zbackup's texts where scripts match them, each on one line of stderr without a name before it; 0 = done,
//! 1 = anything else, never a signal; data on stdout and nothing besides. docs/zgarret.md has what differs, and why.

#![warn(clippy::indexing_slicing)]

mod args;
mod commands;
mod definition;
mod location;
mod options;
mod password;
mod sizes;
mod usage;

use std::io::{self, Write};
use std::process::ExitCode;

use garret_cli::failure::Failure;
use garret_cli::ui::Ui;
use garret_core::{Error, Problem, Progress};

use args::Request;

fn main() -> ExitCode {
    garret_cli::signals::catch();
    garret_cli::sandbox::hide_memory();
    let parsed = args::parse(std::env::args_os().skip(1));
    let ui = Ui::unnamed().in_json(parsed.json);
    ui.set_quiet(parsed.silent);
    ui.set_accepts_state(parsed.accepts_state);
    for note in &parsed.notes {
        ui.notice(note);
    }
    let result = match parsed.request {
        Ok(Request::Run(line)) => commands::run(&line, &ui),
        Ok(Request::Show { text, code }) => {
            show(&text);
            return ExitCode::from(code);
        }
        Err(text) => Err(Failure::Fatal(text)),
    };
    exit_code(result, &ui)
}

/// Says what is to be said, and gives the exit code: 0 fine, 1 anything else.
fn exit_code(result: Result<(), Failure>, ui: &Ui) -> ExitCode {
    let has_problems = ui.problem_count() > 0;
    let Err(failure) = result else { return ui.end(u8::from(has_problems), "", None) };
    if let (Failure::Usage(text), false) = (&failure, ui.is_json()) {
        show(text);
        return ExitCode::from(1);
    }
    let error = match &failure {
        Failure::Engine(error @ Error::WrongPassphrase) => {
            let text = "Invalid password specified".to_owned();
            Some(Problem::new(error.cause(), None, text))
        }
        Failure::Engine(Error::NothingStored) if has_problems => None,
        failure => failure.problem(),
    };
    let failed = has_problems || !matches!(failure, Failure::NobodyReads(0));
    ui.end(u8::from(failed), "", error.as_ref())
}

/// Lines of ours on stderr. If even that fails there is nobody to tell.
fn show(text: &str) {
    let _unheard = io::stderr().lock().write_all(text.as_bytes());
}
