//! `garret completions` and `garret man`: what the definition of the command line is good for besides.

use std::path::PathBuf;

use garret_cli::failure::Failure;
use garret_cli::ui::Ui;

use crate::completion::{self, Shell};

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub(crate) struct Pages {
    /// Where they go; it is made if it is missing
    #[arg(value_name = "DIR")]
    pub(super) directory: PathBuf,
}

pub(crate) fn completions(args: &Completions, ui: &Ui) -> Result<(), Failure> {
    ui.print(&completion::script(args.shell)?)
}
