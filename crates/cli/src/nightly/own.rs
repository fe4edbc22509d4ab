//! Which archives of a repository are those of a job: `keep` deletes no others.
//!
//! In: a job, names, archives. Out: whether it made them. Promises: one whose name says more or less than the job's
//! `archive`, that another host made, or that has nothing of what the job backs up, is not its own.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use garret_format::archive::Archive;
use glob::{MatchOptions, Pattern};

use crate::placeholders::Shape;
use crate::surroundings;

/// What the archives of a job have in common.
#[derive(Clone, Debug)]
pub struct Own {
    host: String,
    shape: Shape,
    paths: Vec<PathBuf>,
    /// What has to be on the command line, where a job has no name that would tell it from others.
    words: Option<Vec<PathBuf>>,
}

impl Own {
    /// Those of the job of this name, which calls its archives so and backs up these paths.
    ///
    /// # Errors
    /// What is wrong with the placeholders.
    pub(super) fn of(
        name: &str,
        archive: &str,
        paths: &[PathBuf],
        is_unnamed: bool,
    ) -> Result<Self, String> {
        Ok(Own {
            host: surroundings::host(),
            shape: Shape::of(Some(name), archive)?,
            paths: paths.iter().map(|path| whole(path)).collect(),
            words: is_unnamed.then(|| paths.to_vec()),
        })
    }

    /// Whether it calls its archives so.
    pub fn is_name(&self, name: &str) -> bool {
        self.shape.fits(name)
    }

    /// Whether it made this one, whose name is as it should be.
    pub fn made(&self, archive: &Archive) -> bool {
        let is_ours = |source: &Vec<u8>| {
            let source = Path::new(OsStr::from_bytes(source));
            self.paths.iter().any(|path| path == source || stands_for(path, source))
        };
        let is_said = |word: &PathBuf| {
            let word = word.as_os_str().as_bytes();
            archive.command.iter().any(|said| said == word)
        };
        archive.host == self.host
            && match &self.words {
                Some(words) => archive.sources.iter().all(is_ours) && words.iter().all(is_said),
                // Paths come and go.
                None => archive.sources.iter().any(is_ours),
            }
    }
}

fn stands_for(pattern: &Path, path: &Path) -> bool {
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::default() };
    let pattern = Pattern::new(&pattern.to_string_lossy());
    pattern.is_ok_and(|pattern| pattern.matches_with(&path.to_string_lossy(), options))
}

/// The path from the root on, as archives record it.
fn whole(path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
        match part {
            Component::ParentDir => {
                whole.pop();
            }
            part => whole.push(part),
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use garret_format::recipe::{CutterKind, Node, Recipe};

    fn archive(sources: &[&str], command: &[&str]) -> Archive {
        let items = Recipe { cutter: CutterKind::Fastcdc, root: Node::Leaf(Vec::new()) };
        let bytes = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        Archive {
            host: surroundings::host(),
            sources: bytes(sources),
            command: bytes(command),
            ..Archive::new("x", items)
        }
    }

    fn own(paths: &[&str], is_unnamed: bool) -> Own {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        Own::of("vms", "{hostname}-{job}-{now}", &paths, is_unnamed).unwrap()
    }

    #[test]
    fn a_job_keeps_its_archives_when_its_paths_change_and_takes_none_of_others() {
        let own = own(&["/im/*.raw", "/x/../etc"], false);
        for (source, is_own) in
            [("/im/a.raw", true), ("/etc", true), ("/im/a/b.raw", false), ("/home", false)]
        {
            assert_eq!(own.made(&archive(&[source], &[])), is_own, "{source}");
        }
        assert!(own.made(&archive(&["/home", "/etc"], &[])), "one was taken out of it");
        let other = Archive { host: "another".to_owned(), ..archive(&["/etc"], &[]) };
        assert!(!own.made(&other));
    }

    #[test]
    fn without_a_name_other_paths_are_another_job() {
        let own = own(&["/im/*.raw", "/etc"], true);
        for (sources, command, is_own) in [
            (&["/im/a.raw", "/im/b.raw", "/etc"][..], &["-d", "7", "/im/*.raw", "/etc"][..], true),
            (&["/im/a.raw", "/etc"], &["-d", "9", "/etc", "/im/*.raw"], true),
            (&["/im/a.raw", "/etc"], &["/im/a*.raw", "/etc"], false),
            (&["/im/a.raw"], &["/im/*.raw"], false),
            (&["/im/a.raw", "/etc", "/x"], &["/im/*.raw", "/etc", "/x"], false),
        ] {
            assert_eq!(own.made(&archive(sources, command)), is_own, "{command:?}");
        }
    }
}
