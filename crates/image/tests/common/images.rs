//! Random images of every kind that qemu-img makes, and what of each kind there is in one.
//!
//! Everything follows from a seed.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use garret_image::RawFile;
use garret_image::qcow2::{Outcome, parse};

use super::{Random, path_str, run};

/// An image in the making.
pub struct Image {
    pub path: PathBuf,
    pub cluster: u64,
    pub size: u64,
    /// What the generator did to it that its tables do not tell.
    pub done: BTreeSet<&'static str>,
}

impl Image {
    pub fn new(path: PathBuf, options: &str, cluster: u64, size: u64) -> Image {
        let options = format!("cluster_size={cluster}{options}");
        let size_text = size.to_string();
        run(
            "qemu-img",
            &["create", "-q", "-f", "qcow2", "-o", &options, path_str(&path), &size_text],
        );
        Image { path, cluster, size, done: BTreeSet::new() }
    }

    /// Runs commands of qemu-io. A compressed write to a cluster that is allocated is refused; all
    /// else succeeds.
    pub fn io(&self, commands: &[String]) {
        let mut io = Command::new("qemu-io");
        io.args(["-f", "qcow2"]);
        commands.iter().for_each(|command| {
            io.args(["-c", command]);
        });
        let output = io.arg(&self.path).output().expect("this test needs qemu-io (qemu-utils)");
        let refused = commands.iter().any(|command| command.starts_with("write -c"));
        assert!(output.status.success() || refused, "{commands:?}: {output:?}");
    }

    pub fn img(&self, args: &[&str]) {
        run("qemu-img", &[args, &[path_str(&self.path)]].concat());
    }

    pub fn raw(&self) -> Option<Vec<u8>> {
        convert(&self.path)
    }

    pub fn patch(&self, offset: u64, bytes: &[u8]) {
        let file = OpenOptions::new().write(true).open(&self.path).unwrap();
        file.write_all_at(bytes, offset).unwrap();
    }

    /// One byte of the file.
    fn byte(&self, offset: u64) -> u8 {
        let mut byte = [0];
        File::open(&self.path).unwrap().read_exact_at(&mut byte, offset).unwrap();
        byte[0]
    }

    fn is_v3(&self) -> bool {
        self.byte(7) == 3
    }

    /// What kinds of image this is one of, by its header, its tables and what was done to it.
    pub fn kinds(&self) -> BTreeSet<&'static str> {
        let file = RawFile::open(&self.path, false).unwrap();
        let Outcome::Qcow2(map) = parse(&file).unwrap() else { return BTreeSet::new() };
        let v3 = self.is_v3();
        let bit = |offset, bit: u8| v3 && self.byte(offset) & bit != 0;
        let zstd = bit(104, 1);
        let found = [
            ("version 2", !v3),
            ("version 3", v3),
            ("extended L2", map.extended_l2),
            ("backing file", map.has_backing),
            ("internal snapshot", map.snapshot_count > 0),
            ("compressed by zlib", map.compressed_count > 0 && !zstd),
            ("compressed by zstd", map.compressed_count > 0 && zstd),
            ("dirty", bit(79, 1)),
            ("corrupt", bit(79, 2)),
            ("lazy refcounts", bit(87, 1)),
            ("bitmaps", bit(95, 1)),
        ];
        let found = found.iter().filter(|(_, there)| *there).map(|(kind, _)| *kind);
        found.chain(self.done.iter().copied()).collect()
    }
}

/// All kinds that `random_image` and `disturb` make.
pub const KINDS: [&str; 20] = [
    "version 2",
    "version 3",
    "extended L2",
    "backing file",
    "internal snapshot",
    "compressed by zlib",
    "compressed by zstd",
    "dirty",
    "corrupt",
    "lazy refcounts",
    "bitmaps",
    "preallocation=metadata",
    "preallocation=falloc",
    "preallocation=full",
    "zero clusters",
    "discards",
    "written zeros",
    "partitions off the grid",
    "resized",
    "trailing bytes",
];

/// What QEMU reads in an image, `None` if it cannot.
pub fn convert(path: &Path) -> Option<Vec<u8>> {
    let raw = path.with_extension("raw");
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-q", "-U", "-f", "qcow2", "-O", "raw"]).arg(path).arg(&raw);
    let output = command.output().expect("this test needs qemu-img (qemu-utils)");
    let done = output.status.success();
    if !done {
        println!(
            "qemu-img convert: {}, {:?}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let bytes = std::fs::read(&raw).unwrap_or_default();
    let _missing = std::fs::remove_file(&raw);
    done.then_some(bytes)
}

fn pick<'a>(random: &mut Random, from: &[&'a str]) -> &'a str {
    from[random.below(from.len())]
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
/// compressed writes of whole clusters. `noise` is a file that bytes are taken from.
fn command(random: &mut Random, image: &mut Image, noise: &Path) -> String {
    let sectors = image.size / 512;
    let start = random.below(sectors);
    let most = 2 << random.below(11);
    let room = (sectors - start).min(random.below(most) + 1);
    let (offset, len) = (start * 512, room * 512);
    let pattern = random.below(255) + 1;
    let (kind, command) = match random.below(12) {
        0..=1 => ("", format!("write -P {pattern} {offset} {len}")),
        2..=5 => ("", format!("write -s {} {offset} {len}", path_str(noise))),
        6 => ("written zeros", format!("write -P 0 {offset} {len}")),
        7 => ("zero clusters", format!("write -z {offset} {len}")),
        8 => ("zero clusters", format!("write -zu {offset} {len}")),
        9 => ("discards", format!("discard {offset} {len}")),
        _ => {
            let offset = offset - offset % image.cluster;
            let len = image.cluster.min(image.size - offset);
            ("", format!("write -c -P {pattern} {offset} {len}"))
        }
    };
    image.done.extend(Some(kind).filter(|kind| !kind.is_empty()));
    command
}

/// An MBR with partitions from these sectors on, each of that many.
pub fn mbr(partitions: &[(u32, u32)]) -> [u8; 512] {
    let mut sector = [0; 512];
    sector[510..].copy_from_slice(b"\x55\xaa");
    for (entry, (start, sectors)) in sector[446..].chunks_exact_mut(16).zip(partitions) {
        entry[4] = 0x83;
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..16].copy_from_slice(&sectors.to_le_bytes());
    }
    sector
}

/// Writes a partition table to the guest's disk, of partitions that start anywhere.
fn partition(random: &mut Random, image: &mut Image) {
    let sectors = image.size / 512;
    let Some(room) = sectors.checked_sub(100).filter(|room| *room > 100) else { return };
    let middle = 64 + random.below(room);
    let table = mbr(&[(63, middle as u32 - 63), (middle as u32, (sectors - middle) as u32)]);
    let path = image.path.with_extension("mbr");
    std::fs::write(&path, table).unwrap();
    image.io(&[format!("write -s {} 0 512", path_str(&path))]);
    std::fs::remove_file(path).unwrap();
    image.done.insert("partitions off the grid");
}

pub fn random_image(dir: &Path, seed: u64, random: &mut Random) -> Image {
    let bits = 9 + (seed % 13) as u32;
    let v2 = random.below(4) == 0;
    let extended = !v2 && bits >= 14 && random.below(2) == 0;
    let size = (random.below(6 << 20) + 1_u64).next_multiple_of(512);
    let backing = (random.below(6) == 0).then(|| {
        let path = dir.join(format!("{seed}.backing"));
        std::fs::write(&path, random.bytes_without_zero(100_000)).unwrap();
        path
    });
    let options = options(random, v2, extended, backing.as_deref());
    println!("seed {seed}: cluster 2^{bits} size {size}{options}");
    let mut image = Image::new(dir.join(format!("{seed}.qcow2")), &options, 1 << bits, size);
    let is_preallocated = |kind: &&&str| options.ends_with(**kind);
    image.done.extend(KINDS.iter().filter(|kind| kind.starts_with("pre")).find(is_preallocated));
    let single_refcounts = format!("{options},").contains("bits=1,");
    let noise = dir.join("noise");
    std::fs::write(&noise, random.bytes_without_zero(70_001)).unwrap();
    if random.below(4) == 0 {
        partition(random, &mut image);
    }
    for step in 0..random.below(6) {
        let commands: Vec<String> =
            (0..random.below(12) + 1).map(|_| command(random, &mut image, &noise)).collect();
        image.io(&commands);
        let name = step.to_string();
        let grown = image.size + (random.below(100) + 1) * 512;
        let (size, path) = (grown.to_string(), image.path.clone());
        let path = path_str(&path);
        // QEMU now and then finds an image of its own making corrupt, and then refuses to write:
        // it is a good case as it is.
        let args: &[&str] = match random.below(6) {
            0 | 1 if !single_refcounts => &["snapshot", "-c", &name, path],
            2 if !v2 => &["bitmap", "--add", path, &name],
            3 => &["resize", "-q", path, &size],
            _ => continue,
        };
        if !Command::new("qemu-img").args(args).output().unwrap().status.success() {
            println!("seed {seed}: {args:?} was refused");
            break;
        }
        if args[0] == "resize" {
            image.size = grown;
            image.done.insert("resized");
        }
    }
    image
}

/// Everything that may be wrong with an image and yet leaves the guest's disk as it was.
pub fn disturb(image: &mut Image, random: &mut Random) {
    if image.is_v3() {
        // Dirty, corrupt, both or none.
        image.patch(79, &[image.byte(79) | random.below(4) as u8]);
    }
    if random.below(2) == 0 {
        let len = std::fs::metadata(&image.path).unwrap().len();
        let garbage = random.below(100_000) as usize;
        image.patch(len, &random.bytes_without_zero(garbage));
        image.done.insert("trailing bytes");
    }
}

/// Cuts the image anywhere, or near its end. To how many bytes.
pub fn truncate(image: &Image, random: &mut Random) -> u64 {
    let len = std::fs::metadata(&image.path).unwrap().len();
    let near = random.below(2) == 0;
    let cut = if near { random.below(len) } else { len - random.below(len.min(9000)) };
    OpenOptions::new().write(true).open(&image.path).unwrap().set_len(cut).unwrap();
    cut
}

/// The seeds of random images: `default` unless the environment says others.
pub fn seeds(default: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("GARRET_QCOW2_SEEDS") else { return default };
    let (start, end) = text.split_once("..").unwrap();
    start.parse().unwrap()..end.parse().unwrap()
}
