//! What the shell is told.
//!
//! In: the result of a command. Out: at most one line on stderr and the exit code.

use std::process::ExitCode;

use crate::failure::Failure;
use crate::ui::Ui;

/// Says what is to be said on stderr, and gives the exit code: 0 fine, 1 any error, 2 wrong use, or what the command says.
pub fn exit_code(result: Result<(), Failure>, ui: &Ui) -> ExitCode {
    let has_problems = ui.problem_count() > 0;
    let failure = match result {
        Ok(()) => {
            if has_problems && !ui.is_json() {
                ui.complain("Exiting with failure status due to previous errors");
            }
            return ui.end(u8::from(has_problems), "", None);
        }
        Err(failure) => failure,
    };
    let code = match failure {
        Failure::Usage(_) => 2,
        Failure::Told(code) => code,
        Failure::NobodyReads(code) => code.max(u8::from(has_problems)),
        _ => 1,
    };
    ui.end(code, "Error: ", failure.problem().as_ref())
}
