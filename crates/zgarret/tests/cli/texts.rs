//! What is said when all is well: nothing, or what zbackup says.

use super::{Dir, MIB, PLAIN, noise, tool};

#[test]
fn help_is_on_stderr_and_ends_with_1() {
    let dir = Dir::new();
    let help = dir.run(&[]);
    assert_eq!((help.code, help.stdout.as_slice()), (Some(1), &b""[..]));
    assert!(help.stderr.contains("Usage: zgarret [flags] <command [action]> [command args]"));
    for arguments in [&["-h"][..], &["--help"], &["backup", "--help", "x"], &["--silent"]] {
        let ran = dir.run(arguments);
        assert_eq!((ran.code, &ran.stderr), (Some(1), &help.stderr), "{arguments:?}");
    }
    for (flag, word) in [("-O", "cache-size"), ("-o", "lzma.compression_level")] {
        let ran = dir.run(&[flag, "help"]);
        assert_eq!((ran.code, ran.stdout.as_slice()), (Some(0), &b""[..]));
        assert!(ran.stderr.contains(word), "{}", ran.stderr);
    }
    let all = help.stderr + &dir.run(&["-O", "help"]).stderr + &dir.run(&["-o", "help"]).stderr;
    assert!(all.lines().all(|line| line.len() <= 100), "{all}");
}

#[test]
fn deprecated_spellings_are_noted_unless_silent() {
    let dir = Dir::with_repository();
    let flags = ["--threads", "2", "--cache-size", "1gb", "--compression", "lzo"];
    let notes = "--threads is deprecated, use -O threads instead\n\
                 --cache-size is deprecated, use -O cache-size instead\n\
                 --compression is deprecated, use -o bundle.compression_method instead\n";
    dir.feed(b"x", &[&flags[..], &["backup", "repo/backups/a"]].concat()).notes(notes);
    dir.feed(b"x", &[&flags[..], &["backup", "repo/backups/b", "--silent"]].concat()).silent();
    dir.run(&["--exchange", "backups", "export", "repo", "repo"])
        .notes("--exchange is deprecated, use -O exchange instead\n");
    let modern = ["-O", "threads=2", "-O", "cache-size=1GiB", "-o", "compression=lzma"];
    dir.feed(b"x", &[&modern[..], &["backup", "repo/backups/c"]].concat()).silent();
    for size in ["1", "40mb", "1gb", "2GiB", "5KB", "5KiB", "7B", "1MiB", "1MB"] {
        dir.run(&["--silent", "--cache-size", size, "gc", "repo"]).silent();
    }
}

#[test]
fn every_method_of_compression_comes_back() {
    let dir = Dir::with_repository();
    let bytes: Vec<u8> = b"a line that compresses\n".iter().copied().cycle().take(MIB).collect();
    for method in ["lzma", "lzo", "lzo1x_1", "zero", "none", "lz4", "zstd", "zstd,19"] {
        let unlike = [method.as_bytes(), &bytes].concat();
        let path = format!("repo/backups/{method}");
        dir.feed(&unlike, &["--silent", "--compression", method, "backup", &path]).silent();
        assert!(dir.restored(&path) == unlike, "{method}");
    }
}

#[test]
fn progress_is_for_terminals_and_not_for_the_silent() {
    let dir = Dir::with_repository();
    dir.feed(&noise(MIB, 1), &["backup", "repo/backups/a"]).silent();
    let seen = |command: &str| {
        let script = format!("TERM=xterm script -qec '{command}' /dev/null");
        let ran = dir.shell(super::ours(), &script);
        (ran.code, String::from_utf8(ran.stdout).unwrap())
    };
    let (code, text) = seen("zbackup restore repo/backups/a out");
    assert!(code == Some(0) && text.contains("Restoring"), "{text}");
    assert_eq!(seen("zbackup --silent restore repo/backups/a out"), (Some(0), String::new()));
    let piped = "zbackup restore repo/backups/a out 2>&1 | cat; test ${PIPESTATUS[0]} = 0";
    dir.shell(super::ours(), piped).silent();
}

/// What is in the lines is held by the tests of `garret`, which writes the same.
#[test]
fn programs_can_have_json_on_stderr() {
    let dir = Dir::with_repository();
    let last = |ran: super::Ran, code: i32| {
        assert_eq!(ran.code, Some(code), "{}", ran.stderr);
        let is_object = |line: &str| line.starts_with('{') && line.ends_with('}');
        assert!(ran.stderr.lines().all(is_object), "{}", ran.stderr);
        let last = ran.stderr.lines().last().unwrap().to_owned();
        assert!(last.contains(&format!("\"code\":{code},")), "{last}");
        assert!(last.contains("\"type\":\"exit\""), "{last}");
        last
    };
    let bytes = noise(MIB, 1);
    last(dir.feed(&bytes, &["--log-json", "backup", "repo/backups/a"]), 0);
    let ran = dir.run(&["restore", "repo/backups/a", "--log-json"]);
    assert!(ran.stdout == bytes && ran.stderr.contains("\"phase\":\"restore\""), "{}", ran.stderr);
    last(ran, 0);
    let quiet = dir.run(&["--silent", "--log-json", "restore", "repo/backups/a"]);
    assert_eq!(quiet.stderr.lines().count(), 1, "{}", quiet.stderr);
    let missing = last(dir.run(&["--log-json", "restore", "repo/backups/none"]), 1);
    assert!(missing.contains("Can't open file"), "{missing}");
    let unused = last(dir.run(&["--log-json", "gc"]), 1);
    assert!(unused.contains("\"cause\":\"invalid\""), "{unused}");
}

#[test]
fn inspect_has_zbackup_s_lines_on_stderr() {
    let dir = Dir::with_repository();
    dir.feed(&noise(MIB, 1), &["backup", "repo/backups/a"]).silent();
    dir.write("data", &noise(MIB, 1));
    let sum = tool("sha256sum", &[dir.path("data").to_str().unwrap()]);
    let sum = sum.split(' ').next().unwrap();
    let head = "Backup file: repo/backups/a\nRestore iterations: 0\nOriginal size: 1048576\nDuration (seconds): ";
    for action in [&[][..], &["fast"], &["deep"]] {
        let ran = dir.run(&[&["inspect"], action, &["repo/backups/a"]].concat());
        assert_eq!((ran.code, ran.stdout.as_slice()), (Some(0), &b""[..]));
        let lines: Vec<&str> = ran.stderr.lines().collect();
        assert!(ran.stderr.starts_with(head), "{}", ran.stderr);
        assert_eq!(lines[4], format!("SHA256 sum of data: {sum}"));
        if action == ["deep"] {
            assert_eq!(lines[5], "Bundles containing backup chunks:");
            let packs = super::files_below(&dir.path("repo/packs"));
            let packs: Vec<&str> = packs.iter().map(|name| &name[3..]).collect();
            // Of the data, and one of the two that have the list.
            assert_eq!((lines[6..].len(), packs.len()), (2, 3));
            assert!(lines[6..].is_sorted() && lines[6..].iter().all(|line| packs.contains(line)));
        } else {
            assert_eq!(lines.len(), 5);
        }
    }
}

#[test]
fn config_is_shown_on_stdout_and_never_changed() {
    let dir = Dir::with_repository();
    let text = "chunk {\n  max_size: 262144\n}\n\
                bundle {\n  max_payload_size: 33554432\n  compression_method: \"zstd\"\n}\n\
                zstd {\n  compression_level: 3\n}\n";
    for action in [&[][..], &["show"], &["reset"], &["set"]] {
        assert_eq!(dir.run(&[&["config"], action, &["repo"]].concat()).succeeds(), text);
    }
    for (option, line) in [
        ("chunk.max_size=1024", "chunk.max_size is fixed at init and cannot be changed"),
        (
            "bundle.max_payload_size=1",
            "bundle.max_payload_size is fixed at init and cannot be changed",
        ),
        (
            "compression=lzo",
            "bundle.compression_method is not stored in a repository: give it to each command that writes",
        ),
        (
            "lzma.compression_level=9",
            "lzma.compression_level is not stored in a repository: give it to each command that writes",
        ),
    ] {
        dir.run(&["config", "set", "-o", option, "repo"]).fails_saying(line);
    }
    dir.run(&["config", "edit", "repo"]).fails_saying(
        "Nothing to edit: the sizes are fixed at init, compression is given to each command that writes",
    );
    assert_eq!(dir.run(&["config", "repo"]).succeeds(), text);
}

#[test]
fn sizes_and_stored_options_without_effect_are_noted() {
    let dir = Dir::new();
    let options = ["-o", "chunk.max_size=65536", "-o", "bundle.compression_method=lzo"];
    let init = "note: chunk.max_size is not stored: give it to the commands that write\n\
                note: bundle.compression_method is not stored: give it to the commands that write\n";
    dir.run(&[&options[..], &[PLAIN, "init", "repo"]].concat()).notes(init);
    let backup = "note: chunk.max_size has no effect: the format has sizes of its own\n";
    dir.feed(b"x", &[&options[..], &["backup", "repo/backups/a"]].concat()).notes(backup);
    dir.feed(b"x", &[&options[..], &["--silent", "backup", "repo/backups/b"]].concat()).silent();
}

#[test]
fn info_shows_the_repository() {
    let dir = Dir::with_repository();
    dir.feed(&noise(MIB, 1), &["backup", "repo/backups/a"]).silent();
    let info = dir.run(&["info", "repo"]).succeeds();
    assert!(info.contains("\nEncryption: none\n") && info.contains("\nNumber of archives: 1\n"));
    assert!(info.lines().last().unwrap().starts_with("All archives:                1.05 MB"));
}
