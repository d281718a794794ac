//! What the writer is asked to do.

use tokio::sync::oneshot;

use crate::store::StoreError;
use crate::store::disk::tables::Tables;
use crate::store::ops::state::WriterState;

/// What the writer is asked.
pub(crate) enum Message {
    /// Do this, and answer when it is on disk.
    Do(Box<dyn Operation>),
    /// Open the file again if it is closed: somebody wants to read.
    Open,
    /// Finish what was asked before, then end.
    Close(oneshot::Sender<()>),
}

/// One whole operation.
pub(crate) trait Operation: Send {
    /// Does it inside a transaction. It may be done a second time, in a new transaction, if the first one fails.
    fn apply(&mut self, tables: &mut Tables<'_>, state: &mut WriterState)
    -> Result<(), StoreError>;

    /// Tells the asker: what `apply` yielded, or why it is not on disk.
    fn answer(self: Box<Self>, failed: Option<StoreError>);

    /// How many bytes from outside it adds to the history. While the history is too large, it may be refused for them; 0
    /// where it must not be.
    fn weight(&self) -> usize;
}

/// An operation made of a closure, and who waits for it.
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
        // Nobody waits any more: what was done stays done.
        let _ = self.reply.send(result);
    }

    fn weight(&self) -> usize {
        self.weight
    }
}
