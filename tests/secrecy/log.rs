//! The log of a worker, at level `TRACE` with every span's beginning and end, in a file.

use std::fs::{self, OpenOptions};
use std::path::Path;

use tracing_subscriber::fmt::format::FmtSpan;

const FILE: &str = "output/log";

/// Writes all that this process logs from now on.
pub(crate) fn start(scratch: &Path) {
    let file = OpenOptions::new().create(true).append(true).open(scratch.join(FILE)).unwrap();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(file)
        .init();
}

/// That the log was written at all.
pub(crate) fn expect_told(scratch: &Path) {
    let log = fs::read_to_string(scratch.join(FILE)).unwrap();
    for line in ["vault opened", "rotate", "stage", "apply", "write", "check"] {
        assert!(log.contains(line), "the log does not tell {line:?}: {} bytes", log.len());
    }
}
