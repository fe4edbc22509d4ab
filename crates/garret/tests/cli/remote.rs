//! A repository on another host: by a real sshd, and by a program instead of ssh that does what a test needs. Needs sshd.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use super::{Dir, PASSPHRASE, Ran, files_below, noise, tool};

/// A program in place of ssh that runs what the server is to run, here.
fn fake(dir: &Dir, script: &str) -> String {
    let path = dir.write("rsh", format!("#!/bin/bash\n{script}\n").as_bytes());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Runs the words behind the host.
const RUN: &str = "shift; eval \"$@\"";

/// The program, which reaches host `h` by this.
struct Client<'d> {
    dir: &'d Dir,
    rsh: String,
    garret: String,
}

impl<'d> Client<'d> {
    fn new(dir: &'d Dir, rsh: String) -> Self {
        Client { dir, rsh, garret: env!("CARGO_BIN_EXE_garret").to_owned() }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let environment = [
            ("GARRET_RSH", self.rsh.as_str()),
            ("GARRET_REMOTE_PATH", &self.garret),
            ("GARRET_PASSPHRASE", PASSPHRASE),
        ];
        self.dir.run_with(&environment, b"", arguments)
    }

    /// The location of what is called so in the directory of the test.
    fn at(&self, name: &str) -> String {
        format!("h:{}", self.dir.path(name).display())
    }
}

#[test]
fn packs_of_files_may_be_on_another_host() {
    let dir = Dir::new();
    let client = Client::new(&dir, fake(&dir, RUN));
    let cold = client.at("cold");
    let split = |arguments: &[&str]| client.run(&[arguments, &["--packs", &cold]].concat());
    split(&["init", "-e", "none", "hot"]).succeeds();
    let image = noise(3_000_000, 1);
    dir.write("app.raw", &image);
    split(&["create", "hot::a", "app.raw"]).silent();
    let len = |name: &str| -> u64 {
        files_below(&dir.path(name)).iter().map(|path| path.metadata().unwrap().len()).sum()
    };
    assert!(len("hot") < 1_000_000 && len("cold") > 3_000_000);
    split(&["check", "--verify-data", "hot"]).succeeds();
    assert!(split(&["extract", "--stdout", "hot::a"]).stdout == image);
}

#[test]
fn what_is_done_with_a_repository_here_is_done_with_one_there() {
    let dir = Dir::new();
    let client = Client::new(&dir, fake(&dir, RUN));
    let repo = client.at("repo");
    client.run(&["init", "-e", "passphrase", &repo]).succeeds();
    let image = noise(3_000_000, 1);
    dir.write("app.raw", &image);
    client.run(&["create", &format!("{repo}::a"), "app.raw"]).silent();
    dir.write("app.raw", &image[..2_000_000]);
    client.run(&["create", "--json", &format!("{repo}::b"), "app.raw"]).succeeds();
    assert_eq!(client.run(&["list", "--short", &repo]).succeeds(), "a\nb\n");
    let url = format!("ssh://h{}", dir.path("repo").display());
    assert_eq!(client.run(&["list", "--short", &format!("{url}::a")]).succeeds(), "app.raw\n");
    let info = client.run(&["info", &repo]).succeeds();
    assert!(info.starts_with(&format!("Repository: {repo}\n")), "{info}");
    client.run(&["restore", &repo, "app.raw", "--at", "a", "-o", "back.raw"]).succeeds();
    assert_eq!(dir.read("back.raw"), image);
    client.run(&["diff", &format!("{repo}::a"), "b"]).succeeds();
    client.run(&["prune", "-d", "1", &repo]).silent();
    client.run(&["check", "--verify-data", &repo]).succeeds();
    client.run(&["check", "--repair", &repo]).succeeds();
    client.run(&["scrub", &repo]).silent();
    client.run(&["key", "list", &repo]).succeeds();
    // It is a repository like any other, for who is on that host.
    assert_eq!(
        dir.run_with(&[("GARRET_PASSPHRASE", PASSPHRASE)], b"", &["list", "--short", "repo"])
            .succeeds(),
        "b\n"
    );
    client.run(&["delete", &format!("{repo}::b")]).silent();
    assert_eq!(client.run(&["list", "--short", &repo]).succeeds(), "");
}

#[test]
fn nothing_that_opens_the_repository_goes_to_the_program_that_connects() {
    let dir = Dir::new();
    let client = Client::new(&dir, fake(&dir, &format!("env > seen; echo \"$@\" >> seen; {RUN}")));
    client.run(&["init", "-e", "passphrase", &client.at("repo")]).succeeds();
    let seen = String::from_utf8(dir.read("seen")).unwrap();
    assert!(seen.contains(" serve\n") && !seen.contains(PASSPHRASE), "{seen}");
}

#[test]
fn what_goes_wrong_on_the_way_is_one_line() {
    let dir = Dir::new();
    let client = |script: &str| Client::new(&dir, fake(&dir, script));
    let list = |script: &str| client(script).run(&["list", &client(script).at("repo")]);
    list(RUN).refused(1, &format!("Repository h:{} does not exist", dir.path("repo").display()));
    list("exit 255")
        .refused(1, "cannot open h: ssh has failed: why stands above, or garret was killed there");
    // What ssh passes on is the other host's, and comes before.
    let said = list("printf 'no \\033[2J\\r\\007key\\r\\nat all' >&2; exit 255");
    let lines: Vec<&str> = said.stderr.lines().collect();
    assert_eq!(lines[..2], ["no \\u{1b}[2J\\r\\u{7}key", "at all"]);
    assert!(lines.len() == 3 && lines[2].ends_with("or garret was killed there"), "{said:?}");
    // To programs it is as all else is.
    let said = client("echo key >&2; exit 255").run(&["--log-json", "list", "h:repo"]);
    for line in said.stderr.lines() {
        assert!(line.starts_with('{'), "{}", said.stderr);
    }
    assert!(said.stderr.contains("\"text\":\"key\""), "{}", said.stderr);
    list("exit 127").refused(
        1,
        "garret does not run there: install it, or say in GARRET_REMOTE_PATH where it is",
    );
    list("echo 'Welcome to h!'; shift; eval \"$@\"").refused(
        1,
        "it says \"Welcome to h!\" where garret serve speaks: does a start file of the shell there print something?",
    );
    list("printf 'garret serve\\n\\7\\0\\0\\0'")
        .refused(1, "garret there speaks version 7 of its protocol, and this one 1");
    list("printf 'garret serve\\n\\1\\0\\0\\0'").refused(1, "Connection closed by remote host");
    list("exit 2").refused(1, "garret there does not understand how it was started: why stands above, or it is an older one");
    list("kill -9 $$").refused(1, "ssh ended with signal: 9");
    let gone = Client::new(&dir, dir.path("not/there").to_str().unwrap().to_owned());
    gone.run(&["list", "h:repo"]).refused(1, "not/there cannot be run");
    // Without a terminal it never waits for an answer.
    assert_eq!(client(RUN).run(&["init", "-e", "none", &client(RUN).at("repo")]).code, Some(0));
    client(RUN)
        .run(&["init", "-e", "none", &client(RUN).at("repo")])
        .refused(1, "already exists: choose an empty or new directory");
    assert_eq!(
        dir.run(&["serve"]).stdout,
        b"garret serve\n\x01\0\0\0",
        "and ends when nobody is there"
    );
    for text in ["h:", "-oProxyCommand=touch x:repo", "ssh://h", "ssh://-h/repo"] {
        dir.run(&["list", "--", text]).refused(2, "Invalid location format");
    }
}

/// The line is cut after so many bytes: what was finished is there, one line says what happened, the next night works.
#[test]
fn a_night_whose_connection_breaks_leaves_a_good_repository() {
    let dir = Dir::new();
    let whole = Client::new(&dir, fake(&dir, RUN));
    let repo = whole.at("repo");
    whole.run(&["init", "-e", "none", &repo]).succeeds();
    dir.write("app.raw", &noise(2_000_000, 2));
    for (number, bytes) in [500, 5_000, 300_000, 1_500_000].into_iter().enumerate() {
        let name = format!("{repo}::night-{number}");
        let rsh = dir.write(
            "cut",
            format!("#!/bin/bash\nshift; stdbuf -o0 head -c {bytes} | eval \"$@\"\n").as_bytes(),
        );
        fs::set_permissions(&rsh, fs::Permissions::from_mode(0o755)).unwrap();
        let cut = Client::new(&dir, rsh.to_str().unwrap().to_owned());
        let ran = cut.run(&["create", &name, "app.raw"]);
        assert!(ran.stderr.contains("Connection closed by remote host"), "{bytes}: {}", ran.stderr);
        assert_eq!(ran.code, Some(1), "{bytes}");
        whole.run(&["check", &repo]).succeeds();
    }
    whole.run(&["create", &format!("{repo}::whole"), "app.raw"]).silent();
    assert_eq!(whole.run(&["list", "--short", &repo]).succeeds(), "whole\n");
}

/// A rate holds for what goes over the line, before the command and behind it; none that nobody would wait for is taken.
#[test]
fn a_line_can_be_left_to_others() {
    let dir = Dir::new();
    let client = Client::new(&dir, fake(&dir, RUN));
    let repo = format!("h:{}", dir.path("repo").display());
    client.run(&["init", "-e", "none", &repo]).succeeds();
    dir.write("app.raw", &noise(400_000, 1));
    let start = std::time::Instant::now();
    client.run(&["--limit-upload", "200k", "create", &format!("{repo}::a"), "app.raw"]).silent();
    // All but the last piece are paid for.
    let least = std::time::Duration::from_millis(1500);
    assert!(start.elapsed() > least, "{:?}", start.elapsed());
    let start = std::time::Instant::now();
    let archive = format!("{repo}::a");
    client.run(&["extract", "-C", "out", "--limit-download", "200k", &archive]).silent();
    assert!(start.elapsed() > least, "{:?}", start.elapsed());
    for rate in ["0", "9999", "fast", "-1"] {
        let refused = client.run(&["list", &format!("--limit-upload={rate}"), &repo]);
        assert_eq!(refused.code, Some(2), "{rate}");
        assert!(refused.stderr.contains("10k at least"), "{rate}: {}", refused.stderr);
    }
}

/// sshd, which ends with it.
pub struct Sshd {
    child: Child,
    pub port: u16,
}

impl Sshd {
    /// One that lets this test in by a key, before which stands in `authorized_keys` what `options` says.
    pub fn start(dir: &Dir, options: &str) -> Sshd {
        fs::create_dir_all("/run/sshd").unwrap();
        for key in ["host", "id"] {
            let path = dir.path(key);
            if !path.exists() {
                tool(
                    "ssh-keygen",
                    &["-q", "-t", "ed25519", "-N", "", "-f", path.to_str().unwrap()],
                );
            }
        }
        let public = String::from_utf8(dir.read("id.pub")).unwrap();
        dir.write("authorized_keys", format!("{options}{public}").as_bytes());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = |name: &str| dir.path(name).display().to_string();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none\nAuthorizedKeysFile {}\n\
             StrictModes no\nUsePAM no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n",
            at("host"),
            at("authorized_keys")
        );
        dir.write("sshd_config", config.as_bytes());
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", &at("sshd_config")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let known = String::from_utf8(dir.read("host.pub")).unwrap();
        dir.write("known_hosts", format!("[127.0.0.1]:{port} {known}").as_bytes());
        Sshd { child, port }
    }

    /// ssh with the key that is let in.
    pub fn rsh(&self, dir: &Dir) -> String {
        let at = |name: &str| dir.path(name).display().to_string();
        format!(
            "ssh -F none -oIdentitiesOnly=yes -oConnectionAttempts=20 -i {} -oUserKnownHostsFile={}",
            at("id"),
            at("known_hosts")
        )
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

#[test]
fn by_ssh_a_key_can_be_let_only_add_archives_to_one_repository() {
    let dir = Dir::new();
    dir.write("app.raw", &noise(1_000_000, 3));
    let free = Sshd::start(&dir, "");
    let client = Client::new(&dir, free.rsh(&dir));
    let at = |sshd: &Sshd, name: &str| {
        format!("ssh://root@127.0.0.1:{}{}", sshd.port, dir.path(name).display())
    };
    client.run(&["init", "-e", "none", &at(&free, "repo")]).succeeds();
    client.run(&["create", &format!("{}::a", at(&free, "repo")), "app.raw"]).silent();
    let other = at(&free, "other");
    client.run(&["init", "-e", "none", &other]).succeeds();
    drop(free);
    let options = format!(
        "restrict,command=\"{} serve --append-only --restrict-to-path {}\" ",
        client.garret,
        dir.path("repo").display()
    );
    let bound = Sshd::start(&dir, &options);
    let repo = at(&bound, "repo");
    let client = Client { rsh: bound.rsh(&dir), ..client };
    // Whatever he asks the server to run.
    let client = Client { garret: "rm -rf / ; garret".to_owned(), ..client };
    client.run(&["create", &format!("{repo}::b"), "app.raw"]).silent();
    client.run(&["check", &repo]).succeeds();
    assert_eq!(client.run(&["list", "--short", &repo]).succeeds(), "a\nb\n");
    let why = "the server lets this client add archives and remove or replace nothing";
    client.run(&["delete", &format!("{repo}::a")]).refused(1, why);
    client.run(&["prune", "-d", "1", &repo]).refused(1, why);
    client.run(&["check", "--repair", &repo]).refused(1, why);
    client.run(&["list", &at(&bound, "other")]).refused(1, "Repository path not allowed");
    client.run(&["list", &at(&bound, "repo/../other")]).refused(1, "Repository path not allowed");
    assert_eq!(client.run(&["list", "--short", &repo]).succeeds(), "a\nb\n");
}
