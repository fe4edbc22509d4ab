//! A Debian kernel that runs on an image of an archive, by qemu without KVM.
//!
//! Needs `qemu-system-x86_64`, `qemu-img`, `busybox`, `cpio`, `mkfs.ext4` and `debugfs`, and a kernel of Debian for clouds in
//! the directory that GARRET_KERNEL names; `tests/run` brings them.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Dir, MIB, Ran, files_below, noise, tool};

/// What the guest does: tells the hash of a file, writes lines and says of each that it is on its disk, and ends.
const INIT: &str = r"#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc p /proc
$b mount -t devtmpfs d /dev
for m in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk; do $b insmod /$m.ko; done
n=0
while [ ! -b /dev/vda ] && [ $n -lt 1000 ]; do $b usleep 10000; n=$((n + 1)); done
$b mount -t ext4 /dev/vda /m
echo GUEST sum $($b sha256sum /m/data)
n=$($b cat /m/lines 2> /dev/null | $b wc -l)
last=$($b sed -n 's/.*last=\([0-9]*\).*/\1/p' /proc/cmdline)
while [ $n -lt $last ]; do n=$((n + 1)); echo line $n >> /m/lines; $b sync; echo GUEST wrote $n; done
$b umount /m
echo GUEST off
[ $((last % 2)) = 0 ] || $b reboot -f
$b poweroff -f
";

impl Dir {
    /// The kernel, and a file with what the guest does.
    fn guest(&self) -> (PathBuf, PathBuf) {
        let kernel = std::env::var_os("GARRET_KERNEL").map(PathBuf::from);
        let kernel =
            kernel.expect("this test needs a kernel in GARRET_KERNEL, as tests/run sets it");
        let root = self.path("initrd");
        for directory in ["bin", "m", "proc", "dev"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        let busybox = tool("sh", &["-c", "command -v busybox"]);
        fs::copy(busybox, root.join("bin/busybox")).unwrap();
        let of_virtio = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with("virtio") && name.ends_with(".ko")
        };
        for module in files_below(&kernel.join("lib")).iter().filter(|path| of_virtio(path)) {
            fs::copy(module, root.join(module.file_name().unwrap())).unwrap();
        }
        self.write("initrd/init", INIT.as_bytes());
        let pack = "chmod 755 initrd/init && cd initrd && find . | cpio -o -H newc 2> /dev/null | gzip -1 > ../initrd.gz";
        let mut pack_it = Command::new("sh");
        assert!(
            pack_it.args(["-c", pack]).current_dir(self.temp.path()).status().unwrap().success()
        );
        let is_kernel = |path: &PathBuf| path.to_str().unwrap().contains("vmlinuz");
        let kernel = files_below(&kernel.join("boot")).into_iter().find(is_kernel).unwrap();
        (kernel, self.path("initrd.gz"))
    }

    /// A repository with the archive `a` of a disk that a file system with `len` bytes of noise is on, raw and as qcow2.
    /// Gives the SHA-256 of the noise.
    fn with_guest(&self, len: usize) -> String {
        self.write("root/data", &noise(len, 1));
        let sum = tool("sha256sum", &[self.path("root/data").to_str().unwrap()]);
        let (disk, root) = (self.path("vm/disk.raw"), self.path("root"));
        self.write("vm/disk.raw", b"");
        fs::File::options().write(true).open(&disk).unwrap().set_len(2 * len as u64).unwrap();
        let [disk, root] = [&disk, &root].map(|path| path.to_str().unwrap());
        tool("mkfs.ext4", &["-q", "-d", root, disk]);
        let qcow2 = disk.replace("disk.raw", "disk.qcow2");
        tool("qemu-img", &["convert", "-O", "qcow2", disk, &qcow2]);
        self.run(&["create", "repo::a", "vm"]).silent();
        sum[..64].to_owned()
    }

    /// `garret boot`, not started, of a guest that writes lines up to the `last`.
    fn boot(&self, words: &[&str], last: usize) -> Command {
        let (kernel, initrd) = self.guest();
        let mut command = self.command(&[&["boot"], words].concat());
        command.env("PATH", std::env::var_os("PATH").unwrap()).stdin(Stdio::null());
        command
            .args(["--", "-machine", "accel=tcg", "-nographic", "-no-reboot", "-kernel"])
            .arg(kernel);
        command.arg("-initrd").arg(initrd);
        command.args(["-append", &format!("console=ttyS0 quiet panic=-1 last={last}")]);
        command
    }

    fn booted(&self, words: &[&str], last: usize) -> Ran {
        Ran::of("boot", self.boot(words, last).output().unwrap())
    }
}

/// How many lines a guest writes whose disk moves meanwhile.
const LAST: usize = 500;

/// What the guest said.
fn said(console: &[u8]) -> Vec<String> {
    let console = String::from_utf8_lossy(console).into_owned();
    let lines =
        console.lines().filter_map(|line| Some(line.split_once("GUEST ")?.1.trim().to_owned()));
    lines.collect()
}

/// The lines that the guest wrote to the disk in this file.
fn lines(disk: &str) -> usize {
    let written = tool("debugfs", &["-R", "cat /lines", disk]);
    written.lines().enumerate().for_each(|(at, line)| assert_eq!(line, format!("line {}", at + 1)));
    written.lines().count()
}

#[test]
fn a_stored_night_boots_and_what_it_writes_is_thrown_away_or_kept() {
    let dir = Dir::with_repository();
    let sum = dir.with_guest(8 * MIB);
    for path in ["vm/disk.raw", "disk.qcow2"] {
        let said = said(dir.booted(&["repo::a", path], 1).succeeds().as_bytes());
        assert_eq!(said, [&format!("sum {sum} /m/data"), "wrote 1", "off"], "{path}");
    }
    for last in [2, 4] {
        let ran = dir.booted(&["--overlay", "kept.qcow2", "repo::a", "disk.raw"], last);
        let said = said(ran.succeeds().as_bytes());
        // It goes on where it was.
        assert_eq!(said.len(), 4, "{said:?}");
    }
    let boot = |path| dir.run(&["boot", "--print", "--overlay", "kept.qcow2", "repo::a", path]);
    boot("disk.qcow2")
        .refused(1, "kept.qcow2 holds what was written over a::vm/disk.raw?raw, not over");
    tool(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", dir.path("own.qcow2").to_str().unwrap(), "1M"],
    );
    let own = dir.run(&["boot", "--print", "--overlay", "own.qcow2", "repo::a", "disk.raw"]);
    own.refused(1, "own.qcow2 is no overlay of garret's");
    // Another archive of that name, whose disk may be another.
    dir.run(&["delete", "repo::a"]).silent();
    dir.run(&["create", "repo::a", "vm"]).silent();
    boot("disk.raw").refused(1, "over another archive of the name of a::vm/disk.raw?raw");
    // What was backed up is what it was.
    let restored = dir.run(&["extract", "--stdout", "repo::a", "vm/disk.raw"]);
    assert!(restored.stdout == dir.read("vm/disk.raw"));
    dir.run(&["boot", "repo::a", "vm"]).refused(1, "contains no file vm: it is a directory");
    dir.run(&["boot", "--qemu", "./none", "repo::a", "disk.raw"])
        .refused(1, "./none: No such file");
}

/// The machine, which a guest is in, and what makes its disk.
#[test]
fn the_machine_is_not_told_what_opens_the_repository() {
    let dir = Dir::with_repository();
    dir.image("disk.raw", 1);
    dir.run(&["create", "repo::a", "disk.raw"]).silent();
    let seen = dir.path("seen");
    let qemu_img = tool("sh", &["-c", "command -v qemu-img"]);
    let (seen, qemu_img) = (seen.display(), qemu_img.trim());
    for (name, last) in
        [("machine", String::new()), ("qemu-img", format!("exec {qemu_img} \"$@\""))]
    {
        let path = dir.write(
            &format!("bin/{name}"),
            format!("#!/bin/sh\numask >> {seen}\nenv >> {seen}\n{last}\n").as_bytes(),
        );
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let (bin, machine) = (dir.path("bin"), dir.path("bin/machine"));
    let mut boot =
        dir.command(&["boot", "--qemu", machine.to_str().unwrap(), "repo::a", "disk.raw"]);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    boot.env("PATH", path).env("GARRET_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
    let secrets =
        ["GARRET_PASSPHRASE", "GARRET_PASSCOMMAND", "GARRET_NEW_PASSPHRASE", "ATTIC_PASSPHRASE"];
    let ran = boot.envs(secrets.map(|name| (name, "hidden"))).output().unwrap();
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
    let seen = String::from_utf8(dir.read("seen")).unwrap();
    assert!(seen.matches("\nPATH=").count() >= 2 && !seen.contains("hidden"), "{seen}");
    // What it makes is not for everybody.
    let mask = tool("sh", &["-c", "umask"]);
    assert_eq!(seen.lines().filter(|line| *line == mask).count(), seen.matches("\nPATH=").count());
}

/// The guest writes all the while: what it says is on its disk is on the disk that it ends on.
#[test]
fn a_disk_is_restored_while_its_guest_runs_and_nothing_is_lost() {
    let dir = Dir::with_repository();
    let sum = dir.with_guest(24 * MIB);
    // Of an odd number of lines a guest starts again in the end, which with -no-reboot is an end.
    for (to, count) in [("to.raw", LAST), ("a:b.qcow2", LAST + 1)] {
        // So slow that it is still under way when the guest is up.
        let words = ["--to", to, "--speed", "1M", "repo::a", "vm/disk.qcow2"];
        let mut child = dir.boot(&words, count).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let stdout = child.stdout.take().unwrap();
        let wrote = AtomicUsize::new(0);
        let console = std::thread::scope(|scope| {
            let console = scope.spawn(|| {
                let mut console = Vec::new();
                for line in BufReader::new(stdout).split(b'\n') {
                    console.extend(line.unwrap());
                    console.push(b'\n');
                    wrote.store(said(&console).len(), Ordering::Relaxed);
                }
                console
            });
            let mut told = String::new();
            stderr.read_line(&mut told).unwrap();
            let until_then = wrote.load(Ordering::Relaxed);
            assert!(told.starts_with(&format!("garret: {to} is restored, after ")), "{told}");
            assert!(until_then >= 2, "{until_then} lines until the disk had moved");
            console.join().unwrap()
        });
        let mut told = String::new();
        stderr.read_to_string(&mut told).unwrap();
        assert_eq!((child.wait().unwrap().code(), told.as_str()), (Some(0), ""));
        let said = said(&console);
        assert_eq!(said[0], format!("sum {sum} /m/data"));
        assert_eq!(said.last().unwrap(), "off");
        let path = dir.path(to);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let disk = match to {
            "to.raw" => path,
            _ => {
                let raw = dir.path("converted.raw");
                let paths = [path.to_str().unwrap(), raw.to_str().unwrap()];
                tool("qemu-img", &["convert", "-O", "raw", paths[0], paths[1]]);
                raw
            }
        };
        let disk = disk.to_str().unwrap();
        assert_eq!(lines(disk), count);
        tool("e2fsck", &["-fn", disk]);
        let left: Vec<_> = files_below(dir.temp.path())
            .into_iter()
            .filter(|path| path.to_str().unwrap().contains("garret-"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
    dir.run(&["boot", "--to", "to.raw", "repo::a", "disk.raw"])
        .refused(1, "to.raw is there already");
    for option in ["--to", "--overlay"] {
        let mut boot = dir.command(&["boot", "repo::a", "disk.raw", option]);
        boot.arg(std::ffi::OsStr::from_bytes(b"o\xff.qcow2"))
            .env("PATH", std::env::var_os("PATH").unwrap());
        Ran::of("boot", boot.output().unwrap()).refused(2, "is not UTF-8, as qemu wants it");
    }
}

/// A guest that ends first waits for its disk, and a machine that is killed is gone on with by the same command.
#[test]
fn a_restore_of_a_running_disk_that_was_cut_short_goes_on() {
    let dir = Dir::with_repository();
    dir.with_guest(16 * MIB);
    let words = ["--to", "to.raw", "--speed", "100k", "repo::a", "vm/disk.raw"];
    let mut child = dir.boot(&words, 100_000).spawn().unwrap();
    let mut console = BufReader::new(child.stdout.take().unwrap());
    let mut wrote = 0;
    while wrote < 20 {
        let mut line = Vec::new();
        assert!(console.read_until(b'\n', &mut line).unwrap() > 0);
        wrote += usize::from(String::from_utf8_lossy(&line).contains("GUEST wrote"));
    }
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{told}");
    assert!(told.contains("to.raw is not restored: "), "{told}");
    assert!(told.contains("the same command goes on from there"), "{told}");
    assert!(files_below(dir.temp.path()).iter().all(|path| !path.ends_with("to.raw.garret-part")));
    assert!(!dir.path("to.raw").exists() && dir.path("to.raw.garret-overlay").exists());
    let words = ["--to", "to.raw", "repo::a", "vm/disk.raw"];
    let ran = dir.booted(&words, 30);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(lines(dir.path("to.raw").to_str().unwrap()) >= 30);
}
