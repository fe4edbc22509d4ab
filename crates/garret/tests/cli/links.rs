//! Repositories whose storage is an enemy of the client: links, pipes and directories where objects and directories should
//! be. Nothing outside of the repository is read as part of it, written or removed, and nothing hangs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use garret_format::config::KeyMode;

use super::{Dir, PASSPHRASE, Ran, files_below, tool};

/// Long enough for any command here, and a sign of a hang.
const SECONDS: &str = "120";

/// Runs the program below another one, which must not take longer than that.
fn bounded(dir: &Dir, before: &[&str], arguments: &[&str]) -> Ran {
    let mut command = dir.under(&[&["timeout", SECONDS], before].concat(), arguments);
    Ran::of(arguments.join(" "), command.env("GARRET_PASSPHRASE", PASSPHRASE).output().unwrap())
}

/// Everything that can be asked of a repository.
fn commands() -> Vec<Vec<&'static str>> {
    [
        "list repo",
        "info repo",
        "list repo::x/b",
        "extract --stdout repo::a",
        "extract -n repo::x/b",
        "check --verify-data repo",
        "diff repo::a x/b",
        "create repo::c file",
        "create repo::x/d file",
        "delete repo::a",
        "prune --keep-daily 1 repo",
    ]
    .map(|line| line.split(' ').collect())
    .into()
}

/// A repository of mode passphrase with the archives `a` and `x/b`.
fn repository() -> Dir {
    let dir = Dir::new();
    dir.cheap_repository("good", KeyMode::Passphrase);
    dir.write("file", b"first");
    bounded(&dir, &[], &["create", "good::a", "file"]).silent();
    dir.write("file", b"second, and longer");
    bounded(&dir, &[], &["create", "good::x/b", "file"]).silent();
    dir
}

/// A fresh copy of that repository as `repo`, with a cache of its own.
fn copy(dir: &Dir) {
    for name in ["repo", "cache", "victim"] {
        drop(fs::remove_dir_all(dir.path(name)));
    }
    tool("cp", &["-a", dir.path("good").to_str().unwrap(), dir.path("repo").to_str().unwrap()]);
}

/// What is below a directory: name, inode, time of the last change, bytes.
fn listing(root: &Path) -> BTreeMap<PathBuf, (u64, i64, i64, Vec<u8>)> {
    let entry = |path: PathBuf| {
        let stat = path.metadata().unwrap();
        let bytes = fs::read(&path).unwrap();
        (path, (stat.ino(), stat.ctime(), stat.ctime_nsec(), bytes))
    };
    files_below(root).into_iter().map(entry).collect()
}

/// The directories and the files of the repository, relative.
fn places(root: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let files: Vec<PathBuf> = files_below(root)
        .into_iter()
        .map(|path| path.strip_prefix(root).unwrap().to_owned())
        .filter(|path| path != Path::new("README"))
        .collect();
    let mut directories: Vec<PathBuf> = ["tmp", "packs", "index", "keys", "backups", "backups/x"]
        .map(PathBuf::from)
        .into_iter()
        .chain((0..=u8::MAX).map(|shard| PathBuf::from(format!("packs/{shard:02x}"))))
        .collect();
    // Those that are there, and some of the others: each costs a run of every command.
    directories.retain(|path| {
        root.join(path).is_dir() || !path.starts_with("packs") || path.ends_with("0f")
    });
    (directories, files)
}

#[track_caller]
fn nothing_bad(ran: &Ran, case: &str) {
    assert!(matches!(ran.code, Some(0..=2)), "{case}: {}: {:?} {}", ran.what, ran.code, ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{case}: {}: {}", ran.what, ran.stderr);
}

#[test]
fn a_link_in_place_of_a_directory_reaches_nothing() {
    let dir = repository();
    let (directories, _) = places(&dir.path("good"));
    for place in directories {
        copy(&dir);
        let path = dir.path("repo").join(&place);
        // It holds what a client looks for, what it would remove, and what is dear to somebody.
        let victim = dir.path("victim");
        match path.is_dir() {
            true => fs::rename(&path, &victim).unwrap(),
            false => fs::create_dir(&victim).unwrap(),
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        dir.write("victim/cronjob", b"0 0 * * * root true\n");
        dir.write("victim/00112233445566778899aabbccddeeff", b"looks like a temporary file");
        symlink(&victim, &path).unwrap();
        let before = listing(&victim);
        for arguments in commands() {
            let case = format!("{} is a link", place.display());
            nothing_bad(&bounded(&dir, &[], &arguments), &case);
            assert!(listing(&victim) == before, "{case}: {arguments:?}");
        }
    }
}

#[test]
fn a_link_in_place_of_an_object_is_never_followed() {
    let dir = repository();
    let (_, files) = places(&dir.path("good"));
    for place in files {
        copy(&dir);
        let path = dir.path("repo").join(&place);
        fs::create_dir(dir.path("victim")).unwrap();
        fs::rename(&path, dir.path("victim/file")).unwrap();
        symlink(dir.path("victim/file"), &path).unwrap();
        let before = listing(&dir.path("victim"));
        for arguments in commands() {
            let case = format!("{} is a link", place.display());
            nothing_bad(&bounded(&dir, &[], &arguments), &case);
            assert!(listing(&dir.path("victim")) == before, "{case}: {arguments:?}");
        }
    }
}

#[test]
fn pipes_and_directories_in_place_of_anything_stop_nothing_for_ever() {
    let dir = repository();
    let (directories, files) = places(&dir.path("good"));
    for place in directories.iter().chain(&files) {
        for kind in ["pipe", "directory"] {
            copy(&dir);
            let path = dir.path("repo").join(place);
            drop(fs::remove_file(&path));
            drop(fs::remove_dir_all(&path));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match kind {
                "pipe" => drop(tool("mkfifo", &[path.to_str().unwrap()])),
                _ => fs::create_dir(&path).unwrap(),
            }
            for arguments in commands() {
                let case = format!("{} is a {kind}", place.display());
                nothing_bad(&bounded(&dir, &[], &arguments), &case);
            }
        }
    }
}

#[test]
fn what_is_in_the_way_is_named() {
    let dir = repository();
    for (place, arguments) in [
        ("tmp", &["create", "repo::c", "file"][..]),
        ("packs", &["list", "repo"]),
        ("index", &["list", "repo"]),
        ("keys", &["list", "repo"]),
        ("config", &["list", "repo"]),
        ("backups", &["create", "repo::c", "file"]),
        ("backups/a", &["extract", "--stdout", "repo::a"]),
    ] {
        copy(&dir);
        let path = dir.path("repo").join(place);
        drop(fs::remove_file(&path));
        drop(fs::remove_dir_all(&path));
        symlink("/nonexistent", &path).unwrap();
        let ran = bounded(&dir, &[], arguments);
        assert_eq!(ran.code, Some(1), "{place}: {}", ran.stderr);
        let expected = format!("{place} is a symbolic link, and none is followed here");
        assert!(ran.stderr.contains(&expected), "{place}: {}", ran.stderr);
    }
}

/// On kernels that cannot open beneath a directory in one step.
#[test]
fn the_walk_by_single_names_does_the_same() {
    let dir = repository();
    let denied = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=openat2:error=ENOSYS"];
    copy(&dir);
    bounded(&dir, &denied, &["create", "repo::c", "file"]).silent();
    let listed = bounded(&dir, &denied, &["list", "--short", "repo"]).succeeds();
    assert_eq!(listed, "a\nx/b\nc\n");
    bounded(&dir, &denied, &["delete", "repo::a"]).silent();
    bounded(&dir, &denied, &["check", "--verify-data", "repo"]).succeeds();
    let text = bounded(&dir, &denied, &["extract", "--stdout", "repo::x/b"]).succeeds();
    assert_eq!(text, "second, and longer");
    for place in ["tmp", "backups", "backups/x"] {
        copy(&dir);
        let (path, victim) = (dir.path("repo").join(place), dir.path("victim"));
        fs::create_dir_all(&path).unwrap();
        fs::rename(&path, &victim).unwrap();
        symlink(&victim, &path).unwrap();
        dir.write("victim/00112233445566778899aabbccddeeff", b"looks like a temporary file");
        let before = listing(&victim);
        for arguments in commands() {
            nothing_bad(&bounded(&dir, &denied, &arguments), place);
            assert!(listing(&victim) == before, "{place}: {arguments:?}");
        }
    }
}

/// What stands at the end of a pack is not sealed: it must not decide what is read and allocated.
#[test]
fn packs_that_claim_a_long_footer_cost_nothing() {
    let dir = repository();
    copy(&dir);
    for name in ["aa", "ab"] {
        let path = dir.write(&format!("repo/packs/{name}/{}", name.repeat(32)), b"garretP\x01");
        let file = fs::File::options().write(true).open(path).unwrap();
        let len = u64::from(u32::MAX);
        let footer = (len - 32) as u32;
        let trailer = [footer.to_le_bytes(), *b"tail"].concat();
        file.write_all_at(&trailer, len - 8).unwrap();
    }
    let limit = ["prlimit", "--as=1000000000"];
    let ran = bounded(&dir, &limit, &["list", "--short", "repo"]);
    assert_eq!(String::from_utf8(ran.stdout).unwrap(), "a\nx/b\n");
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(1), 3), "{}", ran.stderr);
    let ran = bounded(&dir, &limit, &["check", "repo"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
}

#[test]
fn a_repository_may_be_reached_through_a_link() {
    let dir = repository();
    symlink(dir.path("good"), dir.path("link")).unwrap();
    bounded(&dir, &[], &["create", "link::c", "file"]).silent();
    let listed = bounded(&dir, &[], &["list", "--short", "good"]).succeeds();
    assert_eq!(listed, "a\nx/b\nc\n");
}
