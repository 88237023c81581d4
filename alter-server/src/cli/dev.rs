//! `dev`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::{CliError, output::Output, serve::bind};
use crate::{
    dev::{self, Ready},
    serve::asked_to_stop,
};

#[derive(Debug, Args)]
pub(super) struct Dev {
    /// Where the vault listens
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    listen: SocketAddr,
}

impl Dev {
    pub(super) async fn run(self, data_dir: Option<PathBuf>, json: bool) -> Result<Output, CliError> {
        // From here on, so that a signal during the start ends it in order, too.
        let stop = tokio::spawn(asked_to_stop());
        let (listener, base_url) = bind(self.listen).await?;
        let dev = dev::Dev::start(data_dir, base_url).await?;
        let ready = Output::one(&dev.ready, words(&dev.ready));
        ready.print(json).map_err(|source| CliError::Io { what: "standard output".to_owned(), source })?;
        let stop = async {
            // Ends with an error only when the runtime goes away.
            let _ = stop.await;
        };
        let served = dev.vault.serve(listener, stop).await;
        dev.stop().await?;
        served.map_err(|source| CliError::Io { what: "the listener failed".to_owned(), source })?;
        Ok(Output::nothing())
    }
}

fn words(ready: &Ready) -> String {
    let mut text = format!(
        r#"A vault and a sandbox of the outside world are running, on this machine only.

vault           {base}
app key         {key}
agent key       {agent}
issuer          {issuer}    (audience {audience})
a user's token  GET {mint}?sub=user-1    (any sub; the answer is {{"token"}})
provider API    {api}/me                 (says whom it was called for)
faults, counts  {control}
wallet          {wallet}    (sign in as user-1)
"#,
        base = ready.base_url,
        key = ready.app.key.expose(),
        agent = ready.agent.key.expose(),
        issuer = ready.idp.issuer,
        audience = ready.idp.audience,
        mint = ready.idp.mint_url,
        api = ready.provider.api_url,
        control = ready.provider.control_url,
        wallet = ready.wallet_url,
    );
    for user in &ready.users {
        let accounts: Vec<_> = user.grants.iter().map(|grant| grant.account.as_str()).collect();
        text.push_str(&format!("{} has connected {}\n", user.sub, accounts.join(" and ")));
    }
    text.push_str(&format!(
        r#"
In your service:

    use alter_core::{{App, UserToken}};
    use http::Method;

    let app = App::builder(std::env::var("ALTER_API_KEY")?).backend_url("{base}").build()?;
    let me = app
        .for_user(UserToken::parse(token)?)
        .request(Method::GET, "{api}/me")
        .provider("{provider}")
        .send()
        .await?;

Stop with Ctrl-C."#,
        base = ready.base_url,
        api = ready.provider.api_url,
        provider = ready.provider.id,
    ));
    text
}
