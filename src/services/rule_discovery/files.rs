//! The rule files on disk. A file is read again if it changed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::Problem;
use crate::alert_types::{Rule, parse_rule_file};

/// The most files that are read.
const FILES: usize = 1_000;

/// The largest rule file. *Units*: bytes. Rules are written by people, or generated for people to read.
const LARGEST: u64 = 4 << 20;

/// The most rules that are kept in memory.
const RULES: usize = 50_000;

/// The rule files that were read.
#[derive(Debug, Default)]
pub(super) struct Files {
    files: BTreeMap<PathBuf, ReadFile>,
    /// Problems with the patterns.
    patterns: Vec<Problem>,
}

#[derive(Debug)]
struct ReadFile {
    stamp: FileFingerprint,
    rules: Result<Vec<Arc<Rule>>, String>,
}

/// Modification time and size; changes when the file does. `None` if it cannot be determined.
type FileFingerprint = Option<(SystemTime, u64)>;

impl Files {
    /// Reads new and changed files, and forgets deleted ones.
    pub(super) fn refresh(&mut self, patterns: &[String]) {
        self.patterns.clear();
        let mut old = std::mem::take(&mut self.files);
        let mut total = 0;
        for path in self.found(patterns) {
            let stamp = stamp(&path);
            let file = match old.remove(&path) {
                Some(file) if file.stamp == stamp && stamp.is_some() => file,
                _ => ReadFile {
                    rules: read(&path),
                    stamp,
                },
            };
            total += file.rules.as_ref().map_or(0, Vec::len);
            if total > RULES {
                self.patterns.push(Problem {
                    file: path.display().to_string(),
                    why: format!(
                        "this file and the files after it are ignored: the limit is {RULES} rules"
                    ),
                });
                break;
            }
            self.files.insert(path, file);
        }
    }

    /// Returns the rules, in the order of the file names.
    pub(super) fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.files
            .values()
            .flat_map(|file| file.rules.iter().flatten())
    }

    /// Returns the problems with patterns and files.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let files = self.files.iter().filter_map(|(path, file)| {
            let why = file.rules.as_ref().err()?.clone();
            let file = path.display().to_string();
            Some(Problem { file, why })
        });
        self.patterns.iter().cloned().chain(files).collect()
    }

    /// Returns the files that match the patterns, sorted and without duplicates.
    fn found(&mut self, patterns: &[String]) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for pattern in patterns {
            let mut wrong = |why: String| {
                self.patterns.push(Problem {
                    file: pattern.clone(),
                    why,
                });
            };
            let before = found.len();
            match glob::glob(pattern) {
                Ok(paths) => {
                    for path in paths.take(FILES) {
                        match path {
                            Ok(path) => found.push(path),
                            Err(e) => wrong(e.to_string()),
                        }
                    }
                }
                Err(e) => wrong(e.to_string()),
            }
            if found.len() == before {
                wrong("no file matches".to_owned());
            }
        }
        found.sort();
        found.dedup();
        if found.len() > FILES {
            self.patterns.push(Problem {
                file: found[FILES].display().to_string(),
                why: format!(
                    "this file and the files after it are ignored: the limit is {FILES} files"
                ),
            });
            found.truncate(FILES);
        }
        found
    }
}

fn stamp(path: &Path) -> FileFingerprint {
    let of = fs::metadata(path).ok()?;
    Some((of.modified().ok()?, of.len()))
}

fn read(path: &Path) -> Result<Vec<Arc<Rule>>, String> {
    let unreadable = |e: std::io::Error| format!("it cannot be read: {e}");
    // Opening a pipe would block until another process opens it for writing.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("it is larger than {} MiB", LARGEST >> 20));
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let rules = parse_rule_file(&path.display().to_string(), &text).map_err(|e| e.to_string())?;
    Ok(rules.into_iter().map(Arc::new).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &Files) -> Vec<&str> {
        files.rules().map(|rule| rule.name.as_str()).collect()
    }

    #[test]
    fn files_are_read_when_they_change_and_forgotten_when_they_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str, alerts: &[&str]| {
            let rules = alerts
                .iter()
                .map(|a| format!("  - {{alert: {a}, expr: up}}\n"));
            let text = format!(
                "groups:\n- name: g\n  rules:\n{}",
                rules.collect::<String>()
            );
            fs::write(path(name), text).unwrap();
        };
        write("b.yml", &["B"]);
        write("a.yml", &["A1", "A2"]);
        write("c.txt", &["C"]);
        let pattern = path("*.yml").display().to_string();
        // Named twice, it is read once.
        let patterns = [pattern, path("a.yml").display().to_string()];
        let mut files = Files::default();
        files.refresh(&patterns);
        assert_eq!(names(&files), ["A1", "A2", "B"]);
        let first = Arc::clone(files.rules().next().unwrap());
        fs::remove_file(path("b.yml")).unwrap();
        write("d.yml", &["D"]);
        files.refresh(&patterns);
        assert_eq!(names(&files), ["A1", "A2", "D"]);
        let again = files.rules().next().unwrap();
        assert!(Arc::ptr_eq(&first, again), "it had not changed");
        write("a.yml", &["A3"]);
        files.refresh(&patterns);
        assert_eq!(names(&files), ["A3", "D"]);
        assert_eq!(files.problems(), []);
    }

    #[test]
    fn what_is_wrong_with_one_file_is_said_and_the_others_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::write(path("good.yml"), "groups: [{name: g, rules: [{alert: A}]}]").unwrap();
        fs::write(path("bad.yml"), "groups:\n- name: [\n").unwrap();
        fs::write(path("bytes.yml"), b"\xff").unwrap();
        fs::write(path("large.yml"), vec![b'#'; (4 << 20) + 1]).unwrap();
        fs::create_dir(path("folder.yml")).unwrap();
        nix::unistd::mkfifo(path("pipe.yml").as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut files = Files::default();
        files.refresh(&[path("*.yml"), path("none/*.yml")]);
        assert_eq!(names(&files), ["A"]);
        let problems = files.problems();
        let said: Vec<_> = problems
            .iter()
            .map(|p| (p.file.as_str(), p.why.as_str()))
            .collect();
        let (bad, others): (Vec<_>, Vec<_>) = said
            .into_iter()
            .partition(|(file, _)| file.ends_with("bad.yml"));
        assert!(bad[0].1.starts_with("line "), "{bad:?}");
        assert_eq!(
            others,
            [
                (path("none/*.yml").as_str(), "no file matches"),
                (path("bytes.yml").as_str(), "it is not UTF-8"),
                (path("folder.yml").as_str(), "it is not a regular file"),
                (path("large.yml").as_str(), "it is larger than 4 MiB"),
                (path("pipe.yml").as_str(), "it is not a regular file"),
            ]
        );
    }
}
