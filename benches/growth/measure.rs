//! What one operation costs in this process, one after the other: the registry's door alone, no HTTP.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use packhouse::{
    auth::{Access, Caller, Grant, Pull, Verb},
    error::{Error, Result},
    model::{Digest, PackageName, Reference, Tag},
};
use rustix::time::{ClockId, Timespec, clock_gettime};
use serde_json::{Map, Value, json};

use super::{
    content::{self, IMAGES, INDEXES, PER_OWNER, PUBLIC_EVERY},
    world::{People, World},
};

/// Times of one operation, in microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    p50: f64,
    p99: f64,
    /// The median of the processor time, where it was taken: on a machine with other work this is what repeats.
    cpu: Option<f64>,
}

/// What one operation took: time, and processor time of this thread.
pub struct Took(Duration, Duration);

/// Begins to time an operation that runs on this thread.
pub struct Watch(Instant, Timespec);

impl Watch {
    fn start() -> Self {
        Self(Instant::now(), clock_gettime(ClockId::ThreadCPUTime))
    }

    fn stop(self) -> Took {
        let cpu = clock_gettime(ClockId::ThreadCPUTime) - self.1;
        let took = self.0.elapsed();
        Took(took, cpu.try_into().unwrap_or_default())
    }
}

impl Cost {
    /// Of some durations.
    pub fn of(times: Vec<Duration>) -> Self {
        let times = sorted(times);
        Self { p50: at(&times, 50), p99: at(&times, 99), cpu: None }
    }

    fn of_both(times: Vec<Took>) -> Self {
        let (whole, cpu) = times.into_iter().map(|Took(whole, cpu)| (whole, cpu)).unzip();
        Self { cpu: Some(at(&sorted(cpu), 50)), ..Self::of(whole) }
    }

    pub fn json(self) -> Value {
        let round = |micros: f64| (micros * 10.0).round() / 10.0;
        let mut json = json!({"p50_us": round(self.p50), "p99_us": round(self.p99)});
        if let Some(cpu) = self.cpu {
            json["cpu_us"] = round(cpu).into();
        }
        json
    }
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort();
    times
}

fn at(times: &[Duration], percent: usize) -> f64 {
    let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

/// Where an operation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// To any repository, each as likely.
    Anywhere,
    /// To a few that everybody reads.
    Hot,
}

/// Repositories that are hot.
const HOT: u64 = 8;

/// The operations that are timed; `put` goes its own way.
pub const READS: [&str; 9] = [
    "rights",
    "get_by_tag",
    "get_by_digest",
    "tags_50",
    "catalog_9",
    "catalog_9_few",
    "catalog_9_anonymous",
    "catalog_99",
    "referrers",
];

/// A small generator: what it draws need not be secret, only the same each time.
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit.max(1)
    }
}

/// Times operations on a store with so many repositories.
pub struct Meter<'a> {
    pub world: &'a World,
    pub people: &'a People,
    pub repositories: u64,
}

impl Meter<'_> {
    /// One of the repositories.
    pub fn somewhere(&self, draw: &mut Draw, spread: Spread) -> u64 {
        match spread {
            Spread::Anywhere => draw.below(self.repositories),
            // Spread over the whole key space.
            Spread::Hot => {
                draw.below(HOT.min(self.repositories)) * (self.repositories / HOT.min(self.repositories))
            }
        }
    }

    /// After which path a page of so many begins: with a public owner's first repository, so that a page of nine, and
    /// the one more that is looked for, has one owner's at every size; one of 99 leaves as many out as it holds.
    pub fn before(&self, draw: &mut Draw, spread: Spread, page: u64) -> String {
        let room = if page <= PER_OWNER { PER_OWNER } else { Self::room(page) };
        let owner = self.somewhere(draw, spread).min(self.repositories - room) / PER_OWNER;
        format!("{}/", content::owner((owner - owner % PUBLIC_EVERY) * PER_OWNER))
    }

    /// Repositories among which so many, and one more, are public, wherever one begins.
    fn room(page: u64) -> u64 {
        (page + 1).div_ceil(PER_OWNER) * PUBLIC_EVERY * PER_OWNER
    }

    /// Times one kind of read so many times.
    pub async fn read(&self, what: &str, spread: Spread, samples: usize, seed: u64) -> Result<Option<Cost>> {
        if what == "catalog_99" && self.repositories < Self::room(99) {
            return Ok(None);
        }
        // Each kind goes elsewhere: otherwise one would find what another has just read.
        let mut draw =
            Draw::new(what.bytes().fold(seed, |seed, byte| seed.wrapping_mul(31) + u64::from(byte)));
        let mut times = Vec::with_capacity(samples);
        for _ in 0..samples {
            let number = self.somewhere(&mut draw, spread);
            let caller = self.world.caller(self.people.of(number)?);
            let name = PackageName::parse(&content::repository(number))?;
            times.push(match what {
                "rights" => self.rights(&caller, &name).await?,
                "get_by_tag" | "get_by_digest" => {
                    let (tag, bytes) = manifest(&mut draw, number);
                    let reference = match what {
                        "get_by_tag" => Reference::Tag(Tag::parse(&tag)?),
                        _ => Reference::Digest(Digest::sha256(&bytes)),
                    };
                    self.get(&caller, &name, &reference, bytes.len()).await?
                }
                "tags_50" => self.tags(&caller, &name).await?,
                "catalog_9" => self.catalog(&caller, &self.before(&mut draw, spread, 9), 9).await?,
                // What the caller alone may see, in the midst of what others have.
                "catalog_9_few" => self.catalog(&caller, &format!("{}/", content::owner(number)), 9).await?,
                "catalog_9_anonymous" => {
                    let after = self.before(&mut draw, spread, 9);
                    self.catalog(&self.world.anonymous(), &after, 9).await?
                }
                "catalog_99" => self.catalog(&caller, &self.before(&mut draw, spread, 99), 99).await?,
                _ => self.referrers(&caller, &name, number, &mut draw).await?,
            });
        }
        Ok(Some(Cost::of_both(times)))
    }

    /// All reads, as JSON.
    pub async fn reads(&self, spread: Spread, samples: usize, seed: u64) -> Result<Value> {
        let mut all = Map::new();
        for what in READS {
            if let Some(cost) = self.read(what, spread, samples, seed).await? {
                all.insert(what.to_owned(), cost.json());
            }
        }
        Ok(Value::Object(all))
    }

    /// A bearer token for a repository, as a client would send it.
    pub async fn bearer(&self, caller: &Caller, name: &str) -> Result<String> {
        let access = vec![Access { name: name.to_owned(), verbs: vec![Verb::Pull] }];
        let issued = self.world.registry.authenticator().issue(caller, access).await?;
        Ok(format!("Bearer {}", issued.token.reveal()))
    }

    async fn rights(&self, caller: &Caller, name: &PackageName) -> Result<Took> {
        let authenticator = self.world.registry.authenticator();
        let mut headers = HeaderMap::new();
        let bearer = self.bearer(caller, &name.to_string()).await?;
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&bearer).map_err(Error::internal)?);
        let request = caller.request.clone();
        let watch = Watch::start();
        let found = authenticator.authenticate(&headers, Caller::anonymous(caller.at, request)).await?;
        let _grant: Grant<Pull> = self.world.grant(&found, name).await?;
        Ok(watch.stop())
    }

    async fn get(
        &self,
        caller: &Caller,
        name: &PackageName,
        reference: &Reference,
        length: usize,
    ) -> Result<Took> {
        let grant = self.world.grant(caller, name).await?;
        let watch = Watch::start();
        let head = self.world.registry.stat_manifest(&grant, reference).await?;
        let bytes = self.world.registry.manifest_bytes(&grant, &head).await?;
        let took = watch.stop();
        check(bytes.len() == length, "a manifest is not what was pushed")?;
        Ok(took)
    }

    async fn tags(&self, caller: &Caller, name: &PackageName) -> Result<Took> {
        let grant = self.world.grant(caller, name).await?;
        let watch = Watch::start();
        let page = self.world.registry.tags(&grant, None, 50).await?;
        let took = watch.stop();
        check(page.len() == 50, "a page of tags is short")?;
        Ok(took)
    }

    async fn catalog(&self, caller: &Caller, after: &str, length: usize) -> Result<Took> {
        let watch = Watch::start();
        let page = self.world.registry.catalog(caller, Some(after), length).await?;
        let took = watch.stop();
        check(page.len() == length, "a page of the catalog is short")?;
        Ok(took)
    }

    async fn referrers(
        &self,
        caller: &Caller,
        name: &PackageName,
        number: u64,
        draw: &mut Draw,
    ) -> Result<Took> {
        let grant = self.world.grant(caller, name).await?;
        let subject = Digest::sha256(&content::index(number, draw.below(5)));
        let watch = Watch::start();
        let page = self.world.registry.referrers(&grant, &subject, &[], None).await?;
        let took = watch.stop();
        check(page.list.len() == 2, "an index has not its two referrers")?;
        Ok(took)
    }

    /// Times pushes of new manifests, under new tags, one after the other: each waits for the disk.
    pub async fn puts(&self, samples: usize, seed: u64) -> Result<Cost> {
        let mut draw = Draw::new(seed);
        let mut times = Vec::with_capacity(samples);
        for sample in 0..samples {
            let number = self.somewhere(&mut draw, Spread::Anywhere);
            let caller = self.world.caller(self.people.of(number)?);
            let name = PackageName::parse(&content::repository(number))?;
            let bytes = content::image(number, draw.below(IMAGES));
            let mut json: Value = serde_json::from_slice(&bytes).map_err(Error::internal)?;
            json["annotations"]["build"] = format!("{seed}-{sample}").into();
            let tag = format!("build-{seed}-{sample}");
            let begun = Instant::now();
            self.world.manifest(&caller, &name, json.to_string().into(), Some(&tag)).await?;
            times.push(begun.elapsed());
        }
        Ok(Cost::of(times))
    }
}

/// One of a repository's tags and the bytes it names.
pub fn manifest(draw: &mut Draw, repository: u64) -> (String, bytes::Bytes) {
    match draw.below(IMAGES + INDEXES) {
        image if image < IMAGES => (content::image_tag(image), content::image(repository, image)),
        index => (content::index_tag(index - IMAGES), content::index(repository, index - IMAGES)),
    }
}

fn check(right: bool, what: &'static str) -> Result<()> {
    if right { Ok(()) } else { Err(Error::internal(what)) }
}
