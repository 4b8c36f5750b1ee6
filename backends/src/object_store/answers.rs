//! What the stores of the clouds answer when they refuse, and what keeps a request from reaching them.
//!
//! [`Telling`] stands under a client and looks at each answer: one that asks for a pause, or whose body says
//! more than its status, becomes an error that carries it ([`Refused`]). [`Cloud::of`] finds that in
//! what the client makes of it.

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

/// So much is read of an answer that tells an error.
const ERROR_BODY_BYTES_MAX: usize = 64 << 10;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the names of hosts begin with that are asked for credentials.
const CREDENTIAL_HOSTS: [&str; 5] = [
    "169.254.169.254",
    "169.254.170.2",
    "metadata.google.internal",
    "oauth2.googleapis.com",
    "login.microsoftonline.com",
];

fn is_for_credentials(host: &str) -> bool {
    // A region may stand between the two.
    let is_sts = host.starts_with("sts.") && host.contains(".amazonaws.com");
    is_sts || CREDENTIAL_HOSTS.iter().any(|begin| host.starts_with(begin))
}

/// Makes clients that tell.
#[derive(Debug)]
pub(super) struct Connector;

impl Connector {
    /// How long a request takes at most the adapter says, by what it moves; the client would also count the time
    /// in which nothing comes because we send. A redirect is to another region, which is to be named.
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
    /// Of the options all but one are the crate's defaults. What gives credentials to a machine speaks without TLS.
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allow_http = options.get_config_value(&ClientConfigKey::AllowHttp);
        let client = Self::client(allow_http.as_deref() == Some("true"))
            .map_err(|source| object_store::Error::Generic { store: "HTTP client", source })?;
        Ok(HttpClient::new(Telling { client: HttpClient::new(client) }))
    }
}

#[derive(Debug)]
struct Telling {
    client: HttpClient,
}

#[async_trait]
impl HttpService for Telling {
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
        if !may_tell(status) || is_head {
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
            // An object that is not there: nothing out of the ordinary.
            return Ok(HttpResponse::from_parts(
                parts,
                String::from_utf8_lossy(&body).into_owned().into(),
            ));
        }
        if is_for_credentials && matches!(status, 400..=407 | 410..=428) {
            let refused = CredentialsRefused { status, code };
            return Err(HttpError::new(HttpErrorKind::Unknown, refused));
        }
        let refused = Refused { status, code, retry_after };
        Err(HttpError::new(HttpErrorKind::Unknown, refused))
    }
}

/// Whether an answer of that status has a body or a header to look at. Those of conditions and ranges have not.
fn may_tell(status: u16) -> bool {
    matches!(status, 300..=303 | 305..=408 | 410 | 411 | 413..=415 | 417..=599)
}

/// Whether a 404 is of an object. One that says nothing may be of a gateway that has lost its way.
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

/// The code in `<Error><Code>…</Code>`, as S3, Google and Azure write it; letters only.
fn code_of(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, behind) = text.split_once("<Code>")?;
    let (code, _) = behind.split_once("</Code>")?;
    let is_code = (1..=64).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
    is_code.then(|| code.to_owned())
}

/// A store's refusal: the status, and what its body tells.
#[derive(Debug)]
struct Refused {
    status: u16,
    code: Option<String>,
    retry_after: Option<RetryAfter>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store answered {}", self.status)?;
        self.code.as_ref().map_or(Ok(()), |code| write!(f, " {code}"))
    }
}

impl StdError for Refused {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.retry_after.as_ref().map(|pause| pause as &(dyn StdError + 'static))
    }
}

/// Whoever gives out credentials refused to: to this machine, or for what is in the environment.
#[derive(Debug)]
struct CredentialsRefused {
    status: u16,
    code: Option<String>,
}

impl fmt::Display for CredentialsRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.as_ref().map(|code| format!(" {code}")).unwrap_or_default();
        write!(f, "no credentials: whoever gives them out answered {}{code}", self.status)
    }
}

impl StdError for CredentialsRefused {}

/// Whoever gives out credentials did not answer.
#[derive(Debug)]
struct NoCredentials(HttpError);

impl fmt::Display for NoCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no credentials: none are in the environment, or whoever gives them out does not answer")
    }
}

impl StdError for NoCredentials {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

/// Whether an error was made here, and says more than the client's own that it stands under.
fn is_own(error: &(dyn StdError + 'static)) -> bool {
    error.is::<Refused>() || error.is::<NoCredentials>() || error.is::<CredentialsRefused>()
}

/// What kept a call from its answer, as a caller needs it.
pub(super) struct Cloud {
    pub(super) kind: ErrorKind,
    pub(super) reason: Option<Reason>,
    /// A write did not happen.
    pub(super) is_certain: bool,
    pub(super) detail: String,
}

impl Cloud {
    /// What an error of the crate says of it; `None` if that is in its own kind.
    pub(super) fn of(failure: &object_store::Error) -> Option<Self> {
        let mut source: Option<&(dyn StdError + 'static)> = Some(failure);
        while let Some(error) = source {
            if let Some(refused) = error.downcast_ref::<Refused>() {
                return Some(refused.told());
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
        // Of many keys that were to be deleted, what was said of one; the crate keeps it as text alone.
        let text = failure.to_string();
        let (_, code) =
            text.split_once("DeleteObjects request failed")?.1.rsplit_once("(code: ")?;
        let code = code.trim_end_matches(')').to_owned();
        let status = if code == "AccessDenied" { 403 } else { 500 };
        Some(Refused { status, code: Some(code), retry_after: None }.told())
    }
}

impl Refused {
    fn told(&self) -> Cloud {
        let code = self.code.as_deref().unwrap_or_default();
        let (kind, hint) = match (self.status, code) {
            (_, "QuotaExceeded" | "InsufficientCapacity") | (507, _) => {
                (ErrorKind::Full, "the store takes no more")
            }
            (404, "NoSuchBucket" | "ContainerNotFound") => {
                (ErrorKind::Unavailable, "there is no such bucket; name one that exists")
            }
            (404, _) => (ErrorKind::Unavailable, "it does not say what it has not found"),
            (401 | 403, "RequestTimeTooSkewed") => {
                (ErrorKind::Denied, "this machine's clock is off; set it")
            }
            (
                401 | 403,
                "SignatureDoesNotMatch" | "InvalidAccessKeyId" | "AuthenticationFailed",
            )
            | (401, _) => (ErrorKind::Denied, "look at the credentials in the environment"),
            (400 | 403, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => {
                (ErrorKind::Denied, "the session's credentials have expired; renew them")
            }
            (403, _) => (ErrorKind::Denied, "the policy of these credentials does not allow it"),
            (300..=399, _) | (400, "AuthorizationHeaderMalformed") => {
                (ErrorKind::Unavailable, "the bucket is of another region; name it")
            }
            (408 | 429 | 503, _) => (ErrorKind::Unavailable, "it asks for patience"),
            (501, _) => (ErrorKind::Unavailable, "it cannot do what is needed"),
            (500..=599, _) => (ErrorKind::Unavailable, "it failed for the moment"),
            _ => (ErrorKind::Unavailable, "it does not take the request"),
        };
        // A gateway may answer with a failure for a server that has done it.
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

    /// Whether it will be refused again, until the store is named or set up in another way.
    fn is_of_configuration(&self) -> bool {
        let is_certain = matches!(self.status, 300..=399 | 404 | 405 | 501);
        is_certain || self.code.as_deref() == Some("AuthorizationHeaderMalformed")
    }
}

/// What an error of opening a store is, if it will not pass until the store is named, or set up, in another way, or
/// credentials are there. While a vault is in use that is `Unavailable`, for nothing is wrong with the call, or with
/// what is stored.
pub(super) fn kind_at_open(error: &strongroom_base::Error) -> ErrorKind {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.downcast_ref().is_some_and(Refused::is_of_configuration) {
            return ErrorKind::Invalid;
        }
        if cause.is::<NoCredentials>() {
            return ErrorKind::Denied;
        }
        source = cause.source();
    }
    error.kind()
}

/// What errors of rustls have in them, as it has no kind that survives the way up here.
const TLS_WORDS: [&str; 5] = ["certificate", "corrupt message", "handshake", "tls", "alert"];

/// Of a request that got no answer.
fn of_connection(error: &HttpError) -> Cloud {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // What lies deepest is what happened.
        said = error.to_string();
        source = error.source();
    }
    let chain = chain_of(error);
    let (is_certain, what) = match error.kind() {
        HttpErrorKind::Connect if chain.contains("dns") => {
            (true, "the endpoint's name is not known")
        }
        HttpErrorKind::Connect if TLS_WORDS.iter().any(|word| chain.contains(word)) => {
            (true, "no TLS with the endpoint; look at its scheme and its certificate")
        }
        HttpErrorKind::Connect => (true, "nothing answers at the endpoint"),
        HttpErrorKind::Timeout => (false, "the store did not answer in time"),
        _ => (false, "the connection broke"),
    };
    let (kind, reason) = (ErrorKind::Unavailable, Some(Reason::StoreUnreachable));
    Cloud { kind, reason, is_certain, detail: format!("{what}: {said}") }
}

/// All messages of an error and its sources, in lower case.
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
    fn a_code_is_read_out_of_an_answer_and_nothing_else_is() {
        let body = b"<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message/></Error>";
        assert_eq!(code_of(body).as_deref(), Some("NoSuchBucket"));
        for other in
            [&b"<Code>a b</Code>"[..], b"<Code></Code>", b"<Code>x", b"", b"\xff<Code>a</Code>"]
        {
            assert_eq!(code_of(other), None);
        }
    }

    #[test]
    fn hosts_of_credentials_are_told_from_those_of_stores() {
        for host in ["sts.amazonaws.com", "sts.eu-west-1.amazonaws.com", "169.254.169.254"] {
            assert!(is_for_credentials(host), "{host}");
        }
        for host in ["s3.eu-west-1.amazonaws.com", "sts.example", "127.0.0.1", ""] {
            assert!(!is_for_credentials(host), "{host}");
        }
    }

    #[test]
    fn statuses_of_conditions_are_the_clients_own() {
        for status in [200, 204, 206, 304, 409, 412, 416] {
            assert!(!may_tell(status), "{status}");
        }
        for status in [301, 400, 401, 403, 404, 429, 500, 503] {
            assert!(may_tell(status), "{status}");
        }
    }
}
