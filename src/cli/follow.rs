//! Follows a run by the events that the server sends: nothing is asked for twice, however long the output is.

use std::time::Duration;

use bytes::BytesMut;
use serde::Deserialize;

use super::Failure;
use super::client::Server;
use crate::clients::web_client::Stream;
use crate::model::run::{Run, RunId, TaskEvent};

/// How long to wait before another try where a stream ended.
const PAUSE: Duration = Duration::from_millis(300);

/// What a run did.
pub(super) enum Happening {
    /// It is in another state.
    Run(Box<Run>),
    /// A task ended on a host.
    Task(Box<TaskEvent>),
    /// It wrote something, which begins at this place in all that it wrote.
    Output { offset: u64, text: String },
}

#[derive(Deserialize)]
struct Output {
    offset: u64,
    text: String,
}

/// A run that is followed.
pub(super) struct Following<'a> {
    server: &'a Server,
    run: RunId,
    stream: Option<Stream>,
    /// What has come and is no whole event yet.
    text: BytesMut,
    /// The last event that came: another stream goes on after it.
    last: String,
}

impl<'a> Following<'a> {
    /// From its beginning on.
    pub(super) fn new(server: &'a Server, run: RunId) -> Self {
        Self {
            server,
            run,
            stream: None,
            text: BytesMut::new(),
            last: String::new(),
        }
    }

    /// Waits for what it does next. Do not ask on after it has finished.
    pub(super) async fn next(&mut self) -> Result<Happening, Failure> {
        let next = self.read().await;
        next.map_err(|failure| match failure {
            Failure::Said(why) => Failure::Said(format!(
                "{why}; run {run} may go on, see promansible runs show {run}",
                run = self.run
            )),
            signal @ Failure::Signal(_) => signal,
        })
    }

    async fn read(&mut self) -> Result<Happening, Failure> {
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
                // The server ended, or something between: where it is there again it goes on.
                self.stream = None;
                self.text.clear();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn happening(name: &str, data: &str) -> serde_json::Result<Option<Happening>> {
    Ok(match name {
        "run" => Some(Happening::Run(serde_json::from_str(data)?)),
        "task" => Some(Happening::Task(serde_json::from_str(data)?)),
        "output" => {
            let Output { offset, text } = serde_json::from_str(data)?;
            Some(Happening::Output { offset, text })
        }
        // A heartbeat, or what a newer server tells.
        _ => None,
    })
}

/// An event as text.
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
