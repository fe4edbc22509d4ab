//! A repository in a bucket, by the programs as their users have them: a real server of S3's protocol, a line to it on
//! which requests go wrong, hosts that die. Needs moto, which `tests/run` brings, and `garret-stores` beside `garret`: run
//! the whole workspace's tests.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use garret_testkit::{BUCKET, Fate, Proxy, Random, bucket_server};

use super::{Dir, PASSPHRASE, Ran, noise};

/// The program, with keys that the server does not look at.
struct Client<'d> {
    dir: &'d Dir,
    endpoint: String,
}

impl<'d> Client<'d> {
    fn new(dir: &'d Dir, server: SocketAddr) -> Self {
        Client { dir, endpoint: format!("http://{server}") }
    }

    fn environment(&self) -> [(&str, &str); 4] {
        [
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("GARRET_PASSPHRASE", PASSPHRASE),
        ]
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.dir.run_with(&self.environment(), b"", arguments)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.dir.command(arguments);
        command.envs(self.environment());
        command
    }
}

/// A prefix that no other test has.
fn repository() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::SeqCst);
    format!("s3://{BUCKET}/{}/r{number}", std::process::id())
}

#[test]
fn what_is_done_with_a_repository_here_is_done_with_one_in_a_bucket() {
    let dir = Dir::new();
    let (client, repo) = (Client::new(&dir, bucket_server()), repository());
    let said = client.run(&["init", "-e", "passphrase", &repo]).succeeds();
    assert!(said.starts_with(&format!("Initializing repository at \"{repo}\"\n")), "{said}");
    client
        .run(&["init", "-e", "none", &repo])
        .refused(1, "already exists: choose an empty or new prefix");
    let image = noise(3_000_000, 1);
    dir.write("app.raw", &image);
    // A space at the end is what a library would trim, and the rest what a URL means otherwise.
    let names = ["a", "vm/n\u{e4}chte 100 %?#&+ "];
    for name in names {
        client.run(&["create", &format!("{repo}::{name}"), "app.raw"]).silent();
    }
    assert_eq!(
        client.run(&["list", "--short", &repo]).succeeds(),
        format!("{}\n{}\n", names[0], names[1])
    );
    client.run(&["create", &format!("{repo}::a"), "app.raw"]).refused(1, "already exists");
    let info = client.run(&["info", &repo]).succeeds();
    assert!(info.starts_with(&format!("Repository: {repo}\n")), "{info}");
    assert!(info.contains("\nExclusion: by "), "{info}");
    let stats = client.run(&["create", "--stats", &format!("{repo}::c"), "app.raw"]).succeeds();
    let requests = stats.lines().find_map(|line| line.strip_prefix("Requests: ")).unwrap();
    let count: u64 = requests.split(',').next().unwrap().parse().unwrap();
    assert!((10..200).contains(&count), "{requests}");
    assert!(requests.contains(", sent: ") && requests.contains(", received: "), "{requests}");
    client.run(&["delete", &format!("{repo}::c")]).silent();
    client.run(&["restore", &repo, "app.raw", "--at", names[1], "-o", "back.raw"]).succeeds();
    assert_eq!(dir.read("back.raw"), image);
    client.run(&["delete", &format!("{repo}::{}", names[1])]).silent();
    client.run(&["check", "--verify-data", &repo]).succeeds();
    client.run(&["check", "--repair", &repo]).succeeds();
    client.run(&["scrub", &repo]).silent();
    assert_eq!(client.run(&["list", "--short", &repo]).succeeds(), "a\n");
}

#[test]
fn what_is_wrong_with_a_location_or_a_store_is_one_line() {
    let dir = Dir::new();
    let client = Client::new(&dir, bucket_server());
    let list = |location: &str| client.run(&["list", location]);
    list("s3://").refused(2, "Invalid location format");
    list("s3:///x").refused(1, "there is no bucket in it: write s3://BUCKET/PREFIX");
    list("s3://b/a//b").refused(1, "the prefix may have letters");
    list("s3://b/x?key=k").refused(1, "\"key=k\" is none of endpoint=URL, region=NAME");
    list("s3://b/x?endpoint=h").refused(1, "\"h\" is no endpoint: write http://HOST[:PORT]");
    list("s3://nobody/x").refused(1, "cannot read s3://nobody/x/config: NoSuchBucket");
    // Nobody listens at a port that was just given back.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    list(&format!("s3://{BUCKET}/x?endpoint=http://{nobody}")).refused(1, "Connection refused");
    let keyless =
        [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_ENDPOINT_URL", client.endpoint.as_str())];
    dir.run_with(&keyless, b"", &["list", "s3://vms/x"]).refused(1, "there is no key to sign with");
}

/// Of two hosts that publish one name at once one is told that it is there, and nothing of the other is lost: on a server
/// that keeps to conditions, and on one that does not.
#[test]
fn of_two_who_publish_one_name_at_once_one_is_told() {
    let dir = Dir::new();
    let fates = [Fate::Answered, Fate::Unconditional];
    for fate in fates {
        let proxy = Proxy::before(bucket_server(), move |_, _| fate);
        let (client, repo) = (Client::new(&dir, proxy.address), repository());
        client.run(&["init", "-e", "none", &repo]).succeeds();
        for round in 0..5u8 {
            let contents = [0, 1].map(|host| noise(10_000, u64::from(round) * 2 + host));
            let running = [0, 1].map(|host| {
                let file = format!("host{host}");
                dir.write(&file, &contents[host]);
                let archive = format!("{repo}::{round}");
                client.command(&["create", &archive, &file]).spawn().unwrap()
            });
            let won = running.map(|mut child| child.wait().unwrap().success());
            assert!(won[0] != won[1], "{fate:?}, round {round}: {won:?}");
            let winner = usize::from(won[1]);
            let archive = format!("{repo}::{round}");
            let file = format!("host{winner}");
            let restored = client.run(&["extract", "--stdout", &archive, &file]);
            assert!(restored.stdout == contents[winner], "{fate:?}, round {round}");
        }
        client.run(&["check", "--verify-data", &repo]).succeeds();
    }
}

/// Killed at any request, with the program that speaks with the store or without it: what was finished is there, nothing is
/// wrong, and nobody waits.
#[test]
fn a_host_that_dies_leaves_a_good_repository() {
    let dir = Dir::new();
    let victim = Arc::new(AtomicU32::new(0));
    let (last, count) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (killed, at, counted) = (Arc::clone(&victim), Arc::clone(&last), Arc::clone(&count));
    let proxy = Proxy::before(bucket_server(), move |_, _| {
        let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
        let pid = killed.load(Ordering::SeqCst);
        if pid > 0 && number == at.load(Ordering::SeqCst) {
            if number % 2 == 0 {
                let _gone = Command::new("pkill").args(["-9", "-P", &pid.to_string()]).status();
            }
            let _gone = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
        Fate::Answered
    });
    let (client, repo) = (Client::new(&dir, proxy.address), repository());
    client.run(&["init", "-e", "none", &repo]).succeeds();
    let seed = std::env::var("GARRET_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut random = Random::new(seed);
    let mut finished = Vec::new();
    for night in 0..12u64 {
        dir.write("app.raw", &noise(600_000, night));
        count.store(0, Ordering::SeqCst);
        last.store(random.below(60) + 1, Ordering::SeqCst);
        let archive = format!("{repo}::{night}");
        let mut child = client.command(&["create", &archive, "app.raw"]).spawn().unwrap();
        victim.store(child.id(), Ordering::SeqCst);
        let status = child.wait().unwrap();
        victim.store(0, Ordering::SeqCst);
        if status.success() {
            finished.push(night);
        }
        if night % 4 == 3 {
            // It says that backups broke off at their end, if they did.
            let pruned = client.run(&["prune", "--keep-within", "1d", &repo]);
            assert_eq!(pruned.code, Some(0), "GARRET_SEED={seed}: {pruned:?}");
        }
    }
    client.run(&["check", "--verify-data", &repo]).succeeds();
    // The others were killed: a night has some fifty requests.
    assert!((1..12).contains(&finished.len()), "GARRET_SEED={seed}: {finished:?}");
    for night in finished {
        let restored = client.run(&["extract", "--stdout", &format!("{repo}::{night}"), "app.raw"]);
        let said = &restored.stderr;
        let is_same = restored.stdout == noise(600_000, night);
        assert!(is_same, "GARRET_SEED={seed}: night {night}: {said}");
    }
}

/// From a directory to a bucket, and from there to another directory: the same archives, opened by the same passphrase.
#[test]
fn a_copy_of_a_copy_restores_the_same() {
    let dir = Dir::new();
    let (client, bucket) = (Client::new(&dir, bucket_server()), repository());
    client.run(&["init", "-e", "passphrase", "repo"]).succeeds();
    let images = [1, 2, 3].map(|seed| noise(500_000, seed));
    for (night, image) in images.iter().enumerate() {
        dir.write("app.raw", image);
        client.run(&["create", &format!("repo::vm1-{night}"), "app.raw"]).silent();
    }
    client.run(&["create", "repo::vm2", "app.raw"]).silent();
    let said = client.run(&["sync", "-v", "--archives", "vm1-*", "repo", &bucket]).succeeds();
    assert_eq!(said, "vm1-0\nvm1-1\nvm1-2\n");
    client.run(&["sync", "repo", &bucket]).silent();
    assert_eq!(client.run(&["sync", "-v", "repo", &bucket]).succeeds(), "");
    // What was deleted there stays so, and what was deleted here stays there.
    client.run(&["delete", &format!("{bucket}::vm1-0")]).silent();
    client.run(&["delete", "repo::vm1-1"]).silent();
    client.run(&["sync", "repo", &bucket]).silent();
    client.run(&["sync", &bucket, "copy"]).silent();
    for repo in [bucket.as_str(), "copy"] {
        assert_eq!(client.run(&["list", "--short", repo]).succeeds(), "vm1-1\nvm1-2\nvm2\n");
        client.run(&["check", "--verify-data", repo]).succeeds();
        client
            .run(&["restore", repo, "app.raw", "--at", "vm1-1", "-o", "back.raw", "--force"])
            .succeeds();
        assert!(dir.read("back.raw") == images[1], "{repo}");
    }
    client.run(&["init", "-e", "none", "other"]).succeeds();
    client
        .run(&["sync", "repo", "other"])
        .refused(1, "other is another repository than repo, not a copy of it");
    client.run(&["sync", "nowhere", "new"]).refused(1, "Repository nowhere does not exist");
    assert!(!dir.path("new").exists());
}
