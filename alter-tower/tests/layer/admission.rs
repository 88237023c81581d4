//! Which requests are let in, as whom.

use alter_core::{UserToken, scope};
use alter_tower::{AlterLayer, Caller, RequestHead, source};
use http::{HeaderName, Method, Request};
use serde_json::Value;
use tower::{Layer, ServiceExt, service_fn};

use crate::{agent_key, app, bearer, name, read, request, text, who};

async fn ask(layer: &AlterLayer, app: &alter_core::App, request: Request<()>) -> (u16, String) {
    let app = app.clone();
    read(layer.layer(service_fn(move |request| who(app.clone(), request))).oneshot(request).await.unwrap())
        .await
}

#[tokio::test]
async fn a_token_is_taken_with_its_scheme_in_any_case() {
    let app = app();
    for layer in [AlterLayer::new(app.clone()), AlterLayer::new(app.clone()).required()] {
        for value in ["Bearer a.b-c_d~e+f/g==", "bearer a.b-c_d~e+f/g==", "BEARER   a.b-c_d~e+f/g=="] {
            assert_eq!(ask(&layer, &app, request(&[value])).await, (200, "a.b-c_d~e+f/g==".into()));
        }
    }
}

#[tokio::test]
async fn a_broken_token_is_refused_whether_or_not_one_is_required() {
    let app = app();
    let large = format!("Bearer {}", "a".repeat(8_193));
    for layer in [AlterLayer::new(app.clone()), AlterLayer::new(app.clone()).required()] {
        for (values, challenge) in [
            (&["Bearer a", "Bearer b"][..], "Bearer error=\"invalid_request\""),
            (&["Bearer a", "Bearer a"], "Bearer error=\"invalid_request\""),
            (&["Basic dTpw"], "Bearer"),
            (&[""], "Bearer"),
            (&["Bearer"], "Bearer error=\"invalid_request\""),
            (&["Bearer a b"], "Bearer error=\"invalid_request\""),
            (&["Bearer a,b"], "Bearer error=\"invalid_request\""),
            (&["Bearer ==="], "Bearer error=\"invalid_request\""),
            (&[large.as_str()], "Bearer error=\"invalid_request\""),
        ] {
            let never = service_fn(|_| async {
                panic!("the handler must not run") as Result<_, std::convert::Infallible>
            });
            let never = never.map_response(|(): ()| text(""));
            let response = layer.layer(never).oneshot(request(values)).await.unwrap();
            assert_eq!(response.headers()["www-authenticate"], challenge, "{values:?}");
            let (status, body) = read(response).await;
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!((status, &body["error"]), (401, &Value::from("invalid_bearer")), "{values:?}");
        }
    }
}

#[tokio::test]
async fn no_token_is_anonymous_or_refused_as_the_layer_says() {
    let app = app();
    let optional = AlterLayer::new(app.clone());
    assert_eq!(ask(&optional, &app, request(&[])).await, (200, "anonymous".into()));
    let (status, body) = ask(&optional.required(), &app, request(&[])).await;
    assert_eq!(status, 401);
    assert!(body.contains("missing_bearer"), "{body}");
}

#[tokio::test]
async fn a_preflight_is_never_challenged() {
    let app = app();
    let layer = AlterLayer::new(app.clone()).required();
    let mut preflight = request(&[]);
    *preflight.method_mut() = Method::OPTIONS;
    assert_eq!(ask(&layer, &app, preflight).await, (200, "anonymous".into()));
    let mut with_token = bearer("a.b.c");
    *with_token.method_mut() = Method::OPTIONS;
    assert_eq!(ask(&layer, &app, with_token).await, (200, "a.b.c".into()));
    let mut broken = request(&["Bearer"]);
    *broken.method_mut() = Method::OPTIONS;
    assert_eq!(ask(&layer, &app, broken).await.0, 401);
}

#[tokio::test]
async fn a_skipped_request_is_anonymous_whatever_it_carries() {
    let app = app();
    let layer = AlterLayer::new(app.clone()).required().skip(|request| request.path() == "/healthz");
    for authorization in [&[][..], &["Basic dTpw"], &["Bearer a.b.c"]] {
        let mut health = request(authorization);
        *health.uri_mut() = "/healthz".parse().unwrap();
        assert_eq!(ask(&layer, &app, health).await, (200, "anonymous".into()));
    }
    assert_eq!(ask(&layer, &app, request(&[])).await.0, 401);
}

#[tokio::test]
async fn the_token_is_taken_from_where_the_layer_says() {
    let app = app();
    let layer = AlterLayer::new(app.clone());
    let header = layer.clone().token_source(source::Header::new(HeaderName::from_static("x-jwt")));
    let request = |name: &str, value: &str| Request::builder().header(name, value).body(()).unwrap();
    assert_eq!(ask(&header, &app, request("x-jwt", "a.b.c")).await.1, "a.b.c");
    assert_eq!(ask(&header, &app, request("authorization", "Bearer a.b.c")).await.1, "anonymous");
    assert_eq!(ask(&header, &app, request("x-jwt", "a b")).await.0, 401);
    let cookie = layer.clone().token_source(source::Cookie::new("jwt"));
    assert_eq!(ask(&cookie, &app, request("cookie", "x=y; jwt=a.b.c")).await.1, "a.b.c");
    let closure = layer.token_source(|head: RequestHead<'_>| match head.extensions().get::<String>() {
        Some(text) => Ok(Some(UserToken::parse(text.clone())?)),
        None => Ok(None),
    });
    let mut extended = Request::new(());
    extended.extensions_mut().insert("a.b.c".to_owned());
    assert_eq!(ask(&closure, &app, extended).await.1, "a.b.c");
}

#[tokio::test]
async fn the_handler_finds_the_caller_and_a_client_of_its_own() {
    let app = app();
    let service = service_fn(|request: Request<()>| async move {
        let caller = Caller::of(request.extensions()).unwrap().clone();
        let client = caller.client();
        let found = tokio::spawn(async move { client.map(|client| client.user_token().expose().to_owned()) });
        assert_eq!(
            name(Some(caller.identity().clone())),
            found.await.unwrap().clone().unwrap_or("anonymous".into())
        );
        Ok::<_, std::convert::Infallible>(text(
            caller.token().map(|t| t.expose().to_owned()).unwrap_or_default(),
        ))
    });
    let service = AlterLayer::new(app).layer(service);
    assert_eq!(read(service.clone().oneshot(bearer("a.b.c")).await.unwrap()).await.1, "a.b.c");
    assert_eq!(read(service.oneshot(request(&[])).await.unwrap()).await.1, "");
}

#[tokio::test]
async fn two_applications_in_one_service_stay_apart() {
    let (web, internal, absent) = (app(), app(), app());
    let inside = (web.clone(), internal.clone());
    let service = service_fn(move |request: Request<()>| {
        let (web, internal, absent) = (inside.0.clone(), inside.1.clone(), absent.clone());
        async move {
            let found = |app| {
                Caller::for_app(request.extensions(), app).map(|caller| name(Some(caller.identity().clone())))
            };
            assert_eq!(found(&web).unwrap(), name(scope::current_for(web.scope_key())));
            assert_eq!(found(&internal).unwrap(), name(scope::current_for(internal.scope_key())));
            assert_eq!(found(&absent), None);
            assert_eq!(name(scope::current_for(absent.scope_key())), "out of scope");
            Ok::<_, std::convert::Infallible>(text(format!(
                "{} {}",
                found(&web).unwrap(),
                found(&internal).unwrap()
            )))
        }
    });
    let second =
        AlterLayer::new(internal).token_source(source::Header::new(HeaderName::from_static("x-internal")));
    let service = AlterLayer::new(web).layer(second.layer(service));
    let mut both = bearer("web");
    both.headers_mut().insert("x-internal", "internal".parse().unwrap());
    assert_eq!(read(service.clone().oneshot(both).await.unwrap()).await.1, "web internal");
    assert_eq!(read(service.oneshot(bearer("web")).await.unwrap()).await.1, "web anonymous");
}

#[tokio::test]
async fn answers_can_be_reworded_those_of_handlers_too() {
    let app = app();
    let layer = AlterLayer::new(app).required().map_answer(|mut answer| {
        let code = answer.code().to_uppercase();
        answer.body.insert("error".into(), code.into());
        answer
    });
    let service = layer.layer(service_fn(|_: Request<()>| async {
        let answer = alter_tower::Answer::new(http::StatusCode::FORBIDDEN, "connection_required", "connect");
        let mut response = text("as the handler wrote it");
        *response.status_mut() = answer.status;
        response.extensions_mut().insert(answer);
        Ok::<_, std::convert::Infallible>(response)
    }));
    let (status, body) = read(service.clone().oneshot(request(&[])).await.unwrap()).await;
    assert!(status == 401 && body.contains("MISSING_BEARER"), "{body}");
    let (status, body) = read(service.oneshot(bearer("a.b.c")).await.unwrap()).await;
    assert!(status == 403 && body.contains("CONNECTION_REQUIRED"), "{body}");
}

#[tokio::test]
async fn an_agent_acts_for_the_callers_of_its_layer() {
    let agent = alter_core::Agent::builder(agent_key()).build().unwrap();
    let inside = agent.clone();
    let service = service_fn(move |request: Request<()>| {
        let agent = inside.clone();
        async move {
            let caller = Caller::of(request.extensions()).unwrap();
            assert_eq!(caller.agent().unwrap().scope_key(), agent.scope_key());
            assert_eq!(caller.agent_client().is_some(), caller.token().is_some());
            assert_eq!(caller.client().is_some(), caller.app().is_some() && caller.token().is_some());
            let app = caller.app().map_or("none".to_owned(), |app| name(scope::current_for(app.scope_key())));
            let own = name(scope::current_for(agent.scope_key()));
            Ok::<_, std::convert::Infallible>(text(format!("{app} {own}")))
        }
    });
    let both = AlterLayer::new(app()).agent(agent.clone()).layer(service.clone());
    assert_eq!(read(both.clone().oneshot(bearer("alice")).await.unwrap()).await.1, "alice alice");
    assert_eq!(read(both.oneshot(request(&[])).await.unwrap()).await.1, "anonymous anonymous");
    let alone = AlterLayer::for_agent(agent).layer(service);
    assert_eq!(read(alone.oneshot(bearer("alice")).await.unwrap()).await.1, "none alice");
}
