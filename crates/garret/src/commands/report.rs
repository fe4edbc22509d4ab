//! `garret report`: what a repository holds and costs, and what is wrong, as a table, a document, or a page.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::keep::{Keep, RULES};
use crate::location;
use crate::report::gather::{Wish, gather};
use crate::report::{growth, html, json, text};
use garret_cli::args::{Threads, Usual};
use garret_cli::failure::Failure;
use garret_cli::ui::Ui;
use garret_cli::whole::{self, Readers};
use garret_cli::{record, session, terminal};

const EXAMPLES: &str = "\
Examples:
  garret report -d 7 -w 4 -m 12 /srv/backup/vms
  garret report -d 7 -w 4 -m 12 --html /var/www/backup.html /srv/backup/vms";

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, allow_negative_numbers = true)]
pub(crate) struct Args {
    /// Write one page to this file, and print nothing; an older one is replaced when the new one is whole
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Draw how the repository grew, as an SVG file, in the same way
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Show everything as one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    keep: Keep,
    /// Only archives whose name begins with this are considered by the rules; placeholders are filled in as in create
    #[arg(short, long, value_name = "STR", default_value = "", hide_default_value = true)]
    #[arg(value_parser = garret_cli::placeholders::expand)]
    prefix: String,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    usual: Usual,
    /// The repository
    #[arg(value_name = "REPO")]
    repository: OsString,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    args.usual.tell(ui);
    let path = location::repository(&args.repository)?;
    let rules = args.keep.is_given().then(|| args.keep.rules());
    match &rules {
        Some(rules) => {
            rules.check().map_err(|error| Failure::Usage(format!("{error}: {RULES}")))?
        }
        None if args.prefix.is_empty() => {}
        None => return Err(Failure::Usage(format!("--prefix is for rules: {RULES}"))),
    }
    let repository = session::reader(&path, ui)?;
    let wish = Wish { location: &path, rules, prefix: &args.prefix, threads: args.threads.count() };
    let report = gather(&repository, wish, ui)?;
    let write = |file: &PathBuf, content: String| {
        whole::put(file, content.as_bytes(), Readers::ByUmask)
            .map_err(|error| Failure::io(file.display(), &error))
    };
    if let Some(file) = &args.html {
        write(file, html::page(&report))?;
    }
    if let Some(file) = &args.svg {
        write(file, growth::svg(&report))?;
    }
    let is_written = args.html.is_some() || args.svg.is_some();
    match (args.json, is_written) {
        (true, _) => ui.print(&record::document(&json::document(&report))),
        (false, false) => ui.print(&text::show(&report, terminal::columns(std::io::stdout()))),
        (false, true) => Ok(()),
    }
}
