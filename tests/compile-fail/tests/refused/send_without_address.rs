use alter_core::App;
use http::Method;

fn call(app: App) {
    let _ = app.request(Method::GET, "https://api.example.com/me").send();
}

fn main() {
    let _ = call;
}
