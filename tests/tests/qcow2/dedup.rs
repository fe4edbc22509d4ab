//! A disk shares its chunks with its copies: in a raw file or a pipe, with clusters of any size and order, and with its
//! partitions elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use garret_core::{CutterChoice, Written};
use garret_format::recipe::CutterKind;
use garret_testkit::{Image as Disk, Lab};

use super::common::images::{Image, mbr};
use super::common::{Random, disk_dir, path_str, run};
use super::{info, lab};

/// What is written to a disk at once, and how often.
const SLICE: usize = 96 << 10;
const SLICES: usize = 150;
/// No whole number of clusters or pages.
const DISK: u64 = (SLICES * SLICE) as u64 + 5 * 512;
/// The longest chunk, twice: one at either end of what changed.
const TWO_CHUNKS: u64 = 640 << 10;

fn put(lab: &Lab, name: &str, path: &Path) -> Written {
    lab.backup_path(name, path).unwrap().written
}

fn convert(from: &Path, to: PathBuf, args: &[&str]) -> PathBuf {
    let paths = [path_str(from), path_str(&to)];
    run("qemu-img", &[&["convert", "-q"], args, &paths].concat());
    to
}

/// A disk written in random order, a seventh of it never.
fn written(dir: &Path, random: &mut Random) -> Image {
    let image = Image::new(dir.join("disk.qcow2"), "", 65536, DISK);
    let disk = [
        Disk::generate(random.word(), SLICES / 2 * SLICE).bytes,
        Disk::noise(random.word(), SLICES / 2 * SLICE).bytes,
    ]
    .concat();
    let mut order: Vec<usize> = (0..SLICES).filter(|at| at % 7 != 3).collect();
    random.shuffle(&mut order);
    let mut commands = Vec::new();
    for at in order {
        let slice = dir.join(format!("slice-{at}"));
        fs::write(&slice, &disk[at * SLICE..(at + 1) * SLICE]).unwrap();
        commands.push(format!("write -q -s {} {} {SLICE}", path_str(&slice), at * SLICE));
    }
    image.io(&commands);
    image
}

#[test]
fn other_forms_of_a_disk_add_nothing_but_what_is_not_the_disk() {
    let dir = disk_dir();
    let image = written(dir.path(), &mut Random::new(1));
    let (lab, _) = lab(2);
    let first = put(&lab, "qcow2", &image.path);
    assert!(first.chunk_bytes > DISK / 3, "{first:?}");
    let raw = convert(&image.path, dir.path().join("disk.raw"), &["-O", "raw"]);
    assert_eq!(fs::metadata(&raw).unwrap().len(), DISK);
    assert_eq!(put(&lab, "raw", &raw).chunk_count, 0, "a raw copy");
    for (name, options) in [
        ("512", "cluster_size=512"),
        ("4k", "cluster_size=4k"),
        ("2m", "cluster_size=2M"),
        ("v2", "compat=0.10"),
        ("extended", "extended_l2=on,cluster_size=32k"),
        ("full", "preallocation=full"),
    ] {
        let path = dir.path().join(format!("{name}.qcow2"));
        let path = convert(&raw, path, &["-O", "qcow2", "-o", options]);
        let new = put(&lab, name, &path).chunk_bytes;
        let info = info(&lab, name, &path);
        assert!(info.is_container, "{name}: {info:?}");
        // Zero runs of the residue are not stored.
        assert!(new <= info.residue && new < DISK / 20, "{name}: {new} new, {info:?}");
        assert_eq!(info.new, new, "{name}");
    }
    // Last, so that nothing comes from the archives before: a copy in memory of nothing but the file's.
    let (other, _) = super::lab(3);
    assert!(put(&other, "raw", &raw).chunk_count > 0);
    let again = put(&other, "qcow2", &image.path);
    assert!(again.chunk_bytes <= info(&other, "qcow2", &image.path).residue);
}

#[test]
fn a_night_of_a_guest_costs_what_it_costs_on_a_raw_disk() {
    let dir = disk_dir();
    let mut random = Random::new(2);
    let image = written(dir.path(), &mut random);
    let ((qcow2, _), (raw, _)) = (lab(2), lab(2));
    for night in 0..4 {
        let name = format!("night-{night}");
        // Paths of their own, so that no night is taken for untouched.
        let path = dir.path().join(format!("{name}.qcow2"));
        run("cp", &[path_str(&image.path), path_str(&path)]);
        let plain = convert(&path, path.with_extension("raw"), &["-O", "raw"]);
        let [of_qcow2, of_raw] =
            [(&qcow2, &path), (&raw, &plain)].map(|(lab, path)| put(lab, &name, path).chunk_bytes);
        let residue = info(&qcow2, &name, &path).residue;
        assert!(residue < DISK / 20, "{residue}");
        assert!(of_qcow2 <= of_raw * 102 / 100 + residue, "{name}: {of_qcow2} and {of_raw}");
        assert!(night == 0 || (0 < of_raw && of_raw < DISK / 2), "{name}: {of_raw} of {DISK}");
        let noise = dir.path().join(format!("noise-{night}"));
        fs::write(&noise, random.bytes_without_zero(1 << 20)).unwrap();
        let write = |_| {
            let (at, len) = (random.below(DISK / 4096 - 8) * 4096, (random.below(8) + 1) * 4096);
            format!("write -q -s {} {at} {len}", path_str(&noise))
        };
        image.io(&(0..30).map(write).collect::<Vec<_>>());
    }
}

/// A disk with these partitions from these sectors on, noise before the first and zeros between them.
fn partitioned(partitions: &[(u32, &[u8])]) -> Vec<u8> {
    let entry = |(start, bytes): &(u32, &[u8])| (*start, (bytes.len() / 512) as u32);
    let mut disk = mbr(&partitions.iter().map(entry).collect::<Vec<_>>()).to_vec();
    disk.extend(Random::new(7).bytes_without_zero(20_000));
    for (start, bytes) in partitions {
        let start = *start as usize * 512;
        assert!(disk.len() <= start, "partitions do not overlap");
        disk.resize(start, 0);
        disk.extend(*bytes);
    }
    disk
}

/// The same two partitions on a disk of old tools and on one of new tools.
fn old_and_new() -> [Vec<u8>; 2] {
    // The second begins beyond the first window of the core, off the grid in another way.
    let one = Disk::generate(31, (5 << 20) + 3 * 512).bytes;
    let two = Disk::noise(32, (9 << 20) + 512).bytes;
    let behind = 63 + (one.len() / 512) as u32;
    assert!(behind % 8 != 63 % 8 && !behind.is_multiple_of(8));
    [partitioned(&[(63, &one), (behind, &two)]), partitioned(&[(2048, &one), (14336, &two)])]
}

#[test]
fn a_partition_shares_its_chunks_wherever_it_starts() {
    let dir = disk_dir();
    let disks = old_and_new();
    let paths = ["old", "new"].map(|name| dir.path().join(name).with_extension("raw"));
    paths.iter().zip(&disks).for_each(|(path, disk)| fs::write(path, disk).unwrap());
    let images = paths.clone().map(|path| {
        let image = path.with_extension("qcow2");
        convert(&path, image, &["-f", "raw", "-O", "qcow2"])
    });
    let len = disks[0].len() as u64;
    for (one, two) in [(&paths[0], &paths[1]), (&paths[1], &images[0]), (&images[0], &images[1])] {
        let (lab, _) = lab(3);
        assert!(put(&lab, "one", one).chunk_bytes > len * 9 / 10);
        let new = put(&lab, "two", two).chunk_bytes;
        let residue = info(&lab, "two", two).residue;
        assert!(new <= 2 * TWO_CHUNKS + residue, "{} then {}: {new}", one.display(), two.display());
        assert!(lab.restore_bytes("one").unwrap() == fs::read(one).unwrap());
        assert!(lab.restore_bytes("two").unwrap() == fs::read(two).unwrap());
    }
    // It is the sections that do it.
    let (mut without, _) = lab(3);
    without.cutter = CutterChoice::Always(CutterKind::Page);
    put(&without, "one", &paths[0]);
    let new = put(&without, "two", &paths[1]).chunk_bytes;
    assert!(new > len * 9 / 10, "{new} of {len} without sections");
}

#[test]
fn a_disk_from_a_pipe_has_the_chunks_of_the_file() {
    let dir = disk_dir();
    let path = dir.path().join("disk.raw");
    let mut disks: Vec<Vec<u8>> = old_and_new().into();
    // A disk that ends behind its partitions, one that ends with a window, and one of nothing but a table.
    let old = disks[0].clone();
    disks.push([&old[..], &Disk::noise(33, 700_000).bytes].concat());
    disks.push(partitioned(&[(63, &Disk::noise(34, (8 << 20) - 63 * 512).bytes)]));
    disks.push(partitioned(&[(63, &Disk::noise(35, 40_960).bytes)]));
    for (number, disk) in disks.iter().enumerate() {
        fs::write(&path, disk).unwrap();
        for threads in [1, 3] {
            let ((from_file, _), (from_pipe, _)) = (lab(threads), lab(threads));
            let (file, pipe) =
                (put(&from_file, "file", &path), from_pipe.backup_bytes("pipe", disk));
            let pipe = pipe.unwrap().written;
            let counts = |new: &Written| (new.chunk_count, new.chunk_bytes);
            assert_eq!(counts(&file), counts(&pipe), "disk {number}, {threads} threads");
            assert_eq!(put(&from_pipe, "file", &path).chunk_count, 0, "disk {number}");
            assert!(from_pipe.restore_bytes("pipe").unwrap() == *disk, "disk {number}");
        }
    }
}
