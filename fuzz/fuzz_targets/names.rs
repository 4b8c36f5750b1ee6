//! Parses arbitrary text as an artifact's URI and as a partition key.
//!
//! A URI that parses must print as text that parses to the same URI.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::artifacts::ArtifactUri;
use strongroom::documents::SecretPartitionKey;

fuzz_target!(|text: &str| {
    if let Ok(uri) = text.parse::<ArtifactUri>() {
        let printed = uri.to_string();
        assert_eq!(printed.parse::<ArtifactUri>().ok().as_ref(), Some(&uri), "{printed}");
    }
    let _ = SecretPartitionKey::parse(text);
});
