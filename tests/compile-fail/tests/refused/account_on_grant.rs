use alter_core::App;
use http::Method;

async fn call(app: App) {
    let by_grant = app.request(Method::GET, "https://api.example.com/me").grant("11111111-2222-3333-4444-555555555555");
    let _ = by_grant.account("a@example.com").send().await;
}

fn main() {
    let _ = call;
}
