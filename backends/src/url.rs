//! A store by its URL.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;
use crate::layers::{RequestCounts, StoreRetryPolicy};
use strongroom_base::{Error, ErrorKind, Result};

pub(crate) const OPEN: &str = "open store";

/// Opens the object store that `url` names, with what [`StoreOptions`] has by default.
///
/// | URL | feature | parameters |
/// | --- | --- | --- |
/// | `s3://BUCKET/PREFIX` | `s3` | `region`, `endpoint`, `path_style`, `allow_http` |
/// | `gs://BUCKET/PREFIX` | `gcs` | `endpoint`, `allow_http` |
/// | `az://CONTAINER/PREFIX` | `azure` | `account`, `endpoint`, `allow_http` |
///
/// The prefix may be left out. `endpoint` is the URL of a server in the place of the cloud's own; S3 is asked
/// in the path style there, unless `path_style=false`. Without TLS it must be on this machine, unless
/// `allow_http=true`. Parameters that are not in the table are refused. **Credentials
/// never stand in the URL**: they come from the environment (`AWS_ACCESS_KEY_ID`, …) and the clouds' own
/// chains. Nothing in the environment says where the store is, but for S3's region.
///
/// `Invalid` for a URL that is none of these, a bucket that does not exist, a store that cannot put
/// conditionally, and where the feature is missing; `Denied`, `Unavailable` as the store says.
pub fn open_url(url: &str) -> Result<Arc<dyn Backend>> {
    StoreOptions::new().open(url)
}

/// What a store is opened with.
#[derive(Clone, Debug, Default)]
pub struct StoreOptions {
    pub(crate) retry: StoreRetryPolicy,
    pub(crate) counts: Arc<RequestCounts>,
    pub(crate) timeout: Option<Duration>,
}

impl StoreOptions {
    /// The retry policy by default, and counters of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// How often, and for how long, to try again what fails for the moment.
    pub fn retry(mut self, policy: StoreRetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Where every request is counted, each try of it too.
    pub fn counts(mut self, counts: Arc<RequestCounts>) -> Self {
        self.counts = counts;
        self
    }

    /// How long each try of a request takes at most, besides eight seconds for each MiB that it moves; a minute by
    /// default.
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
        // Not the URL: if it is not one of ours, it may hold anything.
        Err(Error::new(ErrorKind::Invalid, OPEN).with_detail(match scheme(url) {
            "s3" => "this program was built without feature s3",
            "gs" => "this program was built without feature gcs",
            "az" => "this program was built without feature azure",
            _ => "a store is named s3://BUCKET, gs://BUCKET or az://CONTAINER",
        }))
    }
}

fn scheme(url: &str) -> &str {
    url.split_once("://").map_or("", |(scheme, _)| scheme)
}
