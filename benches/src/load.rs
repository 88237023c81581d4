//! The load generator: HTTP/1.1 over kept connections, closed loop.
//!
//! Every connection sends its next request as soon as it has the whole answer to the one before, so what is measured is
//! how many requests a server completes with that many callers waiting. Requests are bytes made before the round, so the
//! generator costs the same against every server. It runs on one thread.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::{Failure, Outcome};

/// Longest wait for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests as they go over the wire.
#[derive(Clone)]
pub(crate) struct Requests {
    bytes: Arc<Vec<Vec<u8>>>,
    /// Each may be sent once only; the round ends with the last.
    once: bool,
    next: Arc<AtomicUsize>,
}

impl Requests {
    /// One request, over and over.
    pub(crate) fn repeated(request: Vec<u8>) -> Self {
        Self { bytes: Arc::new(vec![request]), once: false, next: Arc::default() }
    }

    /// Each of them once.
    pub(crate) fn once(requests: Vec<Vec<u8>>) -> Self {
        Self { bytes: Arc::new(requests), once: true, next: Arc::default() }
    }

    /// The same requests from the first, and from the first again when they end.
    pub(crate) fn cycled(&self) -> Self {
        Self { bytes: Arc::clone(&self.bytes), once: false, next: Arc::default() }
    }

    fn next(&self) -> Option<&[u8]> {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        if self.once { self.bytes.get(at) } else { self.bytes.get(at % self.bytes.len()) }.map(Vec::as_slice)
    }
}

/// One round's answers.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Seconds from the first request to the last answer.
    pub(crate) seconds: f64,
    /// How long each answer took, in microseconds, shortest first.
    pub(crate) latencies: Vec<u32>,
}

impl Answers {
    pub(crate) fn new(seconds: f64, mut latencies: Vec<u32>) -> Self {
        latencies.sort_unstable();
        Self { seconds, latencies }
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds
    }

    /// The latency in microseconds that this share (0 to 1) of the answers did not exceed.
    pub(crate) fn percentile(&self, share: f64) -> u32 {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }
}

/// One kept connection.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer as far as it matters here.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    async fn open(addr: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024) })
    }

    /// Sends and waits for the whole answer; gives its status and where its body is in the buffer.
    async fn exchange(&mut self, request: &[u8]) -> Outcome<(u16, std::ops::Range<usize>)> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the server closed the connection".into());
            }
            let Some(head) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let (status, length) = read_head(&self.buffer[..head])?;
            let end = head + 4 + length;
            while self.buffer.len() < end {
                if self.stream.read_buf(&mut self.buffer).await? == 0 {
                    return Err("the server closed the connection inside an answer".into());
                }
            }
            return Ok((status, head + 4..end));
        }
    }
}

fn read_head(head: &[u8]) -> Outcome<(u16, usize)> {
    let head = std::str::from_utf8(head)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).ok_or("no status line")?.parse()?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or("0", |(_, value)| value.trim())
        .parse()?;
    Ok((status, length))
}

/// One exchange on a connection of its own.
pub(crate) async fn once(addr: SocketAddr, request: &[u8]) -> Outcome<Answer> {
    let mut connection = Connection::open(addr).await?;
    let (status, body) = connection.exchange(request).await?;
    Ok(Answer { status, body: connection.buffer[body].to_vec() })
}

/// Keeps `connections` connections busy for `time`, or until the requests are used up. Any answer but 200 ends it.
pub(crate) async fn run(
    addr: SocketAddr,
    connections: usize,
    time: Duration,
    requests: Requests,
) -> Outcome<Answers> {
    run_over(&[addr], connections, time, requests).await
}

/// The same over several servers, each with its share of the connections.
pub(crate) async fn run_over(
    addrs: &[SocketAddr],
    connections: usize,
    time: Duration,
    requests: Requests,
) -> Outcome<Answers> {
    let mut open = Vec::with_capacity(connections);
    for addr in addrs.iter().cycle().take(connections) {
        open.push(Connection::open(*addr).await?);
    }
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for mut connection in open {
        let requests = requests.clone();
        tasks.spawn(async move {
            let mut latencies = Vec::with_capacity(4096);
            while begin.elapsed() < time {
                let Some(request) = requests.next() else { break };
                let sent = Instant::now();
                let (status, body) =
                    tokio::time::timeout(ANSWER_TIMEOUT, connection.exchange(request)).await??;
                if status != 200 {
                    let text = String::from_utf8_lossy(&connection.buffer[body])
                        .chars()
                        .take(300)
                        .collect::<String>();
                    return Err(Failure::from(format!("answered {status}: {text}")));
                }
                latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            Ok(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(done) = tasks.join_next().await {
        latencies.extend(done??);
    }
    Ok(Answers::new(begin.elapsed().as_secs_f64(), latencies))
}
