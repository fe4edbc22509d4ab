//! Where a disk's partitions start, if that is off the grid of pages.
//!
//! In: a source. Out: the places that pages are counted from, see [`section_starts`]. Reads at most
//! 8 KiB, 128 sectors of logical partitions and 1024 entries of a GPT; holds 64 KiB of it at once.
//!
//! The tables are hostile. Like a wrong answer of [`detect`](crate::detect), one from here costs
//! deduplication, never a byte, so nothing here fails: what makes no sense is one section.

use std::ops::Range;

use crate::detect::{Head, MbrEntry, SECTOR_BYTES};
use crate::{PAGE_BYTES, Source};

/// Reaches over the header of a GPT behind sectors of either size.
const HEAD_BYTES: u64 = 8 * 1024;

/// Sections of one disk; further ones belong to the last.
const STARTS_MAX: usize = 1024;

/// Logical partitions that are followed, empty links of their chain counted too.
const LOGICAL_MAX: usize = 128;

/// Entries of a GPT that are looked at, whatever it says; 128 are usual.
const GPT_ENTRIES_MAX: u64 = 1024;

/// What is read at once of them. A multiple of every valid size of an entry.
const GPT_BLOCK_BYTES: u64 = 64 * 1024;

/// Where a GPT is expected whose sectors have 512 bytes.
const GPT_HEADER: usize = 512;

/// Where a disk's sections start: the places that pages are counted from, in bytes.
///
/// Guests put their blocks on a grid that begins with the partition. Partitions of old tools start
/// at sector 63 or 34, and their blocks would lie across pages that are counted from the start of
/// the disk, differently than on other disks.
///
/// - Only the start of the disk if every partition starts on a page, or none was found.
/// - Else that, and the start and the end of every partition.
///
/// Ascending, without duplicates, 0 first, at most 1024, and below the length except that 0.
pub fn section_starts(disk: &dyn Source) -> Vec<u64> {
    let mut starts = vec![0];
    let found = partitions(disk).unwrap_or_default();
    if found.iter().any(|partition| !partition.start.is_multiple_of(PAGE_BYTES)) {
        let bounds = found.iter().flat_map(|partition| [partition.start, partition.end]);
        starts.extend(bounds.filter(|&bound| bound < disk.len()));
        starts.sort_unstable();
        starts.dedup();
        starts.truncate(STARTS_MAX);
    }
    starts
}

/// The partitions in bytes, starts below the length, or `None` for no table or an unreadable one.
fn partitions(disk: &dyn Source) -> Option<Vec<Range<u64>>> {
    let bytes = read(disk, 0, disk.len().min(HEAD_BYTES))?;
    let head = Head::new(&bytes, disk.len());
    let entries = head.mbr()?;
    if entries.iter().any(|entry| entry.kind == 0xee) {
        // Behind larger sectors everything is on a page. Without its GPT, the protective entry
        // describes no partition.
        return if head.gpt()? == GPT_HEADER { gpt(disk, &head) } else { None };
    }
    if head.boot_sector().is_some() {
        return None;
    }
    let mut found = Vec::new();
    let mut seen = Vec::new();
    for entry in &entries {
        // An extended partition holds no blocks itself, and the usual installer starts it two
        // sectors before a logical one that is on a page.
        if is_extended(entry) {
            logical(disk, entry, &mut seen, &mut found)?;
        } else if entry.kind != 0 {
            found.extend(range(entry.start, entry.sectors, disk.len()));
        }
    }
    Some(found)
}

fn is_extended(entry: &MbrEntry) -> bool {
    matches!(entry.kind, 0x05 | 0x0f | 0x85)
}

/// Follows the chain of `extended`. Each of its sectors is like an MBR: an entry for one partition,
/// counted from that sector, and a link to the next, counted from the start of `extended`.
///
/// Ends at what makes no sense, keeping what came before. `None` if a sector cannot be read.
fn logical(
    disk: &dyn Source,
    extended: &MbrEntry,
    seen: &mut Vec<u64>,
    found: &mut Vec<Range<u64>>,
) -> Option<()> {
    let end = extended.start + extended.sectors;
    let sectors = disk.len() / SECTOR_BYTES;
    let mut next = Some(extended.start);
    while let Some(at) = next.take() {
        if at >= end.min(sectors) || seen.len() >= LOGICAL_MAX || seen.contains(&at) {
            break;
        }
        seen.push(at);
        let bytes = read(disk, at * SECTOR_BYTES, SECTOR_BYTES)?;
        let head = Head::new(&bytes, disk.len());
        if !head.has(510, b"\x55\xaa") {
            break;
        }
        // In either order; the third and the fourth are known to hold garbage.
        let entries = [0, 1].map(|index| head.mbr_entry(index));
        let used = |link| {
            let wanted = |entry: &&MbrEntry| entry.kind != 0 && is_extended(entry) == link;
            entries.iter().flatten().find(wanted)
        };
        if let Some(partition) = used(false).filter(|partition| at + partition.start < end) {
            found.extend(range(at + partition.start, partition.sectors, disk.len()));
        }
        next = used(true).map(|link| extended.start + link.start);
    }
    Some(())
}

/// The partitions of a GPT whose header is in `head`.
fn gpt(disk: &dyn Source, head: &Head<'_>) -> Option<Vec<Range<u64>>> {
    let start = head.le64(GPT_HEADER + 72)?.checked_mul(SECTOR_BYTES)?;
    let count = u64::from(head.le32(GPT_HEADER + 80)?).min(GPT_ENTRIES_MAX);
    let entry_len = head.le32(GPT_HEADER + 84)?;
    // The specification: 128 times a power of two.
    if !(128..=4096).contains(&entry_len) || !entry_len.is_power_of_two() {
        return None;
    }
    let mut found = Vec::new();
    let mut rest = count * u64::from(entry_len);
    let mut at = start;
    while rest > 0 {
        let bytes = read(disk, at, rest.min(GPT_BLOCK_BYTES))?;
        for entry in bytes.chunks_exact(usize::try_from(entry_len).ok()?) {
            found.extend(gpt_entry(&Head::new(entry, disk.len()), disk.len()));
        }
        rest = rest.saturating_sub(GPT_BLOCK_BYTES);
        at = at.checked_add(GPT_BLOCK_BYTES)?;
    }
    Some(found)
}

fn gpt_entry(entry: &Head<'_>, len: u64) -> Option<Range<u64>> {
    let (first, last) = (entry.le64(32)?, entry.le64(40)?);
    let sectors = last.checked_sub(first)?.checked_add(1)?;
    let used = !entry.has(0, &[0; 16]);
    if used { range(first, sectors, len) } else { None }
}

/// A partition in bytes, if it starts below the end of the disk at `len`. It may end beyond.
fn range(start: u64, sectors: u64, len: u64) -> Option<Range<u64>> {
    let end = start.checked_add(sectors)?.checked_mul(SECTOR_BYTES)?;
    let start = start.checked_mul(SECTOR_BYTES)?;
    (start < len).then_some(start..end)
}

/// The `len` bytes from `offset` on, a few KiB; `None` if the disk ends before or cannot be read.
fn read(disk: &dyn Source, offset: u64, len: u64) -> Option<Vec<u8>> {
    if offset.checked_add(len)? > disk.len() {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    disk.read_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests;
