//! A file's lines, one at a time, counted and hashed on the way.
//!
//! Owns the file and the fingerprint of its bytes. Knows UTF-8, the byte order mark and CRLF; knows nothing of
//! what a line means.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use xxhash_rust::xxh3::Xxh3;

use super::fault::Wrong;

/// Longer lines are refused: a row with a dozen inline pictures stays below this, a file without line ends doesn't.
pub(super) const MAX_LINE: usize = 64 << 20;
const BUFFER: usize = 256 << 10;
const BOM: &[u8] = b"\xEF\xBB\xBF";

pub(super) struct Lines {
    reader: BufReader<Hashing<File>>,
    line: Vec<u8>,
    number: u64,
    limit: usize,
}

/// Passes bytes through and hashes them.
struct Hashing<R> {
    inner: R,
    hash: Box<Xxh3>,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

impl Lines {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let hashing = Hashing { inner: File::open(path)?, hash: Box::new(Xxh3::new()) };
        Ok(Self {
            reader: BufReader::with_capacity(BUFFER, hashing),
            line: Vec::with_capacity(4_096),
            number: 0,
            limit: MAX_LINE,
        })
    }

    /// Goes on to the next line, blank ones included. `Ok(false)` at the end of the file.
    ///
    /// After a line that is too long the next call reads the one after it; after an I/O error there is none.
    pub(super) fn advance(&mut self) -> Result<bool, Wrong> {
        self.line.clear();
        let limit = self.limit as u64 + 2;
        let broken = |error: io::Error| Wrong::new("", format!("can't be read: {error}"));
        let count = (&mut self.reader).take(limit).read_until(b'\n', &mut self.line);
        self.number += 1;
        if count.map_err(broken)? == 0 {
            return Ok(false);
        }
        if self.number == 1 && self.line.starts_with(BOM) {
            self.line.drain(..BOM.len());
        }
        let ended = self.line.last() == Some(&b'\n');
        if ended {
            self.line.pop();
            if self.line.last() == Some(&b'\r') {
                self.line.pop();
            }
        }
        if self.line.len() > self.limit {
            if !ended {
                self.reader.skip_until(b'\n').map_err(broken)?;
            }
            self.line = Vec::new();
            let limit = self.limit >> 20;
            return Err(Wrong::new("", format!("is longer than {limit} MiB: is there a line end missing?")));
        }
        Ok(true)
    }

    /// The present line's number, from 1.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn is_blank(&self) -> bool {
        self.line.trim_ascii().is_empty()
    }

    /// The present line, without its line end.
    pub(super) fn text(&self) -> Result<&str, Wrong> {
        utf8(&self.line)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.line
    }

    /// The hash of the whole file's bytes: reads to the end what has not been read yet.
    pub(super) fn fingerprint(mut self) -> io::Result<u128> {
        loop {
            let count = self.reader.fill_buf()?.len();
            if count == 0 {
                return Ok(self.reader.get_ref().hash.digest128());
            }
            self.reader.consume(count);
        }
    }
}

/// Bytes of a row as text, or which byte is none.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Wrong> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let words = format!(
            "is not UTF-8: byte 0x{:02x} at byte {}; convert the file, for example with `iconv -f latin1 -t utf-8`",
            bytes[at],
            at + 1
        );
        Wrong::new("", words)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(bytes: &[u8], limit: usize) -> Vec<Result<(u64, String), String>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut lines = Lines::open(file.path()).unwrap();
        lines.limit = limit;
        let mut seen = Vec::new();
        loop {
            match lines.advance() {
                Ok(false) => return seen,
                Ok(true) => seen.push(
                    lines.text().map(|text| (lines.number(), text.to_owned())).map_err(|wrong| wrong.to_string()),
                ),
                Err(wrong) => seen.push(Err(wrong.to_string())),
            }
        }
    }

    #[test]
    fn byte_order_mark_and_line_ends_are_not_part_of_a_line() {
        let want = ["a", "b\r", "", "\u{feff}c"].map(str::to_owned);
        let got = lines_of(b"\xEF\xBB\xBFa\r\nb\r\r\n\n\xEF\xBB\xBFc", MAX_LINE);
        assert_eq!(got, (1..).zip(want).map(Ok).collect::<Vec<_>>());
    }

    #[test]
    fn a_line_that_is_too_long_does_not_hide_the_next() {
        let got = lines_of(b"12345\n123456789\n12345\r\n123456\n1", 5);
        assert_eq!(got[0], Ok((1, "12345".to_owned())));
        assert!(got[1].as_ref().unwrap_err().contains("is longer than"));
        assert_eq!(got[2], Ok((3, "12345".to_owned())));
        assert!(got[3].is_err());
        assert_eq!(got[4], Ok((5, "1".to_owned())));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_named() {
        let got = lines_of(b"ok\ncaf\xE9\nok", MAX_LINE);
        assert!(got[1].as_ref().unwrap_err().starts_with("is not UTF-8: byte 0xe9 at byte 4"));
        assert_eq!(got[2], Ok((3, "ok".to_owned())));
    }

    #[test]
    fn the_fingerprint_is_of_the_whole_file_however_far_it_was_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one\ntwo\nthree\n").unwrap();
        let unread = Lines::open(file.path()).unwrap().fingerprint().unwrap();
        let mut lines = Lines::open(file.path()).unwrap();
        while lines.advance().unwrap() {}
        assert_eq!(lines.fingerprint().unwrap(), unread);
        assert_eq!(unread, xxhash_rust::xxh3::xxh3_128(b"one\ntwo\nthree\n"));
    }
}
