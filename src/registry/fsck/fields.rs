//! Reading the fields of a key, each of fixed length or ended by a NUL.

use crate::model::{Collaborator, Digest, Group, OwnerId, PackageId, Timestamp, TokenId, UploadId};

/// What of a key is not read yet.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn owner(&mut self) -> Option<OwnerId> {
        self.u64().map(OwnerId)
    }

    pub(super) fn package(&mut self) -> Option<PackageId> {
        self.u64().map(PackageId)
    }

    pub(super) fn token(&mut self) -> Option<TokenId> {
        self.u64().map(TokenId)
    }

    pub(super) fn group(&mut self) -> Option<Group> {
        self.array().and_then(Group::from_bytes)
    }

    pub(super) fn collaborator(&mut self) -> Option<Collaborator> {
        self.array().and_then(Collaborator::from_bytes)
    }

    pub(super) fn time(&mut self) -> Option<Timestamp> {
        self.u64().map(Timestamp)
    }

    pub(super) fn upload(&mut self) -> Option<UploadId> {
        self.array().map(UploadId)
    }

    pub(super) fn digest(&mut self) -> Option<Digest> {
        let (digest, rest) = Digest::read_key(self.0)?;
        self.0 = rest;
        Some(digest)
    }

    /// So many bytes of no interest.
    pub(super) fn skip(&mut self, length: usize) -> Option<()> {
        self.0 = self.0.get(length..)?;
        Some(())
    }

    /// Text up to a NUL.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(&self.0[..end]).ok()?;
        self.0 = &self.0[end + 1..];
        Some(text)
    }

    /// All the rest as text.
    pub(super) fn rest(&mut self) -> Option<&'a str> {
        std::str::from_utf8(std::mem::take(&mut self.0)).ok()
    }

    /// That nothing is left.
    pub(super) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}
