//! What the shell is told.
//!
//! In: the result of a command. Out: at most one line on stderr and the exit code.

use std::process::ExitCode;

use garret_core::{Cause, Error};

use crate::failure::Failure;
use crate::ui::Ui;

/// Says what is to be said on stderr, and gives the exit code: 0 fine, 1 any error, 2 wrong use.
pub fn exit_code(result: Result<(), Failure>, ui: &Ui) -> ExitCode {
    end(result, ui, 1, |failure| if matches!(failure, Failure::Usage(_)) { 2 } else { 1 })
}

/// The same with a code for each cause: 3 something should be looked at, 4 another program has the lock, 5 the disk is full,
/// 6 the passphrase or key is wrong, 7 damage.
pub fn exit_code_by_cause(result: Result<(), Failure>, ui: &Ui) -> ExitCode {
    let problems = if ui.damage_count() > 0 { 7 } else { 3 };
    end(result, ui, problems, |failure| {
        let cause = match failure {
            Failure::Engine(Error::MissingChunk { .. }) => Cause::Damaged,
            failure => failure.problem().map_or(Cause::Other, |problem| problem.cause),
        };
        match cause {
            Cause::Invalid => 2,
            Cause::Busy => 4,
            Cause::Full => 5,
            Cause::Passphrase | Cause::Keys => 6,
            Cause::Damaged => 7,
            _ => 1,
        }
    })
}

/// Ends with `problems` if there were some and nothing ended the command.
fn end(
    result: Result<(), Failure>,
    ui: &Ui,
    problems: u8,
    code: impl FnOnce(&Failure) -> u8,
) -> ExitCode {
    let has_problems = ui.problem_count() > 0;
    match result {
        Ok(()) => {
            if has_problems && !ui.is_json() {
                ui.complain("Exiting with failure status due to previous errors");
            }
            ui.end(if has_problems { problems } else { 0 }, "", None)
        }
        Err(Failure::NobodyReads(code)) => ui.end(code.max(u8::from(has_problems)), "", None),
        Err(failure) => ui.end(code(&failure), "Error: ", failure.problem().as_ref()),
    }
}
