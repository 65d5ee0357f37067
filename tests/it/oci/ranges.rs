//! Parts of blobs.

use super::{alice, blob, fresh_bytes};
use crate::support::{Client, Response};

/// One size that stays in metadata, as the suite's, and one that is a file.
const SIZES: [usize; 2] = [2048, 70_000];

#[track_caller]
fn part(client: &Client, target: &str, range: &str) -> Response {
    client.send("GET", target, &[("Range", range)], b"")
}

#[test]
fn b58_single_open_and_suffix_ranges() {
    let (client, repository) = alice();
    for size in SIZES {
        let bytes = fresh_bytes(size);
        let target = blob(&repository, &client.push_blob(&repository, &bytes));
        let end = size - 1;
        let cases: [(String, usize, usize); 11] = [
            ("bytes=500-1499".into(), 500, 1499),
            ("bytes=500-".into(), 500, end),
            ("bytes=-500".into(), size - 500, end),
            (format!("bytes={}-{}", size - 48, size + 2952), size - 48, end),
            ("bytes=0-0".into(), 0, 0),
            ("bytes=0-1".into(), 0, 1),
            ("bytes=0-".into(), 0, end),
            (format!("bytes={end}-"), end, end),
            ("bytes=-1".into(), end, end),
            (format!("bytes=-{}", size * 3), 0, end),
            (format!("bytes=0-{}", u64::MAX), 0, end),
        ];
        for (range, first, last) in cases {
            let answer = part(&client, &target, &range);
            assert_eq!(answer.status, 206, "{range}");
            assert_eq!(answer.header("content-range"), Some(format!("bytes {first}-{last}/{size}").as_str()));
            assert_eq!(
                answer.header("content-length"),
                Some((last - first + 1).to_string().as_str()),
                "{range}"
            );
            assert_eq!(answer.header("accept-ranges"), Some("bytes"));
            assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
            assert!(answer.header("etag").is_some() && answer.header("docker-content-digest").is_some());
            assert!(answer.body == bytes[first..=last], "{range}");
        }
    }
}

#[test]
fn b58_what_lies_in_no_blob_is_416_and_says_the_size() {
    let (client, repository) = alice();
    for size in SIZES {
        let target = blob(&repository, &client.push_blob(&repository, &fresh_bytes(size)));
        let beyond =
            [format!("bytes={size}-"), format!("bytes={}-{}", size + 5, size + 9), "bytes=-0".into()];
        for range in beyond.iter().map(String::as_str).chain([
            "bytes=500-0",
            "bytes=1-0",
            "bytes=99999999999999999999-",
        ]) {
            let answer = part(&client, &target, range).refuses(416, "RANGE_INVALID");
            assert_eq!(answer.header("content-range"), Some(format!("bytes */{size}").as_str()), "{range}");
        }
    }
}

#[test]
fn b58_the_empty_blob_has_no_parts() {
    let (client, repository) = alice();
    let target = blob(&repository, &client.push_blob(&repository, b""));
    for range in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
        let answer = part(&client, &target, range).refuses(416, "RANGE_INVALID");
        assert_eq!(answer.header("content-range"), Some("bytes */0"));
    }
    assert_eq!(client.get(&target).expect(200).header("content-length"), Some("0"));
}

/// What is no range of bytes asks for nothing in particular, so for the whole (RFC 9110 §14.2).
#[test]
fn b58_what_is_no_range_is_ignored() {
    let (client, repository) = alice();
    let bytes = fresh_bytes(2048);
    let target = blob(&repository, &client.push_blob(&repository, &bytes));
    for range in
        ["", "bytes", "bytes=", "lines=1-2", "bytes=a-b", "bytes=+1-2", "bytes=-", "bytes=1", "bytes=0-1,x"]
    {
        let answer = part(&client, &target, range).expect(200);
        assert_eq!(answer.header("content-range"), None, "{range:?}");
        assert!(answer.body == bytes, "{range:?}");
    }
    let head = client.send("HEAD", &target, &[("Range", "bytes=0-1")], b"").expect(200);
    assert_eq!(head.header("content-length"), Some("2048"), "a range is a matter of GET");
    assert_eq!(head.header("accept-ranges"), Some("bytes"));
}

/// The parts of a `multipart/byteranges` answer: first, last, bytes.
#[track_caller]
fn parts(answer: &Response, size: usize) -> Vec<(usize, usize, Vec<u8>)> {
    let kind = answer.header("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect(kind).trim_matches('"');
    assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
    assert_eq!(answer.header("content-range"), None, "each part has its own");
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    // The line break before the first delimiter may be left out (RFC 2046 §5.1.1).
    let whole = [b"\r\n".as_slice(), answer.body.strip_prefix(b"\r\n").unwrap_or(&answer.body)].concat();
    let mut found = Vec::new();
    let mut rest = whole.strip_prefix(delimiter.as_slice()).expect("it begins with the boundary");
    while let Some(body) = rest.strip_prefix(b"\r\n") {
        let head = body.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let text = std::str::from_utf8(&body[..head]).unwrap().to_ascii_lowercase();
        let range = text.lines().find_map(|line| line.strip_prefix("content-range: bytes ")).unwrap();
        let (range, total) = range.split_once('/').unwrap();
        assert_eq!(total, size.to_string());
        let (first, last) = range.split_once('-').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        let bytes = &body[head + 4..][..=last - first];
        found.push((first, last, bytes.to_vec()));
        rest = body[head + 4 + bytes.len()..]
            .strip_prefix(delimiter.as_slice())
            .expect("a boundary ends a part");
    }
    assert!(rest.starts_with(b"--"), "the last boundary says so");
    found
}

/// zstd:chunked pulls of podman and skopeo, and lazy pulls, read several parts at once.
#[test]
fn b58_several_ranges_are_one_multipart_answer() {
    let (client, repository) = alice();
    for size in SIZES {
        let bytes = fresh_bytes(size);
        let target = blob(&repository, &client.push_blob(&repository, &bytes));
        let end = size - 1;
        for (range, expected) in [
            ("bytes=0-9,100-199".to_owned(), vec![(0, 9), (100, 199)]),
            ("bytes=100-199, 0-9,-5".to_owned(), vec![(100, 199), (0, 9), (size - 5, end)]),
            (format!("bytes=0-0,{end}-"), vec![(0, 0), (end, end)]),
            // One that lies beyond the end is left out.
            (format!("bytes=1-2,5-6,{}-", size + 10), vec![(1, 2), (5, 6)]),
        ] {
            let answer = part(&client, &target, &range).expect(206);
            let found = parts(&answer, size);
            let places: Vec<_> = found.iter().map(|(first, last, _)| (*first, *last)).collect();
            assert_eq!(places, expected, "{range}");
            for (first, last, part) in found {
                assert!(part == bytes[first..=last], "{range}: {first}-{last}");
            }
        }
        // One of two that lies in the blob is a single part.
        let answer = part(&client, &target, &format!("bytes=3-4,{}-", size + 10)).expect(206);
        assert_eq!(answer.header("content-range"), Some(format!("bytes 3-4/{size}").as_str()));
        part(&client, &target, &format!("bytes={size}-,{}-", size + 1)).refuses(416, "RANGE_INVALID");
    }
}

/// Ranges that ask for more than there is, or for very many parts, are not worked through (CVE-2011-3192).
#[test]
fn b58_greedy_ranges_get_the_blob_once() {
    let (client, repository) = alice();
    let bytes = fresh_bytes(2048);
    let target = blob(&repository, &client.push_blob(&repository, &bytes));
    let many =
        format!("bytes={}", (0..1000).map(|index| format!("{index}-{index}")).collect::<Vec<_>>().join(","));
    let overlapping = format!("bytes={}", ["0-"; 50].join(","));
    for range in [many.as_str(), &overlapping, "bytes=0-2047,0-2047"] {
        let answer = part(&client, &target, range);
        assert!(answer.body.len() < 3 * bytes.len(), "{}", answer.body.len());
        assert_eq!(answer.status, 200);
        assert!(answer.body == bytes);
    }
}

#[test]
fn b58_if_range_holds_for_the_very_content() {
    let (client, repository) = alice();
    let bytes = fresh_bytes(2048);
    let digest = client.push_blob(&repository, &bytes);
    let target = blob(&repository, &digest);
    let ask = |tag: &str| client.send("GET", &target, &[("Range", "bytes=1-2"), ("If-Range", tag)], b"");
    assert!(ask(&format!("\"{digest}\"")).expect(206).body == bytes[1..=2]);
    // Another tag, a weak one (RFC 9110 §13.1.5), a date: the content may be another, so the whole.
    for tag in ["\"sha256:other\"", &format!("W/\"{digest}\""), &digest, "Sat, 01 Jan 2000 00:00:00 GMT"] {
        assert!(ask(tag).expect(200).body == bytes, "{tag}");
    }
    let both = [("Range", "bytes=1-2"), ("If-None-Match", &format!("\"{digest}\""))];
    client.send("GET", &target, &both, b"").expect(304);
}

#[test]
fn b59_nothing_is_ever_content_encoded() {
    let (client, repository) = alice();
    let zeros = vec![0; 200_000];
    let layer = client.push_blob(&repository, &zeros);
    client.push_image(&repository, "latest", 59);
    let accepted = "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5, br, *;q=0.1";
    for target in [blob(&repository, &layer), super::manifest(&repository, "latest")] {
        let plain = client.get(&target).expect(200);
        for encoding in [accepted, "gzip", "identity;q=0, gzip", "*"] {
            let answer = client.send("GET", &target, &[("Accept-Encoding", encoding)], b"").expect(200);
            assert_eq!(answer.header("content-encoding"), None, "{encoding}");
            assert_eq!(answer.header("content-length"), plain.header("content-length"));
            assert!(answer.body == plain.body);
        }
        let part = client.send("GET", &target, &[("Accept-Encoding", "gzip"), ("Range", "bytes=0-9")], b"");
        assert_eq!(part.header("content-encoding"), None);
    }
}
