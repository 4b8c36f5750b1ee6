//! `verify`: reads one artifact or many and compares checksums, without stopping at damage.

use serde_json::{Value as Json, json};
use strongroom::artifacts::{ArtifactUri, Artifacts};
use strongroom::{Error, ErrorKind, LongCall, Result as VaultResult};

use super::scope;
use crate::args::ArtifactFilter;
use crate::exit::{Failure, Outcome};
use crate::output::{Output, print_json};
use crate::session::Session;

/// Result of a verification, of one version or of many.
#[derive(Default)]
struct Verified {
    whole: u64,
    bytes: u64,
    damaged: u64,
    named: Vec<(ArtifactUri, Error)>,
}

pub(super) fn run(
    session: &Session<'_>,
    uri: Option<&ArtifactUri>,
    filter: &ArtifactFilter,
) -> Result<Outcome, Failure> {
    let vault = session.open("verify")?;
    let artifacts = vault.artifacts();
    let bar = session.spinner("{spinner} {bytes} read, {bytes_per_sec}");
    let verified = if let Some(uri) = uri {
        verify_one(&artifacts, uri)
    } else {
        let progress = |done, _| bar.set_position(done);
        let all = artifacts.verify_all(&scope(filter), LongCall::new().progress(&progress));
        all.map(|all| Verified {
            whole: all.whole,
            bytes: all.bytes,
            damaged: all.damaged,
            named: all.named,
        })
    };
    bar.finish_and_clear();
    let verified = verified?;
    session.close(vault)?;
    if session.json() {
        print_json(&verified_json(&verified))?;
    } else {
        print_verified(&verified)?;
    }
    Ok(if verified.damaged == 0 { Outcome::Done } else { Outcome::Problems })
}

/// Verifies one version. Reports it like many, so that damage has the same exit code.
fn verify_one(artifacts: &Artifacts, uri: &ArtifactUri) -> VaultResult<Verified> {
    match artifacts.verify(uri) {
        Ok(info) => Ok(Verified { whole: 1, bytes: info.len(), ..Verified::default() }),
        Err(e) if e.kind() == ErrorKind::Corrupt => {
            Ok(Verified { damaged: 1, named: vec![(uri.clone(), e)], ..Verified::default() })
        }
        Err(e) => Err(e),
    }
}

fn print_verified(verified: &Verified) -> Result<(), Failure> {
    let mut output = Output::new();
    for (uri, error) in &verified.named {
        output.line(format_args!("damaged: {uri}: {error}"))?;
    }
    if let Some(more @ 1..) = verified.damaged.checked_sub(verified.named.len() as u64) {
        output.line(format_args!("damaged: {more} more"))?;
    }
    output.line(format_args!(
        "{} versions of {} bytes whole, {} damaged",
        verified.whole, verified.bytes, verified.damaged
    ))?;
    output.finish()
}

fn verified_json(verified: &Verified) -> Json {
    let problems = verified
        .named
        .iter()
        .map(|(uri, error)| json!({ "uri": uri.to_string(), "error": error.to_string() }));
    json!({
        "ok": verified.damaged == 0,
        "whole": verified.whole,
        "bytes": verified.bytes,
        "damaged": verified.damaged,
        "problems": problems.collect::<Vec<_>>(),
    })
}
