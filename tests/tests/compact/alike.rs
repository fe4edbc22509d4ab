//! What is alike and far apart: it comes together, and stays so.

use garret_format::config::KeyMode;
use garret_random::Random;
use garret_testkit::Lab;

use super::{all_are, compact, len, name, next_release, packs, row_distance, store_all, text};

/// Two releases of the same, with a disk between them: the later costs what is new in it.
#[test]
fn what_is_alike_and_far_apart_comes_together() {
    const LEN: usize = 6 << 20;
    let [alone, alike] = [false, true].map(|is_alike| {
        let mut random = Random::new(17);
        let first = text(&mut random, LEN);
        let between = text(&mut random, 2 * LEN);
        let other = text(&mut random, LEN);
        let second = if is_alike { next_release(&mut random, &first) } else { other };
        let image = [first, between, second].concat();
        let (lab, store) = Lab::memory(KeyMode::None);
        store_all(&lab, std::slice::from_ref(&image));
        compact(&lab);
        all_are(&lab, &[image]);
        len(&store) as usize
    });
    // The text takes half of its length. Of that three quarters are there already; to say where takes something, too.
    assert!(alike + LEN / 2 / 2 < alone, "{alike} and {alone}");
}

/// Releases that come and go, with rows that change: whatever compact brought together stays as it is until it is touched.
#[test]
fn what_came_together_stays_until_it_is_touched() {
    for seed in 0..3 {
        let mut random = Random::new(seed);
        let (lab, store) = Lab::memory(KeyMode::Passphrase);
        let mut image = text(&mut random, 6 << 20);
        let (mut kept, mut compressed, mut copied, mut new) = (Vec::new(), 0, 0, 0);
        for night in 0..6 {
            match random.below(3) {
                0 => {
                    let release = next_release(&mut random, &image[..2 << 20]);
                    let at = random.below(image.len() >> 16) << 16;
                    image.splice(at..at, release);
                }
                1 => {
                    let at = random.below(image.len() - (1 << 20));
                    let next = next_release(&mut random, &image[at..at + (1 << 20)]);
                    image[at..at + next.len()].copy_from_slice(&next);
                }
                _ => {
                    for _ in 0..image.len() / row_distance() {
                        let row = text(&mut random, 60);
                        let at = random.below(image.len() - row.len());
                        image[at..at + row.len()].copy_from_slice(&row);
                    }
                }
            }
            new += lab.backup_bytes(&name(night), &image).unwrap().written.chunk_bytes;
            kept.push((night, image.clone()));
            if random.below(4) == 0 {
                let (gone, _) = kept.remove(random.below(kept.len()));
                lab.delete(&name(gone)).unwrap();
            }
            let done = compact(&lab);
            compressed += done.plain_len;
            copied += done.gc.repacked_bytes;
            let before = packs(&store);
            assert_eq!(compact(&lab).group_count, 0, "seed {seed}, night {night}");
            assert_eq!(packs(&store), before, "seed {seed}, night {night}");
            for (night, image) in &kept {
                assert!(lab.restore_bytes(&name(*night)).unwrap() == *image, "seed {seed}");
            }
        }
        assert!(compressed < new * 2, "seed {seed}: {compressed} for {new}");
        assert!(copied < new * 2, "seed {seed}: {copied} for {new}");
        lab.check();
    }
}
