//! Limits the concurrent TLS handshakes of an address. A handshake needs more processor time than most requests: if thousands
//! of clients reconnect all the time, a client with another address must not wait for all of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::client_network;

/// The maximum number of concurrent handshakes of an address.
const OF_ONE: usize = 4;

/// The longest wait for a turn. The clients before may be silent ones: they need no processor time, and must not keep others
/// with their address out.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// The number of addresses at which those without a handshake are forgotten.
const ADDRESSES: usize = 1024;

/// The handshakes of a server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Handshakes(Arc<Mutex<HashMap<IpAddr, Arc<Semaphore>>>>);

impl Handshakes {
    /// Waits for a turn of this address, which lasts as long as the permit lives. Returns `None` after [`MAX_WAIT`].
    ///
    /// *Cancel safety*: may be dropped at any time.
    pub(crate) async fn turn(&self, address: IpAddr) -> Option<OwnedSemaphorePermit> {
        let of_one = self.of(client_network(address));
        let turn = tokio::time::timeout(MAX_WAIT, of_one.acquire_owned()).await;
        // The semaphore is never closed.
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
        // The clients before may be silent for long: then this one goes on without a turn.
        assert!(handshakes.turn(one).await.is_none());
        permits.pop();
        assert!(handshakes.turn(one).await.is_some());
    }
}
