//! The log file. Lines go through a bounded channel to one writing thread, so that a slow disk never delays the engine.
//!
//! Lines that don't fit into the channel are dropped and counted. The count is written to the log.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use tracing_subscriber::fmt::MakeWriter;

use crate::domain::plain_text::sanitize;

/// Maximum number of lines that wait in the channel.
const MAX_QUEUED_LINES: usize = 4_096;

enum LogMessage {
    Line(Vec<u8>),
    Close,
}

/// Flushes and closes the log file when dropped. Lines that are logged after that are not written.
#[derive(Debug)]
pub struct LogGuard {
    sender: SyncSender<LogMessage>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        // If the channel is full, `send` waits until the thread has written a line. If the thread has ended already,
        // `send` fails and there is nothing to flush.
        if self.sender.send(LogMessage::Close).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// Sends whole lines to the writing thread.
#[derive(Clone, Debug)]
pub(super) struct LogWriter {
    sender: SyncSender<LogMessage>,
    dropped_lines: Arc<AtomicU64>,
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.sender.try_send(LogMessage::Line(sanitize_line(line))).is_err() {
            self.dropped_lines.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Removes line breaks and escapes inside an event, which a provider's message may contain, so that it is one line.
fn sanitize_line(line: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(line);
    let mut plain = sanitize(text.trim_end_matches('\n')).into_owned().into_bytes();
    plain.push(b'\n');
    plain
}

pub(super) fn open(path: &Path) -> io::Result<(LogWriter, LogGuard)> {
    // The log quotes prompts and providers' messages, so only its owner may read it.
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let (sender, receiver) = sync_channel(MAX_QUEUED_LINES);
    let dropped_lines = Arc::new(AtomicU64::new(0));
    let thread = {
        let dropped_lines = Arc::clone(&dropped_lines);
        thread::Builder::new().name("log".to_owned()).spawn(move || write_lines(file, &receiver, &dropped_lines))?
    };
    let writer = LogWriter { sender: sender.clone(), dropped_lines };
    Ok((writer, LogGuard { sender, thread: Some(thread) }))
}

/// Writes lines until it receives `Close`. Whenever the channel is empty it flushes, so that the file is then up to
/// date. A disk error is not reported, because it could be reported only in this log.
fn write_lines(file: File, receiver: &Receiver<LogMessage>, dropped_lines: &AtomicU64) {
    let mut file = BufWriter::new(file);
    loop {
        let message = match receiver.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Empty) => {
                report_dropped(&mut file, dropped_lines);
                let _ = file.flush();
                match receiver.recv() {
                    Ok(message) => message,
                    Err(_) => break,
                }
            }
            Err(TryRecvError::Disconnected) => break,
        };
        match message {
            LogMessage::Line(line) => {
                let _ = file.write_all(&line);
            }
            LogMessage::Close => break,
        }
    }
    report_dropped(&mut file, dropped_lines);
    let _ = file.flush();
}

fn report_dropped(file: &mut impl Write, dropped_lines: &AtomicU64) {
    let lost = dropped_lines.swap(0, Ordering::Relaxed);
    if lost > 0 {
        let _ = writeln!(file, "{} WARN cascadeck: {lost} log lines were dropped: the disk was too slow", timestamp());
    }
}

fn timestamp() -> String {
    format!("{:.6}", crate::clock::system_time().timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_whole_and_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cascadeck.log");
        std::fs::write(&path, "an earlier run\n").unwrap();

        let (mut writer, guard) = open(&path).unwrap();
        for number in 0..1_000 {
            writer.write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        drop(guard);

        let log = std::fs::read_to_string(&path).unwrap();
        let want: String = std::iter::once("an earlier run\n".to_owned())
            .chain((0..1_000).map(|number| format!("line {number}\n")))
            .collect();
        assert_eq!(log, want);
    }

    #[test]
    fn a_message_with_line_breaks_or_escapes_stays_one_plain_line() {
        assert_eq!(sanitize_line(b"first\nsecond \x1b[2J\n"), "first second ␛[2J\n".as_bytes());
    }

    #[test]
    fn lines_that_do_not_fit_into_the_channel_are_dropped_and_counted() {
        let (sender, receiver) = sync_channel(1);
        let dropped_lines = Arc::new(AtomicU64::new(0));
        let mut writer = LogWriter { sender, dropped_lines: Arc::clone(&dropped_lines) };
        for _ in 0..3 {
            writer.write_all(b"line\n").unwrap();
        }
        assert_eq!(dropped_lines.load(Ordering::Relaxed), 2);

        let mut log = Vec::new();
        report_dropped(&mut log, &dropped_lines);
        assert!(String::from_utf8(log).unwrap().contains("2 log lines were dropped"));
        assert_eq!(dropped_lines.load(Ordering::Relaxed), 0, "each loss is reported once");
        drop(receiver);
    }
}
