//! Compressed clusters.
//!
//! In: the bytes of the file that a compressed cluster lies in; what follows its end there may be
//! a neighbour's. Out: exactly one cluster. Whatever the bytes say, no more than a cluster is ever
//! written and no window of more than 4 MiB is allocated.

use flate2::{Decompress, FlushDecompress};
use zstd::stream::raw::{DParameter, Decoder, Operation};
use zstd::zstd_safe::{InBuffer, OutBuffer};

use super::header::Compression;

/// Logarithm of the largest window a zstd frame may ask for. A cluster has 2 MiB at most, and an
/// encoder has no use for a window that is larger than what it compresses.
const WINDOW_LOG_MAX: u32 = 22;

/// A decompressor, to be used again and again.
pub(super) enum Inflater {
    /// "zlib" in the specification, by which it means raw deflate without header and checksum.
    Deflate(Decompress),
    Zstd(Decoder<'static>),
}

impl Inflater {
    pub(super) fn new(compression: Compression) -> std::io::Result<Inflater> {
        match compression {
            Compression::Zlib => Ok(Inflater::Deflate(Decompress::new(false))),
            Compression::Zstd => {
                let mut decoder = Decoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))?;
                Ok(Inflater::Zstd(decoder))
            }
        }
    }

    /// Fills `cluster` from `bytes`. `None` if these are no compressed cluster.
    pub(super) fn inflate(&mut self, bytes: &[u8], cluster: &mut [u8]) -> Option<()> {
        let filled = match self {
            Inflater::Deflate(inflate) => {
                inflate.reset(false);
                inflate.decompress(bytes, cluster, FlushDecompress::Finish).ok()?;
                usize::try_from(inflate.total_out()).ok()?
            }
            Inflater::Zstd(decoder) => inflate_zstd(decoder, bytes, cluster)?,
        };
        (filled == cluster.len()).then_some(())
    }
}

/// Frames are read until the cluster is full, as QEMU does it.
fn inflate_zstd(decoder: &mut Decoder<'_>, bytes: &[u8], cluster: &mut [u8]) -> Option<usize> {
    decoder.reinit().ok()?;
    let cluster_len = cluster.len();
    let mut input = InBuffer::around(bytes);
    let mut output = OutBuffer::around(cluster);
    while output.pos() < cluster_len {
        let before = (input.pos(), output.pos());
        decoder.run(&mut input, &mut output).ok()?;
        if (input.pos(), output.pos()) == before {
            break;
        }
    }
    Some(output.pos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_cluster_is_filled_exactly_or_refused() {
        let plain: Vec<u8> = (0..65536_u32).map(|n| (n / 7) as u8).collect();
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Default::default());
        encoder.write_all(&plain).unwrap();
        let deflated = encoder.finish().unwrap();
        let squeezed = zstd::bulk::compress(&plain, 3).unwrap();
        for (kind, bytes) in [(Compression::Zlib, deflated), (Compression::Zstd, squeezed)] {
            let mut inflater = Inflater::new(kind).unwrap();
            // Padded by what comes after it in the file.
            let padded = [&bytes[..], &[0xee; 500]].concat();
            let mut cluster = vec![0; plain.len()];
            assert_eq!(inflater.inflate(&padded, &mut cluster), Some(()), "{kind:?}");
            assert_eq!(cluster, plain);
            assert_eq!(inflater.inflate(&bytes, &mut vec![0; plain.len() + 1]), None, "too short");
            assert_eq!(inflater.inflate(&bytes[..bytes.len() / 2], &mut cluster), None, "cut");
            assert_eq!(inflater.inflate(&[0x13; 100], &mut cluster), None, "noise");
            assert_eq!(inflater.inflate(&padded, &mut cluster), Some(()), "usable after failures");
        }
    }

    #[test]
    fn a_frame_with_a_huge_window_is_refused() {
        // Magic, descriptor without single segment, window descriptor of 2^30 bytes, one raw block.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, (30 - 10) << 3, 0x0a << 3 | 1, 0, 0, 1, 2, 3];
        let mut inflater = Inflater::new(Compression::Zstd).unwrap();
        assert_eq!(inflater.inflate(&frame, &mut [0; 10]), None);
    }
}
