//! The script of docs/cron.md, and one that was written for attic, run as cron would.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::Dir;

/// The script with the paths of this test in the place of those of a host.
fn script(dir: &Dir) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cron.md");
    let page = fs::read_to_string(page).unwrap();
    let script = page.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let path = |name: &str| dir.path(name).to_str().unwrap().to_owned();
    script
        .replace("/srv/backup/vms", &path("repo"))
        .replace("/var/lib/libvirt/images", &path("images"))
        .replace("/etc/garret/passphrase", &path("passphrase"))
}

fn run(dir: &Dir) -> Output {
    run_script(dir, &script(dir))
}

fn run_script(dir: &Dir, script: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_garret")).parent().unwrap();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script]).current_dir(dir.temp.path()).env_clear();
    shell.env("PATH", format!("{}:/usr/bin:/bin", program.display()));
    shell.env("HOME", dir.path("home")).output().unwrap()
}

#[test]
fn the_nightly_script_is_silent_and_makes_an_archive() {
    let dir = Dir::with_repository();
    fs::create_dir(dir.path("images")).unwrap();
    let image = dir.image("images/vm.img", 1);
    let output = run(&dir);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success() && output.stdout.is_empty());
    let archives = dir.archives("repo");
    assert_eq!(archives.len(), 1, "{archives:?}");
    let archive = format!("repo::{}", archives[0]);
    dir.run(&["extract", "--destination", "to", &archive]).silent();
    let restored = super::files_below(&dir.path("to")).remove(0);
    assert!(fs::read(restored).unwrap() == image);
}

#[test]
fn the_nightly_script_fails_when_a_step_does() {
    let dir = Dir::with_repository();
    let output = run(&dir);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("images: cannot stat"), "{stderr}");
}

/// Nights of one day, of which attic's rules keep the last: here no bad one takes the place of the good one.
#[test]
fn bad_nights_cost_no_good_one() {
    let dir = Dir::with_repository();
    fs::create_dir(dir.path("images")).unwrap();
    dir.image("images/vm.img", 1);
    let stamp = "$(date +%Y-%m-%dT%H:%M:%S)";
    let night = |name: &str| {
        assert!(script(&dir).contains(stamp));
        run_script(&dir, &script(&dir).replace(stamp, name))
    };
    assert!(night("1-good").status.success());
    fs::rename(dir.path("images"), dir.path("gone")).unwrap();
    assert_eq!(night("2-missing").status.code(), Some(1), "no archive is made of nothing");
    fs::create_dir(dir.path("images")).unwrap();
    for number in 3..=11 {
        let output = night(&format!("{number}-empty"));
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains("images: holds no files; is it mounted?\n"), "{stderr}");
    }
    let names = dir.archives("repo");
    assert!(names.len() == 10 && names[0].ends_with("1-good"), "{names:?}");
    fs::remove_dir(dir.path("images")).unwrap();
    fs::rename(dir.path("gone"), dir.path("images")).unwrap();
    assert!(night("12-good").status.success());
    let names = dir.archives("repo");
    assert!(names.len() == 1 && names[0].ends_with("12-good"), "{names:?}");
}

/// What attic's users have in their crontab, but for the name of the program.
const ATTIC: &str = r#"
REPOSITORY=repo
TOOL=garret
$TOOL create --stats                            \
    $REPOSITORY::hostname-`date +%Y-%m-%d`-$N   \
    images                                      \
    www                                         \
    --exclude 'www/*/.cache'                    \
    --exclude www/Justin\ Bieber                \
    --exclude '*.pyc'
# Maintain 7 daily, 4 weekly and 6 monthly archives.
$TOOL prune -v $REPOSITORY --keep-daily 7 --keep-weekly 4 --keep-monthly=6 --prefix hostname-
$TOOL prune -s -d 7 -w 4 -m -1 --keep-within 10d -p hostname- $REPOSITORY
"#;

#[test]
fn a_script_for_attic_runs_unchanged_but_for_the_program_s_name() {
    let dir = Dir::with_repository();
    for name in ["index.html", "user/.cache/x", "Justin Bieber/x.mp3", "x.pyc", "x.py"] {
        dir.write(&format!("www/{name}"), name.as_bytes());
    }
    fs::create_dir(dir.path("images")).unwrap();
    dir.image("images/vm.img", 1);
    dir.run(&["create", "repo::other", "www"]).silent();
    for night in 1..=2 {
        let output = run_script(&dir, &format!("N={night}\n{ATTIC}"));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success());
        let said = String::from_utf8(output.stdout).unwrap();
        for label in ["Archive name: hostname-", "Duration: ", "This archive:", "All archives:"] {
            assert!(said.contains(label), "{said}");
        }
        let kept = said.lines().filter(|line| line.starts_with("Keeping archive: hostname-"));
        assert_eq!(kept.count(), 1, "{said}");
        let pruned = said.lines().filter(|line| line.starts_with("Pruning archive: hostname-"));
        assert_eq!(pruned.count(), night - 1, "{said}");
        assert!(said.contains("\nDeleted data:"), "{said}");
    }
    let archives = dir.archives("repo");
    assert!(archives[0] == "other" && archives[1].ends_with("-2"), "{archives:?}");
    assert_eq!(archives.len(), 2);
    let archive = format!("repo::{}", archives[1]);
    let listed = dir.run(&["list", "--short", &archive]).succeeds();
    assert_eq!(listed, "images\nimages/vm.img\nwww\nwww/index.html\nwww/user\nwww/x.py\n");
}
