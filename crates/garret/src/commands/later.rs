//! `garret mount`: a command of attic that is understood and refused, whatever its options.

use std::ffi::OsString;

use garret_cli::failure::Failure;

/// Arguments of a command that is not there yet: anything.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What attic takes
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    _words: Vec<OsString>,
}

pub(crate) fn refuse(command: &str, instead: &str) -> Failure {
    Failure::Fatal(format!("{command} is not supported yet: {instead}"))
}
