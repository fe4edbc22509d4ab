//! The local index against a map: sessions of random packs, merged as they come, in files and in memory.

use std::collections::{HashMap, HashSet};

use garret_format::index::COPIES_MAX;
use garret_format::pack::{EFFORT_MAX, Footer, FooterGroup, PackKind};
use garret_format::{ChunkId, PackId, RepositoryId, SegmentId};
use garret_random::Random;

use super::*;

const REPOSITORY: RepositoryId = RepositoryId::from_bytes([7; 32]);
const KEY: Option<&[u8; 32]> = Some(&[8; 32]);

fn id(random: &mut Random) -> [u8; 32] {
    random.bytes(32).try_into().unwrap()
}

/// Ids as hashes make them, or as somebody who wants the index to be slow or wrong would.
fn chunk(random: &mut Random, hostile: bool) -> ChunkId {
    let mut id = id(random);
    match (hostile, random.below(4)) {
        (false, _) | (_, 3) => {}
        (_, 0) => id[..8].fill(0x55),
        (_, 1) => id[..31].fill(0xff),
        _ => id[1..].fill(0),
    }
    ChunkId::from_bytes(id)
}

/// A pack of random chunks, some of which `known` has already.
fn pack(random: &mut Random, hostile: bool, known: &[ChunkId]) -> (PackRow, Footer) {
    let mut footer = Footer::default();
    for _ in 0..1 + random.below(4) {
        let mut chunks = Vec::new();
        for _ in 0..1 + random.below(60) {
            let again = !known.is_empty() && random.below(8) == 0;
            let id = match again {
                true => known[random.below(known.len())],
                false => chunk(random, hostile),
            };
            chunks.push((id, 1 + random.below(4000) as u32));
        }
        let effort = random.below(usize::from(EFFORT_MAX)) as u8;
        let body_len = 1000 + random.below(9000) as u32;
        footer.groups.push(FooterGroup { body_len, effort, chunks });
    }
    let row = PackRow {
        id: PackId::from_bytes(id(random)),
        salt: [1; 16],
        len: 1 << 20,
        kind: PackKind::Data,
    };
    (row, footer)
}

fn with(segments: Vec<Arc<Segment>>, cache: Cache) -> Index {
    let (cache, damaged) = (Arc::new(cache), Arc::default());
    let condemned = Arc::default();
    Index {
        segments,
        cache,
        repository: REPOSITORY,
        damaged,
        condemned,
        is_whole: true,
        lacks_cold: false,
    }
}

/// Everywhere a chunk was put: pack, group offset, offset in the group, length.
type Model = HashMap<ChunkId, Vec<(PackId, u32, u32, u32)>>;

fn note(model: &mut Model, row: &PackRow, footer: &Footer) {
    for (group, chunks) in crate::objects::pack::listed(footer) {
        let mut at = 0;
        for (id, len) in chunks {
            model.entry(*id).or_default().push((row.id, group.offset, at, *len));
            at += len;
        }
    }
}

fn agree(index: &Index, model: &Model, random: &mut Random, hostile: bool, when: &str) {
    for (id, places) in model {
        let found = index.find(id).unwrap_or_else(|| panic!("{when}: {id} is not found"));
        let place = (found.pack.id, found.group.offset, found.offset, found.len);
        assert!(places.contains(&place), "{when}: {id} is at {places:?}, not {place:?}");
        assert!(index.contains(id));
        let copies: HashSet<_> = index
            .copies(id)
            .map(|copy| (copy.pack.id, copy.group.offset, copy.offset, copy.len))
            .collect();
        assert!(copies.iter().all(|copy| places.contains(copy)), "{when}: {id}");
        let groups: HashSet<_> = places.iter().map(|(pack, group, ..)| (pack, group)).collect();
        let least = groups.len().min(COPIES_MAX);
        assert!(copies.len() >= least, "{when}: {} of {groups:?}", copies.len());
        let (segment, record) = found.record;
        let tables = index.tables().nth(segment).unwrap();
        assert_eq!(tables.record(record).unwrap().id, *id, "{when}");
    }
    for _ in 0..200 {
        let id = chunk(random, hostile);
        assert_eq!(index.find(&id).is_some(), model.contains_key(&id), "{when}: {id}");
    }
}

#[test]
fn the_index_agrees_with_a_map_through_sessions_merges_and_reopening() {
    for seed in 0..24 {
        let (hostile, in_files) = (seed % 2 == 1, seed % 3 == 0);
        let dir = tempfile::tempdir().unwrap();
        let cache = || match in_files {
            true => Cache::in_directory(dir.path(), REPOSITORY, KEY),
            false => Cache::in_memory(),
        };
        let mut random = Random::new(seed);
        let mut index = with(Vec::new(), cache());
        let (mut model, mut known) = (Model::new(), Vec::new());
        for session in 0..30 {
            let mut rows = Rows::default();
            for _ in 0..1 + random.below(3) {
                let (row, footer) = pack(&mut random, hostile, &known);
                note(&mut model, &row, &footer);
                rows.push(row, &footer);
            }
            known = model.keys().copied().collect();
            known.sort_unstable();
            let source = (random.below(6) > 0).then(|| SegmentId::from_bytes(id(&mut random)));
            index.add(rows, source).unwrap();
            let when = format!("seed {seed}, session {session}");
            let merged =
                index.segments.iter().filter(|segment| !segment.sources.is_empty()).count();
            assert!(merged <= LOCAL_SEGMENTS_MAX, "{when}: {merged} segments");
            if in_files && random.below(5) == 0 {
                drop(index);
                let segments = cache().load(REPOSITORY).into_iter().map(Arc::new).collect();
                index = with(segments, cache());
            }
            if session % 6 == 5 {
                agree(&index, &model, &mut random, hostile, &when);
            }
        }
        let sources: usize = index.segments.iter().map(|segment| segment.sources.len()).sum();
        let unstored = index.take_unstored().unwrap().len();
        assert_eq!(sources + unstored, 30, "seed {seed}: no session is forgotten or told twice");
    }
}

#[test]
fn rows_of_packs_that_are_gone_are_left_out_and_the_others_stay() {
    for seed in 0..50 {
        let mut random = Random::new(seed);
        let mut rows = Rows::default();
        let mut packs = Vec::new();
        for _ in 0..6 {
            let (row, footer) = pack(&mut random, seed % 2 == 1, &[]);
            rows.push(row, &footer);
            packs.push((row, footer));
        }
        packs.retain(|_| random.below(2) == 0);
        let mut model = Model::new();
        packs.iter().for_each(|(row, footer)| note(&mut model, row, footer));
        let keep: HashSet<PackId> = packs.iter().map(|(row, _)| row.id).collect();
        let kept = rows.sorted().keep_packs(|pack| keep.contains(&pack.id));
        let tables = kept.encode();
        garret_format::index::Tables::decode(&tables, 1 << 20).unwrap();
        let mut index = Index::empty(REPOSITORY);
        index.add(kept.clone(), None).unwrap();
        // A hostile id may be in a lost pack as well, and listed there only: what is found must be right.
        for (id, places) in &model {
            if let Some(found) = index.find(id) {
                let place = (found.pack.id, found.group.offset, found.offset, found.len);
                assert!(places.contains(&place), "seed {seed}");
            } else {
                assert!(seed % 2 == 1, "seed {seed}: {id} is not found");
            }
        }
        assert_eq!(kept.packs.len(), keep.len());
    }
}

#[test]
fn segments_of_one_chunk_and_of_none_work() {
    for count in 0..5 {
        let mut rows = Rows::default();
        let chunks: Vec<_> = (0..count).map(|n| (ChunkId::from_bytes([n; 32]), 5)).collect();
        let footer = match chunks.is_empty() {
            true => Footer::default(),
            false => Footer { groups: vec![FooterGroup { body_len: 100, effort: 0, chunks }] },
        };
        let row = PackRow {
            id: PackId::from_bytes([9; 32]),
            salt: [0; 16],
            len: 5000,
            kind: PackKind::Data,
        };
        rows.push(row, &footer);
        let mut index = Index::empty(REPOSITORY);
        index.add(rows, None).unwrap();
        for n in 0..5 {
            assert_eq!(index.contains(&ChunkId::from_bytes([n; 32])), n < count, "{count}");
        }
    }
}

#[test]
fn a_copy_in_files_is_used_by_one_process_and_damage_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (row, footer) = pack(&mut Random::new(1), false, &[]);
    let mut rows = Rows::default();
    rows.push(row, &footer);
    let cache = Cache::in_directory(dir.path(), REPOSITORY, KEY);
    let mut index = with(Vec::new(), cache);
    index.add(rows, Some(SegmentId::from_bytes([3; 32]))).unwrap();
    let name = index.segments[0].name.clone().unwrap();
    let directory = dir.path().join(REPOSITORY.to_string());
    assert!(Cache::in_directory(dir.path(), REPOSITORY, KEY).load(REPOSITORY).is_empty());
    drop(index);
    let load = |key| Cache::in_directory(dir.path(), REPOSITORY, key).load(REPOSITORY).len();
    assert_eq!(load(KEY), 1);
    let bytes = std::fs::read(directory.join(&name)).unwrap();
    let mut altered = bytes.clone();
    altered[bytes.len() / 2] ^= 1;
    let plain = format!("{}.index", blake3::hash(&altered));
    for (name, bytes) in [(&name, &altered), (&plain, &altered), (&plain, &bytes)] {
        std::fs::write(directory.join(name), bytes).unwrap();
        assert!(load(KEY) <= usize::from(directory.join(name).exists()), "{name}");
        assert!(!directory.join(name).exists(), "{name}");
    }
    std::fs::write(directory.join(&name), &bytes).unwrap();
    assert_eq!(load(KEY), 1);
    for other in [None, Some(&[9; 32])] {
        std::fs::write(directory.join(&name), &bytes).unwrap();
        assert_eq!(load(other), 0, "made with another key");
    }
}

/// The note that spares looking chunks up stands for one job, one archive and packs that are all still there, or for nothing.
#[test]
fn a_note_of_completeness_holds_while_no_pack_is_lost_and_no_byte_of_it_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(5);
    let cache = || Cache::in_directory(dir.path(), REPOSITORY, KEY);
    let index = |packs: &[(PackRow, Footer)]| {
        let mut rows = Rows::default();
        packs.iter().for_each(|(pack, footer)| rows.push(*pack, footer));
        let mut index = with(Vec::new(), cache());
        index.forget();
        index.add(rows, Some(SegmentId::from_bytes([1; 32]))).unwrap();
        index
    };
    let packs: Vec<_> = (0..5).map(|_| pack(&mut random, false, &[])).collect();
    let (job, other) = ([1; 32], [2; 32]);
    index(&packs[..4]).note_complete(&job, "night/1", &[3; 32]);
    let names = ["night/0", "night/1"].map(str::to_owned);
    assert_eq!(index(&packs[..1]).noted(&job, &names), Some((&names[1], [3; 32])));
    assert_eq!(index(&packs[..1]).noted(&job, &names[..1]), None, "it was removed");
    assert_eq!(index(&packs[..1]).noted(&other, &names), None);
    assert!(index(&packs[..4]).is_complete(&job, &[3; 32]));
    assert!(index(&packs).is_complete(&job, &[3; 32]), "more packs are no harm");
    assert!(!index(&packs[1..]).is_complete(&job, &[3; 32]), "a pack is lost");
    assert!(!index(&packs[..4]).is_complete(&job, &[4; 32]), "of another archive");
    assert!(!index(&packs[..4]).is_complete(&other, &[3; 32]), "of another job");
    let found = std::fs::read_dir(dir.path().join(REPOSITORY.to_string())).unwrap();
    let paths = found.map(|entry| entry.unwrap().path());
    let note = paths.into_iter().find(|path| path.extension().is_some_and(|e| e == "last"));
    let (note, index) = (note.unwrap(), index(&packs[..4]));
    let bytes = std::fs::read(&note).unwrap();
    for place in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[place] ^= 1;
        std::fs::write(&note, &bytes).unwrap();
        assert!(!index.is_complete(&job, &[3; 32]), "byte {place}");
    }
    for len in 0..bytes.len() {
        std::fs::write(&note, &bytes[..len]).unwrap();
        assert!(!index.is_complete(&job, &[3; 32]), "{len} bytes");
    }
    std::fs::write(&note, &bytes).unwrap();
    assert!(index.is_complete(&job, &[3; 32]));
}

/// A directory with one segment in it, and where that lies.
fn one_segment() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (row, footer) = pack(&mut Random::new(1), false, &[]);
    let mut rows = Rows::default();
    rows.push(row, &footer);
    let mut index = with(Vec::new(), Cache::in_directory(dir.path(), REPOSITORY, KEY));
    index.add(rows, Some(SegmentId::from_bytes([3; 32]))).unwrap();
    let name = index.segments[0].name.clone().unwrap();
    let path = dir.path().join(REPOSITORY.to_string()).join(name);
    (dir, path)
}

/// Whoever can write there, or carries the file system, makes up names without end.
#[test]
fn a_copy_among_more_names_than_any_has_is_not_used() {
    let (dir, path) = one_segment();
    let load = || Cache::in_directory(dir.path(), REPOSITORY, KEY).load(REPOSITORY).len();
    assert_eq!(load(), 1);
    for number in 0..cache::NAMES_MAX {
        std::fs::File::create(path.with_file_name(number.to_string())).unwrap();
    }
    assert_eq!(load(), 0);
}

/// Who cuts it while it is mapped ends the program.
#[test]
fn a_copy_that_others_can_write_to_is_not_mapped() {
    use std::os::unix::fs::PermissionsExt;
    for (mode, count) in [(0o600, 1), (0o644, 1), (0o620, 0), (0o602, 0)] {
        let (dir, path) = one_segment();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        let loaded = Cache::in_directory(dir.path(), REPOSITORY, KEY).load(REPOSITORY).len();
        assert_eq!(loaded, count, "{mode:o}");
    }
}
