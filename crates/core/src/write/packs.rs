//! The pack thread: sealed groups become packs, packs are stored, segments list them.
//!
//! In: sealed groups and their lanes, in the order in which their places were planned. Out: packs and segments in the store,
//! and the segments to whoever writes. Promises: a pack is stored before the segment that lists it; as many packs are named
//! and put at once as the store wants, or as the workers need, [`PACKS_IN_FLIGHT_MAX`] at most, and each counts only when it
//! and those before it are there.

use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender};
use garret_format::index::PackRow;
use garret_format::pack::Footer;
use garret_format::{PackId, SegmentId};

use crate::error::Result;
use crate::keys::seal::Sealer;
use crate::limits::PACKS_IN_FLIGHT_MAX;
use crate::objects::index::{IndexWriter, Rows, store_segment};
use crate::objects::pack::{PackBuilder, SealedGroup};
use crate::pipeline::with_workers;
use crate::store::{Key, Store};
use crate::write::lane::{Lane, Lanes};

/// Workers whose packs one thread names and writes: that is a twenty-fourth of what they do (docs/benchmarks.md, "More
/// cores"), of what compresses badly twice as much.
const WORKERS_PER_PACK: usize = 8;

/// The packs that were put, or of which that was begun, whatever became of it.
#[derive(Default)]
pub(crate) struct PackLog(Mutex<Vec<PackId>>);

impl PackLog {
    fn add(&self, pack: PackId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(pack);
    }

    pub(crate) fn packs(&self) -> Vec<PackId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Stores packs, and a segment for every so many chunks.
pub(super) struct PackWriter<'r> {
    pub(super) store: &'r dyn Store,
    pub(super) data: &'r Sealer,
    pub(super) metadata: &'r Sealer,
    pub(super) log: Option<&'r PackLog>,
    /// Threads that compress.
    pub(super) workers: usize,
    pub(super) segments: Sender<(SegmentId, Rows)>,
}

impl PackWriter<'_> {
    /// Until no group comes any more. Returns how many packs it stored, and their bytes.
    pub(super) fn store_all(self, sealed: &Receiver<(Lane, SealedGroup)>) -> Result<(u64, u64)> {
        let mut index = IndexWriter::default();
        let (mut count, mut bytes) = (0, 0);
        let wanted = self.store.properties().in_flight.max(self.workers / WORKERS_PER_PACK);
        with_workers(wanted.min(PACKS_IN_FLIGHT_MAX), |threads| {
            let (store, log) = (self.store, self.log);
            let packs = Packs { data: self.data, sealed, open: Lanes::default() }.map(Ok);
            for stored in threads.map(packs, move |pack| put(store, log, pack)) {
                let (row, footer) = stored?;
                count += 1;
                bytes += u64::from(row.len);
                if let Some(rows) = index.push(row, &footer) {
                    self.list(rows)?;
                }
            }
            Ok(())
        })?;
        if let Some(rows) = index.finish() {
            self.list(rows)?;
        }
        Ok((count, bytes))
    }

    /// Stores a segment.
    fn list(&self, rows: Rows) -> Result<()> {
        let id = store_segment(self.store, self.metadata, &rows)?;
        // The receiver is gone only when the operation already failed.
        drop(self.segments.send((id, rows)));
        Ok(())
    }
}

fn put(store: &dyn Store, log: Option<&PackLog>, pack: PackBuilder) -> Result<(PackRow, Footer)> {
    let pack = pack.finish();
    log.iter().for_each(|log| log.add(pack.row.id));
    let parts: Vec<&[u8]> = pack.parts.iter().map(Vec::as_slice).collect();
    store.put(&Key::Pack(pack.row.id), &parts)?;
    Ok((pack.row, pack.footer))
}

/// Packs out of groups, as the groups come; each has all that it will have.
struct Packs<'r> {
    data: &'r Sealer,
    sealed: &'r Receiver<(Lane, SealedGroup)>,
    open: Lanes<Option<PackBuilder>>,
}

impl Iterator for Packs<'_> {
    type Item = PackBuilder;

    fn next(&mut self) -> Option<PackBuilder> {
        for (lane, group) in self.sealed {
            let open = self.open.of(lane);
            let Some(builder) = open else {
                *open = Some(PackBuilder::begin(self.data.clone(), group));
                continue;
            };
            if let Some(group) = builder.push(group) {
                let next = PackBuilder::begin(self.data.clone(), group);
                return Some(std::mem::replace(builder, next));
            }
        }
        Lane::ALL.into_iter().find_map(|lane| self.open.of(lane).take())
    }
}
