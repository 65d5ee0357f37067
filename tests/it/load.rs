//! The load harness's reader of answers: if it lost count, every figure would be wrong, and quietly.

#[path = "../../benches/load/client/answer.rs"]
mod answer;

use answer::{Chunks, Framing, head};

#[test]
fn heads_are_read_wherever_they_are_cut() {
    let text = b"HTTP/1.1 202 Accepted\r\nServer: x\r\nLOCATION:  /v2/a/blobs/uploads/1?state=2 \r\ncontent-length: 12\r\n\r\n";
    for cut in 0..text.len() {
        assert_eq!(head(&text[..cut], false).unwrap(), None, "{cut} bytes are no head");
    }
    let mut whole = text.to_vec();
    whole.extend_from_slice(b"twelve bytes");
    let found = head(&whole, false).unwrap().unwrap();
    assert_eq!((found.status, found.framing, found.closes), (202, Framing::Length(12), false));
    assert_eq!(found.size, text.len());
    let (start, end) = found.location.unwrap();
    assert_eq!(&whole[start..end], b"/v2/a/blobs/uploads/1?state=2");
}

#[test]
fn bodies_end_where_their_heads_say() {
    let framing = |text: &str, to_head| head(text.as_bytes(), to_head).unwrap().unwrap().framing;
    assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true), Framing::Length(0));
    assert_eq!(framing("HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", false), Framing::Length(0));
    assert_eq!(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false), Framing::Chunked);
    let closes = head(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false);
    assert!(closes.unwrap().unwrap().closes);
    for wrong in ["HTTP/1.1 200 OK\r\nX: y\r\n\r\n", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"] {
        assert!(head(wrong.as_bytes(), false).is_err(), "{wrong:?}");
    }
    assert!(head(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", false).is_err());
}

#[test]
fn chunks_are_counted_wherever_they_are_cut() {
    let text = b"4\r\nWiki\r\nC;name=value\r\npedia in\r\n\nc\r\n0\r\nTrailer: x\r\n\r\nHTTP/1.1 200";
    for cut in 0..text.len() {
        let (mut chunks, mut body) = (Chunks::default(), Vec::new());
        let (first, over) = chunks.take(&text[..cut], |data| body.extend_from_slice(data)).unwrap();
        let (second, over) = if over {
            (0, over)
        } else {
            chunks.take(&text[cut..], |data| body.extend_from_slice(data)).unwrap()
        };
        assert!(over);
        assert_eq!(first + second, text.len() - b"HTTP/1.1 200".len());
        assert_eq!(body, b"Wikipedia in\r\n\nc");
    }
    for wrong in [&b"x\r\n"[..], b"1\r\nab\r\n0\r\n\r\n"] {
        assert!(Chunks::default().take(wrong, |_| ()).is_err());
    }
}
