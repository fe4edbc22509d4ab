//! Two sample images that look like guest disks: half hole, the rest pages of text, of records, and of noise.
//!
//! Deterministic: the same bytes on every machine. A system that both have lies at different places in them, moved by whole
//! pages as file systems do.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What they are called.
pub(super) const NAMES: [&str; 2] = ["web.img", "db.img"];
/// Length of each in bytes.
pub(super) const LEN: u64 = 512 << 20;
/// Bytes of data in each.
pub(super) const DATA_BYTES: u64 = (SYSTEM_PAGES + OWN_PAGES + 1) * PAGE;

const PAGE: u64 = 4096;
/// Pages that both images have.
const SYSTEM_PAGES: u64 = (96 << 20) / PAGE;
/// Pages of its own in each.
const OWN_PAGES: u64 = (112 << 20) / PAGE;
/// Pages of its own that the second night adds.
const NEW_PAGES: u64 = (4 << 20) / PAGE;
/// One in so many pages of its own changes until the second night.
const CHANGE: u64 = 50;
/// Where the system begins: behind a start that only one image has.
const SYSTEM_START: (u64, u64) = (256, 261);
/// Where its own data begins, far behind the system.
const OWN_START: u64 = (256 << 20) / PAGE;
/// Pages after which the kind of content changes: like files of 1 MiB.
const RUN_PAGES: u64 = 256;
/// Pages written at a time.
const BATCH: u64 = 256;

/// Makes image `number`.
pub(super) fn make(path: &Path, number: u64) -> io::Result<()> {
    let file = File::create_new(path)?;
    file.set_len(LEN)?;
    write_pages(&file, 0, 1, 10 + number)?;
    let start = if number == 0 { SYSTEM_START.0 } else { SYSTEM_START.1 };
    write_pages(&file, start, SYSTEM_PAGES, 1)?;
    write_pages(&file, OWN_START, OWN_PAGES, 20 + number)
}

/// What a day does to image `number`: pages here and there, and new data behind the old.
pub(super) fn change(path: &Path, number: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let mut page = vec![0; PAGE as usize];
    for place in (0..OWN_PAGES).filter(|place| mix(*place, 30 + number).is_multiple_of(CHANGE)) {
        fill(&mut page, place, 40 + number);
        file.write_all_at(&page, (OWN_START + place) * PAGE)?;
    }
    write_pages(&file, OWN_START + OWN_PAGES, NEW_PAGES, 50 + number)
}

/// Writes `count` pages of the content `seed` from page `start` on.
fn write_pages(file: &File, start: u64, count: u64, seed: u64) -> io::Result<()> {
    let mut buffer = vec![0; (BATCH * PAGE) as usize];
    for first in (0..count).step_by(BATCH as usize) {
        let pages = BATCH.min(count - first);
        let batch = buffer.chunks_exact_mut(PAGE as usize).take(pages as usize);
        for (page, place) in batch.zip(first..) {
            fill(page, place, seed);
        }
        let bytes = buffer.get(..(pages * PAGE) as usize).unwrap_or_default();
        file.write_all_at(bytes, (start + first) * PAGE)?;
    }
    Ok(())
}

/// Fills one page. What kind of content it is stays the same for a run of pages.
fn fill(page: &mut [u8], place: u64, seed: u64) {
    let mut state = mix(place, seed);
    match mix(place / RUN_PAGES, seed ^ 0xf11e) % 8 {
        0 => noise(page, &mut state),
        1 | 2 => records(page, place, &mut state),
        _ => text(page, &mut state),
    }
}

/// Like a photograph or an archive: does not compress.
fn noise(page: &mut [u8], state: &mut u64) {
    for bytes in page.chunks_exact_mut(8) {
        bytes.copy_from_slice(&next(state).to_le_bytes());
    }
}

/// Like a table or a program: fields that are mostly alike.
fn records(page: &mut [u8], place: u64, state: &mut u64) {
    for (number, record) in page.chunks_exact_mut(32).enumerate() {
        let (head, tail) = record.split_at_mut(16);
        let key = place * 128 + number as u64;
        head.copy_from_slice(&u128::from(key << 16 | 0x1f).to_le_bytes());
        let value = u128::from(next(state)) & 0xffff_ffff_ffff_ff00;
        tail.copy_from_slice(&value.to_le_bytes());
    }
}

/// Like a log.
fn text(page: &mut [u8], state: &mut u64) {
    const WORDS: [&[u8]; 16] = [
        b"INFO ",
        b"WARN ",
        b"GET /",
        b"index",
        b".html ",
        b"200 ",
        b"404 ",
        b"user=",
        b"session ",
        b"opened",
        b"closed\n",
        b"10.0.0.",
        b"timeout ",
        b"kernel: ",
        b"systemd[1]: ",
        b"cron ",
    ];
    let mut rest = page;
    while !rest.is_empty() {
        let random = next(state);
        let digits = (random >> 8) % 100_000_000;
        let word = WORDS.get((random % 16) as usize).copied().unwrap_or_default();
        let number = format!("{digits:08} ");
        let part: &[u8] = if random & 0x70 == 0 { number.as_bytes() } else { word };
        let len = part.len().min(rest.len());
        let (now, later) = rest.split_at_mut(len);
        now.copy_from_slice(part.get(..len).unwrap_or_default());
        rest = later;
    }
}

/// The next number of a sequence (xorshift64*); the state is never zero.
fn next(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// A number that looks random and depends on both (splitmix64); never zero.
fn mix(place: u64, seed: u64) -> u64 {
    let mut z = place.wrapping_add(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) | 1
}
