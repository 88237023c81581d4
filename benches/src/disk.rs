//! How long this machine takes to make bytes durable: what group commit has to live with.

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    path::Path,
    time::Instant,
};

use serde_json::json;

use crate::{Outcome, load::Answers};

const WRITES: usize = 200;
const PAGE: [u8; 4096] = [0x5a; 4096];

/// Writes 4 KiB and syncs, over and over: at the end of a growing file, and again over what is there.
pub(crate) fn measure(folder: &Path) -> Outcome<()> {
    let path = folder.join("fsync");
    let mut file = fs::File::create(&path)?;
    println!("\ndisk: write of 4 KiB + fdatasync, {WRITES} times in {}", folder.display());
    println!("{:<44}{:>10}{:>10}{:>10}", "", "p50 µs", "p90 µs", "p99 µs");
    for (name, what) in [("grow", "growing the file"), ("reuse", "over existing blocks")] {
        file.seek(SeekFrom::Start(0))?;
        let begin = Instant::now();
        let mut took = Vec::with_capacity(WRITES);
        for _ in 0..WRITES {
            file.write_all(&PAGE)?;
            let before = Instant::now();
            file.sync_data()?;
            took.push(u32::try_from(before.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
        let took = Answers::new(begin.elapsed().as_secs_f64(), took);
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|share| took.percentile(share));
        println!("{what:<44}{p50:>10}{p90:>10}{p99:>10}");
        println!("{}", json!({"bench": "disk", "write": name, "p50_us": p50, "p90_us": p90, "p99_us": p99}));
    }
    fs::remove_file(path)?;
    Ok(())
}
