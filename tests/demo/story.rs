//! Follows one alert from the break to the proof, and tells each step when it happens.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::screen::{Ink, Screen};
use crate::stack::wait::now;
use crate::stack::{Failure, World};

/// How long the whole way may take.
const LIMIT: Duration = Duration::from_secs(50);

/// The steps. The last two can change places: the alert can resolve before the play is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Seen,
    Fired,
    Delivered,
    Started,
    Fixed,
    Finished,
    Resolved,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Seen,
        Self::Fired,
        Self::Delivered,
        Self::Started,
        Self::Fixed,
        Self::Finished,
        Self::Resolved,
    ];

    /// The word that stands for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Fired => "fired",
            Self::Delivered => "delivered",
            Self::Started => "started",
            Self::Fixed => "fixed",
            Self::Finished => "finished",
            Self::Resolved => "resolved",
        }
    }
}

/// What happened.
pub struct Story {
    begin: DateTime<Utc>,
    /// Each step with its seconds since the break, in the order in which they happened.
    pub steps: Vec<(Step, f64)>,
    /// The run.
    pub run: Value,
    tasks_known: usize,
    /// What is known and not told yet. One server tells sooner than another, and a person reads from top to bottom.
    news: Vec<ChangeFeed>,
}

/// One thing to tell, with its seconds since the break.
struct ChangeFeed {
    seconds: f64,
    ink: Ink,
    word: &'static str,
    text: String,
}

impl Story {
    /// Breaks web01's site and follows what comes of it until the alert has resolved.
    pub fn follow(world: &World, screen: &Screen) -> Result<Self, Failure> {
        let site = &world.sites[0];
        let mut story = Self {
            begin: now(),
            steps: Vec::new(),
            run: Value::Null,
            tasks_known: 0,
            news: Vec::new(),
        };
        let pid = site.break_down()?;
        let text = format!("{}'s site, process {pid}, is killed", site.host);
        screen.step(0.0, Ink::Red, "broken", &text);
        world.wait(LIMIT, "the alert to resolve after its repair", || {
            story.look(world, screen)?;
            let done = story.steps.len() == Step::ALL.len();
            let failed = story.run["outcome"].as_str().filter(|o| *o != "successful");
            Ok((done || failed.is_some()).then_some(()))
        })?;
        story.tell(screen, f64::INFINITY);
        story.steps.sort_by(|a, b| a.1.total_cmp(&b.1));
        if story.run["outcome"] == "successful" {
            return Ok(story);
        }
        let output = world.promansible.output(story.id()).unwrap_or_default();
        let text = format!("the run did not repair it: {:#}\n{output}", story.run);
        Err(Failure::new(text).with_logs(world.processes()))
    }

    /// The run's number.
    pub fn id(&self) -> u64 {
        self.run["id"].as_u64().unwrap_or_default()
    }

    /// Looks everywhere once, and tells what has been known for a moment.
    fn look(&mut self, world: &World, screen: &Screen) -> Result<(), Failure> {
        for step in Step::ALL {
            if self.steps.iter().any(|(done, _)| *done == step) {
                continue;
            }
            let Some((seconds, ink, text)) = self.happened(step, world)? else {
                continue;
            };
            self.steps.push((step, seconds));
            self.learn(seconds, ink, step.word(), text);
            if step == Step::Delivered {
                let decision = self.decision();
                self.learn(seconds, Ink::Yellow, "decided", decision);
            }
        }
        self.learn_tasks(world)?;
        self.tell(screen, self.since_begin(now()) - 0.4);
        Ok(())
    }

    fn learn(&mut self, seconds: f64, ink: Ink, word: &'static str, text: String) {
        self.news.push(ChangeFeed {
            seconds,
            ink,
            word,
            text,
        });
    }

    /// Tells what happened until then, in its order.
    fn tell(&mut self, screen: &Screen, until: f64) {
        self.news.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let ripe = self.news.partition_point(|news| news.seconds <= until);
        for news in self.news.drain(..ripe) {
            screen.step(news.seconds, news.ink, news.word, &news.text);
        }
    }

    /// When and how a step happened, if it did. Times are those that the servers tell, where they do.
    fn happened(
        &mut self,
        step: Step,
        world: &World,
    ) -> Result<Option<(f64, Ink, String)>, Failure> {
        let site = &world.sites[0];
        let instance = site.instance();
        if !self.run.is_null() && self.run["state"] != "finished" {
            self.run = world.promansible.run(self.id())?["run"].take();
        }
        let found = match step {
            Step::Seen => {
                let up = format!("up{{job=\"site\",instance=\"{instance}\"}}");
                let scraped = world.prometheus.value(&format!("timestamp({up} == 0)"))?;
                let text = format!("Prometheus: {up} is 0");
                #[allow(clippy::cast_precision_loss)] // milliseconds of this century fit
                let begin = self.begin.timestamp_millis() as f64 / 1000.0;
                scraped.map(|at| (at - begin, Ink::Red, text))
            }
            Step::Fired => world.prometheus.firing(&instance)?.map(|alert| {
                let text = "Prometheus: rule SiteDown fires; Alertmanager is told".to_owned();
                (self.since(&alert["activeAt"]), Ink::Red, text)
            }),
            Step::Delivered => world.promansible.runs()?.pop().map(|run| {
                self.run = run;
                let text = "Alertmanager's notification is on disk: answered 200";
                (
                    self.since(&self.run["created_at"]),
                    Ink::Yellow,
                    text.to_owned(),
                )
            }),
            Step::Started => self.run["started_at"].is_string().then(|| {
                let text = format!("ansible-playbook, by ssh to {}", site.host);
                (self.since(&self.run["started_at"]), Ink::Yellow, text)
            }),
            Step::Fixed => site.answers().then(|| {
                let pid = site.pid().unwrap_or_default();
                let text = format!("{} answers again: process {pid}", site.url());
                (self.since_begin(now()), Ink::Green, text)
            }),
            Step::Finished => (self.run["state"] == "finished").then(|| {
                let outcome = self.run["outcome"].as_str().unwrap_or_default();
                let text = format!("run {} is {outcome}, and in the history", self.id());
                (self.since(&self.run["finished_at"]), Ink::Green, text)
            }),
            Step::Resolved => {
                let resolved = world
                    .promansible
                    .count("alerts_received_total", &[("status", "resolved")])?;
                let text = "Prometheus scrapes it; Alertmanager says `resolved`";
                (resolved >= 1.0).then(|| (self.since_begin(now()), Ink::Green, text.to_owned()))
            }
        };
        Ok(found)
    }

    fn decision(&self) -> String {
        let names = |list: &Value| {
            let names = list.as_array().into_iter().flatten();
            names
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(", ")
        };
        format!(
            "run {}: {} on {}, by binding {}",
            self.id(),
            names(&self.run["work"]["roles"]),
            names(&self.run["hosts"]),
            self.run["binding"].as_str().unwrap_or_default(),
        )
    }

    /// The tasks that ended since the last look.
    fn learn_tasks(&mut self, world: &World) -> Result<(), Failure> {
        if self.run.is_null() {
            return Ok(());
        }
        let run = world.promansible.run(self.id())?;
        let events = run["events"].as_array().map_or(&[][..], Vec::as_slice);
        for event in events.get(self.tasks_known..).unwrap_or_default() {
            let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            let status = text("status");
            let ink = match status.as_str() {
                "failed" | "unreachable" => Ink::Red,
                "changed" => Ink::Yellow,
                _ => Ink::Dim,
            };
            let told = format!("{status:<7}  {}: {}", text("host"), text("task"));
            self.learn(self.since(&event["at"]), ink, "  task", told);
        }
        self.tasks_known = events.len();
        Ok(())
    }

    fn since(&self, time: &Value) -> f64 {
        time.as_str()
            .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
            .map_or(f64::NAN, |time| self.since_begin(time.with_timezone(&Utc)))
    }

    fn since_begin(&self, time: DateTime<Utc>) -> f64 {
        (time - self.begin).as_seconds_f64()
    }
}
