//! The `promansible` binary. Everything is in the library.

fn main() -> std::process::ExitCode {
    promansible::cli::main()
}
