//! Hearing of refreshes that ended on other replicas: `LISTEN` on a connection of its own.
//!
//! Nothing depends on it: who waits for a refresh also looks from time to time. Where a pooler in transaction mode stands in
//! between, next to nothing is heard, and looking has to do. A connection proves itself first by hearing a word that another
//! one says: its own it would hear through a pooler, too, whenever that runs `LISTEN` and the word on the same server connection.

use std::{future::poll_fn, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::broadcast,
    time::{sleep, timeout},
};
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, config::SslMode};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{DatabaseUrl, refresh::CHANNEL, tls::Tls};
use crate::{
    domain::GrantId,
    store::{
        StoreError,
        refresh::{RefreshSignal, SIGNALS},
    },
};

/// How long a new connection may take to hear itself.
const PROOF: Duration = Duration::from_secs(5);
/// Pause before another connection after one that worked broke.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between attempts that fail.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A connection that hears nothing proves itself again so often.
const PROVE_EVERY: Duration = Duration::from_secs(60);

/// The listener of one store. It begins with the first who wants to hear, and ends with the store.
pub(super) struct Listener {
    url: DatabaseUrl,
    signals: broadcast::Sender<RefreshSignal>,
    started: std::sync::Once,
    stop: CancellationToken,
    task: TaskTracker,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Listener {
    pub(super) fn new(url: DatabaseUrl) -> Arc<Self> {
        Arc::new(Self {
            url,
            signals: broadcast::Sender::new(SIGNALS),
            started: std::sync::Once::new(),
            stop: CancellationToken::new(),
            task: TaskTracker::new(),
        })
    }

    /// What is heard from now on.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<RefreshSignal> {
        let receiver = self.signals.subscribe();
        // Without a runtime there is nobody who could wait.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.started.call_once(|| {
                let (url, signals, stop) = (self.url.clone(), self.signals.clone(), self.stop.clone());
                self.task.spawn_on(
                    async move { stop.run_until_cancelled(listen(&url, &signals)).await },
                    &runtime,
                );
            });
        }
        receiver
    }

    /// Says it in this process, without the way through the database.
    pub(super) fn say(&self, signal: RefreshSignal) {
        // Nobody may be listening.
        let _ = self.signals.send(signal);
    }

    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.task.close();
        self.task.wait().await;
    }
}

/// Never ends by itself.
async fn listen(url: &DatabaseUrl, signals: &broadcast::Sender<RefreshSignal>) {
    let (mut pause, mut said) = (PAUSE, false);
    loop {
        let mut worked = false;
        let Err(error) = connect(url, signals, &mut worked).await;
        pause = if worked { PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        let text = "no notifications of refreshes at the moment: whoever waits looks by itself";
        // Once is enough for a pooler that will never let them through.
        if said {
            tracing::debug!(%error, "{text}");
        } else {
            tracing::warn!(%error, "{text}");
        }
        said = !worked;
        sleep(pause).await;
    }
}

async fn connect(
    url: &DatabaseUrl,
    signals: &broadcast::Sender<RefreshSignal>,
    worked: &mut bool,
) -> Result<std::convert::Infallible, StoreError> {
    let config = url.config()?;
    if config.get_ssl_mode() == SslMode::Disable {
        let (client, connection) = config.connect(NoTls).await?;
        hear(url, client, connection, signals, worked).await
    } else {
        let (client, connection) = config.connect(Tls::new()?).await?;
        hear(url, client, connection, signals, worked).await
    }
}

fn broken(what: &'static str) -> StoreError {
    StoreError::Unavailable { what, source: "the connection for notifications does not work".into() }
}

/// The answer, unless the connection is one whose other end is gone without a word.
async fn in_time<E>(answer: impl Future<Output = Result<(), E>>) -> Result<(), StoreError>
where
    StoreError: From<E>,
{
    timeout(PROOF, answer).await.map_err(|_| broken("an answer"))?.map_err(StoreError::from)
}

fn word(id: Uuid) -> String {
    format!("SELECT pg_notify('{CHANNEL}', '{id}')")
}

/// Says a word on a connection of its own.
async fn say_elsewhere(url: &DatabaseUrl, id: Uuid) -> Result<(), StoreError> {
    async fn say<S, T>(client: Client, connection: Connection<S, T>, id: Uuid) -> Result<(), StoreError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let talk = async move { client.batch_execute(&word(id)).await };
        // The connection says goodbye once its client is gone.
        let (said, ended) = tokio::join!(talk, connection);
        said?;
        Ok(ended?)
    }
    let config = url.config()?;
    if config.get_ssl_mode() == SslMode::Disable {
        let (client, connection) = config.connect(NoTls).await?;
        say(client, connection, id).await
    } else {
        let (client, connection) = config.connect(Tls::new()?).await?;
        say(client, connection, id).await
    }
}

/// Hears until the connection breaks.
async fn hear<S, T>(
    url: &DatabaseUrl,
    client: Client,
    mut connection: Connection<S, T>,
    signals: &broadcast::Sender<RefreshSignal>,
    worked: &mut bool,
) -> Result<std::convert::Infallible, StoreError>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (heard, mut words) = tokio::sync::mpsc::channel::<Uuid>(SIGNALS);
    let drive = async {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(note) = message?
                && note.channel() == CHANNEL
                && let Ok(id) = note.payload().parse::<Uuid>()
            {
                // What does not fit is missed; whoever waits also looks.
                let _ = heard.try_send(id);
            }
        }
        Err::<std::convert::Infallible, StoreError>(broken("hearing"))
    };
    let follow = async {
        in_time(client.batch_execute(&format!("LISTEN {CHANNEL}"))).await?;
        loop {
            // An id that no grant has.
            let proof = Uuid::new_v4();
            if *worked {
                in_time(client.batch_execute(&word(proof))).await?;
            } else {
                in_time(Box::pin(say_elsewhere(url, proof))).await?;
            }
            let hears = async {
                while let Some(id) = words.recv().await {
                    if id == proof {
                        return true;
                    }
                    let _ = signals.send(RefreshSignal { grant_id: GrantId::from_uuid(id) });
                }
                false
            };
            if !timeout(PROOF, hears).await.unwrap_or(false) {
                // The next one on that server connection did not ask to listen. A pooler may pick another one: then this is
                // for nothing.
                let _ = in_time(client.batch_execute("UNLISTEN *")).await;
                return Err(broken("the proof was not heard: a pooler in between?"));
            }
            *worked = true;
            let relay = async {
                while let Some(id) = words.recv().await {
                    let _ = signals.send(RefreshSignal { grant_id: GrantId::from_uuid(id) });
                }
            };
            let _ = timeout(PROVE_EVERY, relay).await;
        }
    };
    tokio::select! {
        ended = drive => ended,
        ended = follow => ended,
    }
}
