//! What the package brings, as far as it can be tried without installing it: the example of a configuration, the service, the
//! timer. `dist/try` does the rest.
//!
//! Needs systemd-analyze.

use std::fs;
use std::path::PathBuf;

use garret_testkit::program::Ran;

use super::Dir;

fn file(name: &str) -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../dist").join(name))
        .unwrap()
}

/// The example with everything switched on: a line that is switched off has its `#` right before the first word.
fn switched_on() -> String {
    let on = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    file("garret.toml").lines().map(|line| on(line) + "\n").collect()
}

#[test]
fn the_example_does_nothing_until_it_is_switched_on_and_then_is_sound() {
    let dir = Dir::new();
    let check = |text: &str| {
        dir.write("garret.toml", text.as_bytes());
        dir.run(&["nightly", "--check-config", "--config", "garret.toml"])
    };
    check(&file("garret.toml")).refused(2, "there is no job");
    assert_eq!(check(&switched_on()).succeeds(), "The configuration is sound; jobs: vms\n");
}

/// The values of a key of a unit.
fn values(unit: &str, key: &str) -> Vec<String> {
    let lines = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_service_runs_a_command_that_there_is() {
    let dir = Dir::new();
    dir.write("home/.config/garret/garret.toml", switched_on().as_bytes());
    let lines = values(&file("systemd/garret-nightly.service"), "ExecStart");
    let [line] = &lines[..] else { panic!("{lines:?}") };
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[0], "/usr/bin/garret");
    // Only that it is read: what this machine has in /etc comes first.
    let said = dir.run(&[&words[1..], &["--check-config"]].concat()).succeeds();
    assert!(said.starts_with("The configuration is sound; jobs: "), "{said}");
}

#[test]
fn systemd_has_nothing_to_say_against_the_units() {
    let dir = Dir::new();
    let program = env!("CARGO_BIN_EXE_garret");
    for name in ["garret-nightly.service", "garret-nightly.timer"] {
        // The program and its pages are not where the package puts them.
        let unit = file(&format!("systemd/{name}")).replace("/usr/bin/garret", program);
        dir.write(name, unit.replace("man:garret-nightly(1) ", "").as_bytes());
    }
    let analyze = |arguments: &[&str]| {
        let output = dir.other("systemd-analyze").args(arguments).output();
        Ran::of("systemd-analyze", output.expect("this test needs systemd-analyze"))
    };
    analyze(&["verify", "./garret-nightly.service", "./garret-nightly.timer"]).silent();
    // 44 of 100 is what reading everything, block devices, and hooks that are anything leave.
    let path = dir.path("garret-nightly.service").to_str().unwrap().to_owned();
    analyze(&["security", "--offline=yes", "--threshold=44", "--no-pager", &path]).succeeds();
}

/// Each was found to be in the way: of a disk, of what garret knows, of a shared repository, of a guest that stands still.
#[test]
fn the_service_is_not_hardened_beyond_use() {
    let unit = file("systemd/garret-nightly.service");
    for key in [
        "PrivateDevices",
        "DevicePolicy",
        "DeviceAllow",
        "ProtectClock",
        "ProtectHome",
        "ProtectKernelModules",
        "PrivateNetwork",
        "PrivateUsers",
        "RestrictSUIDSGID",
    ] {
        assert_eq!(values(&unit, key), [""; 0], "{key}");
    }
    assert_eq!(
        values(&unit, "KillMode"),
        ["process"],
        "thaw is run by a shell that outlives garret"
    );
}
