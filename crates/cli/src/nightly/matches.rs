//! What a path of a job stands for: `*`, `?` and `[..]` are what there is in one directory, `**` also what is below it.
//!
//! In: a path. Out: paths, in order. Promises: nothing is left out without a word. A name need not be text, and where a
//! directory cannot be read, the pattern in it is among the paths, so that it is missed like a file that is gone.

use std::ffi::OsStr;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use glob::Pattern;

/// What there is; the path itself, where that is nothing.
pub(super) fn of(path: &Path) -> Vec<PathBuf> {
    if !path.iter().any(is_pattern) || path.exists() {
        return vec![path.to_owned()];
    }
    let mut found = Vec::new();
    search(PathBuf::new(), path, &mut found);
    if found.is_empty() {
        found.push(path.to_owned());
    }
    found
}

fn is_pattern(name: &OsStr) -> bool {
    name.to_string_lossy().contains(['*', '?', '['])
}

/// All that is in this place and as the pattern says.
fn search(place: PathBuf, pattern: &Path, found: &mut Vec<PathBuf>) {
    let mut names = pattern.iter();
    let Some(name) = names.next() else {
        // What there is, and what it cannot be told of.
        if place.symlink_metadata().err().is_none_or(|error| !is_nothing(&error)) {
            found.push(place);
        }
        return;
    };
    let rest = names.as_path();
    let text = name.to_string_lossy();
    let Some(known) =
        Some(name).filter(|name| is_pattern(name)).and_then(|_| Pattern::new(&text).ok())
    else {
        return search(place.join(name), rest, found);
    };
    let is_deep = name == "**";
    if is_deep {
        search(place.clone(), rest, found);
    }
    let here = if place.as_os_str().is_empty() { Path::new(".") } else { &place };
    let (names, error) = names_in(here);
    for name in names {
        let inner = place.join(&name);
        if !is_deep {
            // What is no text in a name is as any other letter.
            if known.matches(&name.to_string_lossy()) {
                search(inner, rest, found);
            }
        } else if inner.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            search(inner, pattern, found);
        }
    }
    if error.is_some_and(|error| !is_nothing(&error)) {
        found.push(place.join(pattern));
    }
}

fn names_in(directory: &Path) -> (Vec<std::ffi::OsString>, Option<Error>) {
    let mut names = Vec::new();
    let mut read = || {
        for entry in directory.read_dir()? {
            names.push(entry?.file_name());
        }
        Ok(())
    };
    let error = read().err();
    names.sort_unstable();
    (names, error)
}

fn is_nothing(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_pattern_stands_for_names_that_are_no_text_and_for_what_is_in_several_directories() {
        let home = tempfile::tempdir().unwrap();
        let raw = OsStr::from_bytes(b"m\xff.raw");
        for (place, name) in
            [("a", OsStr::new("x.raw")), ("b", raw), ("b", OsStr::new("n.txt")), ("b/c", raw)]
        {
            let place = home.path().join(place);
            std::fs::create_dir_all(&place).unwrap();
            std::fs::write(place.join(name), "x").unwrap();
        }
        let all = |pattern: &str| {
            let found = of(&home.path().join(pattern));
            let short = |path: &PathBuf| {
                path.strip_prefix(home.path()).unwrap().to_string_lossy().into_owned()
            };
            found.iter().map(short).collect::<Vec<_>>()
        };
        let odd = "m\u{fffd}.raw";
        assert_eq!(all("*/*.raw"), ["a/x.raw".to_owned(), format!("b/{odd}")]);
        assert_eq!(all("b/?.raw"), ["b/?.raw"], "two letters");
        assert_eq!(all("[ab]/n.txt"), ["b/n.txt"]);
        assert_eq!(all("*/none"), ["*/none"]);
        assert_eq!(
            all("**/*.raw"),
            ["a/x.raw".to_owned(), format!("b/{odd}"), format!("b/c/{odd}")]
        );
        assert_eq!(all("a/x.raw/*"), ["a/x.raw/*"]);
        assert_eq!(all("a[/x"), ["a[/x"]);
    }
}
