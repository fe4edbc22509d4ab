//! Jobs as a file in TOML says them. docs/nightly.md has every key.
//!
//! In: a path, or the places where such a file is. Out: jobs in the order of the file, or one line that says file, line,
//! key, and what was meant. Promises: what others could have written is not read at all, for it has commands in it; a key
//! that is not known is never passed over.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use garret_core::{Compression, KeepRules, KeyMode};
use rustix::fs::OFlags;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::job::{Hooks, Job, Jobs, Retries, agree, is_job_name, pattern};
use super::window::Window;
use crate::args;
use crate::cache::absolute;
use crate::failure::Failure;
use crate::location::Location;
use crate::suggest::nearest;
use crate::trust::{is_private, is_settled};
use crate::ui::SecretPlaces;

/// The longest file that is read, in bytes.
const LEN_MAX: u64 = 1 << 20;

/// The file of the machine.
const OF_ALL: &str = "/etc/garret/garret.toml";

const TOP: [&str; 3] = ["metrics", "defaults", "job"];
const OF_JOB: [&str; 22] = [
    "repository",
    "packs",
    "paths",
    "archive",
    "prefix",
    "compression",
    "exclude",
    "exclude-caches",
    "one-file-system",
    "keep",
    "init",
    "passphrase-file",
    "passphrase-command",
    "key-file",
    "retries",
    "retry-after",
    "lock-wait",
    "window",
    "compact",
    "verify",
    "threads",
    "hooks",
];
const OF_KEEP: [&str; 6] = ["within", "hourly", "daily", "weekly", "monthly", "yearly"];
const OF_HOOKS: [&str; 9] =
    ["before", "freeze", "snapshot", "thaw", "cleanup", "after", "failed", "finally", "timeout"];

/// The file that is read where none is named: that of the machine, else that of the user.
///
/// # Errors
/// There is none.
pub fn default_file() -> Result<PathBuf, Failure> {
    let own = absolute("XDG_CONFIG_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".config")))
        .map(|home| home.join("garret/garret.toml"));
    let places: Vec<PathBuf> = [Some(OF_ALL.into()), own].into_iter().flatten().collect();
    let found = places.iter().find(|path| path.symlink_metadata().is_ok());
    found.cloned().ok_or_else(|| {
        let looked: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
        Failure::Usage(format!(
            "no configuration: neither {} is there; write one (docs/nightly.md), or give --repo REPO PATH",
            looked.join(" nor ")
        ))
    })
}

/// The jobs in a file.
///
/// # Errors
/// Wrong use: it cannot be read, is not this user's alone, or says what makes no sense.
pub fn read(path: &Path) -> Result<Jobs, Failure> {
    let text = trusted(path).map_err(|why| Failure::Usage(format!("{}: {why}", path.display())))?;
    parse(&text).map_err(|wrong| {
        let before = text.get(..wrong.at).unwrap_or(&text);
        let line = before.matches('\n').count() + 1;
        Failure::Usage(format!("{}:{line}: {}", path.display(), wrong.why))
    })
}

/// What is in the file, if nobody else can have written it.
fn trusted(path: &Path) -> Result<String, String> {
    let said = |error: io::Error| error.to_string();
    let nonblocking = OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(nonblocking).open(path).map_err(said)?;
    let metadata = file.metadata().map_err(said)?;
    if !metadata.is_file() {
        return Err("it is not a file".to_owned());
    }
    if !is_private(&metadata) || !is_settled(path) {
        return Err(
            "others can write to it or exchange it, and it has commands that are run; make it and the directories above it \
             yours or root's alone (`chown`, `chmod go-w`)"
                .to_owned(),
        );
    }
    let mut bytes = Vec::new();
    file.take(LEN_MAX + 1).read_to_end(&mut bytes).map_err(said)?;
    if bytes.len() as u64 > LEN_MAX {
        return Err(format!("it is longer than {LEN_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

/// Something is wrong at a place of the text.
#[derive(Debug)]
struct Wrong {
    at: usize,
    why: String,
}

type Parsed<T> = Result<T, Wrong>;

fn parse(text: &str) -> Parsed<Jobs> {
    let table = DeTable::parse(text).map_err(|error| Wrong {
        at: error.span().map_or(0, |span| span.start),
        why: error.message().lines().collect::<Vec<_>>().join(" "),
    })?;
    let top = table.get_ref();
    known(top, &TOP, "")?;
    let defaults = entry(top, "defaults").map(|found| sub_table(found, "defaults")).transpose()?;
    if let Some(defaults) = defaults {
        known(defaults, &OF_JOB, "")?;
    }
    let mut jobs = Jobs { jobs: Vec::new(), metrics: None };
    if let Some(found) = entry(top, "metrics") {
        jobs.metrics = Some(place(found, "metrics")?);
    }
    let mut found: Vec<(&str, Range<usize>, &DeTable<'_>)> = Vec::new();
    if let Some(all) = entry(top, "job") {
        for (name, value) in sub_table(all, "job")? {
            let key = name.get_ref().as_ref();
            let span = name.span();
            if !is_job_name(key) {
                let why =
                    format!("{key:?} cannot be a job's name: letters, digits, -, _ and . only");
                return Err(Wrong { at: span.start, why });
            }
            found.push((key, span, sub_table(value, key)?));
        }
    }
    found.sort_by_key(|(_, span, _)| span.start);
    for (name, span, own) in found {
        known(own, &OF_JOB, "")?;
        let layers = Layers { own, defaults };
        let job = layers.job(name, span.start)?;
        if let Some((key, why)) = job.wrong() {
            let at = layers.any(key).map_or(span.start, |found| found.span().start);
            return Err(Wrong { at, why: format!("job `{name}`: `{key}`: {why}") });
        }
        jobs.jobs.push(job);
    }
    if jobs.jobs.is_empty() {
        let why = "there is no job: a job is a table, as [job.vms] with repository and paths";
        return Err(Wrong { at: text.len(), why: why.to_owned() });
    }
    agree(&jobs.jobs).map_err(|why| Wrong { at: text.len(), why })?;
    Ok(jobs)
}

/// Refuses a key that there is not.
fn known(table: &DeTable<'_>, keys: &[&str], before: &str) -> Parsed<()> {
    let mut unknown: Vec<(usize, &str)> = table
        .keys()
        .map(|key| (key.span().start, key.get_ref().as_ref()))
        .filter(|(_, key)| !keys.contains(key))
        .collect();
    unknown.sort_unstable();
    let Some((at, key)) = unknown.into_iter().next() else { return Ok(()) };
    let meant = match nearest(key.as_bytes(), keys.iter().copied()) {
        Some(near) => format!("did you mean `{before}{near}`?"),
        None => format!("there are {}", keys.join(", ")),
    };
    Err(Wrong { at, why: format!("unknown key `{before}{key}`, {meant}") })
}

fn entry<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<&'t Spanned<DeValue<'i>>> {
    table.iter().find(|(found, _)| found.get_ref() == key).map(|(_, value)| value)
}

fn wrong<T>(value: &Spanned<DeValue<'_>>, key: &str, why: &str) -> Parsed<T> {
    Err(Wrong { at: value.span().start, why: format!("`{key}`: {why}") })
}

fn sub_table<'t, 'i>(value: &'t Spanned<DeValue<'i>>, key: &str) -> Parsed<&'t DeTable<'i>> {
    match value.get_ref() {
        DeValue::Table(table) => Ok(table),
        _ => wrong(value, key, "it is a table"),
    }
}

fn string<'t>(value: &'t Spanned<DeValue<'_>>, key: &str) -> Parsed<&'t str> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text),
        _ => wrong(value, key, "it is a text, in quotes"),
    }
}

/// The same, to be kept.
fn text(value: &Spanned<DeValue<'_>>, key: &str) -> Parsed<String> {
    string(value, key).map(str::to_owned)
}

/// A text that says something.
fn parsed<T>(
    value: &Spanned<DeValue<'_>>,
    key: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Parsed<T> {
    parse(string(value, key)?).or_else(|why| wrong(value, key, &why))
}

fn number<T: TryFrom<i64>>(value: &Spanned<DeValue<'_>>, key: &str) -> Parsed<T> {
    let number = match value.get_ref() {
        DeValue::Integer(found) => i64::from_str_radix(found.as_str(), found.radix()).ok(),
        _ => None,
    };
    match number.and_then(|number| T::try_from(number).ok()) {
        Some(number) => Ok(number),
        None => wrong(value, key, "it is a whole number, without quotes"),
    }
}

fn yes(value: &Spanned<DeValue<'_>>, key: &str) -> Parsed<bool> {
    match value.get_ref() {
        DeValue::Boolean(yes) => Ok(*yes),
        _ => wrong(value, key, "it is true or false, without quotes"),
    }
}

/// One text, or several.
fn strings(value: &Spanned<DeValue<'_>>, key: &str) -> Parsed<Vec<String>> {
    match value.get_ref() {
        DeValue::Array(all) => all.iter().map(|one| string(one, key).map(str::to_owned)).collect(),
        _ => string(value, key).map(|one| vec![one.to_owned()]),
    }
}

/// Where a repository is, wherever the program runs.
fn location(value: &Spanned<DeValue<'_>>, key: &str) -> Parsed<Location> {
    let text = string(value, key)?;
    match Location::parse(OsStr::new(text)) {
        Some(Location::Directory(path)) if !path.is_absolute() => {
            wrong(value, key, "give the whole path, from / on")
        }
        Some(location) => Ok(location),
        None => wrong(
            value,
            key,
            "give a whole path, [USER@]HOST:PATH, s3://BUCKET/PREFIX or sftp://HOST/PATH",
        ),
    }
}

/// A path that means the same wherever the program runs.
fn place(value: &Spanned<DeValue<'_>>, key: &str) -> Parsed<PathBuf> {
    let path = PathBuf::from(string(value, key)?);
    match path.is_absolute() {
        true => Ok(path),
        false => wrong(value, key, "give the whole path, from / on"),
    }
}

/// What a job says itself, before what all say.
struct Layers<'t, 'i> {
    own: &'t DeTable<'i>,
    defaults: Option<&'t DeTable<'i>>,
}

impl<'t, 'i> Layers<'t, 'i> {
    fn get(&self, key: &str) -> Option<&'t Spanned<DeValue<'i>>> {
        entry(self.own, key).or_else(|| entry(self.defaults?, key))
    }

    /// What is under this key, also in a table of keys.
    fn any(&self, key: &str) -> Option<&'t Spanned<DeValue<'i>>> {
        let inside = |table: &str| {
            let DeValue::Table(table) = entry(self.own, table)?.get_ref() else { return None };
            entry(table, key)
        };
        entry(self.own, key).or_else(|| inside("hooks")).or_else(|| inside("keep"))
    }

    /// Both tables of that name, key by key.
    fn inner(&self, key: &str, keys: &[&str]) -> Parsed<Option<Layers<'t, 'i>>> {
        let table = |table: &'t DeTable<'i>| {
            let found = entry(table, key).map(|found| sub_table(found, key)).transpose()?;
            found.map(|found| known(found, keys, &format!("{key}.")).map(|()| found)).transpose()
        };
        let own = table(self.own)?;
        let defaults = self.defaults.map(table).transpose()?.flatten();
        Ok(match (own, defaults) {
            (Some(own), defaults) => Some(Layers { own, defaults }),
            (None, Some(own)) => Some(Layers { own, defaults: None }),
            (None, None) => None,
        })
    }

    /// What a key says, if it is there.
    fn read<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Spanned<DeValue<'i>>, &str) -> Parsed<T>,
    ) -> Parsed<Option<T>> {
        self.get(key).map(|found| read(found, key)).transpose()
    }

    fn duration(&self, key: &str) -> Parsed<Option<Duration>> {
        self.read(key, |found, key| parsed(found, key, args::duration))
    }

    fn job(&self, name: &str, at: usize) -> Parsed<Job> {
        let Some(repository) = self.read("repository", location)? else {
            return Err(Wrong { at, why: format!("job `{name}`: `repository` is missing") });
        };
        let packs = self.read("packs", location)?;
        let mut job = Job::new(name, repository.with_packs_at(packs.as_ref()));
        if let Some(found) = self.get("paths") {
            for path in strings(found, "paths")?.into_iter().map(PathBuf::from) {
                match path.is_absolute() {
                    true => job.paths.push(path),
                    false => return wrong(found, "paths", "give whole paths, from / on"),
                }
            }
        }
        set(&mut job.archive, self.read("archive", text)?);
        job.prefix = self.read("prefix", text)?;
        set(&mut job.compression, self.read("compression", compression)?);
        let exclude = self.read("exclude", strings)?.unwrap_or_default();
        job.exclude = exclude.iter().map(pattern).collect();
        set(&mut job.exclude_caches, self.read("exclude-caches", yes)?);
        set(&mut job.one_file_system, self.read("one-file-system", yes)?);
        job.keep = self.inner("keep", &OF_KEEP)?.map(|keep| keep.rules()).transpose()?;
        job.init = self.read("init", |found, key| parsed(found, key, mode))?;
        job.secrets = self.secrets()?;
        if let Some(hooks) = self.inner("hooks", &OF_HOOKS)? {
            job.hooks = hooks.hooks()?;
        }
        let usual = Retries::default();
        job.retries = Retries {
            count: self.read("retries", number)?.unwrap_or(usual.count),
            pause: self.duration("retry-after")?.unwrap_or(usual.pause),
        };
        set(&mut job.lock_wait, self.duration("lock-wait")?);
        job.window = self.read("window", |found, key| parsed(found, key, Window::parse))?;
        job.compact = self.duration("compact")?;
        job.verify = self.duration("verify")?;
        set(&mut job.threads, self.read("threads", threads)?);
        Ok(job)
    }

    /// A passphrase of the job takes the place of that of all, whichever way either is given.
    fn secrets(&self) -> Parsed<SecretPlaces> {
        let ways = ["passphrase-file", "passphrase-command"];
        let is_own = ways.iter().any(|way| entry(self.own, way).is_some());
        let defaults = self.defaults.filter(|_| !is_own);
        let passphrase = Layers { own: self.own, defaults };
        let [Some(file), Some(command)] = ways.map(|way| passphrase.get(way)) else {
            return Ok(SecretPlaces {
                passphrase_file: passphrase.read("passphrase-file", place)?,
                passphrase_command: passphrase.read("passphrase-command", text)?.map(Into::into),
                key_file: self.read("key-file", place)?,
            });
        };
        let later = if file.span().start > command.span().start { file } else { command };
        wrong(later, "passphrase-file", "give it or `passphrase-command`, not both")
    }

    fn rules(&self) -> Parsed<KeepRules> {
        let mut rules = KeepRules::default();
        rules.within_secs = self.read("within", |found, key| {
            let why = || "it is a number and one of H, d, w, m, y, as in 10d".to_owned();
            parsed(found, key, |text| KeepRules::parse_within(text).ok_or_else(why))
        })?;
        for (key, count) in [
            ("hourly", &mut rules.hourly),
            ("daily", &mut rules.daily),
            ("weekly", &mut rules.weekly),
            ("monthly", &mut rules.monthly),
            ("yearly", &mut rules.yearly),
        ] {
            set(count, self.read(key, number)?);
        }
        Ok(rules)
    }

    fn hooks(&self) -> Parsed<Hooks> {
        let line = |key: &str| self.read(key, text);
        let mut hooks = Hooks {
            before: line("before")?,
            freeze: line("freeze")?,
            snapshot: line("snapshot")?,
            thaw: line("thaw")?,
            cleanup: line("cleanup")?,
            after: line("after")?,
            failed: line("failed")?,
            finally: line("finally")?,
            ..Hooks::default()
        };
        set(&mut hooks.timeout, self.duration("timeout")?);
        Ok(hooks)
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn compression(value: &Spanned<DeValue<'_>>, key: &str) -> Parsed<Compression> {
    parsed(value, key, args::compression)
}

fn threads(value: &Spanned<DeValue<'_>>, key: &str) -> Parsed<usize> {
    match number(value, key)? {
        count @ 1..=1024 => Ok(count),
        _ => wrong(value, key, "it is a number from 1 to 1024"),
    }
}

/// How a new repository is protected.
fn mode(text: &str) -> Result<KeyMode, String> {
    match text {
        "none" => Ok(KeyMode::None),
        "passphrase" => Ok(KeyMode::Passphrase),
        "keyfile" => Ok(KeyMode::Keyfile),
        _ => Err("it is one of none, passphrase, keyfile".to_owned()),
    }
}
