//! What a run told, from the history.

use serde_json::Value;

/// A finished run: `{run, episodes, events}`, and its output.
pub struct Told {
    pub detail: Value,
    pub output: String,
}

impl Told {
    /// Its outcome.
    pub fn outcome(&self) -> &str {
        self.detail["run"]["outcome"].as_str().unwrap_or("")
    }

    /// Why it ended so, where it says it.
    pub fn message(&self) -> &str {
        self.detail["run"]["message"].as_str().unwrap_or("")
    }

    /// Demands that it ended well, without a word of warning from Ansible.
    #[track_caller]
    pub fn successful(&self) -> &Self {
        assert_eq!(self.outcome(), "successful", "{}", self.text());
        self.quiet()
    }

    /// Demands that it failed with a sentence that holds these words.
    #[track_caller]
    pub fn failed(&self, words: &str) -> &Self {
        assert_eq!(self.outcome(), "failed", "{}", self.text());
        assert!(
            self.message().contains(words),
            "wanted {words:?} in {:?}\n{}",
            self.message(),
            self.text()
        );
        self.quiet()
    }

    /// Demands that so many tasks changed something, over all hosts.
    #[track_caller]
    pub fn changed(&self, tasks: u64) -> &Self {
        assert_eq!(
            self.changes(),
            tasks,
            "tasks that changed something\n{}",
            self.text()
        );
        self
    }

    /// How many tasks changed something, over all hosts.
    pub fn changes(&self) -> u64 {
        let results = self.detail["run"]["results"].as_object();
        results
            .into_iter()
            .flatten()
            .filter_map(|(_, host)| host["changed"].as_u64())
            .sum()
    }

    /// The findings that a role reported on a host, all its reports together; `Null` if there were none.
    pub fn findings(&self, role: &str, host: &str) -> Value {
        let mut all = serde_json::Map::new();
        for event in self.detail["events"].as_array().into_iter().flatten() {
            if event["role"] == role
                && event["host"] == host
                && let Some(findings) = event["findings"].as_object()
            {
                all.extend(findings.clone());
            }
        }
        if all.is_empty() {
            Value::Null
        } else {
            all.into()
        }
    }

    /// The messages of the tasks that have this name, in their order.
    pub fn said(&self, task: &str) -> Vec<&str> {
        let events = self.detail["events"].as_array().into_iter().flatten();
        events
            .filter(|event| event["task"] == task)
            .filter_map(|event| event["message"].as_str())
            .collect()
    }

    /// Neither ansible-core may grumble about what is ours.
    #[track_caller]
    pub fn quiet(&self) -> &Self {
        for noise in ["WARNING", "DEPRECAT", "Traceback"] {
            assert!(
                !self.output.contains(noise),
                "{noise} in the output\n{}",
                self.text()
            );
        }
        self
    }

    /// Everything, for a failure.
    pub fn text(&self) -> String {
        format!("{:#}\n{}", self.detail["run"], self.output)
    }
}
