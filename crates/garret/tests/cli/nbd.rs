//! Images as disks over NBD: what the clients of others make of them.
//!
//! Needs `nbdinfo` and `nbdcopy` of libnbd, and `qemu-img`.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};

use super::{CLOSING, Dir, Ran, packs, tool};

/// A running `garret nbd`. It ends with the test.
struct Server {
    child: Child,
    /// What it said that clients connect to.
    uris: Vec<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

impl Dir {
    /// Starts `garret nbd` with these words; it has said `count` lines.
    fn serve(&self, words: &[&str], count: usize) -> Server {
        let mut child = self.command(&[&["nbd"], words].concat()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let uris = (0..count).map(|_| lines.next().unwrap().unwrap()).collect();
        Server { child, uris }
    }

    /// A repository with the archive `a` of a disk, raw and as qcow2, whose names are no plain words.
    fn with_disks(&self) -> Vec<u8> {
        let bytes = self.image("vm/my disk.raw", 5);
        for (options, name) in
            [(&["-O", "qcow2"][..], "q.qcow2"), (&["-c", "-O", "qcow2"], "c.qcow2")]
        {
            let to = self.path("vm").join(name);
            let from = self.path("vm/my disk.raw");
            let paths = [from.to_str().unwrap(), to.to_str().unwrap()];
            tool("qemu-img", &[&["convert"], options, &paths[..]].concat());
        }
        self.run(&["create", "repo::a", "vm"]).silent();
        bytes
    }
}

impl Server {
    /// Ends it as Ctrl-C does.
    fn end(mut self) -> Ran {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).unwrap();
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let status = self.child.wait().unwrap();
        Ran { what: "nbd".to_owned(), code: status.code(), stdout: Vec::new(), stderr }
    }
}

#[test]
fn libnbd_and_qemu_read_each_image_as_it_is_and_as_the_disk_in_it() {
    let dir = Dir::with_repository();
    let disk = dir.with_disks();
    let socket = dir.path("a socket");
    let server = dir.serve(&["--socket", "a socket", "repo::a"], 5);
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let place = socket.to_str().unwrap().replace(' ', "%20");
    let names = ["c.qcow2", "c.qcow2%3Fraw", "my%20disk.raw", "q.qcow2", "q.qcow2%3Fraw"];
    let uris = names.map(|name| format!("nbd+unix:///vm/{name}?socket={place}"));
    assert_eq!(server.uris, uris);
    for uri in &server.uris {
        let copy = dir.path("copy");
        let _last = fs::remove_file(&copy);
        tool("nbdcopy", &[uri, copy.to_str().unwrap()]);
        let is_disk = uri.contains("raw");
        let oracle = match uri.contains("c.qcow2") {
            _ if is_disk => disk.clone(),
            true => dir.read("vm/c.qcow2"),
            false => dir.read("vm/q.qcow2"),
        };
        assert!(fs::read(&copy).unwrap() == oracle, "{uri}");
        if is_disk {
            let raw = dir.path("vm/my disk.raw");
            let raw = raw.to_str().unwrap();
            tool("qemu-img", &["compare", "-f", "raw", "-F", "raw", uri, raw]);
            let other = dir.path("other.qcow2");
            let other = other.to_str().unwrap();
            tool("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", uri, other]);
            tool("qemu-img", &["compare", "-f", "qcow2", "-F", "raw", other, raw]);
            // The hole in it is one for clients too.
            let map = tool("nbdinfo", &["--map", "--totals", uri]);
            assert!(map.contains("hole,zero"), "{map}");
        } else {
            tool("qemu-img", &["check", "-f", "qcow2", uri]);
        }
        let info = tool("nbdinfo", &[uri]);
        assert!(info.contains("is_read_only: true") && info.contains("base:allocation"), "{info}");
    }
    // A second server at that socket is one too many; what a killed one left is not in the way.
    dir.run(&["nbd", "--socket", "a socket", "repo::a"]).refused(1, "in use");
    server.end().silent();
    assert!(!socket.exists());
    let mut killed = dir.serve(&["--socket", "a socket", "repo::a", "vm/q.qcow2"], 2);
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    assert!(socket.exists());
    dir.serve(&["--socket", "a socket", "repo::a", "vm/q.qcow2"], 2).end().silent();
}

#[test]
fn an_export_is_had_by_tcp_by_socket_activation_and_of_all_archives() {
    let dir = Dir::with_repository();
    dir.with_disks();
    dir.run(&["create", "repo::b", "vm/q.qcow2"]).silent();
    let server = dir.serve(&["--listen", "127.0.0.1:0", "repo::b"], 2);
    assert!(server.uris[0].starts_with("nbd://127.0.0.1:"), "{:?}", server.uris);
    let listed = tool("nbdinfo", &["--list", server.uris[0].split("/vm").next().unwrap()]);
    assert!(listed.contains("export=\"vm/q.qcow2?raw\""), "{listed}");
    server.end().silent();
    // The client starts the server, and passes its socket on.
    let program = env!("CARGO_BIN_EXE_garret");
    let mut info = dir.other("nbdinfo");
    info.args(["--list", "--", "[", program, "nbd", "--repo-wide", "repo", "]"]);
    let listed = Ran::of("nbdinfo", info.output().unwrap()).succeeds();
    for name in ["a::vm/c.qcow2", "a::vm/my disk.raw", "b::vm/q.qcow2", "b::vm/q.qcow2?raw"] {
        assert!(listed.contains(&format!("export=\"{name}\"")), "{name}: {listed}");
    }
    // The only file there is needs no name.
    let mut size = dir.other("nbdinfo");
    size.args(["--size", "--", "[", program, "nbd", "repo::b", "]"]);
    let len = dir.path("vm/q.qcow2").metadata().unwrap().len();
    assert_eq!(Ran::of("nbdinfo", size.output().unwrap()).succeeds().trim(), len.to_string());
}

#[test]
fn what_cannot_be_served_is_said_in_one_line() {
    let dir = Dir::with_repository();
    dir.with_disks();
    fs::create_dir(dir.path("empty")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path("empty/link")).unwrap();
    dir.run(&["create", "repo::empty", "empty"]).silent();
    dir.run(&["nbd", "repo::nothing"]).refused(1, "nothing");
    dir.run(&["nbd", "repo"]).refused(2, "No archive specified");
    dir.run(&["nbd", "--repo-wide", "repo::a"]).refused(2, "No archive can be specified");
    dir.run(&["nbd", "repo::empty"]).refused(1, "there is nothing to serve");
    dir.run(&["nbd", "--listen", "0.0.0.0:0", "repo::a"])
        .refused(2, "can be reached by other hosts");
    dir.run(&["nbd", "--socket", "vm/q.qcow2", "repo::a"]).refused(1, "in use");
    dir.run(&["nbd", "--socket", "missing/x", "repo::a"]).refused(1, "missing/x");
    let ran = dir.run(&["nbd", "repo::a", "vm/q.qcov2"]);
    assert!(ran.stderr.contains("did you mean vm/q.qcow2?"), "{}", ran.stderr);
}

#[test]
fn damage_is_named_and_costs_what_is_damaged() {
    let dir = Dir::with_repository();
    let bytes = dir.image("vm.img", 3);
    dir.image("other.img", 4);
    dir.run(&["create", "repo::a", "vm.img"]).silent();
    dir.run(&["create", "repo::b", "other.img"]).silent();
    let time = |path: &std::path::PathBuf| path.metadata().unwrap().modified().unwrap();
    let pack = packs(&dir.path("repo")).into_iter().min_by_key(time).unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(&pack)
        .unwrap()
        .write_all_at(&[9; 64], 500_000)
        .unwrap();
    let server = dir.serve(&["--repo-wide", "repo"], 2);
    let copy = |uri: &str| Command::new("nbdcopy").args([uri, "null:"]).output().unwrap();
    let (bad, good) = (&server.uris[0], &server.uris[1]);
    let failed = copy(bad);
    assert!(!failed.status.success());
    assert!(copy(good).status.success());
    assert_eq!(bytes.len(), 4 << 20);
    let ran = server.end();
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("a::vm.img: ") && ran.stderr.contains("packs/"), "{}", ran.stderr);
    assert!(ran.stderr.trim_end().ends_with(CLOSING), "{}", ran.stderr);
    assert!(!ran.stderr.contains("other.img"), "{}", ran.stderr);
}
