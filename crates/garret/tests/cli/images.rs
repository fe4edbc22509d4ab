//! Disk images: what is said of them, and what comes back of them.
//!
//! Needs `qemu-img`, `qemu-io` and `mkfs.ext4`; a test whose tool is missing fails.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use super::{CLOSING, Dir, MIB, files_below, fill_noise};

const CLUSTER: u64 = 65536;
/// What `unknown` says of its image.
const UNKNOWN: &str = "it has unknown features (bits 0x8000000000000000)";

impl Dir {
    /// Runs a tool in the directory. Gives its stdout.
    #[track_caller]
    fn tool(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        let output = command.args(arguments).current_dir(self.temp.path()).output();
        let output = output.unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What `qemu-img` says of an image.
    fn qemu(&self, command: &str, image: &str) -> serde_json::Value {
        let said = self.tool("qemu-img", &[command, "--output=json", image]);
        serde_json::from_str(&said).unwrap()
    }

    /// A disk of 4 MiB: a hole, zeros that are written, 1 MiB of noise, and half of lines of which no two are the same.
    fn disk(&self, name: &str, seed: u64) -> Vec<u8> {
        let mut bytes = self.image(name, seed);
        let text: String = (0..MIB / 32).map(|n| format!("{n:015}\n")).collect();
        bytes[3 * MIB..3 * MIB + MIB / 2].copy_from_slice(text.as_bytes());
        let file = File::options().write(true).open(self.path(name)).unwrap();
        file.write_all_at(text.as_bytes(), 3 * MIB as u64).unwrap();
        bytes
    }

    /// An image of the disk in `from`, made by `qemu-img convert` with these options.
    fn convert(&self, options: &[&str], from: &str, to: &str) {
        let command = [&["convert", "-O", "qcow2"], options, &[from, to]].concat();
        self.tool("qemu-img", &command);
    }

    /// An image with a feature that nobody knows.
    fn unknown(&self, from: &str, to: &str) {
        fs::copy(self.path(from), self.path(to)).unwrap();
        let file = File::options().write(true).open(self.path(to)).unwrap();
        file.write_all_at(&[0x80], 72).unwrap();
    }

    /// An image with `from` as its backing file, and one cluster of its own.
    fn overlay(&self, from: &str, to: &str) {
        self.tool("qemu-img", &["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", from, to]);
        self.tool("qemu-io", &["-c", "write -P 9 64k 64k", to]);
    }

    /// A disk whose only partition starts at sector 63.
    fn partitioned(&self, name: &str) -> Vec<u8> {
        let mut bytes = vec![0; 2 * MIB];
        fill_noise(&mut bytes[63 * 512..MIB], 63);
        bytes[446..462].copy_from_slice(b"\x80\0\0\0\x83\0\0\0\x3f\0\0\0\0\x08\0\0");
        bytes[510..512].copy_from_slice(b"\x55\xaa");
        self.write(name, &bytes);
        bytes
    }
}

/// Bytes of a file that are not in holes. It is synced first: until then the file system may not know.
fn allocated(path: &Path) -> u64 {
    use rustix::fs::{SeekFrom, seek};
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    let (mut at, mut sum) = (0, 0);
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(start)).unwrap();
        sum += at - start;
    }
    sum
}

/// Bytes of the pages that hold anything.
fn data_len(bytes: &[u8]) -> u64 {
    4096 * bytes.chunks(4096).filter(|page| page.iter().any(|byte| *byte != 0)).count() as u64
}

#[test]
fn create_says_how_each_file_is_read() {
    let dir = Dir::new();
    dir.disk("disk.raw", 1);
    dir.convert(&[], "disk.raw", "app");
    dir.unknown("app", "odd");
    File::create(dir.path("fs")).unwrap().set_len(4 << 20).unwrap();
    dir.tool("mkfs.ext4", &["-q", "-F", "fs"]);
    let disk = dir.partitioned("old");
    dir.write("notes", &b"some notes\n".repeat(10_000));
    dir.write("short", b"a line\n");
    let names = ["app", "odd", "fs", "old", "disk.raw", "notes", "short"];
    let create = |repository: &str, options: &[&str]| {
        dir.run(&["init", repository]).succeeds();
        let archive = format!("{repository}::a");
        let arguments = [&["create", "-v"], options, &[&archive], &names].concat();
        let said = dir.run(&arguments).succeeds();
        let to = format!("{repository}-restored");
        dir.run(&["extract", "--destination", &to, &archive]).silent();
        for name in names {
            let restored = dir.path(&to).join(name);
            assert!(fs::read(restored).unwrap() == dir.read(name), "{name} {options:?}");
        }
        said
    };
    let expected = format!(
        "app: cutter page (qcow2 image, in guest order)\n\
         odd: cutter page (qcow2 image, not read as a disk: {UNKNOWN})\n\
         fs: cutter page (disk image (ext4))\n\
         old: cutter page, partition by partition (disk image (partition table))\n\
         disk.raw: cutter page (disk image (by name))\n\
         notes: cutter fastcdc (file)\n\
         short: cutter fastcdc (small)\n"
    );
    assert_eq!(create("auto", &[]), expected);
    let expected = names.map(|name| format!("{name}: cutter fastcdc (as asked)\n")).concat();
    assert_eq!(create("asked", &["--cutter", "fastcdc"]), expected);
    let said = dir.run_with(&[], &disk, &["create", "-v", "auto::piped", "-"]).succeeds();
    let expected =
        "standard input: cutter page, partition by partition (disk image (partition table))\n";
    assert_eq!(said, expected);
    assert!(dir.run(&["extract", "--stdout", "auto::piped"]).stdout == disk);
}

#[test]
fn disks_come_back_raw_and_other_files_as_they_were() {
    let dir = Dir::with_repository();
    let disk = dir.disk("disk.raw", 2);
    dir.write("notes", b"some notes");
    let ways: [(&str, &[&str]); 6] = [
        ("plain", &[]),
        ("old", &["-o", "compat=0.10,cluster_size=4096"]),
        ("sub", &["-o", "extended_l2=on,cluster_size=128k"]),
        ("full", &["-o", "preallocation=full"]),
        ("zlib", &["-c"]),
        ("zstd", &["-c", "-o", "compression_type=zstd"]),
    ];
    let mut names = vec!["disk.raw", "notes"];
    for (name, options) in ways {
        dir.convert(options, "disk.raw", name);
        dir.tool("qemu-img", &["convert", "-O", "raw", name, "converted"]);
        assert!(dir.read("converted") == disk, "{name}");
        names.push(name);
    }
    dir.run(&[&["create", "repo::a"], &names[..]].concat()).silent();
    dir.run(&[&["create", "repo::b", "--cutter", "fastcdc"], &names[..2]].concat()).silent();
    dir.run(&["extract", "--as", "raw", "--destination", "to", "repo::a"]).silent();
    assert_eq!(files_below(&dir.path("to")).len(), names.len());
    for (name, _) in ways {
        let path = dir.path(&format!("to/{name}.raw"));
        assert!(fs::read(&path).unwrap() == disk, "{name}");
        allocated(&path);
        let blocks = path.metadata().unwrap().blocks() * 512;
        assert!(blocks * 100 <= data_len(&disk) * 101, "{name}: {blocks} bytes of blocks");
        let source = dir.path(name).metadata().unwrap();
        assert_eq!(path.metadata().unwrap().mode(), source.mode(), "{name}");
        let ran = dir.run(&["extract", "--stdout", "--as", "raw", "repo::a", name]);
        assert!(ran.stdout == disk, "{name}");
        ran.succeeds();
    }
    assert!(dir.read("to/disk.raw") == disk && dir.read("to/notes") == b"some notes");
    let full = ["extract", "--as", "raw", "--allocation", "full", "--destination", "dense"];
    dir.run(&[&full[..], &["repo::a", "plain", "sub", "zlib", "disk.raw"]].concat()).silent();
    for name in ["plain.raw", "sub.raw", "zlib.raw", "disk.raw"] {
        let path = dir.path("dense").join(name);
        assert!(fs::read(&path).unwrap() == disk, "{name}");
        assert_eq!(allocated(&path), disk.len() as u64, "{name}");
        assert!(path.metadata().unwrap().blocks() * 512 >= disk.len() as u64, "{name}");
    }
    // A name alone stands for the file that ends with it, in whatever form that comes back.
    let whole = dir.path("zlib");
    dir.run(&["create", "repo::whole", whole.to_str().unwrap()]).silent();
    dir.run(&["extract", "--as", "raw", "-o", "one", "repo::whole", "zlib"]).silent();
    assert!(dir.read("one") == disk);
    let both = ["extract", "--stdout", "--as", "raw", "repo::a", "notes", "zlib"];
    dir.run(&both).refused(1, "more than one file is selected");
}

#[test]
fn a_disk_that_was_not_read_in_guest_order_comes_back_raw_too() {
    let dir = Dir::with_repository();
    let disk = dir.disk("disk.raw", 3);
    dir.convert(&[], "disk.raw", "app");
    dir.convert(&["-c"], "disk.raw", "packed");
    dir.run(&["create", "repo::a", "--cutter", "fastcdc", "app", "packed"]).silent();
    dir.run(&["extract", "--as", "raw", "--destination", "to", "repo::a"]).silent();
    assert!(dir.read("to/app.raw") == disk && dir.read("to/packed.raw") == disk);
    // Nor was one that is smaller than any disk worth a look.
    dir.tool("qemu-img", &["create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "tiny", "1M"]);
    dir.tool("qemu-io", &["-c", "write -P 5 8k 4k", "tiny"]);
    assert!(dir.read("tiny").len() < 1 << 16);
    dir.run(&["create", "repo::b", "tiny"]).silent();
    dir.run(&["extract", "--as", "raw", "--destination", "to", "repo::b"]).silent();
    let mut disk = vec![0; MIB];
    disk[8192..12288].fill(5);
    assert!(dir.read("to/tiny.raw") == disk);
}

#[test]
fn an_image_that_is_no_whole_disk_is_refused_and_comes_back_as_it_was() {
    let dir = Dir::with_repository();
    dir.disk("disk.raw", 4);
    dir.convert(&[], "disk.raw", "app");
    dir.overlay("app", "over");
    dir.unknown("app", "odd");
    dir.write("notes", b"some notes");
    let ran = dir.run(&["create", "repo::a", "over", "odd", "notes"]);
    let note = "garret: note: over: its backing file app is not in this archive: ";
    assert!(ran.code == Some(0) && ran.stderr.starts_with(note), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    let backing = "it has a backing file, so it is not the whole disk".to_owned();
    let unknown = format!("the disk in it cannot be read: {UNKNOWN}");
    dir.write("to/over.raw", b"from before");
    for (name, why) in [("over", backing), ("odd", unknown)] {
        let why = why + "; leave out --as to get the image as it was\n";
        let raw = ["extract", "--as", "raw", "--destination", "to", "repo::a", "notes", name];
        let ran = dir.run(&raw);
        let expected = format!("garret: {name}: not restored: {why}{CLOSING}\n");
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), expected.as_str()));
        let there = files_below(&dir.path("to"));
        assert_eq!(there, [dir.path("to/notes"), dir.path("to/over.raw")], "{name}");
        assert_eq!(dir.read("to/over.raw"), b"from before");
        fs::remove_file(dir.path("to/notes")).unwrap();
        let piped = format!("{name}: {}", why.trim());
        dir.run(&["extract", "--as", "raw", "--stdout", "repo::a", name]).refused(1, &piped);
        dir.run(&["extract", "--destination", "exact", "repo::a", name]).silent();
        assert!(dir.read(&format!("exact/{name}")) == dir.read(name));
    }
    let exact = ["extract", "--as", "raw", "--allocation", "exact", "repo::a"];
    dir.run(&exact).refused(2, "--allocation exact is about files as they were; leave out --as");
    for wrong in [&["--as", "raw", "-n"][..], &["--as", "vdi"]] {
        let ran = dir.run(&[&["extract", "repo::a"], wrong].concat());
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("--help"), "{wrong:?}");
    }
}

#[test]
fn a_disk_and_a_file_of_its_name_do_not_replace_each_other() {
    let dir = Dir::with_repository();
    let disk = dir.disk("disk", 8);
    dir.convert(&[], "disk", "app");
    dir.write("app.raw", b"some notes");
    for (archive, names, kept) in
        [("repo::a", ["app", "app.raw"], &disk[..]), ("repo::b", ["app.raw", "app"], b"some notes")]
    {
        dir.run(&[&["create", archive], &names[..]].concat()).silent();
        let ran = dir.run(&["extract", "--as", "raw", "--destination", archive, archive]);
        ran.reports(&format!("{}: not restored: another file", names[1]));
        assert!(dir.read(&format!("{archive}/app.raw")) == kept, "{archive}");
    }
}

/// Bytes as `info` writes them.
fn size(bytes: u64) -> String {
    let short = match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.2} kB", bytes as f64 / 1e3),
        _ => format!("{:.2} MB", bytes as f64 / 1e6),
    };
    format!("{short} ({bytes} bytes)")
}

/// What `info` says of a file, without the last line, and the number in that.
fn info(dir: &Dir, archive: &str, path: &str) -> (String, u64) {
    let text = dir.run(&["info", archive, path]).succeeds();
    let (text, new) = text.split_once("New in this archive: ").unwrap();
    let bytes = new.split_once('(').unwrap().1.strip_suffix(" bytes)\n").unwrap().parse().unwrap();
    assert_eq!(new, size(bytes) + "\n");
    (text.to_owned(), bytes)
}

#[test]
fn info_of_an_image_agrees_with_qemu() {
    let dir = Dir::with_repository();
    dir.disk("disk.raw", 5);
    let data = (MIB + MIB / 2) as u64;
    let zero = 4 * MIB as u64 - data;
    dir.convert(&[], "disk.raw", "plain");
    dir.convert(&["-o", "compat=0.10,cluster_size=4096"], "disk.raw", "old");
    dir.convert(&["-o", "extended_l2=on"], "disk.raw", "sub");
    dir.convert(&["-c"], "disk.raw", "zlib");
    dir.convert(&["-c", "-o", "compression_type=zstd"], "disk.raw", "zstd");
    dir.convert(&[], "disk.raw", "snap");
    dir.tool("qemu-img", &["snapshot", "-c", "before", "snap"]);
    dir.tool("qemu-io", &["-c", "write -P 7 0 128k", "snap"]);
    dir.overlay("plain", "over");
    let images = ["plain", "old", "sub", "zlib", "zstd", "snap", "over"];
    dir.run(&[&["create", "repo::a"], &images[..]].concat()).silent();
    for (name, more, zero) in [
        ("plain", "", zero),
        ("old", "", zero),
        ("sub", ", extended L2 entries", zero),
        ("zlib", ", COUNT of them compressed", zero),
        ("zstd", ", COUNT of them compressed", zero),
        ("snap", ", internal snapshots: 1", zero),
        ("over", ", with the backing file plain", 0),
    ] {
        let (said, checked) = (dir.qemu("info", name), dir.qemu("check", name));
        let cluster = said["cluster-size"].as_u64().unwrap();
        let version = match said["format-specific"]["data"]["compat"].as_str() {
            Some("0.10") => 2,
            Some("1.1") => 3,
            other => panic!("{other:?}"),
        };
        let count = |key: &str| checked[key].as_u64().unwrap_or(0);
        let (allocated, packed) = (count("allocated-clusters"), count("compressed-clusters"));
        assert_eq!(packed > 0, more.contains("COUNT"), "{name}");
        let file_len = dir.path(name).metadata().unwrap().len();
        let expected = format!(
            "Path: {name}\n\
             Format: qcow2 version {version}, clusters of {cluster} bytes{}\n\
             File size: {}\nVirtual size: {}\nAllocated: {}\nZero: {}\n{}Residue: {}\n",
            more.replace("COUNT", &packed.to_string()),
            size(file_len),
            size(said["virtual-size"].as_u64().unwrap()),
            size(allocated * cluster),
            size(zero),
            // What the image does not have is not zero: nobody looked.
            match name {
                "over" => format!("In the backing file: {}\n", size(4 * MIB as u64 - CLUSTER)),
                _ => String::new(),
            },
            size(file_len - (allocated - packed) * cluster),
        );
        assert_eq!(info(&dir, "repo::a", name).0, expected);
        let map = dir.qemu("map", name);
        let own = |part: &&serde_json::Value| part["depth"] == 0 && part["data"] == true;
        let mapped = map.as_array().unwrap().iter().filter(own);
        let mapped: u64 = mapped.map(|part| part["length"].as_u64().unwrap()).sum();
        assert_eq!(mapped, allocated * cluster, "{name}");
    }
}

#[test]
fn info_of_other_files_says_what_they_are() {
    let dir = Dir::with_repository();
    dir.disk("disk.raw", 6);
    dir.partitioned("old");
    dir.convert(&[], "disk.raw", "app");
    dir.unknown("app", "odd");
    dir.write("tree/notes", &b"some notes\n".repeat(10_000));
    let sources = ["disk.raw", "old", "app", "odd", "tree"];
    let held = sources.map(|name| allocated(&dir.path(name)));
    dir.run(&[&["create", "repo::a"], &sources[..]].concat()).silent();
    dir.run(&["create", "repo::b", "--cutter", "fastcdc", "app"]).silent();
    let text = |path: &str, format: &str, rows: [u64; 3]| {
        let [len, allocated, zero] = rows.map(size);
        format!(
            "Path: {path}\nFormat: {format}\nFile size: {len}\nAllocated: {allocated}\nZero: {zero}\n"
        )
    };
    let mib = MIB as u64;
    let expected = text("disk.raw", "disk image (by name)", [4 * mib, held[0], 5 * mib / 2]);
    assert_eq!(info(&dir, "repo::a", "disk.raw"), (expected, 3 * mib / 2));
    let expected = text("tree/notes", "file", [110_000, 110_000, 0]);
    assert_eq!(info(&dir, "repo::a", "/tree//notes/"), (expected, 110_000));
    let unknown = format!("qcow2 image, stored as bytes: {UNKNOWN}");
    for (path, format, held) in
        [("old", "disk image (partition table)", held[1]), ("odd", &unknown, held[3])]
    {
        // Which zeros are too few to be left out is no promise.
        let len = dir.path(path).metadata().unwrap().len();
        let (said, _) = info(&dir, "repo::a", path);
        let (head, zero) = said.split_once("Zero: ").unwrap();
        assert_eq!(format!("{head}Zero: 0 B (0 bytes)\n"), text(path, format, [len, held, 0]));
        assert_eq!(zero.lines().count(), 1, "{said}");
    }
    let (said, _) = info(&dir, "repo::b", "app");
    let format = "\nFormat: qcow2 version 3, clusters of 65536 bytes, stored as bytes\n";
    assert!(said.contains(format), "{said}");
    let list = "`garret list` shows what is";
    for (path, why) in
        [("nothing", list), ("tree", "it is a directory"), ("tree/notes/below", list)]
    {
        let why = format!("archive a contains no file {path}: {why}");
        dir.run(&["info", "repo::a", path]).refused(1, &why);
    }
    dir.run(&["info", "repo", "app"]).refused(2, "\"repo\": No archive specified");
}

#[test]
fn info_counts_what_is_new_in_an_archive() {
    /// Twice the longest chunk: a change touches no more than the chunks at its ends.
    const AROUND: u64 = 2 * (256 << 10);
    let dir = Dir::with_repository();
    dir.disk("disk.raw", 7);
    dir.convert(&[], "disk.raw", "app");
    dir.write("same", &b"some notes\n".repeat(10_000));
    let create = |archive| dir.run(&["create", archive, "disk.raw", "app", "same"]).silent();
    let new = |archive| ["disk.raw", "app", "same"].map(|name| info(&dir, archive, name).1);
    create("repo::a");
    let first = new("repo::a");
    let residue = dir.path("app").metadata().unwrap().len() - 3 * MIB as u64 / 2;
    assert_eq!((first[0], first[2]), (3 * MIB as u64 / 2, 110_000));
    assert!(first[1] > 0 && first[1] <= residue, "the disk in it is that of the first: {first:?}");
    let file = File::options().write(true).open(dir.path("disk.raw")).unwrap();
    file.write_all_at(&[9; CLUSTER as usize], 2 * CLUSTER).unwrap();
    drop(file);
    dir.tool("qemu-io", &["-c", "write -P 9 128k 64k", "app"]);
    create("repo::b");
    let [raw, app, same] = new("repo::b");
    assert!((CLUSTER..=CLUSTER + AROUND).contains(&raw), "{raw}");
    assert_eq!((app, same), (0, 0), "the disks changed in the same way");
    dir.tool("qemu-io", &["-c", "write -P 9 128k 64k", "-c", "write -P 8 3M 4k", "app"]);
    create("repo::c");
    let [raw, app, same] = new("repo::c");
    assert!((4096..=4096 + AROUND).contains(&app), "{app}");
    assert_eq!((raw, same), (0, 0));
    assert_eq!(new("repo::a"), first, "what came later is no matter");
}

/// Overlays with clusters and subclusters that are written, zeroed, compressed or not there, with QEMU as the oracle.
#[test]
fn info_of_an_overlay_counts_as_zero_only_what_the_overlay_zeroes() {
    let dir = Dir::with_repository();
    let len = 4 * MIB;
    dir.disk("disk.raw", 6);
    dir.convert(&[], "disk.raw", "base");
    for seed in 0..8u64 {
        let mut bytes = [0; 12 * 4 * 8];
        fill_noise(&mut bytes, seed);
        let mut words = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word) as usize);
        let mut below = |end: usize| words.next().unwrap() % end;
        let name = format!("over{seed}");
        let options = if seed % 2 == 0 { "extended_l2=on" } else { "cluster_size=4096" };
        let make =
            ["create", "-q", "-f", "qcow2", "-o", options, "-F", "qcow2", "-b", "base", &name];
        dir.tool("qemu-img", &make);
        for _ in 0..12 {
            let at = below(len / 512) * 512;
            let bytes = ((1 + below(400)) * 512).min(len - at);
            let write = match below(3) {
                0 => format!("write -z {at} {bytes}"),
                1 => format!("write -zu {at} {bytes}"),
                _ => format!("write -P {} {at} {bytes}", 1 + below(255)),
            };
            dir.tool("qemu-io", &["-c", &write, &name]);
        }
        let archive = format!("repo::{seed}");
        dir.run(&["create", &archive, &name, "base"]).silent();
        let said = dir.run(&["info", "--json", &archive, &name]).succeeds();
        let said = &serde_json::from_str::<serde_json::Value>(&said).unwrap()["file"];
        let map = dir.qemu("map", &name);
        let own = map.as_array().unwrap().iter().filter(|part| part["depth"] == 0);
        let own: u64 = own.map(|part| part["length"].as_u64().unwrap()).sum();
        assert_eq!(said["backing"], len as u64 - own, "seed {seed}: {map:#}");
        assert!(said["zero"].as_u64().unwrap() <= own, "seed {seed}");
    }
}
