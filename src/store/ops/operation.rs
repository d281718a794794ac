//! The messages and operations of the writer.

use tokio::sync::oneshot;

use crate::store::StoreError;
use crate::store::disk::tables::Tables;
use crate::store::ops::state::WriterState;

/// A message to the writer.
pub(crate) enum Message {
    /// Perform an operation, and reply when it is on disk.
    Do(Box<dyn Operation>),
    /// Reopen the file if it is closed: a reader needs it.
    Open,
    /// Finish all earlier operations, then stop.
    Close(oneshot::Sender<()>),
}

/// A complete operation.
pub(crate) trait Operation: Send {
    /// Performs the operation in a transaction. It may be performed again, in a new transaction, if the first one
    /// fails.
    fn apply(&mut self, tables: &mut Tables<'_>, state: &mut WriterState)
    -> Result<(), StoreError>;

    /// Replies to the caller: the result of `apply`, or the reason why it is not on disk.
    fn answer(self: Box<Self>, failed: Option<StoreError>);

    /// Returns the number of bytes from outside that the operation adds to the history. While the history is too large,
    /// such operations may be refused; 0 if it must not be refused.
    fn weight(&self) -> usize;
}

/// An operation made of a closure, with the channel for its reply.
pub(crate) struct ClosureOperation<T, F> {
    work: F,
    weight: usize,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> ClosureOperation<T, F> {
    pub(crate) fn new(
        work: F,
        weight: usize,
        reply: oneshot::Sender<Result<T, StoreError>>,
    ) -> Self {
        Self {
            work,
            weight,
            result: None,
            reply,
        }
    }
}

impl<T, F> Operation for ClosureOperation<T, F>
where
    T: Send,
    F: FnMut(&mut Tables<'_>, &mut WriterState) -> Result<T, StoreError> + Send,
{
    fn apply(
        &mut self,
        tables: &mut Tables<'_>,
        state: &mut WriterState,
    ) -> Result<(), StoreError> {
        match (self.work)(tables, state) {
            Err(e @ (StoreError::Broken(_) | StoreError::Corrupt(_))) => Err(e),
            refused_or_done => {
                self.result = Some(refused_or_done);
                Ok(())
            }
        }
    }

    fn answer(self: Box<Self>, failed: Option<StoreError>) {
        let result = match (failed, self.result) {
            (Some(e), _) => Err(e),
            (None, Some(result)) => result,
            (None, None) => Err(StoreError::Closed),
        };
        // Fails if the caller no longer waits; the operation remains in effect.
        let _ = self.reply.send(result);
    }

    fn weight(&self) -> usize {
        self.weight
    }
}
