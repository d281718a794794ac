//! How many TLS handshakes of one address go on at once. They cost a processor more than most requests do: where thousands of
//! clients come again and again, one of another address must not stand behind all of theirs.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::neighbourhood;

/// How many of one address go on at once.
const OF_ONE: usize = 4;

/// How long a client waits for its turn at most. Those before it may be clients that say nothing: they cost no processor, and
/// must not keep others of their address out.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many addresses are known before those of which no handshake is left are forgotten.
const ADDRESSES: usize = 1024;

/// The handshakes of a server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Handshakes(Arc<Mutex<HashMap<IpAddr, Arc<Semaphore>>>>);

impl Handshakes {
    /// Waits for this address's turn, which lasts for as long as the permit lives; `None` after [`PATIENCE`].
    ///
    /// *Cancel safety*: may be dropped at any time.
    pub(crate) async fn turn(&self, address: IpAddr) -> Option<OwnedSemaphorePermit> {
        let of_one = self.of(neighbourhood(address));
        let turn = tokio::time::timeout(PATIENCE, of_one.acquire_owned()).await;
        // It is never closed.
        turn.ok()?.ok()
    }

    fn of(&self, address: IpAddr) -> Arc<Semaphore> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= ADDRESSES {
            all.retain(|_, of_one| Arc::strong_count(of_one) > 1);
        }
        let of_one = all.entry(address);
        Arc::clone(of_one.or_insert_with(|| Arc::new(Semaphore::new(OF_ONE))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_waits_for_its_own_handshakes_alone() {
        let handshakes = Handshakes::default();
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut permits = Vec::new();
        for _ in 0..OF_ONE {
            permits.push(handshakes.turn(one).await.unwrap());
        }
        let next = tokio::time::timeout(Duration::from_millis(20), handshakes.turn(one));
        assert!(next.await.is_err());
        assert!(handshakes.turn(other).await.is_some());
        // Those before it may say nothing for long: then it goes on without a turn.
        assert!(handshakes.turn(one).await.is_none());
        permits.pop();
        assert!(handshakes.turn(one).await.is_some());
    }
}
