//! The script of docs/cron.md, run as cron would.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::Dir;

/// The script with the paths of this test in the place of those of a host.
fn script(dir: &Dir) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cron.md");
    let page = fs::read_to_string(page).unwrap();
    let script = page.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let path = |name: &str| dir.path(name).to_str().unwrap().to_owned();
    script
        .replace("/srv/backup/vms", &path("repo"))
        .replace("/var/lib/libvirt/images", &path("images"))
        .replace("/etc/garret/passphrase", &path("passphrase"))
}

fn run(dir: &Dir) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_garret")).parent().unwrap();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &script(dir)]).current_dir(dir.temp.path()).env_clear();
    shell.env("PATH", format!("{}:/usr/bin:/bin", program.display()));
    shell.env("HOME", dir.path("home")).output().unwrap()
}

#[test]
fn the_nightly_script_is_silent_and_makes_an_archive() {
    let dir = Dir::with_repository();
    fs::create_dir(dir.path("images")).unwrap();
    let image = dir.image("images/vm.img", 1);
    let output = run(&dir);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success() && output.stdout.is_empty());
    let archives = dir.archives("repo");
    assert_eq!(archives.len(), 1, "{archives:?}");
    let archive = format!("repo::{}", archives[0]);
    dir.run(&["extract", "--destination", "to", &archive]).silent();
    let restored = super::files_below(&dir.path("to")).remove(0);
    assert!(fs::read(restored).unwrap() == image);
}

#[test]
fn the_nightly_script_fails_when_a_step_does() {
    let dir = Dir::with_repository();
    let output = run(&dir);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("images: cannot stat"), "{stderr}");
}
