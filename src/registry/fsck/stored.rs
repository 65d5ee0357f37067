//! The files of the blob store against the records and the trash: which are pointed at, by how many, from where.
//!
//! Records are by digest and files by random keys, and there is no index from one to the other. So files are taken in
//! runs of a bounded length, and all records are walked once for each run.

use super::{Code, Found, Run};
use crate::{
    error::Result,
    model::{Digest, PhysicalKey},
    registry::records::{
        BlobRecord, Location,
        blob::{trash, trash_in},
    },
    store::{Key, MetadataRead, Space},
};

/// Files of one run: 17 bytes each.
const RUN: usize = 1 << 20;
/// Keys and names read at once.
const PAGE: usize = 256;
/// Names of files read at once.
const NAMES: usize = 4096;

/// What points at a file.
const RECORD: u8 = 1;
const TRASH: u8 = 2;

/// Some files of the blob store, in order, and what points at each.
struct Files {
    keys: Vec<PhysicalKey>,
    marks: Vec<u8>,
}

impl Files {
    /// Marks a file; says what it was marked with before.
    fn mark(&mut self, key: PhysicalKey, with: u8) -> u8 {
        let Ok(at) = self.keys.binary_search(&key) else { return 0 };
        let before = self.marks[at];
        self.marks[at] = before | with;
        before
    }
}

impl Run<'_> {
    pub(super) async fn files(&mut self) -> Result<()> {
        let mut after = None;
        loop {
            let mut keys = Vec::new();
            let mut last = false;
            while keys.len() < RUN && !last {
                let page = self.registry.blobs.list(after, NAMES).await?;
                last = page.len() < NAMES;
                after = page.last().copied().or(after);
                keys.extend(page);
            }
            self.checked.files += keys.len() as u64;
            self.progress("blobs").await?;
            let marks = vec![0; keys.len()];
            self.against(Files { keys, marks }).await?;
            if last {
                return Ok(());
            }
        }
    }

    /// Walks records and trash by one view, which is younger than the list of files: what was published and recorded by
    /// then is seen as recorded.
    async fn against(&mut self, mut files: Files) -> Result<()> {
        let view = self.registry.meta.snapshot()?;
        let mut after = None;
        loop {
            let page =
                view.scan(&Key { space: Space::Blob, bytes: vec![b'b'] }, after.as_ref(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (key, value) in &page {
                let Some((digest, _)) = Digest::read_key(&key.bytes[1..]) else { continue };
                let Ok(blob) = BlobRecord::decode(digest, value) else { continue };
                if let Location::Physical(file) = blob.location
                    && files.mark(file, RECORD) & RECORD != 0
                {
                    let text = format!("its bytes lie in {file}, and so do another blob's");
                    self.tell(Found::new(Code::BytesShared, format!("blob {digest}"), text)).await?;
                }
            }
            tokio::task::yield_now().await;
        }
        self.trash(view.as_ref(), &mut files).await?;
        for (key, marks) in files.keys.iter().zip(&files.marks) {
            if *marks == 0 {
                self.orphan(*key).await?;
            }
        }
        Ok(())
    }

    async fn trash(&mut self, view: &dyn MetadataRead, files: &mut Files) -> Result<()> {
        let mut after = None;
        loop {
            let page = view.scan(&trash(), after.as_ref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, value) in &page {
                let Some((_, file)) = trash_in(key) else { continue };
                if files.mark(file, TRASH) & RECORD != 0 {
                    let mut batch = super::only_if(key, Some(value));
                    batch.delete(key.clone());
                    let text = "its bytes are a blob's, and would be deleted";
                    let found = Found::new(Code::TrashLive, format!("trash {file}"), text);
                    self.tell(found.mended_by(batch)).await?;
                }
            }
        }
    }

    /// A file that nothing points at. A young one may be on its way to its record; and a crash leaves some, which the
    /// daemon removes by itself when they are old enough. Only one that stayed beyond that is a finding.
    async fn orphan(&mut self, key: PhysicalKey) -> Result<()> {
        let Some(file) = self.registry.blobs.stat(key).await? else { return Ok(()) };
        if file.age.as_secs() < self.registry.settings().orphan_grace.saturating_mul(2) {
            self.checked.waiting += 1;
            return Ok(());
        }
        let text = format!("{} bytes that nothing points at", file.size);
        self.tell(Found::new(Code::BytesOrphan, format!("file {key}"), text)).await
    }
}
