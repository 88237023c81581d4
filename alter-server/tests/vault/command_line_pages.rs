//! What an operator says of pages and sign-in, as scripts say it.

use alter_sandbox::Sandbox;
use serde_json::Value;

use super::command_line::{done, failed};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_and_sign_in_are_set_shown_and_checked() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let issuer = sandbox.issuer();
    let check = move || {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        done(folder, &["app", "create", "shop"], "");
        let page = ["app", "page", "shop", "--display-name", "The Shop", "--color", "#2f5bd0"];
        let logo = folder.join("logo.svg");
        std::fs::write(&logo, "<svg xmlns='http://www.w3.org/2000/svg'/>").unwrap();
        let more = [
            "--logo",
            logo.to_str().unwrap(),
            "--origin",
            "https://Shop.example/",
            "--origin",
            "http://localhost:*",
        ];
        let set = done(folder, &[&page[..], &more[..]].concat(), "");
        assert_eq!(set["display_name"], "The Shop");
        assert_eq!(set["origins"], serde_json::json!(["http://localhost:*", "https://shop.example"]));
        assert!(set["logo"].as_str().unwrap().starts_with("data:image/svg+xml;base64,"));
        let less = done(folder, &["app", "page", "shop", "--logo", "", "--color", "", "--no-origins"], "");
        assert_eq!(
            (&less["logo"], &less["color"], &less["display_name"]),
            (&Value::Null, &Value::Null, &"The Shop".into())
        );
        assert_eq!(done(folder, &["app", "page", "shop"], ""), less);
        for (wrong, words) in [
            (["--color", "red"], "#rrggbb"),
            (["--origin", "http://shop.example"], "no origin"),
            (["--logo", "/dev/null"], "no PNG"),
        ] {
            let (code, text) = failed(folder, &["app", "page", "shop", wrong[0], wrong[1]], "");
            assert_eq!((code, text.contains(words)), (2, true), "{text}");
        }
        assert_eq!(failed(folder, &["app", "page", "nobody"], "").0, 4);

        let idp = ["idp", "set", issuer.as_str(), "--audience", "api"];
        let sign_in = ["--client-id", "vault", "--client-secret-file", "-", "--sign-in-scope", "email"];
        let set = done(folder, &[&idp[..], &sign_in[..]].concat(), "s3cret-client\n");
        assert_eq!(
            (&set["sign_in"]["client_id"], &set["sign_in"]["scopes"][0]),
            (&"vault".into(), &"email".into())
        );
        assert!(!set.to_string().contains("s3cret"));
        assert_eq!(done(folder, &idp, "")["sign_in"]["client_id"], "vault", "the same issuer keeps it");
        let reserved =
            [&idp[..], &["--client-id", "vault", "--sign-in-param", "redirect_uri=https://evil.example"]]
                .concat();
        let (code, text) = failed(folder, &reserved, "");
        assert_eq!((code, text.contains("set by the vault")), (2, true), "{text}");
        let gone = done(folder, &[&idp[..], &["--no-sign-in"]].concat(), "");
        assert!(gone.get("sign_in").is_none());
        let stored = std::fs::read(folder.join("vault.db")).unwrap();
        assert!(!stored.windows(13).any(|window| window == b"s3cret-client"));
        let rows = done(folder, &["audit", "list"], "");
        let changed = rows.as_array().unwrap().iter().filter(|row| row["action"] == "page.changed").count();
        assert!(changed >= 4, "each change has its row");
    };
    tokio::task::spawn_blocking(check).await.unwrap();
    sandbox.stop().await;
}
