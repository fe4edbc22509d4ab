//! What is a job's own: the archives that its `keep` deletes, what its patterns stand for, its turn.

use super::Dir;
use super::nightly::{configure, night, two_images};

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
