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
fn it_is_called_and_dropped_from_any_thread_and_from_inside_any_runtime() {
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
fn its_name_is_told_and_its_client_is_not() {
    let store = open(InMemory::new()).unwrap();
    assert_eq!((store.name(), store.available_bytes().unwrap()), ("memory-store", u64::MAX));
    assert_eq!(format!("{store:?}"), "ObjectStore { name: \"memory-store\", .. }");
}

#[test]
fn what_is_foreign_is_not_listed_and_part_of_a_segment_is_a_prefix() {
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
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    IgnoresAbsent,
    IgnoresVersions,
    TellsNoVersion,
    KnowsNoVersion,
    Panics,
    /// Lists from the first key, whatever start it is given.
    ListsFromTheBeginning,
    /// Hangs from the second object on.
    HangsLater,
    /// Hangs likewise, and blocks the calling thread.
    BlocksLater,
}

impl How {
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
        self.how.later(at).await;
        match (self.how, &mut options.mode) {
            (How::IgnoresAbsent, PutMode::Create) | (How::IgnoresVersions, PutMode::Update(_)) => {
                options.mode = PutMode::Overwrite;
            }
            (How::KnowsNoVersion, PutMode::Update(version)) => {
                version.e_tag = Some("another".into());
                version.version = None;
            }
            (How::Panics, _) => panic!("the client's own bug"),
            _ => {}
        }
        let mut put = self.inner.put_opts(at, body, options).await?;
        if self.how == How::TellsNoVersion {
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
        self.how.later(at).await;
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
        match self.how {
            How::ListsFromTheBeginning => self.inner.list(prefix),
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
fn a_store_that_would_let_two_writers_win_is_refused_when_it_is_opened() {
    for (how, kind, told) in [
        (How::IgnoresAbsent, ErrorKind::Invalid, "lets a caller create an object twice"),
        (How::IgnoresVersions, ErrorKind::Invalid, "replace an object at an older version"),
        (How::KnowsNoVersion, ErrorKind::Invalid, "the version that it returned"),
        (How::TellsNoVersion, ErrorKind::Uncertain, "no version"),
        (How::Panics, ErrorKind::Uncertain, "panicked"),
    ] {
        let error = open(Unfit { inner: InMemory::new(), how }).unwrap_err();
        assert_eq!(error.kind(), kind, "{how:?}: {error}");
        assert!(error.to_string().contains(told), "{how:?}: {error}");
    }
}

#[test]
fn a_store_that_lists_from_the_beginning_is_asked_for_no_page_twice() {
    let how = How::ListsFromTheBeginning;
    conformance::run(&|| Arc::new(open(Unfit { inner: InMemory::new(), how }).unwrap()));
}

#[test]
fn a_store_that_does_not_answer_holds_nobody_up_for_longer_than_was_told() {
    for how in [How::HangsLater, How::BlocksLater] {
        let store = open(Unfit { inner: InMemory::new(), how }).unwrap();
        let store = store.with_timeout(Duration::from_millis(50));
        let key = Key::new("later/a").unwrap();
        let told = |error: Error, kind| {
            assert_eq!(error.kind(), kind, "{how:?}: {error}");
            assert!(error.to_string().contains("no answer within"), "{how:?}: {error}");
        };
        // A put may have happened.
        told(store.put(&key, Bytes::new(), &Condition::Any).unwrap_err(), ErrorKind::Uncertain);
        told(store.get_range(&key, 0..1).unwrap_err(), ErrorKind::Unavailable);
    }
}
