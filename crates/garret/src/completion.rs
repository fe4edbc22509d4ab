//! What a shell offers at TAB: commands and options by the definition of the command line; repositories, archives and the
//! files in them by what is there.
//!
//! In: a shell's name, or with `GARRET_COMPLETE` set the words that a shell has. Out: the script for that shell, or words for
//! it, on stdout. Promises: nobody is asked for anything and nothing is waited for: files are offered of repositories without
//! encryption only, and names of archives of all.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;

use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Shells, Zsh};
use garret_cli::failure::Failure;
use garret_cli::location::{Location, STORES};
use garret_cli::session;
use garret_cli::ui::Ui;
use garret_core::{Area, Key, KeyMode, LocalStore, Store};

use crate::location;

/// What says that words are wanted, and for which shell.
const VARIABLE: &str = "GARRET_COMPLETE";
/// Files of an archive that are looked at.
const FILES_MAX: usize = 100_000;

const SHELLS: Shells<'static> = Shells(&[&Colons, &Fish, &Zsh]);

/// A shell that has a script.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Shell {
    /// for ~/.bashrc: source <(garret completions bash)
    Bash,
    /// for ~/.config/fish/config.fish: garret completions fish | source
    Fish,
    /// for ~/.zshrc, behind compinit: source <(garret completions zsh)
    Zsh,
}

/// The script that has a shell ask us.
pub(crate) fn script(shell: Shell) -> Result<Vec<u8>, Failure> {
    let shell: &dyn EnvCompleter = match shell {
        Shell::Bash => &Colons,
        Shell::Fish => &Fish,
        Shell::Zsh => &Zsh,
    };
    let mut text = Vec::new();
    let written = shell.write_registration(VARIABLE, "garret", "garret", "garret", &mut text);
    written.map_err(|error| Failure::io("the script", &error))?;
    Ok(text)
}

/// Answers a shell about a command line of this definition, if it is one that asks; whether it was.
pub(crate) fn answer(definition: fn() -> clap::Command) -> bool {
    let environment = CompleteEnv::with_factory(|| completed(definition()));
    let here = std::env::current_dir().ok();
    let answered =
        environment.var(VARIABLE).shells(SHELLS).try_complete(std::env::args_os(), here.as_deref());
    // There is nobody to tell what went wrong: it would stand in the middle of a line that is being typed.
    answered.unwrap_or(true)
}

/// A command whose arguments know what they can be.
fn completed(command: clap::Command) -> clap::Command {
    // What these read is on the disk.
    let reads_disk = ["create", "demo"].contains(&command.get_name());
    command.mut_subcommands(completed).mut_args(|arg| {
        let name =
            arg.get_value_names().and_then(<[_]>::first).map(|name| name.as_str().to_owned());
        let completer = match name.as_deref() {
            Some("REPO" | "FROM" | "TO") => {
                ArgValueCompleter::new(|word: &OsStr| places(word, &[""]))
            }
            Some("REPO[::NAME]") => {
                ArgValueCompleter::new(|word: &OsStr| places(word, &["", "::"]))
            }
            Some("REPO::NAME") => ArgValueCompleter::new(|word: &OsStr| places(word, &["::"])),
            Some("NAME" | "NAME|DAY") => ArgValueCompleter::new(names),
            Some("PATH" | "IMAGE") if reads_disk => ArgValueCompleter::new(PathCompleter::any()),
            Some("PATH" | "IMAGE" | "PATTERN") => ArgValueCompleter::new(files),
            _ => return arg,
        };
        arg.add(completer)
    })
}

/// Directories that begin so; behind one that is a repository, what can stand there; behind `::` its archives.
fn places(word: &OsStr, behind: &[&str]) -> Vec<CompletionCandidate> {
    let bytes = word.as_bytes();
    if let Some(at) = bytes.windows(2).position(|pair| pair == b"::") {
        let (place, name) =
            (bytes.get(..at).unwrap_or_default(), bytes.get(at + 2..).unwrap_or_default());
        let found = archives(Path::new(OsStr::from_bytes(place)));
        let wanted = found.iter().filter(|found| found.as_bytes().starts_with(name));
        return wanted.map(|found| candidate([place, b"::", found.as_bytes()].concat())).collect();
    }
    let start = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let (above, begin) = bytes.split_at(start);
    let directory =
        if above.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(above)) };
    let entries = directory.read_dir().into_iter().flatten().flatten();
    // Nothing is connected to for a TAB; of others only how they begin is offered, not at one letter.
    let begins = |scheme: &&str| bytes.len() > 1 && scheme.as_bytes().starts_with(bytes);
    let schemes = STORES.iter().copied().chain(["ssh://"]).filter(begins);
    let mut found: BTreeSet<Vec<u8>> = schemes.map(|scheme| scheme.as_bytes().to_vec()).collect();
    for entry in entries.filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name();
        let is_hidden = name.as_bytes().starts_with(b".") && begin.is_empty();
        if !name.as_bytes().starts_with(begin) || is_hidden {
            continue;
        }
        let whole = [above, name.as_bytes()].concat();
        match session::find(&entry.path().as_path().into()) {
            Ok(_) => found.extend(behind.iter().map(|end| [&whole, end.as_bytes()].concat())),
            Err(_) => drop(found.insert([&whole[..], b"/"].concat())),
        }
    }
    found.into_iter().map(candidate).collect()
}

/// The archives of the repository that was named before.
fn names(word: &OsStr) -> Vec<CompletionCandidate> {
    let found = named().and_then(|(place, _)| place.directory().map(archives)).unwrap_or_default();
    let wanted = found.into_iter().filter(|name| name.as_bytes().starts_with(word.as_bytes()));
    wanted.map(|name| candidate(name.into_bytes())).collect()
}

/// Names of archives are names of files: no key is needed.
fn archives(place: &Path) -> Vec<String> {
    let listed = LocalStore::open(place).and_then(|store| store.list(Area::Archives));
    let keys = listed.unwrap_or_default().into_iter();
    keys.filter_map(|(key, _)| if let Key::Archive(name) = key { Some(name) } else { None })
        .collect()
}

/// Paths in the archive that was named before, or in the newest one of the repository, as far as the next `/`; where neither
/// was, paths on the disk.
fn files(word: &OsStr) -> Vec<CompletionCandidate> {
    let Some(stored) = stored_paths() else {
        return PathCompleter::any().complete(word);
    };
    let bytes = word.as_bytes();
    let mut found = BTreeSet::new();
    for path in stored.into_iter().filter(|path| path.starts_with(bytes)) {
        let rest = path.get(bytes.len()..).unwrap_or_default();
        let end = rest
            .iter()
            .position(|byte| *byte == b'/')
            .map_or(path.len(), |at| bytes.len() + at + 1);
        found.insert(path.get(..end).unwrap_or_default().to_vec());
    }
    // What is in a directory is asked for more often than all of it.
    let is_directory = |path: &Vec<u8>| found.contains(&[path, &b"/"[..]].concat());
    let found: Vec<Vec<u8>> = found.iter().filter(|path| !is_directory(path)).cloned().collect();
    found.into_iter().map(candidate).collect()
}

fn stored_paths() -> Option<Vec<Vec<u8>>> {
    let (place, name) = named()?;
    if session::find(&place).ok()?.key_mode() != KeyMode::None {
        return Some(Vec::new());
    }
    let ui = Ui::unnamed();
    ui.set_quiet(true);
    ui.set_patience(Duration::ZERO);
    let repository = session::reader(&place, &ui).ok()?;
    let archive = match name {
        Some(name) if name != "latest" => repository.archive(&name).ok()?,
        _ => {
            let names = repository.archive_names().ok()?;
            let archives = names.iter().filter_map(|name| repository.archive(name).ok());
            archives.max_by_key(|found| found.archive.end)?
        }
    };
    let items = repository.items(&archive).map_while(Result::ok).take(FILES_MAX);
    Some(items.map(|item| item.path).collect())
}

/// The first word of the line that names a repository, and the archive in it.
fn named() -> Option<(Location, Option<String>)> {
    let words: Vec<OsString> =
        std::env::args_os().skip_while(|word| word != "--").skip(3).collect();
    let located = words.iter().filter_map(|word| location::either(word).ok());
    // Nothing is connected to for a TAB.
    let mut here = located.filter(|(place, _)| place.directory().is_some());
    here.find(|(place, _)| session::find(place).is_ok())
}

fn candidate(bytes: Vec<u8>) -> CompletionCandidate {
    CompletionCandidate::new(OsString::from_vec(bytes))
}

/// bash, for which a colon ends a word: what it took apart is put together before we see it.
struct Colons;

impl EnvCompleter for Colons {
    fn name(&self) -> &'static str {
        "bash"
    }

    fn is(&self, name: &str) -> bool {
        name == "bash"
    }

    fn write_registration(
        &self,
        variable: &str,
        name: &str,
        program: &str,
        completer: &str,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let script = BASH.replace("VARIABLE", variable).replace("NAME", name);
        out.write_all(script.replace("PROGRAM", program).replace("COMPLETER", completer).as_bytes())
    }

    fn write_complete(
        &self,
        command: &mut clap::Command,
        words: Vec<OsString>,
        directory: Option<&Path>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        Bash.write_complete(command, words, directory, out)
    }
}

// What is offered is quoted as the shell reads it: anybody who may write to a repository gives names, and a name like
// `$(rm x)` must stay one. What was typed stays as it is, for `~` and the like; what begins otherwise is not offered.
const BASH: &str = r#"_NAME_words() {
    local line=$COMP_LINE rest i words=() index=0
    for i in "${!COMP_WORDS[@]}"; do
        rest=${line#"${line%%[![:space:]]*}"}
        if [[ $i -gt 0 && $rest == "$line" ]]; then
            words[${#words[@]}-1]+=${COMP_WORDS[i]}
        else
            words+=("${COMP_WORDS[i]}")
        fi
        [[ $i -eq $COMP_CWORD ]] && index=$((${#words[@]} - 1))
        line=${rest#"${COMP_WORDS[i]}"}
    done
    # Without the backslashes of what was quoted before.
    for i in "${!words[@]}"; do
        IFS= read "words[i]" <<< "${words[i]}"
    done
    # What bash puts there replaces $2 alone.
    local typed=${words[index]} found
    COMPREPLY=()
    while IFS= read -r found || [[ -n $found ]]; do
        [[ $found == "$typed"* && $found != *[[:cntrl:]]* ]] || continue
        found=${found#"$typed"}
        [[ -z $found ]] || printf -v found %q "$found"
        COMPREPLY+=("$2$found")
    done < <(_CLAP_IFS=$'\n' _CLAP_COMPLETE_INDEX=$index VARIABLE=bash COMPLETER -- "${words[@]}" 2>/dev/null)
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} != *[=/:] ]] || compopt -o nospace 2>/dev/null
}
complete -o bashdefault -F _NAME_words PROGRAM
"#;
