//! `garret nightly`: jobs of a file and of the command line, what is printed and when, exit codes, numbers for Prometheus.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use garret_format::config::KeyMode;
use serde_json::Value;

use super::{Dir, PASSPHRASE, Ran, packs, tool};

/// A configuration with these lines in `[defaults]` and behind them.
pub(super) fn configure(dir: &Dir, defaults: &str, rest: &str) {
    let root = dir.temp.path().display().to_string();
    let text = format!("[defaults]\nrepository = \"@/repo\"\n{defaults}\n{rest}\n");
    dir.write("garret.toml", text.replace('@', &root).as_bytes());
}

/// Two images, and a job `vms` for all there are.
pub(super) fn two_images(dir: &Dir) {
    fs::create_dir(dir.path("im")).unwrap();
    dir.image("im/a.raw", 1);
    dir.image("im/b.raw", 2);
}

pub(super) const VMS: &str = "[job.vms]\npaths = \"@/im/*.raw\"";

pub(super) fn night(dir: &Dir, more: &[&str]) -> Ran {
    dir.run(&[&["nightly", "--config", "garret.toml"], more].concat())
}

/// It ended with `code`, printed no result, and said one line for each of `texts`, in this order.
#[track_caller]
pub(super) fn mails(ran: &Ran, code: i32, texts: &[&str]) {
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(ran.code, Some(code), "{}", ran.stderr);
    assert_eq!(lines.len(), texts.len(), "{}", ran.stderr);
    for (line, text) in lines.iter().zip(texts) {
        assert!(line.starts_with("garret: ") && line.contains(text), "{line}\nhas no {text}");
    }
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "");
}

/// Writes a file that nobody else reads.
pub(super) fn private(dir: &Dir, name: &str, text: &str) {
    let path = dir.write(name, text.as_bytes());
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_good_night_is_silent_and_its_images_come_back() {
    let dir = Dir::with_repository();
    two_images(&dir);
    configure(&dir, "keep = { daily = 7 }\nverify = \"1h\"", VMS);
    night(&dir, &[]).silent();
    let names = dir.archives("repo");
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(names[0].contains("-vms-2"), "{names:?}");
    let root = dir.path("im").display().to_string();
    let archive = format!("repo::{}", names[0]);
    dir.run(&["compare", "--base", "/", &archive]).silent();
    dir.run(&["extract", "--destination", "to", &archive, &root]).silent();
    assert!(dir.run(&["info", "repo"]).succeeds().contains("Verified: all "));
}

#[test]
fn on_a_terminal_a_line_says_what_was_done_and_nothing_is_asked() {
    let dir = Dir::new();
    dir.cheap_repository("repo", KeyMode::Passphrase);
    two_images(&dir);
    private(&dir, "right", PASSPHRASE);
    configure(&dir, "passphrase-file = \"@/right\"\nverify = \"1h\"", VMS);
    let (code, seen) = super::attic::on_a_terminal(&dir, "nightly --config garret.toml", "");
    assert_eq!(code, Some(0), "{seen}");
    let line = seen.lines().find(|line| line.contains("vms: ok: ")).expect(&seen);
    for part in [": 8.39 MB in ", " s/GB), read ", ", new ", ", stored in ", "; Verified: all "] {
        assert!(line.contains(part), "{line}");
    }
    configure(&dir, "", VMS);
    let (code, seen) = super::attic::on_a_terminal(&dir, "nightly --config garret.toml", "");
    assert_eq!(code, Some(6), "{seen}");
    assert!(!seen.contains("Enter passphrase") && seen.contains("vms: key: 1 problem"), "{seen}");
}

/// What a job did, for programs; and the rules count from the second archive on.
#[test]
fn a_job_prunes_its_own_archives_and_reports_what_it_did() {
    let dir = Dir::with_repository();
    two_images(&dir);
    for other in ["other-1", "vm-other"] {
        dir.run(&["create", &format!("repo::{other}"), "im"]).silent();
    }
    configure(&dir, "archive = \"{job}-{pid}\"\nkeep = { daily = 1 }", VMS);
    night(&dir, &[]).silent();
    dir.image("im/a.raw", 3);
    let report: Value = serde_json::from_str(&night(&dir, &["--json"]).succeeds()).unwrap();
    let job = &report["jobs"][0];
    assert_eq!(
        (&job["job"], &job["outcome"], &job["code"]),
        (&"vms".into(), &"ok".into(), &0.into())
    );
    assert_eq!((&job["complete"], &job["pruned_archives"]), (&true.into(), &1.into()));
    assert_eq!(job["original_size"], 8 << 20);
    let new = job["new_size"].as_u64().unwrap();
    assert!((1 << 20..2 << 20).contains(&new), "the noise of one image: {new}");
    let mut names = dir.archives("repo");
    names.sort();
    assert_eq!(names[..2], ["other-1", "vm-other"], "{names:?}");
    assert_eq!((names.len(), names[2].as_str()), (3, job["archive"].as_str().unwrap()));
}

#[test]
fn without_a_file_the_command_line_is_the_job() {
    let dir = Dir::new();
    two_images(&dir);
    let line =
        ["nightly", "--repo", "repo", "--init", "none", "-d", "7", "--verify", "1h", "im/*.raw"];
    let made = dir.run(&line);
    made.notes("garret: nightly: note: made the repository repo; it is not encrypted\n");
    let names = dir.archives("repo");
    assert!(names.len() == 1 && names[0].contains("-nightly-"), "{names:?}");
    let listed = dir.run(&["list", "--short", "repo::latest"]).succeeds();
    assert_eq!(listed, "im/a.raw\nim/b.raw\n");
    // Where it was once, an empty place is no reason to make another: the disk may not be mounted.
    fs::rename(dir.path("repo"), dir.path("away")).unwrap();
    for empty in [false, true] {
        if empty {
            fs::create_dir(dir.path("repo")).unwrap();
        }
        let gone = "repo: the repository that was there is gone, and a new one is not made in its place; mount it";
        mails(&dir.run(&line), 1, &[gone]);
    }
    for wrong in [
        &["nightly", "--repo", "repo"][..],
        &["nightly", "--repo", "repo", "--archive", "{now}", "-d", "1", "im"],
        &["nightly", "--repo", "repo", "--archive", "{nwo}", "im"],
        &["nightly", "-d", "3"],
        &["nightly", "--verify", "1h"],
        &["nightly", "--repo", "repo", "--config", "x", "im"],
    ] {
        assert_eq!(dir.run(wrong).code, Some(2), "{wrong:?}");
    }
}

#[test]
fn a_mistake_in_the_file_is_named_by_line_and_key_and_what_was_meant() {
    let dir = Dir::with_repository();
    two_images(&dir);
    for (defaults, rest, text) in [
        ("kep = { daily = 1 }", VMS, "3: unknown key `kep`, did you mean `keep`?"),
        ("keep = { dayly = 1 }", VMS, "3: unknown key `keep.dayly`, did you mean `keep.daily`?"),
        ("keep = { daily = \"7\" }", VMS, "3: `daily`: it is a whole number, without quotes"),
        ("retries = -1", VMS, "3: `retries`: it is a whole number"),
        ("verify = \"30\"", VMS, "3: `verify`: it is a number of seconds, minutes, hours or days"),
        ("window = \"22-6\"", VMS, "3: `window`: it is two times of the day, as in 22:00-06:00"),
        ("init = \"yes\"", VMS, "3: `init`: it is one of none, passphrase, keyfile"),
        ("compression = \"gzip\"", VMS, "3: `compression`: it is one of none, lz4"),
        ("exclude-caches = 1", VMS, "3: `exclude-caches`: it is true or false"),
        ("[hooks]", "", "3: unknown key `hooks`, there are metrics, defaults, job"),
        ("", "", "there is no job: a job is a table, as [job.vms]"),
        ("", "[jobs.vms]", "4: unknown key `jobs`, did you mean `job`?"),
        ("", "[job.vms]", "4: job `vms`: `paths`: there is nothing to back up"),
        ("", "[job.\"a b\"]", "4: \"a b\" cannot be a job's name"),
        ("", "[job.vms]\npaths = \"im\"", "5: `paths`: give whole paths, from / on"),
        ("", "[job.vms]\npaths = [\"/x\", 7]", "5: `paths`: it is a text, in quotes"),
        (
            "",
            "[job.vms]\npaths = \"/x\"\nhooks.befor = \"\"",
            "6: unknown key `hooks.befor`, did you mean `hooks.before`?",
        ),
        (
            "",
            "[job.vms]\npaths = \"/x\"\nhooks.freeze = \"\"",
            "6: job `vms`: `freeze`: it needs `snapshot` and `thaw`",
        ),
        ("archive = \"{nwo}\"", VMS, "4: job `vms`: `archive`: unknown {nwo}"),
        (
            "archive = \"{now}\"\nkeep.daily = 1",
            VMS,
            "5: job `vms`: `archive`: it begins with what changes",
        ),
        (
            "passphrase-file = \"/a\"\npassphrase-command = \"b\"",
            VMS,
            "4: `passphrase-file`: give it or `passphrase-command`",
        ),
        ("verify = ", VMS, "3: "),
        (
            "keep.daily = 1",
            "[job.a]\npaths = \"/x\"\n[job.a-b]\npaths = \"/x\"",
            "`keep` of one would delete those of the other",
        ),
    ] {
        configure(&dir, defaults, rest);
        for check in [&["--check-config"][..], &[]] {
            let ran = night(&dir, check);
            let said = ran.stderr.clone();
            assert!(said.starts_with("garret: Error: garret.toml:"), "{said}");
            ran.refused(2, text);
        }
    }
    configure(&dir, "", VMS);
    let said = night(&dir, &["--check-config"]).succeeds();
    assert_eq!(said, "The configuration is sound; jobs: vms\n");
    night(&dir, &["vns"]).refused(2, "garret.toml: there is no job vns; did you mean vms?");
    let none = dir.run(&["nightly"]);
    none.refused(2, "home/.config/garret/garret.toml is there; write one (docs/nightly.md)");
    assert_eq!(dir.archives("repo"), [""; 0], "nothing was done");
}

#[test]
fn what_others_can_write_is_not_read() {
    let dir = Dir::with_repository();
    two_images(&dir);
    configure(&dir, "hooks.before = \"touch @/ran\"", VMS);
    let config = dir.path("garret.toml");
    let mode = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let refused = || {
        night(&dir, &[]).refused(2, "garret.toml: others can write to it or exchange it");
        assert!(!dir.path("ran").exists());
    };
    for open in [0o620, 0o602] {
        mode(&config, open);
        refused();
    }
    mode(&config, 0o600);
    tool("chown", &["12345", config.to_str().unwrap()]);
    refused();
    tool("chown", &["0", config.to_str().unwrap()]);
    mode(dir.temp.path(), 0o777);
    refused();
    mode(dir.temp.path(), 0o700);
    night(&dir, &[]).silent();
    assert!(dir.path("ran").exists());
}

#[test]
fn one_job_that_fails_keeps_no_other_from_being_done() {
    let dir = Dir::with_repository();
    two_images(&dir);
    let jobs = "[job.first]\npaths = \"@/im/gone.raw\"\n[job.second]\npaths = \"@/im/a.raw\"\n\
                [job.third]\nrepository = \"@/none\"\npaths = \"@/im/a.raw\"";
    configure(&dir, "", jobs);
    let ran = night(&dir, &[]);
    let texts = ["first: ", "first: ", "third: Repository "];
    mails(&ran, 1, &texts);
    assert!(ran.stderr.contains(
        "gone.raw: cannot stat: No such file or directory (os error 2); put it back, or take it out"
    ));
    assert!(ran.stderr.contains("none does not exist; mount it, or make it with garret init\n"));
    let names = dir.archives("repo");
    assert!(names.len() == 1 && names[0].contains("-second-"), "{names:?}");
    night(&dir, &["second"]).code.map(|code| assert_eq!(code, 0)).unwrap();
}

#[test]
fn each_cause_has_its_exit_code_and_one_line_that_says_what_to_do() {
    let dir = Dir::new();
    dir.cheap_repository("repo", KeyMode::Passphrase);
    two_images(&dir);
    private(&dir, "right", PASSPHRASE);
    private(&dir, "wrong", "wrong");
    configure(&dir, "passphrase-file = \"@/wrong\"", VMS);
    let text =
        "repo: wrong passphrase: it opens no key of this repository; correct `passphrase-file`";
    mails(&night(&dir, &[]), 6, &[text]);
    configure(&dir, "", VMS);
    mails(&night(&dir, &[]), 6, &["needs a passphrase and there is no terminal to ask"]);
    configure(&dir, "passphrase-command = \"cat @/wrong; exit 3\"", VMS);
    mails(&night(&dir, &[]), 6, &["passphrase-command failed: exit status 3; correct"]);
    configure(&dir, "passphrase-command = \"cat @/right\"\nlock-wait = \"1s\"", VMS);
    night(&dir, &[]).silent();
    // Somebody has it for himself, and longer than the job waits.
    let config = File::open(dir.path("repo/config")).unwrap();
    config.lock().unwrap();
    let text = "repo: cannot lock ";
    let ran = night(&dir, &[]);
    mails(&ran, 4, &["Failed to acquire write lock on "]);
    assert!(ran.stderr.contains(text) && ran.stderr.contains("; run it again when that has ended"));
    config.unlock().unwrap();
    configure(
        &dir,
        "passphrase-file = \"@/right\"\narchive = \"{job}-{pid}\"",
        "[job.vms]\npaths = [\"@/im/*.raw\", \"@/gone\"]",
    );
    mails(
        &night(&dir, &[]),
        3,
        &["gone: cannot stat: No such file or directory (os error 2); put it back"],
    );
    // What a disk did to a pack is found by the slice of the check.
    configure(
        &dir,
        "passphrase-file = \"@/right\"\nverify = \"1h\"\narchive = \"{job}-{pid}\"",
        VMS,
    );
    let pack = packs(&dir.path("repo")).remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let ran = night(&dir, &[]);
    assert_eq!(ran.code, Some(7), "{}", ran.stderr);
    assert!(ran.stderr.lines().all(|line| line.starts_with("garret: vms: ")), "{}", ran.stderr);
    assert!(ran.stderr.lines().last().unwrap().contains("run garret "), "{}", ran.stderr);
}

#[test]
fn a_job_is_done_once_at_a_time() {
    let dir = Dir::with_repository();
    two_images(&dir);
    // The first waits in its hook until the second has been refused.
    configure(
        &dir,
        "",
        &format!(
            "{VMS}\nhooks.before = \"touch @/begun; while ! test -e @/go; do sleep 0.01; done\""
        ),
    );
    let mut first = dir.command(&["nightly", "--config", "garret.toml"]);
    let mut first = first.spawn().unwrap();
    while !dir.path("begun").exists() {
        assert!(first.try_wait().unwrap().is_none(), "it ended before its hook");
        std::thread::yield_now();
    }
    let text = format!(
        "vms: another garret nightly (process {}) is doing this job; nothing was done",
        first.id()
    );
    let second = night(&dir, &[]);
    dir.write("go", b"");
    mails(&second, 8, &[&text]);
    Ran::of("the first", first.wait_with_output().unwrap()).silent();
    assert_eq!(dir.archives("repo").len(), 1);
    night(&dir, &[]).code.map(|code| assert_eq!(code, 0)).unwrap();
}

#[test]
fn a_closed_window_is_told_of_and_nothing_is_done() {
    let dir = Dir::with_repository();
    two_images(&dir);
    let now = tool("date", &["-u", "+%H"]).parse::<u32>().unwrap();
    let window = |from: u32| {
        format!("window = \"{:02}:00-{:02}:00\"", (now + from) % 24, (now + from + 2) % 24)
    };
    let hook = "hooks = { failed = 'echo \"$GARRET_ERROR\" > @/failed', after = 'touch @/after' }";
    configure(&dir, &window(3), &format!("{VMS}\n{hook}"));
    mails(&night(&dir, &[]), 1, &["is closed; start it earlier, or give the window more"]);
    // Where nobody reads mails the hook is how it is known.
    assert!(String::from_utf8(dir.read("failed")).unwrap().contains("is closed; start it earlier"));
    assert!(!dir.path("after").exists());
    assert_eq!(dir.archives("repo"), [""; 0]);
    configure(&dir, &window(23), VMS);
    night(&dir, &[]).silent();
}

/// A disk that is new or not mounted, a pattern that leaves out too much, links to images that went.
#[test]
fn a_night_without_a_file_is_no_good_night() {
    let dir = Dir::with_repository();
    fs::create_dir_all(dir.path("im/lost+found")).unwrap();
    configure(&dir, "", "[job.vms]\npaths = [\"@/im\"]");
    mails(&night(&dir, &[]), 3, &[" holds no files; see what `paths` names"]);
    std::os::unix::fs::symlink("/nowhere/a.raw", dir.path("im/a.raw")).unwrap();
    let all = "[job.vms]\npaths = [\"@/im\"]\narchive = ";
    configure(&dir, "", &format!("{all}\"links\""));
    mails(&night(&dir, &[]), 3, &["links holds no files; see what `paths`"]);
    dir.image("im/b.raw", 1);
    configure(&dir, "", &format!("{all}\"good\""));
    night(&dir, &[]).silent();
    configure(&dir, "", &format!("{all}\"none\"\nexclude = [\"*\"]"));
    mails(&night(&dir, &[]), 3, &["none holds no files; see what `paths`"]);
}

/// A name that is mistyped, or that is to mean nowhere, does not take a device from the whole machine.
#[test]
fn what_is_no_regular_file_is_not_replaced_by_numbers_or_a_page() {
    let dir = Dir::with_repository();
    two_images(&dir);
    tool("mkfifo", &[dir.path("fifo").to_str().unwrap()]);
    std::os::unix::fs::symlink("/dev/null", dir.path("link")).unwrap();
    fs::create_dir(dir.path("directory")).unwrap();
    for (number, (name, why)) in [
        ("fifo", "it is not a regular file"),
        ("link", "it is a link; name the file itself"),
        ("directory", "it is not a regular file"),
    ]
    .into_iter()
    .enumerate()
    {
        let before = fs::symlink_metadata(dir.path(name)).unwrap().ino();
        configure(&dir, "", &format!("{VMS}\narchive = \"night-{number}\""));
        let ran = night(&dir, &["--metrics", name]);
        mails(&ran, 3, &[&format!("metrics: {name}: cannot be written: {why}")]);
        dir.run(&["report", "--html", name, "repo"]).refused(1, &format!("{name}: {why}"));
        assert_eq!(fs::symlink_metadata(dir.path(name)).unwrap().ino(), before);
    }
}

#[test]
fn the_exporter_may_read_the_numbers_whatever_the_umask_is() {
    let dir = Dir::with_repository();
    two_images(&dir);
    configure(&dir, "", VMS);
    let tool = ["sh", "-c", "umask 077; exec \"$@\"", "sh"];
    dir.run_under(&tool, &["nightly", "--config", "garret.toml", "--metrics", "m.prom"]).silent();
    dir.run_under(&tool, &["report", "--html", "page.html", "repo"]).silent();
    let mode = |name: &str| fs::metadata(dir.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("m.prom"), mode("page.html")), (0o644, 0o600));
}

/// A pack that is gone is damage: the exit code, the numbers and the alert that stands on them say so.
#[test]
fn a_pack_that_is_gone_is_damage() {
    let dir = Dir::with_repository();
    two_images(&dir);
    dir.run(&["create", "repo::before", "im/a.raw"]).silent();
    for pack in packs(&dir.path("repo")) {
        if fs::metadata(&pack).unwrap().len() > 100_000 {
            fs::remove_file(pack).unwrap();
        }
    }
    fs::remove_file(dir.path("im/a.raw")).unwrap();
    configure(&dir, "verify = \"1h\"", VMS);
    let ran = night(&dir, &[]);
    assert_eq!(ran.code, Some(7), "{}", ran.stderr);
    let restored = dir.run(&["restore", "repo::before", "--log-json", "-n"]);
    assert!(restored.stderr.contains("\"cause\":\"damaged\""), "{}", restored.stderr);
}

#[test]
fn what_is_about_a_job_of_the_command_line_is_not_passed_over_with_a_file() {
    let dir = Dir::with_repository();
    configure(&dir, "", VMS);
    for option in [
        &["--verify", "1h"][..],
        &["--exclude", "*.iso"],
        &["--archive", "a"],
        &["--init", "none"],
        &["--lock-wait", "0"],
        &["--compression", "lz4"],
        &["--passphrase-file", "p"],
        &["--compact", "1h"],
        &["--retries", "2"],
        &["--job", "vms"],
    ] {
        let ran = night(&dir, option);
        assert!(
            ran.code == Some(2) && ran.stderr.contains("--repo <REPO>"),
            "{option:?}: {}",
            ran.stderr
        );
    }
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let dir = Dir::with_repository();
    two_images(&dir);
    configure(
        &dir,
        "keep = { daily = 1 }\narchive = \"vms-{pid}\"\ncompact = \"1m\"\nverify = \"5m\"",
        &format!("{VMS}\nhooks.after = \"touch @/ran\""),
    );
    for _ in 0..2 {
        dir.run(&["create", "repo::vms-{pid}", "im/a.raw"]).silent();
    }
    let before = dir.archives("repo");
    let said = night(&dir, &["-n"]).succeeds();
    assert!(said.contains("vms: would make ") && said.contains("hooks: after\n"), "{said}");
    assert!(said.contains("im/a.raw: 4.19 MB\n"), "{said}");
    assert!(said.contains("as it is now, 1 archive would stay\n"), "{said}");
    assert!(said.contains(&format!("would delete {}\n", before[0])), "{said}");
    assert!(said.contains("would compact what is old for 60 s\n"), "{said}");
    assert!(said.contains("would read for 300 s"), "{said}");
    assert_eq!(dir.archives("repo"), before);
    assert!(!dir.path("ran").exists());
    // What is sure to fail is told of, whatever else is to be done.
    configure(&dir, "", "[job.vms]\npaths = [\"@/im/gone.raw\"]");
    let ran = night(&dir, &["-n"]);
    assert!(
        ran.code == Some(3)
            && String::from_utf8_lossy(&ran.stdout).contains("gone.raw: cannot be read: "),
        "{}",
        ran.stderr
    );
    fs::rename(dir.path("repo"), dir.path("away")).unwrap();
    configure(&dir, "", VMS);
    let ran = night(&dir, &["-n"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("repo does not exist"), "{}", ran.stderr);
}

#[test]
fn events_say_which_job_they_are_about() {
    let dir = Dir::with_repository();
    two_images(&dir);
    configure(&dir, "", "[job.first]\npaths = \"@/im/gone\"\n[job.second]\npaths = \"@/im/a.raw\"");
    let ran = night(&dir, &["--log-json"]);
    let events = super::json::events(&ran);
    let of = |name: &str| events.iter().filter(|event| event["type"] == name).collect::<Vec<_>>();
    let begun: Vec<&str> =
        of("job_begin").iter().map(|event| event["job"].as_str().unwrap()).collect();
    assert_eq!(begun, ["first", "second"]);
    let ended: Vec<&str> =
        of("job_end").iter().map(|event| event["outcome"].as_str().unwrap()).collect();
    assert_eq!(ended, ["failed", "ok"]);
    assert!(!of("task_end").is_empty());
}

/// The parser of the Prometheus project for Python, which `tests/run` brings.
fn parse_metrics(path: &std::path::Path) -> Vec<(String, f64)> {
    let script = "import sys
from prometheus_client.parser import text_string_to_metric_families as read
for family in read(open(sys.argv[1]).read()):
    assert family.documentation and family.type == 'gauge'
    for sample in family.samples:
        print(sample.labels['job'] + ' ' + sample.name, sample.value)
";
    let output = Command::new("python3").args(["-c", script]).arg(path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "this test needs prometheus_client of PyPI: {said}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

#[test]
fn the_numbers_for_prometheus_are_those_of_the_night_and_its_parser_reads_them() {
    let dir = Dir::with_repository();
    two_images(&dir);
    let metrics = "metrics = \"@/garret.prom\"\n";
    let jobs =
        "[job.vms]\npaths = \"@/im/*.raw\"\nverify = \"1h\"\n[job.\"o.k\"]\npaths = \"@/im/a.raw\"";
    configure(&dir, "", jobs);
    let text = fs::read_to_string(dir.path("garret.toml")).unwrap();
    let root = dir.temp.path().display().to_string();
    dir.write("garret.toml", format!("{}{text}", metrics.replace('@', &root)).as_bytes());
    let report: Value = serde_json::from_str(&night(&dir, &["--json", "vms"]).succeeds()).unwrap();
    let job = &report["jobs"][0];
    let numbers = parse_metrics(&dir.path("garret.prom"));
    let of = |name: &str| {
        let found = numbers.iter().find(|(known, _)| known == &format!("vms garret_{name}"));
        found.unwrap_or_else(|| panic!("no {name}: {numbers:?}")).1
    };
    assert!(numbers.iter().all(|(name, _)| name.starts_with("vms ")), "o.k was not done yet");
    for (name, field) in [
        ("job_original_bytes", "original_size"),
        ("job_read_bytes", "read"),
        ("job_new_bytes", "new_size"),
        ("job_stored_bytes", "stored_size"),
        ("job_seconds_per_gigabyte", "seconds_per_gb"),
        ("repository_archives", "repository_archives"),
        ("repository_size_bytes", "repository_size"),
        ("job_exit_code", "code"),
    ] {
        assert_eq!(of(name), job[field].as_f64().unwrap(), "{name}");
    }
    let success = of("job_last_success_timestamp_seconds");
    for name in ["last_run", "last_complete", "last_verified"] {
        let time = of(&format!("job_{name}_timestamp_seconds"));
        assert!((success - time).abs() < 60.0, "{name}");
    }
    assert!(of("repository_verified_since_timestamp_seconds") <= success);
    let mode = fs::metadata(dir.path("garret.prom")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "the exporter is another user");
    // A bad night changes what is of this night, and leaves when the last good one was.
    fs::rename(dir.path("im"), dir.path("away")).unwrap();
    assert_eq!(night(&dir, &["vms"]).code, Some(1));
    let numbers = parse_metrics(&dir.path("garret.prom"));
    let of = |name: &str| numbers.iter().find(|(known, _)| known.ends_with(name)).unwrap().1;
    assert_eq!(of("last_success_timestamp_seconds"), success);
    assert_eq!((of("exit_code"), of("original_bytes")), (1.0, 0.0));
    assert!(of("job_problems") >= 1.0);
    // Nowhere to write them is no reason to lose a night.
    fs::rename(dir.path("away"), dir.path("im")).unwrap();
    let line = ["--metrics", "none/garret.prom", "vms"];
    mails(
        &night(&dir, &line),
        3,
        &[
            "metrics: none/garret.prom: cannot be written: there is no directory none; make it first",
        ],
    );
}
