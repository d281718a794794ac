//! What was built, of which revision.

/// The version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The git revision, or `unknown` where it was not built from a checkout.
pub const REVISION: &str = env!("PROMANSIBLE_REVISION");

/// The compiler's version.
pub const RUST_VERSION: &str = env!("PROMANSIBLE_RUSTC");

/// All of it, as `--version` prints it.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (revision ",
    env!("PROMANSIBLE_REVISION"),
    ", rustc ",
    env!("PROMANSIBLE_RUSTC"),
    ")"
);
