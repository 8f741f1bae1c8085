//! A command that can't be started, as all attempts of a run and its engine see it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A fault that was not reported again for this long is over. Each answer that waits reports it several times a second.
const REPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// A check that can't be made, since its command can't be started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckFault {
    /// A message for people, without the check's name.
    pub message: String,
    pub since: Instant,
}

/// The fault of the commands of a run, if there is one. Answers whose command can't be started wait for its end.
#[derive(Debug, Default)]
pub(super) struct StartFault(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    fault: Option<ReportedFault>,
    has_stopped_waiting_for_commands: bool,
}

#[derive(Debug)]
struct ReportedFault {
    program: String,
    fault: CheckFault,
    last_reported_at: Instant,
}

impl ReportedFault {
    /// Whether no answer waits for the program any more, for example because its attempt was aborted.
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.last_reported_at) > REPORT_TIMEOUT
    }
}

impl StartFault {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic can't leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that a program can't be started. Of several programs, the first one counts until it can be.
    pub fn report(&self, program: &str, message: &str) {
        let now = Instant::now();
        let mut state = self.state();
        match &mut state.fault {
            Some(known) if known.program == program => known.last_reported_at = now,
            Some(known) if !known.is_over(now) => {}
            fault => {
                let program = program.to_owned();
                let new_fault = CheckFault { message: message.to_owned(), since: now };
                *fault = Some(ReportedFault { program, fault: new_fault, last_reported_at: now });
            }
        }
    }

    /// Takes note that a program was started.
    pub fn clear(&self, program: &str) {
        self.state().fault.take_if(|known| known.program == program);
    }

    pub fn current(&self) -> Option<CheckFault> {
        let now = Instant::now();
        self.state().fault.as_ref().filter(|known| !known.is_over(now)).map(|known| known.fault.clone())
    }

    /// From now on, answers fail their items instead of waiting for a command that can't be started.
    pub fn stop_waiting_for_commands(&self) {
        self.state().has_stopped_waiting_for_commands = true;
    }

    pub fn has_stopped_waiting_for_commands(&self) -> bool {
        self.state().has_stopped_waiting_for_commands
    }
}
