//! A record and its index entries, either way.

use bytes::Bytes;

use super::{Check, Code, Found, only_if, shown};
use crate::{
    error::{Error, Result},
    store::{Key, Record},
};

impl Check<'_> {
    /// Reads a record; one that cannot be read is a finding.
    pub(super) fn read<R>(&mut self, key: &Key, decoded: Result<R>) -> Option<R> {
        match decoded {
            Ok(record) => Some(record),
            Err(error) => {
                self.broken(key, &error);
                None
            }
        }
    }

    pub(super) fn broken(&mut self, key: &Key, error: &Error) {
        let why = error.cause().map_or_else(|| error.to_string(), ToString::to_string);
        self.find(Code::RecordBroken, shown(key), why);
    }

    /// Checks that a record lies where it belongs, as this program would write it, and that its index is there.
    pub(super) async fn record<R: Record>(
        &mut self,
        key: &Key,
        value: &Bytes,
        record: &R,
        object: &str,
    ) -> Result<()> {
        if record.key() != *key {
            self.find(Code::RecordMisplaced, object, format!("it lies under {}", shown(key)));
            return Ok(());
        }
        if record.value() != *value {
            self.find(
                Code::RecordForm,
                object,
                "it is not spelled as this program writes it, so no change of it can succeed",
            );
        }
        let entries: Vec<Key> = record.index().into_iter().collect();
        for chunk in entries.chunks(256) {
            let stored = self.view.multi_get(chunk).await?;
            for (entry, _) in chunk.iter().zip(stored).filter(|(_, stored)| stored.is_none()) {
                let mut batch = only_if(key, Some(value));
                batch.expect_absent(entry.clone());
                batch.put(entry.clone(), Bytes::new());
                let text = format!("its index entry {} is missing", shown(entry));
                self.add(Found::new(Code::IndexMissing, object, text).mended_by(batch));
            }
        }
        Ok(())
    }

    /// Checks that an index entry follows from the record that is under `at`. Without one it is stray; so it is when the
    /// record says otherwise. When the record cannot be read nobody can tell, and the record is the finding.
    pub(super) async fn entry<R: Record>(
        &mut self,
        entry: &Key,
        value: &Bytes,
        at: Key,
        decode: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<()> {
        let stored = self.view.get(&at).await?;
        let why = match &stored {
            None => "there is no record it follows from",
            Some(bytes) => match decode(bytes) {
                Err(_) => return Ok(()),
                Ok(record) if record.index().contains(entry) => return Ok(()),
                Ok(_) => "the record it belongs to says otherwise",
            },
        };
        let mut batch = only_if(entry, Some(value));
        batch.expect_equals(at, stored);
        batch.delete(entry.clone());
        self.add(Found::new(Code::IndexStray, shown(entry), why).mended_by(batch));
        Ok(())
    }

    /// A record that says something about what is not there, and has nothing behind it: it can go.
    pub(super) fn useless<R: Record>(&mut self, code: Code, object: &str, text: String, record: &R) {
        let mut batch = crate::store::Batch::new();
        batch.replace(Some(record), None);
        self.add(Found::new(code, object, text).mended_by(batch));
    }
}
