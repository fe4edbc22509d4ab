//! What the package brings, as far as it can be tried without installing it: the example of a configuration, the service, the
//! timer. `dist/try` does the rest.
//!
//! Needs systemd-analyze and dpkg-deb.

use std::fs;
use std::os::unix::fs::PermissionsExt;
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
        "ProtectProc",
        "PrivateNetwork",
        "PrivateUsers",
        "RestrictSUIDSGID",
    ] {
        assert_eq!(values(&unit, key), [""; 0], "{key}");
    }
    assert_eq!(values(&unit, "ReadWritePaths"), ["-/etc/lvm"], "lvcreate writes there or refuses");
    assert_eq!(
        values(&unit, "KillMode"),
        ["process"],
        "thaw is run by a shell that outlives garret"
    );
}

/// The package, unpacked, of programs that are not linked as those are that others get.
fn unpacked(dir: &Dir) -> PathBuf {
    let target = "x86_64-unknown-linux-musl";
    let line = format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_garret"));
    for program in ["garret", "zgarret", "garret-stores"] {
        let name = format!("built/{target}/dist/{program}");
        dir.write(&name, line.as_bytes());
        fs::set_permissions(dir.path(&name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut package = dir.other(concat!(env!("CARGO_MANIFEST_DIR"), "/../../dist/package"));
    package.arg(target).env("CARGO_TARGET_DIR", dir.path("built")).env("SOURCE_DATE_EPOCH", "1");
    let ran = Ran::of("dist/package", package.output().unwrap());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let unpack = "dpkg-deb --raw-extract built/debian/garret_*.deb package";
    let output = dir.other("sh").args(["-c", unpack]).output();
    Ran::of(unpack, output.unwrap()).silent();
    dir.path("package")
}

/// The places in this copy that a page links to.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let here = targets.filter(|target| !target.contains(':') && !target.starts_with('#'));
    here.map(|target| target.split('#').next().unwrap())
}

#[test]
fn the_package_has_what_its_pages_speak_of() {
    let dir = Dir::new();
    let package = unpacked(&dir);
    let pages = package.join("usr/share/doc/garret");
    let mut dead = Vec::new();
    for entry in fs::read_dir(&pages).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let page = fs::read_to_string(&path).unwrap();
        dead.extend(
            links(&page)
                .filter(|link| !pages.join(link).exists())
                .map(|link| format!("{}: {link}", path.file_name().unwrap().display())),
        );
        // What is run is where a small system, which has no documents, has it too.
        assert!(!page.contains("/usr/share/doc/garret/examples"), "{}", path.display());
    }
    assert_eq!(dead, [""; 0]);
    for name in [
        "moving/borg",
        "moving/restic",
        "moving/zbackup",
        "moving/attic",
        "libvirt/overlay",
        "qemu/overlay",
    ] {
        let program = package.join("usr/share/garret/examples").join(name);
        assert_eq!(fs::metadata(program).unwrap().permissions().mode() & 0o777, 0o755, "{name}");
    }
    for name in ["postinst", "prerm", "postrm"] {
        let script = package.join("DEBIAN").join(name);
        assert_eq!(fs::metadata(&script).unwrap().permissions().mode() & 0o777, 0o755, "{name}");
    }
}

/// What dpkg runs, where systemd is and where it is not; it asks for nothing that systemctl does not know.
#[test]
fn systemd_hears_of_a_package_that_comes_and_goes() {
    let dir = Dir::new();
    let said = |script: &str, what: &str, systemd: bool| {
        dir.write("asked", b"");
        dir.write("systemctl", b"#!/bin/sh\necho \"$*\" >> asked\n");
        fs::set_permissions(dir.path("systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
        let there = if systemd { dir.path("") } else { dir.path("none") };
        let text = file(&format!("debian/{script}"))
            .replace("/run/systemd/system", there.to_str().unwrap())
            .replace("/etc/systemd/system", dir.path("links").to_str().unwrap());
        dir.write("script", text.as_bytes());
        let line = format!("PATH=$PWD:$PATH sh ./script {what}");
        Ran::of(&line, dir.other("/bin/sh").args(["-c", &line]).output().unwrap()).silent();
        fs::read_to_string(dir.path("asked")).unwrap()
    };
    let link = "links/timers.target.wants/garret-nightly.timer";
    for systemd in [true, false] {
        let when = |lines: &str| if systemd { lines.to_owned() } else { String::new() };
        assert_eq!(said("postinst", "configure 0.0.1", systemd), when("daemon-reload\n"));
        assert_eq!(said("prerm", "upgrade 0.0.2", systemd), "");
        let off = "--quiet disable --now garret-nightly.timer\n";
        assert_eq!(said("prerm", "remove", systemd), when(off));
        dir.write(link, b"");
        assert_eq!(said("postrm", "upgrade 0.0.2", systemd), "");
        assert!(dir.path(link).exists());
        assert_eq!(said("postrm", "remove", systemd), when("daemon-reload\n"));
        assert!(!dir.path(link).exists());
    }
}
