//! The server that the environment names, and places on it that no other test uses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strongroom::backends::component::{Clock, SystemClock};
use strongroom::backends::{Backend, StoreOptions};

const URL_VARIABLE: &str = "STRONGROOM_S3_URL";

/// A place on the server, by its URL.
#[derive(Clone, Debug)]
pub(crate) struct Place(String);

impl Place {
    /// A new place for `test`; `None`, and that is said, if no server is named.
    pub(crate) fn new(test: &str) -> Option<Self> {
        static PLACES: AtomicU64 = AtomicU64::new(0);
        let Ok(url) = std::env::var(URL_VARIABLE) else {
            println!("\nSKIPPED: {test}: no server is named by {URL_VARIABLE}");
            return None;
        };
        // CI counts these lines.
        println!("\nON A SERVER: {test}");
        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        let place = format!("{}-{}-{number}", SystemClock::new().unix_millis(), std::process::id());
        let (store, parameters) = url.split_once('?').unwrap_or((&url, ""));
        // A prefix is whatever people call their things.
        Some(Self(format!("{store}/Team%20A+b/{place}?{parameters}")))
    }

    /// The place that another process has told.
    pub(crate) fn at(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    pub(crate) fn url(&self) -> &str {
        &self.0
    }

    /// The same place by another endpoint, such as one that disturbs what goes through it.
    pub(crate) fn through(&self, endpoint: &str) -> Self {
        let (store, parameters) = self.0.split_once('?').unwrap();
        let others = parameters.split('&').filter(|parameter| !parameter.starts_with("endpoint="));
        let parameters: Vec<&str> = others.filter(|parameter| !parameter.is_empty()).collect();
        Self(format!("{store}?endpoint={endpoint}&{}", parameters.join("&")))
    }

    /// What the names of its objects begin with in the bucket.
    pub(crate) fn prefix(&self) -> String {
        let (store, _) = self.0.split_once('?').unwrap();
        store.splitn(4, '/').nth(3).unwrap().replace("%20", " ")
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        let (_, behind) = self.0.split_once("endpoint=http://").expect("a server on this machine");
        behind.split('&').next().unwrap().parse().expect("an address and a port")
    }

    pub(crate) fn open(&self) -> Arc<dyn Backend> {
        self.open_with(&StoreOptions::new())
    }

    pub(crate) fn open_with(&self, options: &StoreOptions) -> Arc<dyn Backend> {
        options.open(&self.0).unwrap()
    }
}
