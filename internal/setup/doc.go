// Package setup makes a cluster out of a topology: `dsvctl init`. It writes
// everything its processes start from into one directory, and the first
// records into the log.
//
// # The directory
//
//	cluster.yaml            the topology with every default filled in, and the cluster id; what a
//	                        later run goes by
//	ca/ca.crt ca/ca.key     the certificate authority; keep ca.key away from the cluster
//	keys/log.key            the cluster's log key   (0600)
//	keys/gossip.key         the cluster's gossip key (0600)
//	nodes/ID/               one folder per node, complete in itself: ca.crt, tls.crt, tls.key,
//	                        log.key, gossip.key, dsv.yaml
//	keepers/ID/             ca.crt, tls.crt, tls.key
//	broker/                 ca.crt, tls.crt, tls.key, and keystore.pem (key and certificate in one
//	                        file, as Apache Kafka reads it)
//	operator/               ca.crt, tls.crt, tls.key
//	operator.token          the text of the first token (0600), made with the log
//
// Paths inside dsv.yaml are relative, so a folder may be copied to its machine
// as it is. Folders have mode 0700.
//
// # The log
//
// Topics are made right, then every partition of NAME.log gets CONFIG{cluster
// id, members, n, k, w, P} as its first record, and NAME.control gets the
// setting of the operator's token, which holds only a hash.
//
// # Again
//
// A run on a directory that exists goes on where the last one stopped and
// changes nothing that is there: a file that exists is kept, a partition that
// has its CONFIG gets no second one, and there is only ever one first token.
// A topology that differs from cluster.yaml, a log with another CONFIG, or one
// with records that this cluster's key does not open are refused.
package setup
