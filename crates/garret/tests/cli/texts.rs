//! What the commands print, word for word but for times, ids and what depends on the machine.

use super::{Dir, MIB, fill_noise};

const RULE: &str = "------------------------------------------------------------------------------";

/// The text with times as TIME, ids as ID, seconds as SECS, and the size of the whole repository as SIZE.
fn mask(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let (line, ending) = match line.len().checked_sub(24).map(|at| line.split_at(at)) {
            Some((front, time)) if is_long_time(time) => (front, "TIME"),
            _ => (line, ""),
        };
        let words: Vec<&str> = line.split(' ').collect();
        let words: Vec<&str> =
            words.into_iter().map(|word| if is_id(word) { "ID" } else { word }).collect();
        let mut line = words.join(" ") + ending;
        for label in ["Duration: ", "Seconds per GB: "] {
            if line.starts_with(label) {
                line = format!("{label}SECS");
            }
        }
        if line.starts_with("All archives:") {
            line = format!("{}{:>20}", &line[..58], "SIZE");
        }
        line + "\n"
    });
    lines.collect()
}

/// Whether it is like `Mon Mar 24 11:59:35 2014`.
fn is_long_time(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|c| match c {
            '0'..='9' => '0',
            'A'..='Z' => 'A',
            'a'..='z' => 'a',
            other => other,
        })
        .collect();
    matches!(shape.as_str(), "Aaa Aaa 00 00:00:00 0000" | "Aaa Aaa  0 00:00:00 0000")
}

fn is_id(word: &str) -> bool {
    word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A repository with one archive of an image of 1 MiB noise and 1 MiB hole.
fn one_archive() -> (Dir, String) {
    let dir = Dir::with_repository();
    let mut bytes = vec![0; MIB];
    fill_noise(&mut bytes, 1);
    let path = dir.write("vm.img", &bytes);
    std::fs::File::options().write(true).open(path).unwrap().set_len(2 * MIB as u64).unwrap();
    let create = ["create", "--stats", "--compression", "none", "repo::night-1", "vm.img"];
    let stats = dir.run(&create).succeeds();
    (dir, stats)
}

#[test]
fn create_shows_statistics_in_attic_s_frame() {
    let (_dir, stats) = one_archive();
    let expected = format!(
        "{RULE}
Archive name: night-1
Archive fingerprint: ID
Start time: TIME
End time: TIME
Duration: SECS
Number of files: 1

                       Original size      Compressed size    Deduplicated size
This archive:                2.10 MB                    -              1.05 MB
All archives:                2.10 MB                    -                 SIZE

Read: 1.05 MB, holes: 1.05 MB, untouched: 0 B
New data: 1.05 MB in NUMBER chunks, stored in 1.05 MB (1.00 : 1)
Seconds per GB: SECS
{RULE}
"
    );
    let masked = mask(&stats);
    let number = masked.split(" in ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert!(number.parse::<u32>().is_ok(), "{masked}");
    assert_eq!(masked.replace(&format!(" in {number} chunks"), " in NUMBER chunks"), expected);
}

#[test]
fn list_has_attic_s_columns() {
    let (dir, _) = one_archive();
    let listed = dir.run(&["list", "repo"]).succeeds();
    assert_eq!(mask(&listed), "night-1                              TIME\n");
    dir.write("tree/file", b"12345");
    std::os::unix::fs::symlink("file", dir.path("tree/link")).unwrap();
    dir.write("tree/bad\nname", b"");
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_395_662_375);
    std::fs::File::open(dir.path("tree/file")).unwrap().set_modified(old).unwrap();
    dir.run(&["create", "repo::tree", "tree"]).silent();
    let listed = dir.run(&["list", "repo::tree"]).succeeds();
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 4, "{listed}");
    assert!(lines[0].starts_with("drwxr-xr-x ") && lines[0].ends_with(" tree"), "{listed}");
    assert!(lines[1].ends_with(" tree/bad\\nname"), "{listed}");
    assert!(lines[2].starts_with("-rw-r--r-- "), "{listed}");
    assert!(lines[2].ends_with("        5 Mar 24  2014 tree/file"), "{listed}");
    assert!(lines[3].starts_with("lrwxrwxrwx ") && lines[3].ends_with(" tree/link -> file"));
}

#[test]
fn info_has_attic_s_labels() {
    let (dir, _) = one_archive();
    let info = mask(&dir.run(&["info", "repo::night-1"]).succeeds());
    let lines: Vec<&str> = info.lines().collect();
    assert_eq!(lines[..2], ["Name: night-1", "Fingerprint: ID"]);
    assert!(lines[2].starts_with("Hostname: ") && lines[3].starts_with("Username: "), "{info}");
    assert_eq!(lines[4], "Time: TIME");
    assert!(lines[5].starts_with("Command line: ") && lines[5].ends_with("repo::night-1 vm.img"));
    assert_eq!(
        lines[6..],
        [
            "Number of files: 1",
            "Duration: SECS",
            "Read: 1.05 MB, new data: 1.05 MB, stored in 1.05 MB",
            "",
            "                       Original size      Compressed size    Deduplicated size",
            "This archive:                2.10 MB                    -                    -",
            "All archives:                2.10 MB                    -                 SIZE",
        ]
    );
    let now = dir.run(&["info", "--now", "repo::night-1"]).succeeds();
    assert!(now.contains("\nTakes now: about 1.05 MB, of what no older archive has\n"), "{now}");
    dir.run(&["info", "--now", "repo"]).refused(2, "--now is about an archive: give REPO::NAME");
    let info = mask(&dir.run(&["info", "repo"]).succeeds());
    assert_eq!(
        info,
        "Repository: repo\nRepository id: ID\nEncryption: none\nCreated: TIME\nNumber of archives: 1\n\
         Verified: none of 3 packs\n\n\
         \x20                      Original size      Compressed size    Deduplicated size\n\
         All archives:                2.10 MB                    -                 SIZE\n"
    );
}

#[test]
fn init_says_what_it_made() {
    let dir = Dir::new();
    let said = mask(&dir.run(&["init", "repo"]).succeeds());
    let expected = "Initializing repository at \"repo\"\nEncryption: none\nRepository id: ID\n\
                    Encryption NOT enabled.\n\
                    Use the \"--encryption=passphrase|keyfile\" to enable encryption.\n";
    assert_eq!(said, expected);
}

#[test]
fn prune_says_what_it_keeps_and_deletes_when_asked() {
    let (dir, _) = one_archive();
    for name in ["night-2", "night-3", "other"] {
        dir.run(&["create", &format!("repo::{name}"), "vm.img"]).silent();
    }
    let dry = ["prune", "-n", "-v", "-y", "-1", "-p", "night-", "repo"];
    let expected = "Keeping archive: night-3                              TIME\n\
                    Would prune:     night-2                              TIME\n\
                    Would prune:     night-1                              TIME\n";
    let said = dir.run(&dry).succeeds();
    let (plan, space) = said.split_once("Would free:      about ").unwrap();
    assert_eq!(mask(&plan.replace(" (yearly #1)", "")), expected);
    assert!(space.contains(" B in ") || space.contains(" kB in "), "{space}");
    // attic is silent without -v; a dry run that shows nothing is of no use.
    assert_eq!(dir.run(&["prune", "-n", "-y", "-1", "-p", "night-", "repo"]).succeeds(), said);
    assert_eq!(dir.archives("repo").len(), 4, "a dry run deletes nothing");
    dir.run(&["prune", "--keep-within", "1H", "repo"]).silent();
    assert_eq!(dir.archives("repo").len(), 4, "all are young");
    let real = ["prune", "-v", "-s", "--keep-y", "1", "--prefix=night-", "repo"];
    let said = mask(&dir.run(&real).succeeds());
    let table = "                       Original size      Compressed size    Deduplicated size\n\
                 Deleted data:               -4.19 MB                    -";
    let pruned = expected.replace("Would prune:     ", "Pruning archive: ");
    assert!(said.starts_with(&(pruned + table)), "{said}");
    assert_eq!(dir.archives("repo"), ["night-3", "other"]);
}

#[test]
fn check_says_attic_s_sentences() {
    let (dir, _) = one_archive();
    let repository =
        "Starting repository check...\nRepository check complete, no problems found.\n";
    let archives = "Starting archive consistency check...\n\
                    Archive consistency check complete, no problems found.\n";
    let said = |options: &[&str]| dir.run(&[&["check", "repo"], options].concat()).succeeds();
    assert_eq!(said(&[]), format!("{repository}{archives}"));
    assert_eq!(said(&["--verify-data"]), format!("{repository}{archives}"));
    assert_eq!(said(&["--repository-only"]), repository);
    assert_eq!(said(&["--archives-only"]), archives);
}

#[test]
fn create_shows_each_file_when_asked() {
    let (dir, _) = one_archive();
    let said = dir.run(&["create", "-v", "repo::b", "vm.img", "--cutter", "fastcdc"]).succeeds();
    assert_eq!(said, "vm.img: cutter fastcdc (as asked)\n");
}

#[test]
fn no_arguments_are_a_call_for_help() {
    let dir = Dir::new();
    let help = dir.run(&[]).succeeds();
    assert_eq!(help, dir.run(&["--help"]).succeeds());
    assert_eq!(help, dir.run(&["help"]).succeeds());
    for word in ["create", "extract", "Exit codes:", "GARRET_PASSPHRASE", "REPO::NAME"] {
        assert!(help.contains(word), "{word}");
    }
    let help = dir.run(&["help", "prune"]).succeeds().replace('\n', " ");
    assert!(help.contains("by local time") && help.contains("Space is given back in any case"));
    let version = format!("garret {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(dir.run(&["--version"]).succeeds(), version);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (dir, _) = one_archive();
    for (arguments, codes) in
        [(&["list", "repo"][..], 0), (&["extract", "--stdout", "repo::night-1"], 1)]
    {
        let mut child = dir.command(arguments).spawn().unwrap();
        drop(child.stdout.take());
        drop(child.stdin.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(output.status.code(), Some(codes), "{arguments:?}");
    }
}

#[test]
fn an_archive_under_another_name_says_what_it_was_made_as() {
    let (dir, _) = one_archive();
    std::fs::rename(dir.path("repo/backups/night-1"), dir.path("repo/backups/night-2")).unwrap();
    let listed = dir.run(&["list", "repo"]).succeeds();
    assert!(listed.starts_with("night-2 ") && listed.ends_with(" (made as night-1)\n"), "{listed}");
    let ran = dir.run(&["extract", "--destination", "out", "repo::night-2"]);
    assert_eq!(ran.code, Some(0));
    assert_eq!(ran.stderr, "garret: note: archive night-2 was made as night-1\n");
    assert_eq!(dir.read("out/vm.img"), dir.read("vm.img"));
}
