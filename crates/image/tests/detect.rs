//! What is taken for a disk image: made by real tools, and by hand where a base system has none.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use std::path::Path;

use common::{disk_dir, open, path_str, run, write_file};
use garret_image::{Detected, detect};

fn detected(path: &Path) -> Detected {
    detect(&open(path), path)
}

fn put(bytes: &mut [u8], offset: usize, what: &[u8]) {
    bytes[offset..offset + what.len()].copy_from_slice(what);
}

/// A megabyte with `pieces` at their offsets.
fn made(dir: &Path, pieces: &[(usize, &[u8])]) -> Detected {
    let mut bytes = vec![0; 1 << 20];
    pieces.iter().for_each(|(offset, what)| put(&mut bytes, *offset, what));
    detected(&write_file(dir, "made", &bytes))
}

fn mbr_entry(status: u8, kind: u8, start: u32, sectors: u32) -> Vec<u8> {
    let mut entry = vec![status, 0, 0, 0, kind, 0, 0, 0];
    entry.extend(start.to_le_bytes());
    entry.extend(sectors.to_le_bytes());
    entry
}

#[test]
fn ext_file_systems_are_told_apart() {
    let dir = disk_dir();
    for kind in ["ext2", "ext3", "ext4"] {
        let path = dir.path().join(kind);
        run("truncate", &["-s", "32M", path_str(&path)]);
        run("mkfs.ext4", &["-q", "-F", "-t", kind, path_str(&path)]);
        let found = detected(&path);
        assert!(matches!(found, Detected::FileSystem(name) if name == kind), "{kind}: {found:?}");
        assert_eq!(found.to_string(), format!("disk image ({kind})"));
    }
}

#[test]
fn qcow2_of_both_versions_is_found_whatever_its_name() {
    let dir = disk_dir();
    for compat in ["0.10", "1.1"] {
        let path = dir.path().join("disk");
        let options = format!("compat={compat}");
        run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", &options, path_str(&path), "10M"]);
        assert_eq!(detected(&path), Detected::Qcow2);
    }
    let other = write_file(dir.path(), "other", b"QFI\xfb\0\0\0\x01");
    assert_eq!(detected(&other), Detected::Plain, "version 1 is another format");
}

#[test]
fn an_mbr_needs_sane_entries_and_not_only_its_two_magic_bytes() {
    let dir = disk_dir();
    let magic = (510, &b"\x55\xaa"[..]);
    let entry = mbr_entry(0x80, 0x83, 1, 2000);
    let second = mbr_entry(0, 0x82, 2001, 10);
    let found = made(dir.path(), &[magic, (446, &entry), (478, &second)]);
    assert_eq!(found, Detected::PartitionTable);
    assert!(found.is_image());
    // The protective MBR of a GPT disk that was cut off before the GPT.
    let protective = mbr_entry(0, 0xee, 1, u32::MAX);
    assert_eq!(made(dir.path(), &[magic, (446, &protective)]), Detected::PartitionTable);

    for bad in [
        mbr_entry(0x81, 0x83, 1, 2000),
        mbr_entry(0, 0x83, 0, 2000),
        mbr_entry(0, 0x83, 5000, 10),
        mbr_entry(0, 0x83, 1, 0),
        mbr_entry(0, 0, 1, 2000),
    ] {
        assert_eq!(made(dir.path(), &[magic, (446, &bad)]), Detected::Plain, "{bad:?}");
    }
    assert_eq!(made(dir.path(), &[magic]), Detected::Plain, "no entry is used");
    assert_eq!(made(dir.path(), &[(446, &entry)]), Detected::Plain, "no magic");
    let both = [magic, (446, &*entry), (462, &*entry)];
    assert_eq!(made(dir.path(), &both), Detected::Plain, "two active entries");
}

#[test]
fn a_gpt_is_found_behind_sectors_of_both_sizes() {
    let dir = disk_dir();
    for sector in [512, 4096] {
        let header = b"EFI PART\0\0\x01\0\x5c\0\0\0";
        assert_eq!(made(dir.path(), &[(sector, header)]), Detected::PartitionTable);
        assert_eq!(made(dir.path(), &[(sector, b"EFI PART")]), Detected::Plain);
    }
}

#[test]
fn other_superblocks_are_found_by_their_magic() {
    let dir = disk_dir();
    let boot = [(0, &b"\xeb\x52\x90"[..]), (510, b"\x55\xaa"), (11, b"\0\x02")];
    let boot_of = |offset, name| {
        let mut pieces = boot.to_vec();
        pieces.push((offset, name));
        made(dir.path(), &pieces)
    };
    assert_eq!(boot_of(3, b"NTFS    "), Detected::FileSystem("ntfs"));
    assert_eq!(boot_of(3, b"EXFAT   "), Detected::FileSystem("exfat"));
    assert_eq!(boot_of(54, b"FAT16   "), Detected::FileSystem("fat"));
    assert_eq!(boot_of(82, b"FAT32   "), Detected::FileSystem("fat"));
    assert_eq!(boot_of(82, b"nothing "), Detected::Plain);
    assert_eq!(made(dir.path(), &[(0, b"XFSB")]), Detected::FileSystem("xfs"));
    assert_eq!(made(dir.path(), &[(0x10040, b"_BHRfS_M")]), Detected::FileSystem("btrfs"));
    let label = [(512, &b"LABELONE"[..]), (536, b"LVM2 001")];
    assert_eq!(made(dir.path(), &label), Detected::FileSystem("lvm2"));
    assert_eq!(made(dir.path(), &label[..1]), Detected::Plain);
    let chance = [(1024 + 0x38, &b"\x53\xef"[..])];
    assert_eq!(made(dir.path(), &chance), Detected::Plain, "the magic of ext alone");
}

#[test]
fn names_decide_only_where_the_content_says_nothing() {
    let dir = disk_dir();
    for name in ["a.img", "a.RAW", "a.b.Qcow2", "a.qcow"] {
        assert_eq!(detected(&write_file(dir.path(), name, b"")), Detected::NamedImage, "{name}");
    }
    for name in ["img", ".img", "a.image", "a.img.gz", "a.txt"] {
        assert_eq!(detected(&write_file(dir.path(), name, b"short")), Detected::Plain, "{name}");
    }
    let named = write_file(dir.path(), "x.img", b"QFI\xfb\0\0\0\x03");
    assert_eq!(detected(&named), Detected::Qcow2);
}
