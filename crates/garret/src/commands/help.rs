//! `garret help`: help on everything, on a command, or on patterns.

use clap::builder::Resettable;

use garret_cli::failure::Failure;
use garret_cli::ui::Ui;

/// Arguments of `help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show only what a command does
    #[arg(long)]
    epilog_only: bool,
    /// Show only how a command is used
    #[arg(long)]
    usage_only: bool,
    /// A command, or patterns
    #[arg(value_name = "TOPIC")]
    topic: Option<String>,
}

const PATTERNS: &str = "\
Exclude patterns are shell globs over the whole path: * stands for any characters, ? for any one,
[abc] for one of these, [!abc] for one that is none of these; all of them also match a slash. A
pattern counts if it covers the path, or a leading part of it that ends right before a slash: what
lies below an excluded directory is excluded. A pattern that ends in a slash excludes what is in a
directory and keeps the directory.

In create the path is matched as it was given on the command line, without . parts and double
slashes: relative ones stay relative, absolute ones begin with a slash. In extract the path is
matched as it is stored, without a leading slash.

A file for --exclude-from has one pattern per line; empty lines and lines that begin with # do not
count, spaces do.

A PATH of extract, list, info, diff and compare stands for itself and for what is below it; if the
archive has no such path, for all whose last parts it is; if there are none, it is a pattern. An
exclude beats a PATH.

Examples:
  garret create -e '*.iso' REPO::NAME /srv
  garret create -e '/home/*/.cache' REPO::NAME /home
  garret create -e '/var/tmp/' REPO::NAME /var
";

/// `all` is the definition of the whole program.
pub(crate) fn run(args: &Args, all: clap::Command, ui: &Ui) -> Result<(), Failure> {
    let Some(topic) = &args.topic else {
        return ui.print(&shown(all, &["garret", "--help"]));
    };
    let Some(command) = all.find_subcommand(topic).cloned() else {
        return match topic.as_str() {
            "patterns" => ui.print(PATTERNS),
            _ => Err(Failure::Usage(format!("No help available on {topic}"))),
        };
    };
    if args.epilog_only {
        let text = command.get_long_about().or(command.get_about());
        return ui.print(&format!("{}\n", text.cloned().unwrap_or_default()));
    }
    let brief = |command: clap::Command| match args.usage_only {
        true => command.long_about(Resettable::Reset),
        false => command,
    };
    ui.print(&shown(all.mut_subcommand(command.get_name(), brief), &["garret", topic, "--help"]))
}

/// What the program answers to a call for help.
fn shown(program: clap::Command, line: &[&str]) -> String {
    match program.try_get_matches_from(line) {
        Err(help) => help.render().to_string(),
        Ok(_) => String::new(),
    }
}
