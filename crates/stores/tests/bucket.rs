//! A repository in a bucket, on a real server of S3's protocol: the contract, on a server that keeps to conditions and on one
//! that does not, and on a line on which requests go wrong. Needs moto, which `tests/run` brings.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use garret_core::{Key, LockMode, Retry, RetryOptions, Store, StoreErrorKind};
use garret_remote::Removable;
use garret_stores::{ObjectStore, Paces, Place};
use garret_testkit::{BUCKET, Fate, Proxy, Random, bucket_server, store_suite};

/// A prefix that nobody else has, on the server at this address.
fn store(server: SocketAddr) -> ObjectStore {
    paced(server, Paces::default())
}

fn paced(server: SocketAddr, paces: Paces) -> ObjectStore {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::SeqCst);
    let place = format!("s3://{BUCKET}/{}/{number}?endpoint=http://{server}", std::process::id());
    // The server looks at neither.
    let variable = |name: &str| name.starts_with("AWS_").then(|| "any".to_owned());
    ObjectStore::new(Place::parse_with(&place, &variable).unwrap(), paces).unwrap()
}

/// As the program asks, without its pauses.
fn patient(store: ObjectStore) -> Retry<ObjectStore> {
    let mut options = RetryOptions::default();
    options.pause = Duration::from_millis(1);
    Retry::new(store, options)
}

#[test]
fn a_bucket_keeps_the_contract() {
    store_suite(&|| Box::new(patient(store(bucket_server()))));
}

/// On servers that `tests/stores` starts, each with the variables that say who asks.
#[test]
#[ignore = "tests/stores runs it"]
fn the_place_that_is_named_keeps_the_contract() {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let place = std::env::var("GARRET_TEST_PLACE").unwrap();
    store_suite(&|| {
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let place = place.replace("PREFIX", &format!("{}/{number}", std::process::id()));
        Box::new(patient(
            ObjectStore::new(Place::parse(&place).unwrap(), Paces::default()).unwrap(),
        ))
    });
}

/// Most servers of old, and some of today.
#[test]
fn a_bucket_whose_server_ignores_conditions_keeps_it_too() {
    let proxy = Proxy::before(bucket_server(), |_, _| Fate::Unconditional);
    assert_eq!(store(proxy.address).is_exclusive().unwrap(), Some(false));
    store_suite(&|| Box::new(patient(store(proxy.address))));
}

/// Each fifth request fails, each time in another way.
#[test]
fn a_bad_line_keeps_it_too() {
    const FATES: [Fate; 4] = [Fate::Lost, Fate::Unanswered, Fate::Cut, Fate::Busy];
    let seed = std::env::var("GARRET_SEED").map_or(1, |seed| seed.parse().unwrap());
    eprintln!("GARRET_SEED={seed}");
    let random = Mutex::new(Random::new(seed));
    let proxy = Proxy::before(bucket_server(), move |_, _| {
        let drawn = random.lock().unwrap().below(20);
        FATES.get(drawn as usize).copied().unwrap_or(Fate::Answered)
    });
    store_suite(&|| Box::new(patient(store(proxy.address))));
}

#[test]
fn a_repository_that_is_removed_takes_only_what_is_its_own() {
    let store = store(bucket_server());
    store.find_nothing().unwrap();
    assert_eq!(store.find().unwrap_err().kind, StoreErrorKind::NotFound);
    store.put_new(&Key::Config, b"made by init").unwrap();
    store.put(&Key::ConfigCopy, &[b"made by init"]).unwrap();
    store.find().unwrap();
    assert_eq!(store.taken_len().unwrap(), 24);
    assert_eq!(store.find_nothing().unwrap_err().kind, StoreErrorKind::AlreadyExists);
    let name = "a night".to_owned();
    let alone = store.lock(LockMode::Exclusive, Duration::ZERO, &mut |_| {}).unwrap();
    store.put(&Key::Archive(name), &[b"an archive"]).unwrap();
    store.remove().unwrap();
    drop(alone);
    store.find_nothing().unwrap();
    // What init made is taken back whatever it is, and only by who found nothing.
    store.put(&Key::Condemned, &[b"x"]).unwrap();
    store.undo_create().unwrap();
    store.find_nothing().unwrap();
}

/// What goes up and what comes down each takes its time, whatever the line could carry.
#[test]
fn a_pace_is_kept_both_ways() {
    let rate = std::num::NonZero::new(200_000);
    let bytes = vec![7; 400_000];
    let key = Key::Archive("paced".to_owned());
    // All but the last piece are paid for, and the pieces are small.
    let least = Duration::from_millis(1500);
    let up = paced(bucket_server(), Paces::new(rate, None));
    let start = Instant::now();
    up.put(&key, &[&bytes]).unwrap();
    assert!(start.elapsed() > least, "{:?}", start.elapsed());
    assert!(up.get_whole(&key, 1 << 20).unwrap() == bytes);
    let down = paced(bucket_server(), Paces::new(None, rate));
    down.put(&key, &[&bytes]).unwrap();
    let start = Instant::now();
    let read = [0..200_000, 200_000..400_000].map(|range| down.get(&key, range).unwrap());
    assert!(read.concat() == bytes);
    assert!(down.get(&key, 0..1).unwrap() == [7]);
    assert!(start.elapsed() > least, "{:?}", start.elapsed());
}
