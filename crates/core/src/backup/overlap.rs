//! One path of an archive is one item, whatever paths were named.
//!
//! In: the named paths, then everything that is found. Out: a [`Verdict`] on each thing. What is reached again is passed
//! over; another thing whose path in the archive is taken is a problem, and so is what stands where a directory has to be.
//! Costs memory only for what lies at or below a path that another input reaches too.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use garret_image::{FileKind, lstat};

use super::options::Input;
use crate::backup::walk::{Found, Rules, Walk, stored_path};

/// Device and inode.
type Identity = (u64, u64);

/// What becomes of something that was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is stored.
    New,
    /// It was stored, or will be when the path that the user named is reached.
    Again,
    /// It cannot be stored, for this reason.
    Taken(String),
}

/// What several inputs reach.
#[derive(Default)]
pub(super) struct Overlap {
    /// The paths, as stored, at or below which several inputs reach.
    shared: HashSet<Vec<u8>>,
    /// Of each path in `shared` that is there the paths above it that an input reaches: only directories can stand there.
    above: HashSet<Vec<u8>>,
    /// What stands at the paths in `shared` that were named. A link there is not stored as a link.
    named: HashMap<Vec<u8>, Identity>,
    /// What is at or below `shared` and was found; a pipe is nothing that can be found again.
    seen: HashMap<Vec<u8>, Option<Identity>>,
}

impl Overlap {
    /// Compares the inputs with each other.
    pub(super) fn new(inputs: &[Input], rules: &Rules<'_>) -> Self {
        let mut stored: Vec<(Vec<u8>, &Input)> =
            inputs.iter().map(|input| (stored(input), input)).collect();
        stored.sort_by(|(a, _), (b, _)| parts(a).cmp(parts(b)));
        let mut overlap = Overlap::default();
        // The named paths above the present one, outermost first.
        let mut outer: Vec<&[u8]> = Vec::new();
        for (path, input) in &stored {
            while outer.last().is_some_and(|top| !is_below(top, path)) {
                outer.pop();
            }
            if let Some(outermost) = outer.first() {
                overlap.shared.insert(path.clone());
                let is_there = match input.walked() {
                    None => true,
                    Some((named, _)) => overlap.look(path, named, rules),
                };
                if is_there {
                    let above = ancestors(path).filter(|above| is_below(outermost, above));
                    overlap.above.extend(above.map(<[u8]>::to_vec));
                }
            }
            outer.push(path);
        }
        overlap
    }

    /// Remembers what stands at a named path, unless nothing will be found there.
    fn look(&mut self, path: &[u8], named: &Path, rules: &Rules<'_>) -> bool {
        let found = match Walk::new(named, rules.clone()).is_excluded(&stored_path(named)) {
            true => None,
            false => lstat(named).ok(),
        };
        if let Some(found) = found {
            self.named.insert(path.to_vec(), (found.dev, found.ino));
        }
        found.is_some()
    }

    /// What becomes of what was found in a walk.
    pub(super) fn judge(&mut self, found: &Found) -> Verdict {
        if self.shared.is_empty() {
            return Verdict::New;
        }
        let Found { stored, identity, metadata, named, .. } = found;
        let is_directory = metadata.kind == FileKind::Directory;
        if self.above.contains(stored) && !is_directory {
            let what = metadata.kind.describe();
            return Verdict::Taken(format!("it is {what}, and a path below it was named"));
        }
        let stands_for_another =
            matches!(metadata.kind, FileKind::Symlink | FileKind::Block | FileKind::Fifo);
        if !named && stands_for_another && self.named.get(stored) == Some(identity) {
            return Verdict::Again;
        }
        self.claim(stored, Some(*identity))
    }

    /// What becomes of a pipe, or a source that is no file, of this name.
    pub(super) fn judge_pipe(&mut self, name: &[u8]) -> Verdict {
        match self.above.contains(name) {
            true => Verdict::Taken("a path below it was named".to_owned()),
            false => self.claim(name, None),
        }
    }

    fn claim(&mut self, path: &[u8], identity: Option<Identity>) -> Verdict {
        if !ancestors(path).chain([path]).any(|above| self.shared.contains(above)) {
            return Verdict::New;
        }
        match self.seen.get(path) {
            None => {
                self.seen.insert(path.to_vec(), identity);
                Verdict::New
            }
            Some(first) if first.is_some() && *first == identity => Verdict::Again,
            Some(_) => Verdict::Taken("another file has that path in this archive".to_owned()),
        }
    }
}

fn stored(input: &Input) -> Vec<u8> {
    match input {
        Input::Path(path) => stored_path(path),
        Input::Named { name, .. } => name.clone(),
        Input::Stream { name, .. } => name.clone(),
        Input::Source { item, .. } => item.path.clone(),
    }
}

/// The parts of a path; none of the empty one.
fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
}

/// Whether `path` is `top` or below it.
fn is_below(top: &[u8], path: &[u8]) -> bool {
    top.is_empty()
        || path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// The paths above `path`, the empty one first.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let empty = (!path.is_empty()).then_some(0);
    empty.into_iter().chain(ends).filter_map(|end| path.get(..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlap(paths: &[&str]) -> Overlap {
        // Pipes are there for certain.
        let input = |path: &&str| Input::Stream {
            name: stored_path(Path::new(path)),
            reader: Box::new(std::io::empty()),
        };
        let inputs: Vec<Input> = paths.iter().map(input).collect();
        Overlap::new(&inputs, &Rules::default())
    }

    #[test]
    fn only_inputs_that_reach_the_same_paths_cost_memory() {
        for paths in [&["a", "b"][..], &["a/b", "a-c", "a/c"], &["/"], &["x/a", "ab", "a"]] {
            assert!(overlap(paths).shared.is_empty(), "{paths:?}");
        }
        for (paths, shared, above) in [
            (&["a", "./a"][..], &["a"][..], &[][..]),
            (&["a/b/c", "a"], &["a/b/c"], &["a", "a/b"]),
            (&[".", "x/y"], &["x/y"], &["", "x"]),
            (&["a", "a/b", "a/b/c", "a-b"], &["a/b", "a/b/c"], &["a", "a/b"]),
            (&["../a", "a"], &["a"], &[]),
        ] {
            let found = overlap(paths);
            let set = |paths: &[&str]| -> HashSet<Vec<u8>> {
                paths.iter().map(|path| path.as_bytes().to_vec()).collect()
            };
            assert_eq!((found.shared, found.above), (set(shared), set(above)), "{paths:?}");
        }
    }

    #[test]
    fn what_is_found_again_is_the_same_and_pipes_never_are() {
        let mut overlap = overlap(&["a", "a/b", "../a"]);
        assert_eq!(overlap.claim(b"other", Some((1, 1))), Verdict::New);
        assert_eq!(overlap.claim(b"a/b", Some((1, 1))), Verdict::New);
        assert_eq!(overlap.claim(b"a/b", Some((1, 1))), Verdict::Again);
        assert!(matches!(overlap.claim(b"a/b", Some((1, 2))), Verdict::Taken(_)));
        assert_eq!(overlap.judge_pipe(b"a/b/c"), Verdict::New);
        assert!(matches!(overlap.judge_pipe(b"a/b/c"), Verdict::Taken(_)));
        assert!(matches!(overlap.judge_pipe(b"a"), Verdict::Taken(_)), "a/b was named");
    }
}
