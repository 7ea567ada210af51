//! The `fretcoach` program: reads the command line, runs the command, ends with a named exit code.

use std::process::ExitCode;

use fretcoach::alloc_count::Counted;

#[global_allocator]
static ALLOCATOR: Counted = Counted;

fn main() -> ExitCode {
    fretcoach::cli::main()
}
