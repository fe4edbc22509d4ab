//! Images with a known content: pages like a guest's, zero runs and holes of every size, and nights that change them.
//!
//! Everything follows from a seed, so a failing case is repeated by its number.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use garret_random::Random;
use rustix::fs::SeekFrom;

/// Bytes in a page of a guest.
const PAGE: usize = 4096;

/// An image in memory: its content, and which zeros are holes when it is written sparse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The content.
    pub bytes: Vec<u8>,
    /// Page-aligned ranges of zeros, sorted, apart from each other.
    pub holes: Vec<Range<usize>>,
}

impl Image {
    /// An image of `len` bytes: runs of text, noise, pages that all images share, written zeros and holes.
    pub fn generate(seed: u64, len: usize) -> Self {
        let mut random = Random::new(seed);
        let mut image = Image { bytes: Vec::with_capacity(len), holes: Vec::new() };
        while image.bytes.len() < len {
            let kind = random.below(8);
            // Zeros may be so long that whole windows of the core (2 MiB) are never read.
            let is_long = kind >= 6 && random.below(8) == 0;
            let pages = 1 + random.below(if is_long { 3500 } else { 40 });
            let start = image.bytes.len();
            match kind {
                0..=1 => image.bytes.extend(random.text(pages * PAGE)),
                2..=3 => image.bytes.extend(random.bytes(pages * PAGE)),
                4..=5 => {
                    let first = random.below(1000);
                    (first..first + pages).for_each(|page| image.bytes.extend(shared_page(page)));
                }
                6 => image.bytes.resize(start + pages * PAGE, 0),
                _ => {
                    image.bytes.resize(start + pages * PAGE, 0);
                    image.add_hole(start..start + pages * PAGE);
                }
            }
        }
        image.resize(len);
        image
    }

    /// An image that is all data of no pattern.
    pub fn noise(seed: u64, len: usize) -> Self {
        Image { bytes: Random::new(seed).bytes(len), holes: Vec::new() }
    }

    /// An image with this content and no holes.
    pub fn of(bytes: Vec<u8>) -> Self {
        Image { bytes, holes: Vec::new() }
    }

    /// What a night does to an image: scattered pages overwritten, some trimmed to holes, sometimes bytes inserted.
    pub fn mutate(&mut self, seed: u64) {
        let mut random = Random::new(seed);
        let pages = self.bytes.len() / PAGE;
        for _ in 0..pages.div_ceil(50) {
            if pages == 0 {
                break;
            }
            let first = random.below(pages);
            let range = first * PAGE..(first + 1 + random.below(4)).min(pages) * PAGE;
            self.fill_holes(&range);
            let new = match random.below(4) {
                0 => vec![0; range.len()],
                1 => random.text(range.len()),
                _ => random.bytes(range.len()),
            };
            self.bytes[range].copy_from_slice(&new);
        }
        if random.below(4) == 0 && !self.bytes.is_empty() {
            let at = random.below(self.bytes.len());
            let len = 1 + random.below(20_000);
            let new = random.bytes(len);
            self.bytes.splice(at..at, new);
            self.holes.clear();
        }
    }

    /// Cuts the image, or lets it grow by noise.
    pub fn resize(&mut self, len: usize) {
        if self.bytes.len() < len {
            let more = Random::new(len as u64).bytes(len - self.bytes.len());
            self.bytes.extend(more);
            return;
        }
        self.bytes.truncate(len);
        self.holes.retain_mut(|hole| {
            hole.end = hole.end.min(len / PAGE * PAGE);
            hole.start < hole.end
        });
    }

    fn add_hole(&mut self, range: Range<usize>) {
        match self.holes.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.holes.push(range),
        }
    }

    /// Makes what lies in `range` written.
    fn fill_holes(&mut self, range: &Range<usize>) {
        let split = self.holes.iter().flat_map(|hole| {
            [hole.start..hole.end.min(range.start), hole.start.max(range.end)..hole.end]
        });
        self.holes = split.filter(|hole| hole.start < hole.end).collect();
    }

    /// Writes the content with real holes. On disk when this returns, so that the map of holes has settled.
    pub fn write_sparse(&self, path: &Path) {
        let file = File::create(path).unwrap();
        file.set_len(self.bytes.len() as u64).unwrap();
        let mut at = 0;
        for hole in &self.holes {
            file.write_all_at(&self.bytes[at..hole.start], at as u64).unwrap();
            at = hole.end;
        }
        file.write_all_at(&self.bytes[at..], at as u64).unwrap();
        file.sync_all().unwrap();
    }

    /// Writes the content, zeros and all.
    pub fn write_dense(&self, path: &Path) {
        let file = File::create(path).unwrap();
        file.write_all_at(&self.bytes, 0).unwrap();
        file.sync_all().unwrap();
    }
}

/// A page of a library that all images share: half text, half noise.
fn shared_page(number: usize) -> Vec<u8> {
    let mut random = Random::new(0x5eed_0000 + number as u64);
    let mut page = random.text(PAGE / 2);
    page.extend(random.bytes(PAGE / 2));
    page
}

/// Where a file has data, as the file system tells: the oracle for restored allocation.
pub fn data_map(path: &Path) -> Vec<Range<u64>> {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    let mut map = Vec::new();
    let mut at = 0;
    while let Ok(start) = rustix::fs::seek(&file, SeekFrom::Data(at)) {
        at = rustix::fs::seek(&file, SeekFrom::Hole(start)).unwrap();
        map.push(start..at);
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_follows_from_its_seed_and_holes_are_zeros() {
        for seed in 0..20 {
            let mut image = Image::generate(seed, 3_000_000 + seed as usize);
            assert_eq!(image, Image::generate(seed, 3_000_000 + seed as usize), "seed {seed}");
            for night in 0..4 {
                let zero = |hole: &Range<usize>| image.bytes[hole.clone()].iter().all(|b| *b == 0);
                assert!(image.holes.iter().all(zero), "seed {seed}, night {night}");
                image.mutate(seed * 100 + night);
            }
        }
    }

    #[test]
    fn a_sparse_file_has_the_content_and_the_holes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        let image = Image::generate(3, 2_000_001);
        image.write_sparse(&path);
        assert_eq!(std::fs::read(&path).unwrap(), image.bytes);
        let data: u64 = data_map(&path).iter().map(|range| range.end - range.start).sum();
        let holes: usize = image.holes.iter().map(Range::len).sum();
        assert_eq!(data as usize + holes, image.bytes.len());
        assert!(holes > 0 && data > 0);
    }
}
