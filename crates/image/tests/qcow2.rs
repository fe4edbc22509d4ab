//! Images of every kind that qemu-img makes, with qemu-img as the oracle: the file comes back from
//! its two streams byte for byte, the guest stream and the raw view are what `qemu-img convert`
//! gives, and nothing that QEMU made raises a doubt.
//!
//! Random cases print their seed when they fail; GARRET_QCOW2_SEEDS=1000..2000 runs others.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test code outside of test functions")]

mod common;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::qcow2::{divide_file, read_all};
use common::{Random, disk_dir, path_str, run};
use image::qcow2::{Doubt, Map, Outcome, RawViewError, parse, raw_view};
use image::{Part, RawFile};

/// An image in the making.
struct Image {
    path: PathBuf,
    cluster: u64,
    size: u64,
}

impl Image {
    fn new(path: PathBuf, options: &str, cluster: u64, size: u64) -> Image {
        let options = format!("cluster_size={cluster}{options}");
        let size_text = size.to_string();
        run(
            "qemu-img",
            &["create", "-q", "-f", "qcow2", "-o", &options, path_str(&path), &size_text],
        );
        Image { path, cluster, size }
    }

    /// Runs commands of qemu-io. A compressed write to a cluster that is allocated is refused; all
    /// else succeeds.
    fn io(&self, commands: &[String]) {
        let mut io = Command::new("qemu-io");
        io.args(["-f", "qcow2"]);
        commands.iter().for_each(|command| {
            io.args(["-c", command]);
        });
        let output = io.arg(&self.path).output().expect("this test needs qemu-io (qemu-utils)");
        let refused = commands.iter().any(|command| command.starts_with("write -c"));
        assert!(output.status.success() || refused, "{commands:?}: {output:?}");
    }

    fn img(&self, args: &[&str]) {
        run("qemu-img", &[args, &[path_str(&self.path)]].concat());
    }

    fn raw(&self) -> Option<Vec<u8>> {
        convert(&self.path)
    }

    fn patch(&self, offset: u64, bytes: &[u8]) {
        let file = OpenOptions::new().write(true).open(&self.path).unwrap();
        file.write_all_at(bytes, offset).unwrap();
    }
}

/// What QEMU reads in an image, `None` if it cannot.
fn convert(path: &Path) -> Option<Vec<u8>> {
    let raw = path.with_extension("raw");
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-q", "-U", "-f", "qcow2", "-O", "raw"]).arg(path).arg(&raw);
    let done = command.output().expect("this test needs qemu-img (qemu-utils)").status.success();
    let bytes = std::fs::read(&raw).unwrap_or_default();
    let _missing = std::fs::remove_file(&raw);
    done.then_some(bytes)
}

fn view(path: &Path) -> Result<image::qcow2::RawView<Arc<RawFile>>, RawViewError> {
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

fn pick<'a>(random: &mut Random, from: &[&'a str]) -> &'a str {
    from[random.below(from.len() as u64) as usize]
}

/// Options of a new image, among all that qemu-img has.
fn options(random: &mut Random, v2: bool, extended: bool, backing: Option<&Path>) -> String {
    let mut options = String::from(if v2 { ",compat=0.10" } else { ",compat=1.1" });
    if !v2 {
        options += pick(random, &["", ",compression_type=zstd"]);
        options +=
            pick(random, &["", ",lazy_refcounts=on", ",refcount_bits=64", ",refcount_bits=1"]);
        options += if extended { ",extended_l2=on" } else { "" };
    }
    match backing {
        Some(path) => options += &format!(",backing_file={},backing_fmt=raw", path_str(path)),
        None => {
            options += pick(
                random,
                &[
                    "",
                    "",
                    "",
                    "",
                    ",preallocation=metadata",
                    ",preallocation=falloc",
                    ",preallocation=full",
                ],
            )
        }
    }
    options
}

/// One command for qemu-io: writes, zeros and discards of any place and length in sectors, and
/// compressed writes of whole clusters.
fn command(random: &mut Random, image: &Image) -> String {
    let sectors = image.size / 512;
    let start = random.below(sectors);
    let most = 2 << random.below(11);
    let room = (sectors - start).min(random.below(most) + 1);
    let (offset, len) = (start * 512, room * 512);
    let pattern = random.below(255) + 1;
    match random.below(10) {
        0..=4 => format!("write -P {pattern} {offset} {len}"),
        5 => format!("write -z {offset} {len}"),
        6 => format!("write -zu {offset} {len}"),
        7 => format!("discard {offset} {len}"),
        _ => {
            let offset = offset - offset % image.cluster;
            let len = image.cluster.min(image.size - offset);
            format!("write -c -P {pattern} {offset} {len}")
        }
    }
}

fn random_image(dir: &Path, seed: u64, random: &mut Random) -> Image {
    let bits = 9 + (seed % 13) as u32;
    let v2 = random.below(4) == 0;
    let extended = !v2 && bits >= 14 && random.below(2) == 0;
    let size = (random.below(6 << 20) + 1).next_multiple_of(512);
    let backing = (random.below(6) == 0).then(|| {
        let path = dir.join(format!("{seed}.backing"));
        std::fs::write(&path, random.bytes(100_000)).unwrap();
        path
    });
    let options = options(random, v2, extended, backing.as_deref());
    println!("seed {seed}: cluster 2^{bits} size {size}{options}");
    let image = Image::new(dir.join(format!("{seed}.qcow2")), &options, 1 << bits, size);
    let single_refcounts = format!("{options},").contains("bits=1,");
    for step in 0..random.below(6) {
        let commands: Vec<String> =
            (0..random.below(12) + 1).map(|_| command(random, &image)).collect();
        image.io(&commands);
        let name = step.to_string();
        // QEMU now and then finds an image of its own making corrupt, and then refuses to write:
        // it is a good case as it is.
        let args: &[&str] = match random.below(5) {
            0 | 1 if !single_refcounts => &["snapshot", "-c", &name, path_str(&image.path)],
            2 if !v2 => &["bitmap", "--add", path_str(&image.path), &name],
            _ => continue,
        };
        if !Command::new("qemu-img").args(args).output().unwrap().status.success() {
            println!("seed {seed}: {args:?} was refused");
            break;
        }
    }
    image
}

/// Everything that may be wrong with an image and yet leaves the guest's disk as it was.
fn disturb(image: &Image, random: &mut Random) {
    let mut version = [0; 4];
    File::open(&image.path).unwrap().read_exact_at(&mut version, 4).unwrap();
    if version == [0, 0, 0, 3] {
        // Dirty, corrupt, both or none.
        let mut features = [0];
        File::open(&image.path).unwrap().read_exact_at(&mut features, 79).unwrap();
        image.patch(79, &[features[0] | random.below(4) as u8]);
    }
    if random.below(2) == 0 {
        let len = std::fs::metadata(&image.path).unwrap().len();
        let garbage = random.below(100_000) as usize;
        image.patch(len, &random.bytes(garbage));
    }
}

fn seeds(default: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("GARRET_QCOW2_SEEDS") else { return default };
    let (start, end) = text.split_once("..").unwrap();
    start.parse().unwrap()..end.parse().unwrap()
}

fn random_cases(seeds: std::ops::Range<u64>) {
    let dir = disk_dir();
    let (mut plain, mut compressed, mut cut) = (0, 0, 0);
    for seed in seeds {
        let mut random = Random(seed);
        let image = random_image(dir.path(), seed, &mut random);
        let raw = image.raw().expect("QEMU reads what it wrote");
        check(&image.path, &raw, &mut random);
        disturb(&image, &mut random);
        let map = check(&image.path, &raw, &mut random);
        *(if map.compressed_count == 0 { &mut plain } else { &mut compressed }) += 1;
        cut += truncations(&image, &mut random);
        std::fs::remove_file(&image.path).unwrap();
    }
    println!("{plain} plain, {compressed} with compressed clusters, {cut} cut but readable");
    assert!(plain > 0 && compressed > 0 && cut > 0);
}

/// Cut at random places: opaque or read as QEMU reads it, and in any case byte for byte. How many
/// were read.
fn truncations(image: &Image, random: &mut Random) -> u64 {
    let mut count = 0;
    let len = std::fs::metadata(&image.path).unwrap().len();
    for _ in 0..2 {
        let cut = if random.below(2) == 0 {
            random.below(len)
        } else {
            len - random.below(len.min(9000))
        };
        let file = OpenOptions::new().write(true).open(&image.path).unwrap();
        file.set_len(cut).unwrap();
        drop(file);
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
    let mut random = Random(cluster);
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
    let mut random = Random(7);
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
    let before = check(&image.path, &image.raw().unwrap(), &mut Random(1));
    image.img(&["snapshot", "-c", "one"]);
    let shared = check(&image.path, &image.raw().unwrap(), &mut Random(1));
    assert_eq!(shared.snapshot_count, 1);
    let runs = |map: &Map| map.layout.pieces(Part::Guest, 0..u64::MAX).collect::<Vec<_>>();
    assert_eq!(runs(&shared), runs(&before), "a snapshot moves nothing");
    image.io(&["write -P 9 0 5M".to_owned()]);
    let rewritten = check(&image.path, &image.raw().unwrap(), &mut Random(1));
    assert_eq!(rewritten.layout.data_len(), 5 << 20);
    assert!(rewritten.layout.len(Part::Residue) > before.layout.data_len(), "what it kept");
    image.img(&["snapshot", "-a", "one"]);
    let back = check(&image.path, &image.raw().unwrap(), &mut Random(1));
    assert_eq!(runs(&back), runs(&before));
}

#[test]
fn preallocated_clusters_of_zeros_are_holes_of_the_guest() {
    let dir = disk_dir();
    for kind in ["metadata", "falloc", "full"] {
        let options = format!(",preallocation={kind}");
        let image = Image::new(dir.path().join(kind), &options, 65536, 4 << 20);
        let map = check(&image.path, &vec![0; 4 << 20], &mut Random(2));
        assert!(map.layout.data_len() == 4 << 20 || kind != "metadata", "{kind}");
        image.io(&["write -z 0 4M".to_owned()]);
        let map = check(&image.path, &vec![0; 4 << 20], &mut Random(2));
        assert_eq!(map.layout.data_len(), 0, "{kind}: zero flags, with or without a place");
    }
}

#[test]
fn a_disk_of_zero_bytes_is_all_residue() {
    let dir = disk_dir();
    let image = Image::new(dir.path().join("z"), "", 65536, 0);
    let map = check(&image.path, &[], &mut Random(3));
    assert_eq!(map.layout.len(Part::Residue), map.layout.file_len());
}

#[test]
fn a_resized_image_has_room_in_its_l1_table() {
    let dir = disk_dir();
    let mut image = filled(dir.path(), "a.qcow2", 512, "");
    for size in ["64M", "1M", "9M"] {
        run("qemu-img", &["resize", "-q", "--shrink", path_str(&image.path), size]);
        image.size = image.raw().unwrap().len() as u64;
        check(&image.path, &image.raw().unwrap(), &mut Random(4));
    }
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
    run(
        "qemu-img",
        &[
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
        ],
    );
    assert_eq!(doubt(&path), Doubt::Encrypted);
    let error = raw_view(Arc::new(RawFile::open(&path, false).unwrap()), &path).err().unwrap();
    assert_eq!(error.to_string(), "the disk in the image cannot be read: it is encrypted");

    let plain = dir.path().join("plain");
    std::fs::write(&plain, b"hello").unwrap();
    assert_eq!(doubt(&plain), Doubt::NotQcow2);
    std::fs::write(&plain, b"").unwrap();
    assert_eq!(doubt(&plain), Doubt::NotQcow2);
}
