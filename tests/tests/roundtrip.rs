//! What was backed up comes back byte for byte, whatever it was and however it was stored.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use garret_core::{AllocationMode, Compression, CutterChoice, Destination, Input, Selection};
use garret_format::config::KeyMode;
use garret_format::recipe::CutterKind;
use garret_testkit::{Image, Lab, Random, data_map};
use proptest::prelude::*;

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![
        1 => Just(0),
        1 => Just(1),
        1 => prop::sample::select(vec![4095, 4096, 4097, 65_535, 65_536, 65_537]),
        3 => 0..300_000usize,
        2 => 4_000_000..9_000_000usize,
    ]
}

/// A repository to be and what goes into it.
#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    mode: KeyMode,
    compression: Compression,
    cutter: CutterChoice,
    threads: usize,
    lens: Vec<usize>,
    nights: usize,
    local: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let mode = prop::sample::select(vec![KeyMode::None, KeyMode::Passphrase, KeyMode::Keyfile]);
    let compression = prop::sample::select(vec![
        Compression::None,
        Compression::Lz4,
        Compression::Zstd(-5),
        Compression::Zstd(3),
    ]);
    let cutter = prop::sample::select(vec![
        CutterChoice::Auto,
        CutterChoice::Always(CutterKind::Page),
        CutterChoice::Always(CutterKind::Fastcdc),
    ]);
    let threads = prop::sample::select(vec![1, 2, 4]);
    let lens = prop::collection::vec(len(), 1..3);
    (any::<u64>(), mode, compression, cutter, threads, lens, 1..4usize, any::<bool>()).prop_map(
        |(seed, mode, compression, cutter, threads, lens, nights, local)| Case {
            seed,
            mode,
            compression,
            cutter,
            threads,
            lens,
            nights,
            local,
        },
    )
}

/// The images of a case: some are twins, some shrink or grow from night to night.
fn images(case: &Case) -> Vec<Vec<Image>> {
    let mut random = Random::new(case.seed);
    let mut images: Vec<Image> =
        case.lens.iter().map(|len| Image::generate(random.word() % 16, *len)).collect();
    images.push(images[0].clone());
    let mut nights = Vec::new();
    for _ in 0..case.nights {
        nights.push(images.clone());
        for image in &mut images {
            image.mutate(random.word());
            match random.below(4) {
                0 => image.resize(image.bytes.len() / 2),
                1 => image.resize(image.bytes.len() + random.below(200_000)),
                _ => {}
            }
        }
    }
    nights
}

fn run(case: &Case) {
    let dir = tempfile::tempdir().unwrap();
    let mut lab = if case.local {
        Lab::local(&dir.path().join("repo"), case.mode)
    } else {
        Lab::memory(case.mode).0
    };
    lab.threads = case.threads;
    lab.compression = case.compression;
    lab.cutter = case.cutter;
    lab.cache = case.local.then(|| dir.path().join("cache"));
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    let nights = images(case);
    for (night, images) in nights.iter().enumerate() {
        for (number, image) in images.iter().enumerate() {
            let path = source.join(format!("{number}.img"));
            if (night + number) % 2 == 0 {
                image.write_sparse(&path)
            } else {
                image.write_dense(&path)
            }
        }
        lab.backup_path(&format!("files/{night}"), &source).unwrap();
        lab.backup_bytes(&format!("pipe/{night}"), &images[0].bytes).unwrap();
        check_allocation(&lab, night, &source, &dir.path().join(format!("exact-{night}")));
    }
    for (night, images) in nights.iter().enumerate() {
        assert!(lab.restore_bytes(&format!("pipe/{night}")).unwrap() == images[0].bytes);
        let all: Vec<u8> = images.iter().flat_map(|image| image.bytes.clone()).collect();
        assert!(lab.restore_bytes(&format!("files/{night}")).unwrap() == all);
        let target = dir.path().join(format!("sparse-{night}"));
        let restored =
            lab.restore_to(&format!("files/{night}"), &target, &lab.restore_options()).unwrap();
        assert_eq!(restored.problems, [""; 0]);
        assert_eq!(restored.report.file_count, images.len() as u64);
        let stored = target.join(stored(&source));
        for (number, image) in images.iter().enumerate() {
            let bytes = fs::read(stored.join(format!("{number}.img"))).unwrap();
            assert!(bytes == image.bytes, "night {night}, image {number}");
        }
    }
    lab.check();
}

/// Where the archive puts what is at `path`.
fn stored(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap()
}

/// Exactly the source's holes come back, or none, as asked.
fn check_allocation(lab: &Lab, night: usize, source: &Path, target: &Path) {
    let name = format!("files/{night}");
    let mut exact = lab.restore_options();
    exact.allocation = AllocationMode::Exact;
    assert_eq!(lab.restore_to(&name, target, &exact).unwrap().problems, [""; 0]);
    for entry in fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        let restored = target.join(stored(&path));
        assert_eq!(data_map(&restored), data_map(&path), "{name}: {}", path.display());
    }
    let mut full = lab.restore_options();
    full.allocation = AllocationMode::Full;
    lab.restore_to(&name, target, &full).unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        let (restored, len) = (target.join(stored(&path)), path.metadata().unwrap().len());
        let whole: Vec<_> = std::iter::once(0..len).filter(|range| range.end > 0).collect();
        assert_eq!(data_map(&restored), whole, "{name}: {}", path.display());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        max_shrink_iters: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_image_of_every_night_comes_back(case in case()) {
        run(&case);
    }
}

/// Holes that begin and end anywhere against the core's windows of 2 MiB: whole windows of them are not read at all.
#[test]
fn large_holes_are_not_read_and_come_back() {
    const MIB: usize = 1 << 20;
    for (number, hole) in [
        0..20 * MIB,
        4096..12 * MIB,
        4 * MIB..8 * MIB,
        3 * MIB..8 * MIB + 4096,
        8 * MIB - 4096..16 * MIB,
        MIB..24 * MIB,
        2 * MIB..6 * MIB,
        5 * MIB..10 * MIB + 4096,
        6 * MIB - 4096..14 * MIB,
    ]
    .into_iter()
    .enumerate()
    {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("disk.img");
        let mut image = Image::noise(number as u64, 24 * MIB - 4095 * (number % 2));
        let hole = hole.start..hole.end.min(image.bytes.len() / 4096 * 4096);
        image.bytes[hole.clone()].fill(0);
        image.holes.push(hole.clone());
        image.write_sparse(&source);
        let (mut lab, _) = Lab::memory(KeyMode::None);
        lab.threads = 2;
        lab.compression = Compression::None;
        let report = lab.backup_path("x", &source).unwrap();
        let windows = (hole.end / (2 * MIB)) * 2 * MIB - hole.start.next_multiple_of(2 * MIB);
        assert!(report.hole_bytes >= windows as u64, "{hole:?}: {} not read", report.hole_bytes);
        assert!(lab.restore_bytes("x").unwrap() == image.bytes, "{hole:?}");
        let mut exact = lab.restore_options();
        exact.allocation = AllocationMode::Exact;
        let target = dir.path().join("target");
        assert_eq!(lab.restore_to("x", &target, &exact).unwrap().problems, [""; 0]);
        let restored = target.join(stored(&source));
        assert!(fs::read(&restored).unwrap() == image.bytes, "{hole:?}");
        assert_eq!(data_map(&restored), data_map(&source), "{hole:?}");
    }
}

#[test]
fn a_directory_of_many_files_links_and_odd_names_comes_back() {
    for threads in [1, 4] {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        let mut random = Random::new(threads as u64);
        for number in 0..40 {
            let parent = source.join(format!("d{}/e{}", number % 7, number % 3));
            fs::create_dir_all(&parent).unwrap();
            for file in 0..20 {
                let len = if file == 0 { 100_000 } else { random.below(3000) };
                let path = parent.join(format!("{number}-{file} \u{e4}\n"));
                fs::write(&path, random.text(len)).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o400 + file)).unwrap();
            }
        }
        fs::create_dir_all(source.join("empty/inner")).unwrap();
        fs::write(source.join("empty file"), "").unwrap();
        symlink("d0/e0", source.join("link")).unwrap();
        symlink("/nowhere/at all", source.join("dangling")).unwrap();
        let (mut lab, _) = Lab::memory(KeyMode::Passphrase);
        lab.threads = threads;
        let report = lab.backup_path("tree", &source).unwrap();
        assert_eq!(report.archive.archive.file_count, 801);
        let target = dir.path().join("target");
        let restored = lab.restore_to("tree", &target, &lab.restore_options()).unwrap();
        assert_eq!(restored.problems, [""; 0]);
        assert_eq!(restored.report.file_count, 801);
        same_tree(&source, &target.join(stored(&source)));
        lab.check();
    }
}

fn same_tree(one: &Path, two: &Path) {
    let (meta, other) = (fs::symlink_metadata(one).unwrap(), fs::symlink_metadata(two).unwrap());
    assert_eq!(meta.mode(), other.mode(), "{}", one.display());
    if meta.is_symlink() {
        assert_eq!(fs::read_link(one).unwrap(), fs::read_link(two).unwrap());
        return;
    }
    assert_eq!(
        (meta.mtime(), meta.mtime_nsec()),
        (other.mtime(), other.mtime_nsec()),
        "{}",
        one.display()
    );
    if meta.is_file() {
        assert_eq!(fs::read(one).unwrap(), fs::read(two).unwrap(), "{}", one.display());
        return;
    }
    let names = |path: &Path| {
        let mut names: Vec<_> =
            fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(one), names(two), "{}", one.display());
    names(one).iter().for_each(|name| same_tree(&one.join(name), &two.join(name)));
}

#[test]
fn only_what_is_selected_is_restored_and_what_matches_nothing_is_told() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.img", "b.img", "sub/c.img"] {
        fs::create_dir_all(dir.path().join("s/sub")).unwrap();
        fs::write(dir.path().join("s").join(name), name).unwrap();
    }
    let (lab, _) = Lab::memory(KeyMode::None);
    lab.backup_path("x", &dir.path().join("s")).unwrap();
    let repository = lab.reader().unwrap();
    let archive = repository.archive("x").unwrap();
    let base = stored(dir.path()).to_str().unwrap();
    let wanted = [format!("/{base}/s/sub/"), format!("{base}/s/b.img"), "no/such".to_owned()];
    let restore = |destination: Destination<'_>| {
        let mut selection = Selection::new(wanted.clone().map(String::into_bytes));
        let options = lab.restore_options();
        repository.restore(&archive, &mut selection, destination, &options, &garret_core::Silent)
    };
    let target = dir.path().join("target");
    let report = restore(Destination::Directory(target.clone())).unwrap();
    let (target, source) = (target.join(base).join("s"), dir.path().join("s"));
    assert!(!target.join("a.img").exists());
    same_tree(&source.join("b.img"), &target.join("b.img"));
    same_tree(&source.join("sub"), &target.join("sub"));
    assert_eq!(report.unmatched, [b"no/such".to_vec()]);
    assert_eq!(report.file_count, 2);
    let mut bytes = Vec::new();
    let refused = restore(Destination::Stream(&mut bytes)).unwrap_err();
    assert!(refused.to_string().starts_with("more than one file is selected"), "{refused}");
    assert!(bytes.is_empty(), "two files cannot be told apart in one stream");
}

#[test]
fn what_cannot_be_read_is_a_problem_and_the_rest_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("good");
    fs::write(&good, "good").unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    let inputs = vec![Input::Path(dir.path().join("missing")), Input::Path(good)];
    let (report, problems) = lab.backup_inputs("x", inputs).unwrap();
    assert_eq!((report.archive.archive.problem_count, problems.len()), (1, 1));
    assert!(problems[0].contains("missing"), "{problems:?}");
    assert_eq!(lab.restore_bytes("x").unwrap(), b"good");
    let nothing = lab.backup_inputs("y", vec![Input::Path(dir.path().join("missing"))]);
    assert!(matches!(nothing, Err(garret_core::Error::NothingStored)));
    assert_eq!(lab.names(), ["x"]);
}

/// A pipe that gives so many bytes and then an error.
struct Breaks(usize);

impl std::io::Read for Breaks {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let len = buf.len().min(self.0);
        if len == 0 {
            return Err(std::io::Error::other("the pipe broke"));
        }
        buf[..len].fill(7);
        self.0 -= len;
        Ok(len)
    }
}

#[test]
fn a_pipe_that_breaks_makes_no_archive_whatever_else_there_is() {
    let good = Image::noise(1, 5_000_000).bytes;
    let pipe = |name: &[u8], reader| Input::Stream { name: name.to_vec(), reader };
    let whole = || Box::new(std::io::Cursor::new(good.clone()));
    for threads in [1, 3] {
        let (mut lab, _) = Lab::memory(KeyMode::None);
        lab.threads = threads;
        for len in [0, 1000, 6_000_000, 9_000_000] {
            let broken = || pipe(b"broken", Box::new(Breaks(len)));
            for inputs in [
                vec![broken()],
                vec![broken(), pipe(b"good", whole())],
                vec![pipe(b"good", whole()), broken()],
            ] {
                let result = lab.backup_inputs("x", inputs);
                assert!(matches!(&result, Err(garret_core::Error::Source(_))), "{len}: {result:?}");
                let text = garret_core::message(&result.unwrap_err());
                assert_eq!(text, "standard input: cannot read: the pipe broke");
                assert_eq!(lab.names(), [""; 0]);
            }
        }
        // What was stored of them is found, and does no harm.
        lab.backup_inputs("x", vec![pipe(b"good", whole())]).unwrap();
        assert!(lab.restore_bytes("x").unwrap() == good);
        lab.check();
    }
}

#[test]
fn names_that_would_make_an_archive_unreadable_are_refused_before_anything_is_stored() {
    let (lab, store) = Lab::memory(KeyMode::None);
    let before = store.objects();
    for name in ["", "/a", "../a", "a//b", "a/./b", "a\0b"] {
        let reader = Box::new(std::io::Cursor::new(b"x".to_vec()));
        let input = Input::Stream { name: name.as_bytes().to_vec(), reader };
        let result = lab.backup_inputs("x", vec![input]);
        assert!(result.is_err(), "{name:?}");
        assert!(store.objects() == before, "{name:?}");
    }
    for name in ["", ".hidden", "a/../b", "/a", "a/", "a\nb", &"x".repeat(256), &"y/".repeat(600)] {
        assert!(lab.backup_bytes(name, b"x").is_err(), "{name:?}");
        assert!(lab.delete(name).is_err(), "{name:?}");
    }
    assert!(lab.delete("../config").is_err());
    assert!(matches!(lab.delete("none"), Err(garret_core::Error::ArchiveMissing(_))));
    assert!(store.objects() == before);
    lab.backup_bytes("taken", b"x").unwrap();
    assert!(matches!(lab.backup_bytes("taken", b"y"), Err(garret_core::Error::ArchiveExists(_))));
    assert_eq!(lab.restore_bytes("taken").unwrap(), b"x");
}

#[test]
fn an_argument_too_long_for_the_format_makes_no_unreadable_archive() {
    let (lab, _) = Lab::memory(KeyMode::None);
    let mut options = lab.options();
    options.command = vec![vec![b'x'; 100_000]];
    let mut repository = lab.writer().unwrap();
    let reader = Box::new(std::io::Cursor::new(b"x".to_vec()));
    let input = Input::Stream { name: b"a".to_vec(), reader };
    let result = repository.backup("x", vec![input], &options, &garret_core::Silent);
    drop(repository);
    assert!(result.is_err() || lab.restore_bytes("x").unwrap() == b"x");
    assert_eq!(lab.names().is_empty(), result.is_err());
}
