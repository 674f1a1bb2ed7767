// Package commitlog is the ordered log of a DSV cluster on Apache Kafka, and
// the embedded broker that stands in for Kafka on one machine. Both are spoken
// to through the same client code.
//
// It knows bytes: a record body goes in, and comes out at every reader of the
// partition with the offset and the append time the broker gave it. What the
// body means is somebody else's business. A Log appends (Append), reads every
// partition from given positions (Start, Poll) and tells how the log is doing
// (Good, Silent, Stats). It decides nothing, skips nothing and repairs
// nothing: where the log is not the one that was read before, the partition
// stops and is reported as diverged.
//
// # Topics
//
// A cluster has two topics. "<cluster>.log" has a fixed number of partitions,
// which are the partitions 0..P-1 of this package; "<cluster>.control" has one,
// which is the pseudo partition Control. Both need
//
//	message.timestamp.type  LogAppendTime
//	cleanup.policy          delete
//	retention.ms            -1
//	retention.bytes         -1
//	max.message.bytes       at least 1000012
//
// and, with more than one broker, replication 3 or more, min.insync.replicas 2
// or more and unclean.leader.election.enable false; with one broker
// flush.messages 1. A setting that a broker does not report counts as right
// (the embedded broker syncs every batch and knows no flush.messages). Init
// makes topics so, Open refuses any other.
//
// # The value of a Kafka record
//
// The Kafka key is empty, there are no headers, and the value is
//
//	offset  size  what
//	     0     1  format version, 1
//	     1    16  incarnation of the process that appended it
//	    17    12  nonce
//	    29   n+16 the body of n bytes, sealed with AES-256-GCM
//
// The key of the seal is HKDF-SHA256(cluster log key, no salt,
// "dsv commitlog record v1" || incarnation), 32 bytes. The nonce is one 96-bit
// big-endian counter over all partitions of the process, begun at a random
// value. The additional data is, in this order, the version byte, and then each
// behind its length as 4 bytes big-endian: cluster id, topic name, the Kafka
// partition number as 4 bytes big-endian, incarnation. A record that was
// altered, comes from another cluster, or was moved to another partition or
// topic therefore does not open. A copy inside its own partition does open: the
// reader of bodies must bear with repetition.
//
// A record that is not of this form, or does not open, or carries a Kafka key
// or headers, or is a transaction marker, is void: it is delivered without a
// body and with a reason, because it has an offset and an append time like any
// other. Whether a record is void depends on its bytes and place alone, so all
// readers agree.
//
// # The embedded broker
//
// Broker runs franz-go's kfake with a data directory, a sync after every batch
// and a lock file. Its files are kfake's: per partition a directory of segment
// files of Kafka record batches as on the wire, plus JSON files for topics and
// producers. kfake has no usable LogAppendTime, so the broker sets the two
// timestamps of a batch when it takes it in its order, stores it as CreateTime,
// and marks it as LogAppendTime (attribute bit 3, with a new CRC) when it
// serves it; the bytes on disk thus differ from those served in that bit and
// the CRC. It stamps whatever it takes, whatever the topic says.
package commitlog
