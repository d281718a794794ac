//! Follows a run by the events of the server. Nothing is transferred twice, however long the output is.

use std::time::Duration;

use bytes::BytesMut;
use serde::Deserialize;

use super::Failure;
use super::client::Server;
use crate::clients::web_client::Stream;
use crate::model::run::{Run, RunId, TaskEvent};

/// The delay before reconnecting after a stream ended.
const PAUSE: Duration = Duration::from_millis(300);

/// An event of a run.
pub(super) enum RunEvent {
    /// Its state changed.
    Run(Box<Run>),
    /// A task ended on a host.
    Task(Box<TaskEvent>),
    /// It wrote output, which begins at this offset in its whole output.
    Output { offset: u64, text: String },
}

#[derive(Deserialize)]
struct Output {
    offset: u64,
    text: String,
}

/// A run to follow.
pub(super) struct RunFollower<'a> {
    server: &'a Server,
    run: RunId,
    stream: Option<Stream>,
    /// The received text that is not a complete event yet.
    text: BytesMut,
    /// The id of the last received event, from which another stream resumes.
    last: String,
}

impl<'a> RunFollower<'a> {
    /// Follows a run from its beginning.
    pub(super) fn new(server: &'a Server, run: RunId) -> Self {
        Self {
            server,
            run,
            stream: None,
            text: BytesMut::new(),
            last: String::new(),
        }
    }

    /// Waits for the next event. Do not call it again after the run has finished.
    pub(super) async fn next(&mut self) -> Result<RunEvent, Failure> {
        let next = self.read().await;
        next.map_err(|failure| match failure {
            Failure::Message(why) => Failure::Message(format!(
                "{why}; run {run} may still be running, see promansible runs show {run}",
                run = self.run
            )),
            other => other,
        })
    }

    async fn read(&mut self) -> Result<RunEvent, Failure> {
        loop {
            while let Some(end) = self.text.windows(2).position(|ends| ends == b"\n\n") {
                let event = self.text.split_to(end + 2);
                let event = Event::parse(&String::from_utf8_lossy(&event));
                if !event.id.is_empty() {
                    self.last = event.id;
                }
                let happening = happening(&event.name, &event.data);
                if let Some(happening) = happening.map_err(|e| self.server.odd(&e))? {
                    return Ok(happening);
                }
            }
            if self.stream.is_none() {
                let path = format!("runs/{}/events?last_event_id={}", self.run, self.last);
                self.stream = Some(self.server.open(&path).await?);
            }
            let Some(stream) = &mut self.stream else {
                continue;
            };
            if let Ok(Some(piece)) = stream.next().await {
                self.text.extend_from_slice(&piece);
            } else {
                // The connection was closed, by the server or by a proxy. Resume when it is available again.
                self.stream = None;
                self.text.clear();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn happening(name: &str, data: &str) -> serde_json::Result<Option<RunEvent>> {
    Ok(match name {
        "run" => Some(RunEvent::Run(serde_json::from_str(data)?)),
        "task" => Some(RunEvent::Task(serde_json::from_str(data)?)),
        "output" => {
            let Output { offset, text } = serde_json::from_str(data)?;
            Some(RunEvent::Output { offset, text })
        }
        // A heartbeat, or an event of a newer server.
        _ => None,
    })
}

/// A server-sent event as text.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    name: String,
    id: String,
    data: String,
}

impl Event {
    fn parse(text: &str) -> Self {
        let mut event = Self::default();
        for line in text.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut event.name),
                "id" => value.clone_into(&mut event.id),
                "data" => event.data.push_str(value),
                _ => {}
            }
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_as_it_is_written() {
        let event = Event::parse("event: output\nid: 1.2.running\ndata: {\"a\": \"b: c\"}\n\n");
        assert_eq!(event.name, "output");
        assert_eq!(event.id, "1.2.running");
        assert_eq!(event.data, "{\"a\": \"b: c\"}");
        assert_eq!(Event::parse(":\n\n"), Event::default());
        assert!(happening("", "").unwrap().is_none());
        assert!(happening("news", "?").unwrap().is_none());
        assert!(happening("output", "{}").is_err());
    }
}
