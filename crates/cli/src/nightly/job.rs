//! What a nightly job is. The configuration and the command line fill the same types.
//!
//! In: nothing; whoever makes a job sets its fields. Out: what follows from them: the name of tonight's archive, the
//! beginning of the names of all of them, what is read. Promises: a job that [`agree`] lets pass deletes no archives of
//! another job.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use garret_core::{Compression, Input, KeepRules, KeyMode, LOCK_WAIT_DEFAULT};

use super::matches;
use super::own::Own;
use super::window::Window;
use crate::args::available_threads;
use crate::location::Location;
use crate::placeholders;
use crate::ui::SecretPlaces;

/// What is done every night.
#[derive(Clone, Debug, Default)]
pub struct Jobs {
    /// One after the other.
    pub jobs: Vec<Job>,
    /// The file for Prometheus.
    pub metrics: Option<PathBuf>,
}

/// One backup of one set of paths into one repository, and what belongs to it.
#[derive(Clone, Debug)]
pub struct Job {
    /// What it is called: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Where it goes.
    pub repository: Location,
    /// Whether nobody gave it its name: others that are given none are called so too.
    pub is_unnamed: bool,
    /// Files, directories, devices; shell patterns.
    pub paths: Vec<PathBuf>,
    /// The name of the archive, with placeholders.
    pub archive: String,
    /// The beginning of the names that are pruned, with placeholders; none if it follows from `archive`.
    pub prefix: Option<String>,
    /// How new data are compressed.
    pub compression: Compression,
    /// Patterns of what is left out.
    pub exclude: Vec<Vec<u8>>,
    /// Whether directories that say they are caches are left out.
    pub exclude_caches: bool,
    /// Whether other file systems than those of the paths are left out.
    pub one_file_system: bool,
    /// What stays when it is pruned; none if nothing is.
    pub keep: Option<KeepRules>,
    /// How a repository that is missing is made; none if it is not.
    pub init: Option<KeyMode>,
    /// Where passphrase and key are.
    pub secrets: SecretPlaces,
    /// What is run before, between and after.
    pub hooks: Hooks,
    /// What becomes of a backup that failed for a reason that may pass.
    pub retries: Retries,
    /// How long other programs that use the repository are waited for.
    pub lock_wait: Duration,
    /// When it may begin.
    pub window: Option<Window>,
    /// How long what is old is compacted afterwards; not at all if none.
    pub compact: Option<Duration>,
    /// How long every byte is read after that, beginning with what was verified longest ago; none if nothing is.
    pub verify: Option<Duration>,
    /// Threads that do the work.
    pub threads: usize,
}

/// Lines for the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// Before anything else. If it fails, nothing is backed up.
    pub before: Option<String>,
    /// Has the guest stand still.
    pub freeze: Option<String>,
    /// Makes what is read.
    pub snapshot: Option<String>,
    /// Lets the guest go on. It is run whenever `freeze` was, whatever happened since.
    pub thaw: Option<String>,
    /// Takes away what `snapshot` made, when it was read or could not be.
    pub cleanup: Option<String>,
    /// When all went well.
    pub after: Option<String>,
    /// When something went wrong.
    pub failed: Option<String>,
    /// In the end, in any case.
    pub finally: Option<String>,
    /// How long one of them may take.
    pub timeout: Duration,
}

/// How often a backup is tried again, and after what time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Besides the first try.
    pub count: u32,
    /// Between two of them.
    pub pause: Duration,
}

impl Hooks {
    /// The one that is called so in the file; any other word is `finally`.
    pub(super) fn line(&self, name: &str) -> Option<&str> {
        let line = match name {
            "before" => &self.before,
            "freeze" => &self.freeze,
            "snapshot" => &self.snapshot,
            "thaw" => &self.thaw,
            "cleanup" => &self.cleanup,
            "after" => &self.after,
            "failed" => &self.failed,
            _ => &self.finally,
        };
        line.as_deref()
    }
}

impl Default for Hooks {
    fn default() -> Self {
        let none = || None;
        Hooks {
            before: none(),
            freeze: none(),
            snapshot: none(),
            thaw: none(),
            cleanup: none(),
            after: none(),
            failed: none(),
            finally: none(),
            timeout: Duration::from_secs(10 * 60),
        }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Retries { count: 0, pause: Duration::from_secs(5 * 60) }
    }
}

/// How archives are called unless a job says otherwise.
pub const ARCHIVE: &str = "{hostname}-{job}-{now}";

/// Placeholders that are never the same again: what stands before them is the same every night.
const PASSING: [&str; 3] = ["{now", "{utcnow", "{pid"];

impl Job {
    /// Which archives are its own.
    ///
    /// # Errors
    /// What is wrong with the placeholders of their name.
    pub fn own(&self) -> Result<Own, String> {
        Own::of(&self.name, &self.archive, &self.paths, self.is_unnamed)
    }

    /// A job that stores nothing yet.
    pub fn new(name: impl Into<String>, repository: Location) -> Self {
        Job {
            name: name.into(),
            repository,
            is_unnamed: false,
            paths: Vec::new(),
            archive: ARCHIVE.to_owned(),
            prefix: None,
            compression: Compression::default(),
            exclude: Vec::new(),
            exclude_caches: false,
            one_file_system: false,
            keep: None,
            init: None,
            secrets: SecretPlaces::default(),
            hooks: Hooks::default(),
            retries: Retries::default(),
            lock_wait: LOCK_WAIT_DEFAULT,
            window: None,
            compact: None,
            verify: None,
            threads: available_threads(),
        }
    }

    /// The name of an archive that is made now.
    ///
    /// # Errors
    /// What is wrong with its placeholders.
    pub fn archive_name(&self) -> Result<String, String> {
        placeholders::expand_in(Some(&self.name), &self.archive)
    }

    /// What the names of its archives begin with.
    ///
    /// # Errors
    /// What is wrong with the placeholders.
    pub fn prefix(&self) -> Result<String, String> {
        let same = || {
            let ends = PASSING.iter().filter_map(|passing| self.archive.find(passing));
            let len = ends.min().unwrap_or(self.archive.len());
            self.archive.get(..len).unwrap_or_default()
        };
        placeholders::expand_in(Some(&self.name), self.prefix.as_deref().unwrap_or_else(same))
    }

    /// What there is to read now, patterns filled in. One that stands for nothing stays as it is, so that it is missed.
    pub fn inputs(&self) -> Vec<Input> {
        self.sources().into_iter().map(Input::Path).collect()
    }

    /// The same as paths.
    pub fn sources(&self) -> Vec<PathBuf> {
        self.paths.iter().flat_map(|path| matches::of(path)).collect()
    }

    /// Whether the name of an archive that is made now is known again.
    fn knows_its_own(&self) -> bool {
        let made = self.archive_name().and_then(|name| Ok((self.own()?, name)));
        made.is_ok_and(|(own, name)| own.is_name(&name))
    }

    /// What makes no sense about it, if anything: the key, and why.
    pub fn wrong(&self) -> Option<(&'static str, String)> {
        let wrong = |key, why: &str| Some((key, why.to_owned()));
        let hooks = &self.hooks;
        if self.paths.is_empty() {
            return wrong("paths", "there is nothing to back up");
        }
        if hooks.freeze.is_some() && (hooks.thaw.is_none() || hooks.snapshot.is_none()) {
            return wrong("freeze", "it needs `snapshot` and `thaw`: what is read is the snapshot");
        }
        if hooks.thaw.is_some() && hooks.freeze.is_none() {
            return wrong("thaw", "it needs `freeze`");
        }
        if hooks.cleanup.is_some() && hooks.snapshot.is_none() {
            return wrong("cleanup", "it needs `snapshot`");
        }
        if let Err(why) = self.archive_name() {
            return Some(("archive", why));
        }
        let prefix = match self.prefix() {
            Ok(prefix) => prefix,
            Err(why) => return Some(("prefix", why)),
        };
        match &self.keep {
            Some(rules) if rules.check().is_err() => wrong("keep", "it keeps nothing: give a rule"),
            Some(_) if prefix.is_empty() => wrong(
                "archive",
                "it begins with what changes, so `keep` would delete archives of others too; put {hostname}-{job}- before it",
            ),
            Some(_) if !self.archive_name().is_ok_and(|name| name.starts_with(&prefix)) => {
                wrong("prefix", "the names of this job's archives do not begin so")
            }
            Some(_) if !self.knows_its_own() => wrong(
                "archive",
                "`keep` could not tell such names from those of others: give a format of {now} that can be read back",
            ),
            _ => None,
        }
    }
}

/// Whether jobs can be done beside each other.
///
/// # Errors
/// That they cannot: the two, and why.
pub fn agree(jobs: &[Job]) -> Result<(), String> {
    for (at, one) in jobs.iter().enumerate() {
        for other in jobs.iter().skip(at + 1) {
            let is_same = same_place(&one.repository, &other.repository);
            let (Ok(first), Ok(second)) = (one.prefix(), other.prefix()) else { continue };
            let takes =
                |a: &Job, prefix: &str, of: &str| a.keep.is_some() && of.starts_with(prefix);
            if is_same && (takes(one, &first, &second) || takes(other, &second, &first)) {
                return Err(format!(
                    "the archives of `{}` and `{}` begin with {first:?} and {second:?}: `keep` of one would delete those of \
                     the other; give `archive` of one another beginning",
                    one.name, other.name
                ));
            }
        }
    }
    Ok(())
}

fn same_place(one: &Location, other: &Location) -> bool {
    one.names().last() == other.names().last()
}

/// Whether a job may be called so: it is part of names of files and archives.
pub fn is_job_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(fits)
}

/// The words of a command line as the paths of a job.
pub fn paths(words: &[OsString]) -> Vec<PathBuf> {
    words.iter().map(PathBuf::from).collect()
}

/// A path as a pattern of what is left out.
pub fn pattern(text: impl AsRef<std::ffi::OsStr>) -> Vec<u8> {
    text.as_ref().as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str, archive: &str, daily: i64) -> Job {
        let mut job = Job::new(name, "/nowhere/repo".into());
        job.paths = vec!["/x".into()];
        job.archive = archive.to_owned();
        let mut rules = KeepRules::default();
        rules.daily = daily;
        job.keep = Some(rules);
        job
    }

    #[test]
    fn the_prefix_is_what_is_the_same_every_night() {
        for (archive, prefix) in [
            ("{job}-{now}", "app-"),
            ("a-{now:%Y}-{job}", "a-"),
            ("{job}/{utcnow}", "app/"),
            ("{job}.{pid}.{now}", "app."),
            ("{{x}}-{now}", "{x}-"),
            ("fixed", "fixed"),
        ] {
            assert_eq!(job("app", archive, 1).prefix().as_deref(), Ok(prefix), "{archive}");
        }
    }

    #[test]
    fn no_job_prunes_what_is_another_s() {
        assert_eq!(job("app", "{job}-{now}", 1).wrong(), None);
        assert_eq!(job("app", "{now}", 1).wrong().unwrap().0, "archive");
        assert_eq!(job("app", "{job}-{now}", 0).wrong().unwrap().0, "keep");
        let mut other = job("app", "{job}-{now}", 1);
        other.prefix = Some("b-".to_owned());
        assert_eq!(other.wrong().unwrap().0, "prefix");
        let of = |one: &str, other: &str| [job("app", one, 1), job("app-2", other, 1)];
        assert!(agree(&of("{job}-{now}", "{job}-{now}")).is_err(), "app- takes app-2-");
        assert!(agree(&of("{job}/{now}", "{job}/{now}")).is_ok());
        let mut elsewhere = of("{job}-{now}", "{job}-{now}");
        elsewhere[1].repository = "/nowhere/other".into();
        assert!(agree(&elsewhere).is_ok());
        let mut kept = of("{job}-{now}", "{job}-{now}");
        kept[0].keep = None;
        assert!(agree(&kept).is_ok(), "app deletes nothing, and app-2 takes its own");
    }

    #[test]
    fn hooks_that_need_each_other_are_together() {
        let mut one = job("app", "{job}-{now}", 1);
        one.hooks.freeze = Some("true".to_owned());
        assert_eq!(one.wrong().unwrap().0, "freeze");
        one.hooks.snapshot = Some("true".to_owned());
        one.hooks.thaw = Some("true".to_owned());
        assert_eq!(one.wrong(), None);
        one.hooks.freeze = None;
        assert_eq!(one.wrong().unwrap().0, "thaw");
    }

    #[test]
    fn patterns_stand_for_what_there_is_and_for_themselves_where_that_is_nothing() {
        let home = tempfile::tempdir().unwrap();
        for name in ["b.raw", "a.raw", "c.txt"] {
            std::fs::write(home.path().join(name), "x").unwrap();
        }
        let mut one = job("app", "{now}", 1);
        one.paths = ["*.raw", "*.gone", "plain"].map(|name| home.path().join(name)).to_vec();
        let found = one.sources();
        let names: Vec<&str> =
            found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.raw", "b.raw", "*.gone", "plain"]);
    }

    #[test]
    fn a_name_is_plain() {
        assert!(["app", "a-1_b.c", "0"].into_iter().all(is_job_name));
        assert!(!["", ".a", "a/b", "a b", "\u{e4}", "{x}"].into_iter().any(is_job_name));
    }
}
