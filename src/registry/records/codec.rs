//! The compact form of hot records: a version byte, then fields in order, numbers big endian, text and bytes behind a
//! 32-bit length.

use super::corrupt;
use crate::{error::Result, model::Digest};

/// Writes fields.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new(version: u8) -> Self {
        // Holds most records whole: growing to it would move each some six times.
        let mut bytes = Vec::with_capacity(192);
        bytes.push(version);
        Self(bytes)
    }

    pub(crate) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        // Nothing stored is near 4 GiB: a manifest's parts are bounded by its own limit.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.raw(&length.to_be_bytes()).raw(bytes)
    }

    pub(crate) fn digest(mut self, digest: &Digest) -> Self {
        digest.write_key(&mut self.0);
        self
    }

    pub(crate) fn finish(self) -> bytes::Bytes {
        self.0.into()
    }
}

/// Reads fields; running out of bytes is corruption.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Begins to read a record; also says its version.
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Result<(u8, Self)> {
        let (version, rest) = bytes.split_first().ok_or_else(|| corrupt(what, "empty"))?;
        Ok((*version, Self { rest, what }))
    }

    pub(crate) fn raw(&mut self, length: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.broken("too short"))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let what = self.what;
        self.raw(N)?.try_into().map_err(|_| corrupt(what, "too short"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A truth value: one byte, 0 or 1.
    pub(crate) fn flag(&mut self) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.broken("a flag is neither 0 nor 1")),
        }
    }

    /// The record's end: a byte more is as wrong as one too few.
    pub(crate) fn end(&self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.broken("too long")) }
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = u32::from_be_bytes(self.array()?);
        self.raw(length as usize)
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        let what = self.what;
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| corrupt(what, "text is not UTF-8"))
    }

    pub(crate) fn key16(&mut self) -> Result<[u8; 16]> {
        self.array()
    }

    pub(crate) fn digest(&mut self) -> Result<Digest> {
        let (digest, rest) = Digest::read_key(self.rest).ok_or_else(|| self.broken("bad digest"))?;
        self.rest = rest;
        Ok(digest)
    }

    pub(crate) fn broken(&self, why: &str) -> crate::error::Error {
        corrupt(self.what, why)
    }
}
