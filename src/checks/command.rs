//! Commands of the user that check answers. The answer comes on standard input as JSON, the verdict is the exit status.

use std::{io, process::Stdio, time::Duration};

use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use super::start_fault::StartFault;

/// Maximum number of bytes that are kept of each output of a command. The rest is read and dropped.
const MAX_OUTPUT_BYTES: usize = 16 * 1024;
/// Interval of tries to start a command.
const START_RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// How long the output of an ended command is still read. Something that left its process group may hold it open.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);

/// A program, its arguments and its time limit. No shell is involved unless it is the program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckCommand {
    pub program: String,
    pub args: Vec<String>,
    /// Real time, whatever the run's clock does.
    pub timeout: Duration,
}

/// Why a command has not accepted an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum CheckError {
    /// It did not end with exit status 0 within its time limit: what it wrote, or else how it ended.
    Failed(String),
    /// It could not be run, which says nothing about the answer, and is not waited for any more.
    NotRun(String),
}

impl CheckCommand {
    /// Runs the command with `input` on its standard input.
    ///
    /// # Errors
    /// If the command does not accept the answer, or can't be run.
    pub(super) async fn run(&self, input: &[u8], fault: &StartFault) -> Result<(), CheckError> {
        let child = self.start(fault).await?;
        // When the time is up, dropping the future kills the command and everything that it started.
        timeout(self.timeout, run_to_end(child, input)).await.unwrap_or_else(|_| {
            let message = format!("the command took longer than {:?} and was stopped", self.timeout);
            Err(CheckError::Failed(message))
        })
    }

    /// Starts the command. If that fails, this is reported, after the command's time limit if the machine only lacks
    /// something for it; then it tries again until it succeeds or is no longer waited for.
    async fn start(&self, fault: &StartFault) -> Result<Child, CheckError> {
        let began = Instant::now();
        loop {
            let started = Command::new(&self.program)
                .args(&self.args)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .process_group(0)
                .kill_on_drop(true)
                .spawn();
            match started {
                Ok(child) => {
                    fault.clear(&self.program);
                    return Ok(child);
                }
                Err(error) if is_temporary(&error) && began.elapsed() < self.timeout => {}
                Err(error) => {
                    let message = format!("the command {} can't be started: {error}", self.program);
                    fault.report(&self.program, &message);
                    if fault.has_stopped_waiting_for_commands() {
                        return Err(CheckError::NotRun(message));
                    }
                }
            }
            sleep(START_RETRY_INTERVAL).await;
        }
    }
}

/// Whether the start may succeed a little later: the machine has no process, file handle or memory to spare, or the
/// program is just being written.
fn is_temporary(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EAGAIN | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ETXTBSY))
}

async fn run_to_end(mut child: Child, input: &[u8]) -> Result<(), CheckError> {
    let mut group = ProcessGroup::of(&child);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = {
        let write = async {
            if let Some(mut stdin) = stdin {
                // A command that doesn't read its input may close it.
                let _ = stdin.write_all(input).await;
            }
        };
        let transfer = async { tokio::join!(write, read_capped(stdout, &mut out), read_capped(stderr, &mut err)) };
        tokio::pin!(transfer);
        let mut is_transferred = false;
        loop {
            tokio::select! {
                status = child.wait() => {
                    group.kill();
                    if !is_transferred {
                        let _ = timeout(OUTPUT_GRACE, &mut transfer).await;
                    }
                    break status;
                }
                _ = &mut transfer, if !is_transferred => is_transferred = true,
            }
        }
    };
    let status = status.map_err(|error| CheckError::NotRun(format!("the command can't be waited for: {error}")))?;
    if status.success() {
        return Ok(());
    }
    let texts = [out, err].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
    let text = texts.into_iter().find(|text| !text.is_empty());
    Err(CheckError::Failed(text.unwrap_or_else(|| format!("the command ended with {status}"))))
}

/// The process group of a command: itself and what it has started. Dropping it kills the group.
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    /// Kills what is left of the group. To be called as soon as the command has ended: no new process gets the number
    /// of a group with members, but one may get it later.
    fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads an output to its end and keeps its beginning.
async fn read_capped(output: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut output) = output else { return };
    let mut buffer = [0; 4096];
    loop {
        match output.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => {
                let room = MAX_OUTPUT_BYTES - kept.len();
                kept.extend_from_slice(&buffer[..count.min(room)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn shell(script: &str, timeout: Duration) -> CheckCommand {
        CheckCommand { program: "sh".to_owned(), args: vec!["-c".to_owned(), script.to_owned()], timeout }
    }

    async fn verdict(script: &str) -> Result<(), String> {
        let fault = StartFault::default();
        failure(shell(script, Duration::from_secs(60)).run(b"{\"output\":\"four\"}", &fault).await)
    }

    /// The verdict of a command that ran.
    fn failure(result: Result<(), CheckError>) -> Result<(), String> {
        result.map_err(|error| match error {
            CheckError::Failed(message) => message,
            CheckError::NotRun(message) => panic!("{message}"),
        })
    }

    #[tokio::test]
    async fn the_exit_status_decides_and_the_output_is_the_message() {
        assert_eq!(verdict("grep -q four").await, Ok(()));
        assert_eq!(verdict("cat >/dev/null; echo fine; exit 0").await, Ok(()));
        assert_eq!(verdict("cat").await, Ok(()));
        assert_eq!(verdict("echo too; echo short; echo log >&2; exit 1").await.unwrap_err(), "too\nshort");
        assert_eq!(verdict("echo '  only here' >&2; exit 3").await.unwrap_err(), "only here");
        assert_eq!(verdict("exit 7").await.unwrap_err(), "the command ended with exit status: 7");
        assert!(verdict("kill -9 $$").await.unwrap_err().contains("signal: 9"));
    }

    #[tokio::test]
    async fn a_missing_program_is_reported_at_once() {
        let command = CheckCommand { program: "/no/such/program".to_owned(), ..shell("", Duration::from_secs(60)) };
        let message = not_run(&command).await;
        assert!(message.starts_with("the command /no/such/program can't be started: "), "{message}");
    }

    #[tokio::test]
    async fn an_answer_waits_until_its_command_can_be_started() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("script");
        let program = path.to_str().unwrap().to_owned();
        let command = CheckCommand { program, ..shell("", Duration::from_secs(60)) };
        let fault = StartFault::default();
        let run = command.run(b"", &fault);
        let repair = async {
            while fault.current().is_none() {
                sleep(Duration::from_millis(10)).await;
            }
            let message = fault.current().unwrap().message;
            assert!(message.contains("script can't be started: No such file"), "{message}");
            std::fs::write(home.path().join("new"), "#!/bin/sh\nexit 0\n").unwrap();
            std::fs::set_permissions(home.path().join("new"), std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::rename(home.path().join("new"), &path).unwrap();
        };
        let (verdict, ()) = tokio::join!(run, repair);
        assert_eq!((verdict, fault.current()), (Ok(()), None));
    }

    async fn not_run(command: &CheckCommand) -> String {
        let fault = StartFault::default();
        fault.stop_waiting_for_commands();
        match command.run(b"", &fault).await {
            Err(CheckError::NotRun(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_file_that_is_no_program_is_reported_at_once() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("script");
        std::fs::write(&path, "echo no interpreter is named\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let program = path.to_str().unwrap().to_owned();
        // Trying for a day would never end.
        let message = not_run(&CheckCommand { program, ..shell("", Duration::from_secs(86_400)) }).await;
        assert!(message.contains("can't be started: Exec format error"), "{message}");
    }

    #[test]
    fn only_what_the_machine_lacks_is_waited_for() {
        for (errno, expected) in [
            (Errno::EAGAIN, true),
            (Errno::EMFILE, true),
            (Errno::ENFILE, true),
            (Errno::ENOMEM, true),
            (Errno::ETXTBSY, true),
            (Errno::ENOEXEC, false),
            (Errno::EACCES, false),
            (Errno::ENOENT, false),
            (Errno::E2BIG, false),
        ] {
            assert_eq!(is_temporary(&io::Error::from(errno)), expected, "{errno}");
        }
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_killed_with_all_that_it_started() {
        let home = tempfile::tempdir().unwrap();
        let pid_file = home.path().join("pid");
        let script = format!("sleep 600 & echo $! > '{}'; wait", pid_file.display());
        // Only the command's end can end this: it would last ten minutes.
        let error = failure(shell(&script, Duration::from_secs(2)).run(b"", &StartFault::default()).await).unwrap_err();
        assert_eq!(error, "the command took longer than 2s and was stopped");
        let child: i32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
        wait_for_end(child).await;
    }

    /// Waits until the process has ended, at most a minute: by itself it would last ten.
    async fn wait_for_end(process: i32) {
        let end = async {
            while is_running(process) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), end).await.expect("the process has been killed");
    }

    /// Whether the process exists and is not only waiting to be reaped, which only Linux tells.
    fn is_running(process: i32) -> bool {
        let is_reapable =
            std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| stat.contains(") Z "));
        !is_reapable && nix::sys::signal::kill(Pid::from_raw(process), None).is_ok()
    }

    #[tokio::test]
    async fn unread_input_and_endless_output_do_no_harm() {
        let (input, fault) = (vec![b'x'; 1 << 20], StartFault::default());
        assert_eq!(shell("exit 0", Duration::from_secs(60)).run(&input, &fault).await, Ok(()));
        let command = shell("yes | head -c 1000000; exit 1", Duration::from_secs(60));
        let error = failure(command.run(&input, &fault).await).unwrap_err();
        assert!(error.len() <= MAX_OUTPUT_BYTES, "{}", error.len());
    }

    #[tokio::test]
    async fn a_command_that_ended_leaves_nothing_running() {
        let home = tempfile::tempdir().unwrap();
        for end in ["exit 0", "exit 1", "kill -9 $$"] {
            let pid_file = home.path().join("pid");
            let script = format!("sleep 600 & echo $! > '{}'; {end}", pid_file.display());
            let result = shell(&script, Duration::from_secs(300)).run(b"", &StartFault::default()).await;
            assert_eq!(result.is_ok(), end == "exit 0", "it ends with the command, not with what that has started");
            let left: i32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
            wait_for_end(left).await;
        }
    }
}
