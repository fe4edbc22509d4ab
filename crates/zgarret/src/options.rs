//! What `-O` and `-o` set: options of this run, and options that zbackup stores in a repository.
//!
//! In: `name=value` or a value. Out: what commands ask for, or zbackup's line about what is wrong.

use std::time::Duration;

use garret_cli::args::{available_threads, compression};
use garret_core::Compression;

use crate::sizes;

/// More threads than this are not started, however many are asked for.
const THREADS_MAX: usize = 1024;
/// The highest level of lzma; from ten on zbackup counts its extreme modes.
const LZMA_LEVEL_MAX: u32 = 19;

/// The kinds of files that `export` and `import` are asked to exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) backups: bool,
    pub(crate) bundles: bool,
    pub(crate) index: bool,
}

/// Options of this run.
#[derive(Debug, Default)]
pub(crate) struct Runtime {
    threads: Option<usize>,
    pub(crate) exchange: Exchange,
    /// How long to wait for other programs that use the repository.
    pub(crate) lock_wait: Option<Duration>,
    /// Bytes below which `backup DIR` passes files over.
    pub(crate) minimal_size: u64,
}

impl Runtime {
    /// Takes in `name=value`.
    pub(crate) fn set(&mut self, option: &str) -> Result<(), String> {
        let invalid = || Err(format!("Invalid option specified: {option}"));
        match option.split_once('=') {
            Some(("threads", value)) => self.set_threads(value),
            Some(("cache-size", value)) => self.set_cache_size(value),
            Some(("exchange", value)) => self.add_exchange(value),
            Some(("lock-wait", value)) => match value.parse() {
                Ok(seconds) => {
                    self.lock_wait = Some(Duration::from_secs(seconds));
                    Ok(())
                }
                Err(_) => invalid(),
            },
            Some(("backup.minimalSize", value)) => {
                self.minimal_size = size("backup.minimalSize", value)?;
                Ok(())
            }
            // What they ask for is what gc always does, or needs no asking.
            None if ["gc.repack", "gc.concat", "paths.respect_tmp"].contains(&option) => Ok(()),
            _ => invalid(),
        }
    }

    /// How many threads there may be.
    pub(crate) fn set_threads(&mut self, count: &str) -> Result<(), String> {
        match count.parse::<usize>() {
            Ok(threads) if threads > 0 => {
                self.threads = Some(threads.min(THREADS_MAX));
                Ok(())
            }
            _ => Err(format!("Invalid threads value specified: {count}")),
        }
    }

    /// Checked, and then not needed: what is kept in memory is bounded anyhow.
    pub(crate) fn set_cache_size(&mut self, value: &str) -> Result<(), String> {
        size("cache-size", value).map(drop)
    }

    /// One class more.
    pub(crate) fn add_exchange(&mut self, class: &str) -> Result<(), String> {
        match class {
            "backups" => self.exchange.backups = true,
            "bundles" => self.exchange.bundles = true,
            "index" | "indexes" => self.exchange.index = true,
            _ => {
                return Err(format!(
                    "Invalid exchange value specified: {class}. \
                     Must be one of the following: backups, bundles, indexes."
                ));
            }
        }
        Ok(())
    }

    /// At least one.
    pub(crate) fn threads(&self) -> usize {
        self.threads.unwrap_or_else(available_threads)
    }
}

fn size(name: &str, value: &str) -> Result<u64, String> {
    let invalid = || format!("Invalid option specified: {name}={value}");
    sizes::bytes(value).map_err(|text| text.unwrap_or_else(invalid))
}

/// Options that zbackup stores in a repository; here they are of this run too.
#[derive(Debug, Default)]
pub(crate) struct Storable {
    method: Option<Method>,
    lzma_level: Option<u32>,
    /// Sizes that were given: the format has its own.
    pub(crate) sizes: Vec<&'static str>,
    /// Every name that was given, in order.
    pub(crate) names: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug)]
enum Method {
    Lzma,
    Ours(Compression),
}

impl Storable {
    /// Takes in `name=value`.
    pub(crate) fn set(&mut self, option: &str) -> Result<(), String> {
        let invalid = || format!("Invalid option specified: {option}");
        let (name, value) = option.split_once('=').ok_or_else(invalid)?;
        let known = ["chunk.max_size", "bundle.max_payload_size", "lzma.compression_level"];
        match (known.into_iter().find(|known| *known == name), value.parse::<u32>()) {
            (Some("lzma.compression_level"), Ok(level)) if level <= LZMA_LEVEL_MAX => {
                self.lzma_level = Some(level);
                self.names.push("lzma.compression_level");
            }
            (Some("lzma.compression_level"), _) => return Err(invalid()),
            (Some(size), Ok(1..)) => {
                self.sizes.push(size);
                self.names.push(size);
            }
            (None, _) if ["bundle.compression_method", "compression"].contains(&name) => {
                return self.set_method(value);
            }
            _ => return Err(invalid()),
        }
        Ok(())
    }

    /// How new data is compressed, in words of zbackup or of ours.
    pub(crate) fn set_method(&mut self, method: &str) -> Result<(), String> {
        self.names.push("bundle.compression_method");
        self.method = Some(match method {
            "lzma" => Method::Lzma,
            "lzo" | "lzo1x_1" => Method::Ours(Compression::Lz4),
            "zero" => Method::Ours(Compression::None),
            ours => match compression(ours) {
                Ok(ours) => Method::Ours(ours),
                Err(why) if ours.starts_with("zstd") || ours.starts_with("lzma") => {
                    return Err(format!("{ours}: {why}"));
                }
                Err(_) => {
                    return Err(format!(
                        "zgarret doesn't support {method} compression. Supported compression methods: \
                         lzma, lzma,PRESET, lzo, lzo1x_1, zero, none, lz4, zstd, zstd,LEVEL"
                    ));
                }
            },
        });
        Ok(())
    }

    /// How new data is compressed. Who gives a level of lzma wants lzma.
    pub(crate) fn compression(&self) -> Compression {
        match (self.method, self.lzma_level) {
            (None, None) => Compression::default(),
            (Some(Method::Ours(ours)), _) => ours,
            (Some(Method::Lzma), None) => Compression::Lzma(6),
            // From 10 on they are those of xz with -e, which gains too little for its time.
            (_, Some(level)) => Compression::Lzma(level % 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(options: &[&str]) -> Result<Storable, String> {
        let mut storable = Storable::default();
        options.iter().try_for_each(|option| storable.set(option)).map(|()| storable)
    }

    #[test]
    fn methods_of_zbackup_have_codecs_of_ours() {
        for (options, expected) in [
            (&[][..], Compression::Zstd(3)),
            (&["compression=lzma"], Compression::Lzma(6)),
            (&["bundle.compression_method=lzma", "lzma.compression_level=0"], Compression::Lzma(0)),
            (&["lzma.compression_level=19"], Compression::Lzma(9)),
            (&["compression=lzo"], Compression::Lz4),
            (&["compression=lzo1x_1"], Compression::Lz4),
            (&["compression=zero"], Compression::None),
            (&["compression=none"], Compression::None),
            (&["compression=zstd,-3"], Compression::Zstd(-3)),
            (&["compression=lz4", "lzma.compression_level=9"], Compression::Lz4),
        ] {
            assert_eq!(stored(options).unwrap().compression(), expected, "{options:?}");
        }
    }

    #[test]
    fn options_that_are_none_are_named() {
        for option in [
            "foo",
            "foo=1",
            "chunk.max_size",
            "chunk.max_size=foo",
            "chunk.max_size=0",
            "lzma.compression_level=20",
        ] {
            let expected = format!("Invalid option specified: {option}");
            assert_eq!(stored(&[option]).err(), Some(expected));
        }
        for option in
            ["foo", "threads", "cache-size=x", "gc.concat=1", "lock-wait=-1", "backup.minimalSize="]
        {
            let expected = format!("Invalid option specified: {option}");
            assert_eq!(Runtime::default().set(option), Err(expected));
        }
        assert!(
            stored(&["compression=gzip"])
                .err()
                .unwrap()
                .contains("lzma, lzma,PRESET, lzo, lzo1x_1, zero")
        );
        assert!(stored(&["compression=zstd,99"]).err().unwrap().contains("-7 to 22"));
    }

    #[test]
    fn run_options_are_taken_in() {
        let mut runtime = Runtime::default();
        for option in ["threads=5", "cache-size=1GiB", "exchange=indexes", "exchange=backups"] {
            assert_eq!(runtime.set(option), Ok(()), "{option}");
        }
        for option in ["gc.concat", "gc.repack", "paths.respect_tmp", "backup.minimalSize=2MiB"] {
            assert_eq!(runtime.set(option), Ok(()), "{option}");
        }
        assert_eq!((runtime.threads(), runtime.minimal_size), (5, 2 << 20));
        assert_eq!(runtime.exchange, Exchange { backups: true, bundles: false, index: true });
        for count in ["0", "-1", "", "x", "1.5"] {
            let expected = format!("Invalid threads value specified: {count}");
            assert_eq!(runtime.set_threads(count), Err(expected));
        }
        runtime.set_threads("99999999").unwrap();
        assert_eq!(runtime.threads(), THREADS_MAX);
    }
}
