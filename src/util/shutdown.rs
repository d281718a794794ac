//! The word that promansible is to end, and everybody who waits for it.

use tokio::sync::watch;

/// Says it.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Hears it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// A trigger and what hears it.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Says it, once and for all.
    pub fn pull(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Whether it was said.
    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is said, or until nobody can say it any more. *Cancel safety*: may be dropped at any time.
    pub async fn asked(&mut self) {
        let _ = self.0.wait_for(|asked| *asked).await;
    }
}
