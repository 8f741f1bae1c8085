//! Picture stamps, which detect whether a file still contains the same picture.
//!
//! Reading every picture at every start would take minutes for a large folder. So the digest of a picture is recorded
//! together with its file's size, inode and times, and the file is read again only if one of these differs. This is
//! safe for two reasons. A copy may preserve the modification time, but no program can set the change time (ctime). And
//! a file that has just changed is read again at the next start, since a second change within the resolution of the
//! file system's clock would leave all these values as they are.

use std::{
    fs::Metadata,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use xxhash_rust::xxh3::Xxh3;

use crate::domain::{Image, PictureStamp, Request};

use super::{ids::hex, picture_file::open_regular_file};

/// Bytes of a picture that are read at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// The coarsest time resolution of common file systems (FAT).
const TIME_RESOLUTION: Duration = Duration::from_secs(2);

/// Makes a stamp from a file's metadata only, without a digest. It is stable if the file's times are more than
/// [`TIME_RESOLUTION`] before `now`.
pub(super) fn metadata_stamp(metadata: &Metadata, now: SystemTime) -> PictureStamp {
    let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    let (modified_ns, changed_ns) =
        (nanoseconds(metadata.mtime(), metadata.mtime_nsec()), nanoseconds(metadata.ctime(), metadata.ctime_nsec()));
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(TIME_RESOLUTION);
    // A time in the future is never stable.
    let is_stable = u128::try_from(modified_ns.max(changed_ns)).unwrap_or_default() < now.as_nanos();
    PictureStamp {
        size_bytes: metadata.len(),
        modified_ns,
        changed_ns,
        inode: metadata.ino(),
        digest: String::new(),
        is_stable,
    }
}

/// Adds the size, times and inode of a stamp to a hash.
pub(super) fn hash_file_state(hasher: &mut Xxh3, stamp: &PictureStamp) {
    let PictureStamp { size_bytes, modified_ns, changed_ns, inode, .. } = stamp;
    let parts = [size_bytes.to_le_bytes(), modified_ns.to_le_bytes(), changed_ns.to_le_bytes(), inode.to_le_bytes()];
    hasher.update(parts.as_flattened());
}

/// The picture files of a request.
pub(super) fn picture_files(request: &Request) -> impl Iterator<Item = &Path> {
    request.images().filter_map(|image| match image {
        Image::File(path) => Some(path.as_path()),
        Image::Url(_) | Image::Inline { .. } => None,
    })
}

/// Makes a stamp without a digest, as [`metadata_stamp`]; `None` if `path` is not a regular file. Other files are not
/// read either: a pipe would block, and a device might never end.
pub(super) fn file_metadata_stamp(path: &Path, now: SystemTime) -> Option<PictureStamp> {
    path.metadata().ok().filter(Metadata::is_file).map(|meta| metadata_stamp(&meta, now))
}

/// Computes one stamp over all picture files of a request. Their paths are absolute or relative to `base_dir`. If
/// `recorded` shows that the files are unchanged, it is returned and nothing is read. Otherwise the files are read.
/// Returns `None` if the request has no picture files, or if one of them is missing or not a regular file. Such an
/// error is reported when the item is sent.
pub fn stamp_picture(request: &Request, base_dir: &Path, recorded: Option<PictureStamp>) -> Option<PictureStamp> {
    let paths: Vec<_> = picture_files(request).map(|path| base_dir.join(path)).collect();
    let started_at = SystemTime::now();
    let metadata_stamps: Option<Vec<_>> = paths.iter().map(|path| file_metadata_stamp(path, started_at)).collect();
    let metadata_stamps = metadata_stamps.filter(|stamps| !stamps.is_empty())?;
    let current = combine_stamps(metadata_stamps.clone());
    let is_unchanged =
        |was: &PictureStamp| was.is_stable && PictureStamp { digest: was.digest.clone(), ..current.clone() } == *was;
    if let Some(recorded) = recorded.filter(is_unchanged) {
        return Some(recorded);
    }
    // A file that can't be read gets no digest, so it counts as changed when it can be read later.
    let stamps = paths.iter().zip(metadata_stamps);
    Some(combine_stamps(
        stamps.map(|(path, now)| stamp_content(path).unwrap_or(PictureStamp { is_stable: false, ..now })).collect(),
    ))
}

/// The stamp recorded for a new item if some of its files are missing. It differs from every real stamp, so the files
/// count as changed when they exist.
pub(super) const fn missing_file_stamp() -> PictureStamp {
    PictureStamp { size_bytes: 0, modified_ns: 0, changed_ns: 0, inode: 0, digest: String::new(), is_stable: false }
}

/// Combines the stamps of several files, which depends on their order. The stamp of a single file is unchanged.
fn combine_stamps(mut stamps: Vec<PictureStamp>) -> PictureStamp {
    if stamps.len() == 1 {
        return stamps.remove(0);
    }
    let (mut state_hasher, mut content_hasher) = (Xxh3::new(), Xxh3::new());
    let mut combined = PictureStamp { is_stable: true, ..missing_file_stamp() };
    let mut all_read = true;
    for stamp in &stamps {
        hash_file_state(&mut state_hasher, stamp);
        content_hasher.update(stamp.digest.as_bytes());
        all_read &= !stamp.digest.is_empty();
        combined.size_bytes = combined.size_bytes.saturating_add(stamp.size_bytes);
        combined.modified_ns = combined.modified_ns.max(stamp.modified_ns);
        combined.changed_ns = combined.changed_ns.max(stamp.changed_ns);
        combined.is_stable &= stamp.is_stable;
    }
    // The inode contains a hash of all states: the sum of the sizes and the newest times alone would not change if two
    // files were swapped.
    combined.inode = state_hasher.digest();
    if all_read {
        combined.digest = hex(content_hasher.digest128());
    }
    combined
}

fn stamp_content(path: &Path) -> io::Result<PictureStamp> {
    let started_at = SystemTime::now();
    let mut file = open_regular_file(path)?;
    let stamp = metadata_stamp(&file.metadata()?, started_at);
    let mut hasher = Xxh3::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => hasher.update(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let is_stable = metadata_stamp(&file.metadata()?, started_at) == stamp && stamp.is_stable;
    Ok(PictureStamp { digest: hex(hasher.digest128()), is_stable, ..stamp })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Message, Part};

    fn stamp(path: &Path, recorded: Option<PictureStamp>) -> Option<PictureStamp> {
        stamp_all(&[path], recorded)
    }

    fn stamp_all(paths: &[&Path], recorded: Option<PictureStamp>) -> Option<PictureStamp> {
        let parts = paths.iter().map(|path| Part::Image(Image::File((*path).to_owned()))).collect();
        let message = Message { parts, ..Request::from_prompt("").messages.remove(0) };
        stamp_picture(&Request { messages: vec![message], ..Request::from_prompt("") }, Path::new("/"), recorded)
    }

    #[test]
    fn a_recently_changed_file_is_read_again() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.png");
        std::fs::write(&path, "one").unwrap();
        let fresh = stamp(&path, None).unwrap();
        assert!(!fresh.is_stable && fresh.digest.len() == 32, "{fresh:?}");
        let meta = path.metadata().unwrap();
        let changed = UNIX_EPOCH + Duration::from_nanos(fresh.changed_ns.max(fresh.modified_ns) as u64);
        assert!(!metadata_stamp(&meta, changed + TIME_RESOLUTION).is_stable);
        assert!(metadata_stamp(&meta, changed + TIME_RESOLUTION + Duration::from_millis(1)).is_stable);
        let recorded = PictureStamp { digest: "another".to_owned(), ..fresh.clone() };
        assert_eq!(stamp(&path, Some(recorded)).unwrap().digest, fresh.digest, "it may have changed since, unseen");
    }

    #[test]
    fn unreadable_files_have_no_stamp() {
        let home = tempfile::tempdir().unwrap();
        for path in [home.path().join("missing"), home.path().to_owned(), "/dev/zero".into()] {
            assert_eq!(stamp(&path, None), None, "{}", path.display());
        }
    }
    #[test]
    fn a_change_of_any_file_changes_the_combined_stamp() {
        let home = tempfile::tempdir().unwrap();
        let [a, b] = ["a.png", "b.png"].map(|name| home.path().join(name));
        std::fs::write(&a, "one").unwrap();
        std::fs::write(&b, "two").unwrap();
        let digest = |paths: &[&Path]| stamp_all(paths, None).unwrap().digest;
        let before = digest(&[&a, &b]);
        assert_eq!(digest(&[&a, &b]), before);
        assert_ne!(digest(&[&b, &a]), before);
        let unread = |path: &Path| file_metadata_stamp(path, SystemTime::now()).unwrap();
        assert_ne!(
            combine_stamps(vec![unread(&a), unread(&b)]).inode,
            combine_stamps(vec![unread(&b), unread(&a)]).inode
        );
        std::fs::write(&b, "six").unwrap();
        assert_ne!(digest(&[&a, &b]), before);
        std::fs::remove_file(&b).unwrap();
        assert_eq!(stamp_all(&[&a, &b], None), None);
    }
}
