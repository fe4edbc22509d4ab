//! The master key on paper: bare, with what tells that it is of this repository. docs/format.md, "Paper".

use garret_format::paper::{self, PAPER_LEN};
use garret_format::{ConfigHash, RepositoryId};
use zeroize::Zeroizing;

use super::MasterKey;

/// The lines of a paper.
pub(crate) fn write(
    master: &MasterKey,
    repository: RepositoryId,
    config: ConfigHash,
) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; PAPER_LEN]);
    let (key, tag) = bytes.split_at_mut(32);
    key.copy_from_slice(&**master.0);
    tag.copy_from_slice(&proof(master, repository, config));
    paper::write(&bytes)
}

/// The key on a paper, if it is one of this repository.
pub(crate) fn read(
    bytes: &[u8; PAPER_LEN],
    repository: RepositoryId,
    config: ConfigHash,
) -> Option<MasterKey> {
    let (key, tag) = bytes.split_at(32);
    let mut master = MasterKey::blank();
    master.0.copy_from_slice(key);
    (*tag == proof(&master, repository, config)).then_some(master)
}

/// What only this key gives for this repository and configuration.
fn proof(master: &MasterKey, repository: RepositoryId, config: ConfigHash) -> [u8; 8] {
    let mut key = Zeroizing::new([0; 32]);
    master.derive("garret v1 paper", &mut *key);
    let mut hasher = blake3::Hasher::new_keyed(&key);
    hasher.update(repository.as_bytes()).update(config.as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: ConfigHash = ConfigHash::from_bytes([0x22; 32]);
    const REPOSITORY: RepositoryId = RepositoryId::from_bytes([0x11; 32]);

    fn bytes(text: &str) -> [u8; PAPER_LEN] {
        let groups = (1..).zip(text.lines()).flat_map(|(number, line)| {
            let group = line.split_once(':').unwrap().1;
            *paper::read_group(number, group).ok().unwrap().bytes
        });
        groups.collect::<Vec<u8>>().try_into().unwrap()
    }

    /// The example of docs/format.md, which other implementations go by.
    #[test]
    fn a_paper_is_that_of_the_page_and_opens_this_repository_only() {
        let mut master = MasterKey::blank();
        (0..).zip(master.0.iter_mut()).for_each(|(number, byte)| *byte = number);
        let text = write(&master, REPOSITORY, CONFIG);
        let page = include_str!("../../../../docs/format.md");
        let block = page.split("```text paper\n").nth(1).unwrap_or_default();
        assert_eq!(block.split("```").next(), Some(text.as_str()), "docs/format.md, \"Paper\"");
        let bytes = bytes(&text);
        assert!(read(&bytes, REPOSITORY, CONFIG).is_some_and(|found| found.0 == master.0));
        assert!(read(&bytes, RepositoryId::from_bytes([1; 32]), CONFIG).is_none());
        assert!(read(&bytes, REPOSITORY, ConfigHash::from_bytes([1; 32])).is_none());
        for place in 0..PAPER_LEN {
            let mut wrong = bytes;
            wrong[place] ^= 1;
            assert!(read(&wrong, REPOSITORY, CONFIG).is_none(), "byte {place}");
        }
    }
}
