//! The list of `alter-axum/tests/served/semantics.rs`, on actix-web.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::unused_async)]

#[path = "../../../alter-axum/tests/served/semantics.rs"]
mod semantics;

use std::{convert::Infallible, net::SocketAddr, sync::OnceLock};

use actix_web::{HttpRequest, HttpResponse, HttpServer, http::header::HeaderName, web};
use alter_actix::{
    AlterAgent, AlterClient, AlterError, AlterMiddleware, AlterRequestExt, App, UserToken, source,
};
use bytes::Bytes;
use futures_util::stream;

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

/// The second application of the service.
struct Internal(App);

async fn client(alter: AlterClient) -> String {
    tokio::task::yield_now().await;
    alter.user_token().expose().to_owned()
}

async fn maybe(alter: Option<AlterClient>) -> String {
    alter.map_or("stranger".to_owned(), |alter| alter.user_token().expose().to_owned())
}

async fn scoped(app: web::Data<App>) -> String {
    tokio::task::yield_now().await;
    who(app.scope_key())
}

async fn spawning(alter: AlterClient, app: web::Data<App>) -> String {
    spawned(alter.into_inner(), app.scope_key()).await
}

async fn fail(code: web::Path<String>) -> Result<String, AlterError> {
    Err(failure(&code))?
}

async fn streaming(app: web::Data<App>) -> HttpResponse {
    let key = app.scope_key();
    HttpResponse::Ok().streaming(stream::unfold(0, move |made| async move {
        tokio::task::yield_now().await;
        (made < 5).then(|| (Ok::<_, Infallible>(Bytes::from(format!("{};", who(key)))), made + 1))
    }))
}

async fn panicking() -> String {
    tokio::task::yield_now().await;
    panic!("on purpose")
}

async fn acting(agent: AlterAgent) -> String {
    agent.user_token().expose().to_owned()
}

async fn fingerprint(token: UserToken) -> String {
    token.fingerprint()
}

async fn two(web: web::Data<App>, internal: web::Data<Internal>, request: HttpRequest) -> String {
    let internal = &internal.0;
    let internal_caller = request.alter_caller_of(internal).and_then(|caller| caller.client());
    let name =
        internal_caller.map_or("stranger".to_owned(), |client| client.user_token().expose().to_owned());
    format!("{} {} {name}", who(web.scope_key()), who(internal.scope_key()))
}

fn service(config: &mut web::ServiceConfig, web: &App, internal: &App) {
    let plain = AlterMiddleware::new(web.clone()).agent(agent());
    let strict =
        AlterMiddleware::new(web.clone()).required().skip(|request| request.path().ends_with("/healthz"));
    let inner = AlterMiddleware::new(internal.clone())
        .token_source(source::Header::new(HeaderName::from_static("x-internal")));
    let reworded = AlterMiddleware::new(web.clone()).required().map_answer(|mut answer| {
        let code = answer.code().to_uppercase();
        answer.body.insert("error".to_owned(), code.into());
        answer
    });
    config
        .app_data(web::Data::new(web.clone()))
        .app_data(web::Data::new(Internal(internal.clone())))
        .service(
            web::scope("/strict")
                .route("/scoped", web::get().to(scoped))
                .route("/scoped", web::method(actix_web::http::Method::OPTIONS).to(scoped))
                .route("/healthz", web::get().to(scoped))
                .wrap(strict),
        )
        .service(
            web::resource("/two")
                .route(web::get().to(two))
                .wrap(inner)
                .wrap(AlterMiddleware::new(web.clone())),
        )
        .service(
            web::scope("/reworded")
                .route("/who", web::get().to(client))
                .route("/{code}", web::get().to(fail))
                .wrap(reworded),
        )
        .service(
            web::resource("/bare/agent").route(web::get().to(acting)).wrap(AlterMiddleware::new(web.clone())),
        )
        .route("/bare", web::get().to(client))
        .service(
            web::scope("")
                .route("/who", web::get().to(client))
                .route("/maybe", web::get().to(maybe))
                .route("/scoped", web::get().to(scoped))
                .route("/spawned", web::get().to(spawning))
                .route("/stream", web::get().to(streaming))
                .route("/agent", web::get().to(acting))
                .route("/token", web::get().to(fingerprint))
                .route("/fail/{code}", web::get().to(fail))
                .route("/panic", web::get().to(panicking))
                .wrap(plain),
        );
}

fn start() -> SocketAddr {
    static SERVER: OnceLock<SocketAddr> = OnceLock::new();
    *SERVER.get_or_init(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (web, internal) = (app(), app());
            let server = HttpServer::new(move || {
                actix_web::App::new().configure(|config| service(config, &web, &internal))
            });
            let server = server.workers(2).disable_signals().listen(listener).unwrap();
            actix_web::rt::System::new().block_on(server.run()).unwrap();
        });
        address
    })
}
