//! imago as a second oracle: a qcow2 reader that shares no line with QEMU or with this crate. For
//! each image that it opens: the guest's disk lies in the same places of the file, as many clusters
//! are compressed, and the raw view reads the same.
//!
//! What imago does not open it says: any incompatible feature but external data, so dirty and
//! corrupt images, zstd, extended L2 entries. No other image may be refused.
//!
//! Random cases print their seed when they fail; GARRET_QCOW2_SEEDS=1000..2000 runs others.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test code outside of test functions")]

mod common;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::craft::{Craft, hostile};
use common::qcow2::read_all;
use common::{Random, path_str, run, tmpfs_dir};
use garret_image::qcow2::{Map, Outcome, RawViewError, parse, raw_view};
use garret_image::{Part, Piece, RawFile, Source};
use imago::file::File;
use imago::qcow2::Qcow2;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, Mapping, StorageOpenOptions};

/// Incompatible features that imago documents it does not know.
const FEATURES: [(u8, &str); 4] =
    [(1 << 0, "dirty"), (1 << 1, "corrupt"), (1 << 3, "zstd"), (1 << 4, "extended L2")];

/// What was compared.
#[derive(Debug, Default)]
struct Tally {
    images: u64,
    /// Of these, those whose content was compared too: not with a backing file.
    views: u64,
    pieces: u64,
    piece_bytes: u64,
    compressed: u64,
    refused: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Compares what this crate and imago say of a file. Fails where imago does.
    fn compare(&mut self, path: &Path, map: &Map, random: &mut Random) -> io::Result<()> {
        let disk = open(path)?;
        assert_eq!(map.layout.len(Part::Guest), disk.size());
        let (pieces, compressed) = walk(&disk, map)?;
        let ours: Vec<Piece> = map.layout.pieces(Part::Guest, 0..u64::MAX).collect();
        assert_eq!(ours, pieces, "the same ranges at the same places");
        assert_eq!(map.compressed_count, compressed);
        self.images += 1;
        self.pieces += pieces.len() as u64;
        self.piece_bytes += map.layout.data_len();
        self.compressed += compressed;
        let file = Arc::new(RawFile::open(path, false).unwrap());
        match raw_view(file, path) {
            Ok(view) => {
                let theirs = read(&disk, random).inspect_err(|_| {
                    let mut bytes = vec![0; disk.size() as usize];
                    assert!(view.read_at(&mut bytes, 0).is_err(), "only imago fails");
                })?;
                assert!(read_all(&view, random) == theirs, "the same content");
                self.views += 1;
            }
            Err(error) => assert!(map.has_backing && matches!(error, RawViewError::Backing)),
        }
        Ok(())
    }

    fn refuse(&mut self, features: u8) {
        for (bit, name) in FEATURES {
            if features & bit != 0 {
                *self.refused.entry(name).or_default() += 1;
            }
        }
    }
}

/// Opens an image, and no other file whatever the header names.
fn open(path: &Path) -> io::Result<FormatAccess<File>> {
    let file = File::from_open_file(std::fs::File::open(path)?, StorageOpenOptions::new())?;
    let image = Qcow2::<File>::builder(file).backing(None).data_file(None);
    Ok(FormatAccess::new(image.open(DenyImplicitOpenGate::default())?))
}

/// The pieces of the whole disk by imago, neighbours joined, and the number of compressed clusters.
fn walk(disk: &FormatAccess<File>, map: &Map) -> io::Result<(Vec<Piece>, u64)> {
    let (mut pieces, mut compressed, mut at) = (Vec::<Piece>::new(), 0, 0);
    while at < disk.size() {
        let (mapping, len) = disk.get_mapping(at, disk.size() - at)?;
        assert!(len > 0 && len <= disk.size() - at);
        match mapping {
            Mapping::Raw { offset, .. } => {
                // imago maps whole clusters also where the file ends within one.
                let len = len.min(map.layout.file_len().saturating_sub(offset));
                match pieces.last_mut() {
                    Some(last)
                        if last.offset + last.len == at
                            && last.file_offset + last.len == offset =>
                    {
                        last.len += len
                    }
                    _ => pieces.push(Piece { offset: at, file_offset: offset, len }),
                }
            }
            Mapping::Special { .. } => compressed += len.div_ceil(map.cluster_bytes),
            Mapping::Zero { .. } => {}
            other => panic!("{other:?} at {at}"),
        }
        at += len;
    }
    Ok((pieces, compressed))
}

/// The whole disk by imago, in reads of random length.
fn read(disk: &FormatAccess<File>, random: &mut Random) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0xee; disk.size() as usize];
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes.len().min(at + 1 + random.below(600_000) as usize);
        disk.read(&mut bytes[at..end], at as u64)?;
        at = end;
    }
    Ok(bytes)
}

fn map(path: &Path) -> Option<Map> {
    match parse(&RawFile::open(path, false).unwrap()).unwrap() {
        Outcome::Qcow2(map) => Some(map),
        Outcome::Opaque(_) => None,
    }
}

/// The low byte of the incompatible features, where all are that QEMU knows.
fn features(path: &Path) -> u8 {
    let bytes = std::fs::read(path).unwrap();
    if bytes.get(7) == Some(&3) { bytes.get(79).copied().unwrap_or(0) } else { 0 }
}

fn pick<'a>(random: &mut Random, from: &[&'a str]) -> &'a str {
    from[random.below(from.len())]
}

/// An image of a few random writes, zeros, discards and compressed clusters.
fn random_image(dir: &Path, seed: u64, random: &mut Random) -> PathBuf {
    let bits = 9 + seed % 13;
    let size = (random.below(6 << 20) + 1_u64).next_multiple_of(512);
    let v2 = random.below(4) == 0;
    let mut options =
        format!("cluster_size={},compat={}", 1 << bits, if v2 { "0.10" } else { "1.1" });
    if !v2 {
        let extended = if bits >= 14 { ",extended_l2=on" } else { "" };
        let rest = ["", "", "", "", ",lazy_refcounts=on", ",refcount_bits=64"];
        options += pick(random, &[&rest[..], &[",compression_type=zstd", extended]].concat());
    }
    if random.below(6) == 0 {
        let backing = dir.join(format!("{seed}.backing"));
        std::fs::write(&backing, random.bytes_without_zero(100_000)).unwrap();
        options += &format!(",backing_file={},backing_fmt=raw", path_str(&backing));
    } else {
        let kinds = ["", "", "", ",preallocation=metadata", ",preallocation=full"];
        options += pick(random, &kinds);
    }
    println!("seed {seed}: size {size}, {options}");
    let path = dir.join(format!("{seed}.qcow2"));
    let size_text = size.to_string();
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", &options, path_str(&path), &size_text]);
    for step in 0..random.below(6) {
        let commands: Vec<String> =
            (0..random.below(40) + 1).map(|_| command(random, 1 << bits, size)).collect();
        let mut io = Command::new("qemu-io");
        io.args(["-f", "qcow2"]).args(commands.iter().flat_map(|command| ["-c", command]));
        let output = io.arg(&path).output().expect("this test needs qemu-io (qemu-utils)");
        // A compressed write to a cluster that is allocated is refused, all else succeeds. Now and
        // then QEMU finds an image of its own making corrupt and writes no more to it.
        let refused = commands.iter().any(|command| command.starts_with("write -c"));
        let snapshot = ["snapshot", "-c", &step.to_string(), path_str(&path)];
        let done = random.below(5) != 0
            || Command::new("qemu-img").args(snapshot).output().unwrap().status.success();
        if features(&path) & 2 != 0 {
            println!("seed {seed}: corrupt after step {step}");
            break;
        }
        assert!(output.status.success() || refused, "{commands:?}: {output:?}");
        assert!(done, "{snapshot:?}");
    }
    path
}

fn command(random: &mut Random, cluster: u64, size: u64) -> String {
    let start = random.below(size / 512) * 512;
    let most = 2 << random.below(9);
    let len = (size - start).min((random.below(most) + 1) * 512);
    let pattern = random.below(255) + 1;
    match random.below(10) {
        0..=4 => format!("write -P {pattern} {start} {len}"),
        5 => format!("write -z {start} {len}"),
        6 => format!("write -zu {start} {len}"),
        7 => format!("discard {start} {len}"),
        _ => {
            let start = start - start % cluster;
            format!("write -c -P {pattern} {start} {}", cluster.min(size - start))
        }
    }
}

fn seeds(default: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var("GARRET_QCOW2_SEEDS") else { return default };
    let (start, end) = text.split_once("..").unwrap();
    start.parse().unwrap()..end.parse().unwrap()
}

#[test]
fn random_images_lie_where_imago_says() {
    let dir = tmpfs_dir();
    let mut tally = Tally::default();
    for seed in seeds(0..130) {
        let mut random = Random::new(seed);
        let path = random_image(dir.path(), seed, &mut random);
        let mut found = features(&path);
        if random.below(8) == 0 && map(&path).unwrap().version == 3 {
            found |= 1 + random.below(3) as u8;
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(&[found], 79).unwrap();
        }
        let map = map(&path).expect("nothing that QEMU made raises a doubt");
        match tally.compare(&path, &map, &mut random) {
            Ok(()) => assert_eq!(found, 0, "imago knows it after all"),
            Err(error) => {
                assert!(error.to_string().contains("incompatible feature"), "{error}");
                let known: u8 = FEATURES.iter().map(|(bit, _)| bit).sum();
                assert!(found != 0 && found & !known == 0, "{found:#x}: {error}");
                tally.refuse(found);
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
    println!("{tally:?}");
    assert!(tally.pieces > 0 && tally.compressed > 0 && tally.views < tally.images);
    assert_eq!(tally.refused.len(), FEATURES.len(), "every kind that is refused was tried");
}

/// Images made by hand: what both read they read alike.
#[test]
fn crafted_images_lie_where_imago_says() {
    let dir = tmpfs_dir();
    let path = dir.path().join("crafted");
    let mut tally = Tally::default();
    for Craft { name, bytes, .. } in hostile(dir.path()) {
        std::fs::write(&path, bytes).unwrap();
        let Some(map) = map(&path) else { continue };
        println!("{name:?}");
        if let Err(error) = tally.compare(&path, &map, &mut Random::new(1)) {
            println!("-- {error}");
            let text = error.to_string();
            // QEMU and this crate read extensions that fill the cluster and have no end marker.
            let reasons = ["incompatible feature", "Failed to decompress", "Header extensions"];
            assert!(reasons.iter().any(|reason| text.contains(reason)), "{name}: {text}");
        }
    }
    println!("{tally:?}");
    assert!(tally.views > 10 && tally.compressed > 500);
}
