//! The command line as shells and manual pages want it: what [`crate::usage`] says, as data.
//!
//! It reads no command line: zbackup's rules are in [`crate::args`]. A test holds it to the usage.

use clap::{Arg, Command, ValueHint};
use clap_complete::Shell;
use clap_complete::aot::generate;

use crate::usage;

const EXAMPLES: &str = "\
Examples:
  zgarret backup /srv/backup/vms/backups/app-1 < app.raw
  zgarret restore /srv/backup/vms/backups/app-1 app.raw";

/// What all commands are like.
pub(crate) fn definition() -> Command {
    let texts = format!("{EXAMPLES}\n\n{}\n{}", usage::RUNTIME, usage::STORABLE);
    Command::new("zgarret")
        .about("A versatile deduplicating backup tool with the command line of zbackup")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .after_help(texts)
        .args(flags())
        .subcommands(commands())
}

fn flags() -> Vec<Arg> {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help);
    let switch = |name, help| flag(name, help).num_args(0);
    vec![
        switch("non-encrypted", "Without a passphrase"),
        flag("password-file", "The passphrase is in this file").value_hint(ValueHint::FilePath),
        switch("silent", "No progress, no notes"),
        switch("log-json", "JSON on stderr, one object on each line"),
        switch("accept-state", "Go on with a storage in an older state than was seen"),
        flag("from-command", "Back up what this command prints").value_name("command"),
        Arg::new("runtime").short('O').value_name("option[=value]").help("An option of this run"),
        Arg::new("storable").short('o').value_name("option[=value]").help("An option of storage"),
    ]
}

fn commands() -> Vec<Command> {
    let path = |name: &'static str| Arg::new(name).value_name(name).value_hint(ValueHint::AnyPath);
    let depth = || Arg::new("depth").value_parser(["fast", "deep"]);
    let settings = ["show", "edit", "set", "reset"];
    let [storage, backup, output] = ["storage path", "backup file name", "output file name"];
    let exchanged = || [path("source storage path"), path("destination storage path")];
    let command = |name: &'static str, about: &'static str| Command::new(name).about(about);
    vec![
        command("init", "Initializes new storage").arg(path(storage)),
        command("backup", "Performs a backup from stdin, a file or a directory")
            .args([path("input"), path(backup)]),
        command("restore", "Restores a backup to stdout, a file or a block device")
            .args([path(backup), path(output)]),
        command("export", "Copies the backups of source to destination").args(exchanged()),
        command("import", "Copies the backups of destination to source").args(exchanged()),
        command("inspect", "Inspects a backup").args([depth(), path(backup)]),
        command("info", "Shows a storage").arg(path(storage)),
        command("gc", "Performs garbage collection").args([depth(), path(storage)]),
        command("passwd", "Changes the passphrase").arg(path(storage)),
        command("config", "Shows the configuration")
            .args([Arg::new("action").value_parser(settings), path(storage)]),
        command("completions", "Prints what a shell needs to complete words at TAB")
            .arg(Arg::new("shell").value_parser(["bash", "fish", "zsh"])),
        command("man", "Writes the manual pages").arg(path("directory")),
    ]
}

/// The script for a shell, if there is one.
pub(crate) fn script(shell: &str) -> Option<Vec<u8>> {
    let shell = match shell {
        "bash" => Shell::Bash,
        "fish" => Shell::Fish,
        "zsh" => Shell::Zsh,
        _ => return None,
    };
    let mut text = Vec::new();
    generate(shell, &mut definition(), "zgarret", &mut text);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_commands_and_flags_of_the_usage_and_no_others() {
        let mut definition = definition();
        definition.build();
        let mut found: Vec<String> = definition
            .get_arguments()
            .filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()))
            .map(|arg| match arg.get_long() {
                Some(long) => format!("--{long}"),
                None => format!("-{}", arg.get_short().unwrap()),
            })
            .chain(definition.get_subcommands().map(|command| command.get_name().to_owned()))
            .collect();
        let (flags, commands) = usage::GENERAL.split_once("  Commands:\n").unwrap();
        let flag = |word: &&str| word.starts_with('-') && !["--help|-h", "-"].contains(word);
        let flags = flags.split(|c: char| c.is_whitespace() || "()|:".contains(c));
        let flags = flags.filter(flag).filter(|word| !["--help", "-h"].contains(word));
        let commands = commands.lines().filter(|line| !line.starts_with("     "));
        let commands = commands.filter_map(|line| line.split_whitespace().next());
        let mut said: Vec<String> = flags.chain(commands).map(str::to_owned).collect();
        for words in [&mut found, &mut said] {
            words.sort();
            words.dedup();
        }
        assert_eq!(found, said);
    }
}
