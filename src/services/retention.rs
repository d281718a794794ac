//! Deletes history that is older or larger than the configuration keeps.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::Config;
use crate::store::Store;
use crate::util::clock;
use crate::util::shutdown::Shutdown;

/// How often old history is deleted.
const RETENTION: Duration = Duration::from_mins(1);

/// Deletes old history every minute, until the shutdown.
pub async fn retain(store: Store, config: watch::Receiver<Arc<Config>>, mut ending: Shutdown) {
    loop {
        let storage = config.borrow().storage.clone();
        let more = match store.retain(storage, clock::now()).await {
            Ok(retained) => {
                if retained.runs + retained.episodes > 0 {
                    tracing::info!(
                        runs = retained.runs,
                        episodes = retained.episodes,
                        "old history deleted"
                    );
                }
                retained.more
            }
            Err(e) => {
                tracing::error!(error = %e, "old history could not be deleted");
                false
            }
        };
        // A large clean-up is done in slices, with pauses for other writes.
        let pause = if more {
            Duration::from_millis(20)
        } else {
            RETENTION
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = ending.requested() => return,
        }
    }
}
