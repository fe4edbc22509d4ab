//! Predicts what backups should store: for each image in turn its bytes, zeros, chunks, and the
//! bytes of chunks that no image before it has.
//!
//! ```text
//! cargo run --release -p garret-benches --example predict -- NIGHT1.img NIGHT2.img ...
//! ```
//!
//! The chunks are those of the reference cutter with the default sizes and without a key (as in an
//! unencrypted repository), chosen per file as `garret create` chooses; nothing of the core or of
//! the fast cutters is used. Repositories with a key cut elsewhere, about as well. Needs some 200
//! MB of memory and 40 bytes per distinct chunk; cuts about half a gigabyte of data per second.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

use std::collections::HashSet;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use garret_benches::StreamReference;
use garret_chunker::{Cutter, FastCdc, PAGE, PUBLIC_PAGE_KEY, PageCutter, Piece, Sizes};
use garret_image::{Extents, RawFile, Source, detect};

/// Bytes read at a time.
const READ_LEN: usize = 8 << 20;

/// Files below this are cut as plain ones without a look, as `garret create` does it.
const IMAGE_LEN_MIN: u64 = 64 << 10;

#[derive(Default)]
struct Prediction {
    zero_bytes: u64,
    chunk_count: u64,
    new_count: u64,
    new_bytes: u64,
}

fn main() -> ExitCode {
    let images: Vec<_> = std::env::args_os().skip(1).collect();
    if images.is_empty() {
        eprintln!("usage: predict IMAGE...");
        return ExitCode::from(2);
    }
    let mut known = HashSet::new();
    println!("cutter         bytes          zero    chunks       new      new bytes  image");
    for image in &images {
        let path = Path::new(image);
        if let Err(error) = predict(path, &mut known) {
            eprintln!("predict: {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn predict(path: &Path, known: &mut HashSet<[u8; 32]>) -> Result<(), Box<dyn Error>> {
    let file = RawFile::open(path, true)?;
    let is_image = file.len() >= IMAGE_LEN_MIN && detect(&file, path).is_image();
    let cutter = match is_image {
        true => Cutter::Page(PageCutter::new(Sizes::default(), PUBLIC_PAGE_KEY)),
        false => Cutter::Fastcdc(FastCdc::new(Sizes::default(), None)?),
    };
    let mut found = Prediction::default();
    let mut streamed = StreamReference::new(&cutter, |piece, bytes| match piece {
        Piece::Zero(len) => found.zero_bytes += len,
        Piece::Chunk(len) => {
            found.chunk_count += 1;
            if known.insert(*blake3::hash(bytes).as_bytes()) {
                found.new_count += 1;
                found.new_bytes += len as u64;
            }
        }
    });
    read(&file, &mut streamed)?;
    streamed.finish();
    let name = if is_image { "page" } else { "fastcdc" };
    let Prediction { zero_bytes, chunk_count, new_count, new_bytes } = found;
    println!(
        "{name:<8}{:>12}{zero_bytes:>14}{chunk_count:>10}{new_count:>10}{new_bytes:>15}  {}",
        file.len(),
        path.display()
    );
    Ok(())
}

/// Hands the file over, page by page: holes are not read, but for pages that they share with data.
fn read<F: FnMut(Piece, &[u8])>(
    file: &RawFile,
    streamed: &mut StreamReference<'_, F>,
) -> Result<(), Box<dyn Error>> {
    let page = PAGE as u64;
    let mut buffer = vec![0; READ_LEN];
    let mut at = 0;
    for extent in Extents::new(file) {
        let extent = extent?;
        let end = extent.offset() + extent.len();
        // Pages that the extent covers, and of data also those that it begins.
        let whole_end = if end == file.len() { end } else { end - end % page };
        let data_end = end.next_multiple_of(page).min(file.len());
        if extent.is_hole() {
            streamed.push_zero(whole_end.saturating_sub(at));
            at = at.max(whole_end);
            if whole_end < end {
                at = read_to(file, at, data_end, &mut buffer, streamed)?;
            }
        } else {
            at = read_to(file, at, data_end, &mut buffer, streamed)?;
        }
    }
    Ok(())
}

/// Reads from `at` to `end`, if that is farther, and says where it is then.
fn read_to<F: FnMut(Piece, &[u8])>(
    file: &RawFile,
    mut at: u64,
    end: u64,
    buffer: &mut [u8],
    streamed: &mut StreamReference<'_, F>,
) -> Result<u64, Box<dyn Error>> {
    while at < end {
        let len = usize::try_from(end - at).map_or(READ_LEN, |len| len.min(READ_LEN));
        let part = buffer.get_mut(..len).ok_or("the buffer is too short")?;
        file.read_at(part, at)?;
        streamed.push(part);
        at += len as u64;
    }
    Ok(at)
}
