//! A store's file that was cut or overwritten with junk while nobody looked.
//!
//! What is asked for: whoever opens such a file is refused, or gets what was written, each record whole and equal; never
//! something else, never a panic, never a wait without end. Every page of the file that holds anything is covered by a
//! checksum of redb's, and so are the two commits in its header; these are verified whenever a file is opened. No checksum
//! covers the header's flags, so each bit of them has its turn.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Duration;

use promansible::metrics::Metrics;
use promansible::model::alert::Status;
use promansible::store::{self, OpenError};
use prometheus::Registry;

use crate::fixture::{alert, at, config, inventory, notification};
use crate::history::{Answers, History, length, read_everything};

/// Far longer than any of this takes.
const PATIENCE: Duration = Duration::from_mins(2);

/// The same places each time: xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// What became of a file that was opened.
#[derive(Debug)]
enum Found {
    Refused(OpenError),
    Opened(Answers),
}

/// Opens a file, reads everything, and works with it; all of it by another thread, so that a wait can be given up.
fn open_and_read(path: &Path) -> Result<Found, String> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let path = path.to_owned();
    std::thread::spawn(move || {
        let worked = std::panic::catch_unwind(AssertUnwindSafe(|| work_with(&path)));
        let worked = worked.map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            format!("a panic: {text:?}")
        });
        let _ = sender.send(worked);
    });
    receiver
        .recv_timeout(PATIENCE)
        .map_err(|_| "it does not end".to_owned())?
}

fn work_with(path: &Path) -> Found {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let metrics = Metrics::new(Registry::new()).unwrap();
        let opened = match store::open(path, &metrics, at(200_000)) {
            Ok(opened) => opened,
            Err(error) => return Found::Refused(error),
        };
        let store = opened.store;
        let _ = store.checked().await;
        let answers = read_everything(&store, &metrics).await;
        // It may be refused, but it must be answered.
        let firing = notification(vec![alert(9999, 300_000, "a", "h4", Status::Firing)]);
        let _ = store
            .admit(firing, config(""), inventory(), at(300_000))
            .await;
        let _ = store.claim(config(""), at(300_100)).await;
        store.close().await;
        Found::Opened(answers)
    })
}

fn undamaged(path: &Path) -> Answers {
    match open_and_read(path).unwrap() {
        Found::Opened(answers) => {
            assert!(answers.len() > 300);
            for (question, answer) in &answers {
                let is_no_run = matches!(answer, Err(store::StoreError::NoSuchRun(_)));
                assert!(answer.is_ok() || is_no_run, "{question}: {answer:?}");
            }
            answers
        }
        Found::Refused(error) => panic!("{error}"),
    }
}

/// What is wrong with what was found in a damaged file; nothing, where it was refused or all that was read is right.
fn wrong(found: Result<Found, String>, written: &Answers) -> Option<String> {
    let answers = match found {
        Err(what) => return Some(what),
        Ok(Found::Refused(OpenError::Damaged { .. })) => return None,
        Ok(Found::Refused(other)) => return Some(format!("refused for another reason: {other}")),
        Ok(Found::Opened(answers)) => answers,
    };
    written.iter().find_map(|(question, written)| {
        let read = answers.get(question).expect("the same questions");
        match (read, written) {
            (Err(store::StoreError::Corrupt(_) | store::StoreError::Broken(_)), _) => None,
            (Ok(read), Ok(written)) if read == written => None,
            (Err(read), Err(written)) if read.to_string() == written.to_string() => None,
            _ => Some(format!(
                "{question}:\nread:    {read:?}\nwritten: {written:?}"
            )),
        }
    })
}

#[derive(Debug, Clone, Copy)]
enum Harm {
    Cut { at: u64 },
    Junk { at: u64, bytes: u64 },
    Zeros { at: u64, bytes: u64 },
}

fn harm(path: &Path, harm: Harm, random: &mut Random) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    match harm {
        Harm::Cut { at } => file.set_len(at).unwrap(),
        Harm::Junk { at, bytes } => {
            let junk: Vec<u8> = (0..bytes).map(|_| random.next().to_le_bytes()[0]).collect();
            file.write_all_at(&junk, at).unwrap();
        }
        Harm::Zeros { at, bytes } => {
            file.write_all_at(&vec![0; usize::try_from(bytes).unwrap()], at)
                .unwrap();
        }
    }
}

fn assert_none(failures: &[String]) {
    let first: Vec<String> = failures
        .iter()
        .map(|failure| failure.chars().take(400).collect())
        .collect();
    assert!(first.is_empty(), "{}:\n{}", first.len(), first.join("\n"));
}

/// 100 places, each cut and overwritten in both files; the places are the same each time.
#[test]
fn a_file_that_was_cut_or_overwritten_is_refused_or_read_right() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let history = runtime.block_on(History::write());
    let mut random = Random(0x5eed_0001);
    let mut failures = Vec::new();
    let mut counts = [0; 2];
    for original in [&history.clean, &history.killed] {
        let copy = history.path("copy");
        fs::copy(original, &copy).unwrap();
        let written = undamaged(&copy);
        let length = length(original);
        for place in 0..100 {
            let at = random.below(length);
            let most = length - at;
            let harms = [
                Harm::Cut { at },
                match place % 4 {
                    0 => Harm::Junk { at, bytes: 1 },
                    1 => Harm::Junk {
                        at,
                        bytes: most.min(16),
                    },
                    2 => Harm::Junk {
                        at,
                        bytes: most.min(5000),
                    },
                    _ => Harm::Zeros {
                        at,
                        bytes: most.min(4096),
                    },
                },
            ];
            for one in harms {
                fs::copy(original, &copy).unwrap();
                harm(&copy, one, &mut random);
                let found = open_and_read(&copy);
                counts[usize::from(matches!(found, Ok(Found::Opened(_))))] += 1;
                if let Some(what) = wrong(found, &written) {
                    let name = original.file_name().unwrap().display();
                    failures.push(format!("{name}, {one:?} of {length}: {what}"));
                }
            }
        }
    }
    println!("refused {}, opened {}", counts[0], counts[1]);
    assert_none(&failures);
    assert!(counts.iter().all(|&count| count > 20), "{counts:?}");
}

/// Where redb keeps its flags: which of two commits counts, how it was written, and whether the file is in use.
const FLAGS: u64 = 9;

/// Random places hardly ever meet the header, so each byte of it has its turn.
#[test]
fn a_header_that_was_overwritten_is_refused_or_read_right() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let history = runtime.block_on(History::write());
    let copy = history.path("copy");
    fs::copy(&history.clean, &copy).unwrap();
    let written = undamaged(&copy);
    let original = fs::read(&history.clean).unwrap();
    let mut failures = Vec::new();
    for at in 0..320 {
        let bits = (0..8).map(|bit| 1 << bit).collect();
        let masks: Vec<u8> = if at == FLAGS { bits } else { vec![0xff] };
        for mask in masks {
            let mut bytes = original.clone();
            bytes[usize::try_from(at).unwrap()] ^= mask;
            fs::write(&copy, &bytes).unwrap();
            if let Some(what) = wrong(open_and_read(&copy), &written) {
                failures.push(format!("byte {at} ^ {mask:#x}: {what}"));
            }
        }
    }
    assert_none(&failures);
}
