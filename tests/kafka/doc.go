// Package kafka starts a real Apache Kafka on the loopback interface, for tests
// and benchmarks: one broker or three, each a JVM that is broker and KRaft
// controller at once. It needs a JDK (17) and, the first time, Maven, which
// fetches the jars that pom.xml names into a cache folder.
//
// A cluster lives in one directory: cluster.json says what runs there (pids,
// ports, options) and can be loaded by another process, n1, n2, … hold per
// broker its settings, data and output. Brokers can be killed, stopped like a
// debugger would (SIGSTOP) and started again on their data, by number.
//
// kafkactl is the command for it.
package kafka
