// Package store keeps bytes under bytes: an ordered map with serializable
// transactions, on disk over Badger (OpenBadger) or in memory (OpenMemory).
// It knows nothing of what it keeps and is the only package that imports
// Badger.
//
// # One layer, two engines
//
// Transactions, conflicts, revisions and watches are the same code for both
// stores; an engine is an ordered map of versions that one goroutine writes.
//
// A transaction reads the snapshot of its Begin, keeps its writes to itself
// and, if it may write, remembers which keys it read and which ranges it
// scanned. Commit hands it to the committer (committer.go): that judges what
// is queued, one after the other, against the commits since each one's
// snapshot, and writes all that stand as one batch with one sync, or none where
// nobody waits for it (CommitNoSync). A
// transaction that read nothing another one changed stands; so histories are
// serializable: no lost update, no write skew, no phantom.
//
// A revision is the tick of the batch times 256 plus the slot of the
// transaction in it; slots end at 255, so the newest revision of a tick is
// known without having seen the batch.
//
// # The disk format of OpenBadger
//
// The directory holds Badger's own files and
//
//   - STORE.LOCK, locked (flock) while a store has the directory.
//   - CLEAN, there only while no store has it and if the last Close went to
//     its end: one line with the revision at that time. Open removes it, and
//     syncs the directory, before the first write.
//   - BALLAST, Options.Ballast zero bytes. On a disk that is full to the last
//     byte Badger cannot even open; an operator deletes this file, starts the
//     node, makes room, and the next start writes it again.
//
// Badger runs in managed mode. A Badger key is a space byte and then: 'k', the
// user's key; 'e', the revision of an event row in 8 bytes big endian; 's', a
// name of the store itself: "tick" (empty; written by a batch that only
// deletes, so that compaction cannot lose the newest tick), "trim" (revision
// of the newest event row trimmed away, 8 bytes big endian), "watched" (for
// each registered prefix: its length as uvarint, its bytes, and in 8 bytes big
// endian the revision since which its events were kept), "redo" (a batch too
// large for one Badger transaction, until all its parts are written: a byte 1,
// the tick in 8 bytes, and for each row a byte that is 1 for a deletion, the
// slot, key and value, both as uvarint length and bytes; cut into rows, whose
// keys end in 0001, 0002 and so on in two bytes big endian, but for that of the
// first, which is written last: without it the others mean nothing). Badger's timestamp
// is the tick, which grows by 2 so that a redo row has one of its own; its
// user byte is the slot. Values are the user's, as they are.
//
// An event row is a byte 1 and, for each key written under a registered
// prefix, in key order, a byte that is 1 for a deletion, the key and (not for
// a deletion) the value, both as uvarint length and bytes.
//
// # What a disk does to it
//
// Commit returns after fdatasync (see wal). After a failed write or sync the
// store refuses commits until it is reopened, for nobody knows what reached
// the disk. A power cut leaves a first part of all commits, no less than what
// Commit told of. Tables are checked in full before Open and block by block when
// read; a damaged table or manifest is ErrCorrupt at Open, and so is a directory
// with data and without MANIFEST or KEYREGISTRY. Three kinds of damage are not
// noticed by Badger: the write-ahead log of a process that died ends silently
// at the first damaged entry, and a MANIFEST that ends early makes it drop
// newer tables though a newer write-ahead log is read (so WasClean says whether
// either can have happened, and whoever needs to know that no row is missing
// from the middle keeps a digest); and a table block that rots after Open reads
// as if its rows were not there (so Verify looks for that). A full disk kills the process (Badger
// writes through memory maps), hence Options.FreeFloor.
package store
