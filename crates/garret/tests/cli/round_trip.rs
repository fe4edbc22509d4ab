//! What goes in comes out.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, UNIX_EPOCH};

use garret_format::config::KeyMode;

use super::{Dir, Loop, MIB, fill_noise};

const UNLOCK: [(&str, &str); 1] = [("GARRET_PASSPHRASE", super::PASSPHRASE)];

#[test]
fn every_mode_and_codec_restores_the_same_bytes() {
    for mode in [KeyMode::None, KeyMode::Passphrase, KeyMode::Keyfile] {
        let dir = Dir::new();
        dir.cheap_repository("repo", mode);
        let image = dir.image("vm.img", 1);
        for codec in ["none", "lz4", "zstd,19"] {
            let archive = format!("repo::{codec}");
            let create = ["create", "--compression", codec, &archive, "vm.img"];
            dir.run_with(&UNLOCK, b"", &create).silent();
            let extract = ["extract", "--destination", codec, &archive];
            dir.run_with(&UNLOCK, b"", &extract).silent();
            assert!(dir.read(&format!("{codec}/vm.img")) == image, "{mode:?} {codec}");
        }
        dir.run_with(&UNLOCK, b"", &["check", "--verify-data", "repo"]).succeeds();
    }
}

#[test]
fn a_tree_comes_back_with_its_links_modes_and_times() {
    let dir = Dir::with_repository();
    let file = dir.write("tree/a/data", b"content");
    dir.write("tree/empty", b"");
    std::os::unix::fs::symlink("a/data", dir.path("tree/link")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4751)).unwrap();
    let time = UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
    fs::File::open(&file).unwrap().set_modified(time).unwrap();
    dir.run(&["create", "repo::t", "tree"]).silent();
    dir.run(&["extract", "repo::t", "--destination", "new/place"]).silent();
    assert_eq!(dir.read("new/place/tree/a/data"), b"content");
    assert_eq!(dir.read("new/place/tree/empty"), b"");
    let metadata = fs::metadata(dir.path("new/place/tree/a/data")).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o4751);
    assert_eq!(metadata.modified().unwrap(), time);
    let link = fs::read_link(dir.path("new/place/tree/link")).unwrap();
    assert_eq!(link.to_str(), Some("a/data"));
}

#[test]
fn standard_input_comes_back_on_standard_output() {
    let dir = Dir::with_repository();
    let mut dump = vec![0; 3 * MIB];
    fill_noise(&mut dump[MIB..], 2);
    dir.run_with(&[], &dump, &["create", "repo::a", "-"]).silent();
    dir.run_with(&[], &dump, &["create", "repo::b", "--stdin-name", "/db/dump.sql", "-"]).silent();
    let ran = dir.run(&["extract", "--stdout", "repo::a"]);
    assert!(ran.stdout == dump);
    ran.succeeds();
    let ran = dir.run(&["extract", "--stdout", "repo::b", "db/dump.sql"]);
    assert!(ran.stdout == dump);
    assert!(dir.run(&["list", "repo::a"]).succeeds().ends_with(" stdin\n"));
}

#[test]
fn allocation_is_none_the_sources_or_all() {
    let dir = Dir::with_repository();
    let image = dir.image("vm.img", 3);
    dir.run(&["create", "repo::a", "vm.img"]).silent();
    let allocated = |name: &str| fs::metadata(dir.path(name)).unwrap().blocks() as usize * 512;
    let source = allocated("vm.img");
    for (mode, bytes) in [("sparse", MIB + MIB / 2), ("exact", source), ("full", image.len())] {
        let to = format!("to-{mode}");
        dir.run(&["extract", "repo::a", "--allocation", mode, "--destination", &to]).silent();
        let restored = format!("{to}/vm.img");
        assert!(dir.read(&restored) == image, "{mode}");
        let found = allocated(&restored);
        assert!(found.abs_diff(bytes) <= 64 * 1024, "{mode}: {found} instead of {bytes}");
    }
    assert!(source > MIB + MIB / 2 + 64 * 1024, "the source has zeros that take space");
}

#[test]
fn extract_writes_where_it_runs_and_only_what_is_asked_for() {
    let dir = Dir::with_repository();
    dir.write("in/x/one", b"1");
    dir.write("in/x/two", b"2");
    dir.write("in/xx", b"3");
    dir.run(&["create", "repo::a", "in"]).silent();
    fs::remove_dir_all(dir.path("in")).unwrap();
    dir.write("in/x/one", b"an older one that is longer");
    assert_eq!(
        dir.run(&["extract", "-v", "repo::a", "/in/x/"]).succeeds(),
        "in/x\nin/x/one\nin/x/two\n"
    );
    assert_eq!(dir.read("in/x/one"), b"1");
    assert_eq!(dir.read("in/x/two"), b"2");
    assert!(!dir.path("in/xx").exists());
}

#[test]
fn a_dry_run_reads_everything_and_writes_nothing() {
    let dir = Dir::with_repository();
    dir.image("vm.img", 4);
    dir.run(&["create", "repo::a", "vm.img"]).silent();
    fs::remove_file(dir.path("vm.img")).unwrap();
    dir.run(&["extract", "--dry-run", "repo::a"]).silent();
    assert!(!dir.path("vm.img").exists());
}

#[test]
fn the_repository_and_the_cache_are_passed_over() {
    let dir = Dir::with_repository();
    dir.write("file", b"content");
    dir.run(&["create", "--exclude", "state", "repo::a", "."]).silent();
    let listed = dir.run(&["list", "repo::a"]).succeeds();
    assert!(listed.ends_with(" file\n") && listed.lines().count() == 1, "{listed}");
    assert!(
        dir.read("cache/CACHEDIR.TAG").starts_with(b"Signature: 8a477f597d28d172789f06886806bc55")
    );
    let mode = |name: &str| fs::metadata(dir.path(name)).unwrap().mode() & 0o777;
    assert_eq!(mode("cache"), 0o700);
}

#[test]
fn deleting_and_pruning_give_back_the_space() {
    let dir = Dir::with_repository();
    dir.image("one.img", 5);
    dir.image("two.img", 6);
    dir.run(&["create", "repo::one", "one.img"]).silent();
    dir.run(&["create", "repo::two", "two.img"]).silent();
    dir.run(&["create", "repo::three", "two.img"]).silent();
    let taken =
        || super::packs(&dir.path("repo")).iter().map(|p| p.metadata().unwrap().len()).sum();
    let before: u64 = taken();
    dir.run(&["delete", "repo::one"]).silent();
    assert!(taken() <= before - MIB as u64);
    dir.run(&["prune", "--keep-daily", "1", "repo"]).silent();
    assert_eq!(dir.archives("repo"), ["three"]);
    dir.run(&["delete", "repo::three"]).silent();
    assert_eq!(taken(), 0);
    dir.run(&["check", "repo"]).succeeds();
}

#[test]
fn a_block_device_is_read_and_comes_back_as_a_file() {
    let dir = Dir::with_repository();
    let image = dir.image("disk.img", 7);
    let device = Loop::over(&dir.path("disk.img"));
    dir.run(&["create", "repo::a", &device.0]).silent();
    dir.run(&["extract", "repo::a", "--destination", "to"]).silent();
    assert!(dir.read(&format!("to{}", device.0)) == image);
    dir.run(&["compare", "--base", "/", "repo::a"]).silent();
}

#[test]
fn a_device_that_fails_is_named_and_the_rest_is_stored() {
    let dir = Dir::with_repository();
    dir.image("disk.img", 8);
    dir.write("file", b"content");
    let device = Loop::over(&dir.path("disk.img"));
    fs::File::options().write(true).open(dir.path("disk.img")).unwrap().set_len(4096).unwrap();
    let ran = dir.run(&["create", "repo::a", &device.0, "file"]);
    ran.reports(&format!("{}: cannot read at offset", device.0));
    let listed = dir.run(&["list", "repo::a"]).succeeds();
    assert!(listed.lines().count() == 1 && listed.ends_with(" file\n"), "{listed}");
}
