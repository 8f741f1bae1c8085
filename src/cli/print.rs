//! Prints the commands' results and messages, and names their exit statuses.

use std::io::{self, Write as _};

use super::CliError;
use crate::domain::plain_text::sanitize;

/// Exit status for success.
pub(super) const EXIT_DONE: u8 = 0;
/// Exit status of an interrupted command.
pub(super) const EXIT_INTERRUPTED: u8 = 130;

/// Prints a command's result to standard output.
///
/// # Errors
/// Write errors. A closed pipe is no error: its reader needs no more.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    finish_stdout(io::stdout().lock().write_all(text.as_bytes()))
}

/// Finishes a write that another function made: flushes the buffer and converts the error.
///
/// # Errors
/// Write errors, as for [`print`].
pub(super) fn finish_stdout(written: io::Result<()>) -> Result<(), CliError> {
    match written.and_then(|()| io::stdout().lock().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::internal(format!("can't write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints lines for the operator to stderr.
pub(super) fn print_stderr(message: &str) {
    // A closed stderr must not stop the program.
    let _ = writeln!(io::stderr().lock(), "{}", sanitize_lines(message));
}

/// Removes control characters, which could move the cursor, except line breaks.
pub(super) fn sanitize_lines(text: &str) -> String {
    text.lines().map(sanitize).collect::<Vec<_>>().join("\n")
}
