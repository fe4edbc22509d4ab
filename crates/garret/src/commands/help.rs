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
    topic: Vec<String>,
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
    let mut found = Some(&all);
    for word in &args.topic {
        found = found.and_then(|command| command.find_subcommand(word));
    }
    let Some(command) = found else {
        return match args.topic.as_slice() {
            [topic] if topic == "patterns" => ui.print(PATTERNS),
            topic => Err(Failure::Usage(format!("No help available on {}", topic.join(" ")))),
        };
    };
    if args.epilog_only && !args.topic.is_empty() {
        let text = command.get_long_about().or(command.get_about());
        return ui.print(&format!("{}\n", text.cloned().unwrap_or_default()));
    }
    let shown = match args.usage_only && !args.topic.is_empty() {
        true => brief(all, &args.topic),
        false => all,
    };
    let words = args.topic.iter().map(String::as_str);
    ui.print(&shown_help(shown, words))
}

/// The program, in which this command says no more than how it is used.
fn brief(program: clap::Command, topic: &[String]) -> clap::Command {
    match topic {
        [] => program.long_about(Resettable::Reset),
        [first, rest @ ..] => match program.find_subcommand(first).map(|c| c.get_name().to_owned())
        {
            Some(name) => program.mut_subcommand(name, |command| brief(command, rest)),
            None => program,
        },
    }
}

/// What the program answers to a call for help.
fn shown_help<'w>(program: clap::Command, words: impl Iterator<Item = &'w str>) -> String {
    let line = std::iter::once("garret").chain(words).chain(["--help"]);
    match program.try_get_matches_from(line) {
        Err(help) => help.render().to_string(),
        Ok(_) => String::new(),
    }
}
