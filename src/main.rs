//! Parse, run, exit.

fn main() -> std::process::ExitCode {
    promansible::cli::main()
}
