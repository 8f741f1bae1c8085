//! Panics of any thread go into the log; onto the screen only when nobody holds the terminal.
//!
//! ratatui's own hook leaves the alternate screen for a panic in *any* thread, which tears a live dashboard
//! apart for a worker's mistake. Here the hook only speaks; the terminal is given back by whoever holds it.

use std::{
    any::Any,
    io::{self, Write as _},
    panic::{self, PanicHookInfo},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::domain::plain_text::sanitize;

/// Messages kept while the terminal is held; later ones are only logged.
const WITHHELD: usize = 8;

/// Who may print. Outside a test there is one of these for the process.
#[derive(Debug)]
struct Printing {
    holders: u32,
    withheld: Vec<String>,
}

static PRINTING: Mutex<Printing> = Mutex::new(Printing { holders: 0, withheld: Vec::new() });

fn printing() -> MutexGuard<'static, Printing> {
    // Nothing that is called under this lock panics; a poisoned one is still consistent.
    PRINTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While this lives panics are not printed. Drop it only after the terminal is itself again: what was
/// withheld is then printed to stderr.
#[derive(Debug)]
#[must_use = "panics are printed again as soon as this is dropped"]
pub struct TerminalHold(());

pub fn hold_terminal() -> TerminalHold {
    printing().holders += 1;
    TerminalHold(())
}

impl Drop for TerminalHold {
    fn drop(&mut self) {
        let withheld = {
            let mut printing = printing();
            printing.holders -= 1;
            if printing.holders > 0 { Vec::new() } else { std::mem::take(&mut printing.withheld) }
        };
        for message in withheld {
            // Not `eprintln!`, which panics where stderr was a terminal that is gone.
            let _ = writeln!(io::stderr(), "{message}");
        }
    }
}

/// Logs every panic, and prints it too unless the terminal is held.
pub fn install_hook() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let message = describe(info);
        tracing::error!("{message}");
        if !withhold(message) {
            before(info);
        }
    }));
}

/// Keeps the message for later where the terminal is held.
fn withhold(message: String) -> bool {
    let mut printing = printing();
    if printing.holders == 0 {
        return false;
    }
    if printing.withheld.len() < WITHHELD {
        printing.withheld.push(message);
    }
    true
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed").to_owned();
    let place = info.location().map_or_else(String::new, |location| format!(" at {location}"));
    format!("thread '{name}' panicked{place}: {}", words(info.payload()))
}

/// What a panic said, safe to show.
pub fn words(payload: &(dyn Any + Send)) -> String {
    let words = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    sanitize(words).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test, because the hold is the process's.
    #[test]
    fn panics_are_withheld_exactly_while_the_terminal_is_held() {
        assert!(!withhold("free".to_owned()));
        let outer = hold_terminal();
        let inner = hold_terminal();
        assert!(withhold("held".to_owned()));
        drop(inner);
        assert!(withhold("still held".to_owned()));
        assert_eq!(printing().withheld, ["held", "still held"]);
        drop(outer);
        assert!(!withhold("free again".to_owned()));
        assert!(printing().withheld.is_empty());
    }

    #[test]
    fn a_panic_says_its_words_without_escapes() {
        let payload: Box<dyn Any + Send> = Box::new("bad \x1b[0m".to_owned());
        assert_eq!(words(payload.as_ref()), "bad ␛[0m");
        let payload: Box<dyn Any + Send> = Box::new(7_u8);
        assert_eq!(words(payload.as_ref()), "no message");
    }
}
