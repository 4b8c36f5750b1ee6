//! Refusals of the cloud stores, and the causes of missing answers.
//!
//! A [`ReportingService`] below each client examines every answer. An answer that requests
//! a pause, or whose body has more facts than its status, becomes an error with these facts
//! ([`Refusal`]). [`Cloud::of`] finds them again in the client's error.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};

use rustls_platform_verifier::BuilderVerifierExt;

use crate::layers::RetryAfter;
use strongroom_base::ErrorKind;
use strongroom_base::Reason;

/// Most bytes that are read of an error's body.
const ERROR_BODY_BYTES_MAX: usize = 64 << 10;

/// Time limit for making a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Prefixes of the hosts that provide credentials.
const CREDENTIAL_HOSTS: [&str; 5] = [
    "169.254.169.254",
    "169.254.170.2",
    "metadata.google.internal",
    "oauth2.googleapis.com",
    "login.microsoftonline.com",
];

fn is_for_credentials(host: &str) -> bool {
    // A region may be between the two parts.
    let is_sts = host.starts_with("sts.") && host.contains(".amazonaws.com");
    is_sts || CREDENTIAL_HOSTS.iter().any(|begin| host.starts_with(begin))
}

/// Makes clients that examine answers.
#[derive(Debug)]
pub(super) struct Connector;

impl Connector {
    /// Makes a client without redirects and without its own time limit.
    ///
    /// The adapter limits each request by the bytes that it moves. The client's limit would also
    /// count the time in which we send and nothing arrives. A redirect means another region, which
    /// the error names.
    fn client(allow_http: bool) -> Result<reqwest::Client, Box<dyn StdError + Send + Sync>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_platform_verifier()?
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(!allow_http)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()?;
        Ok(client)
    }
}

impl HttpConnector for Connector {
    /// All options except one are the crate's defaults. A machine's provider of credentials has no
    /// TLS.
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allow_http = options.get_config_value(&ClientConfigKey::AllowHttp);
        let client = Self::client(allow_http.as_deref() == Some("true"))
            .map_err(|source| object_store::Error::Generic { store: "HTTP client", source })?;
        Ok(HttpClient::new(ReportingService { client: HttpClient::new(client) }))
    }
}

#[derive(Debug)]
struct ReportingService {
    client: HttpClient,
}

#[async_trait]
impl HttpService for ReportingService {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let host = request.uri().host().unwrap_or_default();
        let is_for_credentials = is_for_credentials(host);
        let is_head = request.method().as_str() == "HEAD";
        let response = match self.client.execute(request).await {
            Err(error) if is_for_credentials => {
                return Err(HttpError::new(HttpErrorKind::Unknown, NoCredentials(error)));
            }
            answered => answered?,
        };
        let status = response.status().as_u16();
        if !may_have_facts(status) || is_head {
            return Ok(response);
        }
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(|secs| RetryAfter(Duration::from_secs(secs)));
        let (parts, body) = response.into_parts();
        let body = read_some(body).await?;
        let code = code_of(&body);
        if status == 404 && code.as_deref().is_some_and(names_object) {
            // A missing object is an ordinary result.
            return Ok(HttpResponse::from_parts(
                parts,
                String::from_utf8_lossy(&body).into_owned().into(),
            ));
        }
        if is_for_credentials && matches!(status, 400..=407 | 410..=428) {
            let refused = CredentialsRefused { status, code };
            return Err(HttpError::new(HttpErrorKind::Unknown, refused));
        }
        let refused = Refusal { status, code, retry_after };
        Err(HttpError::new(HttpErrorKind::Unknown, refused))
    }
}

/// Returns whether an answer with that status may have more facts.
///
/// Answers about conditions and ranges have none.
fn may_have_facts(status: u16) -> bool {
    matches!(status, 300..=303 | 305..=408 | 410 | 411 | 413..=415 | 417..=599)
}

/// Returns whether a 404 concerns an object. One without a code may come from a gateway that lost
/// its way.
fn names_object(code: &str) -> bool {
    ["NoSuchKey", "BlobNotFound"].contains(&code)
}

async fn read_some(body: HttpResponseBody) -> Result<Bytes, HttpError> {
    let (mut read, mut stream) = (BytesMut::new(), body.bytes_stream());
    while let Some(piece) = stream.next().await {
        let piece = piece?;
        let room = ERROR_BODY_BYTES_MAX - read.len();
        read.extend_from_slice(&piece[..piece.len().min(room)]);
        if read.len() == ERROR_BODY_BYTES_MAX {
            break;
        }
    }
    Ok(read.freeze())
}

/// Reads the code in `<Error><Code>…</Code>`, as S3, Google and Azure write it; letters only.
fn code_of(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, behind) = text.split_once("<Code>")?;
    let (code, _) = behind.split_once("</Code>")?;
    let is_code = (1..=64).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
    is_code.then(|| code.to_owned())
}

/// A store's refusal: the status, and the facts in its body.
#[derive(Debug)]
struct Refusal {
    status: u16,
    code: Option<String>,
    retry_after: Option<RetryAfter>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store answered {}", self.status)?;
        self.code.as_ref().map_or(Ok(()), |code| write!(f, " {code}"))
    }
}

impl StdError for Refusal {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.retry_after.as_ref().map(|pause| pause as &(dyn StdError + 'static))
    }
}

/// The provider of credentials refused: for this machine, or for the values in the environment.
#[derive(Debug)]
struct CredentialsRefused {
    status: u16,
    code: Option<String>,
}

impl fmt::Display for CredentialsRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.as_ref().map(|code| format!(" {code}")).unwrap_or_default();
        write!(f, "no credentials: their provider answered {}{code}", self.status)
    }
}

impl StdError for CredentialsRefused {}

/// The provider of credentials did not answer.
#[derive(Debug)]
struct NoCredentials(HttpError);

impl fmt::Display for NoCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no credentials: none are in the environment, or their provider does not answer",
        )
    }
}

impl StdError for NoCredentials {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

/// Returns whether this adapter made the error.
///
/// Such an error has more facts than the client's error around it.
fn is_own(error: &(dyn StdError + 'static)) -> bool {
    error.is::<Refusal>() || error.is::<NoCredentials>() || error.is::<CredentialsRefused>()
}

/// The cause of a missing answer, in the caller's terms.
pub(super) struct Cloud {
    pub(super) kind: ErrorKind,
    pub(super) reason: Option<Reason>,
    /// Set if a write certainly did not happen.
    pub(super) is_certain: bool,
    pub(super) detail: String,
}

impl Cloud {
    /// Finds the cause in an error of the crate; `None` if the error's own kind suffices.
    pub(super) fn of(failure: &object_store::Error) -> Option<Self> {
        let mut source: Option<&(dyn StdError + 'static)> = Some(failure);
        while let Some(error) = source {
            if let Some(refused) = error.downcast_ref::<Refusal>() {
                return Some(refused.to_failure());
            }
            if let Some(refused) = error.downcast_ref::<CredentialsRefused>() {
                let detail = refused.to_string();
                let reason = Some(Reason::StoreCredentialsRefused);
                return Some(Self { kind: ErrorKind::Denied, reason, is_certain: true, detail });
            }
            if let Some(missing) = error.downcast_ref::<NoCredentials>() {
                let detail = missing.to_string();
                let (kind, reason) =
                    (ErrorKind::Unavailable, Some(Reason::StoreCredentialsMissing));
                return Some(Self { kind, reason, is_certain: true, detail });
            }
            if let Some(error) = error.downcast_ref::<HttpError>()
                && !error.source().is_some_and(is_own)
            {
                return Some(of_connection(error));
            }
            source = error.source();
        }
        // A deletion of many keys reports one failure, which the crate keeps as text only.
        let text = failure.to_string();
        let (_, code) =
            text.split_once("DeleteObjects request failed")?.1.rsplit_once("(code: ")?;
        let code = code.trim_end_matches(')').to_owned();
        let status = if code == "AccessDenied" { 403 } else { 500 };
        Some(Refusal { status, code: Some(code), retry_after: None }.to_failure())
    }
}

impl Refusal {
    fn to_failure(&self) -> Cloud {
        let code = self.code.as_deref().unwrap_or_default();
        let (kind, hint) = match (self.status, code) {
            (_, "QuotaExceeded" | "InsufficientCapacity") | (507, _) => {
                (ErrorKind::Full, "the store's quota is used up")
            }
            (404, "NoSuchBucket" | "ContainerNotFound") => {
                (ErrorKind::Unavailable, "the bucket does not exist; name an existing one")
            }
            (404, _) => {
                (ErrorKind::Unavailable, "the store reports 404 without naming what is missing")
            }
            (401 | 403, "RequestTimeTooSkewed") => {
                (ErrorKind::Denied, "this machine's clock is wrong; set it")
            }
            (
                401 | 403,
                "SignatureDoesNotMatch" | "InvalidAccessKeyId" | "AuthenticationFailed",
            )
            | (401, _) => {
                (ErrorKind::Denied, "the credentials are refused; check those in the environment")
            }
            (400 | 403, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => {
                (ErrorKind::Denied, "the session's credentials have expired; renew them")
            }
            (403, _) => {
                (ErrorKind::Denied, "the policy of these credentials does not allow the request")
            }
            (300..=399, _) | (400, "AuthorizationHeaderMalformed") => {
                (ErrorKind::Unavailable, "the bucket is in another region; name that region")
            }
            (408 | 429 | 503, _) => {
                (ErrorKind::Unavailable, "the store is throttling requests; retry later")
            }
            (501, _) => (ErrorKind::Unavailable, "the store lacks a needed feature"),
            (500..=599, _) => (ErrorKind::Unavailable, "the store failed; retry later"),
            _ => (ErrorKind::Unavailable, "the store does not accept the request"),
        };
        // A gateway may report a failure of a server that has done the work.
        let is_certain = self.status == 501 || !matches!(self.status, 408 | 500..=599);
        let reason = match (kind, self.status, code) {
            (ErrorKind::Full, ..) => Some(Reason::StorageFull),
            (ErrorKind::Denied, ..) => Some(Reason::StoreCredentialsRefused),
            (_, 404, "NoSuchBucket" | "ContainerNotFound") => Some(Reason::BucketMissing),
            (_, 408 | 429 | 503, _) => Some(Reason::StoreThrottled),
            (_, 501, _) => Some(Reason::StoreUnfit),
            _ => None,
        };
        Cloud { kind, reason, is_certain, detail: format!("{self}: {hint}") }
    }

    /// Returns whether only another name or configuration of the store helps.
    fn is_of_configuration(&self) -> bool {
        let is_certain = matches!(self.status, 300..=399 | 404 | 405 | 501);
        is_certain || self.code.as_deref() == Some("AuthorizationHeaderMalformed")
    }
}

/// Returns the kind of an error at open.
///
/// The result is for errors that only a changed configuration or credentials can fix.
///
/// While a vault is in use the same error is `Unavailable`, because neither the call nor the stored
/// data is wrong.
pub(super) fn kind_at_open(error: &strongroom_base::Error) -> ErrorKind {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.downcast_ref().is_some_and(Refusal::is_of_configuration) {
            return ErrorKind::Invalid;
        }
        if cause.is::<NoCredentials>() {
            return ErrorKind::Denied;
        }
        source = cause.source();
    }
    error.kind()
}

/// Words in rustls' errors, which have no kind that reaches this code.
const TLS_WORDS: [&str; 5] = ["certificate", "corrupt message", "handshake", "tls", "alert"];

/// Finds the cause of a request without an answer.
fn of_connection(error: &HttpError) -> Cloud {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // The deepest source is the cause.
        said = error.to_string();
        source = error.source();
    }
    let chain = chain_of(error);
    let (is_certain, what) = match error.kind() {
        HttpErrorKind::Connect if chain.contains("dns") => {
            (true, "the endpoint's name cannot be resolved")
        }
        HttpErrorKind::Connect if TLS_WORDS.iter().any(|word| chain.contains(word)) => {
            (true, "TLS with the endpoint failed; check its scheme and its certificate")
        }
        HttpErrorKind::Connect => (true, "no server answers at the endpoint"),
        HttpErrorKind::Timeout => (false, "the store did not answer in time"),
        _ => (false, "the connection broke"),
    };
    let (kind, reason) = (ErrorKind::Unavailable, Some(Reason::StoreUnreachable));
    Cloud { kind, reason, is_certain, detail: format!("{what}: {said}") }
}

/// Joins all messages of an error and its sources, in lower case.
fn chain_of(error: &(dyn StdError + 'static)) -> String {
    let mut chain = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        chain.push_str(&error.to_string().to_lowercase());
        chain.push('\n');
        next = error.source();
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_error_code_is_read_from_an_answer() {
        let body = b"<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message/></Error>";
        assert_eq!(code_of(body).as_deref(), Some("NoSuchBucket"));
        for other in
            [&b"<Code>a b</Code>"[..], b"<Code></Code>", b"<Code>x", b"", b"\xff<Code>a</Code>"]
        {
            assert_eq!(code_of(other), None);
        }
    }

    #[test]
    fn credential_hosts_differ_from_store_hosts() {
        for host in ["sts.amazonaws.com", "sts.eu-west-1.amazonaws.com", "169.254.169.254"] {
            assert!(is_for_credentials(host), "{host}");
        }
        for host in ["s3.eu-west-1.amazonaws.com", "sts.example", "127.0.0.1", ""] {
            assert!(!is_for_credentials(host), "{host}");
        }
    }

    #[test]
    fn condition_statuses_match_the_client() {
        for status in [200, 204, 206, 304, 409, 412, 416] {
            assert!(!may_have_facts(status), "{status}");
        }
        for status in [301, 400, 401, 403, 404, 429, 500, 503] {
            assert!(may_have_facts(status), "{status}");
        }
    }
}
