//! The hooks of `garret nightly`: their order, what they know, what becomes of a guest that stands still.

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

use super::nightly::{VMS, configure, mails, night, two_images};
use super::{Dir, Ran};

const ALL: [&str; 8] =
    ["before", "freeze", "snapshot", "thaw", "cleanup", "after", "failed", "finally"];

/// Hooks that write their names into `log`, but for those that are given.
fn hooks(others: &[(&str, &str)]) -> String {
    let line = |name: &str| {
        let other = others.iter().find(|(known, _)| *known == name).map(|(_, line)| *line);
        let line = other.unwrap_or("");
        format!("{name} = '''echo {name} >> @/log\n{line}'''\n")
    };
    let timeout = others.iter().find(|(name, _)| *name == "timeout");
    let timeout = timeout.map_or(String::new(), |(_, time)| format!("timeout = \"{time}\"\n"));
    format!("{VMS}\n[job.vms.hooks]\n{timeout}{}", ALL.map(line).concat())
}

fn log(dir: &Dir) -> Vec<String> {
    let text = fs::read_to_string(dir.path("log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn hooks_come_in_their_order_and_what_the_snapshot_made_is_read() {
    let dir = Dir::with_repository();
    two_images(&dir);
    fs::create_dir(dir.path("snap")).unwrap();
    let rest = hooks(&[
        ("snapshot", "cp @/im/a.raw @/snap/a.raw"),
        ("cleanup", "rm @/snap/a.raw"),
        ("after", "echo \"$GARRET_JOB $GARRET_REPO $GARRET_ARCHIVE:$GARRET_ERROR\" >> @/log"),
        ("finally", "umask >> @/log"),
    ]);
    configure(&dir, "", &rest.replace("@/im/*.raw", "@/snap/*.raw"));
    night(&dir, &[]).silent();
    let archive = dir.archives("repo").remove(0);
    let root = dir.temp.path().display();
    let told = format!("vms {root}/repo {archive}:");
    let order = ["before", "freeze", "snapshot", "thaw", "cleanup", "after", &told, "finally"];
    let said = log(&dir);
    assert_eq!(said[..8], order, "{said:?}");
    assert_ne!(said[8], "0000", "hooks have the umask of the user");
    let listed = dir.run(&["list", "--short", "repo::latest"]).succeeds();
    assert!(listed.ends_with("/snap/a.raw\n") && !listed.contains("b.raw"), "{listed}");
    assert!(!dir.path("snap/a.raw").exists());
}

#[test]
fn a_hook_that_fails_says_so_and_the_guest_goes_on() {
    // Which one fails, what is run, whether there is an archive, the exit code.
    for (broken, ran, is_made, code) in [
        ("before", &["before", "failed", "finally"][..], false, 1),
        ("freeze", &["before", "freeze", "thaw", "failed", "finally"], false, 1),
        (
            "snapshot",
            &["before", "freeze", "snapshot", "thaw", "cleanup", "failed", "finally"],
            false,
            1,
        ),
        (
            "thaw",
            &["before", "freeze", "snapshot", "thaw", "cleanup", "failed", "finally"],
            true,
            1,
        ),
        (
            "cleanup",
            &["before", "freeze", "snapshot", "thaw", "cleanup", "failed", "finally"],
            true,
            3,
        ),
        (
            "after",
            &["before", "freeze", "snapshot", "thaw", "cleanup", "after", "finally"],
            true,
            3,
        ),
    ] {
        let dir = Dir::with_repository();
        two_images(&dir);
        configure(&dir, "", &hooks(&[(broken, "echo oh no >&2; exit 3")]));
        let said =
            [format!("vms: {broken} hook: oh no"), format!("vms: {broken} hook: exit status 3; ")];
        mails(&night(&dir, &[]), code, &[&said[0], &said[1]]);
        assert_eq!(log(&dir), ran, "{broken}");
        assert_eq!(dir.archives("repo").len(), usize::from(is_made), "{broken}");
    }
}

#[test]
fn failed_hears_what_went_wrong_and_secrets_stay_here() {
    let dir = Dir::with_repository();
    two_images(&dir);
    let rest = hooks(&[(
        "failed",
        "echo \"$GARRET_ERROR|$GARRET_ARCHIVE|$GARRET_PASSPHRASE$ATTIC_PASSPHRASE\" >> @/log",
    )]);
    configure(&dir, "", &rest.replace("@/im/*.raw", "@/im/gone.raw"));
    let secrets = [
        ("GARRET_PASSPHRASE", "hidden"),
        ("ATTIC_PASSPHRASE", "hidden"),
        ("GARRET_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes"),
    ];
    let ran = dir.run_with(&secrets, b"", &["nightly", "--config", "garret.toml"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let log = log(&dir).join("\n");
    assert!(log.contains("gone.raw: cannot stat: No such file or directory"), "{log}");
    assert!(log.contains("||\n") && !log.contains("hidden"), "{log}");
}

#[test]
fn a_hook_that_hangs_is_ended_and_the_guest_goes_on_at_once() {
    let dir = Dir::with_repository();
    two_images(&dir);
    for broken in ["before", "snapshot"] {
        let _none = fs::remove_file(dir.path("log"));
        configure(&dir, "", &hooks(&[(broken, "exec sleep 600"), ("timeout", "5s")]));
        let text = format!("vms: {broken} hook: not done within ");
        mails(&night(&dir, &[]), 1, &[&text]);
        assert_eq!(log(&dir).contains(&"thaw".to_owned()), broken == "snapshot");
        assert_eq!(log(&dir).last().unwrap(), "finally");
    }
    assert_eq!(dir.archives("repo"), [""; 0]);
}

/// Runs a night, ends it when `at` is there, and gives how it ended and what it said.
fn ended_at(dir: &Dir, at: &str, signal: &str) -> (ExitStatus, String) {
    let mut child: Child = dir.command(&["nightly", "--config", "garret.toml"]).spawn().unwrap();
    while !dir.path(at).exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before {at} was there");
        std::thread::yield_now();
    }
    super::tool("kill", &["-s", signal, &child.id().to_string()]);
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (status, said)
}

#[test]
fn a_signal_lets_the_guest_go_on_and_the_snapshot_go() {
    let here = "touch @/here; sleep 600";
    for (at, signal, code, ran) in [
        ("before", "INT", 130, &["before", "failed", "finally"][..]),
        ("freeze", "TERM", 143, &["before", "freeze", "thaw", "failed", "finally"]),
        (
            "snapshot",
            "HUP",
            129,
            &["before", "freeze", "snapshot", "thaw", "cleanup", "failed", "finally"],
        ),
        (
            "after",
            "INT",
            130,
            &["before", "freeze", "snapshot", "thaw", "cleanup", "after", "finally"],
        ),
        (
            "cleanup",
            "TERM",
            143,
            &[
                "before", "freeze", "snapshot", "thaw", "cleanup", "done", "failed", "made",
                "finally",
            ],
        ),
    ] {
        let dir = Dir::with_repository();
        two_images(&dir);
        // That one is waited for.
        let line = if at == "cleanup" { "touch @/here; sleep 1; echo done >> @/log" } else { here };
        let failed = "if test -n \"$GARRET_ARCHIVE\"; then echo made >> @/log; fi";
        configure(&dir, "", &hooks(&[(at, line), ("failed", failed)]));
        let (status, said) = ended_at(&dir, "here", signal);
        assert_eq!((status.code(), status.signal()), (Some(code), None), "{at}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("garret: vms: ended by signal "), "{said}");
        assert_eq!(log(&dir), ran, "{at}");
        // The next night has no trouble with it.
        configure(&dir, "", VMS);
        let ran: Ran = night(&dir, &[]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }
}

/// On a disk that is full, or without a directory for it.
#[test]
fn hooks_are_run_also_where_what_they_say_can_be_put_nowhere() {
    let dir = Dir::with_repository();
    two_images(&dir);
    configure(&dir, "", &hooks(&[("cleanup", "echo oh no; exit 3")]));
    let run = ["nightly", "--config", "garret.toml"];
    let environment =
        [("TMPDIR", "/nowhere"), ("GARRET_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")];
    let ran = dir.run_with(&environment, b"", &run);
    let texts = [
        "cleanup hook: what it said is lost: /nowhere: No such file",
        "cleanup hook: exit status 3",
    ];
    mails(&ran, 3, &texts);
    let order = ["before", "freeze", "snapshot", "thaw", "cleanup", "failed", "finally"];
    assert_eq!(log(&dir), order);
}

/// What kills the program outright does not keep the guest from going on.
#[test]
fn a_guest_goes_on_though_the_program_is_killed() {
    let dir = Dir::with_repository();
    two_images(&dir);
    let rest = hooks(&[("snapshot", "touch @/here; sleep 2"), ("thaw", "echo done >> @/log")]);
    configure(&dir, "", &rest);
    let (status, said) = ended_at(&dir, "here", "KILL");
    // What it said is over when nothing of it is left.
    assert_eq!((status.signal(), said.as_str()), (Some(9), ""));
    assert_eq!(log(&dir), ["before", "freeze", "snapshot", "thaw", "done"]);
}

/// While a backup is under way one thread does it, and can do nothing else; the others are as they were, for hooks.
#[test]
fn a_signal_while_a_backup_is_under_way_makes_no_archive_and_cleans_up() {
    let dir = Dir::with_repository();
    two_images(&dir);
    configure(&dir, "", &hooks(&[("thaw", "touch @/here"), ("finally", "umask >> @/log")]));
    // It waits for its turn, without a word.
    let config = File::open(dir.path("repo/config")).unwrap();
    config.lock().unwrap();
    let mut child: Child = dir.command(&["nightly", "--config", "garret.toml"]).spawn().unwrap();
    let seccomp = || {
        let threads = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
        let status = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("status"));
        let texts = threads.filter_map(|thread| status(thread.unwrap()).ok());
        let is_confined = |text: String| text.contains("\nSeccomp:\t2\n");
        texts.map(is_confined).collect::<Vec<bool>>()
    };
    let mut now = seccomp();
    while !now.contains(&true) {
        now = seccomp();
    }
    assert_eq!(now, [false, true]);
    super::tool("kill", &["-s", "TERM", &child.id().to_string()]);
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(143), "{said}");
    let expected =
        "garret: vms: ended by signal 15; what was stored so far is used by the next run\n";
    assert_eq!(said, expected);
    let order = ["before", "freeze", "snapshot", "thaw", "cleanup", "failed", "finally"];
    let log = log(&dir);
    assert_eq!(log[..7], order);
    assert_eq!(log[7..], [super::tool("sh", &["-c", "umask"])], "that of who ran it");
    config.unlock().unwrap();
    assert_eq!(dir.archives("repo"), [""; 0]);
    configure(&dir, "", VMS);
    night(&dir, &[]).silent();
}

#[test]
fn what_may_pass_is_tried_again_and_a_good_end_is_silent() {
    let dir = Dir::with_repository();
    two_images(&dir);
    fs::rename(dir.path("repo"), dir.path("away")).unwrap();
    // The disk of the repository comes while the job waits: when its lock is looked at for the second time.
    let back = "(while ! test -e @/state/nightly; do sleep 0.01; done; sleep 0.2; mv @/away @/repo) > /dev/null 2>&1 &";
    configure(&dir, "retries = 60\nretry-after = \"1s\"", &hooks(&[("thaw", back)]));
    night(&dir, &[]).silent();
    assert_eq!(dir.archives("repo").len(), 1);
    fs::rename(dir.path("repo"), dir.path("away")).unwrap();
    configure(&dir, "retries = 1\nretry-after = \"1s\"", VMS);
    mails(&night(&dir, &[]), 1, &["repo does not exist; mount it, or make it with garret init"]);
}

/// The host is asked, and answers that there is none; it is asked again when its disk is back.
#[test]
fn a_repository_that_is_gone_for_a_while_is_waited_for_and_not_made() {
    let dir = Dir::with_repository();
    two_images(&dir);
    let at = dir.temp.path().display();
    let script = format!(
        "#!/bin/bash\n[ -e {at}/asked ] && mv -T {at}/away {at}/repo 2> {at}/said\ntouch {at}/asked\nshift\neval \"$@\"\n"
    );
    let rsh = dir.write("rsh", script.as_bytes());
    fs::set_permissions(&rsh, Permissions::from_mode(0o755)).unwrap();
    let config = format!(
        "[job.vms]\nrepository = \"h:{at}/repo\"\npaths = [\"{at}/im\"]\narchive = \"{{job}}-{{pid}}\"\n\
         init = \"none\"\nretries = 1\nretry-after = \"1s\"\n"
    );
    dir.write("garret.toml", config.as_bytes());
    let environment = [
        ("GARRET_RSH", rsh.to_str().unwrap()),
        ("GARRET_REMOTE_PATH", env!("CARGO_BIN_EXE_garret")),
    ];
    let night = || dir.run_with(&environment, b"", &["nightly", "--config", "garret.toml"]);
    night().silent();
    fs::remove_file(dir.path("asked")).unwrap();
    fs::rename(dir.path("repo"), dir.path("away")).unwrap();
    night().silent();
    assert_eq!(dir.archives("repo").len(), 2);
}

/// As where the disk that is written on for it is full, or may only be read.
#[test]
fn a_job_that_cannot_begin_is_told_of_by_its_hook() {
    let dir = Dir::with_repository();
    two_images(&dir);
    configure(&dir, "", &hooks(&[("failed", "echo \"$GARRET_ERROR\" >> @/log")]));
    dir.write("state/nightly", b"a file where the directory should be");
    mails(&night(&dir, &[]), 1, &["cannot be locked"]);
    let log = log(&dir);
    assert_eq!((log.len(), log[0].as_str()), (2, "failed"), "{log:?}");
    assert!(log[1].contains("cannot be locked"), "{log:?}");
    assert_eq!(dir.archives("repo"), [""; 0]);
}
