//! A harness for the real program: an empty machine, and a simulated provider on a real socket.
//!
//! It uses only the program's command line, its files and its exit status.

#![allow(dead_code, reason = "each test program uses only a part of the harness")]

pub mod logging_server;
pub mod open_metrics;
pub mod picture_maker;
pub mod webhook_server;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use cascadeck::{
    clock::Clock,
    domain::ResultLine,
    sim::{Profile, ServerStats, Simulator},
};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

/// A simulator profile: one provider without limits, and one key.
pub const UNLIMITED_PROFILE: &str = r#"
name = "open"
provider = [{ name = "g", api = "gemini" }]
model = [{ name = "m", provider = "g" }]
key = [{ name = "alice", provider = "g", project = "one", secret = "AIza-alice" }]
"#;

/// The same with slow answers (150 ms), so that a test can act while the run is under way.
pub const SLOW_PROFILE: &str = r#"
name = "slow"
latency = { median_ms = 150 }
provider = [{ name = "g", api = "gemini" }]
model = [{ name = "m", provider = "g" }]
key = [{ name = "alice", provider = "g", project = "one", secret = "AIza-alice" }]
"#;

/// Whether tests that take long have their full size, as `.ci/run` wants.
pub fn is_full_test_run() -> bool {
    std::env::var_os("CASCADECK_FULL_TESTS").is_some()
}

/// A program that runs longer than this counts as hung.
const HANG_TIMEOUT: Duration = Duration::from_secs(90);

/// An empty machine: a home, a working directory, and none of this process's environment.
pub struct TestMachine {
    directory: TempDir,
    env_vars: Vec<(String, String)>,
}

impl TestMachine {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for folder in ["home", "tmp", "work"] {
            fs::create_dir(directory.path().join(folder)).unwrap();
        }
        Self { directory, env_vars: Vec::new() }
    }

    /// A machine whose keys.toml uses `provider`.
    pub fn with_provider(provider: &SimulatedProvider) -> Self {
        let machine = Self::new();
        machine.write_keys_toml(&provider.keys_toml());
        machine
    }

    /// A machine whose keys.toml points to `server`.
    pub fn with_server(server: &logging_server::LoggingServer) -> Self {
        let machine = Self::new();
        machine.write_keys_toml(&server.keys_toml(""));
        machine
    }

    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env_vars.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The directory with all files that the program could have written, its home included.
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// A path in the working directory.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root().join("work").join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn write_keys_toml(&self, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        self.write("keys.toml", text);
        fs::set_permissions(self.path("keys.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cascadeck"));
        let home = self.root().join("home");
        command.args(args).current_dir(self.path(".")).env_clear();
        command.env("HOME", &home).env("TMPDIR", self.root().join("tmp"));
        for (variable, folder) in
            [("XDG_CONFIG_HOME", ".config"), ("XDG_STATE_HOME", ".state"), ("XDG_DATA_HOME", ".data")]
        {
            command.env(variable, home.join(folder));
        }
        command.envs(self.env_vars.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub fn cascadeck(&self, args: &[&str]) -> ProcessOutput {
        self.start(args).wait()
    }

    pub fn cascadeck_with_stdin(&self, args: &[&str], stdin: &(impl AsRef<[u8]> + ?Sized)) -> ProcessOutput {
        self.start_with_stdin(args, stdin).wait()
    }

    pub fn start_with_stdin(&self, args: &[&str], stdin: &(impl AsRef<[u8]> + ?Sized)) -> RunningProcess {
        let mut command = self.command(args);
        command.stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // A program that rejects its arguments doesn't read standard input.
        let _ = pipe.write_all(stdin.as_ref());
        drop(pipe);
        RunningProcess::from_child(child)
    }

    /// Runs a command with both output pipes closed at once, and returns its exit status.
    pub fn run_with_closed_output(&self, args: &[&str]) -> Option<i32> {
        let mut child = self.command(args).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        child.wait().unwrap().code()
    }

    /// Starts a command in a shell that first runs `shell`, which sets limits or closes files.
    pub fn start_in_shell(&self, shell: &str, args: &[&str]) -> RunningProcess {
        let command = self.command(args);
        let mut shelled = Command::new("sh");
        shelled.arg("-c").arg(format!("{shell}; exec \"$0\" \"$@\"")).arg(command.get_program());
        shelled.args(command.get_args()).current_dir(self.path(".")).env_clear();
        shelled.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shelled.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        RunningProcess::from_child(shelled.spawn().unwrap())
    }

    /// Starts a command and leaves it running.
    pub fn start(&self, args: &[&str]) -> RunningProcess {
        RunningProcess::from_child(self.command(args).spawn().unwrap())
    }

    /// The lines of a run's results.jsonl.
    pub fn results(&self, run: &str) -> Vec<ResultLine> {
        let text = self.read(&format!("{run}/results.jsonl"));
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// The same after a kill: a last line without its newline is left out.
    pub fn complete_results(&self, run: &str) -> Vec<ResultLine> {
        let text = self.read(&format!("{run}/results.jsonl"));
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    pub fn result(&self, run: &str, id: &str) -> ResultLine {
        let mut lines = self.results(run);
        let place = lines.iter().position(|line| line.id == id).unwrap_or_else(|| panic!("no result for {id}"));
        lines.swap_remove(place)
    }

    pub fn status(&self, run: &str) -> Value {
        self.cascadeck(&["status", run, "--json"]).expect_status(0).stdout_json()
    }

    /// All files under the machine's root that contain `text`.
    pub fn files_containing(&self, text: &str) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        let mut folders = vec![self.root().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else {
                    let bytes = fs::read(entry.path()).unwrap();
                    if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                        paths.push(entry.path());
                    }
                }
            }
        }
        paths
    }
}

/// Waits until the condition holds.
///
/// # Panics
/// After [`HANG_TIMEOUT`].
#[track_caller]
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + HANG_TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "timed out waiting for: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A running process. Dropping it kills the process.
pub struct RunningProcess {
    child: Child,
    stdout_reader: Option<thread::JoinHandle<String>>,
    stderr_lines: mpsc::Receiver<String>,
    stderr_text: String,
}

impl RunningProcess {
    fn from_child(mut child: Child) -> Self {
        let mut stdout = child.stdout.take().unwrap();
        let stdout_reader = thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            text
        });
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, stderr_lines) = mpsc::channel();
        thread::spawn(move || {
            // A test that needs no more lines drops the receiver.
            stderr.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        Self { child, stdout_reader: Some(stdout_reader), stderr_lines, stderr_text: String::new() }
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    pub fn send_signal(&self, signal: Signal) {
        signal::kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Reads standard error until a line contains `words`, and returns that line.
    #[track_caller]
    pub fn wait_for_line(&mut self, words: &str) -> String {
        let deadline = Instant::now() + HANG_TIMEOUT;
        loop {
            let line = self.stderr_lines.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line =
                line.unwrap_or_else(|_| panic!("standard error never contained {words:?}:\n{}", self.stderr_text));
            self.stderr_text.push_str(&line);
            self.stderr_text.push('\n');
            if line.contains(words) {
                return line;
            }
        }
    }

    pub fn has_exited(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until the process ends by itself.
    #[track_caller]
    pub fn wait(mut self) -> ProcessOutput {
        let deadline = Instant::now() + HANG_TIMEOUT;
        loop {
            match self.stderr_lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.stderr_text.push_str(&line);
                    self.stderr_text.push('\n');
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    panic!("the process hangs; its standard error:\n{}", self.stderr_text)
                }
            }
        }
        let status = self.child.wait().unwrap();
        let stdout = self.stdout_reader.take().unwrap().join().unwrap();
        ProcessOutput { status, stdout, stderr: std::mem::take(&mut self.stderr_text) }
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(mut self) -> ProcessOutput {
        self.child.kill().unwrap();
        self.wait()
    }
}

impl Drop for RunningProcess {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Exit status and output of a process.
pub struct ProcessOutput {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl ProcessOutput {
    #[track_caller]
    pub fn expect_status(self, status: i32) -> Self {
        assert_eq!(
            self.status.code(),
            Some(status),
            "{}\nstdout:\n{}\nstderr:\n{}",
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }

    pub fn was_killed(&self) -> bool {
        self.status.signal() == Some(Signal::SIGKILL as i32)
    }

    #[track_caller]
    pub fn stdout_json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "one JSON object on one line: {}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// Checks that standard error contains all of the expected texts.
    #[track_caller]
    pub fn assert_stderr_contains(&self, expected: &[&str]) {
        for words in expected {
            assert!(self.stderr.contains(words), "{words:?} is not in:\n{}", self.stderr);
        }
    }
}

/// A simulated provider that runs on its own threads.
pub struct SimulatedProvider {
    runtime: tokio::runtime::Runtime,
    simulator: Option<Simulator>,
    profile: Profile,
}

impl SimulatedProvider {
    pub fn start(profile: Profile) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let simulator = runtime.block_on(Simulator::start(profile.clone(), Clock::real())).unwrap();
        Self { runtime, simulator: Some(simulator), profile }
    }

    pub fn from_toml(profile: &str) -> Self {
        Self::start(Profile::from_toml(profile).unwrap_or_else(|error| panic!("{error}")))
    }

    pub fn address(&self) -> SocketAddr {
        self.simulator.as_ref().unwrap().addr()
    }

    /// A keys.toml for this provider, with the limits that it enforces.
    pub fn keys_toml(&self) -> String {
        self.profile.keys_toml(self.address())
    }

    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The current statistics. Checks that they add up and that no limit was exceeded.
    #[track_caller]
    pub fn checked_stats(&self) -> ServerStats {
        let stats = self.simulator.as_ref().unwrap().stats();
        assert_eq!(stats.discrepancies(), [""; 0]);
        assert_eq!(stats.exceeded_limits(), [""; 0]);
        stats
    }

    /// Waits until the condition holds for the statistics.
    #[track_caller]
    pub fn wait_until(&self, what: &str, condition: impl Fn(&ServerStats) -> bool) -> ServerStats {
        let deadline = Instant::now() + HANG_TIMEOUT;
        loop {
            let stats = self.simulator.as_ref().unwrap().stats();
            if condition(&stats) {
                return stats;
            }
            assert!(Instant::now() < deadline, "timed out waiting for: {what}; {}", stats.summary());
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for SimulatedProvider {
    fn drop(&mut self) {
        if let Some(simulator) = self.simulator.take() {
            // An error here must not hide why the test failed.
            let _ = self.runtime.block_on(simulator.stop());
        }
    }
}

/// Rows with distinct additions, so that each answer shows which row it belongs to.
pub fn addition_rows(count: u64) -> String {
    let rows = (1..=count).map(|n| format!("{{\"id\":\"q{n}\",\"question\":\"What is {n} + 1000?\"}}\n"));
    rows.collect::<Vec<_>>().concat()
}

/// The simulator's answer to a row of [`addition_rows`].
pub fn expected_answer(id: &str) -> String {
    let n: u64 = id.strip_prefix('q').unwrap().parse().unwrap();
    format!("{n} + 1000 = {}.", n + 1_000)
}

/// A black picture, stored uncompressed.
pub fn png(width: u32, height: u32) -> Vec<u8> {
    let row = vec![0; 1 + width as usize * 3];
    let pixels = row.repeat(height as usize);
    let length = u16::try_from(pixels.len()).unwrap();
    let (low, high) = pixels.iter().fold((1_u32, 0_u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    let mut stream = vec![0x78, 0x01, 0x01];
    stream.extend(length.to_le_bytes());
    stream.extend((!length).to_le_bytes());
    stream.extend(pixels);
    stream.extend((high << 16 | low).to_be_bytes());
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    [b"\x89PNG\r\n\x1a\n".to_vec(), png_chunk(b"IHDR", &header), png_chunk(b"IDAT", &stream), png_chunk(b"IEND", b"")]
        .concat()
}

fn png_chunk(kind: &[u8], data: &[u8]) -> Vec<u8> {
    let body = [kind, data].concat();
    let crc = !body.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    });
    [&(data.len() as u32).to_be_bytes()[..], &body, &crc.to_be_bytes()].concat()
}
