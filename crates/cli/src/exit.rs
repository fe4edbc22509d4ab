//! What the shell is told.
//!
//! In: the result of a command. Out: at most one line on stderr and the exit code.

use std::process::ExitCode;

use crate::failure::Failure;
use crate::ui::Ui;

/// Says what is to be said on stderr, and gives the exit code: 0 fine, 1 any error, 2 wrong use.
pub fn exit_code(result: Result<(), Failure>, ui: &Ui) -> ExitCode {
    let code = match result {
        Ok(()) if ui.problem_count() == 0 => 0,
        Ok(()) => {
            ui.complain("Exiting with failure status due to previous errors");
            1
        }
        Err(Failure::Fatal(text)) => {
            ui.complain(&format!("Error: {text}"));
            1
        }
        Err(Failure::Engine(error)) => {
            ui.complain(&format!("Error: {}", crate::failure::say(&error)));
            1
        }
        Err(Failure::Usage(text)) => {
            ui.complain(&format!("Error: {text}"));
            2
        }
        Err(Failure::NobodyReads(code)) => code.max(u8::from(ui.problem_count() > 0)),
    };
    ExitCode::from(code)
}
