//! Files that lie about themselves are stored and come back like any other.

use std::fs;

use garret_core::{AllocationMode, Destination, Form};

use garret_testkit::Recorder;

use super::common::craft::{Craft, hostile, sound};
use super::common::{Random, disk_dir};
use super::{files, lab, options, restore, restored, stream, with_raw};

/// Stores the files, and takes them out in every way.
fn check(crafts: &[Craft]) -> [usize; 2] {
    let dir = disk_dir();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    let path = |number: usize| source.join(format!("{number:04}.qcow2"));
    for (number, craft) in crafts.iter().enumerate() {
        fs::write(path(number), &craft.bytes).unwrap();
    }
    let (lab, _) = lab(2);
    lab.backup_path("a", &source).unwrap();
    for allocation in [AllocationMode::Sparse, AllocationMode::Exact] {
        let target = dir.path().join(format!("{allocation:?}"));
        let options = options(&lab, allocation, Form::Stored);
        assert_eq!(lab.restore_to("a", &target, &options).unwrap().problems, [""; 0]);
        for (number, craft) in crafts.iter().enumerate() {
            let bytes = fs::read(restored(&target, &path(number))).unwrap();
            assert!(bytes == craft.bytes, "{number}: {}", craft.name);
        }
    }
    for (number, craft) in crafts.iter().enumerate() {
        let (streamed, _) = stream(&lab, "a", &path(number), Form::Stored);
        assert!(streamed == craft.bytes, "{number}: {}, to a pipe", craft.name);
    }
    let nowhere = options(&lab, AllocationMode::Sparse, Form::Stored);
    let heard = Recorder::default();
    let done = restore(&lab, "a", None, Destination::Nowhere, &nowhere, &heard).unwrap();
    assert_eq!((done.file_count, heard.problems()), (crafts.len() as u64, Vec::new()));
    // As disks: one file or one problem each.
    let target = dir.path().join("raw");
    let done = lab.restore_to("a", &target, &options(&lab, AllocationMode::Sparse, Form::Raw));
    let done = done.unwrap();
    assert_eq!(done.report.file_count + done.report.problem_count, crafts.len() as u64);
    assert_eq!(files(&target).len() as u64, done.report.file_count);
    let mut counts = [0, done.problems.len()];
    for (number, craft) in crafts.iter().enumerate() {
        let raw = with_raw(&restored(&target, &path(number)));
        counts[0] += usize::from(raw.exists());
        // Some say that their disk is of terabytes: as a file of holes it costs nothing, in memory it would.
        if fs::metadata(&raw).is_ok_and(|raw| raw.len() > 64 << 20) {
            continue;
        }
        let (streamed, result) = stream(&lab, "a", &path(number), Form::Raw);
        match raw.exists() {
            true => assert!(streamed == fs::read(raw).unwrap(), "{number}: {}", craft.name),
            false => {
                assert!(result.is_err() || streamed == craft.bytes, "{number}: {}", craft.name)
            }
        }
    }
    let repository = lab.reader().unwrap();
    let archive = repository.archive("a").unwrap();
    for item in repository.items(&archive).map(Result::unwrap) {
        let _error = repository.file_info(&archive, &item.path, &garret_core::Silent);
    }
    drop(repository);
    lab.check();
    counts
}

#[test]
fn every_crafted_file_is_stored_and_comes_back() {
    let crafts = hostile(std::path::Path::new("/nowhere"));
    let [disks, problems] = check(&crafts);
    println!("{} files, {disks} of them as disks, {problems} not", crafts.len());
    assert!(crafts.len() >= 200 && disks >= 20 && problems >= 100);
    let read_as_disks = crafts.iter().filter(|craft| craft.opaque == Some(false)).count();
    assert!(disks <= read_as_disks + 2, "what is opaque has no disk");
}

#[test]
fn every_damaged_file_is_stored_and_comes_back() {
    let mut random = Random::new(20);
    let damaged = |number| {
        let mut craft = Craft { name: format!("damaged {number}"), ..sound() };
        for _ in 0..random.below(3) + 1 {
            // The header, the L1 and the L2 tables.
            let place = [0, 3, 4, 5][random.below(4)] * 4096 + random.below(120);
            let at = place as usize;
            match random.below(3) {
                0 => craft.bytes[at] ^= 1 << random.below(8),
                1 => craft.bytes[at] = random.word() as u8,
                _ => craft.bytes.copy_within(4 * 4096 + 8..4 * 4096 + 24, at),
            }
        }
        craft
    };
    let crafts: Vec<Craft> = (0..300).map(damaged).collect();
    let [disks, problems] = check(&crafts);
    println!("{} files, {disks} of them as disks, {problems} not", crafts.len());
    assert!(disks >= 30 && problems >= 30);
}
