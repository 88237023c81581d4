//! Refreshing: tokens that are replaced, and token endpoints that fail while they quote what they were sent.

use std::time::Duration;

use alter_core::{App, UserToken};
use alter_server::domain::{ClientAuth, OAuthSettings};
use http::Method;
use jiff::Timestamp;

use super::{Kind, Program, show};

/// What `mirror` knows.
const WAYS: [&str; 9] = ["new", "odd", "dead", "client", "named", "object", "busy", "page", "form"];

/// One provider per way, so that none waits for the pause of another.
pub(super) async fn all(program: &mut Program) {
    let jwt = UserToken::parse(program.jwt("rita")).unwrap();
    let app = App::builder(program.tenant.key.as_str()).backend_url(&program.world.base_url);
    let app = app.timeout(Duration::from_secs(20)).build().unwrap();
    let user = app.for_user(jwt);
    let mut ways: Vec<_> = WAYS.iter().map(|way| (*way, program.mirror.addr)).collect();
    ways.extend([("garbage", program.mirror.garbage), ("nobody", program.mirror.dead)]);
    for (way, addr) in ways {
        for (how, client_auth) in [("post", ClientAuth::Post), ("basic", ClientAuth::Basic)] {
            let id = format!("turn-{way}-{how}");
            let client_secret = program.invent(&format!("client secret of {id}"));
            let oauth = OAuthSettings {
                token_url: Some(format!("http://{addr}/token/{way}")),
                client_id: Some("canary-client".to_owned()),
                client_auth,
                ..OAuthSettings::default()
            };
            program.tenant.refreshing_at(program.mirror.addr, &id, oauth, &client_secret).await;
            let access = program.invent(&format!("ended access token of {id}"));
            let refresh = format!("old-{}", program.invent(&format!("refresh token of {id}")));
            for made in ["old", "new", "next"] {
                program.plant(&format!("{made} token of {id}"), Kind::Text, refresh.replace("old", made));
            }
            let ended = Timestamp::now() - Duration::from_secs(60);
            let tokens = (access.as_str(), refresh.as_str());
            let grant = program.tenant.import_until(&id, "rita", "work", tokens, Some(ended)).await;
            let url = format!("http://{}/204", program.mirror.addr);
            for _ in 0..2 {
                let answer = user.request(Method::GET, url.as_str()).provider(id.as_str()).send().await;
                assert_eq!(answer.is_ok(), way == "new", "{id}");
                show(&id, &answer);
            }
            let health = program.world.admin().grant_health(program.tenant.app, grant).await.unwrap();
            println!("{id}: {health:?} {}", serde_json::to_string(&health).unwrap());
        }
    }
    show("a list with grants that failed", &user.grants().list().send().await);
    app.close().await;
}
