//! Who takes part: the tools and yardsticks that this machine has, with their versions.
//!
//! In: names asked for, where garret may be. Out: [`Participant`]s in the order of the tables, names of what is missing.
//! Promises: nothing is installed; a tool that is not there is named and is no error, unless garret itself is asked for.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;
use crate::plan::Step;
use crate::tools::{OURS, STRONGEST, TOOLS, Tool};
use crate::yardsticks::{YARDSTICKS, Yardstick};

#[derive(Debug)]
pub(crate) enum Kind {
    Tool(&'static Tool),
    Yardstick(&'static Yardstick),
}

/// A tool or a yardstick that is there.
#[derive(Debug)]
pub(crate) struct Participant {
    pub(crate) kind: Kind,
    pub(crate) program: PathBuf,
    pub(crate) version: String,
}

impl Participant {
    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Tool(tool) => tool.name,
            Kind::Yardstick(yardstick) => yardstick.name,
        }
    }

    pub(crate) fn mode(&self) -> &'static str {
        match self.kind {
            Kind::Tool(tool) => tool.mode,
            Kind::Yardstick(_) => "yardstick",
        }
    }

    pub(crate) fn notes(&self) -> &'static str {
        match self.kind {
            Kind::Tool(tool) => tool.notes,
            Kind::Yardstick(yardstick) => yardstick.notes,
        }
    }

    pub(crate) fn is_tool(&self) -> bool {
        matches!(self.kind, Kind::Tool(_))
    }

    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Tool(tool) if tool.program == OURS)
    }

    /// Whether a tool does this step at all. Yardsticks decide by the task.
    pub(crate) fn does(&self, step: Step) -> bool {
        match self.kind {
            Kind::Tool(tool) => tool.steps.is_empty() || tool.steps.contains(&step),
            Kind::Yardstick(_) => true,
        }
    }
}

/// Finds tools and yardsticks. No names: all tools. The strongest compression only if `strongest`.
pub(crate) fn find(
    names: &[String],
    strongest: bool,
    garret: Option<&Path>,
) -> Result<(Vec<Participant>, Vec<&'static str>)> {
    if let Some(name) = names.iter().find(|name| !TOOLS.iter().any(|tool| tool.name == **name)) {
        let known: Vec<_> = TOOLS.iter().map(|tool| tool.name).collect();
        return Err(format!("no tool {name}; there are {}", known.join(", ")).into());
    }
    let asked = |tool: &&Tool| {
        let named = names.iter().any(|name| name == tool.name);
        if tool.name == STRONGEST { strongest || named } else { names.is_empty() || named }
    };
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for tool in TOOLS.iter().filter(asked) {
        let program =
            if tool.program == OURS { locate_garret(garret)? } else { in_path(tool.program) };
        let kind = Kind::Tool(tool);
        match program.map(|program| (version(&program, tool.version), program)) {
            Some((version, program)) => found.push(Participant { kind, program, version }),
            None => missing.push(tool.name),
        }
    }
    for yardstick in &YARDSTICKS {
        let kind = Kind::Yardstick(yardstick);
        match in_path(yardstick.program) {
            Some(program) => {
                let version = version(&program, "--version");
                found.push(Participant { kind, program, version });
            }
            None => missing.push(yardstick.name),
        }
    }
    Ok((found, missing))
}

/// Where it is said to be, else beside this program, else in PATH.
fn locate_garret(said: Option<&Path>) -> Result<Option<PathBuf>> {
    if let Some(path) = said {
        let path = path.canonicalize().map_err(|e| format!("{}: {e}", path.display()))?;
        return Ok(Some(path));
    }
    let beside = env::current_exe()?.with_file_name(OURS);
    let found = if is_program(&beside) { Some(beside) } else { in_path(OURS) };
    let why = "no garret: build it with cargo build --release, or name it with --garret";
    found.map(Some).ok_or_else(|| why.into())
}

pub(crate) fn in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(program)).find(|p| is_program(p))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// What a program says its version is; `?` if that is not found.
fn version(program: &Path, argument: &str) -> String {
    let said = Command::new(program).arg(argument).stdin(Stdio::null()).output();
    let text = said.map_or(Vec::new(), |output| [output.stdout, output.stderr].concat());
    version_in(&String::from_utf8_lossy(&text)).unwrap_or_else(|| "?".to_owned())
}

/// The first word that looks like a version, or like a number.
fn version_in(text: &str) -> Option<String> {
    let word = |word: &str| {
        let word = word.trim_start_matches('v').trim_end_matches([',', '.', ';', ')']);
        let starts_with_digit = word.starts_with(|c: char| c.is_ascii_digit());
        let word = if starts_with_digit { word } else { word.rsplit('-').next()? };
        let is_version = word.starts_with(|c: char| c.is_ascii_digit())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || ".-+".contains(c));
        is_version.then(|| word.to_owned())
    };
    // zbackup says what it does before it says who it is.
    let lines = text.lines().filter(|line| !line.starts_with("[DEBUG]"));
    lines.flat_map(str::split_whitespace).find_map(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let said = [
            ("borg 1.2.4\n", "1.2.4"),
            ("restic 0.14.0 compiled with go1.19.8 on linux/amd64\n", "0.14.0"),
            ("casync 2\n", "2"),
            ("bupstash-0.12.0\n", "0.12.0"),
            ("cp (GNU coreutils) 9.1\nCopyright (C) 2022\n", "9.1"),
            ("*** Zstandard CLI (64-bit) v1.5.4, by Yann Collet ***\n", "1.5.4"),
            ("[DEBUG] at 6\nZBackup, a versatile tool, version 1.4\n", "1.4"),
            ("qemu-img version 7.2.19 (Debian 1:7.2+dfsg-7)\n", "7.2.19"),
        ];
        for (text, version) in said {
            assert_eq!(version_in(text).as_deref(), Some(version), "{text}");
        }
        assert_eq!(version_in("no idea"), None);
    }

    #[test]
    fn tools_are_chosen_by_name() {
        let names = |names: &[&str], strongest| -> Vec<&str> {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            let (found, missing) = find(&names, strongest, Some(Path::new("/bin/sh"))).unwrap();
            let found = found.iter().filter(|p| p.is_tool()).map(Participant::name);
            found
                .chain(missing.into_iter().filter(|m| TOOLS.iter().any(|t| t.name == *m)))
                .collect()
        };
        assert_eq!(names(&["garret"], false), ["garret"]);
        assert_eq!(names(&["garret"], true), ["garret", STRONGEST]);
        assert_eq!(names(&[], false).len(), TOOLS.len() - 1);
        assert!(find(&["tar".to_owned()], false, None).is_err());
    }
}
