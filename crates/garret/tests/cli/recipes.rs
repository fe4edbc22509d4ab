//! What docs/recipes.md says: a qemu without libvirt, whose disks stand still while they are backed up, and a machine that is
//! made again of the repository and the recovery key on paper.
//!
//! The first needs qemu-system-x86, which is started without a guest, and python3.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

use garret_format::config::KeyMode;
use serde_json::{Value, json};

use super::Dir;

/// A machine that does not run, with the disks `vda` in `app.raw` and `vdb` in `data.qcow2`: its monitor writes to them.
struct Machine(Child, BufReader<UnixStream>);

impl Machine {
    fn start(dir: &Dir) -> Self {
        let socket = dir.path("own.sock");
        let mut command = dir.other("/usr/bin/qemu-system-x86_64");
        command.args([
            "-machine",
            "q35,accel=tcg",
            "-nodefaults",
            "-display",
            "none",
            "-m",
            "16",
            "-S",
        ]);
        for (id, format, name) in [("vda", "raw", "app.raw"), ("vdb", "qcow2", "data.qcow2")] {
            let file = dir.path(&format!("images/{name}"));
            let drive = format!("if=virtio,id={id},format={format},file={}", file.display());
            command.args(["-drive", &drive]);
        }
        for name in ["own.sock", "qmp.sock"] {
            command.args(["-qmp", &format!("unix:{},server,nowait", dir.path(name).display())]);
        }
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        while !dir.path("qmp.sock").exists() {
            assert!(child.try_wait().unwrap().is_none(), "qemu has ended");
            std::thread::yield_now();
        }
        let mut machine = Machine(child, BufReader::new(UnixStream::connect(socket).unwrap()));
        let mut greeting = String::new();
        machine.1.read_line(&mut greeting).unwrap();
        machine.run("qmp_capabilities", json!({}));
        machine
    }

    fn run(&mut self, command: &str, arguments: Value) -> Value {
        let line = json!({ "execute": command, "arguments": arguments });
        writeln!(self.1.get_mut(), "{line}").unwrap();
        loop {
            let mut line = String::new();
            self.1.read_line(&mut line).unwrap();
            let mut answer: Value = serde_json::from_str(&line).unwrap();
            assert!(answer.get("error").is_none(), "{answer}");
            if answer.get("return").is_some() {
                return answer["return"].take();
            }
        }
    }

    /// Has both disks hold this byte, as the guest would.
    fn fill(&mut self, byte: u8) {
        for disk in ["vda", "vdb"] {
            let line = format!("qemu-io {disk} \"write -P {byte} 0 1M\"");
            self.run("human-monitor-command", json!({ "command-line": line }));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The first MiB of the disk in an image.
fn disk(dir: &Dir, format: &str, image: &str) -> Vec<u8> {
    let out = dir.path("out.raw");
    let image = dir.path(image).to_str().unwrap().to_owned();
    super::tool(
        "qemu-img",
        &["convert", "-U", "-f", format, "-O", "raw", &image, out.to_str().unwrap()],
    );
    fs::read(out).unwrap()[..super::MIB].to_vec()
}

/// Not in the suite: on a machine whose qemu-img is of another version than Debian's qemu-system-x86, that takes it away.
#[test]
#[ignore = "needs qemu-system-x86: docs/testing.md"]
fn a_qemu_without_libvirt_is_backed_up_as_it_was_at_one_instant() {
    let dir = Dir::with_repository();
    fs::create_dir(dir.path("images")).unwrap();
    fs::write(dir.path("images/app.raw"), vec![0; 2 * super::MIB]).unwrap();
    let data = dir.path("images/data.qcow2").to_str().unwrap().to_owned();
    super::tool("qemu-img", &["create", "-q", "-f", "qcow2", &data, "2M"]);
    let mut machine = Machine::start(&dir);
    machine.fill(1);

    let overlay = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/qemu/overlay");
    let line =
        |what: &str| format!("{overlay} {}/qmp.sock {what} vda vdb", dir.temp.path().display());
    // What the guest writes while it is backed up; the hook waits for that.
    let written =
        format!("touch {0}/begun; until [ -e {0}/written ]; do :; done", dir.temp.path().display());
    let config = format!(
        "[job.app]\nrepository = \"{0}/repo\"\npaths = [\"{0}/images/app.raw\", \"{0}/images/data.qcow2\"]\n\
         archive = \"{{job}}-{{pid}}\"\n[job.app.hooks]\nsnapshot = '{1}; {written}'\ncleanup = '{2}'\n",
        dir.temp.path().display(),
        line("begin"),
        line("end"),
    );
    dir.write("garret.toml", config.as_bytes());
    let mut night = dir.under(&["/usr/bin/env"], &["nightly", "--config", "garret.toml"]);
    let mut night = night.spawn().unwrap();
    while !dir.path("begun").exists() {
        assert!(night.try_wait().unwrap().is_none(), "the night has ended");
        std::thread::yield_now();
    }
    assert!(
        dir.path("images/app.raw.overlay").exists()
            && dir.path("images/data.qcow2.overlay").exists()
    );
    machine.fill(2);
    dir.write("written", b"");
    let ended = garret_testkit::program::Ran::of("nightly", night.wait_with_output().unwrap());
    ended.silent();

    let archive = dir.archives("repo").remove(0);
    dir.run(&["extract", "--destination", "to", &format!("repo::{archive}")]).silent();
    let below = dir.path("to").join(dir.path("images").strip_prefix("/").unwrap());
    fs::rename(below, dir.path("restored")).unwrap();
    for (format, name) in [("raw", "app.raw"), ("qcow2", "data.qcow2")] {
        let [was, is] =
            ["restored", "images"].map(|at| disk(&dir, format, &format!("{at}/{name}")));
        assert!(was.iter().all(|byte| *byte == 1), "{name} as it was when the night began");
        assert!(is.iter().all(|byte| *byte == 2), "{name} has what was written meanwhile");
        assert!(!dir.path(&format!("images/{name}.overlay")).exists());
    }

    // An overlay that somebody left is not overwritten, and what is not begun needs no end.
    dir.write("images/data.qcow2.overlay", b"precious");
    let shell = |line: String| {
        let output = dir.other("/bin/sh").args(["-c", &line]).output().unwrap();
        garret_testkit::program::Ran::of(line, output)
    };
    let refused = shell(line("begin"));
    assert!(refused.code == Some(1) && refused.stderr.contains("is there already: end first"));
    assert!(!dir.path("images/app.raw.overlay").exists(), "all disks or none");
    shell(line("end")).silent();
    assert_eq!(dir.read("images/data.qcow2.overlay"), b"precious");
    fs::remove_file(dir.path("images/data.qcow2.overlay")).unwrap();

    // A night that was killed: the next one begins nothing upon it, and its end puts it into the images.
    shell(line("begin")).silent();
    let refused = shell(line("begin"));
    assert!(refused.code == Some(1) && refused.stderr.contains("already: end first"));
    assert_eq!(fs::read_dir(dir.path("images")).unwrap().count(), 4, "one overlay for each disk");

    // An end that was broken off is gone on with.
    machine.fill(3);
    let base = dir.path("images/app.raw");
    let job = json!({ "device": "vda", "job-id": "end-vda", "auto-dismiss": false, "base": base });
    machine.run("block-commit", job);
    shell(line("end")).silent();
    assert_eq!(fs::read_dir(dir.path("images")).unwrap().count(), 2, "no overlay is left");
    for (format, name) in [("raw", "app.raw"), ("qcow2", "data.qcow2")] {
        let is = disk(&dir, format, &format!("images/{name}"));
        assert!(is.iter().all(|byte| *byte == 3), "{name}");
    }
}

/// Of another machine, that never saw the repository and has neither passphrase nor keys.
#[test]
fn a_bare_machine_is_made_again_of_the_repository_and_the_paper() {
    let old = Dir::new();
    old.cheap_repository("repo", KeyMode::Passphrase);
    let image = old.image("set/app.raw", 7);
    old.write("set/app.xml", b"<domain/>");
    old.write("set/app_VARS.fd", b"nvram");
    let with = [("GARRET_PASSPHRASE", super::PASSPHRASE)];
    old.run_with(&with, b"", &["create", "repo::night", "set"]).silent();
    let paper = old.run_with(&with, b"", &["key", "export", "--paper", "repo"]).succeeds();

    let bare = Dir::new();
    fs::rename(old.path("repo"), bare.path("repo")).unwrap();
    fs::remove_dir_all(bare.path("repo/keys")).unwrap();
    drop(old);
    let old = [("GARRET_PASSPHRASE", super::PASSPHRASE)];
    bare.run_with(&old, b"", &["list", "repo"]).refused(1, "keys/ is empty");
    let new = [("GARRET_NEW_PASSPHRASE", "new")];
    bare.run_with(&new, paper.as_bytes(), &["key", "import", "--paper", "repo"]).succeeds();
    let with = [("GARRET_PASSPHRASE", "new")];
    bare.run_with(&with, b"", &["restore", "repo::night", "-C", "to"]).succeeds();
    assert!(bare.read("to/set/app.raw") == image);
    assert_eq!(bare.read("to/set/app.xml"), b"<domain/>");
    assert_eq!(bare.read("to/set/app_VARS.fd"), b"nvram");
    // And it goes on from there.
    bare.run_with(&with, b"", &["create", "repo::first", "to/set"]).silent();
    assert_eq!(
        bare.run_with(&with, b"", &["list", "--short", "repo"]).succeeds(),
        "night\nfirst\n"
    );
}
