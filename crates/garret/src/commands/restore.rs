//! `garret restore`: gets images back, by a name and perhaps a night; on a terminal, with nothing but a repository, by
//! asking.
//!
//! From the choice of archive and paths on it is `extract`.

mod helper;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_cli::ui::Ui;
use garret_cli::{render, session};
use garret_core::{Cause, NamedArchive, Progress, Repository, RestoreReport};

use super::extract::{self, How, Plan, Wanted};
use crate::nights::{Chosen, Nights};
use crate::{archives, location};

/// Arguments of `restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    how: How,
    /// From this archive, or the newest of this day, as in 2026-11-20 [default: the newest complete one that holds it]
    #[arg(long, value_name = "NAME|DAY")]
    at: Option<String>,
    /// The repository, or an archive in it [default on a terminal: what GARRET_REPO says]
    #[arg(value_name = "REPO[::NAME]")]
    location: Option<OsString>,
    /// An image: its path, its file name, or a pattern that stands for it alone
    #[arg(value_name = "IMAGE")]
    images: Vec<OsString>,
}

pub(crate) fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    let Args { how, at, location, images } = args;
    how.tell(ui);
    let Some(location) = location.or_else(location::default_repository) else {
        return Err(Failure::Usage("which repository? Name one, or set GARRET_REPO".to_owned()));
    };
    match location::either(&location)? {
        (_, Some(_)) if at.is_some() => {
            let text = format!(
                "\"{}\" names an archive already: leave out --at",
                location.to_string_lossy()
            );
            Err(Failure::Usage(text))
        }
        (path, Some(name)) => {
            let plan = how.plan(&path)?;
            let repository = session::reader(&path, ui)?;
            let archive = archives::find(&repository, &name, ui)?;
            let wanted = Wanted {
                repository: &repository,
                location: &path,
                archive: &archive,
                paths: &images,
                item: None,
            };
            extract::restore(&wanted, &how, plan, ui).map(drop)
        }
        (path, None) if images.is_empty() && ui.can_ask() && !how.is_json() => {
            helper::run(how, &path, at.as_deref(), ui)
        }
        (path, None) if images.is_empty() => Err(Failure::Usage(format!(
            "which image? Name one, or write {}::NAME for all of the archive NAME; on a terminal you are asked",
            path.display()
        ))),
        (path, None) => {
            let plan = how.plan(&path)?;
            let repository = session::reader(&path, ui)?;
            named(&repository, &path, at.as_deref(), &images, (&how, plan), ui)
        }
    }
}

/// Restores images by their names from the archive that is meant. If that goes wrong, says what else there is.
fn named(
    repository: &Repository,
    path: &Location,
    at: Option<&str>,
    images: &[OsString],
    (how, plan): (&How, Plan),
    ui: &Ui,
) -> Result<(), Failure> {
    let nights = Nights::at(repository, path, at, ui)?;
    let Chosen { archive, items } = nights.choose(images, ui)?;
    nights.doubt(images, &archive, ui);
    let paths = items.iter().map(|item| OsString::from_vec(item.path.clone()));
    let paths: Vec<OsString> = paths.collect();
    let item = match items.as_slice() {
        [only] if how.keeps_paths() => Some(only),
        _ => None,
    };
    let wanted = Wanted { repository, location: path, archive: &archive, paths: &paths, item };
    let restored = extract::restore(&wanted, how, plan, ui);
    if !how.salvages() {
        point_elsewhere(&nights, &paths, &archive, &restored, ui);
    }
    restored.map(drop)
}

/// If damage kept something from being restored, says what else there is.
fn point_elsewhere(
    nights: &Nights<'_>,
    paths: &[OsString],
    archive: &NamedArchive,
    restored: &Result<RestoreReport, Failure>,
    ui: &Ui,
) {
    let is_damaged = match restored {
        Ok(report) => report.problem_count > 0 && ui.damage_count() > 0,
        Err(Failure::Engine(error)) => error.cause() == Cause::Damaged,
        Err(_) => false,
    };
    if is_damaged {
        let older = nights.older(paths, archive, ui).map(|older| {
            let name = render::name(&older.name);
            format!("--at {name} restores what {name} has of it; ")
        });
        let older = older.unwrap_or_default();
        ui.notice(&format!(
            "note: {older}--salvage restores what is left in {}",
            render::name(&archive.name)
        ));
    }
}
