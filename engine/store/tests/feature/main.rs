//! A feature with its own rows over `Core`, the example in ARCHITECTURE.md.

mod bookmarks;
mod scene;

use std::sync::Arc;

use bookmarks::{Bookmarks, set_in};
use scene::Scene;
use strongroom_base::{Error, ErrorKind};
use strongroom_store::commit::Core;

fn bookmarks(core: &Arc<Core>) -> Bookmarks {
    let (bookmarks, hook) = Bookmarks::new(core);
    core.register(vec![hook]);
    core.adopt_leftovers().expect("a new state has none");
    bookmarks
}

#[test]
fn bookmarks_survive_reopen_and_are_counted() {
    let scene = Scene::new().unwrap();
    let core = scene.open().unwrap();
    let marks = bookmarks(&core);
    marks.set("a", 1).unwrap();
    marks.set("b", 2).unwrap();
    marks.set("a", 3).unwrap();
    assert_eq!((marks.count(), marks.get("a").unwrap()), (2, Some(3)));
    core.close().unwrap();

    let core = scene.open().unwrap();
    let marks = bookmarks(&core);
    assert_eq!(
        (marks.count(), marks.get("b").unwrap(), marks.get("c").unwrap()),
        (2, Some(2), None)
    );
}

#[test]
fn transaction_that_fails_leaves_no_bookmark_and_no_count() {
    let scene = Scene::new().unwrap();
    let core = scene.open().unwrap();
    let marks = bookmarks(&core);
    let refused = core.write("test", |tx| {
        set_in(tx, "a", 1)?;
        Err::<(), _>(Error::new(ErrorKind::Conflict, "test"))
    });
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!((marks.count(), marks.get("a").unwrap()), (0, None));
}

#[test]
fn effects_run_after_the_commit() {
    let scene = Scene::new().unwrap();
    let core = scene.open().unwrap();
    let marks = bookmarks(&core);
    let (sender, heard) = std::sync::mpsc::channel();
    let write = |is_good: bool| {
        let sender = sender.clone();
        core.write("test", move |tx| {
            set_in(tx, "a", 1)?;
            tx.on_commit(move |info| sender.send(info.number).unwrap());
            if is_good { Ok(()) } else { Err(Error::new(ErrorKind::Conflict, "test")) }
        })
    };
    write(false).unwrap_err();
    assert!(heard.try_recv().is_err());
    write(true).unwrap();
    assert_eq!((heard.try_recv(), marks.count()), (Ok(1), 1));
}

#[test]
fn name_too_long_is_invalid_and_changes_nothing() {
    let scene = Scene::new().unwrap();
    let core = scene.open().unwrap();
    let marks = bookmarks(&core);
    assert_eq!(marks.set(&"n".repeat(129), 1).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(marks.count(), 0);
}
