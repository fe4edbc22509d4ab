//! Where a restore writes: nothing that was there is lost but what has the very name, and that when the new file is whole.
//!
//! Needs root, `losetup`, `mount`, `chattr`, `setpriv`, `qemu-img`, `qemu-io` and `script`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::attic::on_a_terminal;
use super::{CLOSING, Dir, Loop, MIB, fill_noise, tool};

/// An archive `repo::a` of `vm.raw`, of 3 MiB, and `notes`.
fn with_archive() -> Dir {
    let dir = Dir::with_repository();
    let mut bytes = vec![0; 3 * MIB];
    fill_noise(&mut bytes[..MIB], 1);
    dir.write("vm.raw", &bytes);
    dir.write("notes", b"some notes");
    dir.run(&["create", "repo::a", "vm.raw", "notes"]).silent();
    dir
}

/// What is at each path below a directory: kind, mode, target or content.
fn look(root: &Path) -> BTreeMap<PathBuf, (String, u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let content = match stat.file_type() {
            kind if kind.is_dir() => {
                open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                Vec::new()
            }
            kind if kind.is_symlink() => {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            }
            kind if kind.is_file() => fs::read(&path).unwrap(),
            _ => Vec::new(),
        };
        let kind = format!("{:?}", stat.file_type());
        found.insert(path.strip_prefix(root).unwrap().to_owned(), (kind, stat.mode(), content));
    }
    found
}

#[test]
fn files_that_other_programs_would_call_temporary_are_the_user_s() {
    let dir = with_archive();
    let precious = ["vm.raw.part", "vm.raw.part.1", "notes.part", ".vm.raw.tmp", "notes~"];
    for name in precious {
        dir.write(&format!("to/{name}"), b"precious");
    }
    symlink("/etc/passwd", dir.path("to/notes.tmp")).unwrap();
    fs::create_dir(dir.path("to/vm.raw.part.2")).unwrap();
    dir.write("to/.garret-restore-0123456789abcdef/7", b"precious");
    let before = look(&dir.path("to"));
    dir.run(&["extract", "--destination", "to", "repo::a"]).silent();
    let after = look(&dir.path("to"));
    for (path, facts) in &before {
        assert!(path.as_os_str().is_empty() || after.get(path) == Some(facts), "{path:?}");
    }
    assert_eq!(after.len(), before.len() + 2, "the two files and nothing else");
    assert_eq!(dir.read("to/vm.raw"), dir.read("vm.raw"));
}

/// Everything that can stand in the way and must not go: each kind under the names that are restored.
#[test]
fn what_an_enemy_put_in_the_way_is_not_lost() {
    let dir = with_archive();
    dir.write("victim", b"precious");
    let at = |name: &str| dir.path(name).to_str().unwrap().to_owned();
    type Prepare<'a> = (&'a str, Box<dyn Fn(&str) + 'a>, Box<dyn Fn(&str) + 'a>);
    let chattr = |flag: &'static str| move |path: &str| drop(tool("chattr", &[flag, path]));
    let file = |path: &str| fs::write(path, "old").unwrap();
    let nothing = || Box::new(|_: &str| {});
    let cases: Vec<Prepare<'_>> = vec![
        (
            "immutable",
            Box::new(|p| {
                file(p);
                chattr("+i")(p)
            }),
            Box::new(chattr("-i")),
        ),
        (
            "append",
            Box::new(|p| {
                file(p);
                chattr("+a")(p)
            }),
            Box::new(chattr("-a")),
        ),
        (
            "full directory",
            Box::new(|p| fs::create_dir_all(format!("{p}/x/y")).unwrap()),
            nothing(),
        ),
        ("null device", Box::new(|p| drop(tool("mknod", &[p, "c", "1", "3"]))), nothing()),
        ("block device", Box::new(|p| drop(tool("mknod", &[p, "b", "7", "200"]))), nothing()),
    ];
    for (what, prepare, undo) in &cases {
        let to = at(what);
        fs::create_dir(&to).unwrap();
        let target = format!("{to}/vm.raw");
        prepare(&target);
        let before = look(Path::new(&to));
        let ran = dir.run(&["extract", "--destination", &to, "repo::a"]);
        let after = look(Path::new(&to));
        undo(&target);
        assert_eq!(ran.code, Some(1), "{what}: {}", ran.stderr);
        assert!(ran.stderr.contains("vm.raw: not restored: "), "{what}: {}", ran.stderr);
        assert!(ran.stderr.ends_with(&format!("{CLOSING}\n")), "{what}");
        for (path, facts) in before.iter().filter(|(path, _)| !path.as_os_str().is_empty()) {
            assert_eq!(after.get(path), Some(facts), "{what}: {}", path.display());
        }
        assert_eq!(fs::read(format!("{to}/notes")).unwrap(), b"some notes", "{what}");
        assert_eq!(after.len(), before.len() + 1, "{what}: nothing else is left");
    }
    // Links lead nowhere else: what is behind them stays, and the links are what is replaced.
    fs::create_dir(dir.path("links")).unwrap();
    symlink("../victim", dir.path("links/vm.raw")).unwrap();
    symlink("/etc/passwd", dir.path("links/notes")).unwrap();
    let passwd = fs::read("/etc/passwd").unwrap();
    dir.run(&["extract", "--destination", "links", "repo::a"]).silent();
    assert_eq!(
        (dir.read("victim"), fs::read("/etc/passwd").unwrap()),
        (b"precious".into(), passwd)
    );
    assert_eq!(dir.read("links/notes"), b"some notes");
    // An immutable directory takes nothing, and one of a read-only file system neither.
    dir.write("fixed/notes", b"old");
    tool("chattr", &["+i", &at("fixed")]);
    let ran = dir.run(&["extract", "--destination", "fixed", "repo::a"]);
    tool("chattr", &["-i", &at("fixed")]);
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(1), 3), "{}", ran.stderr);
    assert_eq!(look(&dir.path("fixed")).len(), 2);
    fs::create_dir(dir.path("sealed")).unwrap();
    tool("mount", &["--bind", &at("fixed"), &at("sealed")]);
    tool("mount", &["-o", "remount,bind,ro", &at("sealed")]);
    let ran = dir.run(&["extract", "--destination", "sealed", "repo::a"]);
    tool("umount", &[&at("sealed")]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert_eq!(dir.read("fixed/notes"), b"old");
}

#[test]
fn one_s_own_read_only_directories_are_restored_into_again() {
    let dir = Dir::with_repository();
    dir.write("bak/some/deep/f", b"content");
    let mode = |name: &str| fs::metadata(dir.path(name)).unwrap().permissions().mode() & 0o777;
    for (name, mode) in [("bak/some/deep", 0o500), ("bak/some", 0o555)] {
        fs::set_permissions(dir.path(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    dir.run(&["create", "repo::a", "bak"]).silent();
    fs::create_dir(dir.path("to")).unwrap();
    tool("chmod", &["-R", "a+rX", dir.temp.path().to_str().unwrap()]);
    tool("chown", &["4001", dir.path("to").to_str().unwrap()]);
    let program = dir.temp.path().join("garret");
    // By another process: while a test forks, what this one writes is open in both, and cannot be run.
    tool("cp", &[env!("CARGO_BIN_EXE_garret"), program.to_str().unwrap()]);
    for round in 1..=3 {
        let output = Command::new("setpriv")
            .args(["--reuid=4001", "--regid=4001", "--clear-groups"])
            .arg(&program)
            .args(["extract", "--destination", "to", "repo::a"])
            .current_dir(dir.temp.path())
            .env("GARRET_CACHE_DIR", "/nonexistent")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && stderr.is_empty(), "round {round}: {stderr}");
        let modes = (mode("to/bak/some"), mode("to/bak/some/deep"));
        assert_eq!(modes, (0o555, 0o500), "round {round}");
        assert_eq!(dir.read("to/bak/some/deep/f"), b"content");
    }
}

#[test]
fn one_file_goes_to_any_place() {
    let dir = with_archive();
    fs::set_permissions(dir.path("vm.raw"), PermissionsExt::from_mode(0o640)).unwrap();
    tool("touch", &["-d", "2020-02-02T02:02:02Z", dir.path("vm.raw").to_str().unwrap()]);
    dir.run(&["create", "repo::b", "vm.raw", "notes"]).silent();
    dir.write("there/out", b"what was there");
    for _ in 0..2 {
        dir.run(&["extract", "-o", "there/out", "repo::b", "vm.raw"]).silent();
        let stat = fs::metadata(dir.path("there/out")).unwrap();
        assert!(dir.read("there/out") == dir.read("vm.raw"));
        assert_eq!((stat.mode() & 0o777, stat.mtime()), (0o640, 1_580_608_922));
        assert!(stat.blocks() * 512 < 2 * MIB as u64, "zeros are holes");
    }
    assert_eq!(look(&dir.path("there")).len(), 2);
    dir.run(&["extract", "--output", "there/out", "repo::b"])
        .refused(1, "more than one file is selected, vm.raw and notes among them");
    dir.run(&["extract", "--stdout", "repo::b"]).refused(1, "more than one file is selected");
    fs::create_dir(dir.path("empty")).unwrap();
    dir.run(&["create", "repo::d", "empty"]);
    for place in [&["-o", "there/out"][..], &["--stdout"]] {
        dir.run(&[&["extract"], place, &["repo::d"]].concat())
            .refused(1, "nothing that is selected is a regular file");
    }
    assert!(dir.read("there/out") == dir.read("vm.raw"), "as it was");
    tool("qemu-img", &["convert", "-O", "qcow2", "-c", &at(&dir, "vm.raw"), &at(&dir, "vm.qcow2")]);
    dir.run(&["create", "repo::c", "vm.qcow2"]).silent();
    dir.run(&["extract", "--as", "raw", "-o", "disk", "repo::c"]).silent();
    assert!(dir.read("disk") == dir.read("vm.raw"), "the disk in a compressed image");
}

#[test]
fn what_is_no_place_for_a_file_is_refused() {
    let dir = with_archive();
    tool("mkfifo", &[&at(&dir, "fifo")]);
    let before = look(&dir.path("repo"));
    let refused = |words: &[&str], code, why: &str| {
        dir.run(&[&["extract"], words, &["repo::a", "vm.raw"]].concat()).refused(code, why);
    };
    refused(&["-o", "-"], 2, "give --stdout");
    refused(&["-o", "there/"], 2, "there/ is a directory: give -o the name of a file in it");
    refused(&["-o", "none/there"], 1, "the directory it is to be in does not exist");
    refused(&["-o", "/dev/no-such-disk"], 1, "there is no such device");
    refused(&["-o", "/dev/null"], 1, "it is not a regular file");
    refused(&["-o", "/proc/self/comm"], 1, "it is no place for a file");
    refused(&["-o", "fifo"], 1, "it is not a regular file");
    refused(&["-o", "repo/config"], 1, "repo/config is in the repository");
    refused(&["-o", "repo/packs/../vm.raw"], 1, "is in the repository");
    refused(&["--destination", "repo"], 1, "repo is in the repository");
    refused(&["--destination", "repo/new/directory"], 1, "is in the repository");
    symlink("repo", dir.path("link")).unwrap();
    refused(&["--destination", "link/x"], 1, "is in the repository");
    assert!(!dir.path("none").exists() && !Path::new("/dev/no-such-disk").exists());
    assert_eq!(look(&dir.path("repo")), before);
    let mut inside = dir.command(&["extract", &format!("{}::a", at(&dir, "repo"))]);
    let output = inside.current_dir(dir.path("repo/packs")).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("is in the repository"), "{said}");
    // What goes elsewhere may be asked for from there.
    for elsewhere in [&["--stdout"][..], &["-n"], &["-o", &at(&dir, "out")]] {
        let words = [&["extract"], elsewhere, &[&format!("{}::a", at(&dir, "repo")), "vm.raw"]];
        let mut inside = dir.command(&words.concat());
        let output = inside.current_dir(dir.path("repo/packs")).output().unwrap();
        assert!(output.status.success(), "{elsewhere:?}");
    }
    assert_eq!(look(&dir.path("repo")), before);
}

fn at(dir: &Dir, name: &str) -> String {
    dir.path(name).to_str().unwrap().to_owned()
}

#[test]
fn one_file_goes_through_no_link_that_another_could_have_put_there() {
    let dir = with_archive();
    dir.write("victim", b"precious");
    fs::create_dir(dir.path("open")).unwrap();
    let open = PermissionsExt::from_mode(0o1777);
    fs::set_permissions(dir.path("open"), open).unwrap();
    symlink("../victim", dir.path("open/out")).unwrap();
    std::os::unix::fs::lchown(dir.path("open/out"), Some(4002), Some(4002)).unwrap();
    let ran = dir.run(&["extract", "-o", "open/out", "repo::a", "notes"]);
    ran.refused(1, "others can change this symbolic link");
    assert_eq!(dir.read("victim"), b"precious");
    // One's own is gone through, also there.
    std::os::unix::fs::lchown(dir.path("open/out"), Some(0), Some(0)).unwrap();
    dir.run(&["extract", "-o", "open/out", "repo::a", "notes"]).silent();
    assert_eq!(dir.read("victim"), b"some notes");
    fs::create_dir(dir.path("empty")).unwrap();
    dir.run(&["extract", "-o", "empty", "repo::a", "notes"])
        .refused(1, "empty: cannot restore a file");
    assert!(dir.path("empty").is_dir(), "a directory is no place for a file");
}

#[test]
fn one_file_goes_into_a_read_only_directory_and_leaves_nothing_there() {
    let dir = with_archive();
    tool("chmod", &["-R", "a+rX", dir.temp.path().to_str().unwrap()]);
    fs::create_dir(dir.path("ro")).unwrap();
    tool("chown", &["4001", &at(&dir, "ro")]);
    fs::set_permissions(dir.path("ro"), PermissionsExt::from_mode(0o555)).unwrap();
    let program = dir.temp.path().join("garret");
    // By another process: while a test forks, what this one writes is open in both, and cannot be run.
    tool("cp", &[env!("CARGO_BIN_EXE_garret"), program.to_str().unwrap()]);
    for _ in 0..2 {
        let output = Command::new("setpriv")
            .args(["--reuid=4001", "--regid=4001", "--clear-groups"])
            .arg(&program)
            .args(["extract", "-o", "ro/out", "repo::a", "notes"])
            .current_dir(dir.temp.path())
            .env("GARRET_CACHE_DIR", "/nonexistent")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let names = fs::read_dir(dir.path("ro")).unwrap().count();
        assert_eq!((names, dir.read("ro/out")), (1, b"some notes".to_vec()));
    }
}

#[test]
fn one_file_goes_to_a_device_zeros_too() {
    let dir = with_archive();
    dir.write("disk", &vec![0xaa; 4 * MIB]);
    let device = Loop::over(&dir.path("disk"));
    dir.run(&["extract", "--to-device", &device.0, "repo::a", "vm.raw"]).silent();
    let disk = dir.read("disk");
    assert!(disk[..3 * MIB] == dir.read("vm.raw") && disk[3 * MIB..] == [0xaa; MIB]);
    tool("qemu-img", &["convert", "-O", "qcow2", "-c", &at(&dir, "vm.raw"), &at(&dir, "vm.qcow2")]);
    dir.run(&["create", "repo::c", "vm.qcow2"]).silent();
    fs::write(dir.path("disk"), vec![0xaa; 4 * MIB]).unwrap();
    dir.run(&["extract", "--as", "raw", "--to-device", &device.0, "repo::c"]).silent();
    assert!(dir.read("disk")[..3 * MIB] == dir.read("vm.raw"), "the disk in a compressed image");
    dir.write("file", b"a file");
    let ran = dir.run(&["extract", "--to-device", "file", "repo::a", "vm.raw"]);
    ran.refused(1, "file: cannot restore to this device: it is none");
    assert_eq!(dir.read("file"), b"a file");
    dir.write("large", &vec![1; 5 * MIB]);
    dir.run(&["create", "repo::d", "large"]).silent();
    let before = dir.read("disk");
    dir.run(&["extract", "--to-device", &device.0, "repo::d"]).refused(1, "it has 4194304 bytes");
    assert!(dir.read("disk") == before, "nothing is written of what does not fit");
}

/// An image or device that QEMU has open until this is dropped.
struct Used {
    qemu: Child,
    /// So that it has somebody to talk to.
    _out: BufReader<ChildStdout>,
}

impl Used {
    fn by_qemu(path: &str) -> Used {
        let mut qemu = Command::new("qemu-io")
            .args(["-f", "raw", path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs qemu-io");
        // Its answer shows that it has the image open.
        qemu.stdin.as_mut().unwrap().write_all(b"read 0 512\n").unwrap();
        let mut out = BufReader::new(qemu.stdout.take().unwrap());
        out.read_line(&mut String::new()).unwrap();
        Used { qemu, _out: out }
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        drop(self.qemu.stdin.take());
        self.qemu.wait().unwrap();
    }
}

#[test]
fn a_device_that_is_in_use_is_written_only_by_force() {
    let dir = with_archive();
    dir.write("disk", &vec![0xaa; 4 * MIB]);
    let device = Loop::over(&dir.path("disk"));
    let before = dir.read("disk");
    let qemu = Used::by_qemu(&device.0);
    let ran = dir.run(&["extract", "--to-device", &device.0, "repo::a", "vm.raw"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("it is in use"), "{}", ran.stderr);
    assert!(ran.stderr.contains("or replace them with --force"), "{}", ran.stderr);
    assert!(dir.read("disk") == before);
    dir.run(&["extract", "--force", "--to-device", &device.0, "repo::a", "vm.raw"]).silent();
    drop(qemu);
    assert!(dir.read("disk")[..3 * MIB] == dir.read("vm.raw"));
}

#[test]
fn an_image_that_is_in_use_is_replaced_only_by_force() {
    let dir = with_archive();
    fs::create_dir(dir.path("to")).unwrap();
    fs::copy(dir.path("vm.raw"), dir.path("to/vm.raw")).unwrap();
    let qemu = Used::by_qemu(&at(&dir, "to/vm.raw"));
    let inode = || fs::metadata(dir.path("to/vm.raw")).unwrap().ino();
    let before = inode();
    let ran = dir.run(&["extract", "--destination", "to", "repo::a"]);
    let after = inode();
    let forced = dir.run(&["extract", "--destination", "to", "--force", "repo::a"]);
    drop(qemu);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!((ran.code, lines.len()), (Some(1), 3), "{}", ran.stderr);
    assert!(lines[0].contains("vm.raw: not restored: ") && lines[0].contains("it is in use"));
    assert!(lines[1].ends_with("or replace them with --force"), "{}", ran.stderr);
    assert_eq!(before, after);
    assert_eq!(dir.read("to/notes"), b"some notes", "the others are restored");
    forced.silent();
    assert_ne!(before, inode());
}

#[test]
fn a_terminal_is_asked_before_newer_files_are_replaced_and_a_script_is_not() {
    let dir = with_archive();
    for name in ["vm.raw", "notes"] {
        dir.write(&format!("to/{name}"), b"newer");
    }
    tool("touch", &["-d", "2020-02-02", &at(&dir, "to/notes")]);
    let line = "extract --destination to repo::a";
    let (code, said) = on_a_terminal(&dir, line, "n\n");
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("newer than what the archive has of them:") && said.contains("to/vm.raw")
    );
    assert!(!said.contains("to/notes") && said.contains("nothing was restored"), "{said}");
    assert_eq!((dir.read("to/vm.raw"), dir.read("to/notes")), (b"newer".into(), b"newer".into()));
    // Named by its last part, restored through a link to another name.
    symlink("vm.raw", dir.path("to/link")).unwrap();
    for line in ["--destination to repo::a '*.raw'", "-o to/link repo::a vm.raw"] {
        let (code, said) = on_a_terminal(&dir, &format!("extract {line}"), "n\n");
        assert!(code == Some(1) && said.contains("newer than"), "{line}: {said}");
    }
    // A disk in another form has a name of its own.
    tool("qemu-img", &["convert", "-O", "qcow2", &at(&dir, "vm.raw"), &at(&dir, "d.qcow2")]);
    dir.run(&["create", "repo::c", "d.qcow2"]).silent();
    dir.write("to/d.qcow2.raw", b"newer");
    let (code, said) = on_a_terminal(&dir, "extract --as raw --destination to repo::c", "n\n");
    assert!(code == Some(1) && said.contains("to/d.qcow2.raw"), "{said}");
    let (code, said) = on_a_terminal(&dir, line, "y\n");
    assert_eq!(code, Some(0), "{said}");
    assert!(dir.read("to/vm.raw") == dir.read("vm.raw"));
    dir.write("to/vm.raw", b"newer");
    dir.run(&["extract", "--destination", "to", "repo::a"]).silent();
    assert!(dir.read("to/vm.raw") == dir.read("vm.raw"), "as attic does");
}

/// What create accepts, extract accepts in place: a named link is gone through again, and stays.
#[test]
fn a_link_that_was_named_is_restored_through_in_place() {
    let dir = Dir::with_repository();
    dir.write("data/images/vm.raw", b"disk");
    dir.write("pool/other.raw", b"other");
    fs::create_dir(dir.path("srv")).unwrap();
    symlink("../data/images", dir.path("srv/images")).unwrap();
    symlink("../pool/other.raw", dir.path("srv/other.raw")).unwrap();
    dir.run(&["create", "repo::a", "srv/images", "srv/other.raw"]).silent();
    dir.write("data/images/vm.raw", b"spoilt");
    dir.write("pool/other.raw", b"spoilt");
    dir.run(&["extract", "repo::a"]).silent();
    dir.run(&["compare", "repo::a"]).silent();
    assert_eq!(
        (dir.read("data/images/vm.raw"), dir.read("pool/other.raw")),
        (b"disk".into(), b"other".into())
    );
    for link in ["srv/images", "srv/other.raw"] {
        assert!(fs::symlink_metadata(dir.path(link)).unwrap().is_symlink(), "{link}");
    }
    // Elsewhere, or where somebody else could have put the link, it is not.
    dir.run(&["extract", "--destination", "to", "repo::a"]).silent();
    assert_eq!(dir.read("to/srv/images/vm.raw"), b"disk");
    dir.write("data/images/vm.raw", b"newer");
    fs::set_permissions(dir.path("srv"), PermissionsExt::from_mode(0o777)).unwrap();
    let ran = dir.run(&["extract", "repo::a", "srv/images"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("others can change this symbolic link"), "{}", ran.stderr);
    assert_eq!(dir.read("data/images/vm.raw"), b"newer");
}

#[test]
fn what_has_its_content_and_not_all_its_attributes_is_called_that() {
    let dir = Dir::with_repository();
    // A tmpfs takes attributes that are longer than a block of ext4.
    let source = tempfile::tempdir_in("/dev/shm").unwrap();
    let file = source.path().join("f");
    fs::write(&file, "content").unwrap();
    fs::hard_link(&file, source.path().join("g")).unwrap();
    let long = "v".repeat(30_000);
    set_attribute(&file, "user.long", &long);
    dir.run(&["create", "repo::a", source.path().to_str().unwrap()]).silent();
    let ran = dir.run(&["extract", "--destination", "to", "repo::a"]);
    ran.reports("f: restored, but without some of its attributes: ");
    let below = dir.path("to").join(source.path().strip_prefix("/").unwrap());
    for name in ["f", "g"] {
        assert_eq!(fs::read(below.join(name)).unwrap(), b"content", "{name}");
    }
}

fn set_attribute(path: &Path, name: &str, value: &str) {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(path, name, value.as_bytes(), flags).unwrap();
}
