//! Files of several names.

use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use garret_core::{Destination, Form, Input, Selection, Silent};
use garret_format::config::KeyMode;
use garret_testkit::Lab;
use rustix::fs::{CWD, Mode, XattrFlags};

use super::grow::set_mtime;
use super::look::{look, same};
use super::{again_as_nobody, below, disk_dir, restore, with_owners};

#[test]
fn a_later_name_alone_gets_the_content_and_further_names_link_to_it() {
    let dir = disk_dir();
    let source = dir.path().join("source");
    fs::create_dir_all(&source).unwrap();
    let at = |name: &str| source.join(name);
    fs::write(at("a"), b"content").unwrap();
    set_mtime(&at("a"), 1_000_000_000, 5);
    rustix::fs::lsetxattr(at("a"), "user.x", b"y", XattrFlags::empty()).unwrap();
    fs::hard_link(at("a"), at("b")).unwrap();
    fs::hard_link(at("a"), at("c")).unwrap();
    rustix::fs::mkfifoat(CWD, at("p"), Mode::RUSR).unwrap();
    fs::hard_link(at("p"), at("q")).unwrap();
    let before = look(&source);
    let (lab, _) = Lab::memory(KeyMode::None);
    let report = lab.backup_path("x", &source).unwrap();
    assert_eq!((report.archive.archive.file_count, report.archive.archive.original_len), (1, 7));
    let target = dir.path().join("target");
    let wanted = [at("b"), at("c"), at("q")];
    let wanted: Vec<&Path> = wanted.iter().map(PathBuf::as_path).collect();
    assert_eq!(restore(&lab, "x", &wanted, &target, &with_owners(&lab)), 0);
    let after = look(&below(&target, &source));
    for name in ["b", "c", "q"] {
        let (was, is) = (&before[Path::new(name)], &after[Path::new(name)]);
        assert_eq!(
            (was.kind, was.mtime, was.content, &was.xattrs),
            (is.kind, is.mtime, is.content, &is.xattrs)
        );
    }
    assert_eq!(after[Path::new("c")].first, Path::new("b"));
    assert!(!after.contains_key(Path::new("a")));
    // Over what is there: the same again, and a name that was a file of its own becomes a link.
    fs::remove_file(below(&target, &at("c"))).unwrap();
    fs::write(below(&target, &at("c")), b"something else").unwrap();
    assert_eq!(restore(&lab, "x", &[], &target, &with_owners(&lab)), 0);
    assert_eq!(restore(&lab, "x", &[], &target, &with_owners(&lab)), 0);
    let after = look(&below(&target, &source));
    assert_eq!(after[Path::new("c")].first, Path::new("a"));
    same(&before, &after);
}

/// A backup of the directory `source`, in which `a` and `b` are names of one file.
fn two_names() -> (tempfile::TempDir, PathBuf, Lab) {
    let dir = disk_dir();
    let source = dir.path().join("source");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("a"), b"content").unwrap();
    fs::hard_link(source.join("a"), source.join("b")).unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    lab.backup_path("x", &source).unwrap();
    (dir, source, lab)
}

#[test]
fn a_dry_run_and_a_pipe_give_the_content_of_a_later_name() {
    let (_dir, source, lab) = two_names();
    let repository = lab.reader().unwrap();
    let archive = repository.archive("x").unwrap();
    let wanted = source.join("b").into_os_string().into_vec();
    let run = |destination: Destination<'_>| {
        let mut selection = Selection::new([wanted.clone()]);
        let options = lab.restore_options();
        repository.restore(&archive, &mut selection, destination, &options, &Silent).unwrap()
    };
    let mut bytes = Vec::new();
    let to_pipe = run(Destination::Stream(&mut bytes));
    let dry = run(Destination::Nowhere);
    assert_eq!((to_pipe.file_count, bytes.as_slice()), (1, &b"content"[..]));
    assert_eq!((dry.file_count, dry.bytes), (1, 7));
    assert_eq!(lab.restore_bytes("x").unwrap(), b"content", "once, not for each name");
    // What it needs is known before, by a later name alone and by both.
    for wanted in [vec![wanted], Vec::new()] {
        let destination = Destination::Directory(source.clone());
        let (mut selection, options) = (Selection::new(wanted), lab.restore_options());
        let found =
            repository.preview_restore(&archive, &mut selection, &destination, &options, true);
        assert_eq!(found.unwrap().needed, 7);
    }
}

/// What would be replaced is looked for under the name that each link to a disk in another form gets.
#[test]
fn what_is_newer_than_a_second_name_of_an_image_is_found_under_the_name_of_its_disk() {
    let dir = disk_dir();
    let source = dir.path().join("source");
    fs::create_dir_all(&source).unwrap();
    let image = source.join("a.qcow2");
    let made = std::process::Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .args([image.as_os_str(), "1M".as_ref()])
        .status();
    assert!(made.unwrap().success());
    set_mtime(&image, 1_000_000_000, 0);
    fs::hard_link(&image, source.join("b.qcow2")).unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    lab.backup_path("x", &source).unwrap();
    let target = dir.path().join("target");
    let there = below(&target, &source);
    fs::create_dir_all(&there).unwrap();
    for name in ["a.qcow2", "b.qcow2", "b.qcow2.raw"] {
        fs::write(there.join(name), b"newer").unwrap();
    }
    let repository = lab.reader().unwrap();
    let archive = repository.archive("x").unwrap();
    let b = source.join("b.qcow2").into_os_string().into_vec();
    for wanted in [vec![b], Vec::new()] {
        for (form, expected) in
            [(Form::Raw, 1), (Form::Stored, if wanted.is_empty() { 2 } else { 1 })]
        {
            let destination = Destination::Directory(target.clone());
            let (mut selection, mut options) =
                (Selection::new(wanted.clone()), lab.restore_options());
            options.form = form;
            let found = repository
                .preview_restore(&archive, &mut selection, &destination, &options, true)
                .unwrap();
            assert_eq!(found.newer.len(), expected, "{form:?}: {:?}", found.newer);
            let raw = found.newer.contains(&there.join("b.qcow2.raw"));
            assert_eq!(raw, form == Form::Raw, "{:?}", found.newer);
        }
    }
}

#[test]
fn a_link_is_not_made_to_what_this_restore_did_not_make() {
    let (dir, source, lab) = two_names();
    let target = dir.path().join("target");
    // In the place of the first name is something that cannot be replaced.
    fs::create_dir_all(below(&target, &source).join("a/full")).unwrap();
    assert_eq!(restore(&lab, "x", &[], &target, &lab.restore_options()), 2);
    assert!(!below(&target, &source).join("b").exists());
}

#[test]
fn a_file_of_two_names_that_cannot_be_read_leaves_no_link_to_nothing() {
    if rustix::process::geteuid().is_root() {
        again_as_nobody("links::a_file_of_two_names_that_cannot_be_read_leaves_no_link_to_nothing");
        return;
    }
    let place = PathBuf::from(std::env::var_os("TREES_DIR").unwrap());
    let source = place.join("source");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("a"), b"secret").unwrap();
    fs::hard_link(source.join("a"), source.join("b")).unwrap();
    fs::write(source.join("c"), b"fine").unwrap();
    fs::set_permissions(source.join("a"), Permissions::from_mode(0o000)).unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    let (report, problems) = lab.backup_inputs("x", vec![Input::Path(source.clone())]).unwrap();
    assert_eq!((problems.len(), report.archive.archive.file_count), (2, 1), "{problems:?}");
    let restored = lab.restore_to("x", &place.join("target"), &lab.restore_options()).unwrap();
    assert_eq!(restored.problems, [""; 0]);
}

#[test]
fn a_disk_of_two_names_comes_back_as_one_disk_of_two_names() {
    let dir = disk_dir();
    let source = dir.path().join("source");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("a.raw"), vec![7; 100_000]).unwrap();
    fs::hard_link(source.join("a.raw"), source.join("b.raw")).unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    lab.backup_path("x", &source).unwrap();
    let target = dir.path().join("target");
    let mut options = with_owners(&lab);
    options.form = garret_core::Form::Raw;
    assert_eq!(restore(&lab, "x", &[], &target, &options), 0);
    same(&look(&source), &look(&below(&target, &source)));
}
