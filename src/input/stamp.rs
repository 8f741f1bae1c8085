//! Stamps of captioned pictures: what tells whether a file holds the same picture later.
//!
//! To read every picture at every start would cost minutes in a large folder. So the digest of a picture is recorded with
//! its file's size, inode and times, and the file is read again only where one of these is another. That is safe for two
//! reasons: a copy may preserve the time of modification, but nobody can set the time of change (ctime); and a file that
//! has changed a moment ago is read again the next time, since a second change within the resolution of the file system's
//! clock would leave all of these as they are.

use std::{
    fs::Metadata,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use xxhash_rust::xxh3::Xxh3;

use crate::domain::{Image, Part, PictureStamp, Request};

use super::{album::open_regular, ids::hex};

/// Bytes of a picture that are read at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// The coarsest resolution of times among the file systems in use (FAT's).
const TIME_RESOLUTION: Duration = Duration::from_secs(2);

/// The stamp of a file as it is at `now`, without a digest.
pub(super) fn unread(meta: &Metadata, now: SystemTime) -> PictureStamp {
    let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    let (modified_ns, changed_ns) =
        (nanoseconds(meta.mtime(), meta.mtime_nsec()), nanoseconds(meta.ctime(), meta.ctime_nsec()));
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(TIME_RESOLUTION);
    // Times in the future are never settled.
    let settled = u128::try_from(modified_ns.max(changed_ns)).unwrap_or_default() < now.as_nanos();
    PictureStamp { bytes: meta.len(), modified_ns, changed_ns, inode: meta.ino(), digest: String::new(), settled }
}

/// Stamps the first picture file of a request, whose path is absolute or relative to `base`. The content is taken for that
/// of `recorded` where the file is known to be unchanged, and read otherwise. `None` where there is no such file: that is
/// told when it is sent.
pub fn stamp_picture(request: &Request, base: &Path, recorded: Option<PictureStamp>) -> Option<PictureStamp> {
    let mut parts = request.messages.iter().flat_map(|message| &message.parts);
    let path = parts.find_map(|part| match part {
        Part::Image(Image::File(path)) => Some(base.join(path)),
        _ => None,
    })?;
    // A pipe would block, and a device might never end.
    let meta = path.metadata().ok().filter(Metadata::is_file)?;
    let now = unread(&meta, SystemTime::now());
    let is_same =
        |was: &PictureStamp| was.settled && PictureStamp { digest: was.digest.clone(), ..now.clone() } == *was;
    if let Some(recorded) = recorded.filter(is_same) {
        return Some(recorded);
    }
    // What can't be read now is another picture as soon as it can.
    Some(read(&path).unwrap_or(PictureStamp { settled: false, ..now }))
}

fn read(path: &Path) -> io::Result<PictureStamp> {
    let began = SystemTime::now();
    let mut file = open_regular(path)?;
    let stamp = unread(&file.metadata()?, began);
    let mut hash = Xxh3::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => hash.update(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let settled = unread(&file.metadata()?, began) == stamp && stamp.settled;
    Ok(PictureStamp { digest: hex(hash.digest128()), settled, ..stamp })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Message;

    fn of(path: &Path, recorded: Option<PictureStamp>) -> Option<PictureStamp> {
        let parts = vec![Part::Image(Image::File(path.to_owned()))];
        let message = Message { parts, ..Request::text("").messages.remove(0) };
        stamp_picture(&Request { messages: vec![message], ..Request::text("") }, Path::new("/"), recorded)
    }

    #[test]
    fn a_file_is_known_unread_by_all_that_changes_with_it_and_only_once_it_is_settled() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.png");
        std::fs::write(&path, "one").unwrap();
        let fresh = of(&path, None).unwrap();
        assert!(!fresh.settled && fresh.digest.len() == 32, "{fresh:?}");
        let meta = path.metadata().unwrap();
        let changed = UNIX_EPOCH + Duration::from_nanos(fresh.changed_ns.max(fresh.modified_ns) as u64);
        assert!(!unread(&meta, changed + TIME_RESOLUTION).settled);
        assert!(unread(&meta, changed + TIME_RESOLUTION + Duration::from_millis(1)).settled);
        let recorded = PictureStamp { digest: "another".to_owned(), ..fresh.clone() };
        assert_eq!(of(&path, Some(recorded)).unwrap().digest, fresh.digest, "it may have changed since, unseen");
    }

    #[test]
    fn what_can_not_be_read_has_no_stamp() {
        let home = tempfile::tempdir().unwrap();
        for path in [home.path().join("missing"), home.path().to_owned(), "/dev/zero".into()] {
            assert_eq!(of(&path, None), None, "{}", path.display());
        }
    }
}
