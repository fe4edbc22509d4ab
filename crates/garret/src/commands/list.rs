//! `garret list`: the archives of a repository, oldest first, or the items of an archive.

use std::collections::HashMap;
use std::ffi::OsString;

use garret_core::{NamedArchive, Repository, Selection};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::info;
use crate::archives::{self, Searched};
use crate::location;
use garret_cli::args::{self, Usual, tag};
use garret_cli::drills::{self, Drill};
use garret_cli::failure::Failure;
use garret_cli::listing::{self, Row};
use garret_cli::location::Location;
use garret_cli::record::{self, Record, Template};
use garret_cli::steps::prune::tagged;
use garret_cli::ui::Ui;
use garret_cli::{render, session, terminal};
use garret_format::archive::Time;

/// Bytes of a list that are printed at once.
const WAITING_LEN: usize = 64 << 10;

/// How each archive or path is shown, unless in attic's columns.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Layout {
    /// Show only names
    #[arg(long)]
    short: bool,
    /// Show of each archive also what it read, what of that was new, what it was stored in, and how long it took
    #[arg(short, long)]
    long: bool,
    /// Show everything as one JSON document
    #[arg(long)]
    json: bool,
    /// Show each line laid out so, as in '{name}{TAB}{end}{NL}'
    #[arg(long, value_name = "TEMPLATE", value_parser = Template::parse)]
    format: Option<Template>,
}

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    layout: Layout,
    #[command(flatten)]
    usual: Usual,
    /// The repository or archive
    #[arg(value_name = "REPO[::NAME]")]
    location: OsString,
    /// Show of each archive since when all that it needs was read by check --verify-data; reads its lists and recipes
    #[arg(long, conflicts_with = "short")]
    verified: bool,
    /// Only archives with this tag, or with one of several
    #[arg(long, value_name = "TAG", value_parser = tag)]
    tag: Vec<String>,
    /// Only these paths of the archive and what is below them
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
}

impl Args {
    /// An option that the items of an archive have not.
    fn for_archives(&self) -> Option<&'static str> {
        let long = self.layout.long.then_some("--long");
        let verified = || self.verified.then_some("--verified");
        long.or_else(|| (!self.tag.is_empty()).then_some("--tag")).or_else(verified)
    }

    /// Since when archives are verified, by their names; nothing if nobody asks.
    fn verified(
        &self,
        repository: &Repository,
        archives: &[NamedArchive],
        ui: &Ui,
    ) -> Result<HashMap<String, Option<i64>>, Failure> {
        if !self.verified {
            return Ok(HashMap::new());
        }
        let days = repository.verified_archives(archives, args::available_threads(), ui)?;
        let names = archives.iter().map(|found| found.name.clone());
        Ok(names.zip(days).collect())
    }
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    args.usual.tell(ui);
    let (path, name) = match args.paths.as_slice() {
        [] => location::either(&args.location)?,
        paths => location::archive(&args.location, paths).map(|(path, name)| (path, Some(name)))?,
    };
    if let (Some(_), Some(option)) = (&name, args.for_archives()) {
        return Err(Failure::Usage(format!("{option} is for a list of archives: give REPO")));
    }
    let repository = session::reader(&path, ui)?;
    match name {
        Some(name) => {
            let archive = archives::find(&repository, &name, ui)?;
            let mut selection = archives::selection(&args.paths);
            items((&repository, &path), &archive, &mut selection, &args.layout, ui)?;
            let searched =
                Searched { repository: &repository, location: &path, archives: &[&archive] };
            searched.complain(&selection.unmatched(), ui)
        }
        None => archives(&repository, &path, args, ui),
    }
}

fn archives(repository: &Repository, path: &Location, args: &Args, ui: &Ui) -> Result<(), Failure> {
    let layout = &args.layout;
    let (tags, archives) = archives::with_tags(repository, ui)?;
    let archives = tagged(archives, &tags, &args.tag, ui);
    let drills = drills::load(repository.id(), ui);
    let drilled = |found: &NamedArchive| {
        let id = record::hex(&found.fingerprint);
        drills.iter().rfind(|drill| drill.id == id)
    };
    let verified = args.verified(repository, &archives, ui)?;
    let record = |found: &NamedArchive| {
        let drill = drilled(found);
        let time = drill.map(|drill| render::iso_time(Time { secs: drill.time, nanos: 0 }));
        let record = Record::of_archive(found, &tags)
            .with("drilled", time)
            .with("drill_restored", drill.map(|drill| drill.restored));
        match verified.get(&found.name) {
            Some(day) => record.with("verified_since", day.map(render::date)),
            None => record,
        }
    };
    if layout.json {
        let archives: Vec<Value> = archives.iter().map(|found| record(found).json()).collect();
        let repository = info::repository_record(repository, path).json();
        let all = json!({ "repository": repository, "archives": archives });
        return ui.print(&record::document(&all));
    }
    let behind = |found: &NamedArchive| {
        let mark = drilled(found).map(Drill::mark).unwrap_or_default();
        let read = match verified.get(&found.name) {
            Some(Some(day)) => format!(" (verified since {})", render::date(*day)),
            Some(None) => " (not all verified)".to_owned(),
            None => String::new(),
        };
        mark + &read
    };
    let is_narrow = terminal::is_narrow(std::io::stdout());
    let long = |found: &NamedArchive| {
        let (line, tags) = (long_line(found, is_narrow), render::tagged(found, &tags));
        format!("{line}{tags}{}\n", behind(found))
    };
    let text: Vec<u8> = if let Some(template) = &layout.format {
        let lines: Result<Vec<_>, _> =
            archives.iter().map(|found| record(found).format(template)).collect();
        lines?.concat()
    } else if layout.short {
        archives.iter().flat_map(|found| format!("{}\n", found.name).into_bytes()).collect()
    } else if layout.long {
        (long_header(is_narrow) + &archives.iter().map(long).collect::<String>()).into_bytes()
    } else {
        let row = |found| Row::new("", found, &tags, &behind(found));
        listing::lines(&archives.iter().map(row).collect::<Vec<_>>()).into_bytes()
    };
    ui.print(&text)
}

/// The header of [`long_line`].
fn long_header(is_narrow: bool) -> String {
    let [size, read, new, stored] = ["size", "read", "new", "stored"];
    let [seconds, pace] = ["seconds", "s/GB"];
    match is_narrow {
        true => format!("{:<16} {size:>9} {new:>9} {stored:>9}  archive\n", "time"),
        false => format!(
            "{:<16} {size:>9} {read:>9} {new:>9} {stored:>9} {seconds:>7} {pace:>6}  archive\n",
            "time"
        ),
    }
}

/// What an archive says that it took, in columns; some of them where there is not room for all.
fn long_line(found: &NamedArchive, is_narrow: bool) -> String {
    let body = &found.archive;
    let seconds = render::seconds_between(body.start, body.end);
    let lens = [body.original_len, body.read_len, body.new_len, body.stored_len];
    let [size, read, new, stored] = lens.map(|len| format!("{:>9}", render::size(len)));
    let (time, name) = (render::minute(body.end), render::name(&found.name));
    // Of a few bytes it says nothing, and does not fit.
    let pace = Some(render::seconds_per_gb(seconds, body.original_len));
    let pace = pace.filter(|pace| pace.len() <= 6).unwrap_or_else(|| "-".to_owned());
    let marks = render::marks(found);
    match is_narrow {
        true => format!("{time} {size} {new} {stored}  {name}{marks}"),
        false => {
            format!("{time} {size} {read} {new} {stored} {seconds:>7.1} {pace:>6}  {name}{marks}")
        }
    }
}

fn items(
    (repository, path): (&Repository, &Location),
    archive: &NamedArchive,
    selection: &mut Selection,
    layout: &Layout,
    ui: &Ui,
) -> Result<(), Failure> {
    let now = Timestamp::now();
    let mut list = List { ui, waiting: Vec::new() };
    if layout.json {
        let head = json!({
            "repository": info::repository_record(repository, path).json(),
            "archive": Record::of_archive(archive, &repository.tags(ui)?).json(),
        });
        let mut document = record::Document::new(&head, "items");
        repository.visit_items(archive, selection, |item| {
            list.push(document.entry(&Record::of_item(&item).json()).as_bytes())
        })?;
        list.push(document.end().as_bytes())?;
        return list.print();
    }
    repository.visit_items(archive, selection, |item| match &layout.format {
        Some(template) => list.push(&Record::of_item(&item).format(template)?),
        None if layout.short => list.push(&[&item.path[..], b"\n"].concat()),
        None => list.push(render::item_line(&item, now).as_bytes()),
    })?;
    list.print()
}

/// Lines on their way to stdout: an archive may have any number of them.
struct List<'u> {
    ui: &'u Ui,
    waiting: Vec<u8>,
}

impl List<'_> {
    fn push(&mut self, line: &[u8]) -> Result<(), Failure> {
        self.waiting.extend_from_slice(line);
        if self.waiting.len() < WAITING_LEN { Ok(()) } else { self.print() }
    }

    fn print(&mut self) -> Result<(), Failure> {
        let printed = self.ui.print(&self.waiting);
        self.waiting.clear();
        printed
    }
}
