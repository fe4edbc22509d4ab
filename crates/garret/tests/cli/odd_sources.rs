//! Sources that are not as they should be: paths that meet, disks that die, files that say nothing of their length, links.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};

use serde_json::Value;

use super::{CLOSING, Dir, Loop, Ran, fill_noise, tool};

fn names(dir: &Dir, archive: &str) -> String {
    dir.run(&["list", "--short", archive]).succeeds()
}

#[test]
fn paths_that_meet_are_stored_once() {
    let dir = Dir::with_repository();
    dir.write("im/vm.raw", b"disk");
    dir.write("im/sub/x", b"x");
    fs::hard_link(dir.path("im/sub/x"), dir.path("im/sub/y")).unwrap();
    let here = dir.path("").canonicalize().unwrap();
    let whole = here.join("im").to_str().unwrap().to_owned();
    let all = "im\nim/sub\nim/sub/x\nim/sub/y\nim/vm.raw\n";
    for (number, paths) in
        [vec!["im", "im/vm.raw"], vec!["im", "im"], vec!["im", "./im/../im/", "im/sub/y", "im/sub"]]
            .into_iter()
            .enumerate()
    {
        let archive = format!("repo::{number}");
        dir.run(&[vec!["create", &archive], paths].concat()).silent();
        assert_eq!(names(&dir, &archive), all);
        let to = format!("out{number}");
        dir.run(&["extract", "--destination", &to, &archive]).silent();
        dir.run(&["compare", "--base", &to, &archive]).silent();
    }
    // The other way round the file comes first, and is there once all the same.
    dir.run(&["create", "repo::turned", "im/vm.raw", "im"]).silent();
    assert_eq!(names(&dir, "repo::turned"), "im/vm.raw\nim\nim/sub\nim/sub/x\nim/sub/y\n");
    assert_eq!(dir.run(&["extract", "--stdout", "repo::turned", "im/vm.raw"]).succeeds(), "disk");
    let up = format!("../{}/im", here.file_name().unwrap().to_str().unwrap());
    dir.run(&["create", "repo::up", &whole, &whole, &up]).silent();
    let listed = names(&dir, "repo::up");
    assert_eq!(listed.lines().filter(|line| line.ends_with("im/vm.raw")).count(), 2, "{listed}");
}

#[test]
fn another_file_at_the_same_path_is_a_problem_and_no_second_item() {
    let dir = Dir::with_repository();
    dir.write("a/x", b"ours");
    dir.write("d/a/x", b"theirs");
    dir.write("d/file", b"theirs");
    dir.write("file", b"ours");
    let run = |archive: &str, paths: &[&str]| -> Ran {
        let mut command = dir.command(&[&["create", archive], paths].concat());
        let output = command.current_dir(dir.path("d")).output().unwrap();
        let (stdout, stderr) = (output.stdout, String::from_utf8(output.stderr).unwrap());
        Ran { what: archive.to_owned(), code: output.status.code(), stdout, stderr }
    };
    run("../repo::files", &["../file", "file"])
        .reports("file: not stored as file: another file has that path in this archive");
    assert_eq!(dir.run(&["extract", "--stdout", "repo::files", "file"]).succeeds(), "ours");
    run("../repo::trees", &["../a", "a"])
        .reports("a: not stored as a, nor what is in it: another file");
    assert_eq!(names(&dir, "repo::trees"), "a\na/x\n");
    assert_eq!(dir.run(&["extract", "--stdout", "repo::trees", "a/x"]).succeeds(), "ours");
    let piped = ["create", "repo::pipe", "--stdin-name", "file", "file", "-"];
    dir.run_with(&[], b"piped", &piped).reports("standard input: not stored as file: another file");
}

#[test]
fn what_stands_in_the_way_of_a_named_path_is_a_problem() {
    let dir = Dir::with_repository();
    dir.write("pool/vm.raw", b"disk");
    fs::create_dir(dir.path("srv")).unwrap();
    symlink("../pool", dir.path("srv/images")).unwrap();
    for (archive, paths) in
        [("repo::a", ["srv", "srv/images/vm.raw"]), ("repo::b", ["srv/images/vm.raw", "srv"])]
    {
        let why =
            "srv/images: not stored as srv/images: it is a symbolic link, and a path below it";
        dir.run(&[&["create", archive][..], &paths].concat()).reports(why);
        let out = format!("out{archive}").replace("::", "");
        dir.run(&["extract", "--destination", &out, archive]).silent();
        assert_eq!(dir.read(&format!("{out}/srv/images/vm.raw")), b"disk");
    }
    // A link that is named is what is behind it, also where it is found besides.
    for (archive, paths) in [("repo::c", ["srv", "srv/images"]), ("repo::d", ["srv/images", "srv"])]
    {
        dir.run(&[&["create", archive][..], &paths].concat()).silent();
        let mut listed: Vec<String> = names(&dir, archive).lines().map(str::to_owned).collect();
        listed.sort();
        assert_eq!(listed, ["srv", "srv/images", "srv/images/vm.raw"]);
        dir.run(&["compare", archive]).silent();
    }
}

/// A device of 2 MiB of which what is behind `good` cannot be read.
fn dying(dir: &Dir, name: &str, good: u64) -> (Loop, Vec<u8>) {
    let mut bytes = vec![0; 2 << 20];
    fill_noise(&mut bytes, 5);
    let path = dir.write(name, &bytes);
    let device = Loop::over(&path);
    fs::File::options().write(true).open(path).unwrap().set_len(good).unwrap();
    (device, bytes)
}

#[test]
fn a_dying_disk_is_one_line_and_its_rest_is_stored_if_asked() {
    let dir = Dir::with_repository();
    dir.write("file", b"content");
    let good = (1 << 20) + 12 * 1024;
    let (device, bytes) = dying(&dir, "disk", good as u64);
    let stored = device.0.trim_start_matches('/');
    let said = format!("{}: cannot read at offset {good}: Input/output error", device.0);
    dir.run(&["create", "repo::fail", &device.0, "file"]).reports(&said);
    assert_eq!(names(&dir, "repo::fail"), "file\n");
    for archive in ["repo::zero", "repo::again"] {
        let ran = dir.run(&["create", "--read-errors", "zero", archive, &device.0, "file"]);
        let lost = bytes.len() - good;
        let line = format!("; stored with zeros for {lost} bytes in 1 place that cannot be read");
        ran.reports(&line);
        let listed = dir.run(&["list", archive]).succeeds();
        let end = format!("{stored} ({lost} bytes unreadable)");
        assert!(listed.lines().next().unwrap().ends_with(&end), "{listed}");
        let info = dir.run(&["info", archive, stored]).succeeds();
        assert!(info.contains(&format!("\n    {good}-{}\n", bytes.len() - 1)), "{info}");
        let info = dir.run(&["info", "--json", archive, stored]).succeeds();
        let info: Value = serde_json::from_str(&info).unwrap();
        let range = serde_json::json!([{ "start": good, "end": bytes.len() }]);
        assert_eq!(info["file"]["unreadable"], range);
        let out = archive.replace("::", "");
        let extract = ["extract", "--destination", &out, archive];
        dir.run(&extract).reports(&format!("{stored}: zeros stand for {lost} bytes in 1 place"));
        let restored = dir.read(&format!("{out}/{stored}"));
        assert!(
            restored[..good] == bytes[..good] && restored[good..].iter().all(|byte| *byte == 0)
        );
        assert!(dir.run(&["list", "repo"]).succeeds().contains(" (1 problem)\n"));
    }
    let ran = dir.run(&["create", "--read-errors", "maybe", "repo::x", "file"]);
    assert_eq!(ran.code, Some(2));
}

/// A qcow2 image on a dying disk: places are those of the file, though it is read in the order of the disk.
#[test]
fn what_cannot_be_read_of_an_image_is_told_by_its_place_in_the_file() {
    let dir = Dir::with_repository();
    let image = dir.path("vm.qcow2");
    let image = image.to_str().unwrap();
    tool("qemu-img", &["create", "-q", "-f", "qcow2", image, "4M"]);
    let write = |pattern: &str, place: &str| {
        tool("qemu-io", &["-c", &format!("write -P {pattern} {place}"), image]);
    };
    // What lies behind on the disk lies before in the file.
    write("7", "1M 512k");
    write("9", "0 512k");
    let file = dir.read("vm.qcow2");
    let device = Loop::over(image.as_ref());
    let good = file.len() as u64 - 512 * 1024 + 16 * 1024;
    fs::File::options().write(true).open(image).unwrap().set_len(good).unwrap();
    let stored = device.0.trim_start_matches('/').to_owned();
    dir.run(&["create", "--read-errors", "zero", "repo::a", &device.0])
        .reports("stored with zeros");
    let info = dir.run(&["info", "--json", "repo::a", &stored]).succeeds();
    let info: Value = serde_json::from_str(&info).unwrap();
    let range = serde_json::json!([{ "start": good, "end": file.len() }]);
    assert_eq!(info["file"]["unreadable"], range);
    assert_eq!(info["file"]["disk_size"], 4 << 20);
    let ran = dir.run(&["extract", "--stdout", "repo::a"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let good = good as usize;
    assert!(ran.stdout.len() == file.len() && ran.stdout[..good] == file[..good]);
    assert!(ran.stdout[good..].iter().all(|byte| *byte == 0));
}

#[test]
fn files_that_say_nothing_of_their_length_are_stored_as_they_are_read() {
    let dir = Dir::with_repository();
    dir.write("empty", b"");
    // One says that it is empty, the other that it has a page.
    let made_up = ["/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled"];
    let made_up: Vec<&str> =
        made_up.into_iter().filter(|path| fs::metadata(path).is_ok()).collect();
    assert_eq!(fs::metadata("/proc/version").unwrap().len(), 0);
    dir.run(&[&["create", "repo::a", "empty"], made_up.as_slice()].concat()).silent();
    for path in &made_up {
        let stored = path.trim_start_matches('/');
        let read = dir.run(&["extract", "--stdout", "repo::a", stored]).succeeds();
        assert_eq!(read, fs::read_to_string(path).unwrap());
    }
    let mut command = dir.command(&["compare", "repo::a", "--base", "/"]);
    let output = command.arg("proc").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    dir.run(&["compare", "repo::a", "empty"]).silent();
    // The next night reads them again.
    dir.run(&[&["create", "repo::b", "empty"], made_up.as_slice()].concat()).silent();
    dir.run(&["diff", "repo::a", "b"]).silent();
}

#[test]
fn compare_reaches_what_extract_makes() {
    let dir = Dir::with_repository();
    // Longer than the system takes a path at once.
    let name = ["a-part-of-a-long-path"; 250].join("/");
    let create = ["create", "--stdin-name", &name, "repo::deep", "-"];
    dir.run_with(&[], b"content", &create).silent();
    dir.run(&["extract", "--destination", "out", "repo::deep"]).silent();
    dir.run(&["compare", "--base", "out", "repo::deep"]).silent();
    let ran = dir.run(&["compare", "repo::deep"]);
    assert!(ran.code == Some(1) && ran.stdout.starts_with(b"removed "), "{}", ran.stderr);
    // A link that was named stands for the pipe behind it.
    tool("mkfifo", &[dir.path("pipe").to_str().unwrap()]);
    symlink("pipe", dir.path("link")).unwrap();
    dir.run(&["create", "repo::link", "link"]).silent();
    dir.run(&["compare", "repo::link"]).silent();
    tool("rm", &["-r", dir.path("out").to_str().unwrap()]);
}

#[test]
fn an_overlay_without_its_base_is_told_and_no_failure() {
    let dir = Dir::with_repository();
    fs::create_dir_all(dir.path("im/sub")).unwrap();
    let path = |name: &str| dir.path(name).to_str().unwrap().to_owned();
    tool("qemu-img", &["create", "-q", "-f", "qcow2", &path("im/base.qcow2"), "64M"]);
    tool("qemu-io", &["-c", "write -P 7 0 1M", &path("im/base.qcow2")]);
    let overlay = |name: &str, base: &str| {
        let options = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, &path(name)];
        tool("qemu-img", &options);
    };
    overlay("im/ov.qcow2", "base.qcow2");
    overlay("im/sub/deep.qcow2", "../base.qcow2");
    overlay("im/absolute.qcow2", &path("im/base.qcow2"));
    dir.run(&["create", "repo::all", "im"]).silent();
    let note = "garret: note: im/ov.qcow2: its backing file base.qcow2 is not in this archive: back it up too: \
                the image is incomplete without it\n";
    // Read, and untouched.
    for archive in ["repo::a", "repo::b"] {
        let ran = dir.run(&["create", archive, "im/ov.qcow2"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), note));
    }
    dir.run(&["create", "repo::both", "im/ov.qcow2", "im/base.qcow2"]).silent();
    let overlay_bytes = dir.read("im/ov.qcow2");
    let piped = ["create", "repo::pipe", "--stdin-name", "im/ov.qcow2", "-"];
    let ran = dir.run_with(&[], &overlay_bytes, &piped);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), note));
    let piped = ["create", "repo::pipe2", "--stdin-name", "im/ov.qcow2", "im/base.qcow2", "-"];
    dir.run_with(&[], &overlay_bytes, &piped).silent();
    let info = |archive: &str, path: &str| -> Value {
        let said = dir.run(&["info", "--json", archive, path]).succeeds();
        serde_json::from_str::<Value>(&said).unwrap()["file"].clone()
    };
    let whole = 64 << 20;
    tool("qemu-io", &["-c", "write -P 1 0 64k", "-c", "write -z 1M 128k", &path("im/ov.qcow2")]);
    dir.run(&["create", "repo::c", "im"]).silent();
    let file = info("repo::c", "im/ov.qcow2");
    let (allocated, zero) = (64 << 10, 128 << 10);
    assert_eq!(file["allocated"], allocated);
    assert_eq!(file["zero"], zero);
    assert_eq!(file["backing"], whole - allocated - zero);
    assert!(info("repo::c", "im/base.qcow2")["backing"].is_null());
    let said = dir.run(&["info", "repo::c", "im/ov.qcow2"]).succeeds();
    assert!(said.contains(", with the backing file base.qcow2\n"), "{said}");
    assert!(said.contains("\nIn the backing file: 66.91 MB ("), "{said}");
    // A name that is an enemy's: shown on one line, opened by nobody.
    let image = fs::File::options().write(true).open(dir.path("im/ov.qcow2")).unwrap();
    let mut offset = [0; 8];
    image.write_all_at(b"", 0).unwrap();
    fs::File::open(dir.path("im/ov.qcow2")).unwrap().read_exact_at(&mut offset, 8).unwrap();
    image.write_all_at(b"/dev/\n\x1b[", u64::from_be_bytes(offset)).unwrap();
    let ran = dir.run(&["create", "repo::enemy", "im"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("its backing file /dev/\\n\\u{1b}[w2 is not"), "{}", ran.stderr);
    assert!(!ran.stderr.contains(CLOSING));
}

#[test]
fn a_disk_whose_data_is_in_another_file_is_told_too() {
    let dir = Dir::with_repository();
    fs::create_dir(dir.path("im")).unwrap();
    let path = |name: &str| dir.path(name).to_str().unwrap().to_owned();
    let options = format!("data_file={},data_file_raw=on", path("im/data.raw"));
    tool("qemu-img", &["create", "-q", "-f", "qcow2", "-o", &options, &path("im/vm.qcow2"), "4M"]);
    tool("qemu-img", &["check", "-q", &path("im/vm.qcow2")]);
    dir.run(&["create", "repo::all", "im"]).silent();
    let ran = dir.run(&["create", "repo::one", "im/vm.qcow2"]);
    assert_eq!(ran.code, Some(0));
    assert!(ran.stderr.contains("note: im/vm.qcow2: its data file "), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
}

/// A few sparse files are longer together than any number: whoever can make them must not be able to stop the backup.
#[test]
fn files_that_are_longer_together_than_any_number_are_a_backup_too() {
    let dir = Dir::with_repository();
    // tmpfs takes files of any length.
    let files = tempfile::tempdir_in("/dev/shm").unwrap();
    let longest = i64::MAX as u64;
    for name in ["a", "b", "c"] {
        fs::File::create(files.path().join(name)).unwrap().set_len(longest).unwrap();
    }
    let source = files.path().to_str().unwrap();
    for archive in ["repo::a", "repo::b"] {
        dir.run(&["create", "--stats", archive, source]).succeeds();
    }
    // Named one by one their sum is known before.
    let named = ["a", "b", "c"].map(|name| format!("{source}/{name}"));
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    dir.run(&[&["create", "repo::named"], &named[..]].concat()).silent();
    dir.run(&["diff", "repo::a", "b"]).silent();
    let to = tempfile::tempdir_in("/dev/shm").unwrap();
    dir.run(&["extract", "--destination", to.path().to_str().unwrap(), "repo::a"]).silent();
    let restored = super::files_below(to.path());
    assert_eq!(restored.len(), 3);
    assert!(restored.iter().all(|path| fs::metadata(path).unwrap().len() == longest));
    for arguments in [&["info", "repo::a"][..], &["check", "repo"], &["delete", "-s", "repo::a"]] {
        dir.run(arguments).succeeds();
    }
}

#[test]
fn a_socket_that_is_named_is_told_and_one_that_is_found_is_not() {
    let dir = Dir::with_repository();
    dir.write("tree/file", b"content");
    let _socket = std::os::unix::net::UnixListener::bind(dir.path("tree/socket")).unwrap();
    dir.run(&["create", "repo::a", "tree"]).silent();
    dir.run(&["create", "repo::b", "tree/file", "tree/socket"])
        .reports("tree/socket: it is a socket");
    assert_eq!(names(&dir, "repo::b"), "tree/file\n");
}
