//! A block map: of one image, which parts of the disk changed from each night to the next.
//!
//! In: stretches that differ, in order. Out: a row for each night, in cells of one length, and a line of it for a terminal.
//! Promises: at most [`CELLS_MAX`] cells in a row and [`ROWS_MAX`] rows, however long the disk and however many nights; a
//! disk that grows makes cells longer, by twice at a time, in all rows.

use std::collections::VecDeque;
use std::ops::Range;

use garret_core::{Held, Stretch};

/// Most cells of a row.
pub(crate) const CELLS_MAX: usize = 256;
/// Most rows: the newest stay.
pub(crate) const ROWS_MAX: usize = 40;
/// Shortest cell, about one chunk.
const CELL_LEN_MIN: u64 = 64 << 10;

/// A part of a disk on one night, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    /// What is not what it was the night before.
    pub(crate) changed: u64,
    /// What is not zeros.
    pub(crate) data: u64,
}

/// A disk on one night.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Which of the report's nights.
    pub(crate) night: usize,
    /// Bytes of the disk.
    pub(crate) len: u64,
    /// Bytes that are not what they were.
    pub(crate) changed: u64,
    /// Whether there was no night before to compare with.
    pub(crate) is_first: bool,
    /// Its parts.
    pub(crate) cells: Vec<Cell>,
}

/// A disk on one night after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    /// Bytes of each cell; the last one of a row may be cut by the end of the disk.
    pub(crate) cell_len: u64,
    /// The oldest first.
    pub(crate) rows: VecDeque<Row>,
}

impl Default for Map {
    fn default() -> Self {
        Map { cell_len: CELL_LEN_MIN, rows: VecDeque::new() }
    }
}

impl Map {
    /// Adds the row of a night on which the disk had `len` bytes, and these stretches were not as before.
    pub(crate) fn add(&mut self, night: usize, len: u64, changes: &Changes) {
        while self.cell_len < changes.cell_len || len.div_ceil(self.cell_len) > CELLS_MAX as u64 {
            self.cell_len = self.cell_len.saturating_mul(2);
            self.rows.iter_mut().for_each(|row| row.cells = halved(&row.cells));
        }
        let mut cells = changes.cells.clone();
        let mut cell_len = changes.cell_len;
        while cell_len < self.cell_len {
            cells = halved(&cells);
            cell_len = cell_len.saturating_mul(2);
        }
        cells.resize(len.div_ceil(self.cell_len) as usize, Change::default());
        let before = self.rows.back().map_or(&[][..], |row| &row.cells);
        let old = before.iter().map(|cell| cell.data).chain(std::iter::repeat(0));
        let cell = |(change, old): (&Change, u64)| Cell {
            changed: change.changed,
            data: old.saturating_sub(change.gone).saturating_add(change.come),
        };
        let row = Row {
            night,
            len,
            changed: changes.changed,
            is_first: self.rows.is_empty(),
            cells: cells.iter().zip(old).map(cell).collect(),
        };
        self.rows.push_back(row);
        if self.rows.len() > ROWS_MAX {
            self.rows.pop_front();
        }
    }

    /// Cells of the longest row.
    pub(crate) fn width(&self) -> usize {
        self.rows.iter().map(|row| row.cells.len()).max().unwrap_or(0)
    }

    /// Bytes of the longest disk.
    pub(crate) fn len(&self) -> u64 {
        self.rows.iter().map(|row| row.len).max().unwrap_or(0)
    }

    /// The cells of a row as characters, `width` at most for the longest row.
    pub(crate) fn line(&self, row: &Row, width: usize) -> String {
        // As many together as make the longest row fit.
        let together = self.width().div_ceil(width.max(1)).max(1);
        let cells = joined(&row.cells, together);
        let cell_len = self.cell_len.saturating_mul(together as u64);
        let spans = (0..).map(|number: u64| span(number, cell_len, row.len));
        cells.iter().zip(spans).map(|(cell, span)| level(cell, span).character()).collect()
    }
}

/// Bytes of a cell: all of them have one length but the last of a disk.
pub(crate) fn span(number: u64, cell_len: u64, len: u64) -> u64 {
    len.saturating_sub(number.saturating_mul(cell_len)).min(cell_len)
}

/// How a cell is shown: what is most to be seen is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Zeros, as before.
    Empty,
    /// Data, as before.
    Same,
    /// So much of it changed: 1 is a little, 4 is all.
    Changed(u8),
}

/// How a cell of so many bytes is shown.
pub(crate) fn level(cell: &Cell, span: u64) -> Level {
    let per_mille = u128::from(cell.changed) * 1000 / u128::from(span.max(1));
    match per_mille {
        _ if cell.changed == 0 && cell.data == 0 => Level::Empty,
        _ if cell.changed == 0 => Level::Same,
        0..=50 => Level::Changed(1),
        51..=250 => Level::Changed(2),
        251..=600 => Level::Changed(3),
        _ => Level::Changed(4),
    }
}

/// What the characters of a line mean.
pub(crate) const LEGEND: &str = "\u{2591}\u{2592}\u{2593}\u{2588} changed, a little to all   \
     \u{00b7} data, as before   _ zeros, as before";

impl Level {
    fn character(self) -> char {
        match self {
            Level::Empty => '_',
            Level::Same => '\u{00b7}',
            Level::Changed(1) => '\u{2591}',
            Level::Changed(2) => '\u{2592}',
            Level::Changed(3) => '\u{2593}',
            Level::Changed(_) => '\u{2588}',
        }
    }
}

/// What changed in a part of a disk, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Change {
    changed: u64,
    /// Data that is not there any more, or replaced.
    gone: u64,
    /// Data that was not there, or replaces other.
    come: u64,
}

/// What changed on a disk from one night to the next, taken stretch by stretch.
#[derive(Debug)]
pub(crate) struct Changes {
    cell_len: u64,
    cells: Vec<Change>,
    /// Bytes of all.
    changed: u64,
}

impl Default for Changes {
    fn default() -> Self {
        Changes { cell_len: CELL_LEN_MIN, cells: Vec::new(), changed: 0 }
    }
}

impl Changes {
    /// Takes a stretch. A hole that the disk grew or shrank by is no change.
    pub(crate) fn take(&mut self, stretch: Stretch) {
        let (is_gone, has_come) = (stretch.from == Held::Data, stretch.to == Held::Data);
        if !(is_gone || has_come) || stretch.range.is_empty() {
            return;
        }
        while stretch.range.end.div_ceil(self.cell_len) > CELLS_MAX as u64 {
            self.cells = halved(&self.cells);
            self.cell_len = self.cell_len.saturating_mul(2);
        }
        let Range { mut start, end } = stretch.range;
        while start < end {
            let number = start / self.cell_len;
            let next = end.min((number + 1).saturating_mul(self.cell_len));
            let len = next - start;
            let number = number as usize;
            if self.cells.len() <= number {
                self.cells.resize(number + 1, Change::default());
            }
            if let Some(cell) = self.cells.get_mut(number) {
                cell.changed = cell.changed.saturating_add(len);
                cell.gone = cell.gone.saturating_add(if is_gone { len } else { 0 });
                cell.come = cell.come.saturating_add(if has_come { len } else { 0 });
            }
            self.changed = self.changed.saturating_add(len);
            start = next;
        }
    }
}

/// Two that lie together as one.
trait Sum: Copy + Default {
    fn sum(self, other: Self) -> Self;
}

impl Sum for Cell {
    fn sum(self, other: Self) -> Self {
        Cell {
            changed: self.changed.saturating_add(other.changed),
            data: self.data.saturating_add(other.data),
        }
    }
}

impl Sum for Change {
    fn sum(self, other: Self) -> Self {
        Change {
            changed: self.changed.saturating_add(other.changed),
            gone: self.gone.saturating_add(other.gone),
            come: self.come.saturating_add(other.come),
        }
    }
}

/// Half as many, each twice as long.
fn halved<T: Sum>(cells: &[T]) -> Vec<T> {
    joined(cells, 2)
}

/// Each `count` that lie together as one; `count` is at least 1.
fn joined<T: Sum>(cells: &[T], count: usize) -> Vec<T> {
    let join = |part: &[T]| part.iter().copied().fold(T::default(), T::sum);
    cells.chunks(count).map(join).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: u64 = CELL_LEN_MIN;

    fn night(map: &mut Map, len: u64, stretches: &[(Range<u64>, Held, Held)]) {
        let mut changes = Changes::default();
        for (range, from, to) in stretches.iter().cloned() {
            changes.take(Stretch { range, from, to });
        }
        map.add(map.rows.len(), len, &changes);
    }

    #[test]
    fn a_row_shows_what_changed_what_stayed_and_what_is_zero() {
        let mut map = Map::default();
        night(&mut map, 8 * CELL, &[(0..4 * CELL, Held::Nothing, Held::Data)]);
        let changes = [
            (0..CELL / 50, Held::Data, Held::Data),
            (CELL..2 * CELL, Held::Data, Held::Zeros),
            (5 * CELL..5 * CELL + CELL / 2, Held::Zeros, Held::Data),
        ];
        night(&mut map, 8 * CELL, &changes);
        night(&mut map, 8 * CELL, &[]);
        let lines: Vec<String> = map.rows.iter().map(|row| map.line(row, 80)).collect();
        assert_eq!(lines[0], "\u{2588}\u{2588}\u{2588}\u{2588}____");
        assert_eq!(lines[1], "\u{2591}\u{2588}\u{b7}\u{b7}_\u{2593}__");
        assert_eq!(lines[2], "\u{b7}_\u{b7}\u{b7}_\u{b7}__");
        assert_eq!(map.line(&map.rows[1], 4), "\u{2593}\u{b7}\u{2592}_");
        assert_eq!(map.line(&map.rows[1], 3), "\u{2593}\u{2592}_");
        assert_eq!(map.rows[1].changed, CELL / 50 + CELL + CELL / 2);
    }

    #[test]
    fn rows_and_cells_are_bounded_whatever_the_disk_and_a_grown_one_keeps_its_old_rows() {
        let mut map = Map::default();
        night(&mut map, 4 * CELL, &[(CELL..2 * CELL, Held::Nothing, Held::Data)]);
        let len = u64::MAX / 2;
        night(&mut map, len, &[(len - 10..len, Held::Nothing, Held::Data)]);
        assert!(map.width() <= CELLS_MAX && map.width() > CELLS_MAX / 4, "{}", map.width());
        assert_eq!(map.rows[0].cells, [Cell { changed: CELL, data: CELL }]);
        assert_eq!(map.rows[1].cells[0], Cell { changed: 0, data: CELL });
        for _ in 0..2 * ROWS_MAX {
            night(&mut map, len, &[]);
        }
        assert_eq!(map.rows.len(), ROWS_MAX);
        let of_data = |row: &Row| row.cells.iter().map(|cell| cell.data).sum::<u64>();
        assert_eq!(map.rows.back().map(of_data), Some(CELL + 10), "data stays where it is");
    }

    #[test]
    fn a_disk_that_shrinks_has_a_shorter_row() {
        let mut map = Map::default();
        night(&mut map, 4 * CELL, &[(0..4 * CELL, Held::Nothing, Held::Data)]);
        night(&mut map, 2 * CELL, &[(2 * CELL..4 * CELL, Held::Data, Held::Nothing)]);
        assert_eq!(map.line(&map.rows[1], 80), "\u{b7}\u{b7}");
        night(&mut map, 4 * CELL, &[(2 * CELL..4 * CELL, Held::Nothing, Held::Zeros)]);
        assert_eq!(map.line(&map.rows[2], 80), "\u{b7}\u{b7}__");
    }
}
