//! The first segment of the path chooses the adapter.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};

use super::{
    audit,
    flight::Record,
    limits::{Class, Who},
    pipeline::{Ask, Pipeline},
};
use crate::{
    adapter::{Adapter, Cx, exchange::Exchange, oci::Oci, rest::Rest},
    auth::Caller,
    error::{Error, Result},
    http::{Body, Reply},
};

/// A way into an adapter: [`entry`] of it.
pub type Entry = for<'a> fn(&'a Pipeline, &'a Ask, Body, &'a mut Record) -> BoxFuture<'a, Reply>;

/// Which adapter serves a first path segment. Tests bring tables of their own.
pub type Table = fn(&str) -> Option<Entry>;

/// The adapters of this program.
pub fn standard(segment: &str) -> Option<Entry> {
    match segment {
        "v2" | "token" => Some(entry::<Oci>),
        "-" => Some(entry::<Exchange>),
        "api" => Some(entry::<Rest>),
        _ => None,
    }
}

/// One request through an adapter: parse, limit, authenticate, handle; failures in the adapter's own shape.
pub fn entry<'a, A: Adapter + 'static>(
    pipeline: &'a Pipeline,
    ask: &'a Ask,
    body: Body,
    record: &'a mut Record,
) -> BoxFuture<'a, Reply> {
    record.adapter = A::NAME;
    Box::pin(async move {
        // A handler that panics must cost one request. What it was holding is its own or behind locks that survive
        // poisoning; stores never see half of anything, for a batch is one message.
        let outcome = AssertUnwindSafe(attempt::<A>(pipeline, ask, body, record)).catch_unwind().await;
        let (error, route) = match outcome {
            Ok(Ok(reply)) => return reply,
            Ok(Err(refusal)) => *refusal,
            Err(panic) => {
                pipeline.metrics().panics.inc();
                (Error::internal(format!("panic: {}", panic_text(&*panic))), None)
            }
        };
        record.refused(&error);
        A::render(&error, route.as_ref(), &ask.site)
    })
}

/// Runs in the connection's own task, so a client that goes away cancels it at its next await. That is safe and wanted:
/// an upload keeps what was received, nobody reads on for a client that left, and a commit is one message to the store's
/// committer: once sent it is carried out, whether or not anybody waits for the answer.
async fn attempt<A: Adapter>(
    pipeline: &Pipeline,
    ask: &Ask,
    body: Body,
    record: &mut Record,
) -> Result<Reply, Box<(Error, Option<A::Route>)>> {
    let route = A::parse(ask.head()).map_err(|error| Box::new((error, None)))?;
    record.route = A::name(&route);
    match handle::<A>(pipeline, ask, &route, body, record).await {
        Ok(reply) => Ok(reply),
        Err(error) => Err(Box::new((error, Some(route)))),
    }
}

async fn handle<A: Adapter>(
    pipeline: &Pipeline,
    ask: &Ask,
    route: &A::Route,
    body: Body,
    record: &mut Record,
) -> Result<Reply> {
    let signs_in = A::signs_in(route);
    let class = Class::of(&ask.method, signs_in);
    if let Some(address) = Who::address(ask.address) {
        pipeline.count(address, class)?;
    }
    let caller = if signs_in { ask.caller() } else { authenticate(pipeline, ask).await? };
    let caller = Caller { trail: Some(Arc::default()), ..caller };
    record.caller(&caller);
    if let Some(identity) = Who::identity(&caller) {
        pipeline.count(identity, class)?;
    }
    let cx = Cx::new(&caller, pipeline.registry(), pipeline.policy(), &ask.site, &ask.headers);
    let outcome = A::handle(cx, route, body).await;
    audit::answered(pipeline, ask, &caller, A::downloads(route), &outcome);
    outcome
}

/// Who asks. Refused credentials count as sign-ins of their address, so that guessing has a rate.
async fn authenticate(pipeline: &Pipeline, ask: &Ask) -> Result<Caller> {
    let address = Who::address(ask.address);
    if let Some(address) = address {
        pipeline.ask(address, Class::SignIn)?;
    }
    let result = pipeline.gate().authenticate(&ask.headers, ask.caller()).await;
    if let Err(error) = &result
        && audit::is_sign_in(error)
    {
        audit::refused_sign_in(pipeline, ask);
        if let Some(address) = address {
            pipeline.count(address, Class::SignIn)?;
        }
    }
    result
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("not a text")
}
