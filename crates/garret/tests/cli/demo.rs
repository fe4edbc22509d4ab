//! The tour, on an image of the user: the sample images take longer than a test should.

use std::fs;

use super::Dir;

#[test]
fn the_demo_leaves_one_restored_image_and_the_users_image_as_it_was() {
    let dir = Dir::new();
    let image = dir.image("vm.img", 1);
    fs::create_dir(dir.path("work")).unwrap();
    let said = dir.run(&["demo", "--directory", "work", "vm.img"]).succeeds();
    let lines: Vec<&str> = said.lines().collect();
    let header = "step              size GB   seconds    s/GB    new data  repository";
    assert_eq!(lines[2], header, "{said}");
    for (line, step) in lines[3..].iter().zip(["first backup", "second night", "restore of one"]) {
        assert!(line.starts_with(step), "{said}");
    }
    assert!(said.contains("  the same\n"), "{said}");
    let left = super::files_below(&dir.path("work"));
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(said.contains(&format!("The restored image is yours: {}\n", left[0].display())));
    assert!(fs::read(&left[0]).unwrap() == image && dir.read("vm.img") == image);
}

/// borg and restic do the same steps; nothing of them is left, nor is it in the home of the user.
#[test]
fn the_demo_shows_other_programs_in_the_same_table() {
    let dir = Dir::new();
    dir.image("vm.img", 1);
    fs::create_dir(dir.path("work")).unwrap();
    let demo = ["demo", "--directory", "work", "--against", "borg,restic,borg", "vm.img"];
    let said = dir.run(&demo).succeeds();
    let steps: Vec<&str> = said.lines().skip(3).take(9).map(|line| line[..16].trim_end()).collect();
    let others = ["  borg", "  restic"];
    let expected: Vec<&str> = ["first backup", "second night", "restore of one"]
        .into_iter()
        .flat_map(|step| [&[step][..], &others].concat())
        .collect();
    assert_eq!(steps, expected, "{said}");
    assert_eq!(super::files_below(&dir.path("work")).len(), 1, "{said}");
    assert!(!dir.path("home").exists(), "{said}");
    let wrong = dir.run(&["demo", "--directory", "work", "--against", "tar", "vm.img"]);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("borg, restic"), "{}", wrong.stderr);
    // Without them it is the demo alone.
    let mut alone = dir.command(&demo);
    let output = alone.env("PATH", "/nowhere").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && stderr.contains("note: restic is not installed"),
        "{stderr}"
    );
}

/// Ctrl-C, in the middle of whatever it does.
#[test]
fn a_demo_that_is_broken_off_leaves_nothing() {
    let dir = Dir::new();
    fs::create_dir(dir.path("work")).unwrap();
    let image = dir.image("vm.img", 1);
    // A borg that works for ever, so that there is something to break off.
    let tool = dir.write(
        "bin/borg",
        b"#!/bin/sh\ncase $1 in create) echo > started; exec sleep 1000;; esac\n",
    );
    fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = dir.command(&["demo", "--directory", "work", "--against", "borg", "vm.img"]);
    let path = format!("{}:/usr/bin:/bin", dir.path("bin").display());
    let mut child = command.env("PATH", path).stdout(std::process::Stdio::null()).spawn().unwrap();
    while !dir.path("started").exists() {
        std::thread::yield_now();
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
    }
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(dir.path("work")).unwrap().count(), 0);
    assert!(dir.read("vm.img") == image);
}

#[test]
fn the_demo_refuses_what_is_no_image() {
    let dir = Dir::new();
    fs::create_dir(dir.path("work")).unwrap();
    dir.run(&["demo", "--directory", "work", "missing"]).refused(1, "missing: No such file");
    dir.run(&["demo", "--directory", "work", "work"]).refused(1, "work is neither a file");
    dir.run(&["demo", "--directory", "nowhere"]).refused(1, "nowhere: No such file");
    assert_eq!(fs::read_dir(dir.path("work")).unwrap().count(), 0);
}
