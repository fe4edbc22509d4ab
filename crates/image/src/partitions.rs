//! Where a disk's partitions are, and where they start if that is off the grid of pages.
//!
//! In: a source. Out: its partitions, see [`partitions`], and the places that pages are counted from, see
//! [`section_starts`]. Reads at most 8 KiB, 128 sectors of logical partitions and 1024 entries of a GPT; holds 64 KiB of it
//! at once.
//!
//! The tables are hostile. Like a wrong answer of [`detect`](crate::detect), one from here costs
//! deduplication, never a byte, so nothing here fails: what makes no sense is one section, and no partition.

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

/// The number of the first logical partition.
const LOGICAL_FIRST: u32 = 5;

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
    let found = partitions(disk);
    if found.iter().any(|partition| !partition.range.start.is_multiple_of(PAGE_BYTES)) {
        let bounds =
            found.iter().flat_map(|partition| [partition.range.start, partition.range.end]);
        starts.extend(bounds.filter(|&bound| bound < disk.len()));
        starts.sort_unstable();
        starts.dedup();
        starts.truncate(STARTS_MAX);
    }
    starts
}

/// A partition of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// As Linux counts them: those of a logical partition begin with 5, the others say the place in the table, from 1.
    pub number: u32,
    /// Where it is, in bytes. It starts below the length of the disk, and may end beyond.
    pub range: Range<u64>,
}

/// The partitions of a disk, in the order of its table; none if it has no table, or one that makes no sense.
pub fn partitions(disk: &dyn Source) -> Vec<Partition> {
    table(disk).unwrap_or_default()
}

fn table(disk: &dyn Source) -> Option<Vec<Partition>> {
    let bytes = read(disk, 0, disk.len().min(HEAD_BYTES))?;
    let head = Head::new(&bytes, disk.len());
    let entries = head.mbr()?;
    if entries.iter().any(|entry| entry.kind == 0xee) {
        // Without its GPT, the protective entry describes no partition.
        return gpt(disk, &head, head.gpt()?);
    }
    if head.boot_sector().is_some() {
        return None;
    }
    let mut found = Vec::new();
    let mut seen = Vec::new();
    for (number, entry) in (1..).zip(&entries) {
        // An extended partition holds no blocks itself, and the usual installer starts it two
        // sectors before a logical one that is on a page.
        if is_extended(entry) {
            logical(disk, entry, &mut seen, &mut found)?;
        } else if entry.kind != 0 {
            let range = range(entry.start, entry.sectors, SECTOR_BYTES, disk.len());
            found.extend(range.map(|range| Partition { number, range }));
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
    found: &mut Vec<Partition>,
) -> Option<()> {
    let end = extended.start + extended.sectors;
    let sectors = disk.len() / SECTOR_BYTES;
    let first = found.iter().map(|partition| partition.number).max().unwrap_or(0);
    let mut numbers = LOGICAL_FIRST.max(first.saturating_add(1))..;
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
            let range = range(at + partition.start, partition.sectors, SECTOR_BYTES, disk.len());
            // Also one that is not there has its number.
            let found_here = numbers.next().zip(range);
            found.extend(found_here.map(|(number, range)| Partition { number, range }));
        }
        next = used(true).map(|link| extended.start + link.start);
    }
    Some(())
}

/// The partitions of a GPT whose header is in `head`, behind the first sector.
fn gpt(disk: &dyn Source, head: &Head<'_>, header: usize) -> Option<Vec<Partition>> {
    let sector = header as u64;
    let start = head.le64(header + 72)?.checked_mul(sector)?;
    let count = u64::from(head.le32(header + 80)?).min(GPT_ENTRIES_MAX);
    let entry_len = head.le32(header + 84)?;
    // The specification: 128 times a power of two.
    if !(128..=4096).contains(&entry_len) || !entry_len.is_power_of_two() {
        return None;
    }
    let mut found = Vec::new();
    let mut rest = count * u64::from(entry_len);
    let (mut at, mut numbers) = (start, 1..);
    while rest > 0 {
        let bytes = read(disk, at, rest.min(GPT_BLOCK_BYTES))?;
        for entry in bytes.chunks_exact(usize::try_from(entry_len).ok()?) {
            let range = gpt_entry(&Head::new(entry, disk.len()), sector, disk.len());
            let found_here = numbers.next().zip(range);
            found.extend(found_here.map(|(number, range)| Partition { number, range }));
        }
        rest = rest.saturating_sub(GPT_BLOCK_BYTES);
        at = at.checked_add(GPT_BLOCK_BYTES)?;
    }
    Some(found)
}

fn gpt_entry(entry: &Head<'_>, sector: u64, len: u64) -> Option<Range<u64>> {
    let (first, last) = (entry.le64(32)?, entry.le64(40)?);
    let sectors = last.checked_sub(first)?.checked_add(1)?;
    let used = !entry.has(0, &[0; 16]);
    if used { range(first, sectors, sector, len) } else { None }
}

/// A partition in bytes, if it starts below the end of the disk at `len`. It may end beyond.
fn range(start: u64, sectors: u64, sector: u64, len: u64) -> Option<Range<u64>> {
    let end = start.checked_add(sectors)?.checked_mul(sector)?;
    let start = start.checked_mul(sector)?;
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
