//! The clients of the clouds, by URL.
//!
//! This file checks each parameter of the URL, because the crate's own parser ignores unknown ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore as Client, RetryConfig};
use url::{Host, Url};

use super::ObjectStore;
use super::answers::{Connector, kind_at_open};
use super::probe::{Tries, expect_conditions};
use crate::backend::Backend;
use crate::layers::{CountingBackend, RetryingBackend};
use crate::url::{OPEN, StoreOptions};
use strongroom_base::component::{OsEntropy, SystemClock};
use strongroom_base::{Error, ErrorKind, Result};

/// Returns a configuration without the crate's own retries.
///
/// Those hide calls that may have happened.
fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// Opens the store at `url`; `None` if its cloud is not built in, or for another kind of URL.
pub(crate) fn open_cloud(url: &str, options: &StoreOptions) -> Result<Option<Arc<dyn Backend>>> {
    let Some(make) = maker_of(url.split_once("://").map_or("", |(scheme, _)| scheme)) else {
        return Ok(None);
    };
    let mut location = Location::parse(url)?;
    let (client, name) = make(&mut location)?;
    location.expect_no_more()?;
    let client: Arc<dyn Client> = match &location.prefix {
        Some(prefix) => Arc::new(PrefixStore::new(client, prefix.clone())),
        None => client,
    };
    let mut store = ObjectStore::unprobed(client, name)?;
    if let Some(timeout) = options.timeout {
        store = store.with_timeout(timeout);
    }
    let store = CountingBackend::new(store, Arc::clone(&options.counts));
    let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(OsEntropy));
    let store = RetryingBackend::new(store, options.retry, clock, entropy);
    // The probe retries each request itself: it must know which of its puts took effect.
    let counted = store.inner();
    let begin = || -> Tries<'_> { Box::new(store.begin()) };
    expect_conditions(counted, &OsEntropy, || counted.inner().take_bare_etags(), &begin).map_err(
        |e| {
            let kind = kind_at_open(&e);
            e.with_kind(kind).with_subject(&location.bucket)
        },
    )?;
    Ok(Some(Arc::new(store)))
}

/// Returns the credentials from the environment.
///
/// Variables that decide where the store is are excluded.
fn credentials(names: &'static [&'static str]) -> impl Iterator<Item = (String, String)> {
    let told = |name: &&str| Some((name.to_ascii_lowercase(), std::env::var(name).ok()?));
    names.iter().filter_map(told)
}

/// Makes a client, and returns its kind of store for vaults.
type ClientMaker = fn(&mut Location) -> Result<(Arc<dyn Client>, &'static str)>;

fn maker_of(scheme: &str) -> Option<ClientMaker> {
    match scheme {
        #[cfg(feature = "s3")]
        "s3" => Some(s3),
        #[cfg(feature = "gcs")]
        "gs" => Some(gcs),
        #[cfg(feature = "azure")]
        "az" => Some(azure),
        _ => None,
    }
}

#[cfg(feature = "s3")]
fn s3(location: &mut Location) -> Result<(Arc<dyn Client>, &'static str)> {
    use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
    const NAMES: &[&str] = &[
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ROLE_ARN",
        "AWS_ROLE_SESSION_NAME",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ENDPOINT_URL_STS",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AWS_METADATA_ENDPOINT",
    ];
    let mut builder = AmazonS3Builder::new();
    for (key, value) in credentials(NAMES) {
        builder = builder.with_config(key.parse().map_err(unfit)?, value);
    }
    builder = builder
        .with_bucket_name(&location.bucket)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(no_retries())
        .with_http_connector(Connector);
    let endpoint = location.endpoint()?;
    let path_style = location.flag("path_style")?.unwrap_or(endpoint.is_some());
    builder = builder.with_virtual_hosted_style_request(!path_style);
    let mut http = ClientOptions::new();
    if let Some(endpoint) = endpoint {
        http = http.with_allow_http(endpoint.starts_with("http:"));
        // In the other style the client expects an endpoint with the bucket in its name.
        builder = builder.with_endpoint(if path_style {
            endpoint
        } else {
            endpoint.replacen("://", &format!("://{}.", location.bucket), 1)
        });
    }
    if let Some(region) = location.take("region") {
        builder = builder.with_region(region);
    }
    let client = builder.with_client_options(http).build().map_err(unfit)?;
    Ok((Arc::new(client), "s3"))
}

#[cfg(feature = "gcs")]
fn gcs(location: &mut Location) -> Result<(Arc<dyn Client>, &'static str)> {
    use object_store::gcp::GoogleCloudStorageBuilder;
    const NAMES: &[&str] = &[
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
    ];
    let mut builder = GoogleCloudStorageBuilder::new();
    for (key, value) in credentials(NAMES) {
        builder = builder.with_config(key.parse().map_err(unfit)?, value);
    }
    builder = builder
        .with_bucket_name(&location.bucket)
        .with_retry(no_retries())
        .with_http_connector(Connector);
    let mut http = ClientOptions::new();
    if let Some(endpoint) = location.endpoint()? {
        http = http.with_allow_http(endpoint.starts_with("http:"));
        builder = builder.with_base_url(&endpoint);
    }
    let client = builder.with_client_options(http).build().map_err(unfit)?;
    Ok((Arc::new(client), "gcs"))
}

#[cfg(feature = "azure")]
fn azure(location: &mut Location) -> Result<(Arc<dyn Client>, &'static str)> {
    use object_store::azure::MicrosoftAzureBuilder;
    const NAMES: &[&str] = &[
        "AZURE_STORAGE_ACCOUNT_NAME",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_KEY",
        "AZURE_STORAGE_TOKEN",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
        "AZURE_TENANT_ID",
        "AZURE_AUTHORITY_HOST",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_MSI_ENDPOINT",
    ];
    let mut builder = MicrosoftAzureBuilder::new();
    for (key, value) in credentials(NAMES) {
        builder = builder.with_config(key.parse().map_err(unfit)?, value);
    }
    builder = builder
        .with_container_name(&location.bucket)
        .with_retry(no_retries())
        .with_http_connector(Connector);
    if let Some(account) = location.take("account") {
        builder = builder.with_account(account);
    }
    let mut http = ClientOptions::new();
    if let Some(endpoint) = location.endpoint()? {
        http = http.with_allow_http(endpoint.starts_with("http:"));
        builder = builder.with_endpoint(endpoint);
    }
    let client = builder.with_client_options(http).build().map_err(unfit)?;
    Ok((Arc::new(client), "azure"))
}

/// Returns the error of a client that cannot be made: it names the missing part, and no secret.
fn unfit(error: object_store::Error) -> Error {
    Error::new(ErrorKind::Invalid, OPEN).with_source(error)
}

fn invalid(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, OPEN).with_detail(detail)
}

/// The parts of a URL.
struct Location {
    bucket: String,
    prefix: Option<Path>,
    parameters: BTreeMap<String, String>,
}

impl Location {
    /// Parses a URL. No error shows it, because it may contain a secret.
    fn parse(url: &str) -> Result<Self> {
        let url = Url::parse(url).map_err(|e| invalid(format!("not a URL: {e}")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("credentials come from the environment, not from the URL"));
        }
        if url.fragment().is_some() || url.port().is_some() {
            return Err(invalid(
                "a store's URL has no port and no fragment; `endpoint` names a server",
            ));
        }
        let bucket = url.host_str().filter(|bucket| !bucket.is_empty());
        let bucket = bucket.ok_or_else(|| invalid("the URL names no bucket"))?.to_owned();
        let path = Path::from_url_path(url.path())
            .map_err(|e| invalid("the prefix is not a path").with_source(e))?;
        let prefix = (!path.as_ref().is_empty()).then_some(path);
        let mut parameters = BTreeMap::new();
        for (name, value) in url.query_pairs() {
            if parameters.insert(name.to_string(), value.to_string()).is_some() {
                return Err(invalid("a parameter is given twice").with_subject(name));
            }
        }
        Ok(Self { bucket, prefix, parameters })
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.parameters.remove(name)
    }

    fn flag(&mut self, name: &str) -> Result<Option<bool>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value
            .parse()
            .map(Some)
            .map_err(|_| invalid("the value is neither true nor false").with_subject(name))
    }

    /// Returns the server that replaces the cloud's own. Without TLS others can read and change its
    /// traffic.
    fn endpoint(&mut self) -> Result<Option<String>> {
        const ENDPOINT: &str = "endpoint";
        let allow_http = self.flag("allow_http")?.unwrap_or(false);
        let Some(endpoint) = self.take(ENDPOINT) else { return Ok(None) };
        let refuse = |detail: &str| Err(invalid(detail).with_subject(ENDPOINT));
        let Ok(parsed) = Url::parse(&endpoint) else { return refuse("the endpoint is not a URL") };
        if !parsed.username().is_empty() || parsed.password().is_some() || parsed.query().is_some()
        {
            return refuse("the endpoint has more than a scheme, a host, a port and a path");
        }
        let is_here = match parsed.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        match parsed.scheme() {
            "https" => {}
            "http" if is_here || allow_http => {}
            "http" => return refuse("an endpoint without TLS needs allow_http=true"),
            _ => return refuse("the endpoint is neither https nor http"),
        }
        Ok(Some(endpoint.trim_end_matches('/').to_owned()))
    }

    /// Returns `Invalid` if a parameter was not used.
    fn expect_no_more(&self) -> Result<()> {
        match self.parameters.keys().next() {
            None => Ok(()),
            Some(name) => Err(invalid("the URL has a parameter that this store does not know")
                .with_subject(name.escape_debug())),
        }
    }
}
