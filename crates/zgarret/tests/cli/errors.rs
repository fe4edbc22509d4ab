//! Every way to ask for what cannot be: zbackup's text on one line of stderr, exit code 1, nothing half done.

use std::fs;

use super::{Dir, PLAIN, ours};

#[test]
fn init_refuses_what_is_there_and_what_cannot_be() {
    let dir = Dir::with_repository();
    dir.write("full/file", b"x");
    dir.write("old/info", b"x");
    fs::create_dir(dir.path("empty")).unwrap();
    for (path, line) in [
        ("repo", "Won't overwrite existing file repo/config"),
        ("old", "Won't overwrite existing file old/info"),
        ("full", "full is not empty: choose an empty or new directory"),
        ("full/file", "Can't create directory full/file"),
        ("none/repo", "Can't create directory none/repo"),
    ] {
        dir.run(&[PLAIN, "init", path]).fails_saying(line);
    }
    dir.run(&["init", "new"]).fails_saying("Specify either --password-file or --non-encrypted");
    assert!(!dir.path("new").exists() && !dir.path("none").exists());
    dir.run(&["init", "empty", PLAIN]).silent();
}

#[test]
fn a_path_outside_of_backups_is_refused() {
    let dir = Dir::with_repository();
    dir.write("file", b"x");
    dir.write("repo/backups/a", b"x");
    for path in ["repo/a", "a", "repo/backups", "repo/backups/", "/", "repo/backups/.."] {
        let line = format!("The path must be within the backups/ dir: {path}");
        for arguments in [&["backup", path][..], &["restore", path], &["inspect", path]] {
            dir.feed(b"x", arguments).fails_saying(&line);
        }
        dir.run(&["restore", path, "out"]).fails_saying(&line);
        dir.run(&["backup", "file", path]).fails_saying(&line);
    }
    assert!(!dir.path("out").exists());
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let dir = Dir::with_repository();
    fs::create_dir(dir.path("bare")).unwrap();
    for (path, parent) in
        [("none/backups/a", "none/backups"), ("no/a", "no"), ("bare/backups/a", "bare/backups")]
    {
        let line = format!("Can't real path of {parent}");
        for command in ["backup", "restore", "inspect"] {
            dir.feed(b"x", &[command, path]).fails_saying(&line);
        }
    }
    // Only a backup that is made brings its directories.
    for command in ["restore", "inspect"] {
        dir.run(&[command, "repo/backups/sub/a"])
            .fails_saying("Can't real path of repo/backups/sub");
    }
    dir.feed(b"x", &["backup", "repo/backups/sub/../a"])
        .fails_saying("Can't real path of repo/backups/sub/..");
    for arguments in
        [&["gc", "none"][..], &["info", "none"], &["passwd", "none"], &["config", "none"]]
    {
        dir.run(arguments).fails_saying("Can't real path of none");
    }
    assert_eq!(fs::read_dir(dir.path("repo/backups")).unwrap().count(), 0);
    // What only garret takes is not looked for among directories without a word.
    let only = ": zgarret takes directories only; use garret for other hosts and stores";
    for place in ["s3://bucket/prefix", "root@host:/srv/repo", "ssh://host/repo"] {
        dir.feed(b"x", &["backup", &format!("{place}/backups/a")])
            .fails_saying(&format!("Can't real path of {place}/backups{only}"));
        dir.run(&["gc", place]).fails_saying(&format!("Can't real path of {place}{only}"));
        dir.run(&["init", "--non-encrypted", place])
            .fails_saying(&format!("Can't create directory {place}{only}"));
    }
}

#[test]
fn what_is_no_repository_is_named() {
    let dir = Dir::new();
    fs::create_dir_all(dir.path("empty/backups")).unwrap();
    let place = dir.temp.path().canonicalize().unwrap();
    let none =
        format!("{}/empty is not a valid repository: it has no file config", place.display());
    dir.run(&["gc", "empty"]).fails_saying(&none);
    dir.feed(b"x", &["backup", "empty/backups/a"]).fails_saying(&none);
    dir.write("file", b"x");
    let file = format!("{}/file is not a valid repository: it is a file", place.display());
    dir.run(&["info", "file"]).fails_saying(&file);
    dir.write("old/info", b"x");
    fs::create_dir(dir.path("old/bundles")).unwrap();
    let old = format!(
        "{}/old is a repository of zbackup, whose format is another: make a new one with zgarret init",
        place.display()
    );
    dir.run(&["gc", "old"]).fails_saying(&old);
}

#[test]
fn a_backup_that_is_there_or_not_is_named_before_anything_is_read() {
    let dir = Dir::with_repository();
    dir.feed(b"first", &["backup", "repo/backups/a"]).silent();
    dir.write("file", b"second");
    let line = "Won't overwrite existing file repo/backups/a";
    dir.feed(b"second", &["backup", "repo/backups/a"]).fails_saying(line);
    dir.run(&["backup", "file", "repo/backups/a"]).fails_saying(line);
    // Standard input stays open: a program that read it would wait for ever.
    let script = "mkfifo pipe; exec 3<> pipe; timeout 20 zbackup backup repo/backups/a <&3";
    dir.shell(ours(), script).fails_saying(line);
    assert_eq!(dir.restored("repo/backups/a"), b"first");
    let missing = "Can't open file repo/backups/none";
    dir.run(&["restore", "repo/backups/none"]).fails_saying(missing);
    dir.run(&["restore", "repo/backups/none", "out"]).fails_saying(missing);
    dir.run(&["inspect", "repo/backups/none"]).fails_saying(missing);
    assert!(!dir.path("out").exists());
    dir.run(&["backup", "none", "repo/backups/b"])
        .fails_saying("Can't open none: No such file or directory");
    assert_eq!(dir.archives("repo"), ["a"]);
}

#[test]
fn a_terminal_is_neither_read_nor_written() {
    let dir = Dir::with_repository();
    dir.feed(b"content", &["backup", "repo/backups/a"]).silent();
    for (command, line) in [
        ("zbackup backup repo/backups/b", "Won't read data from a terminal"),
        ("zbackup restore repo/backups/a", "Won't write data to a terminal"),
    ] {
        let ran = dir.shell(ours(), &format!("script -qec '{command}; echo exit $?' /dev/null"));
        let seen = String::from_utf8_lossy(&ran.stdout).replace('\r', "");
        assert_eq!(seen, format!("{line}\nexit 1\n"));
    }
    assert_eq!(dir.archives("repo"), ["a"]);
}

#[test]
fn values_out_of_bounds_are_named() {
    let dir = Dir::with_repository();
    let unsupported = "zgarret doesn't support foo compression. Supported compression methods: \
                       lzma, lzma,PRESET, lzo, lzo1x_1, zero, none, lz4, zstd, zstd,LEVEL";
    let exchange = "Invalid exchange value specified: foo. \
                    Must be one of the following: backups, bundles, indexes.";
    let suffix = "Invalid suffix specified: tb. Valid suffixes: B, KiB, MiB, GiB, KB, MB, GB";
    for (flags, line) in [
        (&["--threads", "0"][..], "Invalid threads value specified: 0"),
        (&["--threads", "-1"], "Invalid threads value specified: -1"),
        (&["--threads", "x"], "Invalid threads value specified: x"),
        (&["-O", "threads=0"], "Invalid threads value specified: 0"),
        (&["--cache-size", "1tb"], suffix),
        (&["--cache-size", "mb"], "Invalid option specified: cache-size=mb"),
        (&["--compression", "foo"], unsupported),
        (&["-o", "compression=foo"], unsupported),
        (&["--exchange", "foo"], exchange),
        (&["-O", "foo"], "Invalid option specified: foo"),
        (&["-O", "threads"], "Invalid option specified: threads"),
        (&["-o", "foo=1"], "Invalid option specified: foo=1"),
        (
            &["-o", "lzma.compression_level=20"],
            "Invalid option specified: lzma.compression_level=20",
        ),
        (&["--frob"], "Error: unknown command line option: --frob"),
        (&["--threads=8"], "Error: unknown command line option: --threads=8"),
    ] {
        dir.run(&[flags, &["--silent", "gc", "repo"]].concat()).fails_saying(line);
    }
    dir.run(&["gc", "repo", "--threads"])
        .fails_saying("Error: unknown command line option: --threads");
    dir.run(&["frob", "repo"]).fails_saying("Error: unknown command line option: frob");
    dir.run(&["nbd", "repo/backups/a", "/dev/nbd0"])
        .fails_saying("nbd is not there yet: restore to a file or block device instead");
}

#[test]
fn the_wrong_number_of_words_shows_how_a_command_is_used() {
    let dir = Dir::with_repository();
    for (arguments, line) in [
        (&["init"][..], "Usage: zgarret init <storage path>"),
        (&["init", "a", "b"], "Usage: zgarret init <storage path>"),
        (&["restore"], "Usage: zgarret restore <backup file name> [output file name]"),
        (
            &["restore", "a", "b", "c"],
            "Usage: zgarret restore <backup file name> [output file name]",
        ),
        (
            &["export", "a"],
            "Usage: zgarret export <source storage path> <destination storage path>",
        ),
        (
            &["import", "a"],
            "Usage: zgarret import <source storage path> <destination storage path>",
        ),
        (&["gc"], "Usage: zgarret gc [fast|deep] <storage path>"),
        (&["gc", "frob", "repo"], "Usage: zgarret gc [fast|deep] <storage path>"),
        (&["passwd"], "Usage: zgarret passwd <storage path>"),
        (&["inspect"], "Usage: zgarret inspect [fast|deep] <backup file name>"),
        (&["config"], "Usage: zgarret config [show|edit|set|reset] <storage path>"),
        (&["config", "frob", "repo"], "Usage: zgarret config [show|edit|set|reset] <storage path>"),
        (&["info"], "Usage: zgarret info <storage path>"),
    ] {
        dir.run(arguments).fails_saying(line);
    }
    let usage = "Usage 1: your_backup_command | zgarret backup <backup file name>\n\
                 Usage 2: zgarret backup <file> <backup file name>\n\
                 Usage 3: zgarret backup <directory> <backup subdirectory>";
    dir.run(&["backup"]).fails_saying(usage);
    dir.run(&["backup", "a", "b", "c"]).fails_saying(usage);
}

#[test]
fn an_output_that_cannot_be_is_named_and_the_repository_is_none() {
    let dir = Dir::with_repository();
    dir.feed(b"content", &["backup", "repo/backups/a"]).silent();
    fs::create_dir(dir.path("directory")).unwrap();
    for output in ["none/out", "directory", "", ".."] {
        let line = format!("Can't open file {output}");
        dir.run(&["restore", "repo/backups/a", output]).fails_saying(&line);
    }
    for output in ["repo/backups/a", "repo/backups/b", "repo/config"] {
        let line = format!("Won't write into the repository: {output}");
        dir.run(&["restore", "repo/backups/a", output]).fails_saying(&line);
    }
    assert_eq!(dir.restored("repo/backups/a"), b"content");
}

#[test]
fn an_output_that_takes_no_more_is_an_error_to_the_last_byte() {
    let dir = Dir::with_repository();
    for (name, len) in [("small", 3000), ("large", 3_000_000)] {
        let path = format!("repo/backups/{name}");
        dir.feed(&super::noise(len, 1), &["backup", &path]).silent();
        let line = "Error writing to standard output";
        dir.shell(ours(), &format!("zbackup restore {path} > /dev/full")).fails_saying(line);
        dir.run(&["restore", &path, "/dev/full"]).fails_saying("Error writing to /dev/full");
        let script = format!("zbackup restore {path} | true; exit ${{PIPESTATUS[0]}}");
        let ran = dir.shell(ours(), &script);
        assert!(ran.code == Some(0) || (ran.code, ran.stderr.as_str()) == (Some(1), ""));
    }
}

#[test]
fn damage_is_found_before_it_is_written() {
    let dir = Dir::with_repository();
    dir.feed(&super::noise(super::MIB, 2), &["backup", "repo/backups/a"]).silent();
    dir.write("out", b"what was there");
    let packs = dir.path("repo/packs");
    for name in super::files_below(&packs) {
        let mut bytes = fs::read(packs.join(&name)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(packs.join(&name), bytes).unwrap();
    }
    for arguments in [&["restore", "repo/backups/a"][..], &["restore", "repo/backups/a", "out"]] {
        let ran = dir.run(arguments);
        assert_eq!((ran.code, ran.stderr.lines().count()), (Some(1), 1), "{}", ran.stderr);
        assert!(super::noise(super::MIB, 2).starts_with(&ran.stdout));
    }
    assert_eq!(dir.read("out"), b"what was there");
    let left = fs::read_dir(dir.temp.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_str().unwrap().contains("restore")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_file_that_would_be_called_temporary_elsewhere_is_the_user_s() {
    let dir = Dir::with_repository();
    dir.feed(b"content", &["backup", "repo/backups/a"]).silent();
    dir.write("out.part", b"precious");
    dir.run(&["restore", "repo/backups/a", "out"]).silent();
    assert_eq!((dir.read("out"), dir.read("out.part")), (b"content".into(), b"precious".into()));
}

/// Names are other people's: nothing that is said about one talks to the terminal.
#[test]
fn what_is_wrong_is_said_without_talking_to_the_terminal() {
    let dir = Dir::with_repository();
    let odd = "\u{1b}[2J\u{7}\u{202e}\r\nx";
    let (flag, backup) = (format!("--{odd}"), format!("repo/backups/{odd}"));
    for arguments in [
        &[odd][..],
        &[&flag],
        &["restore", &backup],
        &["restore", odd],
        &["info", odd],
        &["info", odd, odd],
        &["gc", odd, "repo"],
        &["config", odd, "repo"],
        &["completions", odd],
        &["-O", odd, "gc", "repo"],
        &["-o", odd, "gc", "repo"],
        &["--threads", odd, "gc", "repo"],
    ] {
        let ran = dir.run(arguments);
        let unseen = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(!ran.stderr.is_empty() && !ran.stderr.contains(unseen), "{ran:?}");
    }
}
