//! Answers the interop test: does our client send the bytes that the Python package sent?
//!
//! Each line of standard input is one request that the package made: the API key, the arguments, and what arrived at
//! the recorder. The same call is made with our client on a backend that records instead of sending; body and covered
//! headers must be equal, and our signature of them under the package's own timestamp and nonce must be the one that
//! the package sent. Prints `N equal`, or the first difference and exits with 1.

use std::{
    error::Error,
    io::BufRead,
    sync::{Arc, Mutex},
};

use alter_core::{
    App, UserToken,
    wire::{
        header,
        key::ApiKey,
        sign::{Stamp, sign},
    },
};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::Full;
use serde_json::Value;
use tower::service_fn;

type Recorded = Arc<Mutex<Option<Request<Bytes>>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut equal = 0;
    for line in std::io::stdin().lock().lines() {
        let case: Value = serde_json::from_str(&line?)?;
        compare(&case).await.map_err(|why| format!("request {equal}: {why}"))?;
        equal += 1;
    }
    println!("{equal} equal");
    Ok(())
}

async fn compare(case: &Value) -> Result<(), Box<dyn Error>> {
    let key = ApiKey::parse(text(case, "key").ok_or("no key")?)?;
    let ours = ours(&key, &case["arguments"]).await?;
    let theirs = &case["recorded"];
    let header_of = |name: &str| theirs["headers"][name].as_str();

    let target = ours.uri().path_and_query().map_or("", |target| target.as_str());
    same("target", Some(target), text(theirs, "target"))?;
    same("body", Some(&hex::encode(ours.body())), text(theirs, "body"))?;
    let mut covered = HeaderMap::new();
    for name in [header::CALLER, header::CALLER_TYPE, header::CONTEXT] {
        let value = ours.headers().get(&name).map(|value| value.to_str()).transpose()?;
        same(name.as_str(), value, header_of(name.as_str()))?;
        if let Some(value) = ours.headers().get(&name) {
            covered.insert(name, value.clone());
        }
    }

    let stamp = Stamp {
        timestamp: header_of("x-alter-timestamp").ok_or("no timestamp")?.parse()?,
        nonce: header_of("x-alter-nonce").ok_or("no nonce")?.to_owned(),
    };
    sign(&key.signing_key(), &Method::POST, target, &stamp, ours.body(), &mut covered)?;
    for name in [header::CONTENT_SHA256, header::SIGNATURE, header::SIGNATURE_V2] {
        let value = covered.get(&name).map(|value| value.to_str()).transpose()?;
        same(name.as_str(), value, header_of(name.as_str()))?;
    }
    Ok(())
}

/// The request that our client makes of the same arguments.
async fn ours(key: &ApiKey, arguments: &Value) -> Result<Request<Bytes>, Box<dyn Error>> {
    let recorded = Recorded::default();
    let sink = Arc::clone(&recorded);
    let backend = service_fn(move |request: Request<Bytes>| {
        if let Ok(mut slot) = sink.lock() {
            slot.get_or_insert(request);
        }
        async { Response::builder().status(404).body(Full::new(Bytes::from_static(b"{}"))) }
    });
    let mut app = App::builder(key.expose()).backend(backend);
    if let Some(caller) = text(arguments, "constructor_caller") {
        app = app.caller(caller);
    }
    let app = app.build()?;

    let method = Method::from_bytes(text(arguments, "method").ok_or("no method")?.to_uppercase().as_bytes())?;
    let mut call = app.request(method, text(arguments, "url").ok_or("no URL")?);
    if let Some(token) = text(arguments, "user_token") {
        call = call.user_token(UserToken::parse(token)?);
    }
    if let Some(reason) = text(arguments, "reason") {
        call = call.reason(reason);
    }
    for (name, value) in arguments["context"].as_object().into_iter().flatten() {
        call = call.context(name, value.as_str().ok_or("context values are texts")?);
    }
    if let Some(caller) = text(arguments, "caller") {
        call = call.caller(caller);
    }
    let refused = if let Some(grant) = text(arguments, "grant_id") {
        call.grant(grant).send().await
    } else {
        let mut call = call.provider(text(arguments, "provider").ok_or("no address")?);
        if let Some(account) = text(arguments, "account") {
            call = call.account(account);
        }
        if let Some(label) = text(arguments, "label") {
            call = call.label(label);
        }
        if let Some(user) = text(arguments, "app_user_id") {
            call = call.app_user_id(user);
        }
        call.send().await
    };
    let sent = recorded.lock().map_err(|_| "poisoned")?.take();
    match (sent, refused) {
        (Some(request), _) => Ok(request),
        (None, Err(refused)) => Err(refused.into()),
        (None, Ok(_)) => Err("nothing was sent".into()),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value[name].as_str()
}

fn same(what: &str, ours: Option<&str>, theirs: Option<&str>) -> Result<(), String> {
    if ours == theirs { Ok(()) } else { Err(format!("{what} differs: ours {ours:?}, theirs {theirs:?}")) }
}
