//! What `create` stores: paths, standard input, the output of a command.
//!
//! In: the PATHs and the options about streams. Out: inputs of a backup, a stream at most. Promises: a standard input that
//! nothing can come from is refused before anything is opened; a command is not started before it is read from.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use garret_cli::failure::Failure;
use garret_cli::pipes::{self, Producer, Unfit};
use garret_core::Input;

/// The arguments that say it.
#[derive(Debug, clap::Args)]
pub(crate) struct Inputs {
    /// Store what this line for the shell prints; if it fails, no archive is made
    ///
    /// It is run when its turn comes by bash, so that a pipe fails if any program of it does, or by sh if there is no bash;
    /// with nothing to read and without garret's passphrases.
    #[arg(long, value_name = "CMD")]
    from_command: Option<OsString>,
    /// Name in the archive of what PATH - reads [default: stdin], or the command prints [default: output]
    #[arg(long, value_name = "NAME")]
    stdin_name: Option<OsString>,
    /// Store standard input, or what a command prints, even if it is empty; else it is an error
    #[arg(long)]
    allow_empty: bool,
    /// Store the one PATH under this name: a file as NAME, what is in a directory below NAME
    #[arg(long = "as", value_name = "NAME", conflicts_with = "from_command")]
    name: Option<OsString>,
    /// Files, directories, block devices (their content); - is standard input
    #[arg(value_name = "PATH", required_unless_present = "from_command")]
    paths: Vec<OsString>,
}

impl Inputs {
    /// The words behind the archive.
    pub(crate) fn paths(&self) -> &[OsString] {
        &self.paths
    }

    /// Whether a stream that is empty is an error.
    pub(crate) fn refuse_empty(&self) -> bool {
        !self.allow_empty
    }

    /// The line for the shell.
    pub(crate) fn command(&self) -> Option<OsString> {
        self.from_command.clone()
    }

    /// What to back up; the output of a command first, so that nothing is read in vain if it fails.
    pub(crate) fn open(self) -> Result<Vec<Input>, Failure> {
        let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
        let count = self.paths.iter().filter(|path| *path == "-").count();
        match (&self.from_command, count, &self.stdin_name) {
            (Some(_), 1.., _) => return usage("give --from-command or the PATH -, not both"),
            (None, 0, Some(_)) => {
                return usage(
                    "--stdin-name needs the PATH -, which is standard input, or --from-command",
                );
            }
            (_, 2.., _) => return usage("standard input can be read only once: give - once"),
            _ => {}
        }
        let default = if self.from_command.is_some() { "output" } else { "stdin" };
        let name = self.stdin_name.as_deref().unwrap_or(OsStr::new(default)).as_bytes();
        let name = name.strip_prefix(b"/").unwrap_or(name);
        if !garret_format::archive::is_safe_path(name) {
            return usage("--stdin-name must be a path without empty, . and .. parts");
        }
        if let Some(name) = &self.name {
            return named(name, &self.paths).map(|input| vec![input]);
        }
        let mut inputs = Vec::new();
        if let Some(line) = self.from_command {
            let reader = Box::new(Producer::new(line));
            inputs.push(Input::Stream { name: name.to_vec(), reader });
        }
        for path in self.paths {
            inputs.push(match path == "-" {
                true => Input::Stream { name: name.to_vec(), reader: Box::new(standard_input()?) },
                false => Input::Path(path.into()),
            });
        }
        Ok(inputs)
    }
}

/// Bytes of a name that is refused which are shown.
const NAME_SHOWN: usize = 100;

/// Whether no file system could give it back.
fn has_long_part(name: &OsStr) -> bool {
    name.as_bytes().split(|byte| *byte == b'/').any(|part| part.len() > 255)
}

/// The one path, under another name.
fn named(name: &OsStr, paths: &[OsString]) -> Result<Input, Failure> {
    let usage = |text: String| Err(Failure::Usage(text));
    match paths {
        [path] if path == "-" => usage("--as is for a PATH: give --stdin-name".to_owned()),
        [_] if !garret_format::archive::is_safe_path(name.as_bytes()) || has_long_part(name) => {
            let name = name.to_string_lossy();
            let shown = name.get(..name.floor_char_boundary(NAME_SHOWN)).unwrap_or_default();
            usage(format!(
                "--as {shown}: give a path without a / in front, without empty, . and .. parts, and none above 255 bytes"
            ))
        }
        [path] => Ok(Input::Named { path: path.into(), name: name.as_bytes().to_vec() }),
        _ => usage(format!("--as is for one PATH, and there are {}", paths.len())),
    }
}

fn standard_input() -> Result<std::fs::File, Failure> {
    let why = match pipes::input()? {
        Ok(file) => return Ok(file),
        Err(Unfit::Terminal) => "a terminal",
        Err(Unfit::Closed) => "closed",
    };
    Err(Failure::Usage(format!(
        "standard input is {why}: give the data by a pipe, or --from-command CMD"
    )))
}
