//! The log file of a worker: level `TRACE`, with begin and end of spans.

use std::fs::{self, OpenOptions};
use std::path::Path;

use tracing_subscriber::fmt::format::FmtSpan;

const FILE: &str = "output/log";

/// Sends all further log messages of this process to the file.
pub(crate) fn start(scratch: &Path) {
    let file = OpenOptions::new().create(true).append(true).open(scratch.join(FILE)).unwrap();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(file)
        .init();
}

/// Asserts that the log has the main messages.
pub(crate) fn assert_written(scratch: &Path) {
    let log = fs::read_to_string(scratch.join(FILE)).unwrap();
    for line in ["vault opened", "rotate", "stage", "apply", "write", "check"] {
        assert!(log.contains(line), "the log lacks {line:?}: {} bytes", log.len());
    }
}
