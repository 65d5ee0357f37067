//! Slow clients: each connection moves a few bytes every tick, and no more.

use std::time::{Duration, Instant};

use super::{Connection, Scratch, Script, Tally, Target};
use crate::Result;

/// How slow: so many bytes each way and connection every tick.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub tick: Duration,
    pub bytes: u64,
}

/// Runs a script over slow connections for a while; `look` is called once a second.
///
/// # Errors
/// When a connection breaks or an answer is wrong.
pub fn run(
    target: &Target,
    connections: usize,
    script: &mut dyn Script,
    pace: Pace,
    lasts: Duration,
    mut look: impl FnMut() -> Result,
) -> Result<Tally> {
    let mut scratch = Scratch::default();
    let mut tally = Tally::new();
    let mut open = Vec::with_capacity(connections);
    for at in 0..connections {
        // A small window: what the client does not read has to wait in the server, not in the kernel.
        let mut connection = Connection::open(at, target, Some(16 * 1024))?;
        connection.begin(script, Instant::now())?;
        open.push(connection);
    }
    let begun = Instant::now();
    let (mut next_tick, mut next_look) = (begun, begun);
    while begun.elapsed() < lasts {
        for connection in &mut open {
            connection.slow_turn(script, &mut scratch, &mut tally, pace.bytes)?;
        }
        if Instant::now() >= next_look {
            look()?;
            next_look += Duration::from_secs(1);
        }
        next_tick += pace.tick;
        std::thread::sleep(next_tick.saturating_duration_since(Instant::now()));
    }
    tally.seconds = begun.elapsed().as_secs_f64();
    Ok(tally)
}
