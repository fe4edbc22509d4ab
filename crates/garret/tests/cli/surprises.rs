//! What people write who know another program, or whose finger slipped: understood, or answered with the right form.

use std::fs;

use super::{Dir, Ran};

/// A repository with the archives `night-1` and `night-2` of some images.
fn nights() -> Dir {
    let dir = Dir::with_repository();
    for name in ["images/app.raw", "images/mail.raw", "images/old/app.raw", "notes"] {
        dir.write(name, name.as_bytes());
    }
    dir.run(&["create", "repo::night-1", "images", "notes"]).silent();
    dir.write("notes", b"other notes");
    dir.run(&["create", "repo::night-2", "images", "notes"]).silent();
    dir
}

fn is_usage(ran: Ran, text: &str) {
    ran.refused(2, &format!("garret: Error: {text}"));
}

#[test]
fn placeholders_make_the_name_of_an_archive() {
    let dir = Dir::with_repository();
    dir.write("file", b"x");
    let host = super::tool("hostname", &[]);
    let host = host.split('.').next().unwrap();
    let create = |name: &str| dir.run(&["create", &format!("repo::{name}"), "file"]);
    create("{hostname}-{user}").silent();
    create("{hostname}/{now:%Y}").silent();
    create("{{{user}}}").silent();
    let names = dir.run(&["list", "--short", "repo"]).succeeds();
    let (year, user) = (super::tool("date", &["-u", "+%Y"]), super::tool("id", &["-un"]));
    for name in [format!("{host}-{user}"), format!("{host}/{year}"), format!("{{{user}}}")] {
        assert!(names.lines().any(|line| line == name), "{name} in {names}");
    }
    create("x-{now}").silent();
    create("y-{utcnow}").silent();
    let stats = dir.run(&["create", "--stats", "repo::z-{pid}", "file"]).succeeds();
    let pid = stats.split("Archive name: z-").nth(1).unwrap().lines().next().unwrap();
    assert!(pid.parse::<u32>().is_ok(), "{stats}");
    for name in dir.archives("repo").iter().filter(|name| name.starts_with(['x', 'y'])) {
        let shape = name.replace(|c: char| c.is_ascii_digit(), "0");
        assert_eq!(&shape[1..], "-0000-00-00T00:00:00");
    }
    for (name, what) in [
        ("{host}", "unknown {host}: there are {hostname}, {user}, {now}"),
        ("{fqdn}", "unknown {fqdn}: there are"),
        ("{}", "unknown {}: there are"),
        ("{hostname", "a brace stands alone: write {{ or }}"),
        ("a}b", "a brace stands alone: write {{ or }}"),
        ("{now:%}", "{now:%} is no format of a time"),
        ("{utcnow:%!}", "{utcnow:%!} is no format of a time"),
    ] {
        is_usage(create(name), &format!("\"repo::{name}\": {what}"));
    }
    assert_eq!(dir.archives("repo").len(), 6);
    // Names that are there are what they are.
    dir.run(&["list", "repo::{root}"]).succeeds();
    dir.run(&["delete", "repo::{root}"]).silent();
}

#[test]
fn the_prefix_of_prune_has_placeholders_too() {
    let dir = Dir::with_repository();
    dir.write("file", b"x");
    for name in ["{hostname}-1", "{hostname}-2", "other"] {
        dir.run(&["create", &format!("repo::{name}"), "file"]).silent();
    }
    dir.run(&["prune", "-y", "1", "--prefix", "{hostname}-", "repo"]).silent();
    let left = dir.archives("repo");
    assert!(left.len() == 2 && left[0].ends_with("-2") && left[1] == "other", "{left:?}");
    let ran = dir.run(&["prune", "-y", "1", "--prefix", "{host}-", "repo"]);
    assert!(
        ran.code == Some(2) && ran.stderr.contains("unknown {host}: there are"),
        "{}",
        ran.stderr
    );
}

#[test]
fn an_archive_in_a_word_of_its_own_is_answered_with_the_right_form() {
    let dir = nights();
    let form = "\"repo\": No archive specified; write repo::night-1 for the archive night-1";
    for arguments in [
        &["extract", "repo", "night-1"][..],
        &["extract", "repo", "night-1", "notes"],
        &["restore", "repo", "night-1"],
        &["list", "repo", "night-1"],
        &["list", "repo", "night-1", "notes"],
        &["info", "repo", "night-1"],
        &["compare", "repo", "night-1"],
        &["diff", "repo", "night-1", "night-2"],
        &["delete", "repo", "night-1"],
        &["delete", "repo", "night-1", "night-2"],
    ] {
        is_usage(dir.run(arguments), form);
    }
    is_usage(
        dir.run(&["create", "repo", "night-3", "notes"]),
        "\"repo\": No archive specified; write repo::night-3",
    );
    is_usage(
        dir.run(&["create", "repo", "notes"]),
        "\"repo\": No archive specified; write repo::NAME",
    );
    is_usage(
        dir.run(&["delete", "repo::night-1", "night-2"]),
        "\"night-2\": No archive specified; write repo::night-2",
    );
    assert_eq!(dir.archives("repo"), ["night-1", "night-2"]);
}

#[test]
fn two_archives_are_understood_where_there_can_be_two() {
    let dir = nights();
    let short = dir.run(&["diff", "repo::night-1", "night-2"]).succeeds();
    assert!(short.contains(" notes"), "{short}");
    assert_eq!(dir.run(&["diff", "repo::night-1", "repo::night-2"]).succeeds(), short);
    assert_eq!(dir.run(&["diff", "repo::night-1", "repo::night-2", "images"]).succeeds(), "");
    dir.run(&["init", "other"]).succeeds();
    let ran = dir.run(&["diff", "repo::night-1", "other::night-2"]);
    is_usage(ran, "\"other::night-2\": both archives must be of one repository");
    is_usage(
        dir.run(&["create", "repo::night-3", "repo::night-2"]),
        "\"repo::night-2\" is an archive, no PATH",
    );
    let not_a_path =
        "repo::night-2: not in archive night-1: it is an archive, and a PATH was expected";
    for command in ["extract", "list", "compare"] {
        dir.run(&[command, "repo::night-1", "repo::night-2"]).reports(not_a_path);
    }
    dir.run(&["delete", "repo::night-1", "repo::night-2"]).silent();
}

#[test]
fn a_path_that_is_called_like_an_archive_is_still_a_path() {
    let dir = nights();
    dir.write("repo::night-2", b"a file");
    dir.run(&["create", "repo::night-3", "repo::night-2"]).silent();
    assert_eq!(
        dir.run(&["extract", "--stdout", "repo::night-3", "repo::night-2"]).succeeds(),
        "a file"
    );
}

#[test]
fn latest_is_the_newest_archive_for_those_who_read() {
    let dir = nights();
    assert_eq!(
        dir.run(&["extract", "--stdout", "repo::latest", "notes"]).succeeds(),
        "other notes"
    );
    assert_eq!(dir.run(&["info", "--format", "{name}", "repo::latest"]).succeeds(), "night-2");
    assert!(
        dir.run(&["list", "--json", "repo::latest"]).succeeds().contains("\"name\": \"night-2\"")
    );
    dir.run(&["compare", "repo::latest"]).silent();
    assert!(dir.run(&["diff", "repo::night-1", "latest"]).succeeds().contains(" notes"));
    dir.run(&["extract", "--destination", "to", "repo::latest", "none"])
        .reports("none: not in archive night-2");
    dir.run(&["delete", "repo::latest"]).refused(1, "Archive latest does not exist");
    dir.run(&["list", "repo::Latest"]).refused(1, "Archive Latest does not exist");
    // It is the end that counts, not the name.
    fs::rename(dir.path("repo/backups/night-1"), dir.path("repo/backups/zzz")).unwrap();
    assert_eq!(dir.run(&["info", "--format", "{name}", "repo::latest"]).succeeds(), "night-2");
    // One in which something is missing is the latest, and that is said.
    let ran = dir.run(&["create", "repo::partial", "notes", "missing"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let ran = dir.run(&["extract", "--destination", "to", "repo::latest"]);
    let note =
        "garret: note: the latest archive, partial, is not complete; the last that is: night-2\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), note));
    dir.run(&["delete", "repo::partial"]).silent();
    // One of that name is what it says.
    dir.run(&["create", "repo::latest", "notes"]).silent();
    dir.run(&["create", "repo::newer", "images"]).silent();
    assert_eq!(dir.run(&["info", "--format", "{name}", "repo::latest"]).succeeds(), "latest");
    dir.run(&["delete", "repo::latest"]).silent();
    assert_eq!(dir.run(&["info", "--format", "{name}", "repo::latest"]).succeeds(), "newer");
    // What cannot be read may be the newest: that is said.
    dir.write("repo/backups/night-2", b"garret");
    let said = dir.run(&["info", "--format", "{name}", "repo::latest"]).reports("backups/night-2");
    assert_eq!(said, "newer");
    dir.run(&["init", "empty"]).succeeds();
    dir.run(&["list", "empty::latest"])
        .refused(1, "Archive latest does not exist: there is no archive");
}

#[test]
fn a_path_is_found_by_its_last_parts_or_as_a_pattern() {
    let dir = nights();
    let list = |paths: &[&str]| {
        let said = dir.run(&[&["list", "--short", "repo::night-1"], paths].concat()).succeeds();
        said.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(list(&["mail.raw"]), ["images/mail.raw"]);
    assert_eq!(list(&["app.raw"]), ["images/app.raw", "images/old/app.raw"]);
    assert_eq!(list(&["old"]), ["images/old", "images/old/app.raw"]);
    assert_eq!(list(&["old/app.raw"]), ["images/old/app.raw"]);
    assert_eq!(list(&["images/app.raw"]), ["images/app.raw"]);
    assert_eq!(
        list(&["images/*.raw"]),
        ["images/app.raw", "images/mail.raw", "images/old/app.raw"]
    );
    assert_eq!(list(&["note?"]), ["notes"]);
    dir.run(&["extract", "--destination", "to", "repo::night-1", "mail.raw"]).silent();
    assert_eq!(super::files_below(&dir.path("to")), [dir.path("to/images/mail.raw")]);
    assert_eq!(dir.read("to/images/mail.raw"), b"images/mail.raw");
    dir.run(&["compare", "repo::night-1", "*/app.raw"]).silent();
    assert!(
        dir.run(&["info", "repo::night-1", "mail.raw"])
            .succeeds()
            .starts_with("Path: images/mail.raw\n")
    );
    let two = "archive night-1 contains no file app.raw: it stands for 2 files, as images/app.raw and images/old/app.raw";
    dir.run(&["info", "repo::night-1", "app.raw"]).refused(1, two);
    // A path that there is comes before one that ends so.
    dir.write("app.raw", b"another");
    dir.run(&["create", "repo::night-3", "images", "app.raw"]).silent();
    assert_eq!(dir.run(&["extract", "--stdout", "repo::night-3", "app.raw"]).succeeds(), "another");
}

#[test]
fn what_is_not_there_is_answered_with_what_may_have_been_meant() {
    let dir = nights();
    for command in ["extract", "list", "info", "compare", "delete"] {
        let ran = dir.run(&[command, "repo::nigth-2"]);
        ran.refused(1, "garret: Error: Archive nigth-2 does not exist: did you mean night-2?");
    }
    dir.run(&["diff", "repo::night-1", "nigth-2"]).refused(1, "did you mean night-2?");
    dir.run(&["list", "repo::day"])
        .refused(1, "Archive day does not exist: `garret list` shows what does");
    for (path, near) in [
        ("ap.raw", "images/app.raw"),
        ("image/mail.raw", "images/mail.raw"),
        ("images/mial.raw", "images/mail.raw"),
        ("noets", "notes"),
    ] {
        let why = format!("{path}: not in archive night-1: did you mean {near}?");
        for command in ["extract", "list", "compare"] {
            dir.run(&[command, "repo::night-1", path]).reports(&why);
        }
        let why = format!("archive night-1 contains no file {path}: did you mean {near}?");
        dir.run(&["info", "repo::night-1", path]).refused(1, &why);
    }
    let said = dir.run(&["list", "repo::night-1", "nothing/like/it"]);
    let why =
        "nothing/like/it: not in archive night-1; `garret find` says which archives hold a file";
    said.reports(why);
}

#[test]
fn commands_of_other_programs_are_understood_or_ours_are_named() {
    let dir = nights();
    dir.run(&["restore", "--destination", "to", "repo::night-1", "notes"]).silent();
    assert_eq!(dir.read("to/notes"), b"notes");
    dir.run(&["restore", "--d", "repo::night-1"]).silent();
    let help = dir.run(&["help", "restore", "--usage-only"]).succeeds();
    assert!(help.contains("--destination") && !help.contains("Every byte is verified"), "{help}");
    for (word, ours) in [
        ("backup", Some("create")),
        ("snapshots", Some("list")),
        ("forget", Some("prune")),
        ("exctract", Some("extract")),
        ("resotre", Some("restore")),
        ("chekc", Some("check")),
        ("frobnicate", None),
        ("stats", None),
    ] {
        let ran = dir.run(&[word, "repo"]);
        assert_eq!(ran.code, Some(2), "{word}");
        assert!(
            ran.stderr.contains(&format!("unrecognized subcommand '{word}'")),
            "{}",
            ran.stderr
        );
        let tip = ours.map(|ours| format!("similar subcommand exists: '{ours}'"));
        assert_eq!(ran.stderr.contains("similar"), tip.is_some(), "{}", ran.stderr);
        assert!(tip.is_none_or(|tip| ran.stderr.contains(&tip)), "{}", ran.stderr);
    }
}
