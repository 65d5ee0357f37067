//! Any request target: no panic, and what parses names nothing that could leave its repository.
#![no_main]

use libfuzzer_sys::fuzz_target;
use packhouse::adapter::{Adapter, Head, oci::Oci};

fuzz_target!(|data: (u8, &str)| {
    let methods = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"];
    let Ok(method) = methods[data.0 as usize % methods.len()].parse::<http::Method>() else { return };
    let Ok(uri) = data.1.parse::<http::Uri>() else { return };
    let headers = http::HeaderMap::new();
    if let Ok(route) = Oci::parse(Head { method: &method, uri: &uri, headers: &headers }) {
        assert!(Oci::ROUTES.contains(&Oci::name(&route)));
        if let Some(scope) = route.scope() {
            assert!(!scope.contains("..") && !scope.contains('"') && !scope.contains('\\') && scope.is_ascii());
        }
    }
});
