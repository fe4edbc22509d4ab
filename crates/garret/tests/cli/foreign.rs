//! Files in a repository that other programs put there: passed over with one line at most, and left as they are. What could
//! be a damaged file of ours is never taken for one of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use garret_format::config::KeyMode;
use garret_testkit::both_files;

use super::{Dir, PASSPHRASE, Ran, files_below, packs, tool};

const LINE: &str = "garret: passed over ";

/// A repository of mode passphrase with the archives `a` and `b`.
fn repository() -> Dir {
    let dir = Dir::new();
    dir.cheap_repository("good", KeyMode::Passphrase);
    for name in ["a", "b"] {
        dir.write("file", name.as_bytes());
        run(&dir, &["create", &format!("good::{name}"), "file"]).silent();
    }
    dir
}

fn run(dir: &Dir, arguments: &[&str]) -> Ran {
    dir.run_with(&[("GARRET_PASSPHRASE", PASSPHRASE)], b"", arguments)
}

fn copy(dir: &Dir) {
    dir.forget_archives();
    for name in ["repo", "cache"] {
        drop(fs::remove_dir_all(dir.path(name)));
    }
    tool("cp", &["-a", dir.path("good").to_str().unwrap(), dir.path("repo").to_str().unwrap()]);
}

/// The name of one of the packs, changed in its last digit.
fn other_pack(dir: &Dir) -> PathBuf {
    let pack = packs(&dir.path("good")).remove(0);
    let name = pack.strip_prefix(dir.path("good")).unwrap().to_str().unwrap();
    let (name, last) = name.split_at(name.len() - 1);
    PathBuf::from(format!("{name}{}", if last == "0" { "1" } else { "0" }))
}

/// Files that are not the repository's, and what is in them.
fn strangers(dir: &Dir) -> Vec<(PathBuf, &'static [u8])> {
    let sixteen = "00112233445566778899aabbccddeeff";
    let segment = format!("index/{sixteen}{sixteen}");
    [
        ("backups/@eaDir/a@SynoEAStream", &b"thumb\n"[..]),
        ("backups/Thumbs.db", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and more"),
        ("backups/a (conflicted copy)", b"GARRET, but not so"),
        ("backups/note", b"x"),
        ("backups/ends~", b"PK\x03\x04\x14\0\0\0"),
        ("packs/README", b"about packs"),
        ("packs/ab/desktop.ini", b"[x]"),
        ("index/Thumbs.db", b""),
        (&segment, b"the index of something else"),
        (&format!("keys/{sixteen}"), b"-----BEGIN RSA PRIVATE KEY-----"),
        ("keys/id_rsa", b"-----BEGIN RSA PRIVATE KEY-----"),
        ("tmp/core", b"\x7fELF"),
    ]
    .map(|(name, bytes)| (PathBuf::from(name), bytes))
    .into_iter()
    .chain([(other_pack(dir), &b"a pack of cards"[..])])
    .collect()
}

/// It did what was asked, and said at most one line, which names a file and how many there are.
#[track_caller]
fn passes_over(ran: Ran, first: &str) -> String {
    let Ran { what, code, stdout, stderr } = ran;
    assert_eq!(code, Some(0), "{what}: {stderr}");
    assert!(stderr.lines().count() <= 1, "{what}: {stderr}");
    assert!(stderr.is_empty() || stderr.starts_with(LINE), "{what}: {stderr}");
    assert!(stderr.is_empty() || stderr.contains(first), "{what}: {stderr}");
    String::from_utf8(stdout).unwrap()
}

/// Every command does what it does without the strangers.
fn everything_works(dir: &Dir, first: &str) {
    let names = passes_over(run(dir, &["list", "--short", "repo"]), first);
    assert_eq!(names, "a\nb\n", "{first}");
    passes_over(run(dir, &["info", "repo"]), first);
    passes_over(run(dir, &["check", "--verify-data", "repo"]), first);
    passes_over(run(dir, &["create", "repo::c", "file"]), first);
    assert_eq!(passes_over(run(dir, &["extract", "--stdout", "repo::a"]), first), "a");
    passes_over(run(dir, &["delete", "repo::a"]), first);
    passes_over(run(dir, &["prune", "--keep-daily", "1", "repo"]), first);
    assert_eq!(passes_over(run(dir, &["list", "--short", "repo"]), first), "c\n");
    assert_eq!(passes_over(run(dir, &["extract", "--stdout", "repo::c"]), first), "b");
    passes_over(run(dir, &["check", "--verify-data", "repo"]), first);
}

#[test]
fn each_kind_of_stranger_is_passed_over_and_left_as_it_is() {
    let dir = repository();
    for (name, bytes) in strangers(&dir) {
        copy(&dir);
        dir.write(&format!("repo/{}", name.display()), bytes);
        everything_works(&dir, &format!("{}, which is not the repository's", name.display()));
        assert_eq!(fs::read(dir.path("repo").join(&name)).unwrap(), bytes, "{}", name.display());
    }
}

#[test]
fn all_of_them_together_are_one_line() {
    let dir = repository();
    copy(&dir);
    let strangers = strangers(&dir);
    for (name, bytes) in &strangers {
        dir.write(&format!("repo/{}", name.display()), bytes);
    }
    symlink("a", dir.path("repo/index/link")).unwrap();
    tool("mkfifo", &[dir.path("repo/backups/pipe").to_str().unwrap()]);
    fs::create_dir(dir.path("repo/packs/ab").join("d".repeat(64))).unwrap();
    // Who knows which key is his looks at no other.
    let keys = strangers.iter().filter(|(name, _)| name.starts_with("keys")).count();
    let ran = run(&dir, &["list", "repo"]);
    let count = strangers.len() + 2 - keys;
    let text = format!("passed over {count} files that are not the repository's");
    assert!(ran.stderr.contains(&text), "{}", ran.stderr);
    everything_works(&dir, "files that are not the repository's, first backups/");
    for (name, bytes) in strangers {
        assert_eq!(fs::read(dir.path("repo").join(&name)).unwrap(), bytes, "{}", name.display());
    }
}

#[test]
fn what_hides_and_what_file_systems_have_of_their_own_is_passed_over_without_a_word() {
    let dir = repository();
    copy(&dir);
    for name in [".DS_Store", ".nfs0000000000000001", "lost+found/#12", ".snapshot/a"] {
        for area in ["backups", "packs", "index", "keys", "tmp"] {
            dir.write(&format!("repo/{area}/{name}"), b"theirs");
        }
    }
    assert_eq!(run(&dir, &["list", "--short", "repo"]).succeeds(), "a\nb\n");
    run(&dir, &["create", "repo::c", "file"]).silent();
    run(&dir, &["delete", "repo::a"]).silent();
    run(&dir, &["check", "--verify-data", "repo"]).succeeds();
    let left = files_below(&dir.path("repo"));
    assert_eq!(left.iter().filter(|path| fs::read(path).unwrap() == b"theirs").count(), 20);
    run(&dir, &["create", "repo::lost+found/x", "file"]).refused(1, "cannot be an archive's name");
}

#[test]
fn a_stranger_in_backups_is_no_archive_to_any_command() {
    let dir = repository();
    copy(&dir);
    dir.write("repo/backups/note", b"do not forget the milk");
    for command in ["list", "extract", "info", "delete"] {
        let ran = run(&dir, &[command, "repo::note"]);
        assert_eq!(ran.code, Some(1), "{command}");
        assert!(ran.stderr.contains("Archive note does not exist"), "{command}: {}", ran.stderr);
    }
    let ran = run(&dir, &["create", "repo::note", "file"]);
    assert!(ran.stderr.contains("Archive note already exists"), "{}", ran.stderr);
    assert_eq!(dir.read("repo/backups/note"), b"do not forget the milk");
}

/// What of an archive can be lost at its beginning, so that it is still the repository's.
fn damaged(whole: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut cases = Vec::new();
    for (one, two) in (0..8).flat_map(|one| (one..8).map(move |two| (one, two))) {
        let mut bytes = whole.to_vec();
        bytes[one] = !bytes[one];
        bytes[two] = 0;
        cases.push((format!("bytes {one} and {two}"), bytes));
    }
    cases.extend((0..9).map(|len| (format!("cut to {len}"), whole[..len].to_vec())));
    for fill in [0, 0xff] {
        let mut bytes = whole.to_vec();
        bytes[..8].fill(fill);
        cases.push((format!("begins with {fill}"), bytes));
        cases.push((format!("nothing but {fill}"), vec![fill; whole.len()]));
    }
    cases
}

#[test]
fn a_damaged_archive_is_never_taken_for_a_stranger() {
    let dir = repository();
    copy(&dir);
    let archive = dir.path("repo/backups/a");
    let whole = fs::read(&archive).unwrap();
    let both = both_files(&dir.path("repo"), "backups/a");
    let before = packs(&dir.path("repo"));
    for (case, bytes) in damaged(&whole) {
        both.iter().for_each(|path| fs::write(path, &bytes).unwrap());
        let ran = run(&dir, &["list", "repo"]);
        assert!(ran.stderr.contains("backups/a"), "{case}: {}", ran.stderr);
        assert!(!ran.stderr.contains("passed over"), "{case}: {}", ran.stderr);
        // Another one can be deleted; its space comes back when it is known what this one needs.
        run(&dir, &["create", "repo::c", "file"]).silent();
        let ran = run(&dir, &["delete", "repo::c"]);
        assert_eq!(ran.code, Some(1), "{case}");
        assert!(ran.stderr.contains("backups/a"), "{case}: {}", ran.stderr);
        let ran = run(&dir, &["list", "--short", "repo"]);
        assert_eq!(String::from_utf8(ran.stdout).unwrap(), "b\n", "{case}");
        assert!(before.iter().all(|pack| pack.exists()), "{case}");
    }
    both.iter().for_each(|path| fs::write(path, &whole).unwrap());
    assert_eq!(run(&dir, &["extract", "--stdout", "repo::a"]).succeeds(), "a");
    run(&dir, &["prune", "--keep-within", "1d", "repo"]).silent();
    assert!(Path::new(&archive).exists());
}

/// Users move files in `backups/`: what no listing shows must not lose what it needs.
#[test]
fn nothing_is_given_back_while_an_archive_hides_or_lies_behind_a_link() {
    let dir = Dir::with_repository();
    for name in ["a", "b"] {
        dir.write("file", name.as_bytes());
        dir.run(&["create", &format!("repo::{name}"), "file"]).silent();
    }
    let (shown, aside) = (dir.path("repo/backups/b"), dir.path("aside"));
    for hidden in ["repo/backups/.b", "repo/backups/.trash/b"] {
        fs::create_dir_all(dir.path(hidden).parent().unwrap()).unwrap();
        fs::rename(&shown, dir.path(hidden)).unwrap();
        let ran = dir.run(&["list", "--short", "repo"]);
        assert!(ran.code == Some(0) && ran.stderr.contains("archive b, made "), "{}", ran.stderr);
        let ran = dir.run(&["prune", "--keep-daily", "9", "repo"]);
        ran.refused(
            1,
            "is an archive under a name that none can have: rename it, or move it out of the repository; \
             nothing is given back until",
        );
        fs::rename(dir.path(hidden), &shown).unwrap();
        dir.run(&["list", "repo"]).succeeds();
    }
    fs::rename(&shown, &aside).unwrap();
    symlink(&aside, &shown).unwrap();
    let ran = dir.run(&["delete", "repo::a"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("Deleted archive a; its space is not freed: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("backups/b is a symbolic link"), "{}", ran.stderr);
    fs::remove_file(&shown).unwrap();
    fs::rename(&aside, &shown).unwrap();
    dir.run(&["prune", "--keep-daily", "9", "repo"]).silent();
    assert_eq!(dir.run(&["extract", "--stdout", "repo::b"]).succeeds(), "b");
}
