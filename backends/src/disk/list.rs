//! Pages of keys in bytewise order, from as few folders as possible.
//!
//! The file `x.object` is key `x`, and the folder `x` has keys that begin with `x/`. Entries are
//! sorted by these strings, and folders are entered at their position, which yields keys in order:
//! `x`, `x-y`, `x/a`, `x0`. Subtrees outside the prefix, or entirely before `after`, are not read.
//! Foreign entries are skipped: other suffixes, names outside the grammar, links.

use std::io;
use std::path::Path;

use crate::backend::ListEntry;
use strongroom_base::Key;
use strongroom_base::fs::{DirEntry, EntryKind};
use strongroom_base::{Error, Result};

use super::{OBJECT_SUFFIX, Shared};

/// Lists one page, as [`Backend::list`](crate::Backend::list) documents.
pub(super) fn page(
    shared: &Shared,
    prefix: &str,
    after: Option<&Key>,
    limit: usize,
) -> Result<Vec<ListEntry>> {
    let mut walk =
        FolderWalk { shared, prefix, after: after.map(Key::as_str), limit, page: Vec::new() };
    match prefix.rsplit_once('/') {
        None => walk.folder(&shared.objects, "")?,
        // No key begins with text outside the grammar. Such text must not become a path either.
        Some((folder, _)) if Key::new(folder).is_ok() => {
            walk.folder(&shared.objects.join(folder), &format!("{folder}/"))?;
        }
        Some(_) => {}
    }
    Ok(walk.page)
}

struct FolderWalk<'a> {
    shared: &'a Shared,
    prefix: &'a str,
    after: Option<&'a str>,
    limit: usize,
    page: Vec<ListEntry>,
}

/// An entry of a folder. The derived order compares `text` first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Child {
    /// The key of a file, or a folder's key prefix with its final `/`.
    text: String,
    /// Length of a file's body.
    size: Option<u64>,
}

impl FolderWalk<'_> {
    /// Adds the wanted entries below `path`, whose keys begin with `base`.
    ///
    /// The length of a key bounds the depth.
    fn folder(&mut self, path: &Path, base: &str) -> Result<()> {
        if self.page.len() >= self.limit {
            return Ok(());
        }
        for child in self.children(path, base)? {
            if self.page.len() >= self.limit {
                break;
            }
            match child.size {
                Some(size) => self.page.push(ListEntry { key: Key::new(&child.text)?, size }),
                None => self.folder(&self.shared.objects.join(&child.text), &child.text)?,
            }
        }
        Ok(())
    }

    fn children(&self, path: &Path, base: &str) -> Result<Vec<Child>> {
        let mut children: Vec<Child> = self
            .entries(path)?
            .into_iter()
            .filter_map(|entry| child_of(base, entry))
            .filter(|child| self.wants(child))
            .collect();
        children.sort_unstable();
        Ok(children)
    }

    fn entries(&self, path: &Path) -> Result<Vec<DirEntry>> {
        // See "Purpose of the lock" in the module above.
        let held = self.shared.lock.acquire()?;
        let entries = self.shared.fs.read_dir(path);
        drop(held);
        match entries {
            Ok(entries) => Ok(entries),
            Err(e)
                if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                Ok(Vec::new())
            }
            Err(e) => Err(Error::io("list objects", e).with_subject(path.display())),
        }
    }

    fn wants(&self, child: &Child) -> bool {
        let text = child.text.as_str();
        let is_folder = child.size.is_none();
        let within = text.starts_with(self.prefix) || (is_folder && self.prefix.starts_with(text));
        // A folder that contains `after` sorts before it and still has later keys.
        let behind =
            self.after.is_none_or(|after| text > after || (is_folder && after.starts_with(text)));
        within && behind
    }
}

fn child_of(base: &str, entry: DirEntry) -> Option<Child> {
    match entry.kind {
        EntryKind::File { len } => {
            let text = format!("{base}{}", entry.name.strip_suffix(OBJECT_SUFFIX)?);
            Key::new(&text).ok()?;
            Some(Child { text, size: Some(len) })
        }
        EntryKind::Dir => {
            let text = format!("{base}{}", entry.name);
            Key::new(&text).ok()?;
            Some(Child { text: text + "/", size: None })
        }
        EntryKind::Other => None,
    }
}
