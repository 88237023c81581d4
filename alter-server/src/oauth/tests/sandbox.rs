//! The provider that our other tests are run against, with every one of its faults.

use alter_sandbox::{Faults, Sandbox, TokenFault};

use super::*;

#[tokio::test]
async fn no_fault_of_the_sandbox_makes_a_spent_token_look_unspent() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let url = sandbox.oauth_endpoints().token;
    let client = sandbox.client();
    let secret = SecretString::from(client.client_secret);
    let short = Limits { whole: Duration::from_millis(700), connect: Duration::from_millis(500), ..limits() };
    let endpoint = TokenEndpoint::with_limits(SystemClock::shared(), short);
    let settings = RefreshSettings::default();
    for fault in TokenFault::ALL {
        for auth in [ClientAuth::Post, ClientAuth::Basic] {
            sandbox.set_faults(Faults::default());
            let account = format!("{}-{auth:?}", fault.as_str());
            let token = SecretString::from(sandbox.connect("user", &account).refresh_token);
            let faults = Faults::default().rotate(true).token_fault(fault).retry_after(11);
            sandbox.set_faults(faults.retry_after_as_date(auth == ClientAuth::Basic).date_skew(-86_000));
            let refreshing = Refreshing {
                token_url: &url,
                client_id: &client.client_id,
                client_auth: auth,
                settings: &settings,
            };
            let call = RefreshCall { refreshing, client_secret: Some(&secret), refresh_token: &token };
            let failure = match endpoint.refresh(&call).await {
                Ok(answer) => {
                    assert!(fault.carries_out(), "{fault:?}");
                    assert_eq!(answer.expires_in.is_some(), fault != TokenFault::NoExpiry);
                    let none = matches!(fault, TokenFault::NoRefreshToken | TokenFault::EmptyRefreshToken);
                    assert_eq!(answer.refresh_token.is_none(), none, "{fault:?}");
                    continue;
                }
                Err(failure) => failure,
            };
            if fault.carries_out() {
                assert_eq!(failure.spent, Spent::Maybe, "{fault:?} {failure}");
            }
            let code = failure.failure.code;
            let says_so = matches!(fault, TokenFault::InvalidGrant | TokenFault::OkWithError);
            assert_eq!(code.is_final(), says_so, "{fault:?} {failure}");
            assert_eq!(code.blames_the_app(), fault == TokenFault::InvalidClient, "{fault:?} {failure}");
            if matches!(fault, TokenFault::TooManyRequests | TokenFault::TemporarilyUnavailable) {
                assert_eq!(failure.retry_after, Some(Duration::from_secs(11)), "{fault:?}");
            }
        }
    }
    sandbox.stop().await;
}
