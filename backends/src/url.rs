//! Opening a store by its URL.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;
use crate::layers::{RequestCounts, StoreRetryPolicy};
use strongroom_base::{Error, ErrorKind, Result};

pub(crate) const OPEN: &str = "open store";

/// Opens the object store at `url`, with default [`StoreOptions`].
///
/// | URL | feature | parameters |
/// | --- | --- | --- |
/// | `s3://BUCKET/PREFIX` | `s3` | `region`, `endpoint`, `path_style`, `allow_http` |
/// | `gs://BUCKET/PREFIX` | `gcs` | `endpoint`, `allow_http` |
/// | `az://CONTAINER/PREFIX` | `azure` | `account`, `endpoint`, `allow_http` |
///
/// The prefix is optional. `endpoint` is the URL of a server that replaces the cloud's own; S3
/// requests then use the path style, unless `path_style=false`. An endpoint without TLS must be on
/// this machine, unless `allow_http=true`. Other parameters are refused. **Credentials are never in
/// the URL**: they come from the environment (`AWS_ACCESS_KEY_ID`, …) and the clouds' own chains.
/// The environment does not decide where the store is, except for S3's region and Azure's account.
///
/// `Invalid` for another kind of URL, a missing bucket, a store without conditional puts, and a
/// missing feature. `Denied` and `Unavailable` as reported by the store.
pub fn open_url(url: &str) -> Result<Arc<dyn Backend>> {
    StoreOptions::new().open(url)
}

/// Options for opening a store.
#[derive(Clone, Debug, Default)]
pub struct StoreOptions {
    pub(crate) retry: StoreRetryPolicy,
    pub(crate) counts: Arc<RequestCounts>,
    pub(crate) timeout: Option<Duration>,
}

impl StoreOptions {
    /// Makes options with the default retry policy and separate counters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how often and how long transient failures are retried.
    pub fn retry(mut self, policy: StoreRetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Counts every request in `counts`, each retry too.
    pub fn counts(mut self, counts: Arc<RequestCounts>) -> Self {
        self.counts = counts;
        self
    }

    /// Sets the time limit of each try of a request; a minute by default.
    ///
    /// Eight seconds are added for each MiB that the request moves.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Opens a store; see [`open_url`].
    pub fn open(&self, url: &str) -> Result<Arc<dyn Backend>> {
        #[cfg(feature = "clouds")]
        if let Some(store) = crate::object_store::open_cloud(url, self)? {
            return Ok(store);
        }
        // The error omits the URL, because a foreign URL may contain anything.
        Err(Error::new(ErrorKind::Invalid, OPEN).with_detail(match scheme(url) {
            "s3" => "this program was built without feature s3",
            "gs" => "this program was built without feature gcs",
            "az" => "this program was built without feature azure",
            _ => "name a store as s3://BUCKET, gs://BUCKET or az://CONTAINER",
        }))
    }
}

fn scheme(url: &str) -> &str {
    url.split_once("://").map_or("", |(scheme, _)| scheme)
}
