//! Files of a guest, read out of images without the guest and without the kernel.
//!
//! Needs `mkfs.ext4`, `mkfs.xfs`, `mkntfs`, `mkfs.vfat`, `mcopy`, `sfdisk` and `qemu-img`; root, `mount` and `ntfs-3g` for
//! file systems that are in use.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use super::{Dir, MIB, noise, packs, tool};

/// A mounted file system; the end of the test unmounts it.
struct Mounted(String);

impl Drop for Mounted {
    fn drop(&mut self) {
        // Perhaps it is not mounted any more.
        let _gone = Command::new("umount").arg(&self.0).output();
    }
}

impl Dir {
    /// An empty image of so many MiB.
    fn empty_disk(&self, name: &str, len: usize) -> String {
        let path = self.write(name, b"");
        fs::File::options().write(true).open(&path).unwrap().set_len((len * MIB) as u64).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// What a guest has: files of all lengths, holes, links that lead everywhere, and names that are no plain words.
    fn tree(&self) -> String {
        self.write("tree/etc/fstab", b"LABEL=root / ext4\n");
        self.write("tree/etc/shadow", b"root:*\n");
        self.write("tree/data", &noise(3 * MIB + 17, 1));
        self.write("tree/empty", b"");
        self.write("tree/a \u{fc} name\nof two lines", b"x");
        let holes = fs::File::create(self.path("tree/holes")).unwrap();
        (0..9).for_each(|n| holes.write_all_at(&noise(5000, n), n * 300_000).unwrap());
        holes.set_len(5_000_000).unwrap();
        for n in 0..500 {
            self.write(&format!("tree/many/file-{n}"), n.to_string().as_bytes());
        }
        let deep = (0..20).map(|n| format!("d{n}/")).collect::<String>();
        self.write(&format!("tree/{deep}leaf"), b"leaf");
        for (target, link) in [
            ("/etc/fstab", "absolute"),
            ("../../../etc/fstab", "above"),
            ("/etc", "to-etc"),
            ("circle", "circle"),
            ("nowhere", "broken"),
        ] {
            symlink(target, self.path("tree").join(link)).unwrap();
        }
        let mode = |name: &str, mode| {
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap()
        };
        mode("tree/data", 0o4711);
        mode("tree/etc/shadow", 0o600);
        self.path("tree").to_str().unwrap().to_owned()
    }

    /// An image with the tree in ext4.
    fn ext4(&self, name: &str, len: usize) -> String {
        let (tree, disk) = (self.tree(), self.empty_disk(name, len));
        tool("mkfs.ext4", &["-q", "-L", "root", "-d", &tree, &disk]);
        disk
    }

    /// Puts the bytes of one image into another one, at this MiB.
    fn put(&self, from: &str, to: &str, at: usize) {
        let to = fs::File::options().write(true).open(self.path(to)).unwrap();
        to.write_all_at(&self.read(from), (at * MIB) as u64).unwrap();
    }

    /// Divides a disk as the script says.
    fn divide(&self, disk: &str, script: &str) {
        let script = self.write("sfdisk", script.as_bytes());
        let words = format!("sfdisk -q '{disk}' < '{}'", script.display());
        tool("sh", &["-c", &words]);
    }

    fn mount_by(&self, words: &[&str], disk: &str) -> Mounted {
        fs::create_dir_all(self.path("mnt")).unwrap();
        let place = self.path("mnt").to_str().unwrap().to_owned();
        let mounted = Mounted(place.clone());
        let (program, words) = words.split_first().unwrap();
        tool(program, &[words, &[disk, &place]].concat());
        mounted
    }
}

#[test]
fn a_directory_of_a_guest_comes_out_as_it_is_there() {
    let dir = Dir::with_repository();
    let disk = dir.ext4("vm/disk.raw", 40);
    tool("qemu-img", &["convert", "-c", "-O", "qcow2", &disk, &disk.replace("raw", "qcow2")]);
    dir.run(&["create", "repo::a", "vm"]).silent();
    fs::remove_file(dir.path("tree/a \u{fc} name\nof two lines")).unwrap();
    for image in ["disk.raw", "vm/disk.qcow2"] {
        let at = |path: &str| format!("{image}:{path}");
        let _before = fs::remove_dir_all(dir.path("out"));
        fs::create_dir(dir.path("out")).unwrap();
        dir.run(&["cp", "repo::a", &at("/"), "out"]).silent();
        fs::remove_dir(dir.path("out/lost+found")).unwrap();
        fs::remove_file(dir.path("out/a \u{fc} name\nof two lines")).unwrap();
        let out = dir.path("out").to_str().unwrap().to_owned();
        tool("diff", &["-r", "--no-dereference", &dir.tree_path(), &out]);
        let [there, here] = ["tree", "out"].map(|root| {
            let of = |name: &str| dir.path(root).join(name).symlink_metadata().unwrap();
            let modes = ["data", "etc/shadow", "etc", "many/file-7"].map(|name| {
                let found = of(name);
                (found.mode() & 0o777, found.mtime())
            });
            (modes, of("holes").blocks() < 2000)
        });
        assert_eq!((there, here.1), (here, true), "{image}");
        // Who owns it, and what may run as somebody else, is for who asks for it.
        assert_eq!(dir.path("out/data").metadata().unwrap().mode() & 0o7777, 0o711);
        dir.run(&["cp", "--owners", "repo::a", &at("/data"), "out/owned"]).silent();
        assert_eq!(dir.path("out/owned").metadata().unwrap().mode() & 0o7777, 0o4711);
        assert_eq!(dir.run(&["cat", "repo::a", &at("/data")]).stdout, dir.read("tree/data"));
        for link in ["/absolute", "/above", "/to-etc/fstab", "//etc/./../etc/fstab"] {
            let ran = dir.run(&["cat", "repo::a", &at(link)]);
            assert_eq!(ran.succeeds(), "LABEL=root / ext4\n", "{link}");
        }
        let listed = dir.run(&["ls", "--short", "repo::a", &at("/to-etc")]).succeeds();
        assert_eq!(listed, "fstab\nshadow\n");
        let listed = dir.run(&["ls", "repo::a", &at("/")]).succeeds();
        assert!(listed.contains("absolute -> /etc/fstab\n"), "{listed}");
        assert!(listed.contains("-rws--x--x ") && listed.contains("\\n"), "{listed}");
        assert_eq!(listed.lines().count(), 13, "{listed}");
    }
}

impl Dir {
    fn tree_path(&self) -> String {
        self.path("tree").to_str().unwrap().to_owned()
    }
}

#[test]
fn what_is_not_there_or_no_file_is_said_in_one_line() {
    let dir = Dir::with_repository();
    dir.ext4("vm/disk.raw", 40);
    dir.write("vm/text", b"no disk at all");
    dir.run(&["create", "repo::a", "vm"]).silent();
    for (word, text) in [
        (
            "disk.raw:/nothing",
            "vm/disk.raw:/nothing: there is no such file in the disk (ext4 root)",
        ),
        ("disk.raw:/data/below", "there is no such file"),
        ("disk.raw:/broken", "there is no such file"),
        ("disk.raw:/circle", "40 links were followed"),
        ("disk.raw:/etc", "vm/disk.raw:/etc: it is no file"),
        ("text:/etc", "nothing on it can be read without the guest"),
        ("other.raw:/etc", "other.raw"),
    ] {
        dir.run(&["cat", "repo::a", word]).refused(1, text);
    }
    dir.run(&["cat", "repo::a", "disk.raw"]).refused(2, "name a file in it: disk.raw:/etc/fstab");
    dir.run(&["cat", "-p", "3", "repo::a", "disk.raw:/data"]).refused(1, "no partition 3");
    dir.run(&["cp", "repo::a", "disk.raw:/data", "no/such"])
        .refused(1, "cannot open the directory");
}

#[test]
fn a_copy_gets_its_name_when_it_is_whole_and_follows_no_link_of_this_host() {
    let dir = Dir::with_repository();
    dir.ext4("vm/disk.raw", 40);
    dir.run(&["create", "repo::a", "vm"]).silent();
    // Under its own name, under another one, and in the place of what is there.
    dir.run(&["cp", "repo::a", "disk.raw:/to-etc/fstab"]).silent();
    dir.run(&["cp", "repo::a", "disk.raw:/etc/fstab", "other"]).silent();
    dir.write("data", b"before");
    dir.run(&["cp", "repo::a", "disk.raw:/data", "data"]).silent();
    assert_eq!(dir.read("fstab"), dir.read("other"));
    assert_eq!(dir.read("data"), dir.read("tree/data"));
    // A directory under another name, and a link that leads to one under its own.
    dir.run(&["cp", "repo::a", "disk.raw:/etc", "copy/"]).silent();
    fs::create_dir(dir.path("many")).unwrap();
    dir.run(&["cp", "repo::a", "disk.raw:/many/../etc/.", "many"]).silent();
    assert_eq!(dir.read("many/etc/fstab"), dir.read("fstab"));
    dir.run(&["cp", "repo::a", "disk.raw:/d0/d1/..", "many"]).silent();
    assert!(dir.path("many/d0/d1").is_dir());
    dir.run(&["cp", "repo::a", "disk.raw:/to-etc", "."]).silent();
    assert_eq!(dir.read("copy/fstab"), dir.read("to-etc/fstab"));
    // Something of this host is in the way.
    fs::create_dir_all(dir.path("elsewhere")).unwrap();
    fs::create_dir_all(dir.path("into")).unwrap();
    symlink(dir.path("elsewhere"), dir.path("into/etc")).unwrap();
    let ran = dir.run(&["cp", "repo::a", "disk.raw:/etc", "into"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert_eq!(fs::read_dir(dir.path("elsewhere")).unwrap().count(), 0);
    // A file whose bytes are damaged is not there, and the others are.
    for pack in packs(&dir.path("repo")) {
        let mut bytes = fs::read(&pack).unwrap();
        if bytes.len() > MIB {
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            fs::write(&pack, bytes).unwrap();
        }
    }
    fs::create_dir(dir.path("out")).unwrap();
    let ran = dir.run(&["cp", "repo::a", "disk.raw:/", "out"]);
    assert_eq!(ran.code, Some(1));
    let whole = dir.path("out/data").exists();
    assert!(!whole && ran.stderr.contains("disk.raw:/data: "), "{}", ran.stderr);
    assert!(dir.path("out/etc/fstab").exists(), "{}", ran.stderr);
    let left = fs::read_dir(dir.path("out")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_str().unwrap().starts_with(".garret")));
}

#[test]
fn each_partition_has_its_number_and_a_path_is_found_where_it_is() {
    let dir = Dir::with_repository();
    dir.ext4("root.img", 40);
    let boot = dir.empty_disk("boot.img", 20);
    let efi = dir.empty_disk("efi.img", 10);
    dir.write("boot/grub/grub.cfg", b"menu\n");
    dir.write("boot/etc/other", b"of boot\n");
    tool("mkfs.ext4", &["-q", "-d", dir.path("boot").to_str().unwrap(), &boot]);
    tool("mkfs.vfat", &["-n", "EFI", &efi]);
    tool(
        "mcopy",
        &["-i", &efi, dir.path("boot/grub/grub.cfg").to_str().unwrap(), "::/Long Name.cfg"],
    );
    // As a cloud image, with numbers that are no places; and with logical partitions.
    let gpt = dir.empty_disk("vm/gpt.raw", 100);
    dir.divide(
        &gpt,
        "label: gpt\n1: start=24MiB, size=40MiB\n14: start=1MiB, size=1MiB\n\
         15: start=2MiB, size=10MiB\n16: start=70MiB, size=20MiB\n",
    );
    let mbr = dir.empty_disk("vm/mbr.raw", 100);
    dir.divide(
        &mbr,
        "label: dos\n1: start=1MiB, size=20MiB\n2: start=22MiB, size=70MiB, type=5\n\
         5: start=23MiB, size=10MiB\n6: start=40MiB, size=40MiB\n",
    );
    for (disk, places) in [("vm/gpt.raw", [24, 70, 2]), ("vm/mbr.raw", [40, 1, 23])] {
        for (image, place) in ["root.img", "boot.img", "efi.img"].iter().zip(places) {
            dir.put(image, disk, place);
        }
    }
    dir.run(&["create", "repo::a", "vm"]).silent();
    let gpt = "  1  41.94 MB  ext4       root\n 14   1.05 MB  -\n 15  10.49 MB  fat        EFI\n 16  20.97 MB  ext4\n";
    assert_eq!(dir.run(&["ls", "repo::a", "gpt.raw"]).succeeds(), gpt);
    let mbr =
        "  1  20.97 MB  ext4\n  5  10.49 MB  fat        EFI\n  6  41.94 MB  ext4       root\n";
    assert_eq!(dir.run(&["ls", "repo::a", "mbr.raw"]).succeeds(), mbr);
    for (image, boot) in [("gpt.raw", "16"), ("mbr.raw", "1")] {
        let at = |path: &str| format!("{image}:{path}");
        let cat = |words: &[&str]| dir.run(&[&["cat", "repo::a"], words].concat()).succeeds();
        assert_eq!(cat(&[&at("/grub/grub.cfg")]), "menu\n");
        assert_eq!(cat(&[&at("/LONG name.CFG")]), "menu\n");
        assert_eq!(cat(&[&at("/etc/fstab")]), "LABEL=root / ext4\n");
        // Both have /etc; the one with an operating system is meant, unless it is said.
        assert_eq!(dir.run(&["ls", "-s", "repo::a", &at("/etc")]).succeeds(), "fstab\nshadow\n");
        let listed = dir.run(&["ls", "-s", "-p", boot, "repo::a", &at("/etc")]).succeeds();
        assert_eq!(listed, "other\n");
        dir.run(&["ls", "-p", "9", "repo::a", &at("/etc")]).refused(1, "there is no partition 9");
    }
    dir.run(&["ls", "-p", "9", "repo::a", "gpt.raw"]).refused(1, "there is no such partition");
    // One that cannot be looked into may have had it.
    let disk = dir.path("vm/mbr.raw");
    let before = fs::read(&disk).unwrap();
    let bent = fs::File::options().write(true).open(&disk).unwrap();
    bent.write_all_at(&[0xff; 8], (MIB + 1024 + 0x60) as u64).unwrap();
    dir.run(&["create", "repo::bent", "vm/mbr.raw"]).silent();
    fs::write(&disk, before).unwrap();
    let ran = dir.run(&["cat", "repo::bent", "mbr.raw:/etc/fstab"]);
    assert_eq!(ran.stdout, b"LABEL=root / ext4\n");
    assert!(ran.stderr.contains("was not looked for in 1 (ext4): "), "{}", ran.stderr);
    // Two of a kind.
    dir.put("boot.img", "vm/gpt.raw", 24);
    dir.run(&["create", "repo::b", "vm/gpt.raw"]).silent();
    dir.run(&["cat", "repo::b", "gpt.raw:/grub/grub.cfg"])
        .refused(2, "say --partition: 1 (ext4), 16 (ext4)");
}

#[test]
fn what_nothing_reads_is_named() {
    let dir = Dir::with_repository();
    for (name, at, bytes) in [
        ("LVM", 512, &b"LABELONE"[..]),
        ("LUKS", 0, b"LUKS\xba\xbe"),
        ("btrfs", 0x10040, b"_BHRfS_M"),
        ("BitLocker", 3, b"-FVE-FS-"),
    ] {
        let disk = dir.empty_disk(&format!("vm/{name}"), 1);
        fs::File::options().write(true).open(disk).unwrap().write_all_at(bytes, at).unwrap();
    }
    dir.run(&["create", "repo::a", "vm"]).silent();
    for name in ["LVM", "LUKS", "btrfs", "BitLocker"] {
        assert!(dir.run(&["ls", "repo::a", name]).succeeds().ends_with(&format!("{name}\n")));
        let text = format!("nothing on it can be read without the guest (the disk ({name}))");
        dir.run(&["cat", "repo::a", &format!("{name}:/x")]).refused(1, &text);
    }
}

#[test]
fn a_disk_of_a_guest_that_runs_is_read_as_after_a_power_cut() {
    let dir = Dir::with_repository();
    let (tree, late) = (dir.tree(), noise(2 * MIB, 9));
    for (kind, len) in [("ext4", 100), ("xfs", 320)] {
        let disk = dir.empty_disk(&format!("{kind}.img"), len);
        tool(&format!("mkfs.{kind}"), &["-q", &disk]);
        let mounted = dir.mount_by(&["mount", "-o", "loop"], &disk);
        tool("sh", &["-c", &format!("cp -a '{tree}/.' '{}' && sync", mounted.0)]);
        // In the journal, and not yet in its place.
        let file = fs::File::create(dir.path("mnt/late")).unwrap();
        file.write_all_at(&late, 0).unwrap();
        file.sync_all().unwrap();
        fs::rename(dir.path("mnt/etc/shadow"), dir.path("mnt/etc/gshadow")).unwrap();
        fs::File::open(dir.path("mnt/etc")).unwrap().sync_all().unwrap();
        fs::create_dir_all(dir.path("vm")).unwrap();
        fs::copy(&disk, dir.path("vm").join(format!("{kind}.raw"))).unwrap();
        drop((file, mounted));
    }
    dir.run(&["create", "repo::a", "vm"]).silent();
    for kind in ["ext4", "xfs"] {
        let at = |path: &str| format!("{kind}.raw:{path}");
        assert_eq!(dir.run(&["cat", "repo::a", &at("/late")]).stdout, late, "{kind}");
        let listed = dir.run(&["ls", "-s", "repo::a", &at("/etc")]).succeeds();
        assert_eq!(listed, "fstab\ngshadow\n", "{kind}");
        fs::create_dir(dir.path(kind)).unwrap();
        dir.run(&["cp", "repo::a", &at("/"), kind]).silent();
        for name in ["data", "holes", "many/file-499", "a \u{fc} name\nof two lines"] {
            let there = dir.read(&format!("tree/{name}"));
            assert!(dir.read(&format!("{kind}/{name}")) == there, "{kind}: {name}");
        }
    }
}

#[test]
fn windows_and_its_ways_of_storing_are_read_or_refused() {
    let dir = Dir::with_repository();
    let disk = dir.empty_disk("vm/ntfs.raw", 60);
    tool("mkntfs", &["-q", "-F", &disk]);
    let tree = dir.tree();
    let mounted = dir.mount_by(&["ntfs-3g", "-o", "compression"], &disk);
    let copy = format!("cd '{tree}' && cp -r data holes empty etc many d0 '{}'", mounted.0);
    tool("sh", &["-c", &copy]);
    fs::write(dir.path("mnt/Case"), b"upper").unwrap();
    fs::write(dir.path("mnt/case"), b"lower").unwrap();
    // Longer than what was ever written of it: the rest is zeros, whatever was on the disk there.
    fs::write(dir.path("mnt/was"), noise(MIB, 3)).unwrap();
    fs::remove_file(dir.path("mnt/was")).unwrap();
    fs::File::create(dir.path("mnt/long")).unwrap().set_len(3 * MIB as u64).unwrap();
    // ntfs-3g compresses what is made in a directory of that attribute.
    fs::create_dir(dir.path("mnt/pressed")).unwrap();
    let pressed = dir.path("mnt/pressed").to_str().unwrap().to_owned();
    let attribute = "setfattr -n system.ntfs_attrib_be -v 0x00000800";
    tool(
        "sh",
        &[
            "-c",
            &format!("{attribute} '{pressed}' && yes text | head -c 200000 > '{pressed}/file'"),
        ],
    );
    symlink("etc/fstab", dir.path("mnt/link")).unwrap();
    // In so many pieces that one record does not describe them all: where there is room in gaps alone.
    fs::create_dir(dir.path("mnt/gaps")).unwrap();
    let gap = |number: usize| dir.path(&format!("mnt/gaps/{number}"));
    (0..3000).for_each(|number| fs::write(gap(number), [7; 4096]).unwrap());
    let filler = fs::File::create(dir.path("mnt/filler")).unwrap();
    let full = (0..).find(|number| filler.write_all_at(&[1; 4096], number * 4096).is_err());
    assert!(full.is_some());
    (0..3000).step_by(2).for_each(|number| fs::remove_file(gap(number)).unwrap());
    let dense = noise(1200 * 4096, 5);
    fs::write(dir.path("mnt/dense"), &dense).unwrap();
    drop(filler);
    drop(mounted);
    dir.run(&["create", "repo::a", "vm"]).silent();
    fs::create_dir(dir.path("out")).unwrap();
    let ran = dir.run(&["cp", "repo::a", "ntfs.raw:/", "out"]);
    assert_eq!(ran.code, Some(1));
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert!(
        lines.iter().any(|line| line.contains("pressed/file: NTFS has compressed it")),
        "{lines:?}"
    );
    for name in ["data", "holes", "empty", "etc", "many", "d0"] {
        let [there, here] = ["tree", "out"].map(|root| dir.path(root).join(name));
        let [there, here] = [&there, &here].map(|path| path.to_str().unwrap());
        tool("diff", &["-r", there, here]);
    }
    assert_eq!(dir.read("out/long"), vec![0; 3 * MIB]);
    assert!(dir.read("out/dense") == dense);
    let listed = dir.run(&["ls", "repo::a", "ntfs.raw:/pressed"]).succeeds();
    assert!(listed.contains(" 200000 "), "{listed}");
    for (name, text) in [("Case", "upper"), ("case", "lower"), ("ETC/FsTab", "LABEL=root / ext4\n")]
    {
        let ran = dir.run(&["cat", "repo::a", &format!("ntfs.raw:/{name}")]);
        assert_eq!(ran.succeeds(), text);
    }
}
