//! The port by which Workers, the API and other services come.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use proxima_model::{AccountId, QueueId, QueueName};
use proxima_pipeline::{
    QueueBacklog, QueueDelivered, QueueError, QueueMessage, QueuePull, QueuePulled, QueueSettled,
    QueueSettlement, Queues,
};

use crate::{
    home::Home,
    message::{Lease, Message},
};

/// See the module.
pub(crate) struct Port(pub(crate) Arc<Home>);

impl Queues for Port {
    fn find(&self, account: AccountId, name: &QueueName) -> Option<QueueId> {
        self.0.named.find(account, name)
    }

    fn send(
        &self,
        queue: QueueId,
        messages: Vec<QueueMessage>,
    ) -> BoxFuture<'_, Result<QueueBacklog, QueueError>> {
        Box::pin(async move {
            let _place = Home::place(&self.0.clients)?;
            self.0.counted(self.0.send(queue, messages).await)
        })
    }

    fn pull(&self, queue: QueueId, asked: QueuePull) -> BoxFuture<'_, Result<QueuePulled, QueueError>> {
        Box::pin(async move {
            let _place = Home::place(&self.0.clients)?;
            let (messages, backlog) = self.0.counted(self.0.pull(queue, asked).await)?;
            Ok(QueuePulled { messages: messages.into_iter().map(pulled).collect(), backlog })
        })
    }

    fn settle(
        &self,
        queue: QueueId,
        settled: Vec<QueueSettled>,
    ) -> BoxFuture<'_, Result<QueueSettlement, QueueError>> {
        Box::pin(async move {
            let _place = Home::place(&self.0.clients)?;
            self.0.counted(self.0.settle(queue, settled).await)
        })
    }

    fn backlog(&self, queue: QueueId) -> BoxFuture<'_, Result<QueueBacklog, QueueError>> {
        Box::pin(async move {
            let _place = Home::place(&self.0.clients)?;
            self.0.counted(self.0.backlog(queue).await)
        })
    }

    fn purge(&self, queue: QueueId) -> BoxFuture<'_, Result<u64, QueueError>> {
        Box::pin(async move {
            let _place = Home::place(&self.0.clients)?;
            self.0.counted(self.0.purge(queue).await)
        })
    }
}

/// A message that was leased: it has been counted as delivered already.
fn pulled((message, lease): (Message, Lease)) -> QueueDelivered {
    let attempts = message.state.attempts;
    QueueDelivered { attempts, lease: lease.to_string(), ..message.delivered() }
}
