use alter_core::App;
use http::Method;

async fn call(app: App) {
    let by_provider = app.request(Method::GET, "https://api.example.com/me").provider("google");
    let _ = by_provider.grant("11111111-2222-3333-4444-555555555555").send().await;
}

fn main() {
    let _ = call;
}
