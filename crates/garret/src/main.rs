//! The program `garret`: attic's command line on the engine.
//!
//! ```text
//! args -> commands/COMMAND: Args -> options -> one library call -> render -> stdout
//!                             ui: progress, -v, problems                  -> stderr, exit code
//! ```
//!
//! Promises: results on stdout, trouble on stderr with one line each; 0 = done, 1 = something went wrong, 2 = wrong use;
//! never asks without a terminal.

mod args;
mod cache;
mod commands;
mod demo;
mod failure;
mod location;
mod render;
mod secrets;
mod session;
mod surroundings;
mod ui;

use std::process::ExitCode;

fn main() -> ExitCode {
    let ui = ui::Ui::new();
    let result = match args::parse() {
        Ok(command) => command.run(&ui),
        Err(error) => return args::refuse(&error),
    };
    failure::exit_code(result, &ui)
}
