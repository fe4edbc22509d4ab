//! Tags, protection, and names of another kind: `tag`, `protect`, `create --tag`, `create --as`.

use super::{Dir, Ran};

/// A repository with the archives a, b and c, made in this order; b with tags.
fn three() -> Dir {
    let dir = Dir::with_repository();
    dir.write("x", b"content");
    dir.run(&["create", "repo::a", "x"]).silent();
    dir.run(&["create", "--tag", "weekly", "--tag", "golden", "repo::b", "x"]).silent();
    dir.run(&["create", "repo::c", "x"]).silent();
    dir
}

#[test]
fn list_shows_tags_and_goes_by_them() {
    let dir = three();
    let listed = dir.run(&["list", "repo"]).succeeds();
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[1].ends_with(" [golden,weekly]") && !lines[0].contains('['), "{listed}");
    dir.run(&["tag", "--add", "golden", "--remove", "nobody", "repo::a", "repo::c"]).silent();
    dir.run(&["tag", "--remove", "golden", "repo::b"]).silent();
    assert_eq!(dir.run(&["list", "--short", "--tag", "golden", "repo"]).succeeds(), "a\nc\n");
    let either = ["list", "--short", "--tag", "golden", "--tag", "weekly", "repo"];
    assert_eq!(dir.run(&either).succeeds(), "a\nb\nc\n");
    let template = "{name} {tags} {protected}{NL}";
    let laid_out = dir.run(&["list", "--format", template, "repo"]).succeeds();
    assert_eq!(laid_out, "a golden false\nb weekly false\nc golden false\n");
    dir.run(&["list", "--tag", "golden", "repo::a"]).refused(2, "--tag is for a list of archives");
    let info = dir.run(&["info", "repo::b"]).succeeds();
    assert!(info.contains("\nTags: weekly\n") && !info.contains("Protected"), "{info}");
}

#[test]
fn what_is_protected_stays_until_it_is_not_protected_any_more() {
    let dir = three();
    dir.run(&["protect", "repo::a", "repo::b"]).silent();
    let listed = dir.run(&["list", "repo"]).succeeds();
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].ends_with(" (protected)"), "{listed}");
    assert!(lines[1].ends_with(" (protected) [golden,weekly]"), "{listed}");
    assert!(dir.run(&["info", "repo::a"]).succeeds().contains("\nProtected: yes\n"));
    let line = "Archive a is protected, nothing was deleted: garret unprotect lets it go";
    dir.run(&["delete", "repo::c", "repo::a"]).fails_saying(&format!("garret: Error: {line}"));
    assert_eq!(dir.archives("repo"), ["a", "b", "c"]);
    for dry in [&["-n"][..], &["--list"]] {
        let shown = dir.run(&[&["prune", "-H", "1"], dry, &["repo"]].concat()).succeeds();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[0].ends_with(" (hourly #1)") && lines[1].contains(" b "), "{shown}");
        assert!(lines[1].ends_with(" (protected) [golden,weekly]"), "{shown}");
        assert!(lines[2].starts_with("Keeping archive: a "), "{shown}");
        assert!(lines[2].ends_with(" (protected)"), "{shown}");
    }
    dir.run(&["prune", "-H", "1", "repo"]).silent();
    assert_eq!(dir.archives("repo"), ["a", "b", "c"]);
    dir.run(&["unprotect", "repo::a"]).silent();
    dir.run(&["prune", "-H", "1", "repo"]).silent();
    assert_eq!(dir.archives("repo"), ["b", "c"]);
    dir.run(&["check", "repo"]).succeeds();
}

#[test]
fn prune_goes_by_tags() {
    let dir = three();
    dir.run(&["tag", "--add", "weekly", "repo::a"]).silent();
    dir.run(&["prune", "--tag", "weekly", "-H", "1", "repo"]).silent();
    assert_eq!(dir.archives("repo"), ["b", "c"]);
}

/// Whoever mistyped it hears so; nothing is deleted, and that is no failure.
#[test]
fn a_tag_or_a_name_that_no_archive_has_is_told_of() {
    let dir = three();
    for (arguments, said) in [
        (&["list", "--tag", "weekyl", "repo"][..], "has the tag weekyl: did you mean weekly?"),
        (&["list", "--json", "--tag", "x", "--tag", "y", "repo"], "has the tag x or y"),
        (
            &["prune", "--tag", "golde", "-H", "1", "repo"],
            "has the tag golde: did you mean golden?",
        ),
        (&["prune", "-p", "web-", "-H", "1", "repo"], "has a name that begins with web-"),
    ] {
        let ran = dir.run(arguments);
        let line = format!("garret: note: of 3 archives none {said}\n");
        assert_eq!((ran.code, ran.stderr), (Some(0), line), "{}", ran.what);
    }
    assert_eq!(dir.archives("repo"), ["a", "b", "c"]);
    dir.run(&["init", "empty"]).succeeds();
    dir.run(&["prune", "-p", "web-", "--tag", "x", "-H", "1", "empty"]).silent();
}

/// Sixty-four are what an archive may have.
#[test]
fn more_tags_than_an_archive_has_are_wrong_use() {
    let dir = three();
    let tags: Vec<String> = (0..65).map(|number| format!("t{number}")).collect();
    let all = |option: &'static str, count: usize| {
        tags[..count].iter().flat_map(move |tag| [option, tag.as_str()]).collect::<Vec<_>>()
    };
    let create = [&["create"][..], &all("--tag", 65), &["repo::d", "x"]].concat();
    dir.run(&create).refused(2, "an archive has 64 tags at most, and these are 65");
    let tag = |count| [&["tag"][..], &all("--add", count), &["repo::a", "repo::b"]].concat();
    dir.run(&tag(65)).refused(2, "an archive has 64 tags at most, and these are 65");
    // With the two that b has they are too many, and a has none of them either.
    dir.run(&tag(63)).refused(2, "an archive has 64 tags at most, and this one would have 65");
    assert_eq!(dir.archives("repo"), ["a", "b", "c"]);
    assert!(!dir.run(&["list", "repo"]).succeeds().contains("t0"));
    dir.run(&tag(62)).silent();
}

/// A word of the command line is wrong.
#[track_caller]
fn misused(ran: &Ran, text: &str) {
    assert_eq!((ran.code, ran.stdout.as_slice()), (Some(2), &b""[..]), "{}", ran.what);
    assert!(ran.stderr.contains(text), "{}: {}", ran.what, ran.stderr);
}

#[test]
fn what_can_be_no_tag_is_refused_in_one_line() {
    let dir = three();
    for word in ["", "a,b", "a b", "a\nb"] {
        for arguments in [
            &["tag", "--add", word, "repo::a"][..],
            &["create", "--tag", word, "repo::d", "x"],
            &["list", "--tag", word, "repo"],
        ] {
            misused(&dir.run(arguments), "it cannot be a tag: it ");
        }
    }
    misused(&dir.run(&["tag", "repo::a"]), "--add <TAG>");
    dir.run(&["tag", "--add", "x", "--remove", "x", "repo::a"]).refused(2, "give one of them");
    dir.run(&["tag", "--add", "x", "repo"]).refused(2, "repo");
    dir.run(&["tag", "--add", "x", "repo::a", "repo::z"]).refused(1, "Archive z does not exist");
    dir.run(&["protect", "repo::a", "other::b"]).refused(2, "must be of one repository");
    assert_eq!(dir.run(&["list", "--format", "{tags}", "repo"]).succeeds(), "golden; weekly");
}

#[test]
fn a_path_is_stored_under_the_name_that_is_given() {
    let dir = Dir::with_repository();
    dir.write("deep/tree/one", b"1");
    dir.write("deep/tree/below/two", b"2");
    let image = dir.image("vm.raw", 7);
    let absolute = dir.path("vm.raw");
    let image_path = absolute.to_str().unwrap();
    dir.run(&["create", "--as", "disks/app.raw", "repo::file", image_path]).silent();
    assert_eq!(dir.run(&["list", "--short", "repo::file"]).succeeds(), "disks/app.raw\n");
    dir.run(&["extract", "-C", "out", "repo::file"]).silent();
    assert!(dir.read("out/disks/app.raw") == image);
    for (name, path) in [("tree", "deep/tree"), ("tree-dot", "deep/tree/.")] {
        dir.run(&["create", "--as", "t", "-e", "*/two", &format!("repo::{name}"), path]).silent();
        let listed = dir.run(&["list", "--short", &format!("repo::{name}")]).succeeds();
        assert_eq!(listed, "t\nt/below\nt/one\n", "{path}");
    }
    // Patterns are about paths as they were named.
    let create = ["create", "--as", "t", "-e", "deep/tree/below", "repo::named", "deep/tree"];
    dir.run(&create).silent();
    assert_eq!(dir.run(&["list", "--short", "repo::named"]).succeeds(), "t\nt/one\n");
    let (as_name, whole) = (["create", "--as"], ["repo::bad", "vm.raw"]);
    let long = "x".repeat(256);
    for name in ["", "/abs", "../up", "a/../b", "a//b", "./a", &long] {
        let refused = dir.run(&[&as_name[..], &[name], &whole].concat());
        refused.refused(
            2,
            "give a path without a / in front, without empty, . and .. parts, and none above",
        );
    }
    dir.run(&["create", "--as", "n", "repo::bad", "vm.raw", "deep"])
        .refused(2, "--as is for one PATH, and there are 2");
    dir.run(&["create", "--as", "n", "repo::bad", "-"]).refused(2, "give --stdin-name");
    misused(&dir.run(&["create", "--as", "n", "--from-command", "true", "repo::bad"]), "--as");
    assert!(!dir.archives("repo").contains(&"bad".to_owned()));
}
