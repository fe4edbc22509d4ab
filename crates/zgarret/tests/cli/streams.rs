//! A broken producer makes no backup; what is closed is neither read nor written.

use super::{Dir, MIB, PLAIN, noise, ours};

#[test]
fn the_output_of_a_command_becomes_a_backup_if_it_ends_well() {
    let dir = Dir::with_repository();
    let bytes = noise(5 * MIB + 3, 1);
    dir.write("dump", &bytes);
    dir.run(&["--from-command", "cat dump", "backup", "repo/backups/sub/a"]).silent();
    assert!(dir.restored("repo/backups/sub/a") == bytes);
    dir.run(&["backup", "repo/backups/empty", "--from-command", "true"]).silent();
    assert_eq!(dir.restored("repo/backups/empty"), b"");
    for (line, why) in [
        ("cat dump; exit 3", "exit status 3"),
        ("false", "exit status 1"),
        ("printf x; kill -9 $$", "signal 9"),
    ] {
        let said = format!("the command \"{line}\" failed ({why}): no archive was made");
        dir.run(&["--from-command", line, "backup", "repo/backups/b"]).fails_saying(&said);
        assert!(!dir.path("repo/backups/b").exists());
    }
    let touch = ["--from-command", "touch ran; echo x"];
    let taken = "Won't overwrite existing file repo/backups/empty";
    dir.run(&[&touch[..], &["backup", "repo/backups/empty"]].concat()).fails_saying(taken);
    let usage = "Usage 1: your_backup_command | zgarret backup <backup file name>\n\
                 Usage 2: zgarret backup <file> <backup file name>\n\
                 Usage 3: zgarret backup <directory> <backup subdirectory>";
    dir.run(&[&touch[..], &["backup", "dump", "repo/backups/c"]].concat()).fails_saying(usage);
    let other = "--from-command is for backup <backup file name>";
    dir.run(&[&touch[..], &["gc", "repo"]].concat()).fails_saying(other);
    assert!(!dir.path("ran").exists());
    let unknown = "Error: unknown command line option: --from-command";
    dir.run(&["backup", "repo/backups/c", "--from-command"]).fails_saying(unknown);
}

#[test]
fn a_closed_descriptor_is_refused_and_an_empty_one_is_read() {
    let dir = Dir::with_repository();
    dir.feed(b"content", &["backup", "repo/backups/a"]).silent();
    let script = |line: &str| dir.shell(ours(), line);
    let stdin = "Won't read data from a closed standard input";
    script("zbackup backup repo/backups/b <&-").fails_saying(stdin);
    script("zbackup backup none/backups/b <&-").fails_saying(stdin);
    script("zbackup restore repo/backups/a >&-")
        .fails_saying("Won't write data to a closed standard output");
    script("zbackup restore repo/backups/a > /dev/null").silent();
    script("zbackup backup repo/backups/c < /dev/null").silent();
    assert_eq!(dir.restored("repo/backups/c"), b"");
    script("zbackup backup repo/backups/d < .")
        .fails_saying("standard input: cannot read: Is a directory (os error 21)");
    assert_eq!(dir.archives("repo"), ["a", "c"]);
    dir.run(&[PLAIN, "gc", "repo"]).silent();
}
