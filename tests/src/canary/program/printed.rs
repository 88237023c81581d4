//! `{:?}` of every value that can hold a secret: if it can be printed, it must be safe to log.

use alter_core::{
    UserToken,
    scope::Identity,
    wire::{
        grants::{ListRequest, RevokeRequest},
        identity::VerifyTokenRequest,
        key::ApiKey,
        report::ApiCallReport,
        secret::SecretText,
        token::{IntendedCall, TokenRequest, TokenResponse},
    },
};
use alter_server::{
    audit::CallReport,
    domain::{KeyDigest, KeyId, KeyKind, NewKey, NewSecret, PutProvider, Scope, SecretId, SecretMaterial},
    seal::{Envelope, Field, KeyRing, SealContext, SealedField},
    store::RequestFacts,
};
use secrecy::{SecretSlice, SecretString};
use serde_json::json;
use uuid::Uuid;

use super::{Kind, Program};

pub(super) async fn values(program: &mut Program) {
    let secret = program.invent("a printed secret");
    let jwt = program.jwt("alice");
    let key = ApiKey::parse(program.tenant.key.as_str()).unwrap();
    let text = || SecretText::from(secret.as_str());
    let string = || SecretString::from(secret.as_str());
    let url = format!("https://api.example/?access_token={}", hex::encode(&secret));

    // The wire.
    let token = UserToken::parse(jwt.as_str()).unwrap();
    println!("{token:?} {:?} {:?}", Identity::User(token.clone()), UserToken::parse(format!("{secret} ")));
    println!("{key:?} {:?} {:?}", key.signing_key(), ApiKey::parse(format!("{}x", key.expose())));
    let intended = IntendedCall { method: "GET".to_owned(), url: url.clone() };
    let asked = TokenRequest {
        grant_id: None,
        provider_id: Some("p".to_owned()),
        reason: None,
        request: Some(intended),
        user_token: Some(text()),
        app_user_id: None,
        account: None,
        label: None,
    };
    println!("{asked:?}");
    let answer = json!({
        "access_token": hex::encode(&secret),
        "grant_id": Uuid::new_v4(),
        "additional_credentials": {"further": hex::encode(&secret)},
    });
    println!("{:?}", TokenResponse::parse(answer.to_string().as_bytes()));
    for broken in [
        json!({"access_token": format!("{secret}\n"), "grant_id": Uuid::new_v4()}),
        json!({"access_token": secret, "grant_id": secret}),
        json!({"access_token": [secret], "grant_id": Uuid::new_v4()}),
        json!({"access_token": "x", "grant_id": Uuid::new_v4(), "injection_header": secret}),
        json!({"access_token": "x", "grant_id": Uuid::new_v4(), "additional_credentials": secret}),
    ] {
        println!(
            "{:?}",
            TokenResponse::parse(broken.to_string().as_bytes()).map_err(|error| format!("{error} {error:?}"))
        );
    }
    println!(
        "{:?} {:?}",
        ListRequest { user_token: Some(text()), ..ListRequest::default() },
        VerifyTokenRequest { token: text() }
    );
    println!("{:?} {:?}", RevokeRequest { user_token: Some(text()), ..RevokeRequest::default() }, text());
    println!(
        "{:?}",
        ApiCallReport { url: url.clone(), response_body: Some(secret.clone()), ..ApiCallReport::default() }
    );
    println!("{:?}", alter_core::Body::from(secret.clone()));

    // The vault.
    println!(
        "{:?} {:?}",
        RequestFacts::new("GET", &url),
        CallReport {
            url: url.clone(),
            request_body: Some(secret.clone()),
            response_body: Some(secret.clone()),
            request_headers: Some(secret.clone()),
            response_headers: Some(secret.clone()),
            ..CallReport::default()
        }
    );
    println!("{:?} {:?}", SecretMaterial::token(string()), KeyDigest::of(key.expose()));
    let material = SecretMaterial { token: string(), additional: [("further".to_owned(), string())].into() };
    println!(
        "{:?}",
        NewSecret {
            id: SecretId::random(),
            app_id: program.tenant.app,
            provider: "p".parse().unwrap(),
            name: "n".to_owned(),
            material
        }
    );
    println!(
        "{:?}",
        NewKey {
            id: KeyId::random(),
            app_id: program.tenant.app,
            kind: KeyKind::App,
            name: "n".to_owned(),
            prefix: key.prefix().to_owned(),
            digest: KeyDigest::of(key.expose()),
            signing_key: SecretSlice::from(key.signing_key().expose().to_vec()),
            scopes: Scope::ALL.to_vec(),
            expires_at: None,
            rate_limit_per_minute: None,
        }
    );
    let provider = program.world.admin().providers(program.tenant.app).await.unwrap().remove(0);
    println!("{:?}", PutProvider { app_id: program.tenant.app, provider, client_secret: Some(string()) });
    let envelope = Envelope::new(KeyRing::generate("first").unwrap());
    let context = SealContext::of(program.tenant.app, Field::GrantAccessToken, Uuid::new_v4(), 1);
    let sealed = envelope.seal(&context, &SecretSlice::from(secret.as_bytes().to_vec())).unwrap();
    let field = SealedField { context, sealed };
    println!("{envelope:?} {field:?} {:?}", envelope.open(&field));
    program.plant("signing key", Kind::Bytes, hex::encode(key.signing_key().expose()));
}
