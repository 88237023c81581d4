//! (c) `POST /sdk/token`, each with a durable audit row, against axum with nothing behind it.

use crate::{
    Outcome, Rounds,
    load::{self, Requests},
    one_thread,
    process::Process,
    table::{Comparison, Goal, Round, Side},
    vault::Vault,
};

const CONNECTIONS: [usize; 3] = [16, 64, 256];

/// Measures and prints.
pub(crate) fn measure(rounds: Rounds) -> Outcome<()> {
    let vault = Vault::start()?;
    let runtime = one_thread()?;
    for (form, body) in [("user token", vault.by_user_token()?), ("grant id", vault.by_grant()?)] {
        let first = vault.calls(&body, 1)?;
        let answer = runtime.block_on(load::once(vault.process.addr()?, &first[0]))?;
        if answer.status != 200 {
            return Err(format!(
                "the vault answered {}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            )
            .into());
        }
        let size = answer.body.len();
        let echo = Process::start(&["serve", "echo", "--answer-bytes", &size.to_string()], None)?;
        println!("\n{form}: {} bytes of body, {size} bytes of answer", body.len());
        for connections in CONNECTIONS {
            runtime.block_on(compare(form, &vault, &echo, &body, connections, rounds))?.print();
        }
    }
    Ok(())
}

async fn compare(
    form: &str,
    vault: &Vault,
    echo: &Process,
    body: &[u8],
    connections: usize,
    rounds: Rounds,
) -> Outcome<Comparison> {
    let (mut bare, mut ours) = (Side::new("axum JSON echo"), Side::new("vault, audit durable"));
    let warm = vault.calls(body, 20_000)?;
    let seen = load::run(vault.process.addr()?, connections, rounds.warm_up(), Requests::once(warm)).await?;
    // Each call counts once, so there must be more of them than will be sent.
    let enough = (seen.per_second() * rounds.seconds * 2.0) as usize + 5_000;
    let replay = Requests::repeated(vault.calls(body, 1)?.remove(0));
    load::run(echo.addr()?, connections, rounds.warm_up(), replay).await?;
    for _ in 0..rounds.rounds {
        let calls = Requests::once(vault.calls(body, enough)?);
        let before = echo.cpu();
        // Nonces mean nothing to the echo: it is sent the same bytes, from the first again when they end.
        let answers = load::run(echo.addr()?, connections, rounds.time(), calls.cycled()).await?;
        bare.rounds.push(Round::new(&answers, echo.cpu().since(&before, answers.latencies.len())));
        let before = vault.process.cpu();
        let answers = load::run(vault.process.addr()?, connections, rounds.time(), calls).await?;
        let after = vault.process.cpu();
        ours.rounds.push(Round::new(&answers, after.since(&before, answers.latencies.len())));
    }
    Ok(Comparison {
        name: format!("token, {form}"),
        concurrency: connections,
        sides: vec![bare, ours],
        goals: vec![Goal { ours: 1, reference: 0, least: 0.40 }],
    })
}
