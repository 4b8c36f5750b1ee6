//! Object stores: S3, Google Cloud Storage, Azure, and others of the crate `object_store`.
//!
//! - [`ObjectStore`]: the backend, and its calls of the crate.
//! - `bridge.rs`: waits of synchronous calls for asynchronous ones. Nothing else names tokio.
//! - `clouds.rs`: the clouds' clients, by URL. `answers.rs`: facts in these stores' answers beyond
//!   their statuses.
//! - `failure.rs`: translation of the crate's errors.
//! - `permits.rs`: the limit of parallel calls.
//! - `probe.rs`: the test for conditional puts at open.

#[cfg(feature = "clouds")]
mod answers;
mod bridge;
#[cfg(feature = "clouds")]
mod clouds;
mod failure;
mod permits;
mod probe;

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore as Client, ObjectStoreExt, PutMode, PutOptions,
    UpdateVersion,
};

use self::bridge::Bridge;
#[cfg(feature = "clouds")]
pub(crate) use self::clouds::open_cloud;
use self::failure::of_store;
use self::permits::Permits;
use crate::backend::{Backend, Condition, ListEntry, Object, Version};
use strongroom_base::Key;
use strongroom_base::component::Entropy;
use strongroom_base::{Error, ErrorKind, Reason, Result};

/// Time limit of a call, with its extension per moved MiB.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const CALL_TIMEOUT_PER_MIB: Duration = Duration::from_secs(8);

/// Bytes assumed for a call that requests a whole object: no object of a vault is longer.
const OBJECT_BYTES: u64 = 32 << 20;

/// Parallel requests to a store.
const CONCURRENCY: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");

/// An object store as a backend: a store of the crate `object_store` with a runtime of its own.
///
/// Its calls block the calling thread. They work from any thread, also inside a tokio runtime of
/// either kind; from async code, run them where blocking is allowed. It may be dropped anywhere,
/// too.
///
/// Every call ends after a minute, and eight seconds more for each MiB that it moves:
/// `Unavailable`, or `Uncertain` if it may have had an effect. At most
/// [`concurrency`](Backend::concurrency) calls run at the same time. Others wait as long as their
/// own time limit, and are `Unavailable` then.
///
/// A put is durable once the store has answered. Keys outside the grammar are not listed.
pub struct ObjectStore {
    client: Arc<dyn Client>,
    name: &'static str,
    timeout: Duration,
    /// The store compares an `ETag` without its quotes.
    takes_bare_etags: AtomicBool,
    permits: Permits,
    bridge: Bridge,
}

impl fmt::Debug for ObjectStore {
    /// The client is omitted: it may show an endpoint's credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectStore").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ObjectStore {
    /// Opens a backend on `client`, whose displayed name is `name`.
    ///
    /// `entropy` names the scratch object with which the store is probed for conditional puts.
    /// `Invalid` if the store has none: two writers would both succeed there.
    ///
    /// The client should not retry by itself. A [`RetryingBackend`](crate::RetryingBackend) over
    /// this one does, and checks calls that may have happened.
    pub fn open(
        client: Arc<dyn Client>,
        name: &'static str,
        entropy: &dyn Entropy,
    ) -> Result<Self> {
        let store = Self::unprobed(client, name)?;
        // The caller's retries are above this backend.
        let begin = || -> probe::Tries<'_> { Box::new(|_| false) };
        probe::expect_conditions(&store, entropy, || store.take_bare_etags(), &begin)?;
        Ok(store)
    }

    /// Makes a backend whose conditional puts have not been probed.
    fn unprobed(client: Arc<dyn Client>, name: &'static str) -> Result<Self> {
        Ok(Self {
            client,
            name,
            timeout: CALL_TIMEOUT,
            takes_bare_etags: AtomicBool::new(false),
            permits: Permits::new(CONCURRENCY),
            bridge: Bridge::new()?,
        })
    }

    /// Sends versions without their quotes from now on.
    fn take_bare_etags(&self) {
        self.takes_bare_etags.store(true, Ordering::Release);
    }

    /// Replaces the time limit of a minute. The extension for moved bytes remains.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs a call that moves `bytes`; an error of kind `unanswered` if no answer arrives.
    fn call<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
        &self,
        operation: &'static str,
        unanswered: ErrorKind,
        bytes: u64,
        call: impl FnOnce(Arc<dyn Client>) -> F,
    ) -> Result<T> {
        let timeout = self.timeout(bytes);
        let _permit = self.permits.acquire(operation, timeout)?;
        let call = call(Arc::clone(&self.client));
        self.bridge.run(operation, timeout, unanswered, call)
    }

    fn timeout(&self, bytes: u64) -> Duration {
        timeout_of(self.timeout, bytes)
    }
}

/// Kinds of an unanswered call: one that changes nothing, and one that may have had its effect.
const READ: ErrorKind = ErrorKind::Unavailable;
const WRITE: ErrorKind = ErrorKind::Uncertain;

/// Returns the time limit of a call that moves `bytes`.
fn timeout_of(call: Duration, bytes: u64) -> Duration {
    let mebibytes = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
    call.saturating_add(CALL_TIMEOUT_PER_MIB.saturating_mul(mebibytes))
}

fn path(key: &Key) -> Path {
    Path::from(key.as_str())
}

/// Makes the version of an object from generation, `ETag`, or both.
fn version(e_tag: Option<&str>, generation: Option<&str>) -> Version {
    Version::new(format!("{}\n{}", generation.unwrap_or_default(), e_tag.unwrap_or_default()))
}

/// Returns the store's own token of the version, as it accepts it.
fn update_version(version: &Version, bare: bool) -> UpdateVersion {
    let (generation, e_tag) = version.as_str().split_once('\n').unwrap_or(("", version.as_str()));
    let e_tag = if bare { e_tag.trim_matches('"') } else { e_tag };
    let nonempty = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    UpdateVersion { e_tag: nonempty(e_tag), version: nonempty(generation) }
}

impl Backend for ObjectStore {
    fn get(&self, key: &Key) -> Result<Object> {
        const GET: &str = "get object";
        let at = path(key);
        // The length of the body is known only from the head of the answer.
        let (head, timeout) = (self.timeout(0), self.timeout);
        let got = self.call(GET, READ, OBJECT_BYTES, move |client| async move {
            let got = bridge::within(GET, head, client.get(&at)).await?;
            let got = got.map_err(|e| of_store(GET, e))?;
            let (size, version) =
                (got.meta.size, version(got.meta.e_tag.as_deref(), got.meta.version.as_deref()));
            if size > OBJECT_BYTES {
                return Err(Error::new(ErrorKind::Corrupt, GET).with_detail(format!(
                    "the object has {size} bytes, more than any object of a vault"
                )));
            }
            let body = bridge::within(GET, timeout_of(timeout, size), got.bytes()).await?;
            let body = body.map_err(|e| of_store(GET, e))?;
            if body.len() as u64 != size {
                return Err(Error::new(ErrorKind::Unavailable, GET)
                    .with_detail(format!("{} of {size} bytes arrived", body.len())));
            }
            Ok(Object { body, version })
        });
        got.map_err(|e| e.with_subject(key))
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        const GET: &str = "get range of object";
        let beyond = |size: u64| {
            Error::new(ErrorKind::Invalid, GET).with_detail(format!(
                "bytes {} to {} of an object of {size}",
                range.start, range.end
            ))
        };
        let at = path(key);
        let asked = range.clone();
        let fetched = if range.start > range.end {
            Err(Error::new(ErrorKind::Invalid, GET).with_detail("the range is reversed"))
        } else if range.is_empty() {
            // Stores refuse an empty range.
            self.call(GET, READ, 0, move |client| async move {
                client
                    .head(&at)
                    .await
                    .map(|meta| (Bytes::new(), meta.size))
                    .map_err(|e| of_store(GET, e))
            })
        } else {
            self.call(GET, READ, range.end - range.start, move |client| async move {
                let range = Some(GetRange::Bounded(asked.clone()));
                let options = GetOptions { range, ..GetOptions::default() };
                match client.get_opts(&at, options).await {
                    Ok(got) => {
                        let size = got.meta.size;
                        got.bytes().await.map(|body| (body, size)).map_err(|e| of_store(GET, e))
                    }
                    // Stores differ in how they refuse a range beyond the end.
                    Err(error) if failure::may_be_of_a_range(&error) => {
                        match client.head(&at).await {
                            Ok(meta) if meta.size <= asked.start => Ok((Bytes::new(), meta.size)),
                            _ => Err(of_store(GET, error)),
                        }
                    }
                    Err(error) => Err(of_store(GET, error)),
                }
            })
        };
        fetched
            .and_then(|(body, size)| {
                if range.end > size {
                    return Err(beyond(size));
                }
                if body.len() as u64 != range.end - range.start {
                    return Err(Error::new(ErrorKind::Unavailable, GET)
                        .with_detail(format!("{} bytes arrived", body.len())));
                }
                Ok(body)
            })
            .map_err(|e| e.with_subject(key))
    }

    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version> {
        const PUT: &str = "put object";
        let at = path(key);
        let mode = match condition {
            Condition::Any => PutMode::Overwrite,
            Condition::Absent => PutMode::Create,
            Condition::Matches(version) => PutMode::Update(update_version(
                version,
                self.takes_bare_etags.load(Ordering::Acquire),
            )),
        };
        let condition = condition.clone();
        let put = self.call(PUT, WRITE, body.len() as u64, move |client| async move {
            let options = PutOptions { mode, ..PutOptions::default() };
            let put = client.put_opts(&at, body.into(), options).await;
            let put = put.map_err(|e| failure::of_put(PUT, e, &condition))?;
            if put.e_tag.is_none() && put.version.is_none() {
                return Err(Error::new(ErrorKind::Uncertain, PUT)
                    .with_reason(Reason::StoreUnfit)
                    .with_detail("the store returned no version for the put object"));
            }
            Ok(version(put.e_tag.as_deref(), put.version.as_deref()))
        });
        put.map_err(|e| e.with_subject(key))
    }

    fn delete(&self, key: &Key) -> Result<()> {
        const DELETE: &str = "delete object";
        let at = path(key);
        let deleted = self.call(DELETE, WRITE, 0, move |client| async move {
            failure::of_delete(DELETE, client.delete(&at).await)
        });
        deleted.map_err(|e| e.with_subject(key))
    }

    fn delete_all(&self, keys: &[Key]) -> Result<()> {
        const DELETE: &str = "delete objects";
        let all: Vec<_> = keys.iter().map(|key| Ok(path(key))).collect();
        // Bytes of the names; some stores need one request for each.
        self.call(DELETE, WRITE, (all.len() as u64) << 12, move |client| async move {
            let mut deleted = client.delete_stream(stream::iter(all).boxed());
            while let Some(one) = deleted.next().await {
                failure::of_delete(DELETE, one.map(drop))?;
            }
            Ok(())
        })
    }

    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<ListEntry>> {
        const LIST: &str = "list objects";
        // The crate accepts only whole segments as prefix; the rest is checked here.
        let folder = prefix.rsplit_once('/').map(|(folder, _)| Path::from(folder));
        let (prefix, after, offset) = (prefix.to_owned(), after.cloned(), after.map(path));
        self.call(LIST, READ, (limit as u64) << 8, move |client| async move {
            let found = match &offset {
                Some(offset) => client.list_with_offset(folder.as_ref(), offset),
                None => client.list(folder.as_ref()),
            };
            // Foreign keys are not listed. Some servers list from the beginning, whatever start
            // they are given.
            let ours = |meta: ObjectMeta| {
                let key = Key::new(meta.location.as_ref()).ok()?;
                let is_asked_for = key.as_str().starts_with(&prefix)
                    && after.as_ref().is_none_or(|after| key > *after);
                is_asked_for.then_some(ListEntry { key, size: meta.size })
            };
            let page: Vec<ListEntry> = found
                .try_filter_map(|meta| std::future::ready(Ok(ours(meta))))
                .take(limit)
                .try_collect()
                .await
                .map_err(|e| of_store(LIST, e))?;
            if page.is_sorted_by(|a, b| a.key < b.key) {
                return Ok(page);
            }
            Err(Error::new(ErrorKind::Invalid, LIST)
                .with_reason(Reason::StoreUnfit)
                .with_detail("the store does not list in the order of keys"))
        })
    }

    fn name(&self) -> &str {
        self.name
    }

    fn concurrency(&self) -> NonZeroUsize {
        CONCURRENCY
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn available_bytes(&self) -> Result<u64> {
        Ok(u64::MAX)
    }
}
