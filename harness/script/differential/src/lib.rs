//! Holds `swaprig-script`'s Bitcoin instance to Bitcoin Core's own consensus library: the same spend to both, the same verdict wanted.
//!
//! A crate outside the workspace, because the library is built from C++: it needs a C++ compiler, CMake and Boost's headers
//! (Debian: `g++ cmake libboost-dev`). Always with `--release`: another profile builds the library once more.
//!
//! ```sh
//! cargo test --release --locked                          # Core's vectors, 20,000 cases, and broken opcodes
//! cargo run --release --locked -- --cases 1000000        # more cases; prints its seed
//! cargo run --release --locked -- --break 0xa5           # must fail: a bug in OP_WITHIN
//! ```
//!
//! Cases are built to go deep ([`generate`]): signed correctly, then, some of them, spoilt; a script compares the stack it
//! leaves with constants, so that one wrong element turns the verdict. Core's library checks consensus rules only, so
//! the flags are subsets of those; policy rules are held to Core's `script_tests.json` (`tests/vectors.rs`).

pub mod compare;
pub mod generate;
mod program;
mod sign;
