//! Answering other servers, which are trusted as far as servers of this network are; what they say is checked all the same.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use proxima_model::NodeName;
use proxima_pipeline::{AnswersServers, Body};

use crate::{
    home::Home,
    store::Job,
    wire::{self, Answer, BODY_OCTETS_MAX, PATH_OF_CLIENTS, PATH_OF_REPLICAS, Question, Refusal},
};

/// See the module.
pub(crate) struct Answers(pub(crate) Arc<Home>);

impl AnswersServers for Answers {
    fn answer<'a>(&'a self, asker: &'a NodeName, request: Request<Body>) -> BoxFuture<'a, Response<Body>> {
        Box::pin(async move {
            let answer = self.answered(asker, request).await.unwrap_or_else(Answer::Refused);
            Response::new(Body::full(wire::write(&answer)))
        })
    }
}

impl Answers {
    async fn answered(&self, asker: &NodeName, request: Request<Body>) -> Result<Answer, Refusal> {
        let home = &self.0;
        let (path, body) = (request.uri().path().to_owned(), request.into_body());
        let places = match path.as_str() {
            PATH_OF_CLIENTS => &home.others,
            PATH_OF_REPLICAS => &home.links.get(asker).ok_or(Refusal::NotHere)?.answers,
            _ => return Err(Refusal::NotUnderstood),
        };
        let _place = Home::place(places)?;
        let octets = body.collect(BODY_OCTETS_MAX).await.map_err(|_| Refusal::NotUnderstood)?;
        let question = wire::read_question(&octets).filter(|question| question.path() == path);
        match question.ok_or(Refusal::NotUnderstood)? {
            Question::Hello => {
                let server = asker.clone();
                let store = home
                    .own
                    .store()
                    .map(|store| store.id())
                    .map_err(|error| Refusal::Broken(error.to_string()))?;
                let (last, _) = home.own.read(move |store, _| store.untold(&server)).await.map_err(broken)?;
                Ok(Answer::Hello { store, last })
            }
            Question::Replicate { store, operations } => {
                let job = Job::Take { from: asker.clone(), store, operations };
                let done = home.write(job).await.map_err(broken)?;
                home.metrics.taken.inc_by(done.messages as u64);
                done.queues.into_iter().for_each(|queue| home.wake(queue));
                Ok(Answer::Replicated { lacked_room: done.lacked_room })
            }
            question => Ok(home.answer_here(question).await?),
        }
    }
}

fn broken(error: crate::store::StoreError) -> Refusal {
    proxima_pipeline::QueueError::from(error).into()
}
