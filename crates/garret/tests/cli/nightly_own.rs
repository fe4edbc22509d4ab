//! What is a job's own: the archives that its `keep` deletes, what its patterns stand for, its turn.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::nightly::{VMS, configure, mails, night, two_images};
use super::{Dir, tool};

fn sorted(dir: &Dir) -> Vec<String> {
    let mut names = dir.archives("repo");
    names.sort();
    names
}

/// By their beginning each of them would be the job's.
#[test]
fn keep_deletes_only_what_the_job_made() {
    let dir = Dir::with_repository();
    two_images(&dir);
    for other in ["vm-vms-before-upgrade", "vm-vms-db-7", "vm-vms-7-old", "vm-vms-"] {
        dir.run(&["create", &format!("repo::{other}"), "im/a.raw"]).silent();
    }
    // A job of the same name in another file has other paths.
    dir.write("notes", b"x");
    dir.run(&["create", "repo::vm-vms-1", "notes"]).silent();
    // The job's, from the time when it had fewer paths.
    dir.run(&["create", "repo::vm-vms-2", "im/b.raw"]).silent();
    let before = sorted(&dir);
    let rest = "[job.vms]\npaths = [\"@/im/*.raw\", \"@/im\"]";
    configure(&dir, "archive = \"vm-{job}-{pid}\"\nkeep = { daily = 1 }", rest);
    night(&dir, &[]).silent();
    let after = sorted(&dir);
    let gone: Vec<&String> = before.iter().filter(|name| !after.contains(name)).collect();
    assert_eq!(gone, ["vm-vms-2"], "{after:?}");
    assert_eq!(after.len(), before.len());
}

#[test]
fn two_lines_of_a_crontab_with_other_paths_are_two_jobs() {
    let dir = Dir::with_repository();
    two_images(&dir);
    let archive = ["--archive", "{job}-{pid}", "-d", "1"];
    let line = |paths: &[&str]| {
        dir.run(&[&["nightly", "--repo", "repo"][..], &archive, paths].concat()).silent();
    };
    for paths in [&["im/a.raw"][..], &["im/*.raw"], &["im/a.raw", "im/b.raw"]] {
        line(paths);
    }
    let before = sorted(&dir);
    assert_eq!(before.len(), 3, "none took another's");
    line(&["im/*.raw"]);
    let after = sorted(&dir);
    assert_eq!(after.len(), 3, "one took its own");
    assert_eq!(before.iter().filter(|name| after.contains(name)).count(), 2);
}

#[test]
fn a_pattern_leaves_nothing_out_without_a_word() {
    let dir = Dir::with_repository();
    fs::create_dir_all(dir.path("d/open")).unwrap();
    fs::create_dir_all(dir.path("d/shut")).unwrap();
    dir.image("d/open/a.raw", 1);
    fs::write(dir.path("d/open").join(OsStr::from_bytes(b"m\xff.raw")), b"odd").unwrap();
    configure(&dir, "archive = \"{job}-{pid}\"", "[job.vms]\npaths = \"@/d/*/*.raw\"");
    night(&dir, &[]).silent();
    let listed = dir.run(&["list", "--short", "repo::latest"]);
    assert_eq!(listed.stdout.iter().filter(|byte| **byte == b'\n').count(), 2, "{listed:?}");
    // As root, but without root's right to read everything.
    let shut = dir.path("d/shut");
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o000)).unwrap();
    let tool = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    let ran = dir.run_under(&tool, &["nightly", "--config", "garret.toml"]);
    mails(&ran, 3, &["d/shut/*.raw: cannot stat: Permission denied"]);
}

/// Also while what is owed after a signal is run, and by whatever way the repository is reached.
#[test]
fn a_job_is_another_s_until_its_last_hook_has_ended() {
    let dir = Dir::with_repository();
    two_images(&dir);
    symlink(dir.path("repo"), dir.path("link")).unwrap();
    let hooks = "hooks.before = \"touch @/begun; sleep 600\"\nhooks.failed = '''sleep 600 > @/out 2>&1 &\n\
                 echo $! > @/sleeper\ntouch @/late\nwhile ! test -e @/go; do sleep 0.01; done'''";
    configure(&dir, "", &format!("{VMS}\n{hooks}"));
    let mut first = dir.command(&["nightly", "--config", "garret.toml"]).spawn().unwrap();
    let mut wait_for = |name: &str| {
        while !dir.path(name).exists() {
            assert!(first.try_wait().unwrap().is_none(), "it ended before {name}");
            std::thread::yield_now();
        }
        first.id()
    };
    let number = wait_for("begun").to_string();
    tool("kill", &["-s", "TERM", &number]);
    wait_for("late");
    let text = format!("vms: another garret nightly (process {number}) is doing this job");
    let by_link = format!("{VMS}\nrepository = \"@/link\"");
    let ran = [VMS, &by_link].map(|rest| {
        configure(&dir, "", rest);
        night(&dir, &[])
    });
    dir.write("go", b"");
    ran.iter().for_each(|ran| mails(ran, 8, &[&text]));
    assert_eq!(first.wait().unwrap().code(), Some(143));
    // What a hook left in the background has no turn.
    let ran = night(&dir, &[]);
    tool("kill", &[fs::read_to_string(dir.path("sleeper")).unwrap().trim()]);
    ran.silent();
}
