//! Logs that grow, line by line.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// A file of which whole lines are taken as they come.
pub(super) struct Tail {
    path: PathBuf,
    at: u64,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
}

impl Tail {
    pub(super) fn new(path: &Path) -> Self {
        Tail {
            path: path.to_owned(),
            at: 0,
            begun: Vec::new(),
        }
    }

    pub(super) fn has_more(&self) -> bool {
        self.path.metadata().is_ok_and(|meta| meta.len() > self.at)
    }

    /// The lines that have come; none of a file that is not there, as when the directory goes away with its world.
    pub(super) fn take(&mut self) -> std::io::Result<Vec<String>> {
        let Ok(mut file) = std::fs::File::open(&self.path) else {
            return Ok(Vec::new());
        };
        file.seek(SeekFrom::Start(self.at))?;
        self.at += file.read_to_end(&mut self.begun)? as u64;
        let whole = self.begun.iter().rposition(|byte| *byte == b'\n');
        let rest = self.begun.split_off(whole.map_or(0, |end| end + 1));
        let lines = std::mem::replace(&mut self.begun, rest);
        let text = String::from_utf8_lossy(&lines);
        Ok(text.lines().map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn lines_come_whole_and_once() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut tail = Tail::new(file.path());
        assert!(!tail.has_more() && tail.take().unwrap().is_empty());
        write!(file, "one\ntw").unwrap();
        assert!(tail.has_more());
        assert_eq!(tail.take().unwrap(), ["one"]);
        writeln!(file, "o").unwrap();
        assert_eq!(tail.take().unwrap(), ["two"]);
        assert!(!tail.has_more() && tail.take().unwrap().is_empty());
        assert!(
            Tail::new("/nonexistent".as_ref())
                .take()
                .unwrap()
                .is_empty()
        );
    }
}
