//! The object-store adapter over the in-memory store of the crate `object_store`.
//!
//! The tests run the conformance suite, call and drop the store on every kind of thread, and open
//! stores that must be refused.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not their shared code.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore as Client, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use strongroom_backends::component::OsEntropy;
use strongroom_backends::{Backend, Condition, Error, ErrorKind, Key, ObjectStore, Result};
use strongroom_testkit::conformance;
use tokio::runtime::Builder;

fn open(client: impl Client) -> Result<ObjectStore> {
    ObjectStore::open(Arc::new(client), "memory-store", &OsEntropy)
}

fn store() -> Arc<dyn Backend> {
    Arc::new(open(InMemory::new()).unwrap())
}

#[test]
fn it_conforms() {
    conformance::run(&store);
    conformance::race(&store, 4, 100);
    conformance::creators_race(&store, 8, 100);
    conformance::deleters_race(&store, 32);
    conformance::overwriters_race(&store, 32);
}

/// Puts, gets and drops the store on the calling thread.
fn use_and_drop(store: Arc<dyn Backend>) {
    let key = Key::new("a/b").unwrap();
    store.put(&key, Bytes::from_static(b"body"), &Condition::Absent).unwrap();
    assert_eq!(store.get(&key).unwrap().body, "body");
    drop(store);
}

#[test]
fn store_is_usable_in_any_thread_and_runtime() {
    use_and_drop(store());
    std::thread::spawn(|| use_and_drop(store())).join().unwrap();
    for mut builder in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        let runtime = builder.build().unwrap();
        // Created outside and inside, used and dropped inside: in a task, and where blocking is
        // allowed.
        let made = store();
        runtime.block_on(async { use_and_drop(made) });
        runtime.block_on(async {
            use_and_drop(store());
            let made = store();
            tokio::spawn(async { use_and_drop(made) }).await.unwrap();
            tokio::task::spawn_blocking(|| use_and_drop(store())).await.unwrap();
        });
    }
}

#[test]
fn debug_shows_name_without_client() {
    let store = open(InMemory::new()).unwrap();
    assert_eq!((store.name(), store.available_bytes().unwrap()), ("memory-store", u64::MAX));
    assert_eq!(format!("{store:?}"), "ObjectStore { name: \"memory-store\", .. }");
}

#[test]
fn foreign_keys_are_not_listed() {
    let client = InMemory::new();
    let runtime = Builder::new_current_thread().build().unwrap();
    for foreign in ["a/Upper", "a/with space", "a/b.txt"] {
        let at = Path::from(foreign);
        runtime.block_on(client.put_opts(&at, "x".into(), PutOptions::default())).unwrap();
    }
    let store = open(client).unwrap();
    for key in ["a/bc", "a/bd", "a/c", "ab/c"] {
        let key = Key::new(key).unwrap();
        store.put(&key, Bytes::new(), &Condition::Absent).unwrap();
    }
    let listed = |prefix: &str, after: Option<&str>, limit| {
        let after = after.map(|after| Key::new(after).unwrap());
        let page = store.list(prefix, after.as_ref(), limit).unwrap();
        page.into_iter().map(|entry| entry.key.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(listed("", None, 9), ["a/bc", "a/bd", "a/c", "ab/c"]);
    assert_eq!(listed("a/b", None, 9), ["a/bc", "a/bd"]);
    assert_eq!(listed("a/", Some("a/bc"), 1), ["a/bd"]);
    assert_eq!(listed("a", Some("a/c"), 9), ["ab/c"]);
}

/// A store with a defect.
#[derive(Debug)]
struct Unfit {
    inner: InMemory,
    defect: Defect,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Defect {
    IgnoresAbsent,
    IgnoresVersions,
    ReturnsNoVersion,
    KnowsNoVersion,
    Panics,
    /// Lists from the first key, whatever start it is given.
    ListsFromTheBeginning,
    /// Hangs from the second object on.
    HangsLater,
    /// Hangs likewise, and blocks the calling thread.
    BlocksLater,
}

impl Defect {
    async fn later(self, at: &Path) {
        let is_later = at.as_ref().starts_with("later");
        match self {
            Self::HangsLater if is_later => std::future::pending().await,
            Self::BlocksLater if is_later => std::thread::park(),
            _ => {}
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

#[async_trait::async_trait]
impl Client for Unfit {
    async fn put_opts(
        &self,
        at: &Path,
        body: PutPayload,
        mut options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.defect.later(at).await;
        match (self.defect, &mut options.mode) {
            (Defect::IgnoresAbsent, PutMode::Create)
            | (Defect::IgnoresVersions, PutMode::Update(_)) => {
                options.mode = PutMode::Overwrite;
            }
            (Defect::KnowsNoVersion, PutMode::Update(version)) => {
                version.e_tag = Some("another".into());
                version.version = None;
            }
            (Defect::Panics, _) => panic!("the client's own bug"),
            _ => {}
        }
        let mut put = self.inner.put_opts(at, body, options).await?;
        if self.defect == Defect::ReturnsNoVersion {
            (put.e_tag, put.version) = (None, None);
        }
        Ok(put)
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.defect.later(at).await;
        self.inner.get_opts(at, options).await
    }

    async fn get_ranges(
        &self,
        at: &Path,
        ranges: &[Range<u64>],
    ) -> object_store::Result<Vec<Bytes>> {
        self.inner.get_ranges(at, ranges).await
    }

    fn delete_stream(
        &self,
        all: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(all)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        match self.defect {
            Defect::ListsFromTheBeginning => self.inner.list(prefix),
            _ => self.inner.list_with_offset(prefix, offset),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[test]
fn store_without_conditional_puts_is_refused_at_open() {
    for (defect, kind, text) in [
        (Defect::IgnoresAbsent, ErrorKind::Invalid, "lets a caller create an object twice"),
        (Defect::IgnoresVersions, ErrorKind::Invalid, "replace an object at an older version"),
        (Defect::KnowsNoVersion, ErrorKind::Invalid, "the version that it returned"),
        (Defect::ReturnsNoVersion, ErrorKind::Uncertain, "no version"),
        (Defect::Panics, ErrorKind::Uncertain, "panicked"),
    ] {
        let error = open(Unfit { inner: InMemory::new(), defect }).unwrap_err();
        assert_eq!(error.kind(), kind, "{defect:?}: {error}");
        assert!(error.to_string().contains(text), "{defect:?}: {error}");
    }
}

#[test]
fn list_without_offset_support_reads_each_page_once() {
    let defect = Defect::ListsFromTheBeginning;
    conformance::run(&|| Arc::new(open(Unfit { inner: InMemory::new(), defect }).unwrap()));
}

#[test]
fn silent_store_delays_at_most_the_timeout() {
    for defect in [Defect::HangsLater, Defect::BlocksLater] {
        let store = open(Unfit { inner: InMemory::new(), defect }).unwrap();
        let store = store.with_timeout(Duration::from_millis(50));
        let key = Key::new("later/a").unwrap();
        let text = |error: Error, kind| {
            assert_eq!(error.kind(), kind, "{defect:?}: {error}");
            assert!(error.to_string().contains("no answer within"), "{defect:?}: {error}");
        };
        // A put may have happened.
        text(store.put(&key, Bytes::new(), &Condition::Any).unwrap_err(), ErrorKind::Uncertain);
        text(store.get_range(&key, 0..1).unwrap_err(), ErrorKind::Unavailable);
    }
}
