//! Archives of other programs, carried over by `examples/moving`; and the time of an archive, which they keep.
//!
//! Needs borg, restic, zbackup and jq.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use garret_testkit::program::Ran;
use serde_json::Value;

use super::Dir;

/// When the first archive was made, and the second.
const TIMES: [&str; 2] = ["2020-11-20T02:30:00", "2020-11-21T02:30:05"];

/// Runs a line in a shell that finds the program, with what the others want to know.
fn shell(dir: &Dir, line: &str) -> Ran {
    let mut command = dir.other("/bin/bash");
    command.env("PATH", dir.search_path()).args(["-euc", line]);
    for (name, value) in [
        ("ATTIC_KEYS_DIR", dir.path("attic-keys").to_str().unwrap()),
        ("ATTIC_CACHE_DIR", dir.path("attic-cache").to_str().unwrap()),
        ("ATTIC_PASSPHRASE", "other"),
        ("BORG_BASE_DIR", dir.path("borg-base").to_str().unwrap()),
        ("BORG_PASSPHRASE", "other"),
        ("RESTIC_PASSWORD", "other"),
        ("MOVING", concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/moving")),
    ] {
        command.env(name, value);
    }
    Ran::of(line, command.output().unwrap())
}

/// What the other program is to do first; it may say what it likes.
#[track_caller]
fn prepare(dir: &Dir, line: &str) {
    let ran = shell(dir, line);
    assert_eq!(ran.code, Some(0), "{line}: {}", ran.stderr);
}

/// A directory `vms` with everything that is easily lost on the way: holes, links, modes, odd names, times.
fn tree(dir: &Dir, night: u64) -> Vec<u8> {
    let image = dir.image("vms/app.raw", night);
    for (name, text) in [("vms/a b{c}", "braces"), ("vms/etc/-dash", "dash"), ("vms/empty", "")] {
        dir.write(name, text.as_bytes());
    }
    let linked = dir.path("vms/second name");
    if !linked.exists() {
        fs::hard_link(dir.path("vms/a b{c}"), linked).unwrap();
        symlink("../nowhere", dir.path("vms/etc/link")).unwrap();
    }
    fs::set_permissions(dir.path("vms/etc"), fs::Permissions::from_mode(0o750)).unwrap();
    image
}

/// The names and the times of the archives, by time.
fn listed(dir: &Dir) -> Vec<(String, String)> {
    let list = dir.run(&["list", "--json", "to"]).succeeds();
    let list: Value = serde_json::from_str(&list).unwrap();
    let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    let archives = list["archives"].as_array().unwrap();
    archives.iter().map(|one| (text(one, "name"), text(one, "end"))).collect()
}

/// Carries over `from` twice, and after a run that was broken off, and with a name in the way. Gives the names.
#[track_caller]
fn carried(dir: &Dir, before: &str, script: &str) -> Vec<String> {
    dir.run(&["init", "to"]).succeeds();
    let line = format!("{before}\"$MOVING\"/{script} from to work");
    let said = shell(dir, &line).succeeds();
    assert_eq!(said.matches(": carried over\n").count(), 2, "{said}");
    let found = listed(dir);
    let times: Vec<&str> = found.iter().map(|(_, time)| time.trim_end_matches("+00:00")).collect();
    assert_eq!(times, TIMES);
    let names: Vec<String> = found.iter().map(|(name, _)| name.clone()).collect();

    let again = shell(dir, &line).succeeds();
    assert_eq!(again.matches(": was carried over before\n").count(), 2, "{again}");
    assert_eq!(listed(dir), found);

    // As a run left it that ended before it looked at what it made: once well, once not.
    let lists = super::files_below(&dir.path("work/lists"));
    assert_eq!(lists.len(), 2, "one for each archive");
    let proven = super::files_below(&dir.path("work/proven"));
    fs::remove_file(&proven[0]).unwrap();
    let again = shell(dir, &line).succeeds();
    assert_eq!(again.matches(": carried over\n").count(), 1, "{again}");
    fs::remove_file(&proven[0]).unwrap();
    fs::write(&lists[0], "another").unwrap();
    fs::remove_file(&lists[1]).unwrap();
    let wrong = shell(dir, &line);
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    let said = wrong.stderr;
    assert!(said.contains("what garret gives back is not what came out of"), "{said}");
    assert!(said.contains("has an archive of that name, which is not from here"), "{said}");
    assert!(!String::from_utf8_lossy(&wrong.stdout).contains("All archives"), "{said}");
    assert_eq!(listed(dir), found);
    names
}

/// What is in an archive is what `vms` is.
#[track_caller]
fn came_back(dir: &Dir, archive: &str) {
    let archive = format!("to::{archive}");
    let ran = dir.run(&["compare", &archive]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stderr, String::from_utf8_lossy(&ran.stdout));
}

#[test]
fn archives_of_borg_come_over_with_names_and_times() {
    let dir = Dir::new();
    prepare(&dir, "borg init -e repokey from");
    for (name, time) in ["web {1}", "web-2"].iter().zip(TIMES) {
        tree(&dir, 1 + name.len() as u64);
        let line = format!(
            "borg create --comment 'of night' --timestamp {time} 'from::{}' vms",
            name.replace('{', "{{").replace('}', "}}")
        );
        prepare(&dir, &line);
    }
    let names = carried(&dir, "", "borg");
    assert_eq!(names, ["web {1}", "web-2"]);
    came_back(&dir, "web-2");
    let info = dir.run(&["info", "to::web {1}"]).succeeds();
    assert!(info.contains("Comment: of night; from borg, made by "), "{info}");
}

#[test]
fn snapshots_of_restic_come_over_with_times() {
    let dir = Dir::new();
    prepare(&dir, "restic --quiet --no-cache init --repo from");
    for (night, time) in TIMES.iter().enumerate() {
        tree(&dir, night as u64);
        let time = time.replace('T', " ");
        let line = format!(
            "restic --quiet --no-cache --repo from backup --host web --tag t{night} --time '{time}' vms"
        );
        prepare(&dir, &line);
    }
    let names = carried(&dir, "", "restic");
    for (name, time) in names.iter().zip(TIMES) {
        assert!(name.starts_with(&format!("web-{time}-")) && name.len() == 32, "{name}");
    }
    came_back(&dir, &names[1]);
    let info = dir.run(&["info", &format!("to::{}", names[0])]).succeeds();
    assert!(info.contains(" on web, tags t0\n"), "{info}");
}

/// attic has no way to give a time: its clock stands still.
#[test]
#[ignore = "needs attic, which needs a Python of its time: tests/attic"]
fn archives_of_attic_come_over_with_names_and_times() {
    let dir = Dir::new();
    let attic = std::env::var("ATTIC").expect("ATTIC is what tests/attic printed");
    let bin = Path::new(&attic).parent().unwrap().to_str().unwrap();
    let script = format!("PATH=$PATH:{bin} ");
    prepare(&dir, &format!("{attic} init -e passphrase $PWD/from"));
    for (name, time) in ["web {1}", "web-2"].iter().zip(TIMES) {
        tree(&dir, name.len() as u64);
        let time = time.replace('T', " ");
        prepare(&dir, &format!("faketime -f '{time}' {attic} create \"$PWD/from::{name}\" vms"));
    }
    assert_eq!(carried(&dir, &script, "attic"), ["web {1}", "web-2"]);
    came_back(&dir, "web-2");
    let info = dir.run(&["info", "to::web {1}"]).succeeds();
    assert!(info.contains("Comment: from attic, made by "), "{info}");
}

#[test]
fn backups_of_zbackup_come_over_with_names_and_times() {
    let dir = Dir::new();
    prepare(&dir, "zbackup --silent --non-encrypted init from");
    let mut images = Vec::new();
    for (name, time) in ["old/web {1}", "web-2"].iter().zip(TIMES) {
        images.push(tree(&dir, name.len() as u64));
        let line = format!(
            "zbackup --silent --non-encrypted backup 'from/backups/{name}' < vms/app.raw
             touch --date {time}Z 'from/backups/{name}'"
        );
        fs::create_dir_all(dir.path("from/backups/old")).unwrap();
        prepare(&dir, &line);
    }
    let names = carried(&dir, "", "zbackup");
    assert_eq!(names, ["old/web {1}", "web-2"]);
    for (name, image) in names.iter().zip(images) {
        let output = dir.command(&["extract", "--stdout", &format!("to::{name}")]).output();
        assert!(output.unwrap().stdout == image, "{name}");
    }
}

/// One that does not come out whole keeps none of the others, and is none in the new repository.
#[test]
fn what_is_damaged_over_there_is_named_and_left_out() {
    let dir = Dir::new();
    prepare(&dir, "zbackup --silent --non-encrypted init from");
    for name in ["bad", "good"] {
        dir.image("app.raw", name.len() as u64);
        let line = format!("zbackup --silent --non-encrypted backup from/backups/{name} < app.raw");
        prepare(&dir, &line);
    }
    fs::write(dir.path("from/backups/bad"), "damaged").unwrap();
    dir.run(&["init", "to"]).succeeds();
    let ran = shell(&dir, "\"$MOVING\"/zbackup from to work");
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("moving: bad: not carried over"), "{}", ran.stderr);
    assert_eq!(dir.archives("to"), ["good"]);
}

/// That all is well is said when it is, and only then.
#[track_caller]
fn is_refused(dir: &Dir, line: &str, said: &str) {
    let ran = shell(dir, line);
    assert!(ran.code != Some(0), "{ran:?}");
    assert!(ran.stderr.contains(said), "{ran:?}");
    assert!(!String::from_utf8_lossy(&ran.stdout).contains("All archives"), "{ran:?}");
}

/// An archive of borg of a tree with `app.raw`.
fn one_of_borg(dir: &Dir, name: &str, options: &str) {
    if !dir.path("from").exists() {
        prepare(dir, "borg init -e repokey from");
        dir.image("vms/app.raw", 1);
        dir.run(&["init", "to"]).succeeds();
    }
    prepare(dir, &format!("borg create {options} from::{name} vms"));
}

/// As any backup of / has them: `bin` is a link, `mnt` is empty.
#[test]
fn links_and_empty_directories_at_the_top_come_over_as_they_are() {
    let dir = Dir::new();
    one_of_borg(&dir, "first", "");
    dir.write("live/secret", b"of this host");
    fs::create_dir(dir.path("mnt")).unwrap();
    for (target, link) in [(dir.path("live").to_str().unwrap(), "x"), ("vms", "bin"), ("gone", "y")]
    {
        symlink(target, dir.path(link)).unwrap();
    }
    prepare(&dir, "borg create from::root vms mnt x bin y");
    let said = shell(&dir, "\"$MOVING\"/borg from to work").succeeds();
    assert!(said.contains("root: carried over\nAll archives of "), "{said}");
    let list = ["list", "--format", "{type} {path} {target}{NL}", "to::root"];
    let found = dir.run(&list).succeeds();
    let live = format!("{} x {}\n", found.split(' ').next().unwrap(), dir.path("live").display());
    assert!(
        found.contains(&live) && found.contains(" bin vms\n") && found.contains(" y gone\n"),
        "{found}"
    );
    assert!(found.contains(" mnt \n") && !found.contains("secret"), "{found}");
    let complete = dir.run(&["list", "--format", "{complete}{NL}", "to"]).succeeds();
    assert_eq!(complete, "true\ntrue\n");
}

#[test]
fn an_archive_that_is_not_complete_or_not_there_any_more_counts_as_none() {
    let dir = Dir::new();
    one_of_borg(&dir, "good", "");
    let line = "\"$MOVING\"/borg from to work";
    shell(&dir, line).succeeds();
    dir.run(&["delete", "to::good"]).succeeds();
    let again = shell(&dir, line).succeeds();
    assert!(again.starts_with("good: carried over\n"), "{again}");
    assert_eq!(dir.archives("to"), ["good"]);

    // As one of an earlier day has it, that was stored with a problem.
    dir.run(&["delete", "to::good"]).succeeds();
    fs::create_dir(dir.path("bare")).unwrap();
    assert_eq!(dir.run(&["create", "to::good", "vms", "bare"]).code, Some(1));
    is_refused(&dir, line, "moving: good: not carried over: what ");
    is_refused(&dir, line, "is not complete, as garret info says; garret delete ");
}

/// What asks for the passphrase may read all that it is given, and there is a tool less.
#[test]
fn nothing_takes_archives_out_of_the_list_without_a_word() {
    let dir = Dir::new();
    for name in ["a", "b", "c"] {
        one_of_borg(&dir, name, "");
    }
    let greedy =
        "export BORG_PASSCOMMAND=\"sh -c 'cat > /dev/null; echo other'\"; unset BORG_PASSPHRASE
        \"$MOVING\"/borg from to work < /dev/null";
    let said = shell(&dir, greedy).succeeds();
    assert_eq!(said.matches(": carried over\n").count(), 3, "{said}");
    assert_eq!(dir.archives("to").len(), 3);

    // All that is on the path but jq.
    let without = "mkdir tools
        IFS=:; for part in $PATH; do for program in \"$part\"/*; do
          [ \"${program##*/}\" = jq ] || [ -e \"tools/${program##*/}\" ] || ln -s \"$program\" tools/ 2> /dev/null || true
        done; done
        PATH=$PWD/tools \"$MOVING\"";
    for script in ["borg", "restic"] {
        let line = format!("rm -rf tools; {without}/{script} from to other");
        is_refused(&dir, &line, "moving: this needs jq, which is not installed\n");
    }
    for script in ["borg", "restic", "zbackup"] {
        is_refused(&dir, &format!("\"$MOVING\"/{script} nowhere to work-{script}"), "nowhere");
    }
    prepare(&dir, "zbackup --silent --non-encrypted init empty");
    is_refused(&dir, "\"$MOVING\"/zbackup empty to another", "empty has no archives\n");
}

#[test]
fn a_comment_makes_no_archives_and_no_names_are_taken_for_each_other() {
    let dir = Dir::new();
    one_of_borg(&dir, "z", "--comment $'x\\ngood\\t1999-01-01T00:00:00\\tl'");
    one_of_borg(&dir, "good", "");
    let said = shell(&dir, "\"$MOVING\"/borg from to work").succeeds();
    assert_eq!(said.matches(": carried over\n").count(), 2, "{said}");
    let info = dir.run(&["info", "to::z"]).succeeds();
    assert!(info.contains("Comment: x good 1999-01-01T00:00:00 l; from borg, made by "), "{info}");

    prepare(&dir, "zbackup --silent --non-encrypted init old; mkdir old/backups/a");
    let images = [("a/b", dir.image("app.raw", 2)), ("a%b", dir.image("app.raw", 3))];
    for (name, image) in &images {
        fs::write(dir.path("app.raw"), image).unwrap();
        prepare(
            &dir,
            &format!("zbackup --silent --non-encrypted backup old/backups/{name} < app.raw"),
        );
    }
    dir.run(&["init", "new"]).succeeds();
    shell(&dir, "\"$MOVING\"/zbackup old new work2").succeeds();
    for (name, image) in images {
        let output = dir.command(&["extract", "--stdout", &format!("new::{name}")]).output();
        assert!(output.unwrap().stdout == image, "{name}");
    }
}

#[test]
fn a_move_works_in_a_directory_of_its_own_that_nobody_else_can_read() {
    let dir = Dir::new();
    one_of_borg(&dir, "good", "");
    let line = |to: &str, work: &str| format!("\"$MOVING\"/borg from {to} {work}");
    shell(&dir, &line("to", "work")).succeeds();
    for path in super::files_below(&dir.path("work")) {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{path:?}");
    }
    assert_eq!(fs::metadata(dir.path("work")).unwrap().permissions().mode() & 0o777, 0o700);
    dir.run(&["init", "other"]).succeeds();
    is_refused(&dir, &line("other", "work"), "is that of the move from ");
    assert_eq!(dir.archives("other"), [""; 0]);

    // What is somebody's stays what it is.
    dir.write("mine/tree/file", b"of the user");
    let mode = |mode: u32| {
        fs::set_permissions(dir.path("mine"), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o700);
    is_refused(&dir, &line("to", "mine"), "has files in it that are of no move");
    assert!(dir.path("mine/tree/file").exists());
    fs::remove_dir_all(dir.path("mine/tree")).unwrap();
    mode(0o777);
    is_refused(&dir, &line("to", "mine"), "is no directory of yours alone (owner, mode 700)");
    symlink("work", dir.path("link")).unwrap();
    is_refused(&dir, &line("to", "link/"), "is no directory of yours alone (owner, mode 700)");
}

#[test]
fn an_archive_has_the_time_that_it_is_given_and_none_that_is_yet_to_come() {
    let dir = Dir::with_repository();
    dir.write("a", b"a");
    let create = |time: &str, name: &str| {
        dir.run(&["create", "--timestamp", time, &format!("repo::{name}"), "a"])
    };
    dir.run(&["create", "repo::now", "a"]).silent();
    create("2020-11-20T02:30:00+01:00", "old").silent();
    create("2999-01-01T00:00:00Z", "later").refused(1, "a time that is yet to come");
    let wrong = create("tomorrow", "later");
    assert!(wrong.code == Some(2) && wrong.stderr.contains("as in 2026-11-20T02:30:00Z"));
    assert_eq!(dir.archives("repo"), ["old", "now"]);
    let listed = dir.run(&["list", "--format", "{name} {end}{NL}", "repo"]).succeeds();
    assert!(listed.starts_with("old 2020-11-20T01:30:00+00:00\n"), "{listed}");
    let newest = dir.run(&["info", "repo::latest"]).succeeds();
    assert!(newest.contains("Archive name: now") || newest.contains("Name: now"), "{newest}");
}
