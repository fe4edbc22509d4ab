//! Why a file is not read as a qcow2 image.
//!
//! In: what the parser met. Out: one line for `create -v`, beginning in lower case.

/// The structure of the file that a doubt is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Structure {
    /// The first cluster: header, extensions, name of the backing file.
    Header,
    /// The active L1 table.
    L1,
    /// An L2 table of the active layer.
    L2,
    /// The refcount table.
    Refcounts,
    /// The table of internal snapshots.
    Snapshots,
    /// A cluster of the guest's disk.
    Data,
    /// A compressed cluster of the guest's disk.
    Compressed,
}

impl std::fmt::Display for Structure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Structure::Header => "header",
            Structure::L1 => "L1 table",
            Structure::L2 => "L2 table",
            Structure::Refcounts => "refcount table",
            Structure::Snapshots => "snapshot table",
            Structure::Data => "data cluster",
            Structure::Compressed => "compressed cluster",
        })
    }
}

/// The reason for which a file is taken as opaque bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Doubt {
    /// Another magic number or version.
    #[error("not a qcow2 file of version 2 or 3")]
    NotQcow2,
    /// A field of the header that contradicts the format or a limit.
    #[error("its header has {field} = {value}")]
    Field {
        /// The field's name in the specification.
        field: &'static str,
        /// What it says.
        value: u64,
    },
    /// Incompatible feature bits of which nothing is known here.
    #[error("it has unknown features (bits {0:#x})")]
    Features(u64),
    /// The guest's data is encrypted.
    #[error("it is encrypted")]
    Encrypted,
    /// The guest's data lies in another file.
    #[error("its data is in another file")]
    ExternalData,
    /// The L1 table is too small for the size of the disk.
    #[error("its L1 table of {entries} entries does not cover the disk of {guest_len} bytes")]
    L1TooSmall {
        /// Entries there are.
        entries: u64,
        /// Bytes of the guest's disk.
        guest_len: u64,
    },
    /// Not at the start of a cluster.
    #[error("{structure} at {offset} is not aligned")]
    Misaligned {
        /// What.
        structure: Structure,
        /// Where in the file, in bytes.
        offset: u64,
    },
    /// Not within the file.
    #[error("{structure} at {offset} lies outside of the file")]
    OutOfRange {
        /// What.
        structure: Structure,
        /// Where in the file it should be, in bytes.
        offset: u64,
    },
    /// Shares bytes with something else.
    #[error("{structure} at {offset} overlaps with something else")]
    Overlap {
        /// What.
        structure: Structure,
        /// Where in the file, in bytes.
        offset: u64,
    },
    /// An entry of a table with bits that must not be set, or not together.
    #[error("an entry of an {structure} is invalid ({entry:#x})")]
    Entry {
        /// Whose entry.
        structure: Structure,
        /// The entry; of an extended one the half that is wrong.
        entry: u64,
    },
    /// More runs or compressed clusters than are kept.
    #[error("it is too fragmented")]
    Fragmented,
}
