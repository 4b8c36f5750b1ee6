//! The longer texts of the help.

pub(super) const EXAMPLES: &str = "\
Examples:
  strongroom init notes.vault                              make a vault; asks for a password
  strongroom records put notes.vault people ada 1815       store a record
  strongroom records get notes.vault people ada            print it: 1815
  strongroom records put notes.vault files plan < plan.pdf store a file of any size
  strongroom records list notes.vault                      the namespaces
  strongroom records list notes.vault people               the keys of one
  strongroom put notes.vault --spec site --task 1 --type log build.log    store an artifact
  strongroom search notes.vault --spec site --type log     find it; prints its URI
  strongroom check notes.vault --read-data                 is everything there and whole?
  strongroom init far.vault --backend s3://bucket/far      content on an object store
  strongroom keys add notes.vault --label backup           a second password
  strongroom ops list notes.vault --unfinished             what a service has left to do
  strongroom info notes.vault --password-file secret.txt   without being asked
  strongroom space create notes.vault                      room for documents with keys of their own
  strongroom partition add notes.vault                     prints the key of a document, once
  strongroom doc write notes.vault --key @a.key a.json     write it

What opens a vault is never an argument. It is taken from the first of these that is there:
  --password-file FILE or --key-file FILE    (not both)
  STRONGROOM_PASSWORD                        an environment variable
  the terminal                               where it is asked for

Exit codes:
  0  done                          6  conflict: read again, then retry
  1  check or verify found damage  7  denied: key or permissions
  2  wrong usage or invalid input  8  no space left, or no room for a key
  3  not found                     9  stored data is damaged
  4  already exists               10  storage unavailable, or outcome uncertain
  5  locked by another process    11  closed or cancelled
  12 any other error             141  standard output was closed by its reader

Environment:
  STRONGROOM_PASSWORD      the password that opens the vault
  STRONGROOM_NEW_PASSWORD  the password that `keys add`, `replace` and `rotate` set
  STRONGROOM_PARTITION_KEY           the key of a partition, in place of --key
  STRONGROOM_PARTITION_PASSWORD      its password
  STRONGROOM_NEW_PARTITION_PASSWORD  the password that `partition password` sets
  STRONGROOM_BACKEND       where the content lies, in place of --backend; the store's credentials are
                           taken from the environment too, e.g. AWS_ACCESS_KEY_ID
  STRONGROOM_LOG           what to log to standard error, e.g. strongroom=debug; nothing by default";

pub(super) const RECORDS: &str = "\
A namespace is an ordered set of records and is made by the first put. Keys have up to
1024 bytes, values any length.

Examples:
  strongroom records put v people ada 1815          a value on the command line
  date | strongroom records put v log today         a value from standard input
  strongroom records put v flags build -- --release -- ends the options
  strongroom records get v files plan > plan.pdf    the bytes as they were put
  strongroom records get v people ada --json        as a JSON document
  strongroom records list v                         the namespaces, and how many records each has
  strongroom records list v people --prefix a       keys that begin with a
  strongroom records list v people --after ada --limit 100    the next page
  strongroom records put v bin --hex-key 00ff x     a key that is not text
  strongroom records delete v people ada";

pub(super) const ARTIFACTS: &str = "\
An artifact is what a task leaves behind: a diff, a log, test results, a file of any kind and size.
It is named by spec, task and type, has versions from 1 on, and a URI:
strongroom:///artifact/SPEC/TASK/TYPE, with @VERSION or without, for the newest. In the parts all
but letters, digits and -._~ of ASCII is percent-encoded.

The same bytes are stored once, whatever they belong to. What is deleted takes space until `gc`.
Diffs are kept for 30 days, logs for 7, tests for 14, all else for ever, unless `retention` says
otherwise; `expire` deletes what is older.

Examples:
  strongroom put v --spec site --task 1.1 --type log --tag nightly build.log
  make 2>&1 | strongroom put v --spec site --task 1.1 --type log
  strongroom get v strongroom:///artifact/site/1.1/log@1    its bytes, to standard output
  strongroom get v strongroom:///artifact/site/1.1/log old.log
  strongroom search v --type log --tag nightly --since '7d ago'
  strongroom versions v strongroom:///artifact/site/1.1/log
  strongroom tag v strongroom:///artifact/site/1.1/log --add good --remove nightly
  strongroom rm v --spec site --keep 3              all but the newest three of each
  strongroom expire v --dry-run                     what has been kept long enough
  strongroom gc v                                   free the space of what was deleted
  strongroom quota v --set 20G --warn 90            no more than that
  strongroom export v --spec site site.zip          all of it as a ZIP archive
  strongroom verify v --spec site                   is every byte what was put?";

pub(super) const OPS: &str = "\
An operation is long work of a host, in lanes that each go on at their last checkpoint. Its host
begins and resumes it; this program looks, and changes it while no host has the vault.

Whether it can be resumed is what the vault says of it: yes, by id (it was paused: left when
everything is resumed), or no. Whether the host has a handler for it, only the host knows.

Examples:
  strongroom ops list v                            all of them, in order of their ids
  strongroom ops list v --unfinished               what is left to do, and can it be resumed?
  strongroom ops list v --state failed --state paused
  strongroom ops list v --after import-7 --limit 100    the next page
  strongroom ops show v import-7 --history         one, and how its lanes came to where they are
  strongroom ops pause v import-7                  leave it for now
  strongroom ops abandon v import-7                never go on with it
  strongroom ops expire v --older-than 90d --dry-run    what would be dropped";

pub(super) const KEYS: &str = "\
A vault has 1 to 8 keys, each a password or a file of 32 random bytes; any of them opens it.
A new secret is taken from the first of these that is there:
  --new-password-file FILE or --new-key-file FILE    (not both)
  STRONGROOM_NEW_PASSWORD                            an environment variable
  the terminal                                       where it is asked for, twice

Whoever has a removed or replaced key, and a copy of the vault's files from before, can still
read the vault, until `keys rotate`. Long values that were stored before it stay sealed under
the keys that they had.

Examples:
  strongroom keys list v                            all keys; which one is in use
  strongroom keys add v --label laptop              one more password
  strongroom keys generate machine.key              a new key file, for --key-file
  strongroom keys add v --new-key-file machine.key  so that it opens the vault too
  strongroom keys replace v                         change the password in use
  strongroom keys remove v 2                        key 2 opens it no more
  strongroom keys rewrap v --memory-mib 256         make the password in use harder to guess
  strongroom keys rotate v                          new keys under everything, the same password";

pub(super) const SPACE: &str = "\
A vault has at most one share space. It is made full of random bytes and keeps its size; documents
lie in it as shares, and nothing tells how many, or how long they are. Every change of a document
writes the whole space anew, and needs as much room again while it does.

Examples:
  strongroom space create v                        documents of 64 KiB, 3 of 9 shares
  strongroom space create v --capacity 1M --room-for 12
                                                   larger, and safer for who names no others
  strongroom space info v                          its size; an update that was interrupted
  strongroom space discard v                       take that back";

pub(super) const PARTITION: &str = "\
A partition has a key, printed once when it is added, and a password. The key finds it, the
password opens its document. Lose either, and the document is lost.

There is no command that lists partitions: nothing in the vault knows how many there are, or
whether there is one. Whoever has a key knows of one. So a partition that is added cannot spare
those that it is not told of: name them with --keep.

KEY is the key itself, or @FILE with the key on one line; @- is standard input. Without --key it
is taken from STRONGROOM_PARTITION_KEY. Every user of the machine can see arguments. A key opens
nothing without the password, but it proves that the partition is there, and destroys it: @FILE
or the variable is better.

A partition's password is taken from the first of these that is there:
  --partition-password-file FILE
  STRONGROOM_PARTITION_PASSWORD     an environment variable
  the terminal                      where it is asked for; twice when it is set
The new one of `partition password` from --new-partition-password-file FILE,
STRONGROOM_NEW_PARTITION_PASSWORD, or the terminal.

Examples:
  (umask 077; strongroom partition add v > a.key)          the first one
  (umask 077; strongroom partition add v --keep @a.key > b.key)
                                                   a second one that leaves the first whole
  strongroom partition password v --key @a.key     another password
  strongroom partition verify v --key @a.key       is every share of it there?
  strongroom partition destroy v --key @b.key      without its password, and for good";

pub(super) const DOCUMENT: &str = "\
A document is JSON in UTF-8, at most 64 MiB, kept byte for byte. It belongs to a partition, whose
key and password are given as `strongroom partition --help` tells: --key KEY, --key @FILE or
STRONGROOM_PARTITION_KEY, and --partition-password-file FILE, STRONGROOM_PARTITION_PASSWORD or the
terminal. A wrong key, a wrong password and a partition that is not there are the same error.

Killed, a write leaves the old document; the same command goes on where it stood.

Examples:
  strongroom doc write v --key @a.key a.json       write a document; prints its version
  strongroom doc read v --key @a.key               print it
  strongroom doc read v --key @a.key new.json      into a new file that only you may read
  strongroom doc plan v --key @a.key a.json        what would change
  strongroom doc read v --key @a.key | jq .n=1 | strongroom doc write v --key @a.key
  strongroom doc heal v --key @a.key               mend what of its storage is damaged";
