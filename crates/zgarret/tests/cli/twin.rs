//! The same scripts with the real `zbackup` and with ours: the same names in `backups/`, the same bytes restored, the same
//! exit codes, the same complaints.

use std::path::Path;

use super::{Dir, MIB, files_below, noise, ours, tool};

/// In front of every script: `z` runs the program, and notes how it ended and what it complained of.
///
/// The packaged zbackup talks in `[DEBUG]` lines, and notes deprecated spellings also when it is to be silent.
const PRELUDE: &str = r#"
z() {
    zbackup --silent "$@" 2> said
    echo "$? $*" >> codes
    grep -v -e '^\[DEBUG\]' -e 'is deprecated, use' said >> complaints
    true
}
touch codes complaints
"#;

/// What a script left behind.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    codes: String,
    complaints: String,
    backups: Vec<String>,
    outputs: Vec<(String, Vec<u8>)>,
}

fn outcome(program: &Path, script: &str) -> Outcome {
    let dir = Dir::new();
    dir.write("small", b"a small file\n");
    dir.write("image", &[noise(MIB, 1), vec![0; MIB], noise(MIB / 2, 2)].concat());
    dir.write("changed", &[noise(MIB, 1), b"changed".to_vec(), noise(MIB / 2, 3)].concat());
    dir.write("pw", b"secret\n");
    dir.write("bare", b"secret");
    dir.write("new", b"another\n");
    let ran = dir.shell(program, &format!("{PRELUDE}{script}"));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{script}");
    let text = |name: &str| String::from_utf8(dir.read(name)).unwrap();
    let everything = files_below(dir.temp.path());
    let outputs = everything.iter().filter(|name| name.starts_with("out"));
    let is_backup = |name: &&String| name.contains("/backups/");
    Outcome {
        codes: text("codes"),
        complaints: text("complaints"),
        backups: everything.iter().filter(is_backup).cloned().collect(),
        outputs: outputs.map(|name| (name.clone(), dir.read(name))).collect(),
    }
}

/// Runs the script with both and compares all there is to see.
#[track_caller]
fn same(script: &str) -> Outcome {
    let real = tool("/bin/sh", &["-c", "command -v zbackup"]);
    let [theirs, own] = [Path::new(&real), ours()].map(|program| outcome(program, script));
    assert_eq!(own.codes, theirs.codes, "{script}");
    assert_eq!(own.complaints, theirs.complaints, "{script}");
    assert_eq!(own.backups, theirs.backups, "{script}");
    let names =
        |outcome: &Outcome| outcome.outputs.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
    assert_eq!(names(&own), names(&theirs), "{script}");
    assert!(own.outputs == theirs.outputs, "{script}");
    own
}

#[test]
fn the_pair_of_scripts() {
    let outcome = same(
        "z --non-encrypted init repo
         for name in image changed small; do
             z backup --non-encrypted --threads 8 --cache-size 1024mb repo/backups/$name < $name
         done
         sha1sum image changed small > sums
         for name in image changed small; do
             z restore --non-encrypted --threads 8 --cache-size 1024mb repo/backups/$name > out-$name
         done
         sed 's/  /  out-/' sums | sha1sum -c > out-verdict",
    );
    assert_eq!(outcome.outputs.len(), 4);
    assert_eq!(outcome.outputs[3].1.iter().filter(|byte| **byte == b'K').count(), 3);
    assert!(outcome.codes.lines().all(|line| line.starts_with("0 ")));
}

#[test]
fn restoring_to_a_file() {
    same(
        "z --non-encrypted init repo
         z --non-encrypted backup repo/backups/image < image
         z --non-encrypted backup repo/backups/empty < /dev/null
         z --non-encrypted restore repo/backups/image out-image
         z --non-encrypted restore repo/backups/empty out-empty
         z --non-encrypted restore repo/backups/image none/out
         z --non-encrypted restore repo/backups/none > out-none",
    );
}

#[test]
fn passwords() {
    same(
        "z --password-file pw init repo
         z --password-file pw backup repo/backups/small < small
         z --password-file bare restore repo/backups/small > out-bare
         z --password-file new restore repo/backups/small > out-wrong
         z --non-encrypted restore repo/backups/small > out-none
         z --password-file none restore repo/backups/small > out-missing
         z --password-file pw passwd repo
         z --password-file pw --password-file new passwd repo
         z --password-file new restore repo/backups/small > out-new
         z --password-file pw restore repo/backups/small > out-old",
    );
}

#[test]
fn hands_and_gc() {
    same(
        "z --non-encrypted init repo; mkdir repo/backups/sub
         z --non-encrypted backup repo/backups/image < image
         z --non-encrypted backup repo/backups/sub/changed < changed
         z --non-encrypted backup repo/backups/small < small
         mv repo/backups/small repo/backups/sub/moved; rm repo/backups/image
         z --non-encrypted gc repo
         z --non-encrypted restore repo/backups/sub/changed > out-changed
         z --non-encrypted restore repo/backups/sub/moved > out-moved
         z --non-encrypted restore repo/backups/image > out-image
         z --non-encrypted gc deep repo
         find repo/backups -name changed -delete
         z gc fast repo --non-encrypted
         z --non-encrypted restore repo/backups/sub/moved > out-again
         ls -R repo/backups > out-list",
    );
}

#[test]
fn refusals() {
    let outcome = same(
        "z --non-encrypted init repo
         z --non-encrypted init none/repo
         z --non-encrypted init small
         z --non-encrypted backup repo/backups/a < small
         z --non-encrypted backup repo/backups/a < image
         z --non-encrypted backup repo/a < small
         z --non-encrypted backup repo/backups < small
         z --non-encrypted backup none/backups/a < small
         z --non-encrypted restore repo/x
         z --non-encrypted restore repo/backups/sub/x
         z --non-encrypted restore repo/backups/x
         z --non-encrypted inspect repo/backups/x
         z --non-encrypted backup none repo/backups/b
         z --non-encrypted gc none
         z --non-encrypted frob
         z --non-encrypted --threads 0 gc repo
         z --non-encrypted --threads x gc repo
         z --non-encrypted -O foo gc repo
         z --non-encrypted -o foo=1 gc repo
         z --non-encrypted --non-encrypted export repo repo
         z --non-encrypted -O exchange=backups export repo repo
         z --non-encrypted restore repo/backups/a > out-a",
    );
    assert!(outcome.complaints.lines().count() >= 18, "{}", outcome.complaints);
}

#[test]
fn exchange_goes_the_same_way() {
    same(
        "z --non-encrypted init one; z --password-file pw init two; z --non-encrypted init three
         z --non-encrypted backup one/backups/image < image
         z --non-encrypted backup one/backups/small < small
         z --password-file pw backup two/backups/small < changed
         flags='-O exchange=backups -O exchange=bundles -O exchange=index'
         z $flags --non-encrypted --password-file pw export one two
         z $flags --non-encrypted --password-file pw import three two
         z --password-file pw restore two/backups/image > out-two-image
         z --password-file pw restore two/backups/small > out-two-small
         z --non-encrypted restore three/backups/image > out-three-image
         z --non-encrypted restore three/backups/small > out-three-small",
    );
}

/// The duration is in whole seconds and may be another one in each run.
#[test]
fn inspect_says_the_same() {
    let outcome = same(
        "z --non-encrypted init repo
         z --non-encrypted backup repo/backups/small < small
         zbackup --silent --non-encrypted inspect repo/backups/small 2>&1 | grep -v DEBUG > fast
         sed 's/^\\(Duration (seconds):\\) [0-9]*$/\\1 N/' fast > out-fast",
    );
    let text = String::from_utf8(outcome.outputs[0].1.clone()).unwrap();
    assert_eq!(text.lines().count(), 5, "{text}");
    assert!(text.contains("Duration (seconds): N"), "{text}");
}
