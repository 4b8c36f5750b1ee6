//! The named server, with a separate location for each test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strongroom::backends::component::{Clock, SystemClock};
use strongroom::backends::{Backend, StoreOptions};

const URL_VARIABLE: &str = "STRONGROOM_S3_URL";

/// The URL of a location on the server.
#[derive(Clone, Debug)]
pub(crate) struct Location(String);

impl Location {
    /// Returns a new location for `test`.
    ///
    /// Without a named server, prints that the test is skipped and returns `None`.
    pub(crate) fn new(test: &str) -> Option<Self> {
        static LOCATIONS: AtomicU64 = AtomicU64::new(0);
        let Ok(url) = std::env::var(URL_VARIABLE) else {
            println!("\nSKIPPED: {test}: {URL_VARIABLE} names no server");
            return None;
        };
        // CI counts these lines.
        println!("\nON A SERVER: {test}");
        let number = LOCATIONS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{}-{number}", SystemClock::new().unix_millis(), std::process::id());
        let (store, parameters) = url.split_once('?').unwrap_or((&url, ""));
        // The prefix tests encoded characters: users choose any names.
        Some(Self(format!("{store}/Team%20A+b/{name}?{parameters}")))
    }

    /// Returns the location with the URL of another process.
    pub(crate) fn from_url(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    pub(crate) fn url(&self) -> &str {
        &self.0
    }

    /// Returns the same location at another endpoint, such as a proxy.
    pub(crate) fn through(&self, endpoint: &str) -> Self {
        let (store, parameters) = self.0.split_once('?').unwrap();
        let others = parameters.split('&').filter(|parameter| !parameter.starts_with("endpoint="));
        let parameters: Vec<&str> = others.filter(|parameter| !parameter.is_empty()).collect();
        Self(format!("{store}?endpoint={endpoint}&{}", parameters.join("&")))
    }

    /// Returns the prefix of the object names in the bucket.
    pub(crate) fn prefix(&self) -> String {
        let (store, _) = self.0.split_once('?').unwrap();
        store.splitn(4, '/').nth(3).unwrap().replace("%20", " ")
    }

    /// Returns the address on which the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        let (_, rest) = self.0.split_once("endpoint=http://").expect("a server on this machine");
        rest.split('&').next().unwrap().parse().expect("an address and a port")
    }

    pub(crate) fn open(&self) -> Arc<dyn Backend> {
        self.open_with(&StoreOptions::new())
    }

    pub(crate) fn open_with(&self, options: &StoreOptions) -> Arc<dyn Backend> {
        options.open(&self.0).unwrap()
    }
}
