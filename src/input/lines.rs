//! Reads a file line by line, counts the lines and hashes the bytes.
//!
//! Owns the file and its fingerprint. Handles UTF-8, the byte order mark and CRLF; does not interpret lines.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use xxhash_rust::xxh3::Xxh3;

use super::error::FieldError;

/// Maximum length of a line. A row with a dozen inline pictures is shorter; a file without line ends may be longer.
pub(super) const MAX_LINE_BYTES: usize = 64 << 20;
const BUFFER_BYTES: usize = 256 << 10;
const BOM: &[u8] = b"\xEF\xBB\xBF";

pub(super) struct LineReader {
    reader: BufReader<HashingReader<File>>,
    line: Vec<u8>,
    line_number: u64,
    max_bytes: usize,
}

/// Passes bytes through and hashes them.
struct HashingReader<R> {
    inner: R,
    /// Number of bytes that were read.
    count: u64,
    hasher: Box<Xxh3>,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count += count as u64;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

impl LineReader {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let reader = HashingReader { inner: File::open(path)?, count: 0, hasher: Box::new(Xxh3::new()) };
        Ok(Self {
            reader: BufReader::with_capacity(BUFFER_BYTES, reader),
            line: Vec::with_capacity(4_096),
            line_number: 0,
            max_bytes: MAX_LINE_BYTES,
        })
    }

    /// Reads the next line, which may be blank. Returns `Ok(false)` at the end of the file.
    ///
    /// After a line that is too long, the next call reads the line after it. After an I/O error there are no more
    /// lines.
    pub(super) fn advance(&mut self) -> Result<bool, FieldError> {
        self.line.clear();
        let max_bytes = self.max_bytes as u64 + 2;
        let read_error = |error: io::Error| FieldError::new("", format!("can't be read: {error}"));
        let count = (&mut self.reader).take(max_bytes).read_until(b'\n', &mut self.line);
        self.line_number += 1;
        if count.map_err(read_error)? == 0 {
            return Ok(false);
        }
        if self.line_number == 1 && self.line.starts_with(BOM) {
            self.line.drain(..BOM.len());
        }
        let has_line_end = self.line.last() == Some(&b'\n');
        if has_line_end {
            self.line.pop();
            if self.line.last() == Some(&b'\r') {
                self.line.pop();
            }
        }
        if self.line.len() > self.max_bytes {
            if !has_line_end {
                self.reader.skip_until(b'\n').map_err(read_error)?;
            }
            self.line = Vec::new();
            let limit = self.max_bytes >> 20;
            return Err(FieldError::new("", format!("is longer than {limit} MiB: is a line break missing?")));
        }
        Ok(true)
    }

    /// The number of bytes that were read, and of all bytes of the file. `None` if its size is not known.
    pub(super) fn progress(&self) -> Option<(u64, u64)> {
        let HashingReader { inner, count, .. } = self.reader.get_ref();
        let all = inner.metadata().ok()?.len();
        Some((count - self.reader.buffer().len() as u64, all))
    }

    /// Number of the current line, from 1.
    pub(super) const fn line_number(&self) -> u64 {
        self.line_number
    }

    pub(super) fn is_blank(&self) -> bool {
        self.line.trim_ascii().is_empty()
    }

    /// The current line as text, without its line end.
    pub(super) fn text(&self) -> Result<&str, FieldError> {
        decode_utf8(&self.line)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.line
    }

    /// The hash of the whole file. Reads the rest of the file first.
    pub(super) fn fingerprint(mut self) -> io::Result<u128> {
        loop {
            let count = self.reader.fill_buf()?.len();
            if count == 0 {
                return Ok(self.reader.get_ref().hasher.digest128());
            }
            self.reader.consume(count);
        }
    }
}

/// Converts bytes to text. The error contains the first invalid byte and its position.
pub(super) fn decode_utf8(bytes: &[u8]) -> Result<&str, FieldError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let offset = error.valid_up_to();
        let message = format!(
            "is not UTF-8: byte 0x{:02x} at byte {}; convert the file, for example with `iconv -f latin1 -t utf-8`",
            bytes[offset],
            offset + 1
        );
        FieldError::new("", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(bytes: &[u8], limit: usize) -> Vec<Result<(u64, String), String>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut lines = LineReader::open(file.path()).unwrap();
        lines.max_bytes = limit;
        let mut results = Vec::new();
        loop {
            match lines.advance() {
                Ok(false) => return results,
                Ok(true) => results.push(
                    lines.text().map(|text| (lines.line_number(), text.to_owned())).map_err(|error| error.to_string()),
                ),
                Err(error) => results.push(Err(error.to_string())),
            }
        }
    }

    #[test]
    fn byte_order_mark_and_line_ends_are_not_part_of_a_line() {
        let want = ["a", "b\r", "", "\u{feff}c"].map(str::to_owned);
        let got = lines_of(b"\xEF\xBB\xBFa\r\nb\r\r\n\n\xEF\xBB\xBFc", MAX_LINE_BYTES);
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
        let got = lines_of(b"ok\ncaf\xE9\nok", MAX_LINE_BYTES);
        assert!(got[1].as_ref().unwrap_err().starts_with("is not UTF-8: byte 0xe9 at byte 4"));
        assert_eq!(got[2], Ok((3, "ok".to_owned())));
    }

    #[test]
    fn the_fingerprint_covers_the_whole_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one\ntwo\nthree\n").unwrap();
        let unread = LineReader::open(file.path()).unwrap().fingerprint().unwrap();
        let mut lines = LineReader::open(file.path()).unwrap();
        while lines.advance().unwrap() {}
        assert_eq!(lines.fingerprint().unwrap(), unread);
        assert_eq!(unread, xxhash_rust::xxh3::xxh3_128(b"one\ntwo\nthree\n"));
    }
}
