//! Images of every kind that qemu-img makes, with qemu-img as the oracle: the file comes back from
//! its two streams byte for byte, the guest stream and the raw view are what `qemu-img convert`
//! gives, and nothing that QEMU made raises a doubt.
//!
//! Random cases print their seed when they fail; GARRET_QCOW2_SEEDS=1000..2000 runs others.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test code outside of test functions")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::images::{Image, KINDS, disturb, random_image, seeds, truncate};
use common::qcow2::{divide_file, read_all};
use common::{Random, disk_dir, path_str, run};
use garret_image::qcow2::{Doubt, Map, Outcome, RawViewError, parse, raw_view};
use garret_image::{Part, RawFile};

fn view(path: &Path) -> Result<garret_image::qcow2::RawView<Arc<RawFile>>, RawViewError> {
    raw_view(Arc::new(RawFile::open(path, false).unwrap()), path)
}

/// Divides the file, and compares both views of the guest with QEMU's.
fn check(path: &Path, raw: &[u8], random: &mut Random) -> Map {
    let Some((map, guest)) = divide_file(path, random) else {
        panic!("{:?}", parse(&RawFile::open(path, false).unwrap()));
    };
    if map.has_backing {
        assert!(matches!(view(path), Err(RawViewError::Backing)));
        return map;
    }
    if map.compressed_count == 0 {
        assert!(guest == raw, "the guest stream is the guest's disk");
    }
    let view = read_all(&view(path).unwrap(), random);
    assert!(view == raw, "the raw view is the guest's disk");
    map
}

fn random_cases(seeds: std::ops::Range<u64>) {
    let dir = disk_dir();
    let (mut plain, mut compressed, mut cut) = (0, 0, 0);
    let mut kinds = BTreeMap::new();
    for seed in seeds {
        let mut random = Random::new(seed);
        let mut image = random_image(dir.path(), seed, &mut random);
        let raw = image.raw().expect("QEMU reads what it wrote");
        check(&image.path, &raw, &mut random);
        disturb(&mut image, &mut random);
        let map = check(&image.path, &raw, &mut random);
        *(if map.compressed_count == 0 { &mut plain } else { &mut compressed }) += 1;
        image.kinds().into_iter().for_each(|kind| *kinds.entry(kind).or_insert(0) += 1);
        cut += truncations(&image, &mut random);
        std::fs::remove_file(&image.path).unwrap();
    }
    println!("{plain} plain, {compressed} with compressed clusters, {cut} cut but readable");
    println!("{kinds:?}");
    assert!(plain > 0 && compressed > 0 && cut > 0);
    KINDS.iter().for_each(|kind| assert!(kinds.contains_key(kind), "no image with {kind}"));
}

/// Cut at random places: opaque or read as QEMU reads it, and in any case byte for byte. How many
/// were read.
fn truncations(image: &Image, random: &mut Random) -> u64 {
    let mut count = 0;
    for _ in 0..2 {
        let cut = truncate(image, random);
        let Some((map, guest)) = divide_file(&image.path, random) else { continue };
        if let Some(raw) = image.raw()
            && !map.has_backing
            && map.compressed_count == 0
        {
            assert!(guest == raw, "cut to {cut}");
            count += 1;
        }
    }
    count
}

#[test]
fn random_images_small_clusters_first() {
    random_cases(seeds(0..65));
}

#[test]
fn random_images_more() {
    random_cases(seeds(65..130));
}

/// A file with data everywhere in random order, some of it zeros.
fn filled(dir: &Path, name: &str, cluster: u64, options: &str) -> Image {
    let mut random = Random::new(cluster);
    let image = Image::new(dir.join(name), options, cluster, 5 << 20);
    let commands: Vec<String> = (0..40)
        .map(|_| {
            let (at, pattern) = (random.below(5 << 11) * 512, random.below(255) + 1);
            let len = (random.below(200) + 1) * 512;
            format!("write -P {pattern} {at} {}", len.min((5 << 20) - at))
        })
        .collect();
    image.io(&commands);
    image
}

#[test]
fn converted_and_compressed_images_have_the_same_guest() {
    let dir = disk_dir();
    let mut random = Random::new(7);
    let image = filled(dir.path(), "a.qcow2", 65536, "");
    let raw = image.raw().unwrap();
    let of = |args: &[&str], random: &mut Random| {
        let path = dir.path().join("b.qcow2");
        let target = [path_str(&image.path), path_str(&path)];
        run("qemu-img", &[&["convert", "-q", "-O", "qcow2"], args, &target].concat());
        check(&path, &raw, random)
    };
    for bits in 9..=21 {
        let options = format!("cluster_size={}", 1 << bits);
        let map = of(&["-o", &options], &mut random);
        assert_eq!((map.compressed_count, map.cluster_bytes), (0, 1 << bits));
        // The last cluster may reach beyond what was written, never less.
        assert!(
            map.layout.data_len()
                >= raw.chunks(512).filter(|s| s.iter().any(|b| *b != 0)).count() as u64 * 512
        );
        for kind in ["zlib", "zstd"] {
            let options = format!("{options},compression_type={kind}");
            let map = of(&["-c", "-o", &options], &mut random);
            assert!(map.compressed_count > 0, "{kind} {bits}");
        }
        if bits >= 14 {
            let map = of(&["-o", &format!("{options},extended_l2=on")], &mut random);
            assert!(map.extended_l2);
        }
    }
}

#[test]
fn an_internal_snapshot_shares_its_clusters_with_the_guest_once() {
    let dir = disk_dir();
    let image = filled(dir.path(), "a.qcow2", 4096, "");
    let before = check(&image.path, &image.raw().unwrap(), &mut Random::new(1));
    image.img(&["snapshot", "-c", "one"]);
    let shared = check(&image.path, &image.raw().unwrap(), &mut Random::new(1));
    assert_eq!(shared.snapshot_count, 1);
    let runs = |map: &Map| map.layout.pieces(Part::Guest, 0..u64::MAX).collect::<Vec<_>>();
    assert_eq!(runs(&shared), runs(&before), "a snapshot moves nothing");
    image.io(&["write -P 9 0 5M".to_owned()]);
    let rewritten = check(&image.path, &image.raw().unwrap(), &mut Random::new(1));
    assert_eq!(rewritten.layout.data_len(), 5 << 20);
    assert!(rewritten.layout.len(Part::Residue) > before.layout.data_len(), "what it kept");
    image.img(&["snapshot", "-a", "one"]);
    let back = check(&image.path, &image.raw().unwrap(), &mut Random::new(1));
    assert_eq!(runs(&back), runs(&before));
}

#[test]
fn preallocated_clusters_of_zeros_are_holes_of_the_guest() {
    let dir = disk_dir();
    for kind in ["metadata", "falloc", "full"] {
        let options = format!(",preallocation={kind}");
        let image = Image::new(dir.path().join(kind), &options, 65536, 4 << 20);
        let map = check(&image.path, &vec![0; 4 << 20], &mut Random::new(2));
        assert!(map.layout.data_len() == 4 << 20 || kind != "metadata", "{kind}");
        image.io(&["write -z 0 4M".to_owned()]);
        let map = check(&image.path, &vec![0; 4 << 20], &mut Random::new(2));
        assert_eq!(map.layout.data_len(), 0, "{kind}: zero flags, with or without a place");
    }
}

#[test]
fn a_disk_of_zero_bytes_is_all_residue() {
    let dir = disk_dir();
    let image = Image::new(dir.path().join("z"), "", 65536, 0);
    let map = check(&image.path, &[], &mut Random::new(3));
    assert_eq!(map.layout.len(Part::Residue), map.layout.file_len());
}

#[test]
fn a_resized_image_has_room_in_its_l1_table() {
    let dir = disk_dir();
    let mut image = filled(dir.path(), "a.qcow2", 512, "");
    for size in ["64M", "1M", "9M"] {
        run("qemu-img", &["resize", "-q", "--shrink", path_str(&image.path), size]);
        image.size = image.raw().unwrap().len() as u64;
        check(&image.path, &image.raw().unwrap(), &mut Random::new(4));
    }
}

/// Makes an encrypted image. qemu-img of some releases measures how fast the processor is, and gives up where the clock that
/// counts its time did not move meanwhile.
fn run_luks(args: &[&str]) {
    for _ in 0..100 {
        let made = std::process::Command::new("qemu-img").args(args).output().unwrap();
        let said = String::from_utf8_lossy(&made.stderr);
        if made.status.success() {
            return;
        }
        assert!(said.contains("Unable to get accurate CPU usage"), "{said}");
    }
    panic!("qemu-img cannot measure its processor in a hundred tries");
}

#[test]
fn what_cannot_be_read_alone_is_opaque_or_has_no_raw_view() {
    let dir = disk_dir();
    let doubt = |path: &Path| match parse(&RawFile::open(path, false).unwrap()).unwrap() {
        Outcome::Opaque(doubt) => doubt,
        Outcome::Qcow2(map) => panic!("{map:?}"),
    };
    let data = format!(",data_file={}", path_str(&dir.path().join("data")));
    let external = Image::new(dir.path().join("external"), &data, 65536, 1 << 20);
    assert_eq!(doubt(&external.path), Doubt::ExternalData);

    let path = dir.path().join("luks");
    run_luks(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "--object",
        "secret,id=s,data=x",
        "-o",
        "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
        path_str(&path),
        "1M",
    ]);
    assert_eq!(doubt(&path), Doubt::Encrypted);
    let error = raw_view(Arc::new(RawFile::open(&path, false).unwrap()), &path).err().unwrap();
    assert_eq!(error.to_string(), "the disk in the image cannot be read: it is encrypted");

    let plain = dir.path().join("plain");
    std::fs::write(&plain, b"hello").unwrap();
    assert_eq!(doubt(&plain), Doubt::NotQcow2);
    std::fs::write(&plain, b"").unwrap();
    assert_eq!(doubt(&plain), Doubt::NotQcow2);
}
