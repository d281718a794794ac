//! Sends the progress of a run to its reader.

use std::time::Duration;

use bytes::Bytes;
use tokio::process::ChildStdin;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{mpsc, watch};

use crate::ansible::process::Progress;

/// How long a slow reader may delay a run that is being stopped, before progress is dropped.
const PATIENCE: Duration = Duration::from_millis(250);

/// Sends progress to the reader, and waits for it, until a stop is requested; from then on, a slow reader must not delay
/// the end.
pub(super) struct ProgressSender {
    pub(super) sender: mpsc::Sender<Progress>,
    pub(super) stopped: watch::Receiver<bool>,
    /// The supervisor's standard input: closing it stops the run.
    pub(super) control: Option<ChildStdin>,
    /// Whether the reader did not read within [`PATIENCE`] after the stop.
    pub(super) stuck: bool,
    pub(super) lost_bytes: u64,
}

impl ProgressSender {
    /// Completes when a stop is requested or the reader is gone; never, if the run was stopped before.
    pub(super) async fn stop_asked(&mut self) {
        if self.control.is_none() {
            return std::future::pending().await;
        }
        let sender = &self.sender;
        tokio::select! {
            () = asked(&mut self.stopped) => {}
            () = sender.closed() => {}
        }
    }

    pub(super) fn stop(&mut self) {
        self.control = None;
    }

    pub(super) async fn output(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.deliver(Progress::Output(bytes)).await;
        }
    }

    pub(super) async fn deliver(&mut self, progress: Progress) {
        if self.control.is_some() {
            let sender = self.sender.clone();
            tokio::select! {
                biased;
                place = sender.reserve() => {
                    if let Ok(place) = place {
                        place.send(progress);
                    }
                    return;
                }
                () = self.stop_asked() => self.stop(),
            }
        }
        if self.stuck {
            if let Err(error) = self.sender.try_send(progress) {
                self.lose(&error.into_inner());
            } else {
                self.stuck = false;
            }
            return;
        }
        if let Err(SendTimeoutError::Timeout(progress)) =
            self.sender.send_timeout(progress, PATIENCE).await
        {
            self.stuck = true;
            self.lose(&progress);
        }
    }

    fn lose(&mut self, progress: &Progress) {
        if let Progress::Output(bytes) = progress {
            self.lost_bytes += bytes.len() as u64;
        }
    }
}

/// Completes when a stop is requested; never, if all [`Stop`](super::process::Stop) handles were dropped.
async fn asked(stopped: &mut watch::Receiver<bool>) {
    if stopped.wait_for(|asked| *asked).await.is_err() {
        std::future::pending::<()>().await;
    }
}
