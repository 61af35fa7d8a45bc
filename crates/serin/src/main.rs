//! The program: `serin_core` and `serin_ml` do the work, [`serin::cli`] wires it.

use std::process::ExitCode;

fn main() -> ExitCode {
    serin::cli::run()
}
