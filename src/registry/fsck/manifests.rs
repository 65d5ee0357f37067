//! Manifests, their bytes, tags, referrers: the doc space.

use bytes::Bytes;

use super::{Check, Code, Found, fields::Fields, only_if, shown};
use crate::{
    error::Result,
    model::{Digest, PackageId, Tag},
    registry::{
        packages,
        records::{DeletedTag, ManifestRecord, TagRecord},
    },
    store::{Key, counter},
};

/// Most tags of one manifest that are counted.
const COUNTED: usize = 1000;

impl Check<'_> {
    pub(super) async fn doc(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let mut f = Fields(&key.bytes);
        let known = match (f.u8(), f.package()) {
            (Some(tag), Some(package)) => self.document(tag, key, value, package, f).await?,
            _ => None,
        };
        if known.is_none() {
            self.unknown(key);
        }
        Ok(())
    }

    async fn document(
        &mut self,
        tag: u8,
        key: &Key,
        value: &Bytes,
        package: PackageId,
        mut f: Fields<'_>,
    ) -> Result<Option<()>> {
        if tag == b't' {
            let Some(tag) = f.rest().and_then(|text| Tag::parse(text).ok()) else { return Ok(None) };
            self.tag(key, value, package, tag).await?;
            return Ok(Some(()));
        }
        if tag == b'y' {
            let Some(tag) = f.text().and_then(|text| Tag::parse(text).ok()) else { return Ok(None) };
            let (Some(_), Some(digest)) = (f.time(), f.digest()) else { return Ok(None) };
            let at = DeletedTag::key_of(package, &digest, &tag);
            self.entry(key, value, at, |bytes| DeletedTag::decode(package, digest, tag, bytes)).await?;
            return Ok(f.end());
        }
        let Some(digest) = f.digest() else { return Ok(None) };
        match tag {
            b'm' => {
                if let Some(record) = self.read(key, ManifestRecord::decode(package, digest, value)) {
                    self.manifest(key, value, &record).await?;
                }
            }
            b'c' => {
                if self.view.get(&ManifestRecord::key_of(package, &digest)).await?.is_none() {
                    let object = format!("manifest {}@{digest}", self.place(package).await);
                    self.find(Code::BodyStray, object, "its bytes are there, and its record is not");
                }
            }
            b'v' => {
                let at = ManifestRecord::key_of(package, &digest);
                let decode = |bytes: &[u8]| ManifestRecord::decode(package, digest, bytes);
                self.entry(key, value, at, decode).await?;
            }
            b's' => {
                let (Some(()), Some(by)) = (f.skip(8), f.digest()) else { return Ok(None) };
                let at = ManifestRecord::key_of(package, &by);
                self.entry(key, value, at, |bytes| ManifestRecord::decode(package, by, bytes)).await?;
            }
            b'd' => {
                let Some(tag) = f.rest().and_then(|text| Tag::parse(text).ok()) else { return Ok(None) };
                let at = TagRecord::key_of(package, tag.as_str());
                self.entry(key, value, at, |bytes| TagRecord::decode(package, tag, bytes)).await?;
            }
            b'x' => {
                let Some(tag) = f.rest().and_then(|text| Tag::parse(text).ok()) else { return Ok(None) };
                if let Some(record) = self.read(key, DeletedTag::decode(package, digest, tag, value)) {
                    let object = format!("deleted tag {}:{}", self.place(package).await, record.tag);
                    self.record(key, value, &record, &object).await?;
                }
            }
            b'a' => {
                let counted = self.counter(key, value);
                let tags = TagRecord::of_manifest(package, &digest);
                let named = self.view.scan(&tags, None, COUNTED).await?.len();
                self.count(key, Some(value), counted, named);
            }
            _ => return Ok(None),
        }
        Ok(f.end())
    }

    async fn manifest(&mut self, key: &Key, value: &Bytes, record: &ManifestRecord) -> Result<()> {
        let (package, digest) = (record.package, record.digest);
        let object = format!("manifest {}@{digest}", self.place(package).await);
        self.record(key, value, record, &object).await?;
        match packages::by_id(self.view, package).await {
            Ok(None) => {
                self.find(Code::PackageMissing, &*object, format!("there is no package {package}"));
            }
            Ok(Some(of)) if of.owner != record.owner => {
                let text = format!("it says that {} owns its package, and {} does", record.owner, of.owner);
                self.find(Code::OwnerWrong, &*object, text);
            }
            // A package that cannot be read is a finding of its own.
            Ok(Some(_)) | Err(_) => {}
        }
        let wrong = match self.view.get(&ManifestRecord::body_key(package, &digest)).await? {
            None => Some("its bytes are not there"),
            Some(body) if body.len() as u64 != record.size => {
                Some("its bytes are fewer or more than recorded")
            }
            Some(body) => {
                self.hashed += body.len() as u64;
                let altered = Digest::of(digest.algorithm(), &body) != digest;
                altered.then_some("its bytes do not have its digest")
            }
        };
        if let Some(text) = wrong {
            self.find(Code::ManifestBody, object, format!("{text}; a push of it repairs it"));
        }
        Ok(())
    }

    async fn tag(&mut self, key: &Key, value: &Bytes, package: PackageId, tag: Tag) -> Result<()> {
        let object = format!("tag {}:{tag}", self.place(package).await);
        let Some(record) = self.read(key, TagRecord::decode(package, tag, value)) else { return Ok(()) };
        self.record(key, value, &record, &object).await?;
        let digest = record.digest;
        let text = match self.view.get(&ManifestRecord::key_of(package, &digest)).await? {
            None => Some("which is not there"),
            Some(bytes) => ManifestRecord::decode(package, digest, &bytes)
                .is_ok_and(|manifest| manifest.deleted.is_some())
                .then_some("which was deleted"),
        };
        if let Some(text) = text {
            self.find(Code::TagDangling, object, format!("it names {digest}, {text}"));
        }
        let arrivals = TagRecord::arrivals(package, &digest);
        let counted = self.view.get(&arrivals).await?;
        self.count(&arrivals, counted.as_ref(), counter(counted.as_ref()), 1);
        Ok(())
    }

    /// A count that others rely on to be at least what it counts.
    fn count(&mut self, key: &Key, value: Option<&Bytes>, counted: i64, there: usize) {
        let there = i64::try_from(there).unwrap_or(i64::MAX);
        if counted >= there {
            return;
        }
        let mut batch = only_if(key, value);
        batch.put(key.clone(), Bytes::copy_from_slice(&there.to_be_bytes()));
        let text = format!("{there} came to it, and {counted} are counted");
        self.add(Found::new(Code::CounterLow, shown(key), text).mended_by(batch));
    }
}
