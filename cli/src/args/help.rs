//! Long help texts.

pub(super) const EXAMPLES: &str = "\
Examples:
  strongroom init notes.vault                              create a vault; asks for a password
  strongroom records put notes.vault people ada 1815       store a record
  strongroom records get notes.vault people ada            print its value: 1815
  strongroom records put notes.vault files plan < plan.pdf store a file of any size
  strongroom records list notes.vault                      list the namespaces
  strongroom records list notes.vault people               list the keys of one namespace
  strongroom put notes.vault --spec site --task 1 --type log build.log    store an artifact
  strongroom search notes.vault --spec site --type log     find it; prints its URI
  strongroom check notes.vault --read-data                 check that everything is sound
  strongroom init far.vault --backend s3://bucket/far      keep the content on an object store
  strongroom keys add notes.vault --label backup           add a second password
  strongroom ops list notes.vault --unfinished             list a service's unfinished work
  strongroom info notes.vault --password-file secret.txt   open it without a prompt
  strongroom space create notes.vault                      create room for documents
  strongroom partition add notes.vault                     print the key of a new document, once
  strongroom doc write notes.vault --key @a.key a.json     write the document

The secret that opens a vault is never an argument. It comes from the first of these sources:
  --password-file FILE or --key-file FILE    (not both)
  STRONGROOM_PASSWORD                        an environment variable
  the terminal                               by a prompt

Exit codes:
  0  done                          6  conflict: read again, then retry
  1  check or verify found damage  7  denied: wrong key, or no permission
  2  wrong usage or invalid input  8  no space left, or no room for a key
  3  not found                     9  stored data is damaged
  4  already exists               10  storage unavailable, or outcome uncertain
  5  locked by another process    11  closed or cancelled
  12 any other error             141  the reader of standard output closed it

Environment:
  STRONGROOM_PASSWORD      password that opens the vault
  STRONGROOM_NEW_PASSWORD  new password for `keys add`, `replace` and `rotate`
  STRONGROOM_PARTITION_KEY           key of a partition, if --key is absent
  STRONGROOM_PARTITION_PASSWORD      password of the partition
  STRONGROOM_NEW_PARTITION_PASSWORD  new password for `partition password`
  STRONGROOM_BACKEND       URL of the store that holds the content, if --backend is absent; the
                           store's credentials come from the environment too, for example
                           AWS_ACCESS_KEY_ID
  STRONGROOM_LOG           log directives for standard error, for example strongroom=debug; the
                           default is no log";

pub(super) const RECORDS: &str = "\
A namespace is an ordered set of records. The first put creates it. A key has at most 1024 bytes,
a value any length.

Examples:
  strongroom records put v people ada 1815          a value on the command line
  date | strongroom records put v log today         a value from standard input
  strongroom records put v flags build -- --release -- ends the options
  strongroom records get v files plan > plan.pdf    print the bytes unchanged
  strongroom records get v people ada --json        print a JSON document
  strongroom records list v                         list the namespaces with their counts
  strongroom records list v people --prefix a       list the keys that begin with a
  strongroom records list v people --after ada --limit 100    list the next page
  strongroom records put v bin --hex-key 00ff x     use a key that is not text
  strongroom records delete v people ada";

pub(super) const ARTIFACTS: &str = "\
An artifact is the output of a task: a diff, a log, test results, or a file of any kind and size.
Its name consists of spec, task and type. It has versions from 1 up, and a URI:
strongroom:///artifact/SPEC/TASK/TYPE, with @VERSION for one version, without it for the newest.
In the URI, all bytes except ASCII letters, digits and -._~ are percent-encoded.

Equal content is stored once, even across artifacts. Deleted content uses space until `gc`.
By default, diffs are kept for 30 days, logs for 7, tests for 14 and other types forever.
`retention` changes that, and `expire` deletes the versions whose time is over.

Examples:
  strongroom put v --spec site --task 1.1 --type log --tag nightly build.log
  make 2>&1 | strongroom put v --spec site --task 1.1 --type log
  strongroom get v strongroom:///artifact/site/1.1/log@1    print the bytes of version 1
  strongroom get v strongroom:///artifact/site/1.1/log old.log
  strongroom search v --type log --tag nightly --since '7d ago'
  strongroom versions v strongroom:///artifact/site/1.1/log
  strongroom tag v strongroom:///artifact/site/1.1/log --add good --remove nightly
  strongroom rm v --spec site --keep 3              keep the newest three versions of each
  strongroom expire v --dry-run                     list the versions whose time is over
  strongroom gc v                                   free the space of deleted content
  strongroom quota v --set 20G --warn 90            limit the store
  strongroom export v --spec site site.zip          write a ZIP archive
  strongroom verify v --spec site                   compare every checksum";

pub(super) const OPS: &str = "\
An operation is long work of a host. Its lanes each resume at their last checkpoint. The host
begins and resumes operations. This program lists them, and changes them while no host has the
vault open.

The vault reports whether an operation can be resumed: yes, no, or by id (a paused operation is
resumed only by its id). Only the host knows whether it has a handler for the operation.

Examples:
  strongroom ops list v                            list all operations in order of their ids
  strongroom ops list v --unfinished               list unfinished work, and whether it can resume
  strongroom ops list v --state failed --state paused
  strongroom ops list v --after import-7 --limit 100    list the next page
  strongroom ops show v import-7 --history         show one operation with its checkpoints
  strongroom ops pause v import-7                  exclude it from resuming everything
  strongroom ops abandon v import-7                cancel it permanently
  strongroom ops expire v --older-than 90d --dry-run    list the operations to remove";

pub(super) const KEYS: &str = "\
A vault has 1 to 8 keys. Each is a password or a file of 32 random bytes, and each opens the vault.
A new secret comes from the first of these sources:
  --new-password-file FILE or --new-key-file FILE    (not both)
  STRONGROOM_NEW_PASSWORD                            an environment variable
  the terminal                                       by a prompt that asks twice

A removed or replaced key still opens an older copy of the vault's files, and through that copy
the current vault. `keys rotate` prevents that. Long values stored before the rotation stay sealed
under their old keys.

Examples:
  strongroom keys list v                            list the keys, and mark the one in use
  strongroom keys add v --label laptop              add a password
  strongroom keys generate machine.key              create a key file, for --key-file
  strongroom keys add v --new-key-file machine.key  let the key file open the vault
  strongroom keys replace v                         change the password in use
  strongroom keys remove v 2                        remove key 2
  strongroom keys rewrap v --memory-mib 256         make the password in use harder to guess
  strongroom keys rotate v                          draw new keys, keep the password";

pub(super) const SPACE: &str = "\
A vault has at most one share space. It is filled with random bytes at creation, and its size is
fixed. Documents are stored in it as shares, and nothing reveals their number or length. Every
change of a document rewrites the whole space, and needs the same space again meanwhile.

Examples:
  strongroom space create v                        documents of at most 64 KiB, 3 of 9 shares
  strongroom space create v --capacity 1M --room-for 12
                                                   larger, with less risk to unnamed partitions
  strongroom space info v                          print its size and any interrupted update
  strongroom space discard v                       undo the interrupted update";

pub(super) const PARTITION: &str = "\
A partition has a key and a password. The key finds the partition, and the password opens its
document. `add` prints the key once. Without the key or the password, the document is lost.

No command lists partitions, because the vault does not know how many there are, or whether there
are any. So `add` may overwrite partitions that it does not know. Name their keys with --keep to
preserve them.

KEY is the key itself, or @FILE with the key on one line; @- is standard input. If --key is
absent, the key comes from STRONGROOM_PARTITION_KEY. Every user of the machine can see arguments.
A key opens nothing without the password, but it proves that the partition exists and can destroy
it. Prefer @FILE or the variable.

A partition's password comes from the first of these sources:
  --partition-password-file FILE
  STRONGROOM_PARTITION_PASSWORD     an environment variable
  the terminal                      by a prompt; a new password is asked for twice
For the new password of `partition password` the sources are --new-partition-password-file FILE,
STRONGROOM_NEW_PARTITION_PASSWORD and the terminal.

Examples:
  (umask 077; strongroom partition add v > a.key)          add the first partition
  (umask 077; strongroom partition add v --keep @a.key > b.key)
                                                   add a second one, and preserve the first
  strongroom partition password v --key @a.key     change its password
  strongroom partition verify v --key @a.key       check every share
  strongroom partition destroy v --key @b.key      destroy it permanently; needs no password";

pub(super) const DOCUMENT: &str = "\
A document is JSON in UTF-8 of at most 64 MiB. It is stored byte for byte in a partition. The
sources of key and password are those of `strongroom partition --help`: --key KEY, --key @FILE or
STRONGROOM_PARTITION_KEY, and --partition-password-file FILE, STRONGROOM_PARTITION_PASSWORD or the
terminal. A wrong key, a wrong password and a missing partition give the same error.

A killed write leaves the old document. The same command then continues the write.

Examples:
  strongroom doc write v --key @a.key a.json       write a document; prints its version
  strongroom doc read v --key @a.key               print it
  strongroom doc read v --key @a.key new.json      write it into a new private file
  strongroom doc plan v --key @a.key a.json        print what would change
  strongroom doc read v --key @a.key | jq .n=1 | strongroom doc write v --key @a.key
  strongroom doc heal v --key @a.key               repair damaged shares";

pub(super) const COMPLETIONS: &str = "\
Examples:
  strongroom completions bash > /etc/bash_completion.d/strongroom
  strongroom completions zsh > ~/.zfunc/_strongroom
  strongroom completions fish > ~/.config/fish/completions/strongroom.fish";

pub(super) const MAN: &str = "\
Each command has its own page, for example strongroom.1, strongroom-records.1 and
strongroom-records-put.1. Existing pages are replaced.

Examples:
  strongroom man /usr/local/share/man/man1
  man -l man1/strongroom-keys-rotate.1";
