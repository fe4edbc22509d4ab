//! Nights in which something goes wrong: what archives say of it, and that prune never drops a good one for a bad one.

use std::fs;
use std::path::PathBuf;

use garret_testkit::{Image, both_files};
use serde_json::Value;

use super::{CLOSING, Dir, Ran, packs};

/// Three nights of two images: all is well, an image is missing, the directory is not mounted.
fn three_nights() -> Dir {
    let dir = Dir::with_repository();
    fs::create_dir(dir.path("im")).unwrap();
    dir.image("im/a.raw", 1);
    dir.image("im/b.raw", 2);
    dir.run(&["create", "repo::vm-1", "im"]).silent();
    fs::rename(dir.path("im/b.raw"), dir.path("away")).unwrap();
    dir.run(&["create", "repo::vm-2", "im/a.raw", "im/b.raw"]).reports("im/b.raw: cannot stat");
    fs::rename(dir.path("im"), dir.path("im.gone")).unwrap();
    fs::create_dir(dir.path("im")).unwrap();
    dir.run(&["create", "repo::vm-3", "im"]).reports("im: holds no files; is it mounted?");
    dir
}

fn json(dir: &Dir, arguments: &[&str]) -> Value {
    serde_json::from_str(&dir.run(arguments).succeeds()).unwrap()
}

#[test]
fn archives_say_what_they_lack() {
    let dir = three_nights();
    let listed = dir.run(&["list", "repo"]).succeeds();
    let ends = ["2026", "(1 problem)", "(1 problem)"];
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 3, "{listed}");
    assert!(!lines[0].ends_with(')'), "{listed}");
    assert!(lines[1..].iter().zip(&ends[1..]).all(|(line, end)| line.ends_with(end)), "{listed}");
    let document = json(&dir, &["list", "--json", "repo"]);
    let archives = document["archives"].as_array().unwrap();
    let said: Vec<(bool, u64)> = archives
        .iter()
        .map(|one| (one["complete"].as_bool().unwrap(), one["problems"].as_u64().unwrap()))
        .collect();
    assert_eq!(said, [(true, 0), (false, 1), (false, 1)]);
    let missing = "im/b.raw: cannot stat: No such file or directory (os error 2)";
    assert_eq!(archives[1]["problem_texts"], serde_json::json!([missing]));
    let format = "{name} {complete} {problems} {problem_texts}{NL}";
    let laid_out = dir.run(&["list", "--format", format, "repo"]).succeeds();
    let expected = format!(
        "vm-1 true 0 \nvm-2 false 1 {missing}\nvm-3 false 1 im: holds no files; is it mounted?\n"
    );
    assert_eq!(laid_out, expected);
    let info = dir.run(&["info", "repo::vm-2"]).succeeds();
    assert!(info.contains(&format!("\nProblems while it was made: 1\n    {missing}\n")), "{info}");
    let info = dir.run(&["info", "repo::vm-1"]).succeeds();
    assert!(!info.contains("roblem"), "{info}");
}

#[test]
fn an_archive_without_files_is_marked_and_a_warning_is_no_problem() {
    let dir = Dir::with_repository();
    fs::create_dir_all(dir.path("only/directories")).unwrap();
    fs::create_dir(dir.path("links")).unwrap();
    std::os::unix::fs::symlink("/nowhere", dir.path("links/a")).unwrap();
    dir.run(&["create", "repo::none", "links"]).silent();
    assert!(dir.run(&["list", "repo"]).succeeds().ends_with(" (no files)\n"));
    let info = dir.run(&["info", "repo::none"]).succeeds();
    assert!(info.contains("Problems while it was made: 0\n    it holds no files\n"), "{info}");
    for name in ["a", "b"] {
        dir.write(&format!("only/{name}"), b"x");
    }
    // All that is in it is excluded, or it is named by itself.
    let create = ["create", "repo::excluded", "--exclude", "only/*", "only"];
    dir.run(&create).reports("only: holds no files; is it mounted?");
    fs::create_dir(dir.path("empty")).unwrap();
    let ran = dir.run(&["create", "repo::some", "empty", "only", "empty/"]);
    assert_eq!(ran.code, Some(1));
    let said: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(said[2..], [CLOSING], "{said:?}");
    let mut command = dir.command(&["create", "../repo::here", "."]);
    let output = command.current_dir(dir.path("empty")).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.starts_with("garret: .: holds no files; is it mounted?\n"), "{stderr}");
    let names = dir.run(&["list", "--short", "repo"]).succeeds();
    assert_eq!(names, "none\nexcluded\nsome\n", "of a directory without a name nothing is left");
}

#[test]
fn a_bad_night_never_costs_a_good_one() {
    let dir = three_nights();
    let said = dir.run(&["prune", "--list", "-p", "vm-", "-d", "7", "repo"]).succeeds();
    let why: Vec<&str> = said.lines().map(|line| line.rsplit_once(" (").unwrap().1).collect();
    assert_eq!(why, ["no complete one since)", "no complete one since)", "daily #1)"], "{said}");
    // Not one rule keeps anything: what is kept then is the good one, and what came after it.
    let within = ["prune", "--keep-within", "0H", "repo"];
    let ran = dir.run(&within);
    assert_eq!(ran.code, Some(0));
    assert_eq!(
        ran.stderr,
        "garret: note: vm-1 is kept by no rule, but as the newest complete archive; --force deletes it\n"
    );
    assert_eq!(dir.archives("repo"), ["vm-1", "vm-2", "vm-3"]);
    // The next good night lets the bad ones go.
    fs::remove_dir(dir.path("im")).unwrap();
    fs::rename(dir.path("im.gone"), dir.path("im")).unwrap();
    dir.run(&["create", "repo::vm-4", "im"]).silent();
    dir.run(&["prune", "-d", "7", "repo"]).silent();
    assert_eq!(dir.archives("repo"), ["vm-4"]);
    dir.run(&["prune", "--keep-within", "0H", "--force", "repo"]).silent();
    assert_eq!(dir.archives("repo"), [""; 0]);
}

#[test]
fn a_dry_run_shows_the_plan_and_the_space_and_is_right() {
    let dir = three_nights();
    fs::write(dir.path("im/c.raw"), vec![7; 1 << 20]).unwrap();
    dir.run(&["create", "repo::vm-4", "im"]).silent();
    let before = super::files_below(&dir.path("repo"));
    let said = dir.run(&["prune", "-n", "-d", "1", "repo"]).succeeds();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 5, "{said}");
    assert!(lines[0].starts_with("Keeping archive: vm-4 ") && lines[0].ends_with(" (daily #1)"));
    for (line, name) in lines[1..4].iter().zip(["vm-3", "vm-2", "vm-1"]) {
        assert!(line.starts_with(&format!("Would prune:     {name} ")), "{said}");
    }
    assert_eq!(super::files_below(&dir.path("repo")), before, "nothing was changed");
    let foretold = lines[4].strip_prefix("Would free:      about ").unwrap();
    let stored = |dir: &Dir| {
        json(dir, &["info", "--json", "repo"])["repository"]["stored_size"].as_f64().unwrap()
    };
    let full = stored(&dir);
    dir.run(&["prune", "-d", "1", "repo"]).silent();
    let freed = (full - stored(&dir)) / 1e6;
    let megabytes: f64 = foretold.split(' ').next().unwrap().parse().unwrap();
    assert!(foretold.contains(" MB in ") && (megabytes - freed).abs() < 0.2, "{foretold}: {freed}");
}

#[test]
fn a_damaged_archive_is_reported_and_kept_and_what_was_deleted_is_said() {
    let dir = three_nights();
    let path = dir.path("repo/backups/vm-2");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    for path in both_files(&dir.path("repo"), "backups/vm-2") {
        fs::write(path, &bytes).unwrap();
    }
    fs::remove_dir(dir.path("im")).unwrap();
    fs::rename(dir.path("im.gone"), dir.path("im")).unwrap();
    dir.run(&["create", "repo::vm-4", "im"]).silent();
    let ran = dir.run(&["prune", "-n", "-d", "1", "repo"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(String::from_utf8_lossy(&ran.stdout).contains("Would prune:     vm-1 "));
    let ran = dir.run(&["prune", "-d", "1", "repo"]);
    assert_eq!(ran.code, Some(1));
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ran.stderr);
    assert!(lines[0].contains("backups/vm-2 is damaged"), "{}", ran.stderr);
    let begin = "garret: Error: Deleted archives vm-3, vm-1; their space is not freed: ";
    assert!(lines[1].starts_with(begin), "{}", ran.stderr);
    assert!(path.exists());
    let names = dir.run(&["list", "--short", "repo"]).stdout;
    assert_eq!(String::from_utf8_lossy(&names), "vm-4\n");
    // One archive, and then the damaged one, which ends the trouble.
    dir.run(&["create", "repo::vm-5", "im"]).silent();
    let gone = "Deleted archive vm-4; its space is not freed: ";
    dir.run(&["delete", "repo::vm-4"]).refused(1, gone);
    dir.run(&["delete", "repo::vm-2"]).silent();
}

#[test]
fn a_pack_that_is_gone_is_one_line_of_prune() {
    let dir = Dir::with_repository();
    fs::create_dir(dir.path("im")).unwrap();
    let text = Image::noise(1, 4 << 20).bytes;
    dir.write("im/a.raw", &text);
    dir.write("im/b.raw", &text[1 << 20..]);
    for archive in ["repo::vm-1", "repo::vm-2"] {
        dir.run(&["create", archive, "im"]).silent();
    }
    let len = |path: &PathBuf| fs::metadata(path).unwrap().len();
    fs::remove_file(packs(&dir.path("repo")).into_iter().max_by_key(len).unwrap()).unwrap();
    let line = "backups/vm-1: im/a.raw needs that chunk and no pack holds it; run `garret check`";
    let said_once = |ran: Ran, code: i32| {
        let lines = ran.stderr.lines().filter(|said| !said.contains("note: "));
        assert_eq!((ran.code, lines.count()), (Some(code), 1), "{}", ran.stderr);
        assert!(ran.stderr.contains(line), "{}", ran.stderr);
    };
    said_once(dir.run(&["prune", "--keep-within", "1d", "repo"]), 1);
    // Backing up the same again would mend it.
    fs::remove_dir_all(dir.path("im")).unwrap();
    dir.image("other.raw", 2);
    said_once(dir.run(&["nightly", "--repo", "repo", "--keep-daily", "7", "other.raw"]), 7);
}

#[test]
fn prune_without_rules_names_its_options() {
    let dir = Dir::with_repository();
    let text = "settings must be specified: give --keep-daily N, or --keep-within, --keep-hourly";
    dir.run(&["prune", "repo"]).refused(1, text);
}
