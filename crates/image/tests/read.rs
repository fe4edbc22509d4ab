//! The read side on real files: extents, bytes, change, refusal, page cache.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Random, disk_dir, extents, open, oracle, sparse_file, tmpfs_dir, write_file};
use garret_image::{
    Extent, Extents, FileKind, Layout, Lens, Part, PartSource, Piece, RawFile, Source,
    SourceErrorKind, lstat,
};

fn check_sparse_files(dir: &Path, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let path = dir.join(format!("{seed}"));
        let bytes = sparse_file(&path, &mut Random::new(seed));
        let source = open(&path);
        let found = extents(&source);
        assert_eq!(found, oracle(&path), "seed {seed}");
        assert_eq!(source.len(), bytes.len() as u64);
        let mut covered = 0;
        for extent in found {
            assert_eq!(extent.offset(), covered, "seed {seed}");
            assert!(!extent.is_empty());
            covered += extent.len();
            let start = usize::try_from(extent.offset()).unwrap();
            let expected = &bytes[start..start + usize::try_from(extent.len()).unwrap()];
            if extent.is_hole() {
                assert!(expected.iter().all(|byte| *byte == 0), "seed {seed}: holes are zero");
            }
            let mut read = vec![0xaa; expected.len()];
            source.read_at(&mut read, extent.offset()).unwrap();
            assert!(read == expected, "seed {seed} at {}", extent.offset());
        }
        assert_eq!(covered, source.len(), "seed {seed}");
        assert!(!source.changed().unwrap());
    }
}

#[test]
fn extents_equal_a_walk_by_pages_and_holes_are_zero() {
    let dir = disk_dir();
    check_sparse_files(dir.path(), 0..60);
}

#[test]
fn the_same_holds_on_tmpfs() {
    let dir = tmpfs_dir();
    check_sparse_files(dir.path(), 100..140);
}

#[test]
fn files_of_zero_and_one_byte_have_no_and_one_extent() {
    let dir = disk_dir();
    assert_eq!(extents(&open(&write_file(dir.path(), "0", b""))), []);
    let one = write_file(dir.path(), "1", b"x");
    assert_eq!(extents(&open(&one)), [Extent::Data { offset: 0, len: 1 }]);
    let hole = write_file(dir.path(), "hole", b"");
    File::options().write(true).open(&hole).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(extents(&open(&hole)), [Extent::Hole { offset: 0, len: 1 << 40 }]);
}

#[test]
fn a_file_system_that_knows_no_holes_gives_one_extent() {
    // sysfs, where a file is of one page by its metadata and shorter by its content.
    let path = Path::new("/sys/kernel/uevent_seqnum");
    let source = open(path);
    assert!(source.len() > 0 && source.len() < lstat(path).unwrap().size);
    assert_eq!(extents(&source), [Extent::Data { offset: 0, len: source.len() }]);
    let mut read = vec![0; usize::try_from(source.len()).unwrap()];
    source.read_at(&mut read, 0).unwrap();
    assert!(read.ends_with(b"\n") && !source.changed().unwrap());
}

#[test]
fn a_file_cut_short_while_it_is_read_yields_zeros_and_says_changed() {
    for dir in [disk_dir(), tmpfs_dir()] {
        let path = write_file(dir.path(), "f", &Random::new(1).bytes_without_zero(1_000_000));
        let source = open(&path);
        let mut walk = Extents::new(&source);
        File::options().write(true).open(&path).unwrap().set_len(10_001).unwrap();
        let mut read = vec![0xaa; 1_000_000];
        source.read_at(&mut read, 0).unwrap();
        assert!(read[..10_001].iter().all(|byte| *byte != 0));
        assert!(read[10_001..].iter().all(|byte| *byte == 0));
        source.read_at(&mut read[..100], 500_000).unwrap();
        assert!(read[..100].iter().all(|byte| *byte == 0));
        assert!(source.changed().unwrap());
        let covered: u64 = walk.by_ref().map(|extent| extent.unwrap().len()).sum();
        assert_eq!(covered, 1_000_000, "the walk still covers the length at open");
    }
}

#[test]
fn a_file_that_grew_or_was_touched_says_changed_and_is_not_read_past_its_old_end() {
    let dir = disk_dir();
    let path = write_file(dir.path(), "f", b"0123456789");
    let source = open(&path);
    assert!(!source.changed().unwrap());
    File::options().append(true).open(&path).unwrap().write_at(b"abc", 10).unwrap();
    assert!(source.changed().unwrap());
    assert_eq!(extents(&source), [Extent::Data { offset: 0, len: 10 }]);
    let mut read = [0xaa; 16];
    source.read_at(&mut read, 4).unwrap();
    assert_eq!(&read, b"456789\0\0\0\0\0\0\0\0\0\0");
    source.read_at(&mut read, u64::MAX).unwrap();
    assert_eq!(read, [0; 16]);

    let source = open(&path);
    File::open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert!(source.changed().unwrap(), "same size, other mtime");
}

/// Ends the thread that changes the file, so that a failure is reported and does not hang.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_file_punched_and_filled_during_the_walk_yields_ordered_extents_that_end() {
    let dir = disk_dir();
    let path = dir.path().join("f");
    let file = File::create(&path).unwrap();
    file.set_len(4 << 20).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new(5);
            let flags =
                rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
            while !stop.load(Ordering::Relaxed) {
                let offset = random.below(4 << 20) & !4095;
                match random.below(20) {
                    0 => file.set_len(random.below(4 << 20)).unwrap(),
                    1 => file.set_len(4 << 20).unwrap(),
                    2..11 => rustix::fs::fallocate(&file, flags, offset, 65536).unwrap(),
                    _ => file.write_all_at(&[7; 8192], offset).unwrap(),
                }
            }
        });
        let _stop_also_on_panic = StopOnDrop(&stop);
        for _ in 0..2000 {
            let source = open(&path);
            let mut covered = 0;
            for extent in Extents::new(&source) {
                let extent = extent.unwrap();
                assert_eq!(extent.offset(), covered);
                assert!(!extent.is_empty());
                covered += extent.len();
            }
            assert_eq!(covered, source.len());
        }
    });
}

#[test]
fn only_files_and_block_devices_are_opened_and_a_pipe_does_not_hang() {
    let dir = disk_dir();
    let fifo = dir.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("target", &link).unwrap();
    for (path, follow) in
        [(&*fifo, false), (&*fifo, true), (dir.path(), true), (Path::new("/dev/null"), true)]
    {
        let error = RawFile::open(path, follow).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::NotSupported, "{error:?}");
    }
    assert_eq!(RawFile::open(&link, true).unwrap_err().kind(), SourceErrorKind::NotFound);
    write_file(dir.path(), "target", b"abc");
    assert_eq!(RawFile::open(&link, false).unwrap_err().kind(), SourceErrorKind::NotSupported);
    let source = RawFile::open(&link, true).unwrap();
    assert_eq!((source.len(), source.metadata().kind), (3, FileKind::Regular));
    assert_eq!(*source.metadata(), lstat(&dir.path().join("target")).unwrap());
}

/// Bytes of a file in the page cache.
fn cached_bytes(path: &Path) -> u64 {
    common::run("fincore", &["--bytes", "--noheadings", "--output", "RES", common::path_str(path)])
        .trim()
        .parse()
        .unwrap()
}

fn drop_cache(path: &Path) {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    // Write-back that has just ended may still hold pages for a moment.
    for _ in 0..100 {
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        if cached_bytes(path) == 0 {
            return;
        }
    }
    panic!("cannot drop the page cache of {}", path.display());
}

/// Makes `attempt` until what it leaves in the page cache is sound. A device may answer before the question
/// "is it cached?" is through, and what is read passes for cached: mostly for a piece now and then, but for over half
/// of a file once, on a machine whose processors were taken away in the middle of the question. A reader
/// that is wrong by itself, such as one with read-ahead, is wrong each time.
fn leaves_the_page_cache_sound(mut attempt: impl FnMut() -> Result<(), String>) {
    let wrong: Vec<String> = (0..20).map_while(|_| attempt().err()).collect();
    assert!(wrong.len() < 20, "each time: {wrong:#?}");
}

#[test]
fn reading_leaves_the_page_cache_as_it_was() {
    const LEN: usize = 32 << 20;
    // Ordinary read-ahead leaves over four fifths behind.
    const TOLERANCE: u64 = LEN as u64 / 8;
    let dir = disk_dir();
    let bytes = Random::new(3).bytes_without_zero(LEN);
    let path = write_file(dir.path(), "f", &bytes);
    for piece in [4 << 20, 1 << 20, 100_000, 5_000] {
        let read = || {
            let source = open(&path);
            let mut buf = vec![0; piece];
            for offset in (0..LEN).step_by(piece) {
                let len = piece.min(LEN - offset);
                source.read_at(&mut buf[..len], offset as u64).unwrap();
                assert!(buf[..len] == bytes[offset..offset + len]);
            }
        };
        let sound = |before: u64| {
            let after = cached_bytes(&path);
            let is_sound = after.abs_diff(before) <= TOLERANCE;
            let what =
                format!("pieces of {piece}: {before} bytes were cached before, {after} after");
            is_sound.then_some(()).ok_or(what)
        };
        leaves_the_page_cache_sound(|| {
            drop_cache(&path);
            read();
            sound(0)
        });
        // One half cached by somebody else: that half stays, and nothing else.
        leaves_the_page_cache_sound(|| {
            drop_cache(&path);
            let mut other = vec![0; LEN / 2];
            let file = File::open(&path).unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random).unwrap();
            file.read_exact_at(&mut other, 0).unwrap();
            let before = cached_bytes(&path);
            assert!(before >= LEN as u64 / 2);
            read();
            sound(before)
        });
    }
}

#[test]
fn a_part_that_lies_in_any_order_is_read_right_and_leaves_the_page_cache_as_it_was() {
    const CLUSTER: u64 = 4096 * 5;
    let dir = disk_dir();
    let bytes = Random::new(3).bytes_without_zero(800 * CLUSTER as usize);
    let path = write_file(dir.path(), "f", &bytes);
    // Pairs of clusters, anywhere; every fifth pair is not in the part.
    let runs = (0..400).filter(|at| at % 5 != 0).map(|at| Piece {
        offset: at * 2 * CLUSTER,
        file_offset: at * 77 % 400 * 2 * CLUSTER,
        len: 2 * CLUSTER,
    });
    let lens = Lens { file: bytes.len() as u64, guest: bytes.len() as u64 };
    let layout = Arc::new(Layout::new(lens, runs).unwrap());
    for part in [Part::Guest, Part::Residue] {
        let mut expected = vec![0; layout.len(part) as usize];
        for piece in layout.pieces(part, 0..u64::MAX) {
            let [to, from, len] = [piece.offset, piece.file_offset, piece.len].map(|n| n as usize);
            expected[to..to + len].copy_from_slice(&bytes[from..from + len]);
        }
        for is_cached in [false, true] {
            leaves_the_page_cache_sound(|| {
                drop_cache(&path);
                if is_cached {
                    std::fs::read(&path).unwrap();
                }
                let source = PartSource::new(Arc::new(open(&path)), layout.clone(), part);
                let mut read = vec![0xaa; expected.len()];
                for (at, part) in (0..).step_by(3_000_000).zip(read.chunks_mut(3_000_000)) {
                    source.read_at(part, at).unwrap();
                }
                assert!(read == expected);
                let cached = cached_bytes(&path);
                let len = bytes.len() as u64;
                let is_sound = if is_cached { cached > len * 9 / 10 } else { cached < len / 10 };
                let what = format!("{part:?}, cached before: {is_cached}: {cached} of {len} bytes");
                is_sound.then_some(()).ok_or(what)
            });
        }
    }
}

#[test]
fn what_is_made_up_when_it_is_read_is_as_long_as_what_comes_out() {
    let path = Path::new("/proc/version");
    let text = std::fs::read(path).unwrap();
    let source = open(path);
    assert_eq!(lstat(path).unwrap().size, 0);
    assert_eq!((source.len(), source.end()), (text.len() as u64, text.len() as u64));
    assert_eq!(extents(&source), [Extent::Data { offset: 0, len: text.len() as u64 }]);
    let mut read = vec![0xaa; text.len() + 5];
    source.read_at(&mut read, 0).unwrap();
    assert!(read[..text.len()] == text[..] && read[text.len()..] == [0; 5]);
    let mut part = [0xaa; 4];
    source.read_at(&mut part, 3).unwrap();
    assert!(part == text[3..7] && !source.changed().unwrap());
    source.read_at(&mut part, 1 << 40).unwrap();
    assert_eq!(part, [0; 4]);
    // A page of zeros takes no space on many file systems: its hole is one all the same.
    let dir = disk_dir();
    let path = write_file(dir.path(), "hole", b"");
    File::options().write(true).open(&path).unwrap().set_len(4096).unwrap();
    assert_eq!(extents(&open(&path)), [Extent::Hole { offset: 0, len: 4096 }]);
}

#[test]
fn a_file_that_became_shorter_says_where_it_ended() {
    let dir = disk_dir();
    let path = write_file(dir.path(), "file", &vec![7; 1 << 20]);
    let source = open(&path);
    let cut = |len| File::options().write(true).open(&path).unwrap().set_len(len).unwrap();
    cut(300_000);
    assert_eq!(source.end(), 1 << 20, "nobody has looked");
    let mut read = vec![0xaa; 200_000];
    source.read_at(&mut read, 200_000).unwrap();
    assert!(read[..100_000].iter().all(|byte| *byte == 7));
    assert!(read[100_000..].iter().all(|byte| *byte == 0));
    assert_eq!(source.end(), 300_000);
    cut(1 << 20);
    source.read_at(&mut read, 200_000).unwrap();
    assert_eq!(source.end(), 300_000, "it never grows");
    cut(1000);
    assert!(source.extent_at(500_000).unwrap().is_hole());
    assert_eq!(source.end(), 1000);
    assert!(source.changed().unwrap());
}

#[test]
fn a_file_that_was_lent_is_read_when_it_is_given_back() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lent");
    std::fs::write(&path, "content").unwrap();
    // 1024 is F_SETLEASE, 1 F_WRLCK, 2 F_UNLCK: perl's Fcntl does not have the first.
    let holder = "open(F, '+<', $ARGV[0]) or die; $SIG{IO} = sub { fcntl(F, 1024, 2); exit };
                  fcntl(F, 1024, 1) or die; $| = 1; print \"held\\n\"; sleep 60";
    let mut holder = std::process::Command::new("perl")
        .args(["-e", holder])
        .arg(&path)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("this test needs perl");
    let mut said = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "held\n");
    let mut read = [0; 7];
    RawFile::open(&path, false).unwrap().read_at(&mut read, 0).unwrap();
    assert_eq!(&read, b"content");
    assert!(holder.wait().unwrap().success());
}
