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

use super::{ids::hex, image_source::open_regular_file};

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
pub(super) fn hash_unread(hash: &mut Xxh3, stamp: &PictureStamp) {
    let PictureStamp { size_bytes, modified_ns, changed_ns, inode, .. } = stamp;
    let parts = [size_bytes.to_le_bytes(), modified_ns.to_le_bytes(), changed_ns.to_le_bytes(), inode.to_le_bytes()];
    hash.update(parts.as_flattened());
}

/// The picture files of a request.
pub(super) fn files(request: &Request) -> impl Iterator<Item = &Path> {
    request.images().filter_map(|image| match image {
        Image::File(path) => Some(path.as_path()),
        Image::Url(_) | Image::Inline { .. } => None,
    })
}

/// Makes a stamp without a digest, as [`metadata_stamp`]; `None` if `path` is not a regular file. Other files are not
/// read either: a pipe would block, and a device might never end.
pub(super) fn unread_file(path: &Path, now: SystemTime) -> Option<PictureStamp> {
    path.metadata().ok().filter(Metadata::is_file).map(|meta| metadata_stamp(&meta, now))
}

/// Computes one stamp over all picture files of a request. Their paths are absolute or relative to `base_dir`. If
/// `recorded` shows that the files are unchanged, it is returned and nothing is read. Otherwise the files are read.
/// Returns `None` if the request has no picture files, or if one of them is missing or not a regular file. Such an
/// error is reported when the item is sent.
pub fn stamp_picture(request: &Request, base_dir: &Path, recorded: Option<PictureStamp>) -> Option<PictureStamp> {
    let paths: Vec<_> = files(request).map(|path| base_dir.join(path)).collect();
    let began = SystemTime::now();
    let unread: Option<Vec<_>> = paths.iter().map(|path| unread_file(path, began)).collect();
    let unread = unread.filter(|stamps| !stamps.is_empty())?;
    let current = over_all(unread.clone());
    let is_unchanged =
        |was: &PictureStamp| was.is_stable && PictureStamp { digest: was.digest.clone(), ..current.clone() } == *was;
    if let Some(recorded) = recorded.filter(is_unchanged) {
        return Some(recorded);
    }
    // A file that can't be read gets no digest, so it counts as changed when it can be read later.
    let stamps = paths.iter().zip(unread);
    Some(over_all(
        stamps.map(|(path, now)| read_stamp(path).unwrap_or(PictureStamp { is_stable: false, ..now })).collect(),
    ))
}

/// The stamp recorded for a new item if some of its files are missing. It differs from every real stamp, so the files
/// count as changed when they exist.
pub(super) const fn missing() -> PictureStamp {
    PictureStamp { size_bytes: 0, modified_ns: 0, changed_ns: 0, inode: 0, digest: String::new(), is_stable: false }
}

/// Combines the stamps of several files, which depends on their order. The stamp of a single file is unchanged.
fn over_all(mut stamps: Vec<PictureStamp>) -> PictureStamp {
    if stamps.len() == 1 {
        return stamps.remove(0);
    }
    let (mut states, mut contents) = (Xxh3::new(), Xxh3::new());
    let mut whole = PictureStamp { is_stable: true, ..missing() };
    let mut is_read = true;
    for stamp in &stamps {
        hash_unread(&mut states, stamp);
        contents.update(stamp.digest.as_bytes());
        is_read &= !stamp.digest.is_empty();
        whole.size_bytes = whole.size_bytes.saturating_add(stamp.size_bytes);
        whole.modified_ns = whole.modified_ns.max(stamp.modified_ns);
        whole.changed_ns = whole.changed_ns.max(stamp.changed_ns);
        whole.is_stable &= stamp.is_stable;
    }
    // The inode contains a hash of all states: the sum of the sizes and the newest times alone would not change if two
    // files were swapped.
    whole.inode = states.digest();
    if is_read {
        whole.digest = hex(contents.digest128());
    }
    whole
}

fn read_stamp(path: &Path) -> io::Result<PictureStamp> {
    let started_at = SystemTime::now();
    let mut file = open_regular_file(path)?;
    let stamp = metadata_stamp(&file.metadata()?, started_at);
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
    let is_stable = metadata_stamp(&file.metadata()?, started_at) == stamp && stamp.is_stable;
    Ok(PictureStamp { digest: hex(hash.digest128()), is_stable, ..stamp })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Message, Part};

    fn of(path: &Path, recorded: Option<PictureStamp>) -> Option<PictureStamp> {
        of_all(&[path], recorded)
    }

    fn of_all(paths: &[&Path], recorded: Option<PictureStamp>) -> Option<PictureStamp> {
        let parts = paths.iter().map(|path| Part::Image(Image::File((*path).to_owned()))).collect();
        let message = Message { parts, ..Request::from_prompt("").messages.remove(0) };
        stamp_picture(&Request { messages: vec![message], ..Request::from_prompt("") }, Path::new("/"), recorded)
    }

    #[test]
    fn a_file_is_known_unread_by_all_that_changes_with_it_and_only_once_it_is_settled() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.png");
        std::fs::write(&path, "one").unwrap();
        let fresh = of(&path, None).unwrap();
        assert!(!fresh.is_stable && fresh.digest.len() == 32, "{fresh:?}");
        let meta = path.metadata().unwrap();
        let changed = UNIX_EPOCH + Duration::from_nanos(fresh.changed_ns.max(fresh.modified_ns) as u64);
        assert!(!metadata_stamp(&meta, changed + TIME_RESOLUTION).is_stable);
        assert!(metadata_stamp(&meta, changed + TIME_RESOLUTION + Duration::from_millis(1)).is_stable);
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
    #[test]
    fn several_files_have_one_stamp_that_each_of_them_changes() {
        let home = tempfile::tempdir().unwrap();
        let [a, b] = ["a.png", "b.png"].map(|name| home.path().join(name));
        std::fs::write(&a, "one").unwrap();
        std::fs::write(&b, "two").unwrap();
        let digest = |paths: &[&Path]| of_all(paths, None).unwrap().digest;
        let before = digest(&[&a, &b]);
        assert_eq!(digest(&[&a, &b]), before);
        assert_ne!(digest(&[&b, &a]), before);
        let unread = |path: &Path| unread_file(path, SystemTime::now()).unwrap();
        assert_ne!(over_all(vec![unread(&a), unread(&b)]).inode, over_all(vec![unread(&b), unread(&a)]).inode);
        std::fs::write(&b, "six").unwrap();
        assert_ne!(digest(&[&a, &b]), before);
        std::fs::remove_file(&b).unwrap();
        assert_eq!(of_all(&[&a, &b], None), None);
    }
}
