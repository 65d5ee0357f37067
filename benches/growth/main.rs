//! What the registry costs while it grows: fills a store with realistic shapes to 1,000, 10,000, 100,000 and 1,000,000
//! manifests, through the registry's own doors and at the default memory budget, and at each size prints what operations
//! cost, in this process and through the daemon, bytes of metadata for each manifest, how much is written for it, stalls,
//! start-up time and memory. `docs/sizing.md` is made from these figures. Run it by `make bench-growth`.

mod content;
mod daemon;
mod measure;
mod report;
mod world;

use std::{path::Path, path::PathBuf, time::Instant};

use clap::Parser;
use packhouse::error::{Error, Result};
use serde_json::{Map, Value, json};

use self::{
    content::MANIFESTS,
    daemon::{Daemon, memory_of, spent},
    measure::{Cost, Draw, Meter, Spread},
    world::{People, World},
};

/// Fills a store and says what each size costs.
#[derive(Parser)]
struct Options {
    /// Manifests to fill the store to: 1000 times a power of ten
    #[arg(long, default_value_t = 1_000_000)]
    until: u64,
    /// An empty folder for the store; a temporary one by default
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Repositories that are pushed at once
    #[arg(long, default_value_t = 256)]
    at_once: usize,
    /// Samples of each read
    #[arg(long, default_value_t = 2000)]
    samples: usize,
    /// Where the figures go as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// What cargo passes
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::internal)?;
    let temporary;
    let folder = match &options.dir {
        Some(folder) => folder.as_path(),
        None => {
            temporary = tempfile::tempdir().map_err(Error::internal)?;
            temporary.path()
        }
    };
    let data = folder.join("data");
    if data.exists() {
        return Err(Error::internal(format!("{} is there already", data.display())));
    }
    let mut people = People::default();
    let (mut done, mut size, mut rows) = (0, 1000, Vec::new());
    while size <= options.until {
        let repositories = size / MANIFESTS;
        let row = runtime.block_on(decade(&options, &data, &mut people, done, repositories))?;
        report::print_row(&row);
        rows.push(row);
        if let Some(file) = &options.json {
            std::fs::write(file, report::json(&rows)?).map_err(Error::internal)?;
        }
        (done, size) = (repositories, size * 10);
    }
    println!("{}", report::table(&rows));
    Ok(())
}

/// Grows the store to a size and measures it.
async fn decade(
    options: &Options,
    data: &Path,
    people: &mut People,
    from: u64,
    repositories: u64,
) -> Result<Value> {
    let mut row = Map::new();
    row.insert("manifests".into(), (repositories * MANIFESTS).into());
    row.insert("repositories".into(), repositories.into());
    let (world, _) = World::open(data).await?;
    row.insert("fill".into(), fill(&world, people, from, repositories, options.at_once).await?);
    world.close()?;

    // Opening writes what was in memory only into tables.
    let (world, opened) = World::open(data).await?;
    row.insert("size".into(), size(&world, repositories)?);
    row.insert("open_seconds".into(), opened.into());
    let meter = Meter { world: &world, people, repositories };
    let seed = repositories;
    // The first reads after a start find nothing in the store's own caches; the files may be in the kernel's.
    row.insert("cold".into(), meter.reads(Spread::Anywhere, options.samples / 10, seed).await?);
    meter.reads(Spread::Anywhere, options.samples, seed + 1).await?;
    row.insert("anywhere".into(), meter.reads(Spread::Anywhere, options.samples, seed + 2).await?);
    meter.reads(Spread::Hot, options.samples, seed + 3).await?;
    row.insert("hot".into(), meter.reads(Spread::Hot, options.samples, seed + 4).await?);
    row.insert("put_manifest".into(), meter.puts(200, seed).await?.json());
    let requests = requests(&meter, options.samples).await?;
    world.close()?;

    row.insert("daemon".into(), served(data, &requests)?);
    let load = std::fs::read_to_string("/proc/loadavg").map_err(Error::internal)?;
    row.insert("load".into(), load.split(' ').take(3).collect::<Vec<_>>().join(" ").into());
    Ok(Value::Object(row))
}

async fn fill(world: &World, people: &mut People, from: u64, to: u64, at_once: usize) -> Result<Value> {
    let ((cpu, disk), begun) = (spent()?, Instant::now());
    let figure = |name| world.figure(name);
    let before = |name: &'static str| (name, figure(name));
    let names = ["commits", "sync_count", "batch_bytes", "log_bytes", "flushed_bytes", "compacted_bytes"];
    let names = names.into_iter().chain(["inline_written_bytes", "stall_micros_sum", "sync_micros_sum"]);
    let before: Vec<_> = names.map(before).collect();
    if from == 0 {
        world.bases().await?;
    }
    world.owners(people, to).await?;
    world.fill(people, from, to, at_once).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let rest = world.rest().await;
    let (cpu_after, disk_after) = spent()?;
    let mut row = Map::new();
    for (name, value) in before {
        row.insert(name.to_owned(), figure(name).saturating_sub(value).into());
    }
    let manifests = (to - from) * MANIFESTS;
    row.insert("manifests".into(), manifests.into());
    row.insert("seconds".into(), seconds.into());
    row.insert("compaction_rest_seconds".into(), rest.into());
    row.insert("cpu_seconds".into(), (cpu_after - cpu).into());
    row.insert("disk_bytes".into(), (disk_after - disk).into());
    row.insert("resident_bytes".into(), memory_of("self")?.0.into());
    Ok(Value::Object(row))
}

/// What the metadata takes on disk.
fn size(world: &World, repositories: u64) -> Result<Value> {
    let manifests = (repositories * MANIFESTS) as f64;
    let mut row = Map::new();
    for (name, value) in world.meta.figures() {
        if name.starts_with("table_bytes") || name == "inline_bytes" || name == "keys_estimated" {
            row.insert(name.to_owned(), value.into());
        }
    }
    row.insert("table_bytes_per_manifest".into(), (world.figure("table_bytes") as f64 / manifests).into());
    row.insert("inline_bytes_per_manifest".into(), (world.figure("inline_bytes") as f64 / manifests).into());
    Ok(Value::Object(row))
}

type Requests = Vec<(&'static str, Vec<(String, String)>)>;

/// Requests for the daemon, with tokens that the store's own keys signed.
async fn requests(meter: &Meter<'_>, samples: usize) -> Result<Requests> {
    let mut all: Requests = Vec::new();
    for (what, spread) in [
        ("get_by_tag", Spread::Anywhere),
        ("get_by_tag_hot", Spread::Hot),
        ("tags_50", Spread::Anywhere),
        ("catalog_9", Spread::Anywhere),
        ("catalog_9_few", Spread::Anywhere),
        ("catalog_9_anonymous", Spread::Anywhere),
    ] {
        let mut draw = Draw::new(samples as u64 + all.len() as u64);
        let mut list = Vec::with_capacity(samples);
        for _ in 0..samples {
            let number = meter.somewhere(&mut draw, spread);
            let caller = match what {
                "catalog_9_anonymous" => meter.world.anonymous(),
                _ => meter.world.caller(meter.people.of(number)?),
            };
            let name = content::repository(number);
            let (path, scope) = match what {
                "tags_50" => (format!("/v2/{name}/tags/list?n=50"), name),
                "catalog_9_few" => {
                    (format!("/v2/_catalog?n=9&last={}/", content::owner(number)), "*".to_owned())
                }
                "catalog_9" | "catalog_9_anonymous" => {
                    let last = meter.before(&mut draw, spread, 9);
                    (format!("/v2/_catalog?n=9&last={last}"), "*".to_owned())
                }
                _ => {
                    let (tag, _) = measure::manifest(&mut draw, number);
                    (format!("/v2/{name}/manifests/{tag}"), name)
                }
            };
            list.push((path, meter.bearer(&caller, &scope).await?));
        }
        all.push((what, list));
    }
    Ok(all)
}

/// Starts the daemon and times requests: the first half warms it.
fn served(data: &Path, requests: &Requests) -> Result<Value> {
    let daemon = Daemon::start(data)?;
    let (idle, _) = daemon.memory()?;
    let mut client = daemon.client()?;
    let mut row = Map::new();
    for (what, list) in requests {
        let (warming, timed) = list.split_at(list.len() / 2);
        client.time(warming)?;
        row.insert((*what).to_owned(), Cost::json(client.time(timed)?));
    }
    let (after, peak) = daemon.memory()?;
    row.insert("ready_seconds".into(), daemon.ready.into());
    row.insert("memory".into(), json!({"idle": idle, "after": after, "peak": peak}));
    Ok(Value::Object(row))
}
