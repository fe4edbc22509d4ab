//! `garret completions` and `garret man`: what the definition of the command line is good for besides.

use std::fs;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap_mangen::Man;
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
    directory: PathBuf,
}

pub(crate) fn completions(args: &Completions, ui: &Ui) -> Result<(), Failure> {
    ui.print(&completion::script(args.shell)?)
}

/// A page for the program, and one for each command.
pub(crate) fn pages(args: &Pages, mut program: clap::Command) -> Result<(), Failure> {
    let directory = &args.directory;
    let failed = |error: std::io::Error| Failure::io(directory.display(), &error);
    fs::create_dir_all(directory).map_err(failed)?;
    program.build();
    let mut commands = vec![program];
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands().cloned());
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let page = Man::new(command.after_help(Resettable::Reset));
        let mut text = Vec::new();
        page.render(&mut text).map_err(failed)?;
        text.extend(sections(&after).into_bytes());
        fs::write(directory.join(page.get_filename()), text).map_err(failed)?;
    }
    Ok(())
}

/// What stands behind the options in a help, as sections of a page in which no line is broken: each begins with a line that
/// ends with a colon.
fn sections(help: &str) -> String {
    let mut text = String::new();
    for line in help.lines() {
        let plain = line.replace('\\', "\\e").replace('-', "\\-");
        text += &match plain.strip_suffix(':').filter(|title| !title.starts_with(' ')) {
            Some(title) => {
                let end = if text.is_empty() { "" } else { ".fi\n" };
                format!("{end}.SH \"{}\"\n.nf\n", title.to_uppercase())
            }
            None => format!("\\&{plain}\n"),
        };
    }
    if text.is_empty() { text } else { text + ".fi\n" }
}
