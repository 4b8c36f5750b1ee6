//! The rules of this repository, as tests over its files.
//!
//! Each rule is a function from the files to its findings. One test runs the rule over the
//! repository and expects no finding. Others plant a violation into a copy and expect its report.
//!
//! - `tree.rs` reads the files. `source.rs` selects the code that ships; `lexer.rs` splits it into
//!   tokens, and `paths.rs` collects the paths that it names.
//! - `order.rs` has the order of crates and rooms. `imports.rs` checks imports against it,
//!   and `manifest.rs` checks dependencies. `cycles.rs`: no cycle of rooms.
//! - `homes.rs`: crates, the clock, randomness and threads, each in its own place.
//! - `map.rs`: paths in ARCHITECTURE.md. `links.rs`: links of documents. `files.rs`: the form of a
//!   source file. `prose.rs`: the rules of comments and texts.
//! - `counts.rs`: numbers that may not grow. `matching.rs`: no decision depends on the text of an
//!   error.

mod counts;
mod cycles;
mod files;
mod homes;
mod imports;
mod lexer;
mod links;
mod manifest;
mod map;
mod matching;
mod order;
mod paths;
mod prose;
mod source;
mod tree;
