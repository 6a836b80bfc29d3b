//! Room for Envoy to watch its files. Each subscription to a file takes an inotify instance of its own, and Envoy aborts,
//! with all its sessions, when the system has no more (1.40.0: `assert failure: inotify_fd_ >= 0`).

use std::fs;
use std::os::unix::fs::MetadataExt;

/// How many more files this user's programs may watch; `None` where the system does not say.
pub(super) fn room() -> Option<u32> {
    let limit: u32 = fs::read_to_string("/proc/sys/fs/inotify/max_user_instances")
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let me = fs::metadata("/proc/self").ok()?.uid();
    let used = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter(|process| {
            process
                .file_name()
                .as_encoded_bytes()
                .first()
                .is_some_and(u8::is_ascii_digit)
        })
        .filter(|process| process.metadata().is_ok_and(|metadata| metadata.uid() == me))
        .flat_map(|process| {
            fs::read_dir(process.path().join("fd"))
                .into_iter()
                .flatten()
                .flatten()
        })
        .filter(|fd| fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == "anon_inode:inotify"))
        .count();
    Some(limit.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::room;

    #[test]
    fn a_watch_takes_room() {
        let before = room().unwrap();
        let _watches: Vec<_> = (0..5)
            .map(|_| notify::recommended_watcher(|_| ()).unwrap())
            .collect();
        // Other programs of this user come and go meanwhile.
        assert!(room().unwrap() < before);
    }
}
