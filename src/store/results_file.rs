//! `results.jsonl`: the table of results as a file that other programs read.
//!
//! The table is the source of truth. The file is appended to after each commit. So it may lag behind the table if the
//! process died or the disk was full. After a power cut it may also be ahead, since the last commits may be lost.
//! Nothing about the file is saved: every start compares it with the table from the first byte, cuts it at the first
//! difference and completes it.

use std::{
    fs::File,
    io::{self, BufReader, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::{error::StoreError, run_dir, run_dir::RunDir};

/// Lines are collected up to this many bytes before they are written.
const CHUNK_BYTES: usize = 1 << 20;

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

/// Repairs that the start made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Repair {
    /// Bytes cut off: lines that were not in the table, or half a line.
    pub cut_bytes: u64,
    /// Lines of the table that were missing in the file.
    pub added_lines: u64,
}

impl ResultsFile {
    /// Opens or creates the file and makes it match the table.
    pub fn open(dir: &RunDir, conn: &Connection) -> Result<(Self, Repair), StoreError> {
        let path = dir.results();
        let file = run_dir::private_options()
            .read(true)
            .append(true)
            .open(&path)
            .map_err(|error| StoreError::file("open the results file", &path, error))?;
        let MatchPoint { length: valid_length, last_row } = find_match_point(&file, &path, conn)?;
        let file_length = file.metadata().map_err(|error| StoreError::file("read", &path, error))?.len();
        let mut results_file = Self { path, file, valid_length, last_row, is_behind: true };
        let added_lines = results_file.catch_up(conn)?;
        Ok((results_file, Repair { cut_bytes: file_length.saturating_sub(valid_length), added_lines }))
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

/// How far the file and the table match, in whole lines.
pub(super) struct MatchPoint {
    /// Number of matching bytes.
    pub length: u64,
    /// The table's row of the last matching line.
    pub last_row: u64,
}

/// Compares the file with the table from the first byte.
pub(super) fn find_match_point(file: &File, path: &Path, conn: &Connection) -> Result<MatchPoint, StoreError> {
    let mut reader = BufReader::with_capacity(CHUNK_BYTES, file);
    let mut statement = conn.prepare_cached("SELECT n, line FROM results ORDER BY n")?;
    let mut rows = statement.query([])?;
    let mut match_point = MatchPoint { length: 0, last_row: 0 };
    let mut file_line = Vec::new();
    while let Some(row) = rows.next()? {
        let line = row.get_ref(1)?.as_bytes().map_err(rusqlite::Error::from)?;
        file_line.resize(line.len() + 1, 0);
        match reader.read_exact(&mut file_line) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            other => other.map_err(|error| StoreError::file("read", path, error))?,
        }
        if file_line.split_last() != Some((&b'\n', line)) {
            break;
        }
        match_point.length += file_line.len() as u64;
        match_point.last_row = row.get(0)?;
    }
    Ok(match_point)
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
        conn.execute_batch("CREATE TABLE results(n INTEGER PRIMARY KEY, seq INTEGER, line TEXT)").unwrap();
        for (index, line) in lines.iter().enumerate() {
            conn.execute("INSERT INTO results VALUES (?1, ?1, ?2)", (index as i64 + 1, line)).unwrap();
        }
        conn
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
            let (mut results_file, repair) = ResultsFile::open(&dir, &conn).unwrap();
            assert_eq!(repair, Repair { cut_bytes, added_lines }, "{what}");
            assert_eq!(std::fs::read_to_string(dir.results()).unwrap(), whole, "{what}");
            results_file.append(b"{\"id\":\"d\"}\n", 4).unwrap();
            assert_eq!(std::fs::read_to_string(dir.results()).unwrap(), format!("{whole}{{\"id\":\"d\"}}\n"), "{what}");
        }
    }

    #[test]
    fn a_full_disk_leaves_the_file_behind_and_it_catches_up_later() {
        let home = tempfile::tempdir().unwrap();
        let dir = RunDir::new(home.path());
        let conn = table(&["one"]);
        let (mut results_file, _) = ResultsFile::open(&dir, &conn).unwrap();

        conn.execute("INSERT INTO results VALUES (2, 2, 'two')", ()).unwrap();
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
