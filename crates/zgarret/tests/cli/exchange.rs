//! Backups of one repository in another.

use std::fs;
use std::time::{Duration, SystemTime};

use super::{Dir, MIB, PLAIN, noise, pack_bytes};

const ALL: [&str; 6] = ["-O", "exchange=backups", "-O", "exchange=bundles", "-O", "exchange=index"];

fn two() -> Dir {
    let dir = Dir::with_repository();
    dir.run(&[PLAIN, "init", "other"]).silent();
    for (name, len) in [("a", 2 * MIB + 5), ("sub/b", 0), ("c", 3)] {
        dir.feed(&noise(len, 1), &["backup", &format!("repo/backups/{name}")]).silent();
    }
    dir
}

#[test]
fn export_copies_to_the_second_and_import_to_the_first() {
    let dir = two();
    for (arguments, to) in
        [(&["export", "repo", "other"], "other"), (&["import", "third", "repo"], "third")]
    {
        if to == "third" {
            dir.run(&[PLAIN, "init", "third"]).silent();
        }
        let made = SystemTime::now() - Duration::from_secs(100_000);
        let open = |root: &str| fs::File::open(dir.path(root).join("backups/a")).unwrap();
        open("repo").set_modified(made).unwrap();
        dir.run(&[&ALL[..], arguments].concat()).silent();
        assert_eq!(dir.archives(to), ["a", "c", "sub/b"]);
        for (name, len) in [("a", 2 * MIB + 5), ("sub/b", 0), ("c", 3)] {
            assert!(dir.restored(&format!("{to}/backups/{name}")) == noise(len, 1), "{to} {name}");
        }
        assert_eq!(open(to).metadata().unwrap().modified().unwrap(), made);
    }
    assert_eq!(dir.archives("repo").len(), 3, "the source is as it was");
}

#[test]
fn what_is_there_is_left_and_what_is_known_is_not_stored_again() {
    let dir = two();
    dir.feed(b"of its own", &["backup", "other/backups/a"]).silent();
    dir.feed(&noise(2 * MIB + 5, 1), &["backup", "other/backups/known"]).silent();
    fs::rename(dir.path("repo/backups/a"), dir.path("repo/backups/z")).unwrap();
    dir.feed(b"a new a", &["backup", "repo/backups/a"]).silent();
    let before = pack_bytes(&dir.path("other"));
    dir.run(&[PLAIN, PLAIN, "--exchange", "backups", "export", "repo", "other", "--silent"])
        .silent();
    assert!(pack_bytes(&dir.path("other")) < before + 100_000);
    assert_eq!(dir.restored("other/backups/a"), b"of its own");
    let ran = dir.run(&["restore", "other/backups/z"]);
    assert!(ran.stdout == noise(2 * MIB + 5, 1));
    dir.run(&[&ALL[..], &["export", "repo", "repo"]].concat()).silent();
}

#[test]
fn passwords_go_by_the_order_of_the_repositories() {
    let dir = two();
    dir.cheap_repository("locked", "secret");
    dir.write("pw", b"secret\n");
    let flags = ["--silent", "--exchange", "backups"];
    let run = |words: &[&str]| dir.run(&[&flags[..], words].concat());
    let wrong = "Invalid password specified";
    run(&["--password-file", "pw", PLAIN, "export", "repo", "locked"]).fails_saying(wrong);
    run(&[PLAIN, "--password-file", "pw", "export", "repo", "locked"]).silent();
    dir.run(&[PLAIN, "init", "back"]).silent();
    run(&["import", PLAIN, "back", "--password-file", "pw", "locked"]).silent();
    assert!(dir.restored("back/backups/a") == noise(2 * MIB + 5, 1));
}

#[test]
fn what_cannot_be_exchanged_is_refused() {
    let dir = two();
    dir.run(&["export", "repo", "other"]).fails_saying("Specify any --exchange flag");
    let flags = ["-O", "exchange=bundles", "-O", "exchange=indexes"];
    dir.run(&[&flags[..], &["export", "repo", "other"]].concat()).fails_saying(
        "Nothing to exchange without backups: bundles and indexes come with the backups that need them",
    );
    let twice = "Specify password flag (--non-encrypted or --password-file) for import/export/passwd \
                 operation twice (first for source and second for destination)";
    for passwords in [&[PLAIN][..], &[PLAIN, PLAIN, PLAIN]] {
        dir.run(&[passwords, &ALL, &["export", "repo", "other"]].concat()).fails_saying(twice);
    }
    dir.run(&[&ALL[..], &["export", "repo", "none"]].concat())
        .fails_saying("Can't real path of none");
    assert_eq!(dir.archives("other"), [""; 0]);
}

#[test]
fn what_is_damaged_or_many_files_is_left_out_and_named() {
    let dir = two();
    dir.write("x", b"x");
    dir.write("y", b"y");
    dir.create("repo", "many", &["x", "y"]);
    // Its copy would say that it is whole.
    dir.create("repo", "gap", &["x", "nowhere"]);
    let noise_pack = dir.path("repo/packs");
    for name in super::files_below(&noise_pack) {
        let path = noise_pack.join(&name);
        let mut bytes = fs::read(&path).unwrap();
        if bytes.len() > MIB {
            bytes[MIB] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
    let ran = dir.run(&[&ALL[..], &["export", "repo", "other"]].concat());
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!((ran.code, lines.len()), (Some(1), 3), "{}", ran.stderr);
    assert!(lines[0].starts_with("a not copied: ") && lines[0].contains(" is damaged at "));
    assert!(lines[1].starts_with("gap not copied: not all of it could be read"), "{}", lines[1]);
    assert_eq!(lines[2], "many holds 2 files: not copied, only one can be");
    assert_eq!(dir.archives("other"), ["c", "sub/b"]);
}
