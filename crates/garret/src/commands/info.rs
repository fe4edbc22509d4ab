//! `garret info`: details of a repository, an archive, or a file in one.

use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;

use garret_core::{Repository, RepositoryId};
use garret_format::archive::Time;
use garret_format::config::{Cipher, KeyMode};
use serde_json::{Value, json};

use crate::archives;
use crate::location;
use garret_cli::args::Usual;
use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_cli::record::{self, Record, Template};
use garret_cli::ui::Ui;
use garret_cli::{overview, render, session};

/// How it is shown, unless as attic does.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Layout {
    /// Show everything as one JSON document
    #[arg(long)]
    json: bool,
    /// Show it laid out so, as in '{name}{TAB}{original_size}{NL}'
    #[arg(long, value_name = "TEMPLATE", value_parser = Template::parse)]
    format: Option<Template>,
}

/// Arguments of `info`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    layout: Layout,
    /// Show also what is stored now of the archive that no older one has; reads the lists of all that are older
    #[arg(long, conflicts_with_all = ["format", "path"])]
    now: bool,
    #[command(flatten)]
    usual: Usual,
    /// The repository or archive
    #[arg(value_name = "REPO[::NAME]")]
    location: OsString,
    /// A file or image in the archive
    #[arg(value_name = "PATH")]
    path: Option<OsString>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    args.usual.tell(ui);
    let (path, name) = match &args.path {
        Some(file) => location::archive(&args.location, std::slice::from_ref(file))
            .map(|(path, name)| (path, Some(name)))?,
        None => location::either(&args.location)?,
    };
    if args.now && name.is_none() {
        return Err(Failure::Usage("--now is about an archive: give REPO::NAME".to_owned()));
    }
    let repository = session::reader(&path, ui)?;
    let text = match (name, &args.path) {
        (Some(name), Some(file)) => one_file((&repository, &path), &name, file, &args.layout, ui)?,
        (Some(name), None) => archive((&repository, &path), &name, args, ui)?,
        (None, _) => whole(&repository, &path, &args.layout, ui)?,
    };
    ui.print(&text)
}

/// What identifies a repository.
pub(super) fn repository_record(repository: &Repository, path: &Location) -> Record {
    let config = repository.config();
    let protection = (config.key_mode, config.cipher);
    identity_record(path, config.repository, protection, config.created)
}

/// The same of what is known without a key.
pub(super) fn identity_record(
    path: &Location,
    id: RepositoryId,
    (mode, cipher): (KeyMode, Option<Cipher>),
    created: i64,
) -> Record {
    Record::default()
        .with_bytes(["location", "location_hex"], path.to_os_string().as_bytes())
        .with("id", id.to_string())
        .with("encryption", encryption(mode))
        .with("cipher", cipher.map(render::cipher))
        .with("created", render::iso_time(Time { secs: created, nanos: 0 }))
}

fn encryption(mode: KeyMode) -> &'static str {
    match mode {
        KeyMode::None => "none",
        KeyMode::Passphrase => "passphrase",
        KeyMode::Keyfile => "keyfile",
    }
}

fn archive(
    (repository, path): (&Repository, &Location),
    name: &str,
    args: &Args,
    ui: &Ui,
) -> Result<Vec<u8>, Failure> {
    let layout = &args.layout;
    let found = archives::find(repository, name, ui)?;
    let tags = repository.tags(ui)?;
    let body = &found.archive;
    let now = args.now.then(|| repository.added(&found, ui)).transpose()?;
    let now = now.map(|added| added.map(|added| added.stored_len));
    if layout.json {
        let mut all = json!({
            "repository": sizes(repository_record(repository, path), repository, ui)?.json(),
            "archive": Record::of_archive(&found, &tags).json(),
        });
        if let (Some(now), Some(document)) = (now, all.as_object_mut()) {
            document.insert("stored_now".to_owned(), json!(now));
        }
        return Ok(record::document(&all).into_bytes());
    }
    if let Some(template) = &layout.format {
        return Record::of_archive(&found, &tags).format(template);
    }
    let fingerprint = garret_format::ChunkId::from_bytes(found.fingerprint);
    let mut text = format!("Name: {}\n", render::name(&found.name));
    if body.name != found.name {
        text += &format!("Made as: {}\n", render::name(&body.name));
    }
    text += &format!("Fingerprint: {fingerprint}\n");
    text += &format!("Hostname: {}\n", render::name(&body.host));
    text += &format!("Username: {}\n", render::name(&body.user));
    text += &format!("Time: {}\n", render::long_time(body.end));
    if !body.comment.is_empty() {
        text += &format!("Comment: {}\n", render::name(&body.comment));
    }
    let own = tags.of(&found);
    if !own.is_empty() {
        text +=
            &format!("Tags: {}\n", own.iter().map(String::as_str).collect::<Vec<_>>().join(", "));
    }
    if tags.is_protected(&found) {
        text += "Protected: yes\n";
    }
    text += &format!("Command line: {}\n", render::command_line(&body.command));
    text += &format!("Number of files: {}\n", body.file_count);
    let seconds = render::seconds_between(body.start, body.end);
    text += &format!("Duration: {seconds:.2} seconds\n");
    let size = render::size;
    let (read, new) = (size(body.read_len), size(body.new_len));
    text += &format!("Read: {read}, new data: {new}, stored in {}\n", size(body.stored_len));
    text += &match now {
        None => String::new(),
        Some(Some(now)) => {
            format!("Takes now: about {}, of what no older archive has\n", size(now))
        }
        Some(None) => {
            "Takes now: unknown, for an archive that may be older cannot be read\n".to_owned()
        }
    };
    text += &render::problems(body);
    text.push('\n');
    text += &render::size_header();
    text += &render::size_row("This archive:", &render::size(body.original_len), "-", "-");
    text += &overview::all_archives(repository, ui)?;
    Ok(text.into_bytes())
}

fn one_file(
    (repository, repository_path): (&Repository, &Location),
    name: &str,
    path: &OsStr,
    layout: &Layout,
    ui: &Ui,
) -> Result<Vec<u8>, Failure> {
    let archive = archives::find(repository, name, ui)?;
    let stored = archives::one_file(repository, &archive, path)?;
    let gone = || archives::no_file(path.as_bytes(), &archive, "it has no content");
    let info = repository.file_info(&archive, &stored, ui)?.ok_or_else(gone)?;
    let file = || {
        Record::default()
            .with_path(&stored)
            .with("format", info.format.as_str())
            .with("size", info.file_len)
            .with("disk_size", info.disk_len)
            .with("allocated", info.allocated)
            .with("zero", info.zero)
            .with("backing", info.backing)
            .with("unreadable", info.unreadable.iter().map(range).collect::<Vec<_>>())
            .with("residue", info.residue)
            .with("new", info.new)
    };
    if layout.json {
        let all = json!({
            "repository": repository_record(repository, repository_path).json(),
            "archive": Record::of_archive(&archive, &repository.tags(ui)?).json(),
            "file": file().json(),
        });
        return Ok(record::document(&all).into_bytes());
    }
    if let Some(template) = &layout.format {
        return file().format(template);
    }
    let size = |bytes: u64| format!("{} ({bytes} bytes)", render::size(bytes));
    let mut text = format!("Path: {}\n", render::name(&stored));
    text += &format!("Format: {}\n", render::one_line(&info.format));
    text += &format!("File size: {}\n", size(info.file_len));
    if info.is_container {
        text += &format!("Virtual size: {}\n", size(info.disk_len));
    }
    text += &format!("Allocated: {}\n", size(info.allocated));
    text += &format!("Zero: {}\n", size(info.zero));
    if let Some(backing) = info.backing {
        text += &format!("In the backing file: {}\n", size(backing));
    }
    if info.is_container {
        text += &format!("Residue: {}\n", size(info.residue));
    }
    text += &format!("New in this archive: {}\n", size(info.new));
    if !info.unreadable.is_empty() {
        let bytes = info.unreadable.iter().map(|range| range.end - range.start).sum();
        text += &format!("Unreadable, stored as zeros: {}\n", size(bytes));
        for Range { start, end } in &info.unreadable {
            text += &format!("    {start}-{}\n", end.saturating_sub(1));
        }
    }
    Ok(text.into_bytes())
}

fn range(range: &Range<u64>) -> Value {
    json!({ "start": range.start, "end": range.end })
}

/// A record with how many archives and packs the repository has, which of them were verified, and how long all is.
pub(super) fn sizes(record: Record, repository: &Repository, ui: &Ui) -> Result<Record, Failure> {
    let verified = repository.verified(ui)?;
    Ok(record
        .with("archives", repository.archive_names()?.len())
        .with("packs", verified.pack_count)
        .with("verified_packs", verified.pack_count - verified.never_count)
        .with("recently_verified_packs", verified.recent_count)
        .with("verified_since", verified.oldest.map(render::date))
        .with("original_size", session::original_len(repository, ui)?)
        .with("stored_size", repository.stored_len()?))
}

fn whole(
    repository: &Repository,
    path: &Location,
    layout: &Layout,
    ui: &Ui,
) -> Result<Vec<u8>, Failure> {
    let record = || sizes(repository_record(repository, path), repository, ui);
    if layout.json {
        let all = json!({ "repository": record()?.json() });
        return Ok(record::document(&all).into_bytes());
    }
    if let Some(template) = &layout.format {
        return record()?.format(template);
    }
    overview::repository(repository, path, ui).map(String::into_bytes)
}
