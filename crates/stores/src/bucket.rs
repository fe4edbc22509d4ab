//! The way to a bucket: requests of the library `opendal`, one at a time for whoever asks, and what its errors mean.
//!
//! In: a [`Bucket`], names, bytes. Out: what the store answers. Promises: those of a [`Service`]; each error is one line,
//! without the addresses and headers that the library adds.
//!
//! But for this file, `transport.rs` and `place/` nothing in garret knows that library.

use std::error::Error as _;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use garret_core::{StoreError, StoreErrorKind};
use opendal::options::{ListOptions, WriteOptions};
use opendal::{Buffer, Error, ErrorKind, HttpTransporter, Metadata, Operator};
use reqwest::redirect::Policy;
use tokio::runtime::Runtime;

use crate::login::{Refusal, log_in};
use crate::names::NAME_LEN_MAX;
use crate::paces::Paces;
use crate::place::{Bucket, Provider, Swift};
use crate::service::{Listed, Service, deepest, ends_behind, line};
use crate::transport::{SILENCE, Transport};

/// How long a server may take to be reached at all.
const CONNECT: Duration = Duration::from_secs(10);
/// What the library says where a request could not be signed,
const SIGNING: &str = "signing http request";
/// and what an answer has in it that those of Azure and Google give for what nobody signed right. It is no refusal to it.
const UNAUTHORIZED: &str = "status: 401";
/// What AWS calls it when two create one object at once.
const CONFLICT: &str = "ConditionalRequestConflict";

/// A bucket, and the prefix in it.
pub(crate) struct BucketService {
    ways: Mutex<Ways>,
    client: reqwest::Client,
    paces: Arc<Paces>,
    runtime: Runtime,
    place: Bucket,
}

/// The last way that there was, none before anything is asked; and when none was found why, and when that was.
#[derive(Default)]
struct Ways {
    last: Option<Way>,
    failed: Option<(Instant, Refusal)>,
}

/// How the store is asked, with what says who we are.
#[derive(Clone)]
struct Way {
    operator: Operator,
    /// Which one it is.
    number: u64,
}

impl BucketService {
    /// The way to `place`; nothing is asked yet.
    ///
    /// # Errors
    /// There can be none, for want of threads or because of the endpoint.
    pub(crate) fn new(place: Bucket, paces: Arc<Paces>) -> Result<Self, StoreError> {
        // Whoever was first has set the same one.
        let _same = rustls::crypto::ring::default_provider().install_default();
        let runtime =
            crate::service::runtime().map_err(|source| StoreError::new("open", &place, source))?;
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            // What says who we are goes where the user said.
            .redirect(Policy::none())
            // What was sent and is not taken by the other side, and nothing says why.
            .tcp_user_timeout(SILENCE)
            .build()
            .map_err(|error| StoreError::new("open", &place, io::Error::other(deepest(&error))))?;
        Ok(BucketService { ways: Mutex::default(), client, paces, runtime, place })
    }

    /// The way there; another one than that of the number `refused`, where it can be asked again who we are.
    fn way(&self, refused: Option<u64>) -> Result<Way, StoreError> {
        let began = Instant::now();
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let last = ways.last.as_ref().map(|way| way.number);
        if let Some(way) = ways.last.as_ref().filter(|way| Some(way.number) != refused) {
            return Ok(way.clone());
        }
        // Who has waited for one who failed has had his try: a user is locked out after a few.
        if let Some((_, refusal)) = ways.failed.as_ref().filter(|(failed, _)| *failed >= began) {
            return Err(self.no_account(refusal));
        }
        let (bucket, root) = (&self.place.bucket, format!("/{}", self.place.prefix));
        let _inside = self.runtime.enter();
        let operator = match &self.place.provider {
            Provider::Azblob(azblob) => azblob.operator(bucket, &root),
            Provider::Gcs(gcs) => gcs.operator(bucket, &root),
            Provider::S3(s3) => s3.operator(bucket, &root),
            Provider::Swift(swift) => match self.runtime.block_on(log_in(&self.client, swift)) {
                Ok((url, token)) => Swift::operator(&url, &token, bucket, &root),
                Err(refusal) => {
                    let error = self.no_account(&refusal);
                    ways.failed = Some((Instant::now(), refusal));
                    return Err(error);
                }
            },
        };
        let operator = operator.map_err(|error| self.failed("open", "", &error))?;
        let transport =
            HttpTransporter::new(Transport::new(self.client.clone(), Arc::clone(&self.paces)));
        let context = operator.context().with_http_transport(transport);
        let number = last.map_or(0, |last| last + 1);
        let way = Way { operator: operator.with_context(context), number };
        Ok(ways.last.insert(way).clone())
    }

    fn object(&self, name: &str) -> String {
        let slash = if name.is_empty() { "" } else { "/" };
        format!("{}{slash}{name}", self.place)
    }

    /// A request; made again if it is refused where what says who we are ends some time.
    fn ask<T, F: Future<Output = opendal::Result<T>>>(
        &self,
        (operation, name): (&'static str, &str),
        request: impl Fn(Operator) -> F,
    ) -> Result<T, StoreError> {
        let len = self.place.prefix.len() + 1 + name.len();
        if len > NAME_LEN_MAX {
            let why = format!(
                "its name has {len} bytes in the bucket, and may have {NAME_LEN_MAX}: choose a shorter one"
            );
            let source = io::Error::new(io::ErrorKind::InvalidFilename, why);
            return Err(StoreError::new(operation, self.object(name), source));
        }
        let way = self.way(None)?;
        let mut answer = self.runtime.block_on(request(way.operator));
        let is_refused = |error: &Error| error.kind() == ErrorKind::PermissionDenied;
        if answer.as_ref().is_err_and(is_refused) && self.place.provider.renews() {
            let way = self.way(Some(way.number))?;
            answer = self.runtime.block_on(request(way.operator));
        }
        answer.map_err(|error| self.failed(operation, name, &error))
    }

    /// At most `max` bytes of an answer, or all of it.
    fn read(&self, name: &str, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>, StoreError> {
        let read = |operator: Operator| {
            let range = range.clone();
            async move {
                let reader = operator.reader(name).await?;
                let mut stream = match range {
                    Some(range) => reader.into_stream(range).await?,
                    None => reader.into_stream(..).await?,
                };
                let mut bytes = Vec::new();
                while (bytes.len() as u64) < max {
                    let Some(part) = stream.next().await.transpose()? else { break };
                    let left =
                        usize::try_from(max).unwrap_or(usize::MAX).saturating_sub(bytes.len());
                    for part in part {
                        let taken = part.get(..left.min(part.len())).unwrap_or_default();
                        bytes.extend_from_slice(taken);
                    }
                }
                Ok(bytes)
            }
        };
        self.ask(("read", name), read)
    }

    fn stat(&self, name: &str) -> Result<Metadata, StoreError> {
        self.ask(("read", name), async |operator: Operator| operator.stat(name).await)
    }

    /// What an error of the library means to a repository.
    fn failed(&self, operation: &'static str, name: &str, error: &Error) -> StoreError {
        let kind = match error.kind() {
            ErrorKind::NotFound => StoreErrorKind::NotFound,
            ErrorKind::AlreadyExists | ErrorKind::ConditionNotMatch => {
                StoreErrorKind::AlreadyExists
            }
            ErrorKind::PermissionDenied => StoreErrorKind::Denied,
            ErrorKind::RangeNotSatisfied => StoreErrorKind::WrongLength,
            ErrorKind::RateLimited => StoreErrorKind::Transient,
            // Two create one object at once, and the server says to come back.
            _ if error.is_temporary() || error.message().contains(CONFLICT) => {
                StoreErrorKind::Transient
            }
            _ if error.to_string().contains(UNAUTHORIZED) => StoreErrorKind::Denied,
            _ if error.message() == SIGNING && self.place.provider.asks_for_tokens() => {
                StoreErrorKind::Transient
            }
            _ => StoreErrorKind::Other,
        };
        let source = match kind {
            // What lies below a prefix can be listed wherever there is a bucket.
            StoreErrorKind::NotFound if operation == "list" => {
                io::Error::new(io::ErrorKind::NotFound, "there is no such bucket: make it first")
            }
            StoreErrorKind::NotFound => io::ErrorKind::NotFound.into(),
            _ => io::Error::other(words(error, kind, &self.place.provider)),
        };
        StoreError { kind, operation, object: self.object(name), source }
    }

    /// Nobody says who we are.
    fn no_account(&self, refusal: &Refusal) -> StoreError {
        let (kind, source) = (refusal.kind, io::Error::other(line(&refusal.why)));
        StoreError { kind, operation: "log in to", object: self.place.to_string(), source }
    }
}

impl Service for BucketService {
    fn connect(&self) -> Result<(), StoreError> {
        self.way(None).map(drop)
    }

    fn put(&self, name: &str, parts: &[&[u8]], is_new: bool) -> Result<(), StoreError> {
        let bytes = Buffer::from(parts.concat());
        let operation = if is_new { "create" } else { "write" };
        let write = |operator: Operator| {
            let (name, bytes) = (name.to_owned(), bytes.clone());
            let options = WriteOptions { if_not_exists: is_new, ..WriteOptions::default() };
            async move { operator.write_options(&name, bytes, options).await }
        };
        self.ask((operation, name), write).map(drop)
    }

    fn get(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let len = range.end.saturating_sub(range.start);
        let bytes = self.read(name, Some(range.clone()), len);
        match bytes {
            Ok(bytes) if bytes.len() as u64 == len => Ok(bytes),
            // Some servers give what there is, others nothing, and the library takes either for a broken line.
            result => {
                let whole = self.len(name)?;
                match (range.end > whole, result) {
                    (true, _) => Err(ends_behind(self.object(name), whole, &range)),
                    (false, Err(error)) => Err(error),
                    (false, Ok(_)) => {
                        let source = io::Error::new(
                            io::ErrorKind::ConnectionAborted,
                            "the answer is too short",
                        );
                        Err(StoreError::new("read", self.object(name), source))
                    }
                }
            }
        }
    }

    fn get_whole(&self, name: &str, max: u64) -> Result<Vec<u8>, StoreError> {
        let bytes = self.read(name, None, max.saturating_add(1))?;
        match bytes.len() as u64 > max {
            true => Err(StoreError::too_long(self.object(name), self.len(name)?, max)),
            false => Ok(bytes),
        }
    }

    fn len(&self, name: &str) -> Result<u64, StoreError> {
        Ok(self.stat(name)?.content_length())
    }

    fn put_time(&self, name: &str) -> Result<Option<Duration>, StoreError> {
        Ok(put(&self.stat(name)?))
    }

    fn list(&self, directory: &str, max: usize) -> Result<Vec<Listed>, StoreError> {
        // Requests are made as the listing is read: all of it is one that may be refused.
        let list = async |operator: Operator| {
            let options = ListOptions { recursive: true, ..ListOptions::default() };
            let mut lister = operator.lister_options(directory, options).await?;
            let mut listed = Vec::new();
            while listed.len() < max {
                // Most come with the page that is there.
                let Some(entry) = lister.next().await.transpose()? else { break };
                let found = entry.metadata();
                if found.is_file() {
                    let (name, len) = (entry.path().to_owned(), found.content_length());
                    listed.push(Listed { name, len, put: put(found) });
                }
            }
            Ok(listed)
        };
        self.ask(("list", directory), list)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.ask(("remove", name), async |operator: Operator| operator.delete(name).await)
    }

    fn adopt(&self, _name: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn touch(&self, _directory: &str) {}

    fn clear(&self) {}

    fn lists_late(&self) -> bool {
        self.place.provider.lists_late()
    }

    fn lists_in_order(&self) -> bool {
        true
    }

    fn place(&self) -> String {
        self.place.to_string()
    }
}

/// Whether a server refused to create an object because somebody else is at it.
pub(crate) fn is_conflict(error: &StoreError) -> bool {
    error.source.to_string().contains(CONFLICT)
}

fn put(found: &Metadata) -> Option<Duration> {
    let time = found.last_modified()?.into_inner();
    let nanos = u32::try_from(time.subsec_nanosecond()).ok()?;
    Some(Duration::new(u64::try_from(time.as_second()).ok()?, nanos))
}

/// One line: what the server said, or what lies at the bottom of it all.
fn words(error: &Error, kind: StoreErrorKind, provider: &Provider) -> String {
    let said = match (said(error.message()), error.source()) {
        (Some(said), _) => said,
        (None, Some(below)) => deepest(below),
        (None, None) => error.message().to_owned(),
    };
    let said = match error.kind() {
        _ if kind == StoreErrorKind::Denied => {
            let colon = if said.is_empty() { "" } else { ": " };
            format!("{said}{colon}{}", provider.denied())
        }
        // What no server said, and has no cause below, is that there is nothing to sign with.
        _ if said.contains("signing credential") => provider.unsigned().to_owned(),
        _ if said.is_empty() => error.kind().into_static().to_owned(),
        _ => said,
    };
    line(&said)
}

/// `NoSuchBucket: The bucket does not exist`, of what the library makes of such an answer; Google's have a number for a code.
fn said(message: &str) -> Option<String> {
    let field = |name: &str| {
        let (_, rest) = message.split_once(&format!("{name}: \""))?;
        rest.split_once('"').map(|(value, _)| value)
    };
    match (field("code"), field("message").filter(|text| !text.is_empty())) {
        (Some(code), Some(text)) => Some(format!("{code}: {text}")),
        (code, text) => code.or(text).map(str::to_owned),
    }
}
