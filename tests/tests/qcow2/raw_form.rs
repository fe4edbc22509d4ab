//! `--as raw` in a tree of images and other files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use garret_core::{AllocationMode, Form};
use garret_testkit::{FaultStore, Verb};

use super::common::images::Image;
use super::common::{Random, disk_dir, path_str};
use super::{files, lab, options, restored, stream, with_raw};

/// A disk of noise, and compressed clusters if wanted.
fn image(path: PathBuf, compressed: bool) -> Image {
    let image = Image::new(path, "", 65536, 6 << 20);
    let noise = image.path.with_extension("noise");
    fs::write(&noise, Random::new(3).bytes_without_zero(1_000_003)).unwrap();
    let mut commands = vec![format!("write -q -s {} 300k 2M", path_str(&noise))];
    commands.extend(compressed.then(|| "write -q -c -P 7 4M 1M".to_owned()));
    image.io(&commands);
    fs::remove_file(noise).unwrap();
    image
}

#[test]
fn images_become_disks_and_other_files_stay_as_they_are() {
    let dir = disk_dir();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    let plain = image(source.join("plain.qcow2"), false);
    let packed = image(source.join("packed.qcow2"), true);
    fs::write(source.join("text"), "text").unwrap();
    fs::write(source.join("disk.raw"), plain.raw().unwrap()).unwrap();
    let (lab, _) = lab(2);
    lab.backup_path("a", &source).unwrap();
    let target = dir.path().join("target");
    let done = lab.restore_to("a", &target, &options(&lab, AllocationMode::Exact, Form::Raw));
    assert_eq!(done.unwrap().problems, [""; 0]);
    let below = restored(&target, &source);
    let names = ["disk.raw", "packed.qcow2.raw", "plain.qcow2.raw", "text"];
    assert_eq!(files(&target), names.map(|name| below.join(name)));
    let read = |name| fs::read(below.join(name)).unwrap();
    assert!(read("packed.qcow2.raw") == packed.raw().unwrap());
    assert!(read("plain.qcow2.raw") == plain.raw().unwrap());
    assert!(read("disk.raw") == plain.raw().unwrap() && read("text") == b"text");
    let (mode, mtime) = (fs::metadata(&plain.path), fs::metadata(below.join("plain.qcow2.raw")));
    assert_eq!(mode.unwrap().modified().unwrap(), mtime.unwrap().modified().unwrap());
}

/// A file of the archive has the name that an image would get: neither may take the place of the other unsaid.
#[test]
fn a_disk_whose_name_is_taken_is_a_problem() {
    for compressed in [false, true] {
        for (name, is_link) in [("vm.qcow2.raw", false), ("vm.qcow2.raw", true), ("z", false)] {
            let dir = disk_dir();
            let source = dir.path().join("source");
            fs::create_dir(&source).unwrap();
            let disk = image(source.join("vm.qcow2"), compressed);
            match is_link {
                true => symlink("/nowhere", source.join(name)).unwrap(),
                false => fs::write(source.join(name), "not the disk").unwrap(),
            }
            let (lab, _) = lab(2);
            lab.backup_path("a", &source).unwrap();
            for round in ["new", "over what is there"] {
                let target = dir.path().join("target");
                let raw = options(&lab, AllocationMode::Sparse, Form::Raw);
                let done = lab.restore_to("a", &target, &raw).unwrap();
                let taken = usize::from(name != "z");
                assert_eq!(done.problems.len(), taken, "{round}: {:?}", done.problems);
                assert!(done.problems.iter().all(|text| text.contains("vm.qcow2.raw")));
                assert_eq!(done.report.file_count as usize, 2 - taken, "{round}");
                let bytes = fs::read(with_raw(&restored(&target, &disk.path))).unwrap();
                assert!(bytes == disk.raw().unwrap(), "{round}, compressed: {compressed}");
            }
        }
    }
}

/// What only a snapshot holds is not read for the disk.
#[test]
fn a_disk_is_taken_out_without_reading_its_snapshots() {
    let dir = disk_dir();
    let image = Image::new(dir.path().join("vm.qcow2"), "", 65536, 8 << 20);
    let noise = dir.path().join("noise");
    let write = |seed, at| {
        fs::write(&noise, Random::new(seed).bytes_without_zero(8 << 20)).unwrap();
        image.io(&[format!("write -q -s {} {at}", path_str(&noise))]);
    };
    write(1, "0 8M");
    image.img(&["snapshot", "-c", "before"]);
    write(2, "0 8M");
    let (lab, memory) = lab(1);
    let store = FaultStore::new(memory);
    let shared = store.clone();
    let lab = lab.with_store(move || Box::new(shared.clone()));
    lab.backup_path("a", &image.path).unwrap();
    let reads = |form, path: &Path| {
        store.disarm();
        let target = dir.path().join("target");
        let done = lab.restore_to("a", &target, &options(&lab, AllocationMode::Sparse, form));
        assert_eq!(done.unwrap().problems, [""; 0]);
        let log = store.log();
        assert!(fs::metadata(restored(&target, path)).unwrap().len() >= 8 << 20);
        log.iter().filter(|(verb, key)| *verb == Verb::Get && key.starts_with("packs/")).count()
    };
    let all = reads(Form::Stored, &image.path);
    let disk = reads(Form::Raw, &with_raw(&image.path));
    assert!(disk + 5 <= all, "{disk} and {all} groups read");
    let (streamed, result) = stream(&lab, "a", &image.path, Form::Raw);
    assert!(result.is_ok() && streamed == image.raw().unwrap());
}
