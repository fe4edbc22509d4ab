//! Each public station of the path by itself, with its throughput.
//!
//! ```text
//! cargo bench -p garret-benches            all
//! cargo bench -p garret-benches -- find    those whose name holds "find"
//! ```
//!
//! In: data made here, from fixed seeds. Out: criterion's report, in bytes of input per second, or
//! elements per second for the index. One thread: the engine runs the stations on all cores.

#![allow(missing_docs, reason = "criterion's macros make functions without")]

use std::hint::black_box;

use chunker::{Cutter, FastCdc, PUBLIC_PAGE_KEY, PageCutter, Segment, Sizes, Stitcher};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use format::index::{GroupRow, PackRow, Record, Tables, encode_segment};
use format::recipe::{Entry, Node};
use format::{ChunkId, PackId};
use garret_benches::Random;

/// What the engine gives to one scan.
const WINDOW_LEN: usize = 4 << 20;
const CHUNK_LEN: usize = 64 << 10;
const GROUP_LEN: usize = 1 << 20;
const INDEX_RECORDS: u64 = 1_000_000;

criterion_group!(stations, cutters, hash, compression, recipe, index);
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
    let plain = Random::new(3).text(GROUP_LEN);
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

fn chunk_id(random: &mut Random) -> ChunkId {
    let mut id = [0; ChunkId::LEN];
    id.copy_from_slice(&random.bytes(ChunkId::LEN));
    ChunkId::from_bytes(id)
}

/// A leaf of the usual size: 128 entries for 8 MiB of stream.
fn recipe(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recipe node");
    let mut random = Random::new(4);
    let entry = |_| Entry::Chunk { id: chunk_id(&mut random), len: CHUNK_LEN as u32 };
    let node = Node::Leaf((0..128).map(entry).collect());
    let bytes = node.encode();
    group.throughput(Throughput::Elements(128));
    group.bench_function("encode", |bencher| bencher.iter(|| black_box(&node).encode()));
    group.bench_function("decode", |bencher| bencher.iter(|| Node::decode(black_box(&bytes))));
    group.finish();
}

/// Finding a chunk among a million, of 16 to a group and 512 to a pack; without the filter that
/// keeps most misses away from the tables.
fn index(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("index of 1e6");
    let mut random = Random::new(5);
    let mut ids: Vec<ChunkId> = (0..INDEX_RECORDS).map(|_| chunk_id(&mut random)).collect();
    ids.sort_unstable();
    let records: Vec<Record> =
        ids.iter().map(|id| Record { id: *id, group: 0, offset: 0, len: 65536 }).collect();
    let pack = PackRow { id: PackId::from_bytes([1; 32]), salt: [2; 16], len: 1 << 25 };
    let row = GroupRow { pack: 0, offset: 24, sealed_len: 1 << 20 };
    let bytes = encode_segment(&[pack], &[row], &records);
    let (tables, _) = Tables::open(&bytes).expect("it was just encoded");
    let misses: Vec<ChunkId> = (0..1 << 16).map(|_| chunk_id(&mut random)).collect();
    let hits: Vec<ChunkId> =
        (0..1 << 16).filter_map(|n| ids.get(n * 7919 % ids.len()).copied()).collect();
    group.throughput(Throughput::Elements(1));
    for (name, wanted) in [("hit", &hits), ("miss", &misses)] {
        let mut wanted = wanted.iter().cycle();
        group.bench_function(BenchmarkId::new("find", name), |bencher| {
            bencher.iter(|| wanted.next().and_then(|id| tables.find(black_box(id))));
        });
    }
    group.finish();
}
