//! The daily quota ledger: how much of each provider's daily quota all runs of a user have used together.
//!
//! It is a small database in the user's state directory, since it outlives every run. Processes lease parts of a day's
//! quota in short transactions and return what they did not use. A lease of a killed process counts as used. The
//! recorded usage is a lower bound, since the keys may also be used by other programs.
//!
//! A pool's name means the same in every configuration: base URL, project, model. A key without a configured project is
//! identified by a salted fingerprint of its secret. The ledger holds the salt and never the secret.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use ring::{
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::{error::StoreError, row::amount_column};
use crate::domain::{
    WallTime,
    lease::{LeaseGrant, LeaseRequest, QuotaUnit},
};

/// How long to wait for the database's lock. Transactions take well under a millisecond; a process that can't get the
/// lock in this time continues without the ledger.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

const LEDGER_VERSION: u32 = 1;
/// "cscd" and a number, so that another program's database is not used as a ledger.
const LEDGER_APPLICATION_ID: i32 = 0x6373_6402;

const LEDGER_SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS salt (only INTEGER PRIMARY KEY CHECK (only = 1), salt BLOB NOT NULL);
    -- What is taken of a day, leases included. A row counts until `ends`: a calendar day has one, a rolling day one
    -- for each half hour.
    CREATE TABLE IF NOT EXISTS day (
        pool TEXT NOT NULL, unit INTEGER NOT NULL, ends INTEGER NOT NULL, taken INTEGER NOT NULL,
        PRIMARY KEY (pool, unit, ends)
    ) WITHOUT ROWID;
    -- Days that a provider said are used up.
    CREATE TABLE IF NOT EXISTS spent (pool TEXT PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID;
";

/// The recorded usage of a pool's day, for the `plan` command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DailyUsage {
    pub requests: u64,
    pub tokens: u64,
    pub exhausted_until: Option<WallTime>,
}

#[derive(Debug)]
pub struct QuotaLedger {
    conn: Connection,
    path: PathBuf,
    salt: Vec<u8>,
}

impl QuotaLedger {
    /// The ledger's default path: `$XDG_STATE_HOME/cascadeck/ledger.db`, or the same under `~/.local/state`. `None` if
    /// neither directory is known.
    pub fn default_path(environment: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
        let directory = |name: &str| environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = directory("XDG_STATE_HOME").or_else(|| Some(directory("HOME")?.join(".local/state")))?;
        Some(state.join("cascadeck").join("ledger.db"))
    }

    /// Opens the ledger at `path`. Creates it, readable only by its owner, if there is none.
    ///
    /// # Errors
    /// If the file can't be opened or created, or is another program's database.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent() {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|error| StoreError::file("create the folder of the daily ledger", folder, error))?;
        }
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        file.map_err(|error| StoreError::file("open the daily ledger", path, error))?;
        Self::connect(path).map_err(|error| error.with_path(path))
    }

    fn connect(path: &Path) -> Result<Self, StoreError> {
        let access = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut conn = Connection::open_with_flags(path, access)?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        let application: i32 = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
        if application != LEDGER_APPLICATION_ID && (application != 0 || tables > 0) {
            return Err(StoreError::ForeignDatabase { path: path.to_owned() });
        }
        let version: u32 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version > LEDGER_VERSION {
            return Err(StoreError::NewerSchema { path: path.to_owned(), found: version, known: LEDGER_VERSION });
        }
        // SQLite's default journal works on every file system and is fast enough: transactions are few and small.
        conn.pragma_update(None, "synchronous", "NORMAL")?;
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if version < LEDGER_VERSION {
            transaction.execute_batch(LEDGER_SCHEMA)?;
            transaction.pragma_update(None, "application_id", LEDGER_APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", LEDGER_VERSION)?;
        }
        let salt = load_or_create_salt(&transaction)?;
        transaction.commit()?;
        Ok(Self { conn, path: path.to_owned(), salt })
    }

    /// A pool's name, the same in every run. `account` is the configured project or a key's fingerprint.
    pub fn pool_name(base_url: &str, account: &str, counter: &str) -> String {
        format!("{} {account} {counter}", base_url.trim_end_matches('/'))
    }

    /// The identity of a key without a configured project. The secret can't be computed from it, and it differs between
    /// ledgers.
    pub fn key_fingerprint(&self, secret: &str) -> String {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.salt), secret.as_bytes());
        tag.as_ref().iter().take(16).fold("key:".to_owned(), |mut text, byte| {
            // Writing to a string can't fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Answers lease requests, all in one transaction. Each request comes with the name of its pool.
    ///
    /// # Errors
    /// If the ledger can't be read or written, or stays locked by another process.
    pub fn lease(&mut self, now: WallTime, requests: &[(String, LeaseRequest)]) -> Result<Vec<LeaseGrant>, StoreError> {
        self.transact(|transaction| {
            transaction.prepare_cached("DELETE FROM day WHERE ends <= ?1")?.execute([now.0])?;
            requests.iter().map(|(pool, request)| grant_lease(transaction, now, pool, request)).collect()
        })
    }

    /// Records that the provider reported this pool's day as exhausted.
    ///
    /// # Errors
    /// If the ledger can't be read or written, or stays locked by another process.
    pub fn mark_exhausted(&mut self, pool: &str, until: WallTime) -> Result<(), StoreError> {
        self.transact(|transaction| {
            let sql =
                "INSERT INTO spent VALUES (?1, ?2) ON CONFLICT (pool) DO UPDATE SET until = max(until, excluded.until)";
            transaction.prepare_cached(sql)?.execute(params![pool, until.0]).map(drop)
        })
    }

    /// Removes the record of [`Self::mark_exhausted`], by the operator's decision.
    ///
    /// # Errors
    /// If the ledger can't be read or written, or stays locked by another process.
    pub fn clear_exhausted(&mut self, pool: &str) -> Result<(), StoreError> {
        self.transact(|transaction| {
            transaction.prepare_cached("DELETE FROM spent WHERE pool = ?1")?.execute([pool]).map(drop)
        })
    }

    /// Reads the recorded usage of a pool's day.
    ///
    /// # Errors
    /// If the ledger can't be read.
    pub fn daily_usage(&self, now: WallTime, pool: &str) -> Result<DailyUsage, StoreError> {
        let read = || -> rusqlite::Result<DailyUsage> {
            Ok(DailyUsage {
                requests: total_used(&self.conn, now, pool, QuotaUnit::Requests)?,
                tokens: total_used(&self.conn, now, pool, QuotaUnit::Tokens)?,
                exhausted_until: exhausted_until(&self.conn, now, pool)?,
            })
        };
        read().map_err(|error| StoreError::from(error).with_path(&self.path))
    }

    fn transact<T>(&mut self, write: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let run_transaction = || {
            let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let output = write(&transaction)?;
            transaction.commit()?;
            Ok(output)
        };
        run_transaction().map_err(|error: rusqlite::Error| StoreError::from(error).with_path(&self.path))
    }
}

fn load_or_create_salt(transaction: &Transaction<'_>) -> Result<Vec<u8>, StoreError> {
    let existing = transaction.query_row("SELECT salt FROM salt", [], |row| row.get(0)).optional()?;
    if let Some(salt) = existing {
        return Ok(salt);
    }
    let mut salt = vec![0; 32];
    let random = SystemRandom::new().fill(&mut salt);
    random.map_err(|_| {
        StoreError::file("generate a salt for", "the daily ledger", std::io::Error::other("no randomness"))
    })?;
    transaction.execute("INSERT INTO salt VALUES (1, ?1)", [&salt])?;
    Ok(salt)
}

fn grant_lease(
    transaction: &Transaction<'_>,
    now: WallTime,
    pool: &str,
    request: &LeaseRequest,
) -> rusqlite::Result<LeaseGrant> {
    if let Some((period_end, amount)) = request.returned {
        let sql = "UPDATE day SET taken = max(taken - ?4, 0) WHERE pool = ?1 AND unit = ?2 AND ends = ?3";
        transaction.prepare_cached(sql)?.execute(params![
            pool,
            request.unit as i64,
            period_end.0,
            amount_column(amount)
        ])?;
    }
    let used_before = total_used(transaction, now, pool, request.unit)?.saturating_add(request.overdrawn);
    // Usage that a process knows of counts, even if the ledger has been deleted since.
    let total_before = used_before.max(request.known_used);
    let remaining = request.limit.map_or(0, |limit| limit.saturating_sub(total_before));
    let granted = request.requested.min(remaining);
    let newly_used = total_before + granted - total_used(transaction, now, pool, request.unit)?;
    if newly_used > 0 {
        let sql = "INSERT INTO day VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET taken = taken + excluded.taken";
        transaction.prepare_cached(sql)?.execute(params![
            pool,
            request.unit as i64,
            request.period_end.0,
            amount_column(newly_used)
        ])?;
    }
    let is_full = request.limit.is_some() && granted == 0 && request.requested > 0;
    let available_at = if is_full {
        let sql = "SELECT min(ends) FROM day WHERE pool = ?1 AND unit = ?2 AND ends > ?3 AND taken > 0";
        let first: Option<i64> =
            transaction.prepare_cached(sql)?.query_row(params![pool, request.unit as i64, now.0], |row| row.get(0))?;
        Some(first.map_or(request.period_end, WallTime))
    } else {
        None
    };
    Ok(LeaseGrant {
        pool: request.pool,
        unit: request.unit,
        period_end: request.period_end,
        granted,
        total_used: total_before + granted,
        available_at,
        exhausted_until: exhausted_until(transaction, now, pool)?,
    })
}

fn total_used(conn: &Connection, now: WallTime, pool: &str, unit: QuotaUnit) -> rusqlite::Result<u64> {
    let sql = "SELECT coalesce(sum(taken), 0) FROM day WHERE pool = ?1 AND unit = ?2 AND ends > ?3";
    let taken: i64 = conn.prepare_cached(sql)?.query_row(params![pool, unit as i64, now.0], |row| row.get(0))?;
    Ok(u64::try_from(taken).unwrap_or(0))
}

fn exhausted_until(conn: &Connection, now: WallTime, pool: &str) -> rusqlite::Result<Option<WallTime>> {
    let sql = "SELECT until FROM spent WHERE pool = ?1 AND until > ?2";
    conn.prepare_cached(sql)?.query_row(params![pool, now.0], |row| Ok(WallTime(row.get(0)?))).optional()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::domain::PoolId;

    const NOON: WallTime = WallTime::from_unix_seconds(1_795_262_400);
    const MIDNIGHT: WallTime = WallTime::from_unix_seconds(1_795_305_600);

    fn request(limit: u64, requested: u64) -> LeaseRequest {
        LeaseRequest {
            pool: PoolId(0),
            unit: QuotaUnit::Requests,
            period_end: MIDNIGHT,
            limit: Some(limit),
            requested,
            known_used: 0,
            overdrawn: 0,
            returned: None,
        }
    }

    fn lease_one(ledger: &mut QuotaLedger, now: WallTime, wish: LeaseRequest) -> LeaseGrant {
        ledger.lease(now, &[("pool".to_owned(), wish)]).unwrap().remove(0)
    }

    fn ledger() -> (tempfile::TempDir, QuotaLedger) {
        let dir = tempfile::tempdir().unwrap();
        let ledger = QuotaLedger::open(&dir.path().join("state/cascadeck/ledger.db")).unwrap();
        (dir, ledger)
    }

    #[test]
    fn two_processes_never_lease_more_than_the_day_has() {
        let (dir, mut one_process) = ledger();
        let mut other = QuotaLedger::open(&dir.path().join("state/cascadeck/ledger.db")).unwrap();
        let mut granted = 0;
        for _ in 0..10 {
            granted += lease_one(&mut one_process, NOON, request(100, 7)).granted;
            granted += lease_one(&mut other, NOON, request(100, 9)).granted;
        }
        assert_eq!(granted, 100);
        let full = lease_one(&mut other, NOON, request(100, 9));
        assert_eq!((full.granted, full.total_used, full.available_at), (0, 100, Some(MIDNIGHT)));
        assert_eq!(
            lease_one(
                &mut other,
                MIDNIGHT,
                LeaseRequest { period_end: MIDNIGHT + Duration::from_secs(86_400), ..request(100, 9) }
            )
            .granted,
            9
        );
    }

    #[test]
    fn returned_quota_can_be_leased_again_and_the_rest_counts_as_used() {
        let (_dir, mut ledger) = ledger();
        assert_eq!(lease_one(&mut ledger, NOON, request(10, 8)).granted, 8);
        // A killed process returns nothing.
        assert_eq!(lease_one(&mut ledger, NOON, request(10, 8)).granted, 2);
        let back = LeaseRequest { returned: Some((MIDNIGHT, 5)), ..request(10, 0) };
        assert_eq!(lease_one(&mut ledger, NOON, back).total_used, 5);
        assert_eq!(lease_one(&mut ledger, NOON, request(10, 8)).granted, 5);
    }

    #[test]
    fn a_new_ledger_takes_over_the_usage_that_a_run_knows() {
        let (_dir, mut ledger) = ledger();
        let grant = lease_one(&mut ledger, NOON, LeaseRequest { known_used: 95, ..request(100, 10) });
        assert_eq!((grant.granted, grant.total_used), (5, 100));
    }

    #[test]
    fn overdrawn_usage_is_added_to_the_total() {
        let (_dir, mut ledger) = ledger();
        lease_one(&mut ledger, NOON, request(100, 10));
        assert_eq!(lease_one(&mut ledger, NOON, LeaseRequest { overdrawn: 30, ..request(100, 10) }).total_used, 50);
    }

    #[test]
    fn rolling_days_free_quota_in_half_hour_steps() {
        let (_dir, mut ledger) = ledger();
        let later = NOON + Duration::from_secs(1_800);
        lease_one(&mut ledger, NOON, LeaseRequest { period_end: later, ..request(10, 4) });
        lease_one(&mut ledger, NOON, LeaseRequest { period_end: MIDNIGHT, ..request(10, 6) });
        assert_eq!(lease_one(&mut ledger, NOON, request(10, 5)).available_at, Some(later));
        assert_eq!(lease_one(&mut ledger, later, request(10, 5)).granted, 4);
    }

    #[test]
    fn an_exhausted_day_is_shared_until_its_reset_or_until_it_is_cleared() {
        let (_dir, mut ledger) = ledger();
        ledger.mark_exhausted("pool", MIDNIGHT).unwrap();
        ledger.mark_exhausted("pool", NOON).unwrap();
        let grant = lease_one(&mut ledger, NOON, request(100, 10));
        assert_eq!((grant.granted, grant.exhausted_until), (10, Some(MIDNIGHT)), "the limit stays what it was");
        assert_eq!(lease_one(&mut ledger, MIDNIGHT, request(100, 1)).exhausted_until, None);
        ledger.clear_exhausted("pool").unwrap();
        assert_eq!(ledger.daily_usage(NOON, "pool").unwrap().exhausted_until, None);
    }

    #[test]
    fn only_the_owner_can_read_the_ledger_and_it_holds_no_secret() {
        let (dir, ledger) = ledger();
        let path = dir.path().join("state/cascadeck/ledger.db");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mark = ledger.key_fingerprint("AIzaSy-very-secret");
        assert_eq!(mark, QuotaLedger::open(&path).unwrap().key_fingerprint("AIzaSy-very-secret"));
        assert_ne!(mark, ledger.key_fingerprint("AIzaSy-other-secret"));
        let elsewhere = super::tests::ledger();
        assert_ne!(mark, elsewhere.1.key_fingerprint("AIzaSy-very-secret"), "another salt");
        assert!(!mark.contains("very"));
    }

    #[test]
    fn a_database_of_another_program_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert!(matches!(QuotaLedger::open(&path), Err(StoreError::ForeignDatabase { .. })));
    }

    #[test]
    fn the_default_path_is_in_the_users_state_directory() {
        let home = |name: &str| (name == "HOME").then(|| "/home/u".to_owned());
        assert_eq!(QuotaLedger::default_path(&home), Some("/home/u/.local/state/cascadeck/ledger.db".into()));
        let state = |name: &str| (name == "XDG_STATE_HOME").then(|| "/state".to_owned());
        assert_eq!(QuotaLedger::default_path(&state), Some("/state/cascadeck/ledger.db".into()));
        assert_eq!(QuotaLedger::default_path(&|_| None), None);
    }
}
