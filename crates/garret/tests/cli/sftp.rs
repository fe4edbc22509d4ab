//! A repository on a server of SFTP, by the programs as their users have them: a real sshd, and hosts that die. Needs sshd,
//! and `garret-stores` beside `garret`: run the whole workspace's tests.

use std::fs;
use std::process::Command;

use garret_testkit::Random;

use super::remote::Sshd;
use super::{Dir, PASSPHRASE, Ran, noise};

/// The program, and the server that it reaches.
struct Client<'d> {
    dir: &'d Dir,
    sshd: Sshd,
    rsh: String,
}

impl<'d> Client<'d> {
    fn new(dir: &'d Dir) -> Self {
        let sshd = Sshd::start(dir, "");
        let rsh = sshd.rsh(dir);
        Client { dir, sshd, rsh }
    }

    fn environment(&self) -> [(&str, &str); 2] {
        [("GARRET_RSH", &self.rsh), ("GARRET_PASSPHRASE", PASSPHRASE)]
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.dir.run_with(&self.environment(), b"", arguments)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.dir.command(arguments);
        command.envs(self.environment());
        command
    }

    fn at(&self, name: &str) -> String {
        format!("sftp://root@127.0.0.1:{}{}", self.sshd.port, self.dir.path(name).display())
    }
}

#[test]
fn what_is_done_with_a_repository_here_is_done_with_one_by_sftp() {
    let dir = Dir::new();
    let client = Client::new(&dir);
    let repo = client.at("vms");
    let said = client.run(&["init", "-e", "passphrase", &repo]).succeeds();
    assert!(said.starts_with(&format!("Initializing repository at \"{repo}\"\n")), "{said}");
    client.run(&["init", "-e", "none", &repo]).refused(1, "already exists: choose an empty or new");
    let image = noise(3_000_000, 1);
    dir.write("app.raw", &image);
    let names = ["a", "vm/n\u{e4}chte 100 %?#&+ "];
    for name in names {
        client.run(&["create", &format!("{repo}::{name}"), "app.raw"]).silent();
    }
    let listed = format!("{}\n{}\n", names[0], names[1]);
    assert_eq!(client.run(&["list", "--short", &repo]).succeeds(), listed);
    client.run(&["create", &format!("{repo}::a"), "app.raw"]).refused(1, "already exists");
    client.run(&["restore", &repo, "app.raw", "--at", names[1], "-o", "back.raw"]).succeeds();
    assert_eq!(dir.read("back.raw"), image);
    let copy = dir.path("copy").display().to_string();
    client.run(&["sync", &repo, &copy]).succeeds();
    assert_eq!(client.run(&["list", "--short", &copy]).succeeds(), listed);
    client.run(&["delete", &format!("{repo}::{}", names[1])]).silent();
    client.run(&["check", "--verify-data", &repo]).succeeds();
    client.run(&["check", "--repair", &repo]).succeeds();
    client.run(&["scrub", &repo]).silent();
    assert_eq!(client.run(&["list", "--short", &repo]).succeeds(), "a\n");
    // Whose locks are the kernel's, and whose are leases, see nothing of each other.
    client.run(&["list", &client.at("copy")]).refused(1, "a repository in a directory");
    client.run(&["list", dir.path("vms").to_str().unwrap()]).refused(1, "name it sftp://HOST/PATH");
}

#[test]
fn what_is_wrong_with_a_location_or_a_server_is_one_line() {
    let dir = Dir::new();
    let client = Client::new(&dir);
    let list = |location: &str| client.run(&["list", location]);
    list("sftp://").refused(2, "Invalid location format");
    list("sftp://host").refused(1, "write sftp://[USER@]HOST[:PORT]/PATH");
    list("sftp://-oProxyCommand=x/srv").refused(1, "write sftp://[USER@]HOST[:PORT]/PATH");
    list("sftp://host/a/../b").refused(1, "names no directory below");
    list(&client.at("none")).refused(1, "does not exist");
    client
        .run(&["init", "-e", "none", &client.at("none/none")])
        .refused(1, "is not there: make it first");
    fs::write(dir.path("authorized_keys"), "").unwrap();
    let refused = list(&client.at("none"));
    assert!(refused.stderr.contains("Permission denied (publickey"), "{}", refused.stderr);
    assert!(refused.stderr.contains("ended with exit status: 255: why stands above"));
    assert_eq!(refused.code, Some(1));
}

#[test]
fn of_two_who_publish_one_name_at_once_one_is_told() {
    let dir = Dir::new();
    let client = Client::new(&dir);
    let repo = client.at("vms");
    client.run(&["init", "-e", "none", &repo]).succeeds();
    for round in 0..5u8 {
        let contents = [0, 1].map(|host| noise(10_000, u64::from(round) * 2 + host));
        let running = [0, 1].map(|host| {
            let file = format!("host{host}");
            dir.write(&file, &contents[host]);
            client.command(&["create", &format!("{repo}::{round}"), &file]).spawn().unwrap()
        });
        let won = running.map(|mut child| child.wait().unwrap().success());
        assert!(won[0] != won[1], "round {round}: {won:?}");
        let winner = usize::from(won[1]);
        let archive = format!("{repo}::{round}");
        let restored = client.run(&["extract", "--stdout", &archive, &format!("host{winner}")]);
        assert!(restored.stdout == contents[winner], "round {round}");
    }
    client.run(&["check", "--verify-data", &repo]).succeeds();
}

/// Killed at a random instant, with the session or without it: what was finished is there, and nothing is wrong.
#[test]
fn a_host_that_dies_leaves_a_good_repository() {
    let seed = std::env::var("GARRET_SEED").map_or(1, |seed| seed.parse().unwrap());
    eprintln!("GARRET_SEED={seed}");
    let mut random = Random::new(seed);
    let dir = Dir::new();
    let client = Client::new(&dir);
    let repo = client.at("vms");
    client.run(&["init", "-e", "none", &repo]).succeeds();
    let mut finished = Vec::new();
    for night in 0..12u64 {
        let content = noise(2_000_000, seed.wrapping_mul(100) + night);
        dir.write("app.raw", &content);
        let mut child =
            client.command(&["create", &format!("{repo}::{night}"), "app.raw"]).spawn().unwrap();
        let time = std::time::Duration::from_millis(random.below(1200));
        std::thread::sleep(time);
        let _gone = child.kill();
        if child.wait().unwrap().success() {
            finished.push((night, content));
        }
    }
    client.run(&["create", &format!("{repo}::last"), "app.raw"]).silent();
    for (night, content) in &finished {
        let archive = format!("{repo}::{night}");
        let restored = client.run(&["extract", "--stdout", &archive, "app.raw"]);
        assert!(restored.stdout == *content, "night {night}");
    }
    client.run(&["check", "--verify-data", &repo]).succeeds();
    let pruned = client.run(&["prune", "-d", "1", &repo]);
    // Killed between the two copies of its archive, a backup leaves one.
    let note = "only the second copy: removed by hand, or by the storage, or the backup broke off";
    let is_said = pruned.stderr.lines().all(|line| line.contains(note));
    assert!(pruned.code == Some(0) && is_said, "{}", pruned.stderr);
    assert_eq!(client.run(&["list", "--short", &repo]).succeeds(), "last\n");
    client.run(&["check", "--verify-data", &repo]).succeeds();
    let left = fs::read_dir(dir.path("vms/tmp")).unwrap().count();
    assert_eq!(left, 0, "left in tmp");
}
