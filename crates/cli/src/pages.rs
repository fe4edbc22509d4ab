//! Manual pages, from the definition of a command line.
//!
//! In: a definition. Out: a file for the program, and one for each command, as `man` reads them.

use std::fs;
use std::path::Path;

use clap::builder::Resettable;
use clap_mangen::Man;
use jiff::Timestamp;

use crate::failure::Failure;

/// Writes the pages of a program and of its commands into a directory, which is made if it is missing.
///
/// # Errors
/// They cannot be written.
pub fn write(mut program: clap::Command, directory: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::io(directory.display(), &error);
    fs::create_dir_all(directory).map_err(failed)?;
    program.build();
    let source = format!("{} {}", program.get_name(), program.get_version().unwrap_or_default());
    let manual = format!("{} manual", program.get_name());
    let date = date();
    let mut commands = vec![program];
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands().cloned());
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let title = command.get_display_name().unwrap_or_else(|| command.get_name());
        let title = title.to_uppercase();
        let page = Man::new(command.after_help(Resettable::Reset)).title(title);
        let page = page.date(&date).source(&source).manual(&manual);
        let mut text = Vec::new();
        page.render(&mut text).map_err(failed)?;
        text.extend(sections(&after).into_bytes());
        fs::write(directory.join(page.get_filename()), text).map_err(failed)?;
    }
    Ok(())
}

/// The day of the pages: of the sources if their packager says it, so that the same sources make the same pages
/// (<https://reproducible-builds.org/specs/source-date-epoch/>), else today.
fn date() -> String {
    let epoch = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
    let day = epoch.and_then(|seconds| Timestamp::from_second(seconds).ok());
    day.unwrap_or_else(Timestamp::now).strftime("%Y-%m-%d").to_string()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_keep_their_lines_and_what_means_something_to_roff() {
        let help = "Examples:\n  run --all\n.so \\x\n\nExit codes:\n  0  fine";
        let expected = ".SH \"EXAMPLES\"\n.nf\n\\&  run \\-\\-all\n\\&.so \\ex\n\\&\n\
                        .fi\n.SH \"EXIT CODES\"\n.nf\n\\&  0  fine\n.fi\n";
        assert_eq!(sections(help), expected);
        assert_eq!(sections(""), "");
    }
}
