//! Which seed goes into which corpus.
//!
//! In: the samples of docs/format.md, and what is written here. Out: paths below `fuzz/corpus`, and bytes.

use super::samples::Sample;

/// Descriptions of streams, see `cut.rs`: data with zeros on both sides of the limit; a hole; a
/// constant and a periodic stretch, keyed; a literal and a ragged end.
const STREAMS: [(&str, &[u8]); 4] = [
    ("zeros", &[0, 0, 30, 0, 0, 200, 1, 1, 59, 0, 0, 90, 2, 1, 63, 0, 0, 100, 3]),
    ("hole", &[1, 0, 9, 5, 0, 150, 1, 2, 255, 0, 0, 120, 2]),
    ("constant", &[3, 7, 17, 2, 3, 255, 255, 4, 255, 9, 1, 70, 0]),
    (
        "literal",
        &[14, 3, 0, 40, 5, 12, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 77, 8, 2, 99, 0],
    ),
];

/// Changes of repositories, see `hostile/making.rs` and the targets' own files: byte strings by number, then objects or
/// files.
/// And destinations: what is there, options, items.
/// And copies of an index: whether it has a key, changes.
const HOSTILE: [(&str, &[u8]); 20] = [
    ("open_repository/sound", &[0]),
    ("open_repository/sound-sealed", &[1]),
    ("open_repository/body", &[0, 1, 3, 0, 0, 60, 4, 1, 2, 3, 4]),
    ("open_repository/codec", &[0, 1, 4, 1, 0, 12, 1, 2]),
    ("open_repository/item", &[0, 1, 8, 1, 0, 60, 2, 255, 255]),
    ("open_repository/rows", &[0, 1, 32, 1, 0, 100, 4, 255, 255, 0, 0]),
    ("open_repository/archive", &[0, 1, 19, 1, 0, 70, 4, 255, 255, 255, 255]),
    ("open_repository/swapped", &[1, 0, 1, 4, 7, 2]),
    ("open_repository/added", &[1, 0, 1, 0, 7, 3, 0, 1, 4, 1, b'x']),
    ("open_directory/link", &[0, 0, 0, 6, 1, 2, 0, 0]),
    ("open_directory/pipe", &[0, 0, 0, 5, 1, 0, 0, 11]),
    ("open_directory/pipe-sealed", &[1, 0, 0, 5, 1, 0, 0, 11]),
    ("open_cache/sound", &[0]),
    ("open_cache/sealed", &[1, 1, 0, 0, 0, 60, 9]),
    ("open_cache/rows", &[0, 2, 0, 1, 0, 200, 4, 0, 1, 0, 250, 7, 1]),
    ("open_cache/cut-short", &[0, 1, 2, 1, 0, 90]),
    ("restore_into/sound", &[0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 3, 0, 0, 2, 0, 0, 0, 7, 0]),
    ("restore_into/hard-link", &[1, 0, 1, 0, 3, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 3, 0]),
    // The archive makes a link and then says that it was named.
    (
        "restore_into/own-link-directory",
        &[0, 0, 0, 0, 0, 1, 0, 3, 0, 0, 4, 0, 0, 0, 0, 0, 3, 2, 0, 2, 0, 0, 0, 3, 0],
    ),
    ("restore_into/own-link-file", &[0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 4, 1, 0, 0, 0, 0, 0, 2, 3, 0]),
];

/// Lives of repositories, see `repo_ops.rs`: what the client keeps, then four bytes for each step.
const LIVES: [(&str, &[u8]); 5] = [
    // Two archives, one of them removed with its space.
    ("nights", &[1, 0, 0, 0, 0, 0, 1, 1, 0, 2, 1, 1, 0, 3, 0, 0, 0, 0, 2, 2, 0]),
    // An archive whose commit is done and not answered, and one with a power cut in the middle; renamed.
    ("cut-short", &[0, 7, 12, 11, 0, 0, 0, 0, 0, 7, 9, 20, 1, 0, 1, 3, 0, 4, 0, 3, 0]),
    // A full disk for good, and the same session goes on; gc that fails once.
    (
        "full",
        &[1, 0, 0, 0, 0, 7, 3, 5, 0, 0, 1, 2, 0, 0, 1, 2, 0, 2, 1, 0, 0, 7, 9, 2, 0, 3, 0, 0, 0],
    ),
    // A bad line, asked again once and in vain.
    ("bad-line", &[0, 7, 5, 11, 0, 0, 0, 0, 0, 7, 0, 7, 0, 0, 1, 1, 0, 0, 1, 1, 0]),
    // A damaged pack, then the same content again.
    ("damage", &[1, 0, 0, 0, 0, 0, 1, 3, 0, 6, 77, 1, 9, 0, 2, 0, 0, 2, 1, 1, 0, 3, 0, 0, 0]),
];

/// What people write, see `words.rs` and `decode.rs`: a group of a paper behind its number, patterns and paths, locations and
/// templates.
const WORDS: [(&str, &[u8]); 12] = [
    ("read_paper/group", b"\x03 00000-00000"),
    ("read_paper/mistyped", b"\x00o1l?0 00000\r"),
    ("match_patterns/run", b"*.iso\0srv/images/a.iso"),
    ("match_patterns/set", b"srv/[!a-c-]?[]x]/\0srv/dx]/below"),
    ("match_patterns/lines", b"# none\r\n*/cache\r\n[open\0home/a/cache/\xff"),
    ("plan_prune/nights", &[0, 0, 1, 0, 0, 0, 0, 30, 0, 0, 1, 10, 0, 0, 1, 20, 1, 1, 1, 30, 2]),
    ("plan_prune/within", &[200, 2, 255, 1, 0, 3, 1, 2, 0, 0, 1, 0, 9, 1, 200, 200, 4]),
    ("read_words/archive", b"/srv/repo::a::b:c/d"),
    ("read_words/url", b"file:///srv/repo::{hostname}-{now:%Y-%m-%d}"),
    ("read_words/remote", b"user@host:repo::a"),
    ("read_words/template", b"{path:<40}{size:>12}{{}}{NL}"),
    ("read_words/interval", b"12w"),
];

/// Every seed.
pub fn all(samples: &[Sample]) -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for sample in samples {
        let bytes = &sample.bytes;
        let (target, bytes) = match sample.name {
            "config" => ("decode_config", bytes.clone()),
            "slot" => ("decode_slot", bytes.clone()),
            "pack" => ("decode_pack", bytes[..24].to_vec()),
            "frame" | "footer" | "trailer" => ("decode_pack", bytes.clone()),
            "body" => ("decode_pack", [&samples_frame(samples), bytes.as_slice()].concat()),
            "index" | "segment" => ("decode_index", bytes.clone()),
            "recipe-leaf" | "recipe-inner" => ("decode_recipe", bytes.clone()),
            "item" | "item-hard-link" | "item-device" => ("decode_archive", bytes[4..].to_vec()),
            "archive" => ("decode_archive", bytes.clone()),
            "damage" | "verified" | "condemned" | "tombstones" | "tags" => {
                ("decode_records", bytes.clone())
            }
            _ => continue,
        };
        seeds.push((format!("{target}/{}", sample.name), bytes));
    }
    for (name, bytes) in STREAMS {
        seeds.push((format!("cut_equals_reference/{name}"), bytes.to_vec()));
    }
    seeds.extend(HOSTILE.map(|(path, bytes)| (path.to_owned(), bytes.to_vec())));
    seeds.extend(WORDS.map(|(path, bytes)| (path.to_owned(), bytes.to_vec())));
    seeds.extend(LIVES.map(|(name, bytes)| (format!("repo_ops/{name}"), bytes.to_vec())));
    seeds
}

fn samples_frame(samples: &[Sample]) -> Vec<u8> {
    let frame = samples.iter().find(|sample| sample.name == "frame");
    frame.map(|sample| sample.bytes.clone()).unwrap_or_default()
}
