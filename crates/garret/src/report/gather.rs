//! Gathers what a report says.
//!
//! In: an open repository. Out: a [`Report`]. Promises: contents are not read; memory grows with the number of archives, and
//! for images is bounded: [`IMAGES_MAX`] of them, each with a map of bounded size. What cannot be read is told of and becomes
//! a problem of the report, and the rest is gathered.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_cli::render;
use garret_cli::ui::Ui;
use garret_core::{
    Added, Error, History, Item, ItemKind, KeepRules, NamedArchive, Phase, Progress, Repository,
    message, total_len,
};
use garret_format::archive::Time;
use garret_format::recipe::CutterKind;

use super::map::{Changes, Map};
use super::model::{Image, ImageNight, Night, Report};
use super::{calendar, lamp};

/// Images that are told apart.
const IMAGES_MAX: usize = 100;

/// What is wanted.
pub(crate) struct Wish<'a> {
    /// Where the repository is, as it was given.
    pub(crate) location: &'a Location,
    /// By what to prune; none shows no calendar.
    pub(crate) rules: Option<KeepRules>,
    /// With what the names of archives begin that are pruned.
    pub(crate) prefix: &'a str,
    /// Threads that do the work.
    pub(crate) threads: usize,
}

/// Gathers it.
pub(crate) fn gather(repository: &Repository, wish: Wish<'_>, ui: &Ui) -> Result<Report, Failure> {
    let mut problems = Problems { ui, texts: Vec::new() };
    let archives = readable(repository, &mut problems)?;
    let names: Vec<String> = archives.iter().map(|found| found.name.clone()).collect();
    let lacking = repository.lacking(&names, wish.threads, ui)?;
    for pack in repository.damaged_packs(ui) {
        let (id, day) = (pack.pack, render::date(pack.found.secs));
        problems.texts.push(format!("pack {id} is damaged since {day}: {}", pack.what));
    }
    let mut images = Images::default();
    let mut nights =
        walk(repository, &archives, &mut problems, &mut |history, host, night, item, added| {
            images.take(history, host, night, item, added)
        })?;
    for night in &mut nights {
        night.lacks = lacking.contains(&night.name);
    }
    images.mark_newest(&nights);
    let lack = nights.iter().filter(|night| night.lacks);
    problems.texts.extend(lack.map(|night| {
        format!("{}: something is lost of it (garret check says what)", render::name(&night.name))
    }));
    let now = now();
    let tags = repository.tags(ui)?;
    let protected = archives.iter().filter(|found| tags.is_protected(found));
    let protected: HashSet<String> = protected.map(|found| found.name.clone()).collect();
    let calendar = wish.rules.map(|mut rules| {
        (rules.lacking, rules.protected) = (lacking, protected);
        let mut considered = archives.clone();
        considered.retain(|found| found.name.starts_with(wish.prefix));
        let told = &mut problems.texts;
        calendar::plan(repository, &considered, (&rules, now), wish.threads, told, ui)
    });
    let calendar = calendar.transpose()?;
    repository.tell(ui);
    // As where the second copy of an archive was read: who looks at the page does not see what was said beside it.
    if problems.texts.is_empty() && ui.damage_count() > 0 {
        problems
            .texts
            .push("damage was met while this was read (garret check says of what)".to_owned());
    }
    let lost = problems.texts.len();
    let bad: Vec<&NamedArchive> =
        archives.iter().filter(|found| !found.archive.is_complete()).collect();
    problems.texts.extend(bad.iter().map(|found| incomplete(found)));
    let free = wish.location.directory().and_then(free);
    let growth = lamp::growth(&nights, free);
    let verified = repository.verified(ui)?;
    Ok(Report {
        location: wish.location.absolute(),
        id: repository.id().to_string(),
        made: now,
        lamp: vec![
            lamp::last_complete(&nights, now),
            lamp::verified(&verified, now),
            lamp::space(free, growth),
            lamp::damage(lost, bad.len()),
        ],
        original: total_len(nights.iter().map(|night| night.original)),
        stored: repository.stored_len()?,
        free,
        growth,
        verified,
        nights,
        has_more_images: images.has_more,
        images: images.sorted(),
        calendar,
        problems: problems.texts.iter().map(|text| render::one_line(text)).collect(),
    })
}

/// Collects what cannot be read.
struct Problems<'u> {
    ui: &'u Ui,
    texts: Vec<String>,
}

impl Problems<'_> {
    fn add(&mut self, error: &Error) {
        self.ui.report(&error.into());
        self.texts.push(message(error));
    }
}

/// The archives that can be read, the oldest first.
fn readable(
    repository: &Repository,
    problems: &mut Problems<'_>,
) -> Result<Vec<NamedArchive>, Failure> {
    let mut archives = Vec::new();
    for (_, found) in repository.archives(repository.archive_names()?)? {
        match found {
            Ok(found) => archives.push(found),
            Err(error) => problems.add(&error),
        }
    }
    archives.sort_by(|a, b| (a.archive.end, &a.name).cmp(&(b.archive.end, &b.name)));
    Ok(archives)
}

/// What an archive that is not complete lacks, in a line.
fn incomplete(found: &NamedArchive) -> String {
    let name = render::name(&found.name);
    let what = match found.archive.problems.first() {
        Some(first) => format!(": {}", render::one_line(first)),
        None if found.archive.file_count == 0 => ": it holds no files".to_owned(),
        None => String::new(),
    };
    match found.archive.problem_count {
        0 | 1 => format!("{name} is not complete{what}"),
        count => format!("{name} is not complete, {count} problems{what}"),
    }
}

/// Takes an item of an archive of that host, which is the night of that number, with what came with it; whether it is an
/// image.
type TakeImage<'t> = dyn FnMut(&History, &str, usize, Item, Added) -> Result<bool, Error> + 't;

/// Goes through archives, the oldest first.
fn walk(
    repository: &Repository,
    archives: &[NamedArchive],
    problems: &mut Problems<'_>,
    take: &mut TakeImage<'_>,
) -> Result<Vec<Night>, Failure> {
    let ui = problems.ui;
    let task = ui.begin(Phase::Mark, Some(archives.len() as u64));
    let mut history = repository.history(ui)?;
    let mut nights = Vec::new();
    for found in archives {
        let mut night = Night::of(found);
        let number = nights.len();
        let visited = history.visit(found, &mut |history, item, added| {
            night.added.add(added);
            match take(history, &night.host, number, item, added) {
                Ok(true) => {}
                Ok(false) => night.others.add(added),
                Err(error) => problems.add(&error),
            }
        });
        match visited {
            Ok(list) => {
                night.added.add(list);
                night.others.add(list);
            }
            Err(error) => problems.add(&error),
        }
        nights.push(night);
        task.advance(1);
    }
    Ok(nights)
}

/// The images met so far, by host and path, each as it was when it was met last.
#[derive(Default)]
struct Images {
    met: BTreeMap<(String, Vec<u8>), (Image, Item)>,
    /// Whether some were passed over for want of room.
    has_more: bool,
}

impl Images {
    /// Takes an item, if it is an image; whether it is.
    fn take(
        &mut self,
        history: &History,
        host: &str,
        night: usize,
        item: Item,
        added: Added,
    ) -> Result<bool, Error> {
        if !is_image(&item) {
            return Ok(false);
        }
        let key = (host.to_owned(), item.path.clone());
        if !self.met.contains_key(&key) && self.met.len() == IMAGES_MAX {
            self.has_more = true;
            return Ok(false);
        }
        let mut changes = Changes::default();
        let before = self.met.get(&key).map(|(_, item)| item);
        let len = history.changes(before, &item, &mut |stretch| changes.take(stretch));
        let new = || Image {
            host: host.to_owned(),
            path: item.path.clone(),
            nights: Vec::new(),
            map: Map::default(),
            newest: None,
        };
        let (image, last) = self.met.entry(key).or_insert_with(|| (new(), item.clone()));
        image.nights.push(ImageNight { night, added });
        image.map.add(night, len?, &changes);
        *last = item;
        Ok(true)
    }

    /// Notes which is the newest good archive that holds each.
    fn mark_newest(&mut self, nights: &[Night]) {
        let is_good = |held: &&ImageNight| nights.get(held.night).is_some_and(Night::is_good);
        for (image, _) in self.met.values_mut() {
            image.newest = image.nights.iter().rev().find(is_good).map(|held| held.night);
        }
    }

    /// Those that take most first.
    fn sorted(self) -> Vec<Image> {
        let mut images: Vec<Image> = self.met.into_values().map(|(image, _)| image).collect();
        images.sort_by_key(|image| std::cmp::Reverse(image.added().stored_len));
        images
    }
}

/// What is cut by pages was taken for the image of a disk when it was stored.
pub(crate) fn is_image(item: &Item) -> bool {
    let is_cut = |item: &Item| match &item.kind {
        ItemKind::File(content) => content.recipe.cutter == CutterKind::Page,
        _ => false,
    };
    item.size > 0 && is_cut(item)
}

/// Bytes that are free for us where the repository lies.
fn free(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
}
