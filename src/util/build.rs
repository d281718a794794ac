//! The version, revision and compiler of this build.

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The git revision, or `unknown` if the build was not made from a checkout.
pub const REVISION: &str = env!("PROMANSIBLE_REVISION");

pub const RUST_VERSION: &str = env!("PROMANSIBLE_RUSTC");

/// The long version string that `--version` prints.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (revision ",
    env!("PROMANSIBLE_REVISION"),
    ", rustc ",
    env!("PROMANSIBLE_RUSTC"),
    ")"
);
