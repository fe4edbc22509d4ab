//! `garret info`: details of a repository, an archive, or a file in one.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use engine::{Access, Repository, Selection};

use crate::location;
use cli::failure::Failure;
use cli::ui::Ui;
use cli::{overview, render, session};

/// Arguments of `info`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The repository or archive
    #[arg(value_name = "REPO[::NAME]")]
    location: OsString,
    /// A file or image in the archive
    #[arg(value_name = "PATH")]
    path: Option<OsString>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let (path, name) = match &args.path {
        Some(_) => location::archive(&args.location).map(|(path, name)| (path, Some(name)))?,
        None => location::either(&args.location)?,
    };
    let repository = session::open(&path, Access::Read, ui)?;
    let text = match (name, &args.path) {
        (Some(name), Some(file)) => one_file(&repository, &name, file, ui)?,
        (Some(name), None) => archive(&repository, &name, ui)?,
        (None, _) => overview::repository(&repository, &path, ui)?,
    };
    ui.print(&text)
}

fn archive(repository: &Repository, name: &str, ui: &Ui) -> Result<String, Failure> {
    let found = repository.archive(name)?;
    let body = &found.archive;
    let fingerprint = format::ChunkId::from_bytes(found.fingerprint);
    let mut text = format!("Name: {}\n", render::one_line(&found.name));
    if body.name != found.name {
        text += &format!("Made as: {}\n", render::one_line(&body.name));
    }
    text += &format!("Fingerprint: {fingerprint}\n");
    text += &format!("Hostname: {}\n", render::one_line(&body.host));
    text += &format!("Username: {}\n", render::one_line(&body.user));
    text += &format!("Time: {}\n", render::long_time(body.end));
    text += &format!("Command line: {}\n", render::command_line(&body.command));
    text += &format!("Number of files: {}\n", body.file_count);
    if body.problem_count > 0 {
        text += &format!("Problems while it was made: {}\n", body.problem_count);
    }
    text.push('\n');
    text += &render::size_header();
    text += &render::size_row("This archive:", &render::size(body.original_len), "-", "-");
    text += &overview::all_archives(repository, ui)?;
    Ok(text)
}

fn one_file(repository: &Repository, name: &str, path: &OsStr, ui: &Ui) -> Result<String, Failure> {
    let archive = repository.archive(name)?;
    let stored = Selection::stored(path.as_bytes());
    let shown = String::from_utf8_lossy(&stored).into_owned();
    let missing = || {
        let why = format!("{shown} is no file of archive {name}: `garret list` shows what is");
        Failure::Fatal(why)
    };
    let info = engine::file_info(repository, &archive, &stored, ui)?.ok_or_else(missing)?;
    let size = |bytes: u64| format!("{} ({bytes} bytes)", render::size(bytes));
    let mut text = format!("Path: {}\n", render::one_line(&shown));
    text += &format!("Format: {}\n", render::one_line(&info.format));
    text += &format!("File size: {}\n", size(info.file_len));
    if info.is_container {
        text += &format!("Virtual size: {}\n", size(info.disk_len));
    }
    text += &format!("Allocated: {}\n", size(info.allocated));
    text += &format!("Zero: {}\n", size(info.zero));
    if info.is_container {
        text += &format!("Residue: {}\n", size(info.residue));
    }
    text += &format!("New in this archive: {}\n", size(info.new));
    Ok(text)
}
