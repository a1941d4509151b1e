//! The `mk-sandbox` command.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    mk_sandbox::cli::main()
}
