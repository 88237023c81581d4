//! The vault as a program. Everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    alter_server::cli::run()
}
