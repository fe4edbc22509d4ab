//! Random images: in, and out again in every way there is.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use garret_core::{AllocationMode, Destination, Form};
use garret_testkit::{Lab, Recorder, data_map};

use super::common::images::{KINDS, convert, disturb, random_image, seeds, truncate};
use super::common::{Random, disk_dir, path_str, run, tmpfs_dir};
use super::{backup, files, info, items, lab, options, restore, restored, stream, with_raw};

/// A file that is an image, and what QEMU reads in it.
struct Stored {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Where the file system says it has data.
    data: Vec<Range<u64>>,
    raw: Option<Vec<u8>>,
    has_backing: bool,
    /// Whether it may be beyond reading as a disk: parts are missing, or QEMU cannot read it either.
    may_fail: bool,
}

/// An image, the same disturbed, and the same cut short, in a directory of their own.
fn three_files(dir: &Path, seed: u64, kinds: &mut BTreeMap<&str, u64>) -> Vec<Stored> {
    let mut random = Random::new(seed);
    let mut image = random_image(dir, seed, &mut random);
    let source = dir.join("source");
    fs::create_dir(&source).unwrap();
    // QEMU cannot read all that it wrote: one of a thousand of these images.
    let raw = image.raw();
    let may_fail = raw.is_none();
    let copy = |name: &str, raw: Option<Vec<u8>>, may_fail, has_backing| {
        let path = source.join(name);
        run(
            "cp",
            &["--sparse=auto", path_str(&dir.join(format!("{seed}.qcow2"))), path_str(&path)],
        );
        let (bytes, data) = (fs::read(&path).unwrap(), data_map(&path));
        Stored { path, bytes, data, raw, may_fail, has_backing }
    };
    let has_backing = image.kinds().contains("backing file");
    let fresh = copy("1-fresh.qcow2", raw.clone(), may_fail, has_backing);
    disturb(&mut image, &mut random);
    image.kinds().into_iter().for_each(|kind| *kinds.entry(kind).or_default() += 1);
    let disturbed = copy("2-disturbed.qcow2", raw, may_fail, has_backing);
    truncate(&image, &mut random);
    let cut = copy("3-cut.qcow2", convert(&image.path), true, has_backing);
    vec![fresh, disturbed, cut]
}

/// The archives of one and of three threads are the same; gives a laboratory with both.
fn store(stored: &[Stored], source: &Path) -> Lab {
    let len: u64 = stored.iter().map(|file| file.bytes.len() as u64).sum();
    let of = |threads| {
        let (lab, _) = lab(threads);
        let heard = Recorder::default();
        backup(&lab, "a", source, &heard).unwrap();
        assert_eq!(heard.problems(), [""; 0]);
        let sum: u64 = heard.settled().iter().map(|task| task.count).sum();
        assert_eq!(sum, len, "bytes reported, {threads} threads");
        let ids = lab.reader().unwrap().chunk_ids();
        (lab, ids)
    };
    let ((one, one_ids), (three, three_ids)) = (of(1), of(3));
    assert!(one_ids == three_ids, "chunks depend on threads");
    assert!(items(&one, "a") == items(&three, "a"), "items depend on threads");
    three
}

/// The pages of `bytes` that are not zero.
fn data_pages(bytes: &[u8]) -> Vec<Range<u64>> {
    let mut map: Vec<Range<u64>> = Vec::new();
    let mut at = 0;
    for page in bytes.chunks(4096) {
        let end = at + page.len() as u64;
        if page.iter().any(|byte| *byte != 0) {
            match map.last_mut() {
                Some(last) if last.end == at => last.end = end,
                _ => map.push(at..end),
            }
        }
        at = end;
    }
    map
}

fn whole(len: usize) -> Vec<Range<u64>> {
    std::iter::once(0..len as u64).filter(|range| !range.is_empty()).collect()
}

/// As files, with the zeros asked for, and through a pipe.
fn check_files(lab: &Lab, stored: &[Stored], dir: &Path) {
    for allocation in [AllocationMode::Sparse, AllocationMode::Exact, AllocationMode::Full] {
        let target = dir.join(format!("{allocation:?}"));
        let (heard, options) = (Recorder::default(), options(lab, allocation, Form::Stored));
        let destination = Destination::Directory(target.clone());
        let report = restore(lab, "a", None, destination, &options, &heard).unwrap();
        assert_eq!((report.file_count, report.problem_count), (3, 0));
        assert_eq!(report.bytes, stored.iter().map(|file| file.bytes.len() as u64).sum::<u64>());
        assert_eq!(heard.settled().last().unwrap().count, report.bytes, "bytes reported");
        for file in stored {
            let path = restored(&target, &file.path);
            assert!(fs::read(&path).unwrap() == file.bytes, "{allocation:?} {}", path.display());
            let data = match allocation {
                AllocationMode::Sparse => data_pages(&file.bytes),
                AllocationMode::Exact => file.data.clone(),
                AllocationMode::Full => whole(file.bytes.len()),
                other => panic!("{other:?} is new here"),
            };
            assert_eq!(data_map(&path), data, "{allocation:?} {}", path.display());
        }
        fs::remove_dir_all(target).unwrap();
    }
    let (heard, options) = (Recorder::default(), options(lab, AllocationMode::Full, Form::Stored));
    restore(lab, "a", None, Destination::Nowhere, &options, &heard).unwrap();
    heard.settled();
    for file in stored {
        let (streamed, _) = stream(lab, "a", &file.path, Form::Stored);
        assert!(streamed == file.bytes, "{}, to a pipe", file.path.display());
    }
}

/// As disks, to files and through a pipe. How many of those that were cut could be read.
fn check_disks(lab: &Lab, stored: &[Stored], dir: &Path, allocation: AllocationMode) -> u64 {
    let target = dir.join("raw");
    let done = lab.restore_to("a", &target, &options(lab, allocation, Form::Raw)).unwrap();
    let mut expected = Vec::new();
    let (mut failed, mut len, mut cut_but_read) = (0, 0, 0);
    for file in stored {
        let name = file.path.file_name().unwrap().to_str().unwrap();
        let (streamed, result) = stream(lab, "a", &file.path, Form::Raw);
        let path = restored(&target, &file.path);
        let is_image = file.bytes.get(..8).is_some_and(|magic| magic[..7] == *b"QFI\xfb\0\0\0");
        if !is_image {
            assert!(fs::read(&path).unwrap() == file.bytes && streamed == file.bytes, "{name}");
            len += file.bytes.len() as u64;
            expected.push(path);
            continue;
        }
        let path = with_raw(&path);
        if path.exists() {
            assert!(!file.has_backing);
            let bytes = fs::read(&path).unwrap();
            assert!(result.unwrap().file_count == 1 && streamed == bytes, "{name} to a pipe");
            assert!(file.raw.as_ref().is_none_or(|raw| *raw == bytes), "{name} is not QEMU's");
            let data = match allocation {
                AllocationMode::Full => whole(bytes.len()),
                _ => data_pages(&bytes),
            };
            assert_eq!(data_map(&path), data, "{allocation:?} {name} as raw");
            (len, cut_but_read) =
                (len + bytes.len() as u64, cut_but_read + u64::from(file.may_fail));
            expected.push(path);
        } else {
            let said = done.problems.iter().find(|text| text.contains(name)).unwrap();
            let error = garret_core::message(&result.unwrap_err());
            assert!(file.may_fail || file.has_backing, "{said}");
            for text in [said, &error] {
                assert!(file.may_fail || text.contains("backing file"), "{name}: {text}");
            }
            assert!(file.may_fail || streamed.is_empty(), "{name}: something was written");
            failed += 1;
        }
    }
    assert_eq!(files(&target), expected, "nothing else is there");
    assert_eq!(done.problems.len(), failed);
    let report = done.report;
    assert_eq!((report.file_count, report.bytes), (expected.len() as u64, len));
    fs::remove_dir_all(target).unwrap();
    cut_but_read
}

/// What `info` says of those that were not cut: they were read as disks, if they are long enough to be looked at.
fn check_info(lab: &Lab, stored: &[Stored]) {
    for file in stored.iter().filter(|file| !file.may_fail) {
        let info = info(lab, "a", &file.path);
        let len = file.bytes.len() as u64;
        assert_eq!((info.file_len, info.is_container), (len, len >= 64 << 10), "{info:?}");
        if info.is_container {
            assert_eq!(info.disk_len, file.raw.as_ref().unwrap().len() as u64);
            assert!(info.residue <= len && info.zero <= info.disk_len, "{info:?}");
            assert!(info.allocated <= info.disk_len, "{info:?}");
        }
    }
}

/// Every second seed, so that two tests share the work.
fn random_cases(half: u64) {
    let seeds = seeds(0..48);
    let is_default = std::env::var_os("GARRET_QCOW2_SEEDS").is_none();
    let mut kinds = BTreeMap::new();
    let (mut cut_but_read, mut unreadable) = (0, 0);
    for seed in seeds.clone().filter(|seed| seed % 2 == half) {
        // What is asked of a disk's file system costs a wait for the disk.
        let dir = if seed % 6 < 2 { disk_dir() } else { tmpfs_dir() };
        let stored = three_files(dir.path(), seed, &mut kinds);
        unreadable += u64::from(stored[0].may_fail);
        let lab = store(&stored, &dir.path().join("source"));
        check_files(&lab, &stored, dir.path());
        let allocation = [AllocationMode::Sparse, AllocationMode::Full][(seed / 2 % 2) as usize];
        cut_but_read += check_disks(&lab, &stored, dir.path(), allocation);
        check_info(&lab, &stored);
        lab.check();
    }
    assert!(unreadable == 0 || !is_default, "QEMU cannot read what it wrote");
    println!(
        "{seeds:?}, half {half}: {kinds:?}, {cut_but_read} cut but readable, {unreadable} not readable"
    );
    let missing = |kind: &&&str| !kinds.contains_key(**kind);
    assert_eq!(KINDS.iter().find(missing).filter(|_| is_default), None, "no such image");
    assert!(cut_but_read > 0 || !is_default);
}

#[test]
fn random_images_come_back_as_files_and_as_disks() {
    random_cases(0);
}

#[test]
fn more_random_images_come_back_as_files_and_as_disks() {
    random_cases(1);
}
