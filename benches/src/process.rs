//! Servers under test, each in a process of its own: this program, started again with another command.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::Outcome;

/// A process that ends with this one. It ends itself when its standard input is closed.
pub(crate) struct Process {
    child: Child,
    /// What it said when it was ready.
    pub(crate) ready: Value,
}

impl Process {
    /// Starts this program with `arguments`, on one processor if `cpu` says which, and waits for its line.
    pub(crate) fn start(arguments: &[&str], cpu: Option<usize>) -> Outcome<Self> {
        let program = std::env::current_exe()?;
        let mut command = match cpu.filter(|_| can_pin()) {
            Some(cpu) => {
                let mut command = Command::new("taskset");
                command.arg("-c").arg(cpu.to_string()).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or("the server has no standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let ready =
            serde_json::from_str(&line).map_err(|_| format!("{arguments:?} did not start: {line:?}"))?;
        Ok(Self { child, ready })
    }

    /// A member of the ready line that is text.
    pub(crate) fn text(&self, pointer: &str) -> Outcome<&str> {
        let value = self.ready.pointer(pointer).and_then(Value::as_str);
        value.ok_or_else(|| format!("the server did not say {pointer}").into())
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> Outcome<std::net::SocketAddr> {
        Ok(self.text("/addr")?.parse()?)
    }

    /// Memory that it has in use, in MiB: what is resident without the files that are mapped.
    pub(crate) fn memory(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let anon = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = anon.and_then(|rest| rest.trim().split(' ').next()?.parse::<f64>().ok());
        kib.unwrap_or_default() / 1024.0
    }

    /// Processor time of its threads so far.
    pub(crate) fn cpu(&self) -> Cpu {
        Cpu::of(self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nanoseconds of processor time by thread name, from the scheduler's own counters: other load on the machine
/// distorts them little.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cpu(Vec<(String, u64)>);

impl Cpu {
    /// What the threads of process `pid` have used. Threads that ended are missing.
    pub(crate) fn of(pid: u32) -> Self {
        let mut threads: Vec<(String, u64)> = Vec::new();
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let used = fs::read_to_string(task.path().join("schedstat")).ok();
            let used =
                used.and_then(|text| text.split(' ').next().and_then(|first| first.parse::<u64>().ok()));
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default().trim().to_owned();
            let used = used.unwrap_or_default();
            match threads.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += used,
                None => threads.push((name, used)),
            }
        }
        Self(threads)
    }

    /// Nanoseconds, all threads together.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|(_, used)| used).sum()
    }

    /// Microseconds per request since `before`, all threads together.
    pub(crate) fn since(&self, before: &Self, requests: usize) -> f64 {
        self.total().saturating_sub(before.total()) as f64 / 1000.0 / requests.max(1) as f64
    }
}

fn can_pin() -> bool {
    Command::new("taskset").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Keeps this process on one processor, if the system has the tool for it.
pub(crate) fn pin_self(cpu: usize) {
    let pid = std::process::id().to_string();
    // Without it the numbers are noisier, nothing else.
    let _ = Command::new("taskset")
        .args(["-a", "-c", "-p", &cpu.to_string(), &pid])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}
