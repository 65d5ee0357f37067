//! From a request's head to what it asks.

use std::hint::black_box;

use criterion::Criterion;
use http::{HeaderMap, Method, Uri};
use packhouse::adapter::{Head, oci::Route};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parse(criterion: &mut Criterion) {
    let headers = HeaderMap::new();
    let mut group = criterion.benchmark_group("route");
    for (name, method, path) in [
        ("manifest_by_tag", Method::GET, "/v2/acme/app/manifests/1.2.3".to_owned()),
        ("manifest_deep", Method::GET, "/v2/acme/a/b/c/d/e/f/g/manifests/1.2.3".to_owned()),
        ("blob", Method::GET, format!("/v2/acme/app/blobs/{DIGEST}")),
        ("upload_put", Method::PUT, format!("/v2/acme/app/blobs/uploads/{:032x}?digest={DIGEST}", 7)),
        ("tags_page", Method::GET, "/v2/acme/app/tags/list?n=100&last=1.2.3".to_owned()),
    ] {
        let uri: Uri = path.parse().expect("a path");
        group.bench_function(name, |bencher| {
            bencher.iter(|| Route::parse(Head { method: &method, uri: black_box(&uri), headers: &headers }));
        });
    }
    group.finish();
}

criterion::criterion_group!(group, parse);
