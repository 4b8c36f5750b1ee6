//! The rules of this repository, as tests over its files.
//!
//! Each rule is a function from the files to its findings. A test runs it over the repository,
//! where it finds nothing; others plant a violation into a copy, which it must report.
//!
//! - `tree.rs` reads the files. `source.rs` selects the code that ships; `lexer.rs` splits it into
//!   tokens, and `paths.rs` collects the paths that it names.
//! - `order.rs` has the order of crates and rooms. `imports.rs` checks imports against it,
//!   `manifest.rs` dependencies. `cycles.rs` counts cycles.
//! - `homes.rs`: crates, the clock, randomness and threads, each in its own place.
//! - `map.rs`: paths in ARCHITECTURE.md. `files.rs`: the form of a source file.
//! - `counts.rs`: numbers that may not grow. `matching.rs`: decisions by the text of errors.

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
