//! Every way to ask for what cannot be: one line that names the thing, the documented exit code, nothing half done.

use std::fs;

use super::{CLOSING, Dir};

#[test]
fn locations_of_the_wrong_kind_are_wrong_use() {
    let dir = Dir::with_repository();
    for (arguments, text) in [
        (&["create", "repo", "x"][..], "\"repo\": No archive specified"),
        (&["extract", "repo"], "\"repo\": No archive specified"),
        (&["delete", "repo"], "\"repo\": No archive specified"),
        (&["init", "new::a"], "\"new::a\" No archive can be specified"),
        (&["prune", "-d", "1", "repo::a"], "\"repo::a\" No archive can be specified"),
        (&["check", "--repair", "repo::a"], "\"repo::a\" No archive can be specified"),
        (&["check", "repo", "x"], "\"repo\": No archive specified"),
        (&["change-passphrase", "repo::a"], "\"repo::a\" No archive can be specified"),
        (&["list", "repo::"], "Invalid location format: \"repo::\": the archive's name is missing"),
        (&["list", ""], "Invalid location format: \"\""),
        (&["list", "host:"], "Invalid location format: \"host:\""),
        (&["init", "ssh://me@host"], "Invalid location format: \"ssh://me@host\""),
        (
            &["init", "http://host/repo"],
            "write PATH, HOST:PATH, or a URL that begins with file, ssh, ",
        ),
        (&["list", "S3://bucket/prefix"], "Invalid location format: \"S3://bucket/prefix\""),
        (&["delete", "repo::a", "other::b"], "must be of one repository"),
        (&["create", "repo::a", "-", "-"], "standard input can be read only once"),
        (&["create", "repo::a", "x", "--stdin-name", "y"], "--stdin-name needs the PATH -"),
        (&["create", "repo::a", "-", "--stdin-name", "../y"], "--stdin-name must be a path"),
        (&["init", "-p", "host:repo"], "--parents is for directories here"),
        (&["init", "--shared", "group", "s3://b/p"], "--shared is for directories"),
        (&["report", "--prefix", "vms-", "repo"], "--prefix is for rules: give --keep-daily N"),
        (&["report", "-d", "0", "repo"], "settings must be specified: give --keep-daily N"),
        (&["nightly", "--repo", "/r", "-d", "0", "/x"], "keep: it keeps nothing"),
        (&["nightly", "-d", "0", "--config", "garret.toml"], "--keep-... needs --repo"),
    ] {
        dir.run(arguments).refused(2, text);
    }
    assert!(!dir.path("new").exists());
}

#[test]
fn a_wrong_command_line_ends_with_2_and_says_how_to_get_help() {
    let dir = Dir::with_repository();
    for arguments in [
        &["frobnicate"][..],
        &["-v", "create", "repo::a", "x"],
        // It would hold for each of any number of repositories.
        &["serve", "--quota", "1G"],
        // What these do is done without them.
        &["serve", "--packs", "cold"],
        &["--limit-upload", "2M", "demo"],
        &["nightly", "--packs", "cold", "--config", "garret.toml"],
        &["nightly", "--check-config", "--json"],
        &["list", "--verified", "--short", "repo"],
        &["create", "repo::a"],
        &["create", "repo::a", "x", "--compression", "zstd,99"],
        &["create", "repo::a", "x", "--threads", "0"],
        &["prune", "--keep-within", "10", "repo"],
        &["extract", "repo::a", "--stdout", "--destination", "x"],
        &["check", "--archives-only", "--verify-data", "repo"],
    ] {
        let ran = dir.run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}");
        assert!(ran.stderr.starts_with("error: ") && ran.stdout.is_empty(), "{arguments:?}");
        assert!(ran.stderr.contains("--help"), "{arguments:?}: {}", ran.stderr);
    }
}

/// Names are other people's: no line that is said about one moves the cursor, turns text round or passes for another line.
#[test]
fn what_is_wrong_is_said_without_talking_to_the_terminal() {
    let dir = Dir::with_repository();
    let odd = "\u{1b}[2J\u{7}\u{202e}\r\nerror: x";
    let (option, field) = (format!("--{odd}"), format!("{{{odd}}}"));
    let (time, archive) = (format!("{{now:%{odd}}}"), format!("repo::{{now:%{odd}}}"));
    let table = |line: &str| format!("[job.a]\nrepository = \"/r\"\n{line}\n");
    // A string of TOML has none of these characters but by an escape.
    let escaped = "\\u001b[2J\\u202e\\u000aerror: x";
    let files = [
        format!("\"{escaped}\" = 1\n"),
        format!("{odd} = 1\n"),
        table(&format!("paths = \"/x\"\n\"{escaped}\" = 1")),
        table(&format!("paths = \"/x\"\ncompression = \"{escaped}\"")),
        table(&format!("paths = \"/x\"\n[job.\"{escaped}\"]")),
    ];
    let mut wrong: Vec<Vec<&str>> = vec![
        vec![odd],
        vec!["create", odd, &option],
        vec!["create", "repo::a", "x", "--compression", odd],
        vec!["create", "repo::a", "x", "--threads", odd],
        vec!["create", "repo::a", "x", "--cutter", odd],
        vec!["create", "--tag", odd, "repo::a", "x"],
        vec!["create", "--timestamp", odd, "repo::a", "x"],
        vec!["list", "--format", &field, "repo"],
        vec!["list", "repo", "--shor\u{7}t"],
        vec!["check", "--max-duration", odd, "repo"],
        vec!["prune", "--keep-within", odd, "repo"],
        vec!["prune", "-d", "1", "-p", &field, "repo"],
        vec!["prune", "-d", "1", "-p", &time, "repo"],
        vec!["create", &archive, "x"],
        vec!["key", odd],
        vec!["help", odd],
        vec!["list", odd],
        vec!["--log-json", "list", &option],
    ];
    let names: Vec<String> = (0..files.len()).map(|number| format!("{number}.toml")).collect();
    for (name, text) in names.iter().zip(&files) {
        dir.write(name, text.as_bytes());
        wrong.push(vec!["nightly", "--check-config", "--config", name]);
    }
    for arguments in wrong {
        let ran = dir.run(&arguments);
        assert!(matches!(ran.code, Some(1 | 2)), "{}: {}", ran.what, ran.stderr);
        assert!(!ran.stderr.lines().skip(1).any(|line| line.starts_with("error: ")), "{ran:?}");
        let unseen = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!ran.stderr.is_empty() && !ran.stderr.contains(unseen), "{ran:?}");
    }
}

#[test]
fn a_path_that_is_no_repository_is_named() {
    let dir = Dir::new();
    dir.write("file", b"x");
    fs::create_dir(dir.path("empty")).unwrap();
    dir.run(&["list", "none"]).refused(1, "Repository none does not exist");
    dir.run(&["list", "file"]).refused(1, "file is not a valid repository: it is a file");
    dir.run(&["list", "empty"]).refused(1, "empty is not a valid repository");
    dir.write("empty/config", b"[repository]\n");
    dir.run(&["list", "empty"]).refused(1, "empty is not a valid repository");
    assert!(!dir.path("none").exists());
}

#[test]
fn init_takes_only_what_is_new_or_empty() {
    let dir = Dir::with_repository();
    dir.write("full/file", b"x");
    fs::create_dir(dir.path("empty")).unwrap();
    dir.run(&["init", "repo"]).refused(1, "Repository repo already exists");
    dir.run(&["init", "full"]).refused(1, "Repository full already exists");
    dir.run(&["init", "full/file"]).refused(1, "Repository full/file already exists");
    dir.run(&["init", "full/file/below"]).refused(1, "cannot create full/file");
    dir.run(&["init", "empty"]).succeeds();
    assert_eq!(dir.archives("empty"), [""; 0]);
}

#[test]
fn archive_names_are_taken_once_and_stay_inside() {
    let dir = Dir::with_repository();
    dir.write("file", b"first");
    dir.run(&["create", "repo::a", "file"]).silent();
    dir.write("file", b"second");
    dir.run(&["create", "repo::a", "file"]).refused(1, "Archive a already exists");
    for name in ["..", "../out", "x/../y", ".hidden", "x//y", "/abs", "x/", "a\nb"] {
        let archive = format!("repo::{name}");
        dir.run(&["create", &archive, "file"]).refused(1, "cannot be an archive's name");
    }
    assert_eq!(dir.archives("repo"), ["a"]);
    dir.run(&["create", "repo::x/y", "file"]).silent();
    dir.run(&["create", "repo::x", "file"]).refused(1, "Archive x already exists: it is a");
    dir.run(&["create", "repo::a/b", "file"]).refused(1, "a is an archive, not a directory");
    dir.run(&["delete", "repo::x/y"]).silent();
    assert_eq!(dir.run(&["extract", "--stdout", "repo::a"]).succeeds(), "first");
    assert!(!dir.path("repo/out").exists() && !dir.path("out").exists());
}

#[test]
fn an_archive_that_is_not_there_is_named() {
    let dir = Dir::with_repository();
    dir.write("file", b"x");
    dir.run(&["create", "repo::a", "file"]).silent();
    for command in ["extract", "list", "info", "delete"] {
        dir.run(&[command, "repo::b"]).refused(1, "Archive b does not exist");
    }
    dir.run(&["delete", "repo::a", "repo::b"]).refused(1, "Archive b does not exist");
    assert_eq!(dir.archives("repo"), ["a"], "nothing goes when something is missing");
}

#[test]
fn a_path_that_matches_nothing_is_named_and_the_others_come() {
    let dir = Dir::with_repository();
    dir.write("file", b"x");
    dir.write("other", b"y");
    dir.run(&["create", "repo::a", "file", "other"]).silent();
    let ran = dir.run(&["extract", "--destination", "to", "repo::a", "nothing", "file"]);
    ran.reports("nothing: not in archive a");
    assert_eq!(dir.read("to/file"), b"x");
    assert!(!dir.path("to/other").exists());
    dir.run(&["extract", "-n", "repo::a", "fil"]).reports("fil: not in archive a");
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_stored() {
    let dir = Dir::with_repository();
    dir.write("file", b"x");
    std::os::unix::fs::symlink("circle", dir.path("circle")).unwrap();
    for (number, bad) in ["missing", "circle", "file/below"].into_iter().enumerate() {
        let archive = format!("repo::{number}");
        dir.run(&["create", &archive, bad, "file"]).reports(&format!("{bad}: cannot stat"));
        let listed = dir.run(&["list", &archive]).succeeds();
        assert!(listed.lines().count() == 1 && listed.ends_with(" file\n"), "{listed}");
        let info = dir.run(&["info", &archive]).succeeds();
        assert!(info.contains("Problems while it was made: 1\n"), "{info}");
    }
    let ran = dir.run(&["create", "repo::nothing", "missing"]);
    let expected = "garret: missing: cannot stat: No such file or directory (os error 2)\n\
                    garret: Error: nothing could be read, no archive was made\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), expected));
    assert_eq!(dir.archives("repo"), ["0", "1", "2"]);
}

#[test]
fn a_target_in_the_way_is_replaced_only_by_a_whole_file() {
    let dir = Dir::with_repository();
    dir.write("a", b"new a");
    dir.write("b", b"new b");
    dir.run(&["create", "repo::x", "a", "b"]).silent();
    dir.write("to/a/inside", b"a directory");
    dir.write("to/b", b"old b");
    let ran = dir.run(&["extract", "repo::x", "--destination", "to"]);
    ran.reports("a: not restored");
    assert_eq!(dir.read("to/a/inside"), b"a directory");
    assert_eq!(dir.read("to/b"), b"new b");
    dir.write("in-the-way", b"a file");
    let ran = dir.run(&["extract", "repo::x", "--destination", "in-the-way"]);
    ran.refused(1, "in-the-way: cannot create the directory");
    assert_eq!(dir.read("in-the-way"), b"a file");
}

#[test]
fn nothing_is_written_through_a_link_in_the_target() {
    let dir = Dir::with_repository();
    dir.write("tree/file", b"content");
    dir.run(&["create", "repo::x", "tree"]).silent();
    fs::create_dir_all(dir.path("to")).unwrap();
    fs::create_dir_all(dir.path("outside")).unwrap();
    std::os::unix::fs::symlink("../outside", dir.path("to/tree")).unwrap();
    let ran = dir.run(&["extract", "repo::x", "--destination", "to"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("symbolic link") && ran.stderr.ends_with(&format!("{CLOSING}\n")));
    assert_eq!(super::files_below(&dir.path("outside")).len(), 0);
}

#[test]
fn prune_without_a_rule_deletes_nothing() {
    let dir = Dir::with_repository();
    dir.write("file", b"x");
    dir.run(&["create", "repo::a", "file"]).silent();
    dir.run(&["prune", "repo"]).refused(1, "At least one of the \"within\", \"hourly\"");
    assert_eq!(dir.archives("repo"), ["a"]);
}
