//! What docs/cron.md says word for word, and a script that was written for attic, run as cron would.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::Dir;

/// What the page has between fences of that kind, with the paths of this test in the place of those of a host.
fn blocks(dir: &Dir, kind: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cron.md");
    let page = fs::read_to_string(page).unwrap();
    let config = dir.path("etc/garret.toml").to_str().unwrap().to_owned();
    let replaced = |text: &str| {
        let path = |name: &str| dir.path(name).to_str().unwrap().to_owned();
        text.replace("/srv/backup/vms", &path("repo"))
            .replace("/var/lib/libvirt/images", &path("images"))
            .replace("/etc/garret", &path("etc"))
            .replace("garret nightly", &format!("garret nightly --config {config}"))
    };
    let fence = format!("```{kind}\n");
    page.split(&fence).skip(1).map(|rest| replaced(rest.split("```").next().unwrap())).collect()
}

/// What cron runs.
fn line(dir: &Dir) -> String {
    let crontab = blocks(dir, "crontab").remove(0);
    let line = crontab.lines().find(|line| line.contains(" root ")).unwrap();
    line.split(" root ").nth(1).unwrap().trim().to_owned()
}

fn run_script(dir: &Dir, script: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_garret")).parent().unwrap();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script]).current_dir(dir.temp.path()).env_clear();
    shell.env("PATH", format!("{}:/usr/bin:/bin", program.display()));
    shell.env("HOME", dir.path("home")).output().unwrap()
}

/// The file of the page. Another night has another name, also if it is the same second.
fn config(dir: &Dir) -> String {
    blocks(dir, "toml").remove(0) + "archive = \"{hostname}-{job}-{pid}\"\n"
}

/// A host with an image.
fn host() -> Dir {
    let dir = Dir::new();
    fs::create_dir(dir.path("images")).unwrap();
    dir.image("images/vm.img", 1);
    dir
}

/// Step four, in the environment of cron.
fn night(dir: &Dir) -> Output {
    run_script(dir, &line(dir))
}

/// The archives that there are, by the last line of the third step.
fn archives(dir: &Dir) -> Vec<String> {
    let list = blocks(dir, "sh")[1].lines().last().unwrap().replace("list", "list --short");
    let listed = run_script(dir, &list);
    String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_host_on_which_the_page_was_followed_has_silent_nights_and_its_images_come_back() {
    let dir = host();
    let steps = blocks(&dir, "sh");
    assert_eq!(String::from_utf8_lossy(&run_script(&dir, &steps[0]).stderr), "");
    dir.write("etc/garret.toml", config(&dir).as_bytes());
    let done = run_script(&dir, &format!("set -e\n{}", steps[1]));
    let [out, err] = [done.stdout, done.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(done.status.success(), "{err}");
    let made = format!("garret: vms: note: made the repository {}; ", dir.path("repo").display());
    assert!(err.starts_with(&made) && err.lines().count() == 1, "{err}");
    assert!(out.starts_with("The configuration is sound; jobs: vms\nvms: would make "), "{out}");
    assert!(out.lines().last().unwrap().contains("-vms-"), "{out}");
    let image = dir.image("images/vm.img", 2);
    let output = night(&dir);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success() && output.stdout.is_empty());
    let archives = archives(&dir);
    assert_eq!(archives.len(), 1, "one of a day: {archives:?}");
    let passphrase = dir.path("etc/passphrase").display().to_string();
    let archive = format!("repo::{}", archives[0]);
    let extract = ["extract", "--destination", "to", "--passphrase-file", &passphrase, &archive];
    dir.run(&extract).silent();
    let restored = super::files_below(&dir.path("to")).remove(0);
    assert!(fs::read(restored).unwrap() == image);
}

/// Nights of one day, of which the rules keep the last: no bad one takes the place of the good one. Without encryption,
/// for each night costs what guessing a passphrase costs.
#[test]
fn bad_nights_cost_no_good_one_and_each_is_a_mail() {
    let dir = host();
    let plain = config(&dir).replace("init = \"passphrase\"\n", "");
    let plain = plain.replace("passphrase-file", "# passphrase-file");
    dir.write("etc/garret.toml", plain.as_bytes());
    dir.run(&["init", "repo"]).succeeds();
    assert!(night(&dir).status.success());
    let archives = || dir.archives("repo");
    let good = archives();
    fs::rename(dir.path("images"), dir.path("gone")).unwrap();
    let output = night(&dir);
    assert_eq!(output.status.code(), Some(1), "no archive is made of nothing");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        stderr.starts_with("garret: vms: ") && stderr.contains("images: cannot stat"),
        "{stderr}"
    );
    fs::create_dir(dir.path("images")).unwrap();
    for number in 1..=8 {
        let output = night(&dir);
        assert_eq!(output.status.code(), Some(3));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains("images: holds no files; is it mounted?"), "{stderr}");
        assert_eq!(archives().len(), 1 + number);
    }
    assert_eq!(archives()[0], good[0]);
    fs::remove_dir(dir.path("images")).unwrap();
    fs::rename(dir.path("gone"), dir.path("images")).unwrap();
    assert!(night(&dir).status.success());
    assert!(archives().len() == 1 && archives() != good, "{:?}", archives());
}

/// The examples of docs/nightly.md, docs/recipes.md and of the second part of the page are sound.
#[test]
fn every_configuration_in_the_documents_is_read() {
    let dir = Dir::new();
    for page in ["cron.md", "nightly.md", "recipes.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
        let text = fs::read_to_string(path).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let config = block.split("```").next().unwrap();
            // A piece of a file is read with what it stands behind.
            let config = match config.contains("repository") {
                true => config.to_owned(),
                false => format!("[defaults]\nrepository = \"/srv/backup/vms\"\n{config}"),
            };
            dir.write("garret.toml", config.as_bytes());
            let said =
                dir.run(&["nightly", "--check-config", "--config", "garret.toml"]).succeeds();
            assert!(said.starts_with("The configuration is sound; jobs: "), "{said}");
        }
    }
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
