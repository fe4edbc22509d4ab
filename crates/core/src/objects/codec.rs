//! Codecs: the bytes of a group made smaller, and back.
//!
//! In: the chunks of a group behind each other; how hard to try. Out: compressed bytes, and which codec they are of; from
//! those the first bytes of the group, as many as are wanted. Promises: no more is decompressed than a group has, whatever
//! the bytes claim, and no more memory is taken than one needs.

use std::cell::RefCell;
use std::io;

use garret_format::config::GROUP_LEN_MAX;
use garret_format::pack::{Codec, Frame};
use liblzma::stream::{Action, Check, Filters, LzmaOptions, Status, Stream};
use zstd::bulk::Compressor;
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_error_name};

use crate::error::{Error, Result};

/// How new groups are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// lz4.
    Lz4,
    /// zstd at this level, -7 to 22.
    Zstd(i32),
    /// lzma at this preset of xz, 0 to 9: the smallest, and a restore takes some six times as much processor time.
    Lzma(u32),
}

impl Default for Compression {
    fn default() -> Self {
        Compression::Zstd(3)
    }
}

/// The effort that stands for lzma of preset 0: see [`garret_format::pack::FooterGroup::effort`].
const LZMA_EFFORT: u8 = 32;

impl Compression {
    /// The levels of zstd that make sense here.
    pub const ZSTD_LEVELS: std::ops::RangeInclusive<i32> = -7..=22;
    /// The presets of xz.
    pub const LZMA_PRESETS: std::ops::RangeInclusive<u32> = 0..=9;

    /// As a group was compressed, about: of levels below 1 it is not recorded which.
    pub(crate) fn like(codec: Codec, effort: u8) -> Self {
        match (codec, effort) {
            (Codec::Lz4, _) => Compression::Lz4,
            (Codec::None, 0) => Compression::None,
            (_, LZMA_EFFORT..) => Compression::Lzma(u32::from(effort - LZMA_EFFORT)),
            (_, effort) => Compression::Zstd(i32::from(effort).max(1)),
        }
    }

    /// How much is tried, as a footer records it.
    pub(crate) fn effort(self) -> u8 {
        match self {
            Compression::None | Compression::Lz4 => 0,
            Compression::Zstd(level) => level.clamp(0, *Self::ZSTD_LEVELS.end()) as u8,
            Compression::Lzma(preset) => LZMA_EFFORT + preset.min(*Self::LZMA_PRESETS.end()) as u8,
        }
    }

    /// Appends the compressed bytes to `body`.
    pub(crate) fn compress_into(self, bytes: &[u8], body: &mut Vec<u8>) -> Result<Codec> {
        let start = body.len();
        match self {
            Compression::None => Ok(Codec::None),
            Compression::Lz4 => {
                body.resize(start + lz4_flex::block::get_maximum_output_size(bytes.len()), 0);
                let (_, output) = body.split_at_mut(start);
                let len = lz4_flex::block::compress_into(bytes, output)
                    .map_err(|error| failed(io::Error::other(error)))?;
                body.truncate(start + len);
                Ok(Codec::Lz4)
            }
            Compression::Zstd(level) => {
                body.reserve_exact(zstd::zstd_safe::compress_bound(bytes.len()));
                // A cursor lets zstd write to memory that nobody has filled with zeros before.
                let mut output = io::Cursor::new(std::mem::take(body));
                output.set_position(start as u64);
                with_compressor(level, |zstd| zstd.compress_to_buffer(bytes, &mut output))?;
                *body = output.into_inner();
                Ok(Codec::Zstd)
            }
            Compression::Lzma(preset) => {
                let part = compress_lzma(bytes, preset).map_err(|error| failed(error.into()))?;
                body.extend_from_slice(&part);
                Ok(Codec::Lzma)
            }
        }
    }
}

/// The first `len` bytes of a group, at most all. The error says what is wrong.
pub(super) fn decompress(compressed: &[u8], frame: &Frame, len: usize) -> Result<Vec<u8>, String> {
    let plain_len = frame.plain_len as usize;
    let len = len.min(plain_len);
    let bytes = match frame.codec {
        Codec::None => compressed.get(..len).unwrap_or(compressed).to_vec(),
        Codec::Zstd => decompress_zstd(compressed, len, plain_len)
            .map_err(|error| format!("the zstd frame does not decompress: {error}"))?,
        Codec::Lz4 => lz4_flex::block::decompress(compressed, plain_len)
            .map_err(|error| format!("the lz4 block does not decompress: {error}"))?,
        Codec::Lzma => decompress_lzma(compressed, len, plain_len)
            .map_err(|error| format!("the xz stream does not decompress: {error}"))?,
    };
    // What ends early, or would go on behind its end.
    let is_right = match (frame.codec, bytes.len()) {
        (Codec::None, _) => compressed.len() == plain_len,
        (_, got) => (len..=plain_len).contains(&got),
    };
    match is_right {
        true => Ok(bytes),
        false => Err(format!("the group has {} bytes and should have {plain_len}", bytes.len())),
    }
}

/// Runs `work` with this thread's zstd context: making one costs as much as compressing a few kilobytes, and its memory.
fn with_compressor<R>(
    level: i32,
    work: impl FnOnce(&mut Compressor<'static>) -> io::Result<R>,
) -> Result<R> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some((kept_level, compressor)) if *kept_level == level => compressor,
            _ => &mut kept.insert((level, Compressor::new(level).map_err(failed)?)).1,
        };
        work(compressor).map_err(failed)
    })
}

thread_local! {
    static COMPRESSOR: RefCell<Option<(i32, Compressor<'static>)>> = const { RefCell::new(None) };
    static DECODER: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// Decompresses the first `len` bytes of a zstd frame that should have `whole`, and what else its blocks (of 128 KiB at most)
/// give; fewer if it ends before.
fn decompress_zstd(frame: &[u8], len: usize, whole: usize) -> Result<Vec<u8>, &'static str> {
    DECODER.with_borrow_mut(|kept| {
        let decoder = match kept {
            Some(decoder) => decoder,
            None => {
                let mut decoder = DCtx::try_create().ok_or("no memory for its decoder")?;
                // A frame says how much memory it needs.
                let window = DParameter::WindowLogMax(GROUP_LEN_MAX.ilog2());
                // What was decompressed serves as the window: no byte is copied.
                for parameter in [window, DParameter::StableOutBuffer(true)] {
                    decoder.set_parameter(parameter).map_err(get_error_name)?;
                }
                kept.insert(decoder)
            }
        };
        let mut bytes = Vec::with_capacity(whole);
        let mut output = OutBuffer::around(&mut bytes);
        // It says how much it takes next: a header, then block by block. Given more, it would decompress more. To begin again
        // drops what the last one left when it stopped.
        let mut wanted = decoder.init().map_err(get_error_name)?;
        let mut rest = frame;
        while wanted > 0 && (output.pos() < len || len == whole) {
            let Some(part) = rest.get(..wanted.min(rest.len())).filter(|part| !part.is_empty())
            else {
                break;
            };
            let mut input = InBuffer::around(part);
            wanted = decoder.decompress_stream(&mut output, &mut input).map_err(get_error_name)?;
            rest = rest.get(input.pos()..).unwrap_or_default();
        }
        if len == whole && wanted > 0 {
            return Err("it has no end");
        }
        if len == whole && !rest.is_empty() {
            return Err("something follows behind its end");
        }
        // The room for the rest of the group.
        bytes.shrink_to_fit();
        Ok(bytes)
    })
}

/// One xz stream: the filter for machine code comes first where there is much of it.
fn compress_lzma(bytes: &[u8], preset: u32) -> Result<Vec<u8>, liblzma::stream::Error> {
    let mut options = LzmaOptions::new_preset(preset)?;
    // A window of what there is, and no more memory than for that; the format has none below 4 KiB.
    options.dict_size((bytes.len() as u32).clamp(4096, GROUP_LEN_MAX));
    let mut filters = Filters::new();
    if is_code(bytes) {
        filters.x86();
    }
    filters.lzma2(&options);
    let mut stream = Stream::new_stream_encoder(&filters, Check::None)?;
    let mut output = Vec::with_capacity(bytes.len() + bytes.len() / 8 + 1024);
    while stream.process_vec(
        bytes.get(stream.total_in() as usize..).unwrap_or_default(),
        &mut output,
        Action::Finish,
    )? != Status::StreamEnd
    {
        output.reserve(output.capacity() / 2);
    }
    Ok(output)
}

/// Decompresses the first `len` bytes of an xz stream that should have `whole`; fewer if it ends before, and one more if all
/// are wanted and it goes on behind them.
fn decompress_lzma(
    bytes: &[u8],
    len: usize,
    whole: usize,
) -> Result<Vec<u8>, liblzma::stream::Error> {
    let len = if len == whole { len + 1 } else { len };
    // The window of the longest group, and what the decoder itself takes.
    let mut stream = Stream::new_stream_decoder(u64::from(GROUP_LEN_MAX) + (1 << 20), 0)?;
    let mut output = Vec::with_capacity(len);
    while output.len() < len {
        let rest = bytes.get(stream.total_in() as usize..).unwrap_or_default();
        let before = (stream.total_in(), stream.total_out());
        let status = stream.process_vec(rest, &mut output, Action::Run)?;
        if status == Status::StreamEnd || before == (stream.total_in(), stream.total_out()) {
            break;
        }
    }
    Ok(output)
}

/// Whether there is so much x86 code in these bytes that the filter for it pays: near calls and jumps (e8, e9) whose distance
/// is below 16 MiB either way. Random bytes have four such in 64 KiB; 128 are wanted.
fn is_code(bytes: &[u8]) -> bool {
    let is_near = |window: &&[u8]| matches!(window, [0xe8 | 0xe9, _, _, _, 0x00 | 0xff]);
    let count = bytes.windows(5).filter(is_near).count();
    count > bytes.len() / 512
}

fn failed(source: io::Error) -> Error {
    Error::System { what: "compressing a group", source }
}

#[cfg(test)]
mod tests {
    use garret_random::Random;

    use super::*;

    #[test]
    fn every_codec_gives_back_all_and_every_beginning() {
        let mut random = Random::new(1);
        let code: Vec<u8> = (0..40_000_u32)
            .flat_map(|at| [0xe8, (at % 251) as u8, (at % 7) as u8, 0, 0, 0x90, 0x48, 0x89])
            .collect();
        assert!(is_code(&code) && !is_code(&random.bytes(1 << 20)));
        let text = random.text(300_000);
        for bytes in [code.as_slice(), text.as_slice(), &[7], &[0; 100_000]] {
            for compression in [
                Compression::None,
                Compression::Lz4,
                Compression::Zstd(3),
                Compression::Zstd(19),
                Compression::Lzma(0),
                Compression::Lzma(9),
            ] {
                let mut body = b"before".to_vec();
                let codec = compression.compress_into(bytes, &mut body).unwrap();
                let body = if codec == Codec::None { bytes } else { &body[6..] };
                let len = bytes.len();
                let frame = Frame {
                    body_len: 0,
                    plain_len: len as u32,
                    chunk_count: 1,
                    codec,
                    effort: compression.effort(),
                };
                assert_eq!(Compression::like(codec, frame.effort).effort(), frame.effort);
                for wanted in [len, len / 2, len - 1, len / 10 * 8, 1, random.below(len + 1)] {
                    let got = decompress(body, &frame, wanted).unwrap();
                    assert!(got.len() >= wanted && bytes.starts_with(&got), "{compression:?}");
                    // No more than the block in which it ends.
                    assert!(codec != Codec::Zstd || got.len() < wanted + (128 << 10));
                }
                // What ends early, is longer, or is another is an error, and never wrong bytes of the right length.
                let short = decompress(&body[..body.len() / 2], &frame, len);
                assert!(short.is_err() || len == 1, "{compression:?}");
                let longer = Frame { plain_len: len as u32 + 1, ..frame };
                assert!(decompress(body, &longer, len + 1).is_err(), "{compression:?}");
                if codec == Codec::Zstd {
                    for lacking in 1..=4 {
                        let short = &body[..body.len() - lacking];
                        assert!(decompress(short, &frame, len).is_err(), "{compression:?}");
                    }
                    for behind in [body, &[0]] {
                        let followed = [body, behind].concat();
                        assert!(decompress(&followed, &frame, len).is_err(), "{compression:?}");
                    }
                }
            }
        }
    }
}
