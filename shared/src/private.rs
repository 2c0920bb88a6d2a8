//! Files with personal data or secrets: only for their owner, never opened through a symbolic link, and never in a
//! folder where somebody else could create one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// The mode of files: only their owner may read and write.
const FILE: u32 = 0o600;
/// The mode of folders.
const FOLDER: u32 = 0o700;
/// Others may write.
const OTHERS_WRITE: u32 = 0o002;
/// Others may write, but only remove their own files.
const STICKY: u32 = 0o1000;

/// Opens a file for reading and appending, and creates it if it does not exist.
pub fn open(path: &Path) -> io::Result<File> {
    check_folder(path)?;
    let file = options().append(true).read(true).create(true).open(path)?;
    check_file(path, &file, own())?;
    Ok(file)
}

/// Replaces the content of a file. An existing file stays, and may belong to root: a platform creates it, and reads
/// it afterwards.
pub fn fill(path: &Path, bytes: &[u8]) -> io::Result<()> {
    check_folder(path)?;
    let mut file = options().write(true).create(true).open(path)?;
    check_file(path, &file, 0)?;
    file.set_len(0)?;
    file.write_all(bytes)
}

/// Creates a file with these bytes, after removing an existing one.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    create(&new)?.write_all(bytes)?;
    fs::rename(new, path)
}

/// The bytes of a regular file, at most this many. A pipe or a device in its place neither blocks us nor fills the
/// memory.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

/// Creates an empty file, after removing an existing one.
pub fn create(path: &Path) -> io::Result<File> {
    check_folder(path)?;
    gone(path)?;
    options().write(true).create_new(true).open(path)
}

/// Creates a folder and its parents. An existing folder must belong to us.
pub fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)?;
    let is = fs::symlink_metadata(path)?;
    if !is.is_dir() {
        return Err(refused(path, "is a link and no folder"));
    }
    if is.uid() != own() {
        return Err(refused(path, &format!("belongs to user {}, not to user {}", is.uid(), own())));
    }
    if is.mode() & 0o777 != FOLDER {
        fs::set_permissions(path, fs::Permissions::from_mode(FOLDER))?;
    }
    Ok(())
}

/// It belongs to us, and then only we may read it, or to this other user.
fn check_file(path: &Path, file: &File, other: u32) -> io::Result<()> {
    let is = file.metadata()?;
    if !is.is_file() {
        return Err(refused(path, "is no file"));
    }
    if is.uid() != own() && is.uid() != other {
        return Err(refused(path, &format!("belongs to user {}, not to user {}", is.uid(), own())));
    }
    if is.uid() == own() && is.mode() & 0o777 != FILE {
        file.set_permissions(fs::Permissions::from_mode(FILE))?;
    }
    Ok(())
}

fn gone(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // A pipe in its place must not block us.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.mode(FILE).custom_flags(flags.bits().cast_signed());
    options
}

/// The folder of a volume belongs to root, whatever user runs in the container.
fn check_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is = fs::metadata(folder)?;
    if is.uid() != own() && is.uid() != 0 {
        return Err(refused(folder, &format!("belongs to user {}, not to user {}", is.uid(), own())));
    }
    if is.mode() & OTHERS_WRITE != 0 && is.mode() & STICKY == 0 {
        return Err(refused(folder, "can be written by every user; chmod o-w it"));
    }
    Ok(())
}

fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn refused(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("{} {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_for_its_owner_alone_also_where_it_was_not_before() {
        let ground = tempfile::tempdir().unwrap();
        let (folder_, file) = (ground.path().join("a/b"), ground.path().join("file"));
        fs::create_dir_all(&folder_).unwrap();
        fs::set_permissions(&folder_, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&file, "old").unwrap();
        folder(&folder_).unwrap();
        open(&file).unwrap().write_all(b"er").unwrap();
        write(&folder_.join("new"), b"bytes").unwrap();
        write(&folder_.join("new"), b"others").unwrap();
        assert_eq!([mode(&folder_), mode(&file), mode(&folder_.join("new"))], [0o700, 0o600, 0o600]);
        assert_eq!(fs::read(&file).unwrap(), b"older");
        assert_eq!(fs::read(folder_.join("new")).unwrap(), b"others");
        assert_eq!(fs::read_dir(&folder_).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_written_through_a_link_or_into_a_pipe() {
        let ground = tempfile::tempdir().unwrap();
        let path = |name: &str| ground.path().join(name);
        fs::write(path("victim"), "kept").unwrap();
        symlink(path("victim"), path("link")).unwrap();
        symlink(path("victim"), path("other.new")).unwrap();
        assert!(open(&path("link")).is_err());
        write(&path("link"), b"in its place").unwrap();
        write(&path("other"), b"as well").unwrap();
        assert_eq!(fs::read(path("victim")).unwrap(), b"kept");
        assert!(!fs::symlink_metadata(path("link")).unwrap().is_symlink());
        fs::create_dir(path("folder")).unwrap();
        symlink(path("folder"), path("linked")).unwrap();
        assert!(folder(&path("linked")).is_err());
    }

    #[test]
    fn a_file_that_is_filled_stays_and_is_for_its_owner_alone() {
        let ground = tempfile::tempdir().unwrap();
        let path = |name: &str| ground.path().join(name);
        fs::write(path("made"), "longer than what comes").unwrap();
        let made = fs::metadata(path("made")).unwrap().ino();
        for name in ["made", "new"] {
            fill(&path(name), b"line").unwrap();
            assert_eq!((fs::read(path(name)).unwrap(), mode(&path(name))), (b"line".to_vec(), FILE));
        }
        assert_eq!(fs::metadata(path("made")).unwrap().ino(), made);
        symlink(path("made"), path("link")).unwrap();
        symlink(path("nothing"), path("dangling")).unwrap();
        let pipe = std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap();
        assert!(pipe.success());
        for name in ["link", "dangling", "pipe", "."] {
            assert!(fill(&path(name), b"other").is_err(), "{name}");
        }
        assert_eq!(fs::read(path("made")).unwrap(), b"line");
        assert!(!path("nothing").exists());
    }

    #[test]
    fn nothing_is_written_where_everybody_may_write() {
        let ground = tempfile::tempdir().unwrap();
        for (mode, taken) in [(0o777, false), (0o1777, true), (0o770, true)] {
            fs::set_permissions(ground.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(open(&ground.path().join("file")).is_ok(), taken, "{mode:o}");
            assert_eq!(write(&ground.path().join("other"), b"").is_ok(), taken, "{mode:o}");
            assert_eq!(fill(&ground.path().join("third"), b"").is_ok(), taken, "{mode:o}");
        }
    }

    #[test]
    fn only_regular_files_are_read_and_only_so_much_of_them() {
        let ground = tempfile::tempdir().unwrap();
        let path = |name: &str| ground.path().join(name);
        fs::write(path("file"), "text").unwrap();
        symlink(path("file"), path("link")).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap();
        assert!(made.success());
        assert_eq!(read(&path("link"), 4).unwrap(), b"text");
        for (name, words) in
            [("file", "more than 3 bytes"), ("zero", "no regular file"), ("pipe", "no regular file")]
        {
            let error = read(&path(name), 3).unwrap_err().to_string();
            assert!(error.contains(words), "{name}: {error}");
        }
    }
}
