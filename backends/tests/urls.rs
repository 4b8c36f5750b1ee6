//! URLs of stores: accepted and refused ones; secrets in them are never shown.
//!
//! No request is made, because each URL is refused first.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not their shared code.

use strongroom_backends::{Error, ErrorKind, open_url};

#[track_caller]
fn refused(url: &str, told: &str) -> Error {
    let error = open_url(url).expect_err(url);
    assert_eq!((error.kind(), error.action()), (ErrorKind::Invalid, "open store"), "{error}");
    assert!(error.to_string().contains(told), "{url}: {error}");
    error
}

#[test]
fn urls_that_name_no_store_are_refused_before_anything_is_asked() {
    for (url, told) in [
        ("", "a store is named"),
        ("bucket", "a store is named"),
        ("/srv/vault", "a store is named"),
        ("file:///srv/vault", "a store is named"),
        ("S3://bucket", "a store is named"),
        ("s3://", "names no bucket"),
        ("s3:///prefix", "names no bucket"),
        ("s3://bucket:9000/prefix", "no port"),
        ("s3://bucket/#fragment", "no fragment"),
        ("s3://bucket?regoin=eu", "does not know: regoin"),
        ("s3://bucket?region=eu&region=us", "given twice"),
        ("s3://bucket?account=a", "does not know: account"),
        ("gs://bucket?region=eu", "does not know: region"),
        ("az://container?account=a&region=eu", "does not know: region"),
        ("s3://bucket?path_style=yes", "the value is neither true nor false"),
        ("s3://bucket?endpoint=nowhere", "not a URL"),
        ("s3://bucket?endpoint=ftp://host", "neither https nor http"),
        ("s3://bucket?endpoint=http://store.example", "allow_http=true"),
        ("s3://bucket?endpoint=https://a:b@store.example", "more than a scheme"),
        ("s3://bucket?endpoint=https://store.example?x=y", "more than a scheme"),
    ] {
        refused(url, told);
    }
}

#[test]
fn a_secret_in_a_url_is_refused_and_not_shown() {
    for url in [
        "s3://AKIA:very-secret@bucket/prefix",
        "gs://very-secret@bucket",
        "s3://bucket?secret_access_key=very-secret",
        "s3://bucket?endpoint=https://very-secret@store.example",
        "very-secret://bucket",
    ] {
        let error = open_url(url).expect_err(url);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(!format!("{error} {error:?}").contains("very-secret"), "{error:?}");
    }
}
