//! Rows that go by themselves, rows of an older release, pages of many rows, refusals over the rate.

use super::*;
use crate::{
    auth::{Caller, Grant, Operate, OwnerTarget, ReadAudit},
    error::Kind,
    model::{OwnerId, PackageId, Timestamp},
    registry::{
        Settings, events,
        fsck::{FsckOptions, tests::world::World},
        records::{AuditRecord, Log, audit::everything},
        tests::InMemory,
    },
    store::{Batch, MetadataRead as _, MetadataStore as _, Record as _, stream_key},
};

const AT: Timestamp = Timestamp(1_700_000_000_000);

async fn memory(settings: Settings) -> InMemory {
    InMemory::new(settings, AT).await
}

fn operate(memory: &InMemory) -> Grant<Operate> {
    let operator = Caller::operator(memory.registry.now(), "test".into());
    memory.registry.policy().authorize_system(&operator).unwrap()
}

/// Writes a row at a moment, by a caller.
async fn write(memory: &InMemory, stream: events::Stream, at: u64, request: &str) {
    let caller = Caller::operator(Timestamp(at), request.into());
    let mut batch = Batch::new();
    events::rights(&mut batch, stream, &caller, "test.done", "twice".into());
    events::rights(&mut batch, stream, &caller, "test.again", String::new());
    memory.meta.commit(batch).await.unwrap();
}

async fn all(memory: &InMemory, query: &AuditQuery) -> AuditPage {
    memory.registry.audit_of_everything(&operate(memory), query).await.unwrap()
}

async fn clean(memory: &InMemory) {
    let found = memory.registry.findings(&operate(memory), FsckOptions { deep: false, repair: false }).await;
    assert!(found.as_ref().is_ok_and(Vec::is_empty), "{found:?}");
}

#[tokio::test]
async fn rows_go_when_they_are_old_and_what_is_left_is_whole() {
    let memory = memory(Settings { audit_keep: 100, ..Settings::default() }).await;
    let one = events::stream_of_owner(OwnerId::INSTALLATION);
    let other = events::stream_of(OwnerId(7), PackageId(9));
    let far = AT.0 + 1_000_000;
    for n in 0..300 {
        write(&memory, one, far + n * 1000, &format!("one{n}")).await;
        // Requests that took longer come late: an older row stands behind a younger one.
        write(&memory, other, far + (n ^ 1) * 1000, &format!("other{n}")).await;
    }
    let count = async || all(&memory, &AuditQuery { limit: 10_000, ..AuditQuery::default() }).await.count;
    let first = count().await - 600;
    assert!(first > 0, "the first start is on record");
    let mut gone = 0;
    loop {
        match memory.registry.expire_audit(Timestamp(far + 100_000 + 150_000), 50).await.unwrap() {
            0 => break,
            more => gone += more,
        }
    }
    let left = all(&memory, &AuditQuery { limit: 10_000, ..AuditQuery::default() }).await;
    assert_eq!(gone + left.count, 600 + first);
    // 0 to 150 of one; of the other too, but for 150, which stands behind 151.
    assert_eq!(left.count, 149 + 150);
    let oldest = left.rows.iter().map(|row| row.at.0).min().unwrap();
    assert_eq!(oldest, far + 150_000);
    clean_streams(&memory).await;
    // What is kept for ever stays.
    memory.registry.set_settings(Settings { audit_keep: 0, ..Settings::default() });
    assert_eq!(memory.registry.expire_audit(Timestamp(u64::MAX), 1000).await.unwrap(), 0);
}

/// Each stream is without a gap, and the lists are those that follow from it.
async fn clean_streams(memory: &InMemory) {
    let mut lists = std::collections::BTreeSet::new();
    for streams in AuditRecord::streams() {
        let mut last: Option<(Log, u64)> = None;
        for (key, value) in memory.meta.scan(&streams, None, 10_000).await.unwrap() {
            let (log, number) = AuditRecord::place(&key).unwrap();
            assert!(last.is_none_or(|last| last.0 != log || last.1 + 1 == number), "{last:?} {number}");
            last = Some((log, number));
            lists.extend(AuditRecord::decode(log, number, &value).unwrap().index());
        }
    }
    let mut stored = std::collections::BTreeSet::new();
    for tag in [b't', b'w', b's', b'p'] {
        let list = crate::store::Key::new(crate::store::Space::Event, tag);
        stored.extend(memory.meta.scan(&list, None, 10_000).await.unwrap().into_iter().map(|(key, _)| key));
    }
    assert_eq!(lists, stored);
}

#[tokio::test]
async fn pages_meet_each_other_and_show_every_row_once() {
    let world = World::new().await;
    let memory = &world.memory;
    let package = world.package().await;
    let stream = events::stream_of(package.owner, package.id);
    // Another owner had it before.
    for n in 0..5 {
        write(memory, events::stream_of(OwnerId(77), package.id), AT.0 + n, &format!("before{n}")).await;
    }
    for n in 0..700 {
        write(memory, stream, AT.0 + 1000 + n / 3, &format!("r{n}")).await;
    }
    let operator = Caller::operator(memory.registry.now(), "test".into());
    let grant: Grant<ReadAudit> =
        memory.registry.policy().authorize_owner(&operator, &package.owner_name).await.unwrap();
    let name = package.package_name().unwrap();
    for package in [None, Some(name.clone())] {
        let query = AuditQuery { package, action: Some("test.".into()), limit: 33, ..AuditQuery::default() };
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let query = AuditQuery { after: after.clone(), ..query.clone() };
            let page = memory.registry.audit_of_owner(&grant, &query).await.unwrap();
            assert!(page.count <= 33 && page.rows.len() == page.count * 2);
            seen.extend(page.rows.iter().step_by(2).map(|row| row.request.clone()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 700, "each once, and nothing of its owner before");
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 700);
    }
    let window = AuditQuery {
        since: Some(Timestamp(AT.0 + 1010)),
        until: Some(Timestamp(AT.0 + 1019)),
        limit: 1000,
        ..AuditQuery::default()
    };
    for package in [None, Some(name)] {
        let query = AuditQuery { package, ..window.clone() };
        assert_eq!(memory.registry.audit_of_owner(&grant, &query).await.unwrap().count, 30);
    }
    for wrong in ["", "00", "zz", &"0".repeat(48), &"f".repeat(52)] {
        let query = AuditQuery { after: Some(wrong.into()), limit: 1, ..AuditQuery::default() };
        let said = memory.registry.audit_of_owner(&grant, &query).await;
        assert!(said.is_err_and(|error| matches!(error.kind(), Kind::Invalid(_))), "{wrong}");
    }
}

#[tokio::test]
async fn rows_of_an_older_release_are_in_the_lists_after_the_upgrade() {
    let world = World::new().await;
    let memory = &world.memory;
    let whole = memory.everything().await;
    // As that release left them: one row for each thing done, in no list.
    let mut batch = Batch::new();
    let mut rows = 0;
    for (key, value) in whole.iter().filter(|(key, _)| key.space == crate::store::Space::Event) {
        let Some((log, number)) = AuditRecord::place(key) else {
            batch.delete(key.clone());
            continue;
        };
        let entry = AuditRecord::decode(log, number, value).unwrap().entry;
        batch.put(key.clone(), crate::registry::records::to_json(1, &entry.events().next().unwrap()));
        rows += 1;
    }
    let gone = stream_key(&Log::Package(PackageId(5)).stream(), 1);
    let event = r#"{"action":"manifest.put","at":9,"by":"operator","request":"r"}"#;
    batch.put(gone, [b"\x01", event.as_bytes()].concat());
    batch.delete(super::upgrade::key());
    memory.meta.commit(batch).await.unwrap();
    assert!(memory.meta.scan(&everything(), None, 10).await.unwrap().is_empty());
    clean(memory).await;

    memory.registry.upgrade().await.unwrap();
    clean(memory).await;
    clean_streams(memory).await;
    let all = all(memory, &AuditQuery { limit: 1000, ..AuditQuery::default() }).await;
    assert_eq!(all.count, rows + 1);
    let owner = world.package().await;
    let operator = Caller::operator(memory.registry.now(), "test".into());
    let grant: Grant<ReadAudit> =
        memory.registry.policy().authorize_owner(&operator, &owner.owner_name).await.unwrap();
    let OwnerTarget { id, .. } = grant.target();
    assert_eq!(*id, owner.owner);
    let query = AuditQuery { limit: 1000, action: Some("manifest.".into()), ..AuditQuery::default() };
    let mine = memory.registry.audit_of_owner(&grant, &query).await.unwrap();
    assert!(mine.count > 0 && mine.count < all.count);
    // Nothing is written by the next start.
    let before = memory.everything().await;
    memory.registry.upgrade().await.unwrap();
    assert_eq!(memory.everything().await, before);
}

#[tokio::test]
async fn whoever_is_refused_too_often_fills_no_disk() {
    let memory = memory(Settings { space_reserve: 0, ..Settings::default() }).await;
    let at = memory.registry.now();
    let told = |n: u32| Caller {
        address: Some(std::net::IpAddr::V4(n.into())),
        ..Caller::anonymous(at, "r".into())
    };
    let before = all(&memory, &AuditQuery { limit: 100_000, ..AuditQuery::default() }).await.count;
    let mut must_write = 0;
    for n in 0..5000 {
        let caller = told(n % 7);
        let (owner, package, asked) = (None, None, "PUT /v2/a");
        let denied = Some("role");
        let told =
            Told { caller: &caller, action: "package:push", owner, package, asked, denied, writes: true };
        must_write += usize::from(memory.registry.tell(told));
    }
    assert_eq!(must_write, 1, "one writes for all");
    memory.registry.write_told().await.unwrap();
    let query = AuditQuery { limit: 100_000, denied: true, ..AuditQuery::default() };
    assert_eq!(all(&memory, &query).await.count, 7 * 50);
    let dropped = AuditQuery { action: Some("audit.dropped".into()), limit: 10, ..AuditQuery::default() };
    let said = all(&memory, &dropped).await;
    assert_eq!(said.rows.len(), 1);
    assert_eq!(said.rows[0].detail, format!("{} denials", 5000 - 350));
    assert_eq!((said.rows[0].actor.as_str(), said.rows[0].object.as_str()), ("job:audit", "installation"));
    let after = all(&memory, &AuditQuery { limit: 100_000, ..AuditQuery::default() }).await.count;
    assert_eq!(after, before + 350 + 1);
    let metrics = memory.registry.audit_metrics();
    assert_eq!([metrics[0].2, metrics[1].2], [5000, 4650]);

    // Reads are nobody's business unless a setting says so.
    let caller = told(1000);
    let (owner, package, denied) = (None, None, None);
    let read =
        Told { caller: &caller, action: "package.pull", owner, package, asked: "GET", denied, writes: false };
    assert!(!memory.registry.tell(read));
    memory.registry.set_settings(Settings { audit_reads: true, space_reserve: 0, ..Settings::default() });
    assert!(memory.registry.tell(read));
    memory.registry.write_told().await.unwrap();
    let reads = AuditQuery { action: Some("package.pull".into()), limit: 10, ..AuditQuery::default() };
    assert_eq!(all(&memory, &reads).await.count, 1);
}
