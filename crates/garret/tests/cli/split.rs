//! A repository whose packs of files lie in a second place, as its users have it: a directory beside, and a bucket whose
//! packs are archived, with a real server of S3's protocol. What is read there and what is not is tested in
//! `tests/tests/split.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use garret_testkit::{BUCKET, bucket_server};

use super::{Dir, PASSPHRASE, files_below, noise};

const NOT_READ: &str = "garret: note: packs in the second place that were not read: 1; a check of all data reads them, when \
                        they can be\n";

/// The packs of files, as lines.
fn packs(dir: &Dir) -> BTreeSet<String> {
    let cold = dir.path("cold");
    let name = |path: &Path| path.strip_prefix(&cold).unwrap().to_str().unwrap().to_owned();
    files_below(&cold.join("packs")).iter().map(|path| name(path)).collect()
}

#[test]
fn a_repository_is_not_the_place_of_its_own_packs() {
    let dir = Dir::new();
    dir.run(&["init", "-e", "none", "hot", "--packs", "cold"]).succeeds();
    dir.write("vm.raw", &noise(300_000, 1));
    dir.run(&["create", "hot::a", "vm.raw", "--packs", "cold"]).silent();
    std::os::unix::fs::symlink("hot", dir.path("link")).unwrap();
    let before = files_below(&dir.path("hot"));
    for place in ["hot", "link"] {
        let ran = dir.run(&["create", "hot::b", "vm.raw", "--packs", place]);
        ran.refused(1, "it is the repository, not the place of its packs");
        let ran = dir.run(&["check", "hot", "--packs", place]);
        ran.refused(1, "it is the repository, not the place of its packs");
    }
    assert_eq!(files_below(&dir.path("hot")), before);
    dir.run(&["check", "--verify-data", "hot", "--packs", "cold"]).succeeds();
}

#[test]
fn a_restore_needs_the_packs_that_it_names_and_no_others() {
    let dir = Dir::new();
    let split = |arguments: &[&str]| dir.run(&[arguments, &["--packs", "cold"]].concat());
    let said = split(&["init", "-e", "none", "hot"]).succeeds();
    assert!(said.starts_with("Initializing repository at \"hot\"\n"), "{said}");
    let images = [noise(2_000_000, 1), noise(2_000_000, 2)];
    for (number, image) in images.iter().enumerate() {
        let name = format!("{number}.raw");
        dir.write(&name, image);
        split(&["create", &format!("hot::{number}"), &name]).silent();
    }
    split(&["create", "hot::both", "0.raw", "1.raw"]).silent();
    assert_eq!(split(&["list", "--short", "hot"]).succeeds(), "0\n1\nboth\n");
    let info = split(&["info", "hot"]).succeeds();
    assert!(info.starts_with("Repository: hot\nPacks of files: cold\n"), "{info}");
    let shown = split(&["extract", "--packs-needed", "hot::both", "1.raw"]).succeeds();
    let needed: BTreeSet<String> = shown.lines().map(str::to_owned).collect();
    let all = packs(&dir);
    assert!(!needed.is_empty() && needed.is_subset(&all) && needed != all, "{needed:?} {all:?}");
    // None is what it was but where the hook puts it back.
    fs::create_dir(dir.path("kept")).unwrap();
    for pack in &all {
        let (from, kept) = (dir.path("cold").join(pack), dir.path("kept").join(pack));
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        fs::copy(&from, &kept).unwrap();
        fs::write(&from, vec![0; kept.metadata().unwrap().len() as usize]).unwrap();
    }
    let failed = split(&["extract", "hot::both", "1.raw", "-o", "back.raw"]);
    assert_eq!(failed.code, Some(1));
    assert!(failed.stderr.contains("note: --packs-needed shows which packs"), "{}", failed.stderr);
    let hook = "echo said; while read -r pack; do cp \"kept/$pack\" \"$GARRET_PACKS/$pack\"; done";
    let extract = ["extract", "--warm-up", hook, "hot::both", "1.raw", "--stdout"];
    let restored = split(&extract);
    assert_eq!((restored.code, &restored.stdout), (Some(0), &images[1]), "{}", restored.stderr);
    assert!(restored.stderr.contains("note: --warm-up brings back 1 pack, 2.0"));
    assert!(restored.stderr.contains("\nsaid\n"), "{}", restored.stderr);
    for pack in &all {
        let is_back = fs::read(dir.path("cold").join(pack)).unwrap()[0] != 0;
        assert_eq!(is_back, needed.contains(pack), "{pack}");
    }
    let failed = split(&["extract", "--warm-up", "exit 3", "hot::both", "-C", "x"]);
    assert_eq!(failed.code, Some(1));
    let line = "garret: Error: --warm-up exit 3: exit status 3: nothing was restored\n";
    assert!(failed.stderr.ends_with(line), "{}", failed.stderr);
    assert!(!dir.path("x").join("0.raw").exists());
}

#[test]
fn half_of_it_is_refused_in_one_line() {
    let dir = Dir::new();
    dir.run(&["init", "-e", "none", "whole"]).succeeds();
    for name in ["hot", "other"] {
        let cold = format!("{name}-cold");
        dir.run(&["init", "-e", "none", "--packs", &cold, name]).succeeds();
    }
    dir.write("app.raw", b"content");
    for (words, text) in [
        (&["list", "hot"][..], "the packs of hot lie in a second place: name that with --packs"),
        (&["create", "hot::a", "app.raw"], "lie in a second place"),
        (
            &["list", "--packs", "other-cold", "hot"],
            "the packs that lie there are of another repository",
        ),
        (&["list", "--packs", "nowhere", "hot"], "Repository nowhere does not exist"),
        (
            &["list", "--packs", "hot-cold", "whole"],
            "all its packs lie in it: name no second place, nor",
        ),
        (&["list", "hot-cold"], "only packs lie there, of a repository elsewhere"),
        (
            &["init", "-e", "none", "--packs", "hot-cold", "new"],
            "Repository hot-cold already exists",
        ),
    ] {
        dir.run(words).refused(1, text);
    }
    for cold in ["new", "."] {
        let init = ["init", "-e", "none", "--packs", cold, "new"];
        dir.run(&init).refused(2, "are in each other: name a second place outside");
    }
    assert!(!dir.path("new").exists(), "none was made without the other");
    dir.run(&["extract", "--packs-needed", "whole::a"]).refused(1, "Archive a does not exist");
    // Of the place that is meant for the repository's packs the copy's are kept out.
    let both = ["sync", "--from-packs", "hot-cold", "--packs", "hot-cold", "hot", "copy"];
    dir.run(&both).refused(1, "the packs of FROM and TO would lie in one place, hot-cold");
    assert!(!dir.path("copy").exists());
    let environment = [("GARRET_PACKS", "hot-cold")];
    dir.run_with(&environment, b"", &["create", "hot::a", "app.raw"]).silent();
    let checked = dir.run_with(&environment, b"", &["check", "hot"]);
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), NOT_READ));
    // A copy of it is whole, and another one is not.
    dir.run(&["sync", "--from-packs", "hot-cold", "hot", "copy"]).succeeds();
    assert_eq!(dir.run(&["list", "--short", "copy"]).succeeds(), "a\n");
    dir.run(&["sync", "--packs", "second-cold", "copy", "second"]).succeeds();
    assert!(!files_below(&dir.path("second-cold/packs")).is_empty());
    let check = ["check", "--verify-data", "--packs", "second-cold", "second"];
    dir.run(&check).succeeds();
}

/// What a store of archives does: what is in a class that is read after hours is refused until it was asked for.
const GLACIER: &str = "
import sys, boto3
s3 = boto3.client('s3', region_name='us-east-1', endpoint_url=sys.argv[1])
bucket, prefix, what = sys.argv[2], sys.argv[3], sys.argv[4]
if what == 'archive':
    for one in s3.list_objects_v2(Bucket=bucket, Prefix=prefix + '/packs/')['Contents']:
        if one['StorageClass'] != 'GLACIER':
            s3.copy_object(Bucket=bucket, Key=one['Key'], CopySource=bucket + '/' + one['Key'], StorageClass='GLACIER')
else:
    for line in sys.stdin:
        s3.restore_object(Bucket=bucket, Key=prefix + '/' + line.strip(), RestoreRequest={'Days': 1})
";

#[test]
fn packs_in_an_archive_of_s3_are_asked_for_before_they_are_read() {
    let dir = Dir::new();
    let endpoint = format!("http://{}", bucket_server());
    let prefix = format!("{}-cold", std::process::id());
    let cold = format!("s3://{BUCKET}/{prefix}");
    let python = std::env::var("PYTHONPATH").unwrap_or_default();
    let environment = [
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_ENDPOINT_URL", &endpoint),
        ("GARRET_PASSPHRASE", PASSPHRASE),
        ("GARRET_PACKS", &cold),
        // Of the hook.
        ("PYTHONPATH", &python),
    ];
    let run = |arguments: &[&str]| dir.run_with(&environment, b"", arguments);
    let script = dir.write("glacier.py", GLACIER.as_bytes());
    let script = script.to_str().unwrap();
    run(&["init", "-e", "passphrase", "hot"]).succeeds();
    let night = |name: &str, seed: u64| {
        dir.write("app.raw", &noise(1_000_000, seed));
        run(&["create", &format!("hot::{name}"), "app.raw"]).silent();
        let archive = [script, &endpoint, BUCKET, &prefix, "archive"];
        let mut python = Command::new("python3");
        python.args(archive).envs(environment);
        assert!(python.status().unwrap().success());
    };
    night("a", 1);
    night("b", 2);
    night("c", 1);
    // What is done every night goes on without them.
    run(&["delete", "hot::b"]).silent();
    run(&["prune", "--keep-within", "9d", "hot"]).succeeds();
    let checked = run(&["check", "hot"]);
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), NOT_READ));
    assert_eq!(run(&["list", "--short", "hot"]).succeeds(), "a\nc\n");
    let refused = run(&["extract", "hot::a", "-o", "back.raw"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("InvalidObjectState"), "{}", refused.stderr);
    let hook = format!("python3 {script} {endpoint} {BUCKET} {prefix} bring-back");
    let restored = run(&["extract", "--warm-up", &hook, "hot::a", "-o", "back.raw"]);
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    assert_eq!(dir.read("back.raw"), noise(1_000_000, 1));
}
