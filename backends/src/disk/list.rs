//! Pages of keys in bytewise order, read from as few folders as possible.
//!
//! The file `x.object` is key `x`, and the folder `x` holds keys that begin with `x/`. If each
//! entry of a folder is sorted as that string, folders descended into where they stand give
//! keys in order: `x`, `x-y`, `x/a`, `x0`. Subtrees outside the prefix or wholly before `after`
//! are not read. Whatever is not ours - other suffixes, names outside the grammar, links - is
//! passed over.

use std::io;
use std::path::Path;

use crate::backend::ListEntry;
use strongroom_base::Key;
use strongroom_base::fs::{DirEntry, EntryKind};
use strongroom_base::{Error, Result};

use super::{OBJECT_SUFFIX, Shared};

/// One page, as [`Backend::list`](crate::Backend::list) has it.
pub(super) fn page(
    shared: &Shared,
    prefix: &str,
    after: Option<&Key>,
    limit: usize,
) -> Result<Vec<ListEntry>> {
    let mut walk = Walk { shared, prefix, after: after.map(Key::as_str), limit, page: Vec::new() };
    match prefix.rsplit_once('/') {
        None => walk.folder(&shared.objects, "")?,
        // No key begins with something outside the grammar. It must not become a path either.
        Some((folder, _)) if Key::new(folder).is_ok() => {
            walk.folder(&shared.objects.join(folder), &format!("{folder}/"))?;
        }
        Some(_) => {}
    }
    Ok(walk.page)
}

struct Walk<'a> {
    shared: &'a Shared,
    prefix: &'a str,
    after: Option<&'a str>,
    limit: usize,
    page: Vec<ListEntry>,
}

/// An entry of a folder in sort order: the derived order looks at `text` first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Child {
    /// The key of a file; for a folder what its keys begin with, so it ends with `/`.
    text: String,
    /// The length of a file's body.
    size: Option<u64>,
}

impl Walk<'_> {
    /// Adds what is wanted of the folder at `path`, whose keys begin with `base`. The depth is
    /// bounded by the length of a key.
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
        // See "What the lock is for" in the module above.
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
        // A folder that `after` lies in sorts before it and still has keys behind it.
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
