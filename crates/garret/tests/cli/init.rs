//! Where a repository can begin, and what is said where it cannot.

use std::fs;

use garret_testkit::Image;

use super::Dir;

#[test]
fn directories_above_are_made_only_when_asked() {
    let dir = Dir::new();
    let text = "cannot create new/deep/repo: new/deep does not exist; mount it or make it (`garret init -p` does)";
    dir.run(&["init", "new/deep/repo"]).refused(1, text);
    assert!(!dir.path("new").exists());
    dir.run(&["init", "--parents", "new/deep/repo"]).succeeds();
    dir.run(&["init", "-p", "new/other"]).succeeds();
    assert_eq!(dir.archives("new/deep/repo"), [""; 0]);
    let below = dir.path("new/deep/repo/README/below");
    dir.run(&["init", below.to_str().unwrap()]).refused(1, "cannot create ");
    dir.run(&["init", "-p", below.to_str().unwrap()]).refused(1, "cannot create ");
}

#[test]
fn what_is_there_already_is_named() {
    let dir = Dir::with_repository();
    dir.write("images/b.raw", b"x");
    dir.write("images/a.raw", b"x");
    dir.write("file", b"x");
    let text = "Repository images already exists: images is not empty and is no repository: it holds a.raw, b.raw; \
                choose an empty or new directory";
    dir.run(&["init", "images"]).refused(1, text);
    dir.write("images/c\n\x1b.raw", b"x");
    dir.write("images/d.raw", b"x");
    dir.run(&["init", "images"]).refused(1, "it holds a.raw, b.raw, c\\n\\u{1b}.raw and 1 more;");
    dir.run(&["init", "repo"]).refused(
        1,
        "Repository repo already exists: back up into it, or choose an empty or new directory",
    );
    dir.run(&["init", "file"]).refused(1, "Repository file already exists: file is no directory");
    assert_eq!(fs::read_dir(dir.path("images")).unwrap().count(), 4);
    let config = dir.read("repo/config");
    dir.write("repo/config", &config[..100]);
    dir.write("repo/copies/config", &config[..100]);
    let text = "Repository repo already exists: Data integrity error: config is damaged";
    dir.run(&["init", "repo"]).refused(1, text);
}

#[test]
fn the_root_of_a_fresh_file_system_is_empty() {
    let dir = Dir::new();
    dir.write("file", b"x");
    fs::create_dir_all(dir.path("disk/lost+found")).unwrap();
    dir.run(&["init", "disk"]).succeeds();
    dir.run(&["create", "disk::a", "file"]).silent();
    assert_eq!(dir.archives("disk"), ["a"]);
    dir.write("used/lost+found/#11", b"somebody's");
    dir.run(&["init", "used"]).refused(1, "it holds lost+found;");
}

#[test]
fn an_init_that_fails_leaves_nothing_in_the_way_of_the_next() {
    let dir = Dir::new();
    dir.write("keys", b"no directory");
    let keyfile = ["init", "-e", "keyfile", "repo"];
    let environment = [("GARRET_PASSPHRASE", "")];
    dir.run_with(&environment, b"", &keyfile).refused(1, "keys");
    assert!(!dir.path("repo").exists());
    fs::remove_file(dir.path("keys")).unwrap();
    dir.run_with(&environment, b"", &keyfile).succeeds();
    // What files cannot be that long for: no room for any of it.
    let mut command = std::process::Command::new("prlimit");
    command.args(["--fsize=10", env!("CARGO_BIN_EXE_garret"), "init", "small"]);
    let ran = command.current_dir(dir.path("")).output().unwrap();
    assert_eq!(ran.status.code(), Some(1));
    assert!(!dir.path("small").exists());
}

/// All that a killed init can leave, and nothing that looks like it: that is somebody's.
#[test]
fn what_a_killed_init_left_is_no_repository_and_nobodys() {
    let slot = "keys/00112233445566778899aabbccddeeff";
    let left = ["README", slot, "tmp/00112233445566778899aabbccddeeff"];
    let whole = Dir::with_repository().read("repo/README");
    // After a power cut a file may be as long as it was to be, and hold nothing.
    let blank = vec![0; whole.len()];
    for (more, is_taken, readme) in [
        (None, true, &whole[..20]),
        (None, true, &blank),
        (Some("backups/a"), false, &whole[..20]),
        (Some("tmp/a"), false, &whole[..20]),
    ] {
        let dir = Dir::new();
        for name in left {
            dir.write(&format!("left/{name}"), b"");
        }
        dir.write("left/README", readme);
        fs::create_dir(dir.path("left/packs")).unwrap();
        if let Some(more) = more {
            dir.write(&format!("left/{more}"), b"somebody's");
        }
        let ran = dir.run(&["init", "left"]);
        match is_taken {
            true => {
                ran.succeeds();
                assert!(!dir.path("left/keys").exists(), "the slot of no repository is gone");
                dir.write("x", b"x");
                dir.run(&["create", "left::a", "x"]).silent();
            }
            false => {
                ran.refused(1, "is not empty and is no repository");
                left.iter().for_each(|name| assert!(dir.path("left").join(name).exists()));
            }
        }
    }
    // Of a README that is not ours nothing is believed.
    let dir = Dir::new();
    dir.write("theirs/README", b"This is my music.");
    dir.run(&["init", "theirs"]).refused(1, "it holds README;");
}

#[test]
fn a_repository_has_the_cipher_that_was_said_or_the_fastest_here_and_shows_it() {
    let dir = Dir::new();
    let image = Image::generate(7, 300_000).bytes;
    fs::write(dir.path("disk.img"), &image).unwrap();
    let fastest = garret_cli::render::cipher(garret_core::fastest_cipher());
    let key = [("GARRET_PASSPHRASE", "")];
    for (said, expected) in [
        ("xchacha20-poly1305", "xchacha20-poly1305"),
        ("aes-256-gcm", "aes-256-gcm"),
        ("auto", fastest),
    ] {
        let made =
            dir.run_with(&key, b"", &["init", "-e", "keyfile", "--cipher", said, said]).succeeds();
        let line = format!("\nCipher: {expected}\n");
        assert!(made.contains(&line), "{made}");
        assert!(dir.run_with(&key, b"", &["info", said]).succeeds().contains(&line));
        let info = dir.run_with(&key, b"", &["info", "--json", said]).succeeds();
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["repository"]["cipher"], expected);
        let (archive, out) = (format!("{said}::night"), format!("{said}.out"));
        dir.run_with(&key, b"", &["create", &archive, "disk.img"]).succeeds();
        dir.run_with(&key, b"", &["extract", "--destination", &out, &archive]).silent();
        assert_eq!(fs::read(dir.path(&out).join("disk.img")).unwrap(), image);
    }
}

#[test]
fn a_cipher_for_what_is_not_encrypted_is_refused() {
    let dir = Dir::new();
    let ran = dir.run(&["init", "--cipher", "aes-256-gcm", "repo"]);
    ran.refused(2, "--cipher is for encrypted repositories");
    assert!(!dir.path("repo").exists());
    dir.run(&["init", "--cipher", "auto", "repo"]).succeeds();
    let info = dir.run(&["info", "repo"]).succeeds();
    assert!(!info.contains("Cipher:"), "{info}");
}
