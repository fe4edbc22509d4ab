//! What the shell is told.
//!
//! In: the result of a command. Out: at most one line on stderr and the exit code.

use std::process::ExitCode;

use garret_core::Cause;

use crate::failure::Failure;
use crate::ui::Ui;

/// How a command ended that has a code for each cause. The greater is the worse: of several jobs the worst is the exit code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// All is well.
    #[default]
    Fine,
    /// The archive is there, and something should be looked at.
    Warning,
    /// Another program is doing the same job.
    Running,
    /// Another program has the lock of the repository.
    Locked,
    /// The disk is full.
    Full,
    /// Anything else.
    Failed,
    /// The repository does not open with the passphrase or key that is given.
    Key,
    /// Something in the repository is damaged.
    Damaged,
    /// It makes no sense.
    Usage,
}

impl Outcome {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Outcome::Fine => 0,
            Outcome::Failed => 1,
            Outcome::Usage => 2,
            Outcome::Warning => 3,
            Outcome::Locked => 4,
            Outcome::Full => 5,
            Outcome::Key => 6,
            Outcome::Damaged => 7,
            Outcome::Running => 8,
        }
    }

    /// The same in a word.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Fine => "ok",
            Outcome::Failed => "failed",
            Outcome::Usage => "usage",
            Outcome::Warning => "warning",
            Outcome::Locked => "locked",
            Outcome::Full => "full",
            Outcome::Key => "key",
            Outcome::Damaged => "damaged",
            Outcome::Running => "running",
        }
    }

    /// Why a step did not come to its end.
    pub fn of(failure: &Failure) -> Self {
        match failure.problem().map_or(Cause::Other, |problem| problem.cause) {
            Cause::Busy => Outcome::Locked,
            Cause::Damaged => Outcome::Damaged,
            Cause::Full => Outcome::Full,
            Cause::Passphrase | Cause::Keys => Outcome::Key,
            Cause::Invalid => Outcome::Usage,
            _ => Outcome::Failed,
        }
    }
}

/// Says what is to be said on stderr, and gives the exit code: 0 fine, 1 any error, 2 wrong use, or what the command says.
pub fn exit_code(result: Result<(), Failure>, ui: &Ui) -> ExitCode {
    end(result, ui, 1, |failure| if matches!(failure, Failure::Usage(_)) { 2 } else { 1 })
}

/// The same with the code of the [`Outcome`].
pub fn exit_code_by_cause(result: Result<(), Failure>, ui: &Ui) -> ExitCode {
    let problems = if ui.damage_count() > 0 { Outcome::Damaged } else { Outcome::Warning };
    end(result, ui, problems.code(), |failure| Outcome::of(failure).code())
}

/// Ends with `problems` if there were some and nothing ended the command.
fn end(
    result: Result<(), Failure>,
    ui: &Ui,
    problems: u8,
    code: impl FnOnce(&Failure) -> u8,
) -> ExitCode {
    let has_problems = ui.problem_count() > 0;
    let failure = match result {
        Ok(()) => {
            if has_problems && !ui.is_json() {
                ui.complain("Exiting with failure status due to previous errors");
            }
            return ui.end(if has_problems { problems } else { 0 }, "", None);
        }
        Err(failure) => failure,
    };
    let code = match failure {
        Failure::Told(code) => code,
        Failure::NobodyReads(code) => code.max(u8::from(has_problems)),
        ref failure => code(failure),
    };
    ui.end(code, "Error: ", failure.problem().as_ref())
}

#[cfg(test)]
mod tests {
    use garret_core::Error;

    use super::*;

    #[test]
    fn a_failure_has_the_outcome_of_its_cause() {
        for (cause, outcome) in [
            (Cause::Busy, Outcome::Locked),
            (Cause::Full, Outcome::Full),
            (Cause::Passphrase, Outcome::Key),
            (Cause::Keys, Outcome::Key),
            (Cause::Damaged, Outcome::Damaged),
            (Cause::Missing, Outcome::Failed),
        ] {
            assert_eq!(Outcome::of(&Failure::Because(cause, String::new())), outcome);
        }
        assert_eq!(Outcome::of(&Error::WrongPassphrase.into()), Outcome::Key);
        assert_eq!(Outcome::of(&Failure::Usage(String::new())), Outcome::Usage);
        assert_eq!(Outcome::of(&Failure::Fatal(String::new())), Outcome::Failed);
    }
}
