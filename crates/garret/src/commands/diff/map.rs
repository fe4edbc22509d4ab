//! `garret diff --map`: where on each disk something changed, from one archive to another and on the nights between.
//!
//! In: two archives and the images that are meant. Out: for each image a line for each archive of the same host that holds
//! it, against the one before, and one for all of it. Reads lists, recipes and layouts, no contents.

use std::collections::BTreeMap;

use garret_cli::failure::Failure;
use garret_cli::render;
use garret_cli::terminal::columns;
use garret_cli::ui::Ui;
use garret_core::{History, Item, NamedArchive, Repository, Selection};

use crate::archives;
use crate::report::gather::is_image;
use crate::report::map::{Changes, LEGEND, Map, Row};

/// Columns of a terminal, where none is.
const COLUMNS: usize = 80;
/// Columns in front of a line of blocks, and the fewest behind.
const LABEL: usize = 24;
const BLOCKS_MIN: usize = 16;

/// An image on its way through the archives.
#[derive(Default)]
struct Image {
    nights: Map,
    /// From the first archive to the last, with nothing between.
    whole: Map,
    first: Option<Item>,
    last: Option<Item>,
}

/// Prints the maps.
pub(super) fn show(
    repository: &Repository,
    (from, to): (&NamedArchive, &NamedArchive),
    selection: &mut Selection,
    ui: &Ui,
) -> Result<(), Failure> {
    let mut images: BTreeMap<Vec<u8>, Image> = BTreeMap::new();
    repository.visit_items(to, selection, |item| {
        if is_image(&item) {
            images.insert(item.path, Image::default());
        }
        Ok::<(), Failure>(())
    })?;
    let chain = chain(repository, from, to, ui)?;
    let history = repository.history(ui)?;
    for (number, archive) in chain.iter().enumerate() {
        for item in repository.items(archive) {
            let item = item?;
            if let Some(image) = images.get_mut(&item.path).filter(|_| is_image(&item)) {
                image.take(&history, number, number + 1 == chain.len(), item)?;
            }
        }
    }
    repository.tell(ui);
    if images.is_empty() {
        return ui.print("no disk image among what is compared\n");
    }
    let width = width().saturating_sub(LABEL).max(BLOCKS_MIN);
    let text = images.iter().map(|(path, image)| image.text(path, &chain, width));
    ui.print(&format!("{}{LEGEND}\n", text.collect::<String>()))
}

/// The two archives, and those of the same host between them, the oldest first.
fn chain(
    repository: &Repository,
    from: &NamedArchive,
    to: &NamedArchive,
    ui: &Ui,
) -> Result<Vec<NamedArchive>, Failure> {
    let mut between = archives::oldest_first(repository, ui)?;
    between.retain(|found| {
        let (body, is_end) = (&found.archive, found.name == from.name || found.name == to.name);
        !is_end
            && body.host == to.archive.host
            && (from.archive.end..to.archive.end).contains(&body.end)
    });
    Ok([vec![from.clone()], between, vec![to.clone()]].concat())
}

/// Columns of the terminal that is printed to.
fn width() -> usize {
    columns(std::io::stdout()).unwrap_or(COLUMNS)
}

impl Image {
    /// Takes it as it is in the archive of that number in the chain; `is_end` says whether that is the last.
    fn take(
        &mut self,
        history: &History,
        number: usize,
        is_end: bool,
        item: Item,
    ) -> Result<(), Failure> {
        add(&mut self.nights, history, number, self.last.as_ref(), &item)?;
        if number == 0 {
            self.whole = self.nights.clone();
            self.first = Some(item.clone());
        } else if is_end && self.first.is_some() {
            add(&mut self.whole, history, number, self.first.as_ref(), &item)?;
        }
        self.last = Some(item);
        Ok(())
    }

    fn text(&self, path: &[u8], chain: &[NamedArchive], width: usize) -> String {
        let mut text = format!("{}: {}\n", render::name(path), render::size(self.nights.len()));
        // What there was before is what is compared with.
        let shown: Vec<&Row> = self.nights.rows.iter().filter(|row| row.night > 0).collect();
        for row in &shown {
            let end = chain.get(row.night).map(|found| render::iso_time(found.archive.end));
            let minute: String = end.unwrap_or_default().chars().skip(5).take(11).collect();
            text += &line(&minute.replace('T', " "), &self.nights, row, width);
        }
        if let (Some(row), true) = (self.whole.rows.back(), shown.len() > 1 && self.first.is_some())
        {
            text += &line("all", &self.whole, row, width);
        }
        text
    }
}

/// Adds what changed from one night to the next.
fn add(
    map: &mut Map,
    history: &History,
    number: usize,
    from: Option<&Item>,
    to: &Item,
) -> Result<(), Failure> {
    let mut changes = Changes::default();
    let len = history.changes(from, to, &mut |stretch| changes.take(stretch))?;
    map.add(number, len, &changes);
    Ok(())
}

/// `11-26 02:30  131.14 MB ..blocks..`
fn line(label: &str, map: &Map, row: &Row, width: usize) -> String {
    let changed = render::size(row.changed);
    format!("{label:<11} {changed:>11} {}\n", map.line(row, width))
}
