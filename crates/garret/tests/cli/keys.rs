//! Several keys for one repository, and where passphrases come from. A key that the program makes costs most of a second.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use garret_format::config::KeyMode;
use garret_format::slot::Slot;
use garret_testkit::both_files;

use super::{Dir, PASSPHRASE, files_below};

const WITH: [(&str, &str); 1] = [("GARRET_PASSPHRASE", PASSPHRASE)];

/// In mode passphrase, unless it is to be another.
fn with_keys(mode: KeyMode) -> Dir {
    let dir = Dir::new();
    dir.cheap_repository("repo", mode);
    dir
}

fn with_new(new: &str) -> [(&str, &str); 2] {
    [("GARRET_PASSPHRASE", PASSPHRASE), ("GARRET_NEW_PASSPHRASE", new)]
}

fn opens(dir: &Dir, passphrase: &str) -> bool {
    let ran = dir.run_with(&[("GARRET_PASSPHRASE", passphrase)], b"", &["list", "repo"]);
    assert!(ran.code == Some(0) || ran.stderr.contains("wrong passphrase"), "{}", ran.stderr);
    ran.code == Some(0)
}

fn slots(dir: &Dir) -> Vec<PathBuf> {
    files_below(&dir.path("repo/keys"))
}

/// Alters a slot so that its checksum fits.
fn alter(path: &PathBuf, change: impl FnOnce(&mut [u8])) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    let checksum = *blake3::hash(&bytes[..312]).as_bytes();
    bytes[312..].copy_from_slice(&checksum[..8]);
    fs::write(path, bytes).unwrap();
}

#[test]
fn keys_are_added_listed_changed_and_removed() {
    let dir = with_keys(KeyMode::Passphrase);
    let first = slots(&dir).remove(0);
    let id = first.file_name().unwrap().to_str().unwrap().to_owned();
    let added =
        dir.run_with(&with_new("two"), b"", &["key", "add", "--label", "the laptop", "repo"]);
    assert_eq!(added.succeeds(), "Key added\n");
    assert!(opens(&dir, "two") && opens(&dir, PASSPHRASE));
    let listed = dir.run(&["key", "list", "repo"]).succeeds();
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let line = |text: &str| listed.lines().find(|line| line.contains(text)).unwrap();
    assert!(line("256 MiB, 3 passes   the laptop").contains("20"), "{listed}");
    let expected = format!("{}  Mon Sep 21 14:13:20 2026  8 KiB, 1 passes", &id[..8]);
    assert_eq!(line("8 KiB"), expected);

    let twin = dir.run_with(&with_new("x"), b"", &["key", "add", "--label", "the laptop", "repo"]);
    twin.refused(1, "a key is called the laptop already");
    let by_two = [("GARRET_PASSPHRASE", "two"), ("GARRET_NEW_PASSPHRASE", "three")];
    dir.run_with(&by_two, b"", &["key", "change", "repo"]).succeeds();
    assert!(!opens(&dir, "two") && opens(&dir, "three") && opens(&dir, PASSPHRASE));
    let listed = dir.run(&["key", "list", "repo"]).succeeds();
    assert!(listed.contains("the laptop"), "it keeps its label: {listed}");

    let by_three = [("GARRET_PASSPHRASE", "three")];
    let in_use = dir.run_with(&by_three, b"", &["key", "remove", "repo", "the laptop"]);
    in_use.refused(1, "is the key that was opened");
    dir.run_with(&by_three, b"", &["key", "remove", "repo", "nobody"])
        .refused(1, "no key is called nobody");
    let removed = dir.run_with(&by_three, b"", &["key", "remove", "repo", &id[..8]]).succeeds();
    assert!(removed.starts_with(&format!("Key {} removed\n", &id[..8])), "{removed}");
    assert!(!opens(&dir, PASSPHRASE) && opens(&dir, "three"));
    dir.run_with(&by_three, b"", &["key", "remove", "repo", "the laptop"])
        .refused(1, "is the key that was opened");
    assert_eq!(slots(&dir).len(), 1, "the last one stays");
    let relabel = [("GARRET_PASSPHRASE", "three"), ("GARRET_NEW_PASSPHRASE", "three")];
    dir.run_with(&relabel, b"", &["key", "change", "--label", "desk", "repo"]).succeeds();
    assert!(dir.run(&["key", "list", "repo"]).succeeds().ends_with("  desk\n"));
}

#[test]
fn words_of_other_programs_lead_to_ours() {
    let dir = Dir::new();
    for (word, ours) in [("rm", "remove"), ("passwd", "change"), ("lst", "list")] {
        let ran = dir.run(&["key", word, "repo"]);
        assert_eq!(ran.code, Some(2));
        assert!(
            ran.stderr.contains(&format!("a similar subcommand exists: '{ours}'")),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn a_label_is_short_text_and_shown_as_nothing_else_than_it_is() {
    let dir = with_keys(KeyMode::Passphrase);
    for bad in ["a\nb", "\u{202e}x", &"x".repeat(65)] {
        let ran = dir.run_with(&with_new("x"), b"", &["key", "add", "--label", bad, "repo"]);
        assert_eq!((ran.code, slots(&dir).len()), (Some(2), 1), "{bad:?}: {}", ran.stderr);
    }
    // Whoever holds the storage writes what he likes.
    alter(&slots(&dir)[0], |bytes| bytes[168..173].copy_from_slice("\u{202e}\\x".as_bytes()));
    let listed = dir.run(&["key", "list", "repo"]).succeeds();
    assert!(listed.ends_with("  \\u{202e}\\\\x\n"), "{listed}");
    dir.run_with(&WITH, b"", &["list", "repo"]).refused(1, "wrong passphrase");
}

#[test]
fn a_wrong_passphrase_a_damaged_key_and_another_repository_are_three_messages() {
    let dir = with_keys(KeyMode::Passphrase);
    dir.cheap_repository("other", KeyMode::Passphrase);
    let slot = slots(&dir).remove(0);
    dir.run_with(&[("GARRET_PASSPHRASE", "x")], b"", &["list", "repo"])
        .refused(1, "wrong passphrase: it opens no key of this repository");
    let sound = fs::read(&slot).unwrap();
    let mut bytes = sound.clone();
    bytes[240] ^= 1;
    let name = format!("keys/{}", slot.file_name().unwrap().to_str().unwrap());
    for path in both_files(&dir.path("repo"), &name) {
        fs::write(path, &bytes).unwrap();
    }
    let damaged = format!("{name} is damaged at offset 312: key slot: does not match its checksum");
    dir.run_with(&WITH, b"", &["list", "repo"]).refused(1, &damaged);
    let ran = dir.run(&["key", "list", "repo"]);
    assert!(ran.reports(&damaged).ends_with("  cannot be used\n"));
    // With its second copy it can.
    fs::write(&slot, &sound).unwrap();
    let copy = dir.path(&format!("repo/copies/{}", slot.file_name().unwrap().to_str().unwrap()));
    fs::copy(&slot, copy).unwrap();
    fs::write(&slot, &bytes).unwrap();
    let ran = dir.run(&["key", "list", "repo"]);
    let listed = ran.reports(&format!("{damaged}; its second copy was used"));
    assert!(!listed.contains("cannot be used"), "{listed}");
    let ran = dir.run_with(&WITH, b"", &["check", "repo"]);
    let said = format!("{damaged}; its second copy was used: garret check --repair puts it back");
    assert!(ran.code == Some(1) && ran.stderr.contains(&said), "{}", ran.stderr);
    // A spare one is not opened by anybody until it is needed.
    let spare = dir.write(&format!("repo/keys/{}", "ab".repeat(16)), &bytes);
    for path in both_files(&dir.path("repo"), &name) {
        fs::write(path, &sound).unwrap();
    }
    let checked = dir.run_with(&WITH, b"", &["check", "repo"]).reports("is damaged at offset 312");
    assert!(!checked.contains("Repository check complete"), "{checked}");
    dir.run_with(&WITH, b"", &["check", "--archives-only", "repo"]).succeeds();
    fs::remove_file(spare).unwrap();
    for path in both_files(&dir.path("repo"), &name) {
        fs::copy(files_below(&dir.path("other/keys")).remove(0), path).unwrap();
    }
    dir.run_with(&WITH, b"", &["list", "repo"])
        .refused(1, &format!("{name} belongs to another repository"));
    // A damaged one can go, by its id.
    fs::write(&slot, &sound).unwrap();
    dir.write(&format!("repo/keys/{}", "ab".repeat(16)), &bytes);
    dir.run_with(&WITH, b"", &["key", "remove", "repo", "abab"]).succeeds();
    assert_eq!(slots(&dir), [slot]);
}

#[test]
fn what_opened_a_repository_is_tried_first_the_next_time() {
    let dir = with_keys(KeyMode::Passphrase);
    let known = || {
        let state = files_below(&dir.path("state")).remove(0);
        let state: serde_json::Value = serde_json::from_slice(&fs::read(state).unwrap()).unwrap();
        state["slot"].as_str().unwrap().to_owned()
    };
    let first = known();
    dir.run_with(&with_new("two"), b"", &["key", "add", "repo"]).succeeds();
    assert_eq!(known(), first);
    assert!(opens(&dir, "two"));
    let second = known();
    assert_ne!(second, first);
    let slot = dir.path(&format!("repo/keys/{second}"));
    assert!(Slot::decode(&fs::read(&slot).unwrap()).is_ok());
    // A slot of that name that is none of it, or of none, is in nobody's way.
    fs::write(&slot, b"garretK\x01").unwrap();
    assert!(opens(&dir, PASSPHRASE));
    assert_eq!(known(), first);
}

#[test]
fn a_second_key_file_opens_on_another_machine() {
    let dir = with_keys(KeyMode::Passphrase);
    let made =
        dir.run_with(&with_new(""), b"", &["key", "add", "--key-file", "new/my.key", "repo"]);
    let said = made.succeeds();
    assert!(
        said.starts_with("Key file: new/my.key\nOn the machine that is to use it, it is "),
        "{said}"
    );
    assert_eq!(fs::metadata(dir.path("new/my.key")).unwrap().mode() & 0o777, 0o600);
    assert_eq!(slots(&dir).len(), 1);
    dir.run_with(&with_new("x"), b"", &["key", "add", "--key-file", "new/my.key", "repo"])
        .refused(1, "new/my.key");
    let name =
        said.split_whitespace().find(|word| word.ends_with(".key") && word.len() > 60).unwrap();
    dir.run(&["list", "repo"]).refused(1, "set GARRET_PASSPHRASE");
    fs::create_dir(dir.path("keys")).unwrap();
    fs::rename(dir.path("new/my.key"), dir.path(&format!("keys/{name}"))).unwrap();
    dir.run(&["list", "repo"]).silent();
    let listed = dir.run(&["key", "list", "repo"]).succeeds();
    let last = listed.lines().last().unwrap();
    assert!(last.starts_with("key file  ") && last.contains("no passphrase"), "{listed}");
    // Whoever has the key file may remove every key in the repository.
    let id = slots(&dir)[0].file_name().unwrap().to_str().unwrap().to_owned();
    dir.run(&["key", "remove", "repo", &id]).succeeds();
    dir.run(&["list", "repo"]).silent();
}

#[test]
fn a_repository_with_a_key_file_takes_passphrases_too() {
    let dir = with_keys(KeyMode::Keyfile);
    dir.run_with(&with_new("two"), b"", &["key", "add", "--label", "spare", "repo"]).succeeds();
    assert!(opens(&dir, "two") && opens(&dir, PASSPHRASE));
    // What is changed is what was opened.
    let two = [("GARRET_PASSPHRASE", "two"), ("GARRET_NEW_PASSPHRASE", "three")];
    assert_eq!(
        dir.run_with(&two, b"", &["key", "change", "repo"]).succeeds(),
        "Passphrase changed\n"
    );
    let changed = dir.run_with(&with_new("four"), b"", &["key", "change", "repo"]).succeeds();
    assert!(changed.starts_with("Key file \""), "{changed}");
    let key = files_below(&dir.path("keys")).remove(0);
    fs::write(&key, b"damaged").unwrap();
    let told = dir.run_with(&[("GARRET_PASSPHRASE", "three")], b"", &["list", "repo"]);
    let is_told =
        told.stderr.starts_with("garret: Warning: ") && told.stderr.contains(".key is damaged");
    assert!(told.code == Some(0) && is_told, "in nobody's way: {}", told.stderr);
    let four = [("GARRET_PASSPHRASE", "four")];
    dir.run_with(&four, b"", &["list", "repo"]).refused(1, ".key is damaged");
    fs::remove_file(&key).unwrap();
    assert!(opens(&dir, "three") && !opens(&dir, "four"));
}

#[test]
fn an_unencrypted_repository_has_no_keys() {
    let dir = Dir::with_repository();
    for arguments in [
        &["key", "list", "repo"][..],
        &["key", "add", "repo"],
        &["key", "remove", "repo", "x"],
        &["key", "change", "repo"],
        &["key", "export", "--paper", "repo"],
        &["key", "import", "--paper", "repo"],
    ] {
        dir.run(arguments).refused(1, "the repository is not encrypted: it has no keys");
    }
    assert!(!dir.path("repo/keys").exists());
}

#[test]
fn a_paper_opens_when_all_keys_are_lost() {
    let dir = with_keys(KeyMode::Passphrase);
    dir.write("file", b"content");
    dir.run_with(&WITH, b"", &["create", "repo::a", "file"]).silent();
    let paper = dir.run_with(&WITH, b"", &["key", "export", "--paper", "repo"]).succeeds();
    let groups: Vec<&str> = paper.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(groups.len(), 8, "{paper}");
    fs::remove_dir_all(dir.path("repo/keys")).unwrap();
    // What it says to do does.
    let ran = dir.run_with(&WITH, b"", &["list", "repo"]);
    let said = ran.stderr.clone();
    ran.refused(1, "keys/ is empty: no passphrase can open it; copy keys/ from another copy of ");
    let copy = said.split_whitespace().find(|word| word.starts_with("copies/")).unwrap();
    let copy = copy.trim_end_matches(',');
    fs::create_dir(dir.path("repo/keys")).unwrap();
    let back = dir.path("repo").join(copy.replace("copies/", "keys/"));
    fs::copy(dir.path("repo").join(copy), back).unwrap();
    dir.run_with(&WITH, b"", &["list", "repo"]).succeeds();
    for gone in ["repo/keys", "repo/copies"] {
        fs::remove_dir_all(dir.path(gone)).unwrap();
    }
    dir.run_with(&WITH, b"", &["list", "repo"]).refused(1, "keys/ is empty");
    let import = |text: &str| {
        let new = [("GARRET_NEW_PASSPHRASE", "new")];
        dir.run_with(
            &new,
            text.as_bytes(),
            &["key", "import", "--paper", "--label", "again", "repo"],
        )
    };
    let typed = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines: Vec<String> = groups.iter().map(|line| (*line).to_owned()).collect();
        change(&mut lines);
        lines.join("\n")
    };
    let wrong = |group: &str, places: &[usize]| {
        let mut group = group.as_bytes().to_vec();
        places
            .iter()
            .for_each(|place| group[*place] = if group[*place] == b'7' { b'4' } else { b'7' });
        String::from_utf8(group).unwrap()
    };
    import(&typed(&|lines| drop(lines.pop()))).refused(1, "standard input has 7 groups");
    import(&typed(&|lines| lines[2].truncate("3: ABCDE FGHJ".len())))
        .refused(1, "group 3 has 9 characters, and should have 10");
    import(&typed(&|lines| lines.swap(2, 5)))
        .refused(1, "group 3 is mistyped in more than one place");
    import(&typed(&|lines| lines[4] = "5: !!!!! !!!!!".to_owned()))
        .refused(1, "group 5 is mistyped");
    assert!(!dir.path("repo/keys").exists(), "nothing was changed");
    let ran = import(&typed(&|lines| lines[3] = wrong(&lines[3], &[5])));
    assert_eq!(ran.stderr, "garret: note: group 4: character 3 was wrong and was put right\n");
    assert_eq!((ran.code, &ran.stdout[..]), (Some(0), &b"Key added\n"[..]));
    let new = [("GARRET_PASSPHRASE", "new")];
    assert!(dir.run_with(&new, b"", &["list", "repo"]).succeeds().starts_with("a "));
    // What export printed, as it is; and typed in another way.
    fs::remove_dir_all(dir.path("repo/keys")).unwrap();
    import(&paper).succeeds();
    fs::remove_dir_all(dir.path("repo/keys")).unwrap();
    let bare: Vec<&str> = groups.iter().map(|line| line.split_once(": ").unwrap().1).collect();
    import(&bare.join("\r\n\n").to_lowercase().replace(' ', "-")).succeeds();
    assert!(opens(&dir, "new"));
    dir.cheap_repository("other", KeyMode::Passphrase);
    let other = [("GARRET_NEW_PASSPHRASE", "new")];
    dir.run_with(&other, paper.as_bytes(), &["key", "import", "--paper", "other"])
        .refused(1, "the recovery key belongs to another repository");
}

#[test]
fn a_paper_is_typed_in_group_by_group() {
    let dir = with_keys(KeyMode::Passphrase);
    let paper = dir.run_with(&WITH, b"", &["key", "export", "--paper", "repo"]).succeeds();
    let groups =
        paper.lines().filter_map(|line| line.split_once(": ").filter(|(n, _)| n.len() == 1));
    let mut lines: Vec<String> = groups.map(|(_, group)| group.to_owned()).collect();
    lines.insert(1, "too short".to_owned());
    let typed = lines.join("\n") + "\n";
    let new = [("GARRET_NEW_PASSPHRASE", "new")];
    let arguments = "key import --paper repo";
    let (code, seen) = super::attic::on_a_terminal_with(&dir, &new, arguments, &typed);
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains("group 2 has 8 characters, and should have 10, try again"), "{seen}");
    assert!(opens(&dir, "new"));
}

#[test]
fn a_command_gives_the_passphrase() {
    let dir = with_keys(KeyMode::Passphrase);
    dir.write("file", b"content");
    let run = |command: &str, arguments: &[&str]| {
        dir.run_with(&[("GARRET_PASSCOMMAND", command)], b"from stdin", arguments)
    };
    // Also where the program may start nothing any more, and without what is to be backed up.
    let command = format!("echo '{PASSPHRASE}'; cat >&2");
    run(&command, &["create", "repo::a", "file", "-"]).silent();
    let content = run(&command, &["extract", "--stdout", "repo::a", "stdin"]);
    assert_eq!((content.code, &content.stdout[..]), (Some(0), &b"from stdin"[..]));
    run(&format!("printf %s '{PASSPHRASE}'"), &["list", "repo"]).succeeds();
    run(&format!("echo '{PASSPHRASE}'; echo"), &["list", "repo"]).refused(1, "wrong passphrase");
    for (command, why) in [
        ("echo secret; exit 3", "exit status 3"),
        ("kill -9 $$; : secret", "signal 9"),
        (": secret", "it printed no passphrase"),
        ("yes secret", "it is longer than 65536 bytes"),
    ] {
        let ran = run(command, &["list", "repo"]);
        assert!(!ran.stderr.contains("secret"), "the command is not shown: {}", ran.stderr);
        ran.refused(1, &format!("the command in GARRET_PASSCOMMAND failed: {why}"));
    }
    // Its own words are seen.
    let ran = run("echo no such entry >&2; false", &["list", "repo"]);
    assert!(
        ran.stderr.starts_with("no such entry\ngarret: Error: the command in "),
        "{}",
        ran.stderr
    );
    let both = |one: (&'static str, &'static str), command: &str| {
        let both = [one, ("GARRET_PASSCOMMAND", command)];
        dir.run_with(&both, b"", &["list", "repo"])
    };
    both(("GARRET_PASSPHRASE", PASSPHRASE), "touch ran; false").succeeds();
    both(("ATTIC_PASSPHRASE", "wrong"), &command).succeeds();
    let hidden = format!("test -z \"$ATTIC_PASSPHRASE$GARRET_PASSCOMMAND\" && {command}");
    both(("ATTIC_PASSPHRASE", "wrong"), &hidden).succeeds();
    // Nothing is run for what needs no passphrase.
    dir.run(&["init", "plain"]).succeeds();
    run("touch ran", &["list", "plain"]);
    assert!(!dir.path("ran").exists());
    run("touch ran", &["create", "plain::a", "file"]).silent();
    let unknown = dir.path("other-state");
    let unknown = ("GARRET_STATE_DIR", unknown.to_str().unwrap());
    let surprised =
        "a previously unknown unencrypted repository plain, though a passphrase is given";
    dir.run_with(
        &[unknown, ("GARRET_PASSCOMMAND", "touch ran")],
        b"",
        &["create", "plain::b", "file"],
    )
    .refused(1, surprised);
    dir.write("phrase", b"x");
    dir.run_with(&[unknown], b"", &["create", "--passphrase-file", "phrase", "plain::b", "file"])
        .refused(1, surprised);
    assert!(!dir.path("ran").exists());
    run(&command, &["init", "new"]).succeeds();
    assert_eq!(
        files_below(&dir.path("new/keys")).len(),
        1,
        "whoever has a passphrase wants encryption"
    );
}

#[test]
fn a_file_gives_the_passphrase() {
    let dir = with_keys(KeyMode::Passphrase);
    let file = dir.write("phrase", format!("{PASSPHRASE}\n").as_bytes());
    let chmod = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    chmod(0o600);
    let list = ["list", "--passphrase-file", "phrase", "repo"];
    dir.run(&list).silent();
    let wrong = [("GARRET_PASSPHRASE", "wrong"), ("GARRET_PASSCOMMAND", "false")];
    dir.run_with(&wrong, b"", &list).silent();
    for mode in [0o620, 0o602, 0o666] {
        chmod(mode);
        dir.run(&list).refused(1, "others can write to this passphrase file");
    }
    chmod(0o644);
    let told = dir.run(&list);
    assert_eq!(told.code, Some(0));
    assert!(
        told.stderr.contains("others can read this passphrase file (mode 644)"),
        "{}",
        told.stderr
    );
    chmod(0o600);
    for (content, why) in [
        (&b""[..], "there is no passphrase in it"),
        (b"\n", "there is no passphrase in it"),
        (b"correct horse\n\n", "wrong passphrase"),
        (&[b'x'; (64 << 10) + 1], "it is longer than 65536 bytes"),
    ] {
        fs::write(&file, content).unwrap();
        dir.run(&list).refused(1, why);
    }
    fs::write(&file, PASSPHRASE).unwrap();
    dir.write("file", b"content");
    for line in [
        "create repo::a file",
        "info repo",
        "info repo::a",
        "diff repo::a a",
        "compare repo::a",
        "extract -n repo::a",
        "check repo",
        "prune -n -d 1 repo",
        "key list repo",
        "delete repo::a",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let list = words[..2] == ["key", "list"];
        let given: &[&str] = if list { &[] } else { &["--passphrase-file", "phrase"] };
        dir.run(&[&words, given].concat()).succeeds();
    }
    dir.run(&["list", "--passphrase-file", "none", "repo"]).refused(1, "none");
    dir.run(&["init", "--passphrase-file", "phrase", "new"]).succeeds();
    assert_eq!(files_below(&dir.path("new/keys")).len(), 1);
}
