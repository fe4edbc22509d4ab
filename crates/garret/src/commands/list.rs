//! `garret list`: the archives of a repository, oldest first, or the items of an archive.

use std::ffi::OsString;
use std::path::Path;

use garret_core::{NamedArchive, Repository, Selection};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::info;
use crate::archives::{self, Searched};
use crate::location;
use crate::report::model::Night;
use crate::report::{gather, text};
use garret_cli::args::{LockWait, PassphraseFile, Verbose};
use garret_cli::failure::Failure;
use garret_cli::record::{self, Record, Template};
use garret_cli::ui::Ui;
use garret_cli::{render, session};

/// Bytes of a list that are printed at once.
const WAITING_LEN: usize = 64 << 10;

/// How each archive or path is shown, unless in attic's columns.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Layout {
    /// Show only names
    #[arg(long)]
    short: bool,
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
    /// Show of each archive also what was new with it, what that takes, and how long it took: reads lists and recipes
    #[arg(short, long, conflicts_with = "short")]
    long: bool,
    #[command(flatten)]
    lock_wait: LockWait,
    #[command(flatten)]
    verbose: Verbose,
    #[command(flatten)]
    passphrase: PassphraseFile,
    /// The repository or archive
    #[arg(value_name = "REPO[::NAME]")]
    location: OsString,
    /// Only these paths of the archive and what is below them
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    args.verbose.tell(ui);
    args.passphrase.tell(ui);
    args.lock_wait.tell(ui);
    let (path, name) = match args.paths.as_slice() {
        [] => location::either(&args.location)?,
        paths => location::archive(&args.location, paths).map(|(path, name)| (path, Some(name)))?,
    };
    if name.is_some() && args.long {
        return Err(Failure::Usage("--long is for a list of archives: give REPO".to_owned()));
    }
    let repository = session::reader(&path, ui)?;
    match name {
        Some(name) => {
            let archive = archives::find(&repository, &name, ui)?;
            let mut selection = archives::selection(&args.paths);
            items(&repository, &archive, &mut selection, &args.layout, ui)?;
            let searched = Searched { repository: &repository, path: &path, archives: &[&archive] };
            searched.complain(&selection.unmatched(), ui)
        }
        None => archives(&repository, &path, args, ui),
    }
}

fn archives(repository: &Repository, path: &Path, args: &Args, ui: &Ui) -> Result<(), Failure> {
    let layout = &args.layout;
    let mut archives = archives::readable(repository, ui)?;
    archives.sort_by(|a, b| (a.archive.end, &a.name).cmp(&(b.archive.end, &b.name)));
    let nights = match args.long {
        true => gather::nights(repository, &archives, ui)?,
        false => Vec::new(),
    };
    if args.long && !layout.json && layout.format.is_none() {
        let lines = nights.iter().map(text::night_line).collect::<String>();
        return ui.print(&format!("{}{lines}", text::night_header()));
    }
    let nights = nights.iter().map(Some).chain(std::iter::repeat(None));
    let records = archives.iter().zip(nights).map(|(found, night)| record(found, night));
    if layout.json {
        let archives: Vec<Value> = records.map(Record::json).collect();
        let repository = info::repository_record(repository, path).json();
        let all = json!({ "repository": repository, "archives": archives });
        return ui.print(&record::document(&all));
    }
    if let Some(template) = &layout.format {
        let lines = records.map(|record| record.format(template)).collect::<Result<Vec<_>, _>>()?;
        return ui.print(&lines.concat());
    }
    let line = |found: &NamedArchive| match layout.short {
        true => format!("{}\n", found.name),
        false => format!("{}\n", render::archive_line(found)),
    };
    ui.print(&archives.iter().map(line).collect::<String>())
}

/// What is known of an archive, and of what came with it if that was asked for.
fn record(found: &NamedArchive, night: Option<&Night>) -> Record {
    let record = Record::of_archive(found);
    match night {
        None => record,
        Some(night) => record
            .with("duration", night.seconds())
            .with("new_size", night.added.new_len)
            .with("stored_size", night.added.stored_len)
            .with("seconds_per_gb", night.pace()),
    }
}

fn items(
    repository: &Repository,
    archive: &NamedArchive,
    selection: &mut Selection,
    layout: &Layout,
    ui: &Ui,
) -> Result<(), Failure> {
    let now = Timestamp::now();
    let mut list = List { ui, waiting: Vec::new() };
    if layout.json {
        let head = json!({ "archive": Record::of_archive(archive).json() });
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
