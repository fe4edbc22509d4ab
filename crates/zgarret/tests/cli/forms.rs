//! Round trips in all forms: standard input, files, devices and directories in; standard output, files and devices out.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};

use super::{Dir, MIB, PLAIN, noise, ours, tool};

/// An image of 4 MiB: noise, a hole, text; with the name of an image or a partition table it would be cut by pages.
fn image(dir: &Dir, name: &str, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; 4 * MIB];
    bytes[..MIB].copy_from_slice(&noise(MIB, seed));
    let text = "a line of the image\n".bytes().cycle().take(MIB / 2);
    bytes.splice(3 * MIB..3 * MIB + MIB / 2, text);
    let file = File::create(dir.path(name)).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    file.write_all_at(&bytes[..MIB], 0).unwrap();
    file.write_all_at(&bytes[3 * MIB..3 * MIB + MIB / 2], 3 * MIB as u64).unwrap();
    bytes
}

fn blocks(dir: &Dir, name: &str) -> u64 {
    dir.path(name).metadata().unwrap().blocks() * 512
}

#[test]
fn standard_input_comes_back_on_standard_output() {
    let dir = Dir::with_repository();
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("byte", vec![7]),
        ("noise", noise(3 * MIB + 17, 1)),
        ("zeros", vec![0; 2 * MIB]),
        ("sub/of/sub", b"in a directory that was not there".to_vec()),
    ] {
        let path = format!("repo/backups/{name}");
        dir.feed(&bytes, &["backup", &path]).silent();
        assert!(dir.restored(&path) == bytes, "{name}");
        dir.run(&["restore", &path, "out"]).silent();
        assert!(dir.read("out") == bytes, "{name}");
    }
    assert_eq!(dir.archives("repo"), ["byte", "empty", "noise", "sub/of/sub", "zeros"]);
}

#[test]
fn files_come_back_sparse_and_longer_ones_are_cut() {
    let dir = Dir::with_repository();
    let bytes = image(&dir, "vm.img", 2);
    dir.run(&["backup", "vm.img", "repo/backups/vm"]).silent();
    assert!(dir.restored("repo/backups/vm") == bytes);
    dir.write("longer", &noise(6 * MIB, 3));
    fs::set_permissions(dir.path("longer"), fs::Permissions::from_mode(0o640)).unwrap();
    for output in ["new", "longer"] {
        dir.run(&["restore", "repo/backups/vm", output]).silent();
        assert!(dir.read(output) == bytes, "{output}");
        assert!(blocks(&dir, output) < 2 * MIB as u64, "{output} is sparse");
    }
    let mode = |name: &str| dir.path(name).metadata().unwrap().mode() & 0o7777;
    assert_eq!(mode("longer"), 0o640, "what was there keeps its mode");
    dir.shell(ours(), "umask 027; zbackup restore repo/backups/vm masked").silent();
    assert_eq!(mode("masked"), 0o640, "a new file gets what the mask leaves");
    // A directory that gives its group to what is made in it.
    fs::create_dir(dir.path("shared")).unwrap();
    std::os::unix::fs::chown(dir.path("shared"), Some(65534), Some(65534)).unwrap();
    fs::set_permissions(dir.path("shared"), fs::Permissions::from_mode(0o2775)).unwrap();
    dir.run(&["restore", "repo/backups/vm", "shared/out"]).silent();
    let owner =
        |name: &str| dir.path(name).metadata().map(|stat| (stat.uid(), stat.gid())).unwrap();
    assert_eq!(owner("shared/out"), (0, 65534));
    std::os::unix::fs::chown(dir.path("shared/out"), Some(65534), Some(65534)).unwrap();
    dir.run(&["restore", "repo/backups/vm", "shared/out"]).silent();
    assert_eq!(owner("shared/out"), (65534, 65534), "what was there keeps its owner");
    assert!(dir.path("masked").metadata().unwrap().mtime() > 1_700_000_000);
}

#[test]
fn a_link_stands_for_what_is_behind_it() {
    let dir = Dir::with_repository();
    let bytes = image(&dir, "vm.img", 4);
    symlink("vm.img", dir.path("link")).unwrap();
    dir.run(&["backup", "link", "repo/backups/vm"]).silent();
    dir.write("behind", b"old");
    symlink("behind", dir.path("out")).unwrap();
    dir.run(&["restore", "repo/backups/vm", "out"]).silent();
    assert!(dir.path("out").symlink_metadata().unwrap().is_symlink());
    assert!(dir.read("behind") == bytes);
}

#[test]
fn pipes_with_names_are_read_and_written() {
    let dir = Dir::with_repository();
    dir.shell(ours(), "zbackup backup <(echo hello) repo/backups/a").silent();
    assert_eq!(dir.restored("repo/backups/a"), b"hello\n");
    dir.shell(ours(), "zbackup restore repo/backups/a /dev/null").silent();
    let script = "zbackup restore repo/backups/a >(cat > out); sleep 0.2; cat out";
    assert_eq!(dir.shell(ours(), script).succeeds(), "hello\n");
    assert_eq!(
        dir.shell(ours(), "zbackup restore repo/backups/a /dev/stdout").succeeds(),
        "hello\n"
    );
}

#[test]
fn a_qcow2_file_comes_back_byte_for_byte() {
    let dir = Dir::with_repository();
    image(&dir, "vm.img", 5);
    let [raw, qcow2] = ["vm.img", "vm.qcow2"].map(|n| dir.path(n).to_str().unwrap().to_owned());
    tool("qemu-img", &["convert", "-O", "qcow2", &raw, &qcow2]);
    dir.run(&["backup", "vm.qcow2", "repo/backups/file"]).silent();
    dir.feed(&dir.read("vm.qcow2"), &["backup", "repo/backups/pipe"]).silent();
    for name in ["file", "pipe"] {
        let path = format!("repo/backups/{name}");
        dir.run(&["restore", &path, "out"]).silent();
        assert!(dir.read("out") == dir.read("vm.qcow2"), "{name}");
        assert!(dir.restored(&path) == dir.read("vm.qcow2"), "{name}");
    }
}

/// A loop device over a file of noise.
struct Device(String);

impl Device {
    fn over(dir: &Dir, name: &str, len: usize) -> Self {
        let file = dir.write(name, &noise(len, 99));
        Device(tool("losetup", &["--find", "--show", file.to_str().unwrap()]))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        tool("losetup", &["--detach", &self.0]);
    }
}

#[test]
fn a_block_device_is_backed_up_and_written_in_place() {
    let dir = Dir::with_repository();
    let bytes = image(&dir, "vm.img", 6);
    let [raw, qcow2] = ["vm.img", "vm.qcow2"].map(|n| dir.path(n).to_str().unwrap().to_owned());
    tool("qemu-img", &["convert", "-O", "qcow2", &raw, &qcow2]);
    dir.run(&["backup", "vm.img", "repo/backups/raw"]).silent();
    dir.run(&["backup", "vm.qcow2", "repo/backups/qcow2"]).silent();
    let device = Device::over(&dir, "disk", 5 * MIB);
    dir.run(&["backup", &device.0, "repo/backups/device"]).silent();
    assert!(dir.restored("repo/backups/device") == noise(5 * MIB, 99));
    for (name, content) in [("raw", bytes), ("qcow2", dir.read("vm.qcow2"))] {
        dir.run(&["restore", "repo/backups/device", &device.0]).silent();
        dir.run(&["restore", &format!("repo/backups/{name}"), &device.0]).silent();
        let now = fs::read(&device.0).unwrap();
        assert!(now[..content.len()] == content, "{name}: zeros are written too");
        assert!(
            now[content.len()..] == noise(5 * MIB, 99)[content.len()..],
            "{name}: the rest stays"
        );
    }
    dir.feed(&noise(6 * MIB, 7), &["backup", "repo/backups/large"]).silent();
    let ran = dir.run(&["restore", "repo/backups/large", &device.0]);
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(1), 1));
    assert!(ran.stderr.contains("it has 5242880 bytes, 6291456 are needed"), "{}", ran.stderr);
}

#[test]
fn a_directory_becomes_one_backup_for_each_regular_file() {
    let dir = Dir::with_repository();
    dir.write("images/web.img", b"web");
    dir.write("images/mail/mail.img", b"mail");
    dir.write("images/mail/tiny", b"");
    symlink("web.img", dir.path("images/link")).unwrap();
    let pipe = dir.path("images/pipe");
    tool("mkfifo", &[pipe.to_str().unwrap()]);
    let ran = dir.run(&["backup", "images", "repo/backups"]);
    assert_eq!((ran.code, ran.stdout.as_slice()), (Some(0), &b""[..]), "{}", ran.stderr);
    let mut lines: Vec<&str> = ran.stderr.lines().collect();
    lines.sort_unstable();
    let skipped = |name| format!("images/{name} is not a regular file: skipped");
    assert_eq!(lines, [skipped("link"), skipped("pipe")]);
    let names = ["images/mail/mail.img", "images/mail/tiny", "images/web.img"];
    assert_eq!(dir.archives("repo"), names);
    for name in names {
        assert_eq!(dir.restored(&format!("repo/backups/{name}")), dir.read(name));
    }
    fs::remove_file(pipe).unwrap();
    fs::remove_file(dir.path("images/link")).unwrap();
    // In a directory of backups/, which is made; and again, where every name is taken.
    dir.run(&["backup", "images/mail", "repo/backups/sub/dir/"]).silent();
    assert_eq!(dir.restored("repo/backups/sub/dir/mail/mail.img"), b"mail");
    let ran = dir.run(&["backup", "images/.", "repo/backups"]);
    let taken = names.map(|name| format!("Won't overwrite existing file repo/backups/{name}\n"));
    assert_eq!((ran.code, ran.stderr), (Some(1), taken.concat()));
    dir.run(&["backup", "images", "repo"])
        .fails_saying("The path must be within the backups/ dir: repo");
}

#[test]
fn files_below_the_minimal_size_are_passed_over_when_asked_for() {
    let dir = Dir::with_repository();
    dir.write("d/large", &[1; 2000]);
    dir.write("d/small", &[1; 1999]);
    let ran = dir.run(&["backup", "d", "repo/backups", "-O", "backup.minimalSize=2KB"]);
    ran.notes("d/small is below backup.minimalSize: skipped\n");
    assert_eq!(dir.archives("repo"), ["d/large"]);
}

#[test]
fn a_name_that_no_backup_can_have_keeps_the_others_from_nothing() {
    let dir = Dir::with_repository();
    dir.write("d/.hidden", b"x");
    dir.write("d/shown", b"y");
    let ran = dir.run(&["backup", "d", "repo/backups"]);
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(1), 1), "{}", ran.stderr);
    assert!(ran.stderr.contains("cannot be an archive's name"), "{}", ran.stderr);
    assert_eq!(dir.archives("repo"), ["d/shown"]);
}

#[test]
fn the_repository_is_not_part_of_a_directory_that_holds_it() {
    let dir = Dir::new();
    fs::create_dir(dir.path("srv")).unwrap();
    dir.write("srv/file", b"x");
    dir.run(&["init", PLAIN, "srv/repo"]).silent();
    dir.run(&["backup", "srv", "srv/repo/backups"]).silent();
    assert_eq!(dir.archives("srv/repo"), ["srv/file"]);
}

#[test]
fn the_repository_is_found_from_anywhere() {
    let dir = Dir::with_repository();
    dir.feed(b"x", &["backup", "repo/backups/sub/a"]).silent();
    symlink("repo/backups/sub", dir.path("shortcut")).unwrap();
    assert_eq!(dir.restored("shortcut/a"), b"x");
    assert_eq!(dir.shell(ours(), "cd repo/backups/sub && zbackup restore a").succeeds(), "x");
    assert_eq!(
        dir.shell(ours(), "cd repo/packs && zbackup restore ../backups/./sub/a").succeeds(),
        "x"
    );
    // A repository within a directory that is called as the one inside.
    fs::create_dir(dir.path("backups")).unwrap();
    dir.run(&[PLAIN, "init", "backups/deep"]).silent();
    dir.feed(b"y", &["backup", "backups/deep/backups/a"]).silent();
    assert_eq!(dir.archives("backups/deep"), ["a"]);
}
