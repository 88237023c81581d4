//! The list of `semantics.rs`, on axum.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::unused_async)]

mod semantics;

use std::{convert::Infallible, net::SocketAddr, sync::OnceLock};

use alter_axum::{AlterAgent, AlterClient, AlterError, AlterLayer, App, Caller, UserToken, source};
use axum::{
    Router,
    body::Body,
    extract::{Extension, Path, Request, State},
    routing::get,
};
use futures_util::stream;
use http::HeaderName;

use semantics::{agent, app, failure, spawned, tests, who};

tests!(start:
    a_handler_acts_for_its_caller,
    a_broken_token_never_reaches_a_handler,
    a_token_is_required_where_the_layer_says,
    the_caller_goes_along_only_where_it_is_taken,
    two_applications_stay_apart,
    failures_have_their_status_and_say_nothing_of_the_inside,
    answers_can_be_reworded_in_one_place,
    a_route_that_is_not_set_up_is_our_fault_and_says_no_more,
    nobody_ever_sees_the_caller_of_another,
);

async fn client(alter: AlterClient) -> String {
    tokio::task::yield_now().await;
    alter.user_token().expose().to_owned()
}

async fn maybe(alter: Option<AlterClient>) -> String {
    alter.map_or("stranger".to_owned(), |alter| alter.user_token().expose().to_owned())
}

async fn scoped(State(app): State<App>) -> String {
    tokio::task::yield_now().await;
    who(app.scope_key())
}

async fn fail(Path(code): Path<String>) -> Result<String, AlterError> {
    Err(failure(&code))?
}

async fn streaming(State(app): State<App>) -> Body {
    let key = app.scope_key();
    Body::from_stream(stream::unfold(0, move |made| async move {
        tokio::task::yield_now().await;
        (made < 5).then(|| (Ok::<_, Infallible>(format!("{};", who(key))), made + 1))
    }))
}

async fn panicking() -> String {
    tokio::task::yield_now().await;
    panic!("on purpose")
}

async fn two(State(web): State<App>, Extension(internal): Extension<App>, request: Request) -> String {
    let internal_caller = Caller::for_app(request.extensions(), &internal).and_then(Caller::client);
    let name =
        internal_caller.map_or("stranger".to_owned(), |client| client.user_token().expose().to_owned());
    format!("{} {} {name}", who(web.scope_key()), who(internal.scope_key()))
}

fn router() -> Router {
    let (web, internal) = (app(), app());
    let plain = Router::new()
        .route("/who", get(client))
        .route("/maybe", get(maybe))
        .route("/scoped", get(scoped))
        .route(
            "/spawned",
            get(|alter: AlterClient, State(app): State<App>| spawned(alter.into_inner(), app.scope_key())),
        )
        .route("/stream", get(streaming))
        .route("/agent", get(|agent: AlterAgent| async move { agent.user_token().expose().to_owned() }))
        .route("/token", get(|token: UserToken| async move { token.fingerprint() }))
        .route("/fail/{code}", get(fail))
        .route("/panic", get(panicking))
        .layer(AlterLayer::new(web.clone()).agent(agent()));
    let strict = Router::new()
        .route("/strict/scoped", get(scoped).options(scoped))
        .route("/strict/healthz", get(scoped))
        .layer(AlterLayer::new(web.clone()).required().skip(|request| request.path().ends_with("/healthz")));
    let two = Router::new()
        .route("/two", get(two))
        .layer(
            AlterLayer::new(internal.clone())
                .token_source(source::Header::new(HeaderName::from_static("x-internal"))),
        )
        .layer(AlterLayer::new(web.clone()))
        .layer(Extension(internal));
    let reworded = Router::new()
        .route("/reworded/who", get(client))
        .route("/reworded/{code}", get(fail))
        .layer(AlterLayer::new(web.clone()).required().map_answer(|mut answer| {
            let code = answer.code().to_uppercase();
            answer.body.insert("error".to_owned(), code.into());
            answer
        }));
    let agentless =
        Router::new().route("/bare/agent", get(|_: AlterAgent| async {})).layer(AlterLayer::new(web.clone()));
    let bare = Router::new().route("/bare", get(client));
    plain.merge(strict).merge(two).merge(reworded).merge(agentless).merge(bare).with_state(web)
}

fn start() -> SocketAddr {
    static SERVER: OnceLock<SocketAddr> = OnceLock::new();
    *SERVER.get_or_init(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), router()).await.unwrap();
            });
        });
        address
    })
}
