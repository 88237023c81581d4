//! Listing and revoking grants.

use alter_core::{
    Kind,
    error::{Grant, InvalidInput},
};
use serde_json::{Value, json};

use crate::fixture::{GRANT, KEY, Stub, app, json_response, token, verify};

fn grant(id: u64) -> Value {
    json!({
        "grant_kind": "oauth", "grant_id": id.to_string(), "provider_id": "google", "status": "active",
        "created_at": "2026-01-01T00:00:00Z", "principal_type": "user",
    })
}

fn vault(total: u64) -> Stub {
    Stub::new(move |seen| {
        verify(&seen, KEY);
        let asked = seen.json();
        let (limit, offset) = (asked["limit"].as_u64().unwrap(), asked["offset"].as_u64().unwrap());
        let end = (offset + limit).min(total);
        let grants: Vec<_> = (offset..end).map(grant).collect();
        let page = json!({
            "grants": grants, "total": total, "limit": limit, "offset": offset, "has_more": end < total,
        });
        async move { json_response(200, &page) }
    })
}

#[tokio::test]
async fn a_list_is_a_users_and_its_pages_can_be_walked() {
    let vault = vault(7);
    let app = app(&vault);
    let page =
        app.for_user(token("t")).grants().list().provider("google").status("active").send().await.unwrap();
    assert_eq!(page.grants.len(), 7);
    let asked = String::from_utf8(vault.only("/sdk/grants/list").body.to_vec()).unwrap();
    assert_eq!(
        asked,
        r#"{"limit":100,"offset":0,"provider_id":"google","status":"active","user_token":"t"}"#
    );
    let mut pages = app.grants().list().as_app().limit(3).offset(1).pages();
    let mut ids = Vec::new();
    while let Some(grant) = pages.next().await.unwrap() {
        ids.push(grant.grant_id().to_owned());
    }
    assert_eq!(ids, ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(vault.seen().len(), 3);
}

#[tokio::test]
async fn a_filter_that_makes_no_sense_is_refused_before_anything_is_sent() {
    let vault = vault(0);
    let app = app(&vault);
    for list in [
        app.grants().list().limit(0),
        app.grants().list().limit(1_001),
        app.grants().list().provider(""),
        app.grants().list().label(""),
    ] {
        let refused = list.as_app().send().await.unwrap_err();
        assert!(matches!(refused.kind(), Kind::InvalidInput(InvalidInput::Filter)));
    }
    assert!(vault.seen().is_empty());
}

#[tokio::test]
async fn a_grant_is_revoked_by_its_id_on_behalf_of_whoever_is_known() {
    let vault = Stub::new(|seen| {
        verify(&seen, KEY);
        let gone = seen.json()["reason"] == "again";
        async move {
            if gone {
                return json_response(410, &json!({}));
            }
            json_response(
                200,
                &json!({"success": true, "message": "revoked", "grant_id": GRANT, "revoked_at": "2026-01-01T00:00:00Z"}),
            )
        }
    });
    let app = app(&vault);
    let revoke = app.grants().revoke(GRANT.to_uppercase()).reason("asked to").send();
    assert!(app.scope(token("t"), revoke).await.unwrap().success);
    let seen = &vault.seen()[0];
    assert_eq!(seen.target, format!("/sdk/oauth/grants/{GRANT}/revoke"));
    assert_eq!(seen.json(), json!({"reason": "asked to", "user_token": "t"}));
    let gone = app.grants().revoke(GRANT).reason("again").send().await.unwrap_err();
    assert!(matches!(gone.kind(), Kind::Grant(Grant::Deleted)));
    let refused = app.grants().revoke("nope").send().await.unwrap_err();
    assert!(matches!(refused.kind(), Kind::InvalidInput(InvalidInput::Address)));
}
