//! Three in the morning: an image is wanted, and whatever is typed ends with it, or with one line that leads to it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use super::attic::{on_a_terminal, on_a_terminal_with};
use super::{CLOSING, Dir, Loop, MIB, Ran, packs, tool};

/// Three nights of two images: `app.raw` changes on the second, the third is not complete.
fn nights() -> (Dir, [Vec<u8>; 2]) {
    let dir = Dir::with_repository();
    let first = dir.image("images/app.raw", 1);
    dir.image("images/mail.raw", 2);
    dir.run(&["create", "repo::night-1", "images"]).silent();
    let second = dir.image("images/app.raw", 3);
    dir.run(&["create", "repo::night-2", "images"]).silent();
    let ran = dir.run(&["create", "repo::night-3", "images", "gone"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    (dir, [first, second])
}

/// What is said of a night that is newer and not complete.
fn newer(what: &str) -> String {
    format!(
        "garret: note: night-2 is the newest complete archive with {what}; night-3 (1 problem) is newer: --at night-3\n"
    )
}

#[test]
fn an_image_comes_back_by_its_name_from_the_newest_complete_night_that_holds_it() {
    let (dir, [_, second]) = nights();
    dir.run(&["restore", "repo", "app.raw"]).notes(&newer("app.raw"));
    assert!(dir.read("images/app.raw") == second);
    for word in ["images/app.raw", "/images/app.raw", "*app*", "app.raw"] {
        dir.run(&["restore", "repo", word, "-o", "out.raw"]).notes(&newer(word));
        assert!(dir.read("out.raw") == second, "{word}");
        fs::remove_file(dir.path("out.raw")).unwrap();
    }
    dir.run(&["restore", "repo", "app.raw", "mail.raw", "-C", "both"])
        .notes(&newer("app.raw, mail.raw"));
    assert!(dir.read("both/images/app.raw") == second && dir.path("both/images/mail.raw").exists());
    let ran = dir.run(&["restore", "repo", "app.raw", "--stdout"]);
    assert!(ran.code == Some(0) && ran.stdout == second);
}

#[test]
fn a_night_is_named_or_a_day() {
    let (dir, [first, second]) = nights();
    let restored =
        |at: &str| dir.run(&["restore", "repo", "app.raw", "--at", at, "-o", &format!("{at}.raw")]);
    restored("night-1").silent();
    assert!(dir.read("night-1.raw") == first);
    restored("night-3").silent();
    assert!(dir.read("night-3.raw") == second);
    restored("latest").notes(
        "garret: note: the latest archive, night-3, is not complete; the last that is: night-2\n",
    );
    let today = tool("date", &["-u", "+%Y-%m-%d"]);
    restored(&today).notes(&newer("app.raw"));
    restored("2001-02-03").refused(1, "no archive was made on 2001-02-03");
    let last = format!("the last before it is night-3 of {today}");
    restored("2999-01-01").refused(1, &format!("no archive was made on 2999-01-01; {last}"));
    restored("nigth-1").refused(1, "Archive nigth-1 does not exist: did you mean night-1?");
    // Names come first, whatever they look like.
    dir.image("images/app.raw", 9);
    for name in ["latest", "2001-02-03"] {
        dir.run(&["create", &format!("repo::{name}"), "images"]).silent();
        restored(name).silent();
        assert!(dir.read(&format!("{name}.raw")) == dir.read("images/app.raw"), "{name}");
    }
    dir.run(&["restore", "repo::night-1", "--at", "night-2"]).refused(2, "leave out --at");
}

#[test]
fn with_an_archive_it_is_extract() {
    let (dir, [first, _]) = nights();
    for command in ["extract", "restore"] {
        dir.run(&[command, "repo::night-1", "-C", command]).silent();
        assert!(dir.read(&format!("{command}/images/app.raw")) == first);
        dir.run(&[command, "repo::night-1", "none"]).reports("none: not in archive night-1");
        let to = ["-o", "repo/packs/x"];
        dir.run(&[command, to[0], to[1], "repo::night-1", "app.raw"])
            .refused(1, "is in the repository");
    }
    dir.run(&["restore", "repo::latest", "mail.raw", "-o", "mail.raw"]).notes(
        "garret: note: the latest archive, night-3, is not complete; the last that is: night-2\n",
    );
}

#[test]
fn what_cannot_be_is_one_line_that_leads_to_the_image() {
    let (dir, _) = nights();
    let refused = |words: &[&str], code, text: &str| {
        dir.run(&[&["restore"], words].concat()).refused(code, text);
    };
    refused(
        &["repo", "*.raw"],
        2,
        "*.raw stands for 2 files of night-2: images/app.raw, images/mail.raw; name one by its path, or get all with \
         garret restore repo::night-2 '*.raw'",
    );
    refused(&["repo", "images"], 2, "images stands for 2 files of night-2");
    refused(
        &["repo", "ap.raw"],
        1,
        "ap.raw: not in any archive of repo: did you mean images/app.raw?",
    );
    refused(
        &["repo", "zzz"],
        1,
        "zzz: not in any archive of repo; `garret list repo` shows the archives",
    );
    refused(&["repo", "zzz", "--at", "night-1"], 1, "zzz: not in archive night-1");
    refused(&["repo", "night-1"], 2, "write repo::night-1 for the archive night-1");
    refused(&["repo"], 2, "which image? Name one, or write repo::NAME");
    refused(&[], 2, "which repository? Name one, or set GARRET_REPO");
    refused(&["nowhere", "app.raw"], 1, "Repository nowhere does not exist");
    refused(
        &["repo", "app.raw", "-o", "no/such/place"],
        1,
        "the directory it is to be in does not exist",
    );
    refused(
        &["repo", "app.raw", "--at", "night-1", "-o", "images"],
        1,
        "images: cannot restore a file to it",
    );
    refused(&["repo", "app.raw", "-o", "-"], 2, "for standard output, give --stdout");
    dir.run(&["init", "empty"]).succeeds();
    refused(&["empty", "app.raw"], 1, "empty has no archive");
    assert!(dir.read("images/app.raw").len() == 4 * MIB);
}

#[test]
fn an_older_night_serves_an_image_that_the_newer_ones_do_not_hold() {
    let (dir, [_, second]) = nights();
    fs::remove_file(dir.path("images/app.raw")).unwrap();
    dir.run(&["create", "repo::night-4", "images"]).silent();
    dir.run(&["restore", "repo", "app.raw", "-o", "out.raw"]).notes(&newer("app.raw"));
    assert!(dir.read("out.raw") == second);
    // None that holds it is complete.
    dir.run(&["delete", "repo::night-1", "repo::night-2"]).silent();
    dir.run(&["restore", "repo", "app.raw", "-o", "again.raw"])
        .notes("garret: note: no complete archive holds app.raw; night-3 does (1 problem)\n");
    assert!(dir.read("again.raw") == second);
}

/// Damages the pack that holds what is new in an archive.
fn damage_newest_pack(dir: &Dir) {
    let mut packs = packs(&dir.path("repo"));
    packs.sort_by_key(|pack| fs::metadata(pack).unwrap().modified().unwrap());
    let newest = packs.pop().unwrap();
    let bytes = fs::read(&newest).unwrap();
    let file = File::options().write(true).open(&newest).unwrap();
    file.write_all_at(&[!bytes[MIB / 2]], (MIB / 2) as u64).unwrap();
}

#[test]
fn a_damaged_image_names_the_night_before_and_what_can_be_saved() {
    let dir = Dir::with_repository();
    let first = dir.image("app.raw", 1);
    dir.run(&["create", "repo::night-1", "app.raw"]).silent();
    dir.image("app.raw", 2);
    dir.run(&["create", "repo::night-2", "app.raw"]).silent();
    damage_newest_pack(&dir);
    fs::remove_file(dir.path("app.raw")).unwrap();
    let ran = dir.run(&["restore", "repo", "app.raw"]);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert!(ran.code == Some(1) && lines.len() == 3, "{}", ran.stderr);
    assert!(lines[0].starts_with("garret: app.raw: not restored: "), "{}", ran.stderr);
    let way = "garret: note: --at night-1 restores what night-1 has of it; --salvage restores what is left in night-2";
    assert_eq!(lines[1..], [way, CLOSING]);
    assert!(!dir.path("app.raw").exists());
    let (_, said) = on_a_terminal(&dir, "restore repo", "app.raw\n1\nhere/\ny\n");
    assert!(said.contains(way.strip_prefix("garret: ").unwrap()), "{said}");
    // Both ways lead there.
    dir.run(&["restore", "repo", "app.raw", "--at", "night-1"]).silent();
    assert!(dir.read("app.raw") == first);
    let ran = dir.run(&["restore", "repo", "app.raw", "--salvage", "-C", "saved"]);
    assert!(ran.code == Some(1) && dir.path("saved/app.raw.damaged").exists(), "{}", ran.stderr);
    let ran = dir.run(&["restore", "repo", "app.raw", "--stdout"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("--at night-1"), "{}", ran.stderr);
}

#[test]
fn a_restore_by_name_looks_for_room_first_and_says_what_it_needs() {
    let dir = Dir::with_repository();
    dir.image("app.raw", 1);
    dir.run(&["create", "repo::night-1", "app.raw"]).silent();
    let disk = dir.path("disk");
    File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    tool("mkfs.ext4", &["-q", disk.to_str().unwrap()]);
    let device = Loop::over(&disk);
    fs::create_dir(dir.path("small")).unwrap();
    let small = dir.path("small");
    tool("mount", &[&device.0, small.to_str().unwrap()]);
    let ran = dir.run(&["restore", "repo", "app.raw", "-C", "small"]);
    let left = fs::read_dir(&small).unwrap().count();
    tool("umount", &[small.to_str().unwrap()]);
    ran.refused(1, "are needed and");
    assert_eq!(left, 1, "lost+found alone");
}

#[test]
fn a_terminal_gets_one_line_on_what_was_done_and_a_pipe_none() {
    let (dir, _) = nights();
    let line = |arguments: &str| {
        let (code, said) = on_a_terminal(&dir, arguments, "");
        assert_eq!(code, Some(0), "{said}");
        let last = said.trim_end().lines().last().unwrap().to_owned();
        let (before, seconds) = last.rsplit_once(" in ").unwrap();
        assert!(seconds.strip_suffix(" s").is_some_and(|n| n.parse::<f64>().is_ok()), "{last}");
        before.rsplit('\r').next().unwrap().trim_start_matches("\u{1b}[2K").to_owned()
    };
    for (arguments, expected) in [
        (
            "restore repo app.raw -C to",
            "Restored images/app.raw of night-2 to to/images/app.raw: 4.19 MB",
        ),
        ("restore repo app.raw -o x.raw", "Restored images/app.raw of night-2 to x.raw: 4.19 MB"),
        ("extract repo::night-1 -C all", "Restored 2 files of night-1 below all: 8.39 MB"),
        ("extract repo::night-1 mail.raw -o m", "Restored mail.raw of night-1 to m: 4.19 MB"),
        ("extract --dry-run repo::night-1", "Verified 2 files of night-1: 8.39 MB"),
    ] {
        assert_eq!(line(arguments), expected);
    }
    dir.run(&["extract", "repo::night-1", "-C", "quiet"]).silent();
}

#[test]
fn with_nothing_but_a_repository_a_terminal_is_asked_what_is_wanted() {
    let (dir, [first, second]) = nights();
    let (code, said) = on_a_terminal(&dir, "restore repo", "app.raw\n3\nout/\ny\n");
    assert_eq!(code, Some(0), "{said}");
    assert!(dir.read("out/images/app.raw") == first);
    for text in [
        "Images in night-2, made ",
        "  images/app.raw",
        "Archives that hold images/app.raw, the newest first:",
        "4.19 MB  same     (1 problem)",
        "4.19 MB  changed  complete",
        "4.19 MB  new      complete",
        "Which one? [2] ",
        "images/app.raw of night-1, 4.19 MB, to out/images/app.raw:",
        "about a second, needs up to 4.19 MB of ",
        "Go on? [y/N] ",
        "Restored images/app.raw of night-1 to out/images/app.raw: 4.19 MB in ",
    ] {
        assert!(said.contains(text), "{text:?} in:\n{said}");
    }
    let digest =
        format!("BLAKE3 {}, read back from the disk: as it is stored", blake3::hash(&first));
    assert!(said.contains(&digest), "{said}");
    // What is proposed is the newest complete night; a file is named as one.
    let repo = [("GARRET_REPO", "repo")];
    let (code, said) = on_a_terminal_with(&dir, &repo, "restore", "*app*\n\nnew.raw\nyes\n");
    assert_eq!(code, Some(0), "{said}");
    assert!(dir.read("new.raw") == second);
    // What goes is said, and Ctrl-D is a no to whatever is asked.
    for (typed, asks_last) in [("app.raw\n\nnew.raw\n\x04", true), ("\x04", false)] {
        let (code, said) = on_a_terminal(&dir, "restore repo", typed);
        assert_eq!(code, Some(1), "{said}");
        assert_eq!(
            said.contains("\nnew.raw is there already, and is replaced.\r\nGo on? [y/N] "),
            asks_last,
            "{said}"
        );
        assert!(said.contains("nothing was done: the input ended in place of an answer"), "{said}");
    }
    assert!(dir.read("new.raw") == second);
    // Mistakes are asked about again, and no answer is no.
    let (code, said) = on_a_terminal(
        &dir,
        "restore repo",
        "99\nzzz\nraw\n*.raw\n1\nnight-1\nrepo/x\nno/x\nno.raw\n\n",
    );
    assert_eq!(code, Some(1), "{said}");
    for text in [
        "There is no such number.",
        "No archive holds zzz.",
        "*.raw stands for several:",
        "garret: repo/x is in the repository: restore to another place",
        "garret: no/x: the directory it is to be in does not exist",
        "nothing was restored: you did not say y",
    ] {
        assert!(said.contains(text), "{text:?} in:\n{said}");
    }
    assert!(!dir.path("no.raw").exists());
    dir.run_with(&repo, b"", &["restore"]).refused(2, "which image?");
}

#[test]
fn the_terminal_is_asked_before_a_device_is_overwritten() {
    let (dir, [_, second]) = nights();
    let disk = dir.path("disk");
    File::create(&disk).unwrap().set_len(8 << 20).unwrap();
    let device = Loop::over(&disk);
    let typed = |sure: &str| format!("app.raw\n2\n{}\n{sure}\ny\n", device.0);
    let (code, said) = on_a_terminal(&dir, "restore repo", &typed("no"));
    assert!(code == Some(1) && said.contains("you did not say yes"), "{said}");
    let (code, said) = on_a_terminal(&dir, "restore repo", &typed("yes"));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("read back from the disk: as it is stored"), "{said}");
    tool("sync", &[]);
    assert!(fs::read(&device.0).unwrap()[..4 * MIB] == second);
}

#[test]
fn an_encrypted_repository_is_found_in_like_any_other() {
    let dir = Dir::new();
    dir.cheap_repository("repo", garret_format::config::KeyMode::Passphrase);
    let bytes = dir.image("app.raw", 1);
    let with = |arguments: &[&str]| -> Ran {
        dir.run_with(&[("GARRET_PASSPHRASE", super::PASSPHRASE)], b"", arguments)
    };
    with(&["create", "repo::a", "app.raw"]).silent();
    with(&["restore", "repo", "app.raw", "-o", "out.raw"]).silent();
    assert!(dir.read("out.raw") == bytes);
    dir.run(&["restore", "repo", "app.raw"]).refused(1, "GARRET_PASSPHRASE");
}
