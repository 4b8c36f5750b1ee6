//! URLs of stores: accepted and refused ones; secrets in them are never shown.
//!
//! No request is made, because each URL is refused first.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not their shared code.

use strongroom_backends::{Error, ErrorKind, open_url};

#[track_caller]
fn refused(url: &str, text: &str) -> Error {
    let error = open_url(url).expect_err(url);
    assert_eq!((error.kind(), error.action()), (ErrorKind::Invalid, "open store"), "{error}");
    assert!(error.to_string().contains(text), "{url}: {error}");
    error
}

#[test]
fn url_without_store_is_refused_before_any_request() {
    for (url, text) in [
        ("", "name a store as"),
        ("bucket", "name a store as"),
        ("/srv/vault", "name a store as"),
        ("file:///srv/vault", "name a store as"),
        ("S3://bucket", "name a store as"),
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
        refused(url, text);
    }
}

#[test]
fn secret_in_url_is_refused_and_not_shown() {
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
