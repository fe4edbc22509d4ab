//! Each public station of the path by itself, with its throughput.
//!
//! ```text
//! cargo bench -p garret-benches            all
//! cargo bench -p garret-benches -- find    those whose name holds "find"
//! ```
//!
//! In: data made here, from fixed seeds; qemu-img. Out: criterion's report, in bytes of input per second, or
//! elements per second for the index. One thread: the core runs the stations on all cores.

#![allow(missing_docs, reason = "criterion's macros make functions without")]

use std::hint::black_box;
use std::process::Command;

use criterion::BatchSize::LargeInput;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use garret_benches::{Random, text};
use garret_chunker::{Cutter, FastCdc, PUBLIC_PAGE_KEY, PageCutter, Segment, Sizes, Stitcher};
use garret_core::bench::{Boxes, SyntheticIndex, chunk_id};
use garret_format::ChunkId;
use garret_format::config::{Cipher, KeyMode};
use garret_format::recipe::{Entry, Node};
use garret_image::RawFile;
use garret_testkit::Lab;

/// What the core gives to one scan.
const WINDOW_LEN: usize = 2 << 20;
const CHUNK_LEN: usize = 64 << 10;
const GROUP_LEN: usize = 1 << 20;
const PACK_LEN: usize = 32 << 20;
const RESTORE_LEN: usize = 64 << 20;
const INDEX_CHUNKS: u64 = 10_000_000;

const CIPHERS: [(&str, Option<Cipher>); 3] = [
    ("AES-256-GCM", Some(Cipher::Aes256Gcm)),
    ("XChaCha20-Poly1305", Some(Cipher::XChaCha20Poly1305)),
    ("none", None),
];

criterion_group!(stations, cutters, hash, compression, seal, pack, recipe, index, qcow2, restore);
criterion_main!(stations);

/// Zero runs and possible cuts of a window, then the cuts.
fn cutters(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cut");
    let data = Random::new(1).bytes(WINDOW_LEN);
    let zeros = vec![0; WINDOW_LEN];
    let fastcdc = FastCdc::new(Sizes::default(), None).expect("the crate's table passes");
    let page = Cutter::Page(PageCutter::new(Sizes::default(), PUBLIC_PAGE_KEY));
    let cutters = [("page", page), ("fastcdc", Cutter::Fastcdc(fastcdc))];
    group.throughput(Throughput::Bytes(WINDOW_LEN as u64));
    for (name, cutter) in &cutters {
        for (content, bytes) in [("data", &data), ("zeros", &zeros)] {
            let segment = Segment { bytes, own: bytes.len(), last: true, known_zero: &[] };
            group.bench_function(BenchmarkId::new(*name, content), |bencher| {
                bencher.iter(|| {
                    let scan = cutter.scan(black_box(&segment));
                    let mut pieces = Vec::new();
                    Stitcher::new().stitch(cutter, &segment, &scan, &mut pieces);
                    pieces
                });
            });
        }
    }
    group.finish();
}

/// The name of one chunk in an encrypted repository.
fn hash(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hash");
    let chunk = Random::new(2).bytes(CHUNK_LEN);
    group.throughput(Throughput::Bytes(CHUNK_LEN as u64));
    group.bench_function("blake3 keyed, 64 KiB", |bencher| {
        bencher.iter(|| blake3::keyed_hash(&[7; 32], black_box(&chunk)));
    });
    group.finish();
}

/// One group, there and back.
fn compression(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("group 1 MiB");
    let plain = text(&mut Random::new(3), GROUP_LEN);
    group.throughput(Throughput::Bytes(GROUP_LEN as u64));
    let mut out = vec![0; zstd::zstd_safe::compress_bound(GROUP_LEN)];
    let len = zstd::bulk::compress_to_buffer(&plain, &mut out, 3).expect("it has room");
    let zstd_frame = out.get(..len).unwrap_or_default().to_vec();
    let lz4_block = lz4_flex::block::compress(&plain);
    let mut back = vec![0; GROUP_LEN];
    group.bench_function("zstd 3", |bencher| {
        bencher.iter(|| zstd::bulk::compress_to_buffer(black_box(&plain), &mut out, 3));
    });
    group.bench_function("zstd back", |bencher| {
        bencher.iter(|| zstd::bulk::decompress_to_buffer(black_box(&zstd_frame), &mut back));
    });
    let mut out = vec![0; lz4_flex::block::get_maximum_output_size(GROUP_LEN)];
    group.bench_function("lz4", |bencher| {
        bencher.iter(|| lz4_flex::block::compress_into(black_box(&plain), &mut out));
    });
    group.bench_function("lz4 back", |bencher| {
        bencher.iter(|| lz4_flex::block::decompress_into(black_box(&lz4_block), &mut back));
    });
    group.finish();
}

/// A leaf of the usual size: 128 entries for 8 MiB of stream.
fn recipe(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recipe node");
    let entry = |n| Entry::Chunk { id: chunk_id(n), len: CHUNK_LEN as u32 };
    let node = Node::Leaf((0..128).map(entry).collect());
    let bytes = node.encode();
    group.throughput(Throughput::Elements(128));
    group.bench_function("encode", |bencher| bencher.iter(|| black_box(&node).encode()));
    group.bench_function("decode", |bencher| bencher.iter(|| Node::decode(black_box(&bytes))));
    group.finish();
}

/// Finding a chunk among ten million in the client's copy of the index, filter and mapped tables together.
fn index(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("index of 1e7");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let synthetic = SyntheticIndex::create(directory.path(), INDEX_CHUNKS);
    let index = synthetic.and_then(|made| made.open()).expect("it was just made");
    let mut random = Random::new(5);
    group.throughput(Throughput::Elements(1));
    for (name, first) in [("hit", 0), ("miss", INDEX_CHUNKS)] {
        let mut wanted = (0..1 << 20).map(|_| chunk_id(first + random.word() % INDEX_CHUNKS));
        let wanted: Vec<ChunkId> = wanted.by_ref().collect();
        let mut wanted = wanted.iter().cycle();
        group.bench_function(BenchmarkId::new("find", name), |bencher| {
            bencher.iter(|| wanted.next().map(|id| index.contains(black_box(id))));
        });
    }
    group.finish();
}

/// A group's box, there and back, as a repository with and without keys has it.
fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("box of 1 MiB");
    group.throughput(Throughput::Bytes(GROUP_LEN as u64));
    for (name, cipher) in CIPHERS {
        let boxes = Boxes::new(cipher).expect("there is room for a key");
        let plain = Random::new(6).bytes(GROUP_LEN);
        let mut sealed = plain.clone();
        boxes.seal(&mut sealed);
        group.bench_function(BenchmarkId::new("seal", name), |bencher| {
            bencher.iter_batched_ref(|| plain.clone(), |bytes| boxes.seal(bytes), LargeInput);
        });
        group.bench_function(BenchmarkId::new("open", name), |bencher| {
            bencher.iter_batched_ref(|| sealed.clone(), |bytes| boxes.open(bytes), LargeInput);
        });
    }
    group.finish();
}

/// New chunks to a pack of 32 MiB: grouped, sealed, named, stored in memory; not compressed.
fn pack(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pack of 32 MiB");
    let bytes = Random::new(7).bytes(PACK_LEN);
    let chunks: Vec<&[u8]> = bytes.chunks(CHUNK_LEN).collect();
    group.throughput(Throughput::Bytes(PACK_LEN as u64));
    for (name, cipher) in CIPHERS {
        let boxes = Boxes::new(cipher).expect("there is room for a key");
        group.bench_function(BenchmarkId::new("write", name), |bencher| {
            bencher.iter(|| boxes.write_pack(black_box(&chunks)));
        });
    }
    group.finish();
}

/// The map of a qcow2 image with every cluster allocated, from the file; elements are clusters. Needs qemu-img.
fn qcow2(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("qcow2 map");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("disk.qcow2");
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-o", "preallocation=metadata"])
        .arg(&path)
        .arg("8G")
        .status();
    assert!(made.is_ok_and(|status| status.success()), "qemu-img makes the image");
    let file = RawFile::open(&path, true).expect("it was just made");
    group.throughput(Throughput::Elements((8 << 30) / (64 << 10)));
    group.bench_function("parse 8 GiB", |bencher| {
        bencher.iter(|| garret_image::qcow2::parse(black_box(&file)));
    });
    group.finish();
}

/// A file of 64 MiB from packs in memory: read, opened, decompressed, verified; in order to memory, or each group to where
/// it belongs in a file.
fn restore(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("restore 64 MiB");
    let (mut lab, _) = Lab::memory(KeyMode::None);
    lab.threads = 1;
    let bytes = text(&mut Random::new(8), RESTORE_LEN);
    lab.backup_bytes("a", &bytes).expect("a backup in memory");
    let directory = tempfile::tempdir().expect("a temporary directory");
    group.throughput(Throughput::Bytes(RESTORE_LEN as u64)).sample_size(20);
    group.bench_function("in order", |bencher| bencher.iter(|| lab.restore_bytes("a")));
    group.bench_function("in place", |bencher| {
        let options = lab.restore_options();
        bencher.iter(|| lab.restore_to("a", directory.path(), &options));
    });
    group.finish();
}
