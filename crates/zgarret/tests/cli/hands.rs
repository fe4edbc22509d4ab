//! What users do to `backups/` by hand: `ls`, `mv`, `rm`, `find -delete`; then gc gives the space back.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::time::{Duration, SystemTime};

use super::{Dir, MIB, noise, ours, pack_bytes, tool};

fn three(dir: &Dir) {
    for (seed, name) in [(1, "one"), (2, "two"), (3, "sub/three")] {
        dir.feed(&noise(MIB, seed), &["backup", &format!("repo/backups/{name}")]).silent();
    }
}

#[test]
fn backups_are_files_that_can_be_moved_and_removed() {
    let dir = Dir::with_repository();
    three(&dir);
    assert_eq!(dir.shell(ours(), "ls repo/backups").succeeds(), "one\nsub\ntwo\n");
    dir.shell(ours(), "cd repo/backups; mkdir new; mv one new/first; mv sub/three .; rm two")
        .silent();
    assert_eq!(dir.archives("repo"), ["new/first", "three"]);
    let before = pack_bytes(&dir.path("repo"));
    dir.run(&["gc", "repo"]).silent();
    let after = pack_bytes(&dir.path("repo"));
    assert!(before > 3 * MIB as u64 && after < 2 * MIB as u64 + 100_000, "{before} {after}");
    for (seed, name) in [(1, "new/first"), (3, "three")] {
        let ran = dir.run(&["--silent", "restore", &format!("repo/backups/{name}")]);
        assert!(ran.stdout == noise(MIB, seed) && ran.stderr.is_empty(), "{name}");
    }
    // Only who holds the storage and the user know who renamed it.
    let ran = dir.run(&["restore", "repo/backups/three", "out"]);
    ran.notes("note: three was made as sub/three\n");
}

#[test]
fn find_deletes_by_age_and_gc_frees_the_space() {
    let dir = Dir::with_repository();
    three(&dir);
    let old = SystemTime::now() - Duration::from_secs(40 * 86_400);
    for name in ["one", "sub/three"] {
        let path = dir.path("repo/backups").join(name);
        fs::File::open(path).unwrap().set_modified(old).unwrap();
    }
    dir.write("repo/backups/.DS_Store", b"a stranger");
    let find = "find repo/backups -type f -not -name '.*' -mtime +30 -delete";
    dir.shell(ours(), find).silent();
    dir.run(&["gc", "deep", "repo", "--threads", "2", "--silent"]).silent();
    assert!(pack_bytes(&dir.path("repo")) < MIB as u64 + 100_000);
    assert_eq!(dir.archives("repo"), ["two"]);
    assert!(dir.restored("repo/backups/two") == noise(MIB, 2));
    dir.shell(ours(), "rm -r repo/backups/*").silent();
    dir.run(&["gc", "fast", "repo", "-O", "gc.concat"]).silent();
    assert_eq!(pack_bytes(&dir.path("repo")), 0);
    dir.run(&["gc", "concat", "repo"]).silent();
    dir.feed(b"again", &["backup", "repo/backups/one"]).silent();
    assert_eq!(dir.restored("repo/backups/one"), b"again");
}

#[test]
fn the_pair_of_scripts_that_everybody_has() {
    let dir = Dir::with_repository();
    for seed in [1, 2] {
        dir.write(&format!("images/vm{seed}.img"), &noise(2 * MIB, seed));
    }
    let backup = "set -e; for image in images/*.img; do name=$(basename $image)\n\
                  zbackup backup --threads 8 --cache-size 1024mb --silent \
                  repo/backups/$(date +%Y-%m-%d)/$name < $image; done\n\
                  (cd images; sha1sum *.img > ../sums)";
    dir.shell(ours(), backup).silent();
    let restore = "set -e; mkdir restored; cd restored; for name in $(ls ../repo/backups/*); do\n\
                   zbackup restore --threads 8 --cache-size 1024mb --silent \
                   ../repo/backups/*/$name > $name; done; sha1sum --quiet -c ../sums";
    dir.shell(ours(), restore).silent();
}

#[test]
fn a_copy_that_lost_what_was_empty_is_a_repository() {
    let dir = Dir::with_repository();
    for (copy, first) in [("copy", "one"), ("other", "sub/one")] {
        tool("cp", &["-a", dir.path("repo").to_str().unwrap(), dir.path(copy).to_str().unwrap()]);
        dir.shell(ours(), &format!("find {copy} -mindepth 1 -type d -empty -delete")).silent();
        assert!(!dir.path(copy).join("backups").exists());
        let path = format!("{copy}/backups/{first}");
        dir.feed(b"content", &["backup", &path]).silent();
        assert_eq!(dir.restored(&path), b"content");
        dir.run(&["gc", copy]).silent();
    }
}

#[test]
fn who_will_not_wait_is_told_who_is_there() {
    let dir = Dir::with_repository();
    let config = std::fs::File::open(dir.path("repo/config")).unwrap();
    config.lock().unwrap();
    for command in ["gc", "info"] {
        let ran = dir.run(&[command, "repo", "-O", "lock-wait=0"]);
        assert!(ran.stderr.starts_with("Failed to acquire "), "{}", ran.stderr);
        assert!(ran.stderr.contains("another program"), "{}", ran.stderr);
        assert_eq!((ran.code, ran.stderr.lines().count()), (Some(1), 1));
    }
    config.unlock().unwrap();
    dir.run(&["gc", "repo", "-O", "lock-wait=0"]).silent();
}

#[test]
fn no_room_says_what_to_do() {
    let dir = Dir::with_repository();
    dir.write("big", &noise(2 * MIB, 1));
    let limited = "prlimit --fsize=1000000 zbackup --non-encrypted backup big repo/backups/big";
    let ran = dir.shell(ours(), limited);
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(1), 1), "{}", ran.stderr);
    assert!(
        ran.stderr.ends_with("no archive made; make room, then run zgarret gc\n"),
        "{}",
        ran.stderr
    );
}

/// Root restores to a name in a directory of somebody else, who puts there what he likes.
#[test]
fn a_restore_goes_through_nothing_that_others_put_there() {
    let dir = Dir::with_repository();
    dir.feed(b"new", &["backup", "repo/backups/a"]).silent();
    fs::create_dir(dir.path("theirs")).unwrap();
    let give = |path: &str| lchown(dir.path(path), Some(65534), Some(65534)).unwrap();
    give("theirs");
    let refused = |path: &str| {
        let ran = dir.run(&["--silent", "restore", "repo/backups/a", path]);
        assert_eq!((ran.code, ran.stderr.lines().count()), (Some(1), 1), "{}", ran.stderr);
        assert!(ran.stderr.contains("others can exchange it"), "{}", ran.stderr);
    };
    dir.write("disk", &[7; 1 << 20]);
    dir.write("secret", b"as it was");
    let disk = tool("losetup", &["--find", "--show", dir.path("disk").to_str().unwrap()]);
    for target in [disk.as_str(), "../secret", "/dev/null"] {
        let link = dir.path("theirs/out");
        symlink(target, &link).unwrap();
        give("theirs/out");
        refused("theirs/out");
        fs::remove_file(link).unwrap();
    }
    tool("losetup", &["--detach", &disk]);
    assert!(dir.read("disk").iter().all(|byte| *byte == 7));
    assert_eq!(dir.read("secret"), b"as it was");
    tool("mkfifo", &[dir.path("theirs/pipe").to_str().unwrap()]);
    refused("theirs/pipe");
    // Neither on the way there nor behind a link of one's own.
    symlink("/dev", dir.path("theirs/dev")).unwrap();
    give("theirs/dev");
    refused("theirs/dev/full");
    symlink("theirs/dev/full", dir.path("through")).unwrap();
    refused("through");
    // What is open already is exchanged by nobody, wherever it is.
    let line = "zbackup --silent restore repo/backups/a /dev/stdout > theirs/open";
    dir.shell(ours(), line).silent();
    assert_eq!(dir.read("theirs/open"), b"new");
    // A file is replaced, and its new content is no set-id program.
    dir.write("theirs/program", b"old");
    fs::set_permissions(dir.path("theirs/program"), fs::Permissions::from_mode(0o4755)).unwrap();
    dir.run(&["--silent", "restore", "repo/backups/a", "theirs/program"]).silent();
    let metadata = fs::metadata(dir.path("theirs/program")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, dir.read("theirs/program")), (0o755, b"new".to_vec()));
    // One's own link is what it leads to.
    symlink("secret", dir.path("own")).unwrap();
    dir.run(&["--silent", "restore", "repo/backups/a", "own"]).silent();
    assert_eq!(dir.read("secret"), b"new");
    dir.run(&["--silent", "restore", "repo/backups/a", "/dev/null"]).silent();
}
