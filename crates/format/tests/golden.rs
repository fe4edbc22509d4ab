//! The examples of docs/format.md, held to the code: each is what the encoder gives for its sample,
//! and decodes to the sample.
//!
//! In: the fenced blocks of the page whose info string is `hex NAME`; the samples of
//! `common/samples.rs`. To print the blocks anew after a change of a sample or of the format, run
//! `cargo test -p garret-format --test golden`: what fails prints the block as it should be.

#![allow(clippy::unwrap_used, reason = "test code, but outside of test functions")]

mod common;

use std::collections::BTreeMap;

use common::samples;

const PAGE: &str = include_str!("../../../docs/format.md");

/// The objects that the page describes, in its order, by the headings of their sections. The module
/// documentation of the crate refers to them.
const OBJECTS: [&str; 14] = [
    "config",
    "Key slot",
    "Keys",
    "Pack",
    "Frame header",
    "Group body",
    "Footer",
    "Trailer",
    "Index segment",
    "Local index",
    "Recipe",
    "Item",
    "Layout",
    "Archive",
];

/// A fenced block: the heading it stands under, its name, its text.
struct Block {
    heading: String,
    name: String,
    text: String,
}

fn headings() -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut fenced = false;
    let lines = PAGE.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line))
    });
    let starts: Vec<usize> = lines
        .filter(|(_, line)| {
            fenced ^= line.starts_with("```");
            !fenced && line.starts_with('#')
        })
        .map(|(start, _)| start)
        .collect();
    let ends: Vec<usize> = starts.iter().copied().skip(1).chain([PAGE.len()]).collect();
    starts.into_iter().zip(ends).map(|(start, end)| {
        let section = &PAGE[start..end];
        let (heading, text) = section.split_once('\n').unwrap_or((section, ""));
        (heading.trim_start_matches('#').trim(), text)
    })
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    for (heading, text) in headings() {
        for part in text.split("```hex ").skip(1) {
            let (block, _) = part.split_once("```").unwrap();
            let (name, text) = block.split_once('\n').unwrap();
            blocks.push(Block {
                heading: heading.to_owned(),
                name: name.to_owned(),
                text: text.to_owned(),
            });
        }
    }
    blocks
}

fn parse_hex(text: &str) -> Vec<u8> {
    let codes = text.lines().flat_map(|line| line.split('#').next().unwrap().split_whitespace());
    codes.map(|code| u8::from_str_radix(code, 16).unwrap()).collect()
}

#[test]
fn every_example_is_what_the_encoder_gives_and_decodes_to_its_sample() {
    let blocks: BTreeMap<String, String> =
        blocks().into_iter().map(|block| (block.name, block.text)).collect();
    let mut wrong = String::new();
    for sample in samples::all() {
        let expected = sample.block();
        match blocks.get(sample.name) {
            Some(text) if *text == expected => {
                let bytes = parse_hex(text);
                assert_eq!(bytes, sample.bytes, "{}", sample.name);
                (sample.check)(&bytes);
            }
            _ => wrong += &format!("```hex {}\n{expected}```\n\n", sample.name),
        }
    }
    assert!(wrong.is_empty(), "docs/format.md should have:\n\n{wrong}");
}

#[test]
fn every_example_of_the_page_has_one_sample() {
    let names: Vec<&str> = samples::all().iter().map(|sample| sample.name).collect();
    let shown: Vec<String> = blocks().into_iter().map(|block| block.name).collect();
    assert_eq!(shown, names, "examples of the page, and samples, in order");
}

#[test]
fn every_object_has_its_section_and_every_section_with_a_byte_table_its_example() {
    let with_example: Vec<String> = blocks().into_iter().map(|block| block.heading).collect();
    let mut objects = Vec::new();
    for (heading, text) in headings() {
        let has_table = text.contains("| offset |");
        let has_example = with_example.iter().any(|with| with == heading);
        assert!(!has_table || has_example, "section {heading:?} lacks an example");
        if OBJECTS.contains(&heading) {
            assert!(has_example, "section {heading:?} lacks an example");
            objects.push(heading);
        }
    }
    assert_eq!(objects, OBJECTS, "sections of the page, in order");
}
