//! The `osteoload` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    osteoload::cli::main()
}
