//! A future that does not end with whoever polls it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::runtime::Handle;

/// Work that is done where it is polled, without a task of its own, as long as somebody polls it; dropped before its
/// end, what is left of it goes on as a task.
///
/// A fetch whose answer is for one client alone thus costs no task and no wake-up; one that is to be stored, or whose
/// client leaves, goes on without that client. A panic in it is its poller's: it ends that client's connection.
pub(crate) struct Outliving<F: Future<Output = ()> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output = ()> + Send + 'static> Outliving<F> {
    pub(crate) fn new(work: F) -> Self {
        Self(Some(Box::pin(work)))
    }
}

impl<F: Future<Output = ()> + Send + 'static> Future for Outliving<F> {
    type Output = ();

    /// Ready, and ready again, once the work is done.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some(work) = &mut self.0 {
            ready!(work.as_mut().poll(context));
            self.0 = None;
        }
        Poll::Ready(())
    }
}

impl<F: Future<Output = ()> + Send + 'static> Drop for Outliving<F> {
    fn drop(&mut self) {
        let Some(work) = self.0.take() else { return };
        // Work that panicked cannot go on; without a runtime the process is at its end.
        if !std::thread::panicking()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_that_is_dropped_goes_on_by_itself() {
        let (go, gone) = oneshot::channel::<()>();
        let (done, ended) = oneshot::channel();
        let mut work = Outliving::new(async move {
            gone.await.ok();
            done.send(()).ok();
        });
        assert!(futures_util::poll!(&mut work).is_pending());
        drop(work);
        go.send(()).expect("the work still waits");
        ended.await.expect("the work came to its end");
    }

    #[tokio::test]
    async fn work_that_is_done_is_done_once() {
        let mut work = Outliving::new(async {});
        assert!(futures_util::poll!(&mut work).is_ready());
        assert!(futures_util::poll!(&mut work).is_ready());
    }
}
