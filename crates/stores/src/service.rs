//! The way to a store: requests of the library `opendal`, one at a time for whoever asks, and what its errors mean.
//!
//! In: a [`Place`], names, bytes. Out: what the store answers. Promises: a request ends, well or not, after [`SILENCE`] in
//! which nothing moved; nothing is tried again here; what is read is never longer than was asked for; each error is one
//! line, without the addresses and headers that the library adds.
//!
//! But for this file and `watch.rs` nothing in garret knows that library, or that there is a runtime.

use std::error::Error as _;
use std::io;
use std::ops::Range;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use garret_core::{StoreError, StoreErrorKind};
use opendal::options::{ListOptions, WriteOptions};
use opendal::services::S3;
use opendal::{Buffer, Error, ErrorKind, HttpTransporter, Operator};
use opendal_http_transport_reqwest::ReqwestTransport;
use tokio::runtime::Runtime;

use crate::names::NAME_LEN_MAX;
use crate::place::{Account, Place};
use crate::watch::{SILENCE, Watched};

/// How long a server may take to be reached at all.
const CONNECT: Duration = Duration::from_secs(10);
/// What AWS calls it when two create one object at once.
const CONFLICT: &str = "ConditionalRequestConflict";
/// Behind what a server says that refuses.
const DENIED: &str =
    "are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY right, and may that key do this?";
const NO_ACCOUNT: &str = "there is no key to sign with: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or make \
                          ~/.aws/credentials";
/// Most characters of what a server says in an error.
const SAID_MAX: usize = 300;

/// A store, and the prefix in it.
pub(crate) struct Service {
    operator: Operator,
    runtime: Runtime,
    place: Place,
}

/// An object in a listing.
pub(crate) struct Listed {
    /// Its name below the prefix.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
    /// When the server got it, by its clock, since 1970.
    pub put: Option<Duration>,
}

impl Service {
    /// The way to `place`; nothing is asked yet.
    ///
    /// # Errors
    /// There can be none, for want of threads or because of the endpoint.
    pub(crate) fn new(place: Place) -> Result<Self, StoreError> {
        // Whoever was first has set the same one.
        let _same = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("store")
            .enable_all()
            .build()
            .map_err(|source| StoreError::new("open", &place, source))?;
        let mut builder = S3::default().bucket(&place.bucket).root(&format!("/{}", place.prefix));
        // A signature needs one; of a server of one's own it is the name of none.
        builder = builder.region(place.region.as_deref().unwrap_or("us-east-1"));
        if let Some(Account { key, secret, token }) = &place.account {
            builder = builder.access_key_id(key).secret_access_key(secret);
            if let Some(token) = token {
                builder = builder.session_token(token);
            }
        }
        if let Some(endpoint) = &place.endpoint {
            builder = builder.endpoint(endpoint);
        }
        if !place.is_path_style {
            builder = builder.enable_virtual_host_style();
        }
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            // What was sent and is not taken by the other side, and nothing says why.
            .tcp_user_timeout(SILENCE)
            .build()
            .map_err(|error| StoreError::new("open", &place, io::Error::other(deepest(&error))))?;
        let operator = {
            let _inside = runtime.enter();
            Operator::new(builder).map_err(|error| failed("open", place.to_string(), &error))?
        };
        let transport = HttpTransporter::new(Watched(ReqwestTransport::new(client)));
        let context = operator.context().with_http_transport(transport);
        let operator = operator.with_context(context);
        Ok(Service { operator, runtime, place })
    }

    /// Where it is, for messages.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    fn object(&self, name: &str) -> String {
        format!("{}/{name}", self.place)
    }

    /// A request, or a part of its answer.
    fn ask<T>(
        &self,
        (operation, name): (&'static str, &str),
        request: impl Future<Output = opendal::Result<T>>,
    ) -> Result<T, StoreError> {
        let len = self.place.prefix.len() + 1 + name.len();
        if len > NAME_LEN_MAX {
            let why = format!(
                "its name has {len} bytes in the bucket, and may have {NAME_LEN_MAX}: choose a shorter one"
            );
            let source = io::Error::new(io::ErrorKind::InvalidFilename, why);
            return Err(StoreError::new(operation, self.object(name), source));
        }
        let answer = self.runtime.block_on(request);
        answer.map_err(|error| failed(operation, self.object(name), &error))
    }

    /// Stores the parts as one object in one request, in the place of what is there; if `is_new` and the store keeps to it,
    /// only where there is nothing.
    pub(crate) fn put(&self, name: &str, parts: &[&[u8]], is_new: bool) -> Result<(), StoreError> {
        let bytes = parts.concat();
        let options = WriteOptions { if_not_exists: is_new, ..WriteOptions::default() };
        let operation = if is_new { "create" } else { "write" };
        self.ask((operation, name), self.operator.write_options(name, Buffer::from(bytes), options))
            .map(drop)
    }

    /// The bytes in a range, which may not be empty.
    pub(crate) fn get(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let len = range.end.saturating_sub(range.start);
        let bytes = self.read(name, Some(range.clone()), len);
        match bytes {
            Ok(bytes) if bytes.len() as u64 == len => Ok(bytes),
            // Some servers give what there is, others nothing, and the library takes either for a broken line.
            result => {
                let whole = self.len(name)?;
                match (range.end > whole, result) {
                    (true, _) => {
                        let why = format!(
                            "it has {whole} bytes, and those from {} to {} are asked for",
                            range.start, range.end
                        );
                        let source = io::Error::new(io::ErrorKind::UnexpectedEof, why);
                        Err(StoreError::new("read", self.object(name), source))
                    }
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

    /// A whole object of at most `max` bytes, as one request finds it.
    pub(crate) fn get_whole(&self, name: &str, max: u64) -> Result<Vec<u8>, StoreError> {
        let bytes = self.read(name, None, max.saturating_add(1))?;
        match bytes.len() as u64 > max {
            true => Err(StoreError::too_long(self.object(name), self.len(name)?, max)),
            false => Ok(bytes),
        }
    }

    /// At most `max` bytes of an answer, or all of it.
    fn read(&self, name: &str, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>, StoreError> {
        let open = async {
            let reader = self.operator.reader(name).await?;
            match range {
                Some(range) => reader.into_stream(range).await,
                None => reader.into_stream(..).await,
            }
        };
        let mut stream = self.ask(("read", name), open)?;
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < max {
            let Some(part) = self.ask(("read", name), next(&mut stream))? else { break };
            let left = usize::try_from(max).unwrap_or(usize::MAX).saturating_sub(bytes.len());
            for part in part {
                let taken = part.get(..left.min(part.len())).unwrap_or_default();
                bytes.extend_from_slice(taken);
            }
        }
        Ok(bytes)
    }

    /// An object's length in bytes.
    pub(crate) fn len(&self, name: &str) -> Result<u64, StoreError> {
        let found = self.ask(("read", name), self.operator.stat(name))?;
        Ok(found.content_length())
    }

    /// Everything whose name begins with `directory`, which ends in a slash or is empty; at most `max` of it.
    pub(crate) fn list(&self, directory: &str, max: usize) -> Result<Vec<Listed>, StoreError> {
        let options = ListOptions { recursive: true, ..ListOptions::default() };
        let what = ("list", directory);
        let mut lister = self.ask(what, self.operator.lister_options(directory, options))?;
        let mut listed = Vec::new();
        while listed.len() < max {
            // Most come with the page that is there.
            let Some(entry) = self.ask(what, next(&mut lister))? else { break };
            let found = entry.metadata();
            if !found.is_file() {
                continue;
            }
            let put = found.last_modified().and_then(|time| {
                let time = time.into_inner();
                let nanos = u32::try_from(time.subsec_nanosecond()).ok()?;
                Some(Duration::new(u64::try_from(time.as_second()).ok()?, nanos))
            });
            listed.push(Listed { name: entry.path().to_owned(), len: found.content_length(), put });
        }
        Ok(listed)
    }

    /// Removes an object, if it is there.
    pub(crate) fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.ask(("remove", name), self.operator.delete(name))
    }
}

/// Whether a server refused to create an object because somebody else is at it.
pub(crate) fn is_conflict(error: &StoreError) -> bool {
    error.source.to_string().contains(CONFLICT)
}

/// What comes next of an answer.
async fn next<T>(
    stream: &mut (impl Stream<Item = opendal::Result<T>> + Unpin),
) -> opendal::Result<Option<T>> {
    stream.next().await.transpose()
}

/// What an error of the library means to a repository.
fn failed(operation: &'static str, object: String, error: &Error) -> StoreError {
    let kind = match error.kind() {
        ErrorKind::NotFound => StoreErrorKind::NotFound,
        ErrorKind::AlreadyExists | ErrorKind::ConditionNotMatch => StoreErrorKind::AlreadyExists,
        ErrorKind::PermissionDenied => StoreErrorKind::Denied,
        ErrorKind::RangeNotSatisfied => StoreErrorKind::WrongLength,
        ErrorKind::RateLimited => StoreErrorKind::Transient,
        // Two create one object at once, and the server says to come back.
        _ if error.is_temporary() || error.message().contains(CONFLICT) => {
            StoreErrorKind::Transient
        }
        _ => StoreErrorKind::Other,
    };
    let source = match kind {
        StoreErrorKind::NotFound => io::ErrorKind::NotFound.into(),
        _ => io::Error::other(words(error)),
    };
    StoreError { kind, operation, object, source }
}

/// One line: what the server said, or what lies at the bottom of it all.
fn words(error: &Error) -> String {
    let said = match (said(error.message()), error.source()) {
        (Some(said), _) => said,
        (None, Some(below)) => deepest(below),
        (None, None) => error.message().to_owned(),
    };
    let said = match error.kind() {
        ErrorKind::PermissionDenied => {
            format!("{said}{}{DENIED}", if said.is_empty() { "" } else { ": " })
        }
        // What no server said, and has no cause below, is that there is nothing to sign with.
        _ if said.contains("signing credential") => NO_ACCOUNT.to_owned(),
        _ if said.is_empty() => error.kind().into_static().to_owned(),
        _ => said,
    };
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().map(|c| if c.is_control() { '?' } else { c }).take(SAID_MAX).collect()
}

/// What is at the bottom of an error, in words.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(below) = deepest.source() {
        deepest = below;
    }
    deepest.to_string()
}

/// `NoSuchBucket: The bucket does not exist`, of what the library makes of such an answer.
fn said(message: &str) -> Option<String> {
    let field = |name: &str| {
        let (_, rest) = message.split_once(&format!("{name}: \""))?;
        rest.split_once('"').map(|(value, _)| value)
    };
    let code = field("code")?;
    Some(match field("message") {
        Some(text) if !text.is_empty() => format!("{code}: {text}"),
        _ => code.to_owned(),
    })
}
