//! `results.jsonl`: the table of results as a file that other programs read.
//!
//! The table is the source of truth. The file is appended to after each commit. So it may lag behind the table if the
//! process died or the disk was full. After a power cut it may also be ahead, since the last commits may be lost.
//!
//! Every commit saves how far the file was written before it. The start trusts this if the last lines before that point
//! match the table, and compares the file with the table from there only. It cuts the file at the first difference and
//! completes it. If nothing was saved, or those lines differ, it compares the whole file. What the start trusted is
//! compared behind the run (`results_check`).

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use memchr::memchr;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::{error::StoreError, row::line_digest, run_dir, run_dir::RunDir};

/// Lines are collected up to this many bytes before they are written.
const CHUNK_BYTES: usize = 1 << 20;

/// At least this many bytes before the saved point are compared with the table before the point is trusted.
const TAIL_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct ResultsFile {
    path: PathBuf,
    file: File,
    /// Number of bytes that are known to match the table.
    valid_length: u64,
    /// The table's row of the last line in those bytes.
    last_row: u64,
    /// True if the file may lack lines of the table or end in garbage: until the first catch-up, and after a failed
    /// write.
    is_behind: bool,
}

/// How far the file and the table match, in whole lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct MatchPoint {
    /// Number of matching bytes.
    pub length: u64,
    /// The table's row of the last matching line.
    pub last_row: u64,
}

/// Repairs that the start made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Repair {
    /// Bytes cut off: lines that were not in the table, or half a line.
    pub cut_bytes: u64,
    /// Lines of the table that were missing in the file.
    pub added_lines: u64,
}

impl ResultsFile {
    /// Opens or creates the file and makes it match the table. `saved` is the match point of the last commit. Also
    /// returns the point up to which the file was trusted, if it was.
    pub fn open(
        dir: &RunDir,
        conn: &Connection,
        saved: Option<MatchPoint>,
    ) -> Result<(Self, Repair, Option<MatchPoint>), StoreError> {
        let path = dir.results();
        let file = run_dir::private_options()
            .read(true)
            .append(true)
            .open(&path)
            .map_err(|error| StoreError::file("open the results file", &path, error))?;
        let trusted = match saved {
            Some(point) if is_tail_intact(&file, &path, conn, point)? => Some(point),
            _ => None,
        };
        let mut comparison = Comparison::new(&file, &path, trusted.unwrap_or_default());
        comparison.advance(conn, u64::MAX, u64::MAX)?;
        let MatchPoint { length: valid_length, last_row } = comparison.point;
        let file_length = file.metadata().map_err(|error| StoreError::file("read", &path, error))?.len();
        let mut results_file = Self { path, file, valid_length, last_row, is_behind: true };
        let added_lines = results_file.catch_up(conn)?;
        let repair = Repair { cut_bytes: file_length.saturating_sub(valid_length), added_lines };
        // A short file was compared as a whole.
        Ok((results_file, repair, trusted.filter(|point| point.length > TAIL_BYTES)))
    }

    /// How far the file is known to match the table.
    pub const fn match_point(&self) -> MatchPoint {
        MatchPoint { length: self.valid_length, last_row: self.last_row }
    }

    /// Notes that the file and the table match only up to `point`. The next catch-up cuts it there and completes it.
    pub const fn cut_back(&mut self, point: MatchPoint) {
        self.valid_length = point.length;
        self.last_row = point.last_row;
        self.is_behind = true;
    }

    /// A second handle to the file, for reading at offsets.
    pub fn reading_handle(&self) -> Result<(File, PathBuf), StoreError> {
        let file = self.file.try_clone().map_err(|error| StoreError::file("open", &self.path, error))?;
        Ok((file, self.path.clone()))
    }

    /// Appends the lines of a transaction. `last_row` is the table's row of the last line.
    pub fn append(&mut self, lines: &[u8], last_row: u64) -> Result<(), StoreError> {
        if lines.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.file.write_all(lines) {
            self.is_behind = true;
            // Removes half-written lines, so that readers don't see them. If this fails too, the next attempt cuts the
            // file first.
            let _ = self.file.set_len(self.valid_length);
            return Err(StoreError::file("append to", &self.path, error));
        }
        self.valid_length += lines.len() as u64;
        self.last_row = last_row;
        Ok(())
    }

    /// Completes the file if it lags behind. Returns the number of missing lines.
    pub fn catch_up(&mut self, conn: &Connection) -> Result<u64, StoreError> {
        if !self.is_behind {
            return Ok(0);
        }
        self.file.set_len(self.valid_length).map_err(|error| StoreError::file("cut back", &self.path, error))?;
        let mut added = 0;
        let mut lines = Vec::with_capacity(CHUNK_BYTES);
        let mut statement = conn.prepare_cached("SELECT n, line FROM results WHERE n > ?1 ORDER BY n")?;
        let mut rows = statement.query([self.last_row])?;
        let mut last_row = self.last_row;
        while let Some(row) = rows.next()? {
            last_row = row.get(0)?;
            lines.extend_from_slice(row.get_ref(1)?.as_bytes().map_err(rusqlite::Error::from)?);
            lines.push(b'\n');
            added += 1;
            if lines.len() >= CHUNK_BYTES {
                self.append(&lines, last_row)?;
                lines.clear();
            }
        }
        self.append(&lines, last_row)?;
        self.is_behind = false;
        Ok(added)
    }

    /// True if the path still names the file that is written to.
    pub fn is_in_place(&self) -> bool {
        let Ok(held) = self.file.metadata() else { return true };
        // If the file can't be checked now, it isn't known to be missing.
        run_dir::file_id(&self.path).map_or(true, |found| found == Some((held.dev(), held.ino())))
    }

    pub fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|error| StoreError::file("sync", &self.path, error))
    }

    /// Writes the file again beside the old one and renames it into place. A reader sees one or the other as a whole.
    pub fn rebuild(dir: &RunDir, conn: &Connection) -> Result<Self, StoreError> {
        let (path, fresh) = (dir.results(), dir.path().join("results.jsonl.new"));
        let file = run_dir::private_options()
            .append(true)
            .open(&fresh)
            .map_err(|error| StoreError::file("create", &fresh, error))?;
        let mut results_file = Self { path: fresh, file, valid_length: 0, last_row: 0, is_behind: true };
        results_file.catch_up(conn)?;
        results_file.sync()?;
        std::fs::rename(&results_file.path, &path).map_err(|error| StoreError::file("replace", &path, error))?;
        run_dir::sync_directory(dir.path())?;
        Ok(Self { path, ..results_file })
    }
}

/// A comparison of the file with the table, line by line, by the lines' digests.
pub(super) struct Comparison<'f> {
    reader: BufReader<ReadAt<'f>>,
    path: &'f Path,
    /// How far they match, as far as they were compared.
    pub point: MatchPoint,
}

impl<'f> Comparison<'f> {
    /// Starts at a point up to which they match.
    pub fn new(file: &'f File, path: &'f Path, point: MatchPoint) -> Self {
        let reader = BufReader::with_capacity(CHUNK_BYTES, ReadAt { file, offset: point.length });
        Self { reader, path, point }
    }

    /// Compares up to `max_lines` more lines, up to the table's row `last_row`. Returns the number of matching lines. It
    /// is less than `max_lines` at the first difference and at the end of the file or of these rows.
    pub fn advance(&mut self, conn: &Connection, last_row: u64, max_lines: u64) -> Result<u64, StoreError> {
        let bound = |number| i64::try_from(number).unwrap_or(i64::MAX);
        // Lines of the first version have no digest. All of them are stored as a whole.
        let mut statement = conn.prepare_cached(
            "SELECT n, digest, iif(digest IS NULL, line, NULL) FROM result_rows WHERE n > ?1 AND n <= ?2
             ORDER BY n LIMIT ?3",
        )?;
        let mut rows = statement.query([bound(self.point.last_row), bound(last_row), bound(max_lines)])?;
        let mut matching_lines = 0;
        while let Some(row) = rows.next()? {
            let Some(found) = self.read_line().map_err(|error| StoreError::file("read", self.path, error))? else {
                break;
            };
            if found.digest != recorded_digest(row)? {
                break;
            }
            self.point = MatchPoint { length: self.point.length + found.length, last_row: row.get(0)? };
            matching_lines += 1;
        }
        Ok(matching_lines)
    }

    /// Reads the next line without holding it in memory, since a damaged file may be one long line. `None` if the file
    /// ends before the line does.
    fn read_line(&mut self) -> io::Result<Option<FileLine>> {
        let mut hasher: Option<Box<Xxh3>> = None;
        let mut length = 0;
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let end = memchr(b'\n', buffer);
            let part = &buffer[..end.unwrap_or(buffer.len())];
            if end.is_none() || hasher.is_some() {
                hasher.get_or_insert_default().update(part);
            }
            let digest =
                end.map(|_| hasher.as_ref().map_or_else(|| line_digest(part), |it| it.digest128().to_be_bytes()));
            let consumed = part.len() + usize::from(end.is_some());
            self.reader.consume(consumed);
            length += consumed as u64;
            if let Some(digest) = digest {
                return Ok(Some(FileLine { length, digest }));
            }
        }
    }
}

/// A line of the file.
struct FileLine {
    /// Its length in bytes, with the line break.
    length: u64,
    digest: [u8; 16],
}

/// The digest of a row of the table: number, digest, and the line if there is no digest.
fn recorded_digest(row: &rusqlite::Row<'_>) -> rusqlite::Result<[u8; 16]> {
    match row.get::<_, Option<[u8; 16]>>(1)? {
        Some(digest) => Ok(digest),
        None => Ok(line_digest(row.get_ref(2)?.as_bytes()?)),
    }
}

/// Compares the lines in at least the last [`TAIL_BYTES`] before `point` with the table, or in the whole file if it is
/// shorter.
fn is_tail_intact(file: &File, path: &Path, conn: &Connection, point: MatchPoint) -> Result<bool, StoreError> {
    let read_error = |error| StoreError::file("read", path, error);
    if file.metadata().map_err(read_error)?.len() < point.length {
        return Ok(false);
    }
    let mut tail = Vec::new();
    let mut first_line_end = None;
    let mut tail_bytes = TAIL_BYTES;
    // Until it contains a whole line. The first line of a part may not be whole.
    while first_line_end.is_none_or(|end| end + 1 >= tail.len()) && (tail.len() as u64) < point.length {
        let start = point.length.saturating_sub(tail_bytes);
        tail.resize((point.length - start) as usize, 0);
        file.read_exact_at(&mut tail, start).map_err(read_error)?;
        first_line_end = if start == 0 { None } else { memchr(b'\n', &tail) };
        tail_bytes *= 8;
    }
    let lines = &tail[first_line_end.map_or(0, |end| end + 1)..];
    let Some(lines) = lines.strip_suffix(b"\n") else { return Ok(lines.is_empty() && point.last_row == 0) };
    let mut statement = conn.prepare_cached(
        "SELECT n, digest, iif(digest IS NULL, line, NULL) FROM result_rows WHERE n <= ?1 ORDER BY n DESC",
    )?;
    let mut rows = statement.query([point.last_row])?;
    for (index, line) in lines.rsplit(|byte| *byte == b'\n').enumerate() {
        let Some(row) = rows.next()? else { return Ok(false) };
        let is_last = index == 0;
        if is_last && row.get::<_, u64>(0)? != point.last_row || recorded_digest(row)? != line_digest(line) {
            return Ok(false);
        }
    }
    let is_whole_file = tail.len() as u64 == point.length;
    Ok(!is_whole_file || rows.next()?.is_none())
}

/// Reads a file from an offset on, without its cursor, which all handles to it share.
struct ReadAt<'f> {
    file: &'f File,
    offset: u64,
}

impl Read for ReadAt<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
impl ResultsFile {
    /// Writes to `file` from now on; returns the file used before.
    pub fn redirect(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(lines: &[&str]) -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(
            "CREATE TABLE result_rows(n INTEGER PRIMARY KEY, line TEXT, digest BLOB);
             CREATE VIEW results AS SELECT n, line FROM result_rows",
        )
        .unwrap();
        for line in lines {
            add_line(&conn, line);
        }
        conn
    }

    /// Every third line is one of the first version, without a digest.
    fn add_line(conn: &Connection, line: &str) {
        let digest = line_digest(line.as_bytes());
        let insert = "INSERT INTO result_rows SELECT n, ?1, iif(n % 3 = 0, NULL, ?2)
                      FROM (SELECT coalesce(max(n), 0) + 1 AS n FROM result_rows)";
        conn.execute(insert, (line, digest)).unwrap();
    }

    #[test]
    fn the_file_is_cut_at_the_first_difference_and_completed() {
        let whole = "{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n";
        let zeros = format!("{}{}", &whole[..22], "\0".repeat(11));
        let cases: [(&str, Option<&str>, u64, u64); 11] = [
            ("missing", None, 0, 3),
            ("empty", Some(""), 0, 3),
            ("whole", Some(whole), 0, 0),
            ("a line short", Some(&whole[..22]), 0, 1),
            ("half a last line", Some(&whole[..28]), 6, 1),
            ("all but the last newline", Some(&whole[..32]), 10, 1),
            ("an uncommitted line too many", Some(&format!("{whole}{{\"id\":\"d\"}}\n")), 11, 0),
            ("rubbish behind the end", Some(&format!("{whole}\u{0}\u{0}rubbish")), 9, 0),
            ("zeros in place of the last line, as a power cut leaves them", Some(&zeros), 11, 1),
            ("another line in the middle", Some("{\"id\":\"a\"}\n{\"id\":\"X\"}\n{\"id\":\"c\"}\n"), 22, 2),
            ("another file altogether", Some("nothing of ours\n"), 16, 3),
        ];
        let conn = table(&["{\"id\":\"a\"}", "{\"id\":\"b\"}", "{\"id\":\"c\"}"]);
        for (what, before, cut_bytes, added_lines) in cases {
            let home = tempfile::tempdir().unwrap();
            let dir = RunDir::new(home.path());
            if let Some(before) = before {
                std::fs::write(dir.results(), before).unwrap();
            }
            for saved in [None, Some(MatchPoint { length: 22, last_row: 2 }), Some(MatchPoint::default())] {
                let (mut results_file, repair, trusted) = ResultsFile::open(&dir, &conn, saved).unwrap();
                assert_eq!((repair, trusted), (Repair { cut_bytes, added_lines }, None), "{what}");
                assert_eq!(std::fs::read_to_string(dir.results()).unwrap(), whole, "{what}");
                results_file.append(b"{\"id\":\"d\"}\n", 4).unwrap();
                let appended = std::fs::read_to_string(dir.results()).unwrap();
                assert_eq!(appended, format!("{whole}{{\"id\":\"d\"}}\n"), "{what}");
                match before {
                    Some(before) => std::fs::write(dir.results(), before).unwrap(),
                    None => std::fs::remove_file(dir.results()).unwrap(),
                }
            }
        }
    }

    #[test]
    fn a_long_file_is_trusted_up_to_the_saved_point_if_its_last_lines_match() {
        let line = |number: usize| format!("{{\"id\":\"{number}\",\"text\":\"{}\"}}", "x".repeat(1_000));
        let lines: Vec<String> = (0..3_000).map(line).collect();
        let conn = table(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let offsets: Vec<usize> = lines
            .iter()
            .scan(0, |end, line| {
                *end += line.len() + 1;
                Some(*end)
            })
            .collect();
        let whole = lines.join("\n") + "\n";
        let saved = MatchPoint { length: offsets[2_899] as u64, last_row: 2_900 };
        // Byte to change, whether the start notices it, and what it adds.
        let cases = [
            ("nothing", None, true, 0),
            ("behind the point", Some(offsets[2_949] + 20), true, 50),
            ("in the last lines before it", Some(offsets[2_899] - 20), false, 101),
            ("a megabyte before it", Some(offsets[2_100] + 20), false, 899),
            ("far before it", Some(20), true, 0),
        ];
        for (what, changed, is_trusted, added_lines) in cases {
            let home = tempfile::tempdir().unwrap();
            let dir = RunDir::new(home.path());
            let mut bytes = whole.clone().into_bytes();
            if let Some(changed) = changed {
                bytes[changed] ^= 1;
            }
            std::fs::write(dir.results(), &bytes).unwrap();
            let (results_file, repair, trusted) = ResultsFile::open(&dir, &conn, Some(saved)).unwrap();
            assert_eq!(trusted, is_trusted.then_some(saved), "{what}");
            assert_eq!(repair.added_lines, added_lines, "{what}");
            assert_eq!(results_file.match_point().last_row, 3_000, "{what}");
        }
    }

    #[test]
    fn a_line_longer_than_the_compared_tail_is_compared_as_a_whole() {
        let long = "y".repeat(3 << 20);
        let conn = table(&["first", &long]);
        let saved = MatchPoint { length: 6 + (3 << 20) + 1, last_row: 2 };
        for (changed, is_trusted) in [(None, true), (Some(100), false)] {
            let home = tempfile::tempdir().unwrap();
            let dir = RunDir::new(home.path());
            let mut bytes = format!("first\n{long}\n").into_bytes();
            if let Some(changed) = changed {
                bytes[changed] ^= 1;
            }
            std::fs::write(dir.results(), &bytes).unwrap();
            let (_, repair, trusted) = ResultsFile::open(&dir, &conn, Some(saved)).unwrap();
            assert_eq!((trusted.is_some(), repair.added_lines), (is_trusted, u64::from(!is_trusted)));
        }
    }

    #[test]
    fn a_full_disk_leaves_the_file_behind_and_it_catches_up_later() {
        let home = tempfile::tempdir().unwrap();
        let dir = RunDir::new(home.path());
        let conn = table(&["one"]);
        let (mut results_file, ..) = ResultsFile::open(&dir, &conn, None).unwrap();

        add_line(&conn, "two");
        let good = results_file.redirect(File::options().append(true).open("/dev/full").unwrap());
        let error = results_file.append(b"two\n", 2).unwrap_err();
        assert!(error.is_disk_full(), "{error}");
        assert!(results_file.catch_up(&conn).is_err(), "still full");

        results_file.redirect(good);
        assert_eq!(results_file.catch_up(&conn).unwrap(), 1);
        assert_eq!(results_file.catch_up(&conn).unwrap(), 0);
        assert_eq!(std::fs::read_to_string(dir.results()).unwrap(), "one\ntwo\n");
    }
}
